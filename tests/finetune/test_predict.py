"""Predictions on new rows: every row in its place, probabilities that can be relied on, text that is written."""

import csv
import json
import math
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autopeft.data import EncodedDataset
from autopeft.errors import AutopeftError, DataError, InvalidValueError, ModelError, StudyError
from autopeft.finetune import predict_rows, train
from autopeft.finetune.calibrate import calibrate, calibration_error, probabilities
from autopeft.finetune.logits import logits
from autopeft.finetune.predict import Prediction
from autopeft.finetune.table import check_target, write_predictions
from tests.finetune.conftest import tuned_for
from tests.toys import sentences


def write_csv(path, header, rows):
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(header)
        writer.writerows(rows)
    return path


def test_new_rows_are_labelled_in_their_order(finished, tmp_path):
    """Labels come by name for rows without a label column, mostly right; a row without text gets none."""
    fresh = sentences(40, seed=9)
    rows = write_csv(
        tmp_path / "new.csv", ["id", "text"], [(i, text) for i, (text, _) in enumerate(fresh)] + [(40, "")]
    )
    found = predict_rows(finished.output, rows)
    assert [row.row for row in found] == list(range(41))
    assert found[40].value is None
    right = sum(row.value == label for row, (_, label) in zip(found, fresh, strict=False))
    assert right >= 30
    for row in found[:40]:
        assert sum(row.probabilities.values()) == pytest.approx(1)
        assert row.probability == max(row.probabilities.values()) == row.probabilities[row.value]


def test_probabilities_are_the_calibrated_ones(finished, tmp_path):
    """What is told is the softmax at the fitted temperature: at twice that the log-odds are half as large."""
    rows = write_csv(tmp_path / "new.csv", ["text"], [(text,) for text, _ in sentences(6, seed=4)])
    warmer = Path(shutil.copytree(finished.output, tmp_path / "warmer"))
    metrics = json.loads((warmer / "metrics.json").read_text())
    metrics["calibration"]["temperature"] *= 2
    (warmer / "metrics.json").write_text(json.dumps(metrics))
    one, two = (predict_rows(folder, rows) for folder in (finished.output, warmer))
    odds = [[math.log(row.probabilities["pos"] / row.probabilities["neg"]) for row in found] for found in (one, two)]
    assert [value / 2 for value in odds[0]] == pytest.approx(odds[1], abs=1e-3)


def test_batches_do_not_change_predictions(finished, tmp_path):
    """One row at a time or all at once, the probabilities are the same."""
    rows = write_csv(tmp_path / "new.csv", ["text"], [(text,) for text, _ in sentences(9, seed=4)])
    one, many = (predict_rows(finished.output, rows, batch_size=size) for size in (1, 9))
    assert [row.probability for row in one] == pytest.approx([row.probability for row in many], abs=1e-4)


def test_rows_with_other_numbers_of_choices_are_scored_apart():
    """Two, three and four choices in one file are scored in batches of their like, and come back in the rows' order."""
    import torch

    class Counting(torch.nn.Module):
        def forward(self, input_ids):
            return SimpleNamespace(logits=torch.zeros(input_ids.shape[:2]))

    counts = (3, 4, 3, 2)
    rows = [{"input_ids": [[1, 2]] * count, "labels": 0} for count in counts]
    dataset = EncodedDataset(rows=rows, lengths=[2] * len(rows), truncated=0, pad_values={})
    found = logits(Counting(), dataset, dtype="float32", device="cpu")
    assert [len(row) for row in found] == list(counts)


def test_bad_inputs_of_predictions(finished, tmp_path):
    """A folder without a training, a missing column, a file that exists, and an odd suffix each give one error."""
    rows = write_csv(tmp_path / "new.csv", ["texte"], [("film",), ("song",)])
    with pytest.raises(DataError, match=r"must have the column 'text'.*Did you mean 'texte'"):
        predict_rows(finished.output, rows)
    with pytest.raises(StudyError, match="must be the output of `autopeft train`"):
        predict_rows(tmp_path, rows)
    with pytest.raises(StudyError, match="exists already"):
        write_predictions((), rows)
    with pytest.raises(InvalidValueError, match=r"ends in \.csv or \.jsonl"):
        write_predictions((), tmp_path / "out.txt")
    with pytest.raises(StudyError, match=r"out\.csv cannot be written: .*new\.csv is no folder"):
        check_target(rows / "deep" / "out.csv")
    assert "texte" in rows.read_text()


def test_what_was_trained_must_be_whole_and_its_method_there(finished, tmp_path):
    """Trained values cut short, and a method that is not installed any more, are one clear error each."""
    rows = write_csv(tmp_path / "new.csv", ["text"], [("film",), ("song",)])
    cut = Path(shutil.copytree(finished.output, tmp_path / "cut"))
    weights = cut / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ModelError, match=r"trained values in .* are cut short or damaged"):
        predict_rows(cut, rows)
    gone = cut / "tuned.yaml"
    gone.write_text(gone.read_text().replace("method: lora", "method: gone.package:METHOD"))
    with pytest.raises(InvalidValueError, match=r"`method` of a candidate must be an importable module"):
        predict_rows(cut, rows)


def test_values_of_another_adapter_are_refused(finished, writer, tmp_path):
    """Trained values of other sizes, and those of another base model, are one clear error each."""
    from safetensors.torch import load_file, save_file

    rows = write_csv(tmp_path / "new.csv", ["text"], [("film",), ("song",)])
    mixed = Path(shutil.copytree(finished.output, tmp_path / "mixed"))
    path = mixed / "adapter_model.safetensors"
    values = load_file(path)
    save_file({key: value[:2].contiguous() if "lora_A" in key else value for key, value in values.items()}, path)
    with pytest.raises(ModelError, match=r"holds other sizes: size mismatch for .*lora_A.*saved from another model"):
        predict_rows(mixed, rows)
    shutil.copy(Path(writer.output) / path.name, path)
    with pytest.raises(ModelError, match=r"lacks .*classifier\.weight, which .*saved from another model"):
        predict_rows(mixed, rows)


def test_predictions_as_files(finished, tmp_path):
    """A CSV and a JSONL file hold the same rows."""
    rows = write_csv(tmp_path / "new.csv", ["text"], [("film 1 was good",), ("song 2 was bad",)])
    found = predict_rows(finished.output, rows)
    write_predictions(found, tmp_path / "out.csv")
    write_predictions(found, tmp_path / "out.jsonl")
    table = list(csv.DictReader((tmp_path / "out.csv").open()))
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [row["value"] for row in table] == [line["value"] for line in lines] == [row.value for row in found]
    assert json.loads(table[0]["probabilities"]) == lines[0]["probabilities"]


@settings(max_examples=30, deadline=None)
@given(st.floats(0.2, 5.0), st.integers(0, 100))
def test_the_temperature_is_found(true, seed):
    """Labels drawn from the softmax at a temperature give that temperature back, and a lower calibration error."""
    generator = np.random.default_rng(seed)
    scores = generator.normal(0, 3, (3000, 3))
    chances = probabilities(scores, true)
    ids = (generator.random((3000, 1)) > chances.cumsum(-1)).sum(-1)
    found = calibrate(list(scores), [np.array([label]) for label in ids])
    assert abs(math.log(found.temperature / true)) < 0.2
    assert found.error_after < 0.06
    if abs(math.log(true)) > 0.5:
        assert found.error_after < found.error_before


def test_a_validation_without_an_error_is_no_certainty():
    """Probabilities stay below 1 where all rows were right, and the nearer to it the more rows that were."""
    scores, ids = np.array([8.0, 0.0]), np.array([0])
    surest = [probabilities(scores, calibrate([scores] * rows, [ids] * rows).temperature).max() for rows in (25, 1000)]
    assert surest == pytest.approx([26 / 27, 1001 / 1002], abs=1e-4)


def test_calibration_error_of_known_cases():
    """Sure and right is 0, sure and wrong is 1, and words of tagged rows count one by one."""
    sure = np.array([[1.0, 0.0], [1.0, 0.0]])
    assert calibration_error(sure, np.array([0, 0])) == 0
    assert calibration_error(sure, np.array([1, 1])) == 1
    two_words = [np.array([[4.0, 0.0], [0.0, 4.0]]), np.array([[4.0, 0.0]])]
    assert calibrate(two_words, [np.array([0, 1]), np.array([1])]).rows == 3


def test_numbers_and_tags_and_texts(tiny_models, writer, tmp_path):
    """A regressor gives numbers, a tagger one tag per word, a decoder text: each trained for a moment."""
    short = {"epochs": 0.2}
    numbers = write_csv(
        tmp_path / "n.csv",
        ["text", "label"],
        [(text, round(0.01 * i + 0.005, 3)) for i, (text, _) in enumerate(sentences(80))],
    )
    train(tuned_for(tiny_models["bert"], numbers, "regression", **short), numbers, tmp_path / "regressor")
    new = write_csv(tmp_path / "new.csv", ["text"], [("film 1 was good",), ("song 2 was bad",)])
    assert all(isinstance(row.value, float) for row in predict_rows(tmp_path / "regressor", new))

    tagged = tmp_path / "t.jsonl"
    lines = [{"tokens": text.split(), "tags": ["B-T", *["O"] * 3]} for text, _ in sentences(80)]
    tagged.write_text("".join(json.dumps(line) + "\n" for line in lines))
    outcome = train(tuned_for(tiny_models["bert"], tagged, "token-classification"), tagged, tmp_path / "tagger")
    assert outcome.calibration is not None
    assert outcome.calibration.rows == 4 * outcome.validation.after.rows
    assert outcome.test.after.value > 0.5  # entities, not tags: seqeval reads the label names
    words = tmp_path / "w.jsonl"
    rows = [["", "film", "was", 30 * "x", "late"], ["song"]]
    words.write_text("".join(json.dumps({"tokens": row}) + "\n" for row in rows))
    whole, alone = predict_rows(tmp_path / "tagger", words)
    assert [tag is None for tag in whole.value] == [True, False, False, False, True]  # no tokens, and beyond the limit
    assert [chance is None for chance in whole.probability] == [True, False, False, False, True]
    assert (len(alone.value), whole.truncated, alone.truncated) == (1, True, False)

    asked = write_csv(tmp_path / "asked.csv", ["prompt"], [("film 3 was good?",), ("song 4 was bad indeed?",)])
    written = predict_rows(writer.output, asked, max_new_tokens=4)
    assert all(isinstance(row.value, str) for row in written)
    assert [row.value for row in predict_rows(writer.output, asked, max_new_tokens=4, batch_size=1)] == [
        row.value for row in written
    ]


def test_a_training_that_has_not_ended_cannot_predict(finished, tmp_path):
    """Without metrics.json the folder is no finished training, whatever else lies there."""
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(AutopeftError, match="has not ended"):
        predict_rows(tmp_path, tmp_path / "new.csv")


def test_a_table_says_what_the_lines_say(tmp_path):
    """Either file has all that is known of a row: a cell of CSV that was cut is marked as its line of JSON is."""
    found = (Prediction(row=0, value="pos", probability=0.9), Prediction(row=1, value="neg", truncated=True))
    write_predictions(found, tmp_path / "out.csv")
    write_predictions(found, tmp_path / "out.jsonl")
    with (tmp_path / "out.csv").open(newline="") as stream:
        table = list(csv.DictReader(stream))
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert list(table[0]) == list(lines[0])
    assert [row["truncated"] for row in table] == [str(line["truncated"]) for line in lines] == ["False", "True"]
