"""Encoded splits: padding on fetching, truncation counted, batches that lose nothing, scripts and languages."""

import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autopeft.data import Data, EncodedDataset, batches, encode, language_of, script_of, token_lengths
from autopeft.tasks import ready_tokenizer
from autopeft.testing.models import tiny_tokenizer
from autopeft.values.data import DataSpec


@pytest.fixture(scope="module")
def tokenizer():
    return ready_tokenizer(tiny_tokenizer())


def small(task="classification", limit=None, texts=("a", "bcd", "efghij")):
    spec = DataSpec(source="", task=task, columns={}, labels=("n", "y"), token_limit=limit, metric="accuracy")
    rows = [{"text": text, "label": "ny"[place % 2]} for place, text in enumerate(texts)]
    return Data(spec=spec, rows={"train": rows})


def test_fetched_rows_are_padded_alike(tokenizer):
    """A DataLoader without a collator of its own stacks rows padded to the longest among them."""
    from torch.utils.data import DataLoader

    dataset: Any = encode(small(), tokenizer, "encoder")["train"]
    shapes = [tuple(batch["input_ids"].shape) for batch in DataLoader(dataset, batch_size=2)]
    assert shapes == [(2, 3), (1, 6)]
    first = dataset.__getitems__([0, 1])[0]
    assert first["attention_mask"].tolist() == [1, 0, 0]
    assert first["input_ids"].tolist()[1:] == [tokenizer.pad_token_id] * 2


def test_trainer_takes_the_data_as_it_is(tiny_models, tokenizer, tmp_path):
    """transformers' Trainer runs an epoch on a split without a collator or further options."""
    import transformers

    model = transformers.AutoModelForSequenceClassification.from_pretrained(tiny_models["bert"], num_labels=2)
    arguments = transformers.TrainingArguments(
        str(tmp_path), num_train_epochs=1, per_device_train_batch_size=2, report_to=[], use_cpu=True,
        save_strategy="no", disable_tqdm=True,
    )  # fmt: skip
    dataset = encode(small(), tokenizer, "encoder")["train"]
    result = transformers.Trainer(model=model, args=arguments, train_dataset=dataset).train()
    assert result.global_step == 2


def test_rows_over_the_limit_are_cut_and_counted(tokenizer):
    """The limit holds for every row and the cut rows are known."""
    encoded = encode(small(limit=3), tokenizer, "encoder")
    assert encoded.truncated == 1
    assert encoded["train"].lengths == [1, 3, 3]
    assert encoded.spec.token_limit == 3


def test_encoder_decoders_get_their_end_mark(tokenizer):
    """Each text ends in EOS within the limit, which their classification heads need."""
    encoded = encode(small(limit=3), tokenizer, "seq2seq")["train"]
    assert [row["input_ids"][-1] for row in encoded.rows] == [tokenizer.eos_token_id] * 3
    assert max(encoded.lengths) == 3


def test_token_lengths_are_those_that_training_sees(tokenizer):
    """Rows are counted as they are cut, so one endless row decides neither memory nor budgets; it is told."""
    lengths, longest = token_lengths(small(limit=4), tokenizer)
    assert (lengths.p50, lengths.p95, lengths.longest, longest) == (3, 4, 4, 6)
    assert lengths.mean == pytest.approx(8 / 3)
    whole, longest = token_lengths(small(), tokenizer)
    assert (whole.p50, whole.longest, longest) == (3, 6, 6)
    assert whole.mean == pytest.approx(10 / 3)


def test_rows_that_are_encoded_are_not_counted_again(tokenizer, monkeypatch):
    """Lengths are those of the tokens that are there, the same as counted anew, which rows that were cut have to be."""
    whole, cut = small(), small(limit=4)
    expected = token_lengths(whole, tokenizer)
    assert token_lengths(cut, tokenizer, encode(cut, tokenizer, "encoder")) == token_lengths(cut, tokenizer)
    encoded = encode(whole, tokenizer, "encoder")
    monkeypatch.setattr("autopeft.data._encode._length", lambda *_: pytest.fail("counted once more"))
    assert token_lengths(whole, tokenizer, encoded) == expected


@given(st.lists(st.integers(1, 60), max_size=200), st.integers(1, 17), st.integers(0, 3), st.booleans())
def test_an_epoch_holds_every_row_once(lengths, batch_size, seed, bucket):
    """Batches are shuffled by the seed alone, lose no row, repeat none, and are at most as large as asked."""
    dataset = EncodedDataset(rows=[{}] * len(lengths), lengths=lengths, truncated=0, pad_values={})
    found = list(batches(dataset, batch_size, seed, bucket=bucket))
    assert sorted(index for batch in found for index in batch) == list(range(len(lengths)))
    assert all(0 < len(batch) <= batch_size for batch in found)
    assert found == list(batches(dataset, batch_size, seed, bucket=bucket))


def test_buckets_save_padding():
    """Batches by length pad less than batches by chance."""
    lengths = [1 + (index * 37) % 64 for index in range(640)]
    dataset = EncodedDataset(rows=[{}] * 640, lengths=lengths, truncated=0, pad_values={})

    def padded(*, bucket):
        return sum(
            max(lengths[i] for i in batch) * len(batch) for batch in batches(dataset, 16, 0, bucket=bucket)
        )  # fmt: skip

    assert padded(bucket=True) < 1.1 * sum(lengths) < padded(bucket=False)


@pytest.mark.parametrize(
    ("text", "script", "language"),
    [
        ("the film was not good and that is all of it", "Latin", "en"),
        ("der Film war nicht gut und das ist auch so", "Latin", "de"),
        ("фильм был очень хороший, мы это видели", "Cyrillic", "ru"),
        ("фільм був дуже гарний і цікавий", "Cyrillic", "uk"),
        ("这部电影非常好看", "Cjk", "zh"),
        ("この映画はとても良かった", "Hiragana", "ja"),
        ("영화가 정말 좋았다", "Hangul", "ko"),
        ("xq zzk wprt", "Latin", "unknown"),
        ("123 !?", "unknown", "unknown"),
    ],
)
def test_script_and_language_are_told_or_unknown(text, script, language):
    """A guess is made only where there is something to go by."""
    assert (script_of([text]), language_of([text])) == (script, language)


def test_data_modules_import_nothing_heavy():
    """Reading a table needs neither torch nor the datasets library, which take seconds to import."""
    heavy = ("torch", "transformers", "datasets", "pandas", "scipy")
    code = f"import sys, autopeft.data; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
