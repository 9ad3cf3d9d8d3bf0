"""Rules of the task profile: what the data holds, counted under the model's tokenizer."""

import csv

import pytest

from autopeft.data import load_data
from autopeft.errors import InvalidValueError, ModelError
from autopeft.profiling import profile
from autopeft.profiling.task import describe_task, described_task
from autopeft.profiling.tokenizer import load_tokenizer
from autopeft.testing.models import tiny_model_folder

WORDS = ("the", "film", "was", "good", "bad", "awful", "great", "and", "not", "very", "long", "short", "of", "it", "in")


@pytest.fixture
def table(tmp_path):
    """A CSV of 120 short reviews, two of three positive, each text its own."""
    path = tmp_path / "reviews.csv"
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["review", "sentiment"])
        for index in range(120):
            words = [WORDS[(index * step + step) % len(WORDS)] for step in range(1, 5 + index % 9)]
            writer.writerow([" ".join([*words, str(index * 7919)]), "pos" if index % 3 else "neg"])
    return path


def test_rows_labels_and_columns_are_the_datas(table, tiny_models):
    """Rows add up over the splits, labels are counted over all of them, columns stand by role."""
    found = describe_task(load_data(str(table)), load_tokenizer(str(tiny_models["bert"])))
    assert found.task == "classification"
    assert sum(found.rows.values()) == 120
    assert set(found.rows) == {"train", "validation", "test"}
    assert (found.labels, dict(found.label_counts)) == (("neg", "pos"), {"neg": 40, "pos": 80})
    assert dict(found.columns) == {"text": "review", "label": "sentiment"}
    assert (found.script, found.language, found.source) == ("Latin", "en", str(table))


def test_lengths_are_tokens_of_the_models_tokenizer(table, tiny_models):
    """The tiny tokenizer has a token per byte, so lengths are far above the words counted without a model."""
    tokens = describe_task(load_data(str(table)), load_tokenizer(str(tiny_models["bert"]))).tokens
    words = describe_task(load_data(str(table)), None)
    assert tokens.p50 > 2 * words.tokens.p50
    assert tokens.p50 <= tokens.p95 <= tokens.longest
    assert any("counted in words" in note for note in words.notes)


def test_a_row_over_the_limit_counts_as_it_is_cut(table, tiny_models):
    """One endless row asks for no more memory than the limit, which is said beside the tokens that it has."""
    with table.open("a") as stream:
        stream.write(f"{'x' * 9000},pos\n")
    tokenizer = load_tokenizer(str(tiny_models["bert"]))
    found = describe_task(load_data(str(table), token_limit=20), tokenizer)
    assert found.tokens.longest == 20
    assert 0 < found.tokens.mean <= 20
    assert any("has 9000 tokens; rows are cut at 20" in note for note in found.notes)
    own = describe_task(load_data(str(table)), tokenizer)
    assert own.tokens.longest == tokenizer.model_max_length


def test_described_task_is_what_was_said():
    """Without data every row is as long as the user says."""
    found = described_task("generation", 5000, 300)
    assert (found.source, found.training_rows, found.tokens.p50, found.tokens.longest) == ("described", 5000, 300, 300)
    with pytest.raises(InvalidValueError, match="`--rows` of the described task must be at least 1; got 0"):
        described_task("generation", 0, 300)
    with pytest.raises(InvalidValueError, match=r"`--tokens-per-row` of the described task must be at least 1; got -1"):
        described_task("generation", 1, -1)


def test_model_is_built_for_the_datas_task(table, tiny_models):
    """With data the head has the data's labels; without it the task follows the model's kind."""
    found = profile(str(tiny_models["llama"]), str(table))
    assert found.model is not None
    assert found.task is not None
    assert (found.model.architecture, found.model.labels) == ("LlamaForSequenceClassification", 2)
    alone = profile(str(tiny_models["llama"]))
    assert alone.model is not None
    assert (alone.model.task, alone.task) == ("generation", None)
    hardware = profile(gpu="t4")
    assert (hardware.model, hardware.task, hardware.hardware.dtype) == (None, None, "float16")


def test_folder_without_tokenizer_cannot_count_tokens(table, tmp_path):
    """A tokenizer made up from the config would know no word, so its lengths would be wrong: it is refused."""
    folder = tiny_model_folder("bert", tmp_path / "bare", weights=False)
    with pytest.raises(ModelError, match="bare has no tokenizer"):
        profile(str(folder), str(table))


def test_columns_without_data_are_refused(tiny_models):
    """A column of no data is a mistake, not something to ignore; so is a task that does not exist."""
    with pytest.raises(InvalidValueError, match="`--task` of a profile must be left out"):
        profile(task="classification")
    with pytest.raises(InvalidValueError, match="`--column` of a profile must be left out"):
        profile(str(tiny_models["bert"]), columns={"text": "review"})
    with pytest.raises(InvalidValueError, match=r"(?s)'clasification'.*Did you mean 'classification'"):
        profile(str(tiny_models["bert"]), task="clasification")
