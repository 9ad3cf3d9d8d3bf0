"""What needs no fine-tuning is scored where it can be, and never in the way of what was found."""

import math
from types import SimpleNamespace
from typing import Any

import pytest

from autopeft.data import EncodedDataset
from autopeft.tasks import get_task
from autopeft.training.run import collate
from autopeft.training.scoring import Objective
from autopeft.training.worker import Worker
from autopeft.tuning import references
from autopeft.tuning.prepare import Request, prepare
from autopeft.tuning.references import _labels, tfidf, untuned
from autopeft.values.candidates import Candidate, Constraints
from tests.toys import classification_csv

CLASSES = get_task("classification")
OBJECTIVE = Objective(name="accuracy", metrics=CLASSES.metrics, lower_is_better=False)


def data_of(train, test) -> Any:
    rows = {"train": train, "test": test}
    made = {split: [{"text": text, "label": label} for text, label in pairs] for split, pairs in rows.items()}
    return SimpleNamespace(rows=made, spec=SimpleNamespace(labels=("a", "b", "c")))


def scored(train, test):
    return tfidf(data_of(train, test), CLASSES, OBJECTIVE, 0)


def test_a_label_that_was_not_seen_has_no_probability():
    """A label of the test split that no training row has is a row that is wrong, and no error."""
    known = [("good film", "a"), ("bad film", "b")] * 5
    assert scored(known, [("good", "a"), ("bad", "b")]).value == 1.0
    assert scored(known, [("good", "a"), ("bad", "b"), ("odd", "c"), ("odd", "c")]).value == 0.5


def test_one_class_is_nothing_to_learn():
    """Where all training rows are of one class there is no such score."""
    assert scored([("good film", "a"), ("bad film", "a")], [("good", "a")]) is None


def test_words_of_one_letter_count_where_there_are_no_others():
    """Sequences of residues, one letter each, are scored; texts without any word are not."""
    assert scored([("M K T", "a"), ("A Y W", "b")] * 5, [("M M K", "a"), ("W Y Y", "b")]).value == 1.0
    assert scored([("!", "a"), ("??", "b")], [("!", "a")]) is None


def test_labels_are_read_without_padding_a_row(monkeypatch):
    """The labels of a sample are read from its rows alone: no tensor is made of the other rows."""
    monkeypatch.setattr(EncodedDataset, "__getitems__", lambda *_: pytest.fail("rows were made into tensors"))
    rows = [{"input_ids": [1], "labels": label} for label in (0, 1, 2)]
    dataset = EncodedDataset(rows=rows, lengths=[1] * 3, truncated=0, pad_values={})
    assert _labels(dataset, [2, 0]) == [2, 0]


def test_no_more_rows_at_once_than_were_planned_for(tiny_models, tmp_path, monkeypatch):
    """On a GPU the untuned model reads as many rows at once as a training step was planned for."""
    source = classification_csv(tmp_path / "toy.csv", rows=80)
    request = Request(
        model=str(tiny_models["bert"]), data=str(source), folds=1, constraints=Constraints(methods=("ia3",))
    )
    ready = prepare(request)
    worker = Worker(ready.model, ready.hardware, head_seed=0)
    candidate = Candidate(method="ia3", learning_rate=1e-3, batch_size=4)
    worker.base(candidate)
    read = []

    def counted(dataset, rows, _device):
        read.append(len(rows))
        return collate(dataset, rows, "cpu")

    monkeypatch.setattr(references, "collate", counted)
    monkeypatch.setattr(worker, "device", "cuda:0")
    found = untuned(worker, ready.encoded, ready.objective, candidate, 0)
    assert found is not None
    assert math.isfinite(found.value)
    assert max(read) == 4
