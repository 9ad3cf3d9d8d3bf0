"""Intervals are told where a metric has values, and take no longer the more rows there are."""

import pytest

from autopeft.errors import UndefinedScoreError
from autopeft.tasks import Predictions
from autopeft.training import scoring
from autopeft.training.scoring import Objective, difference, score, standard_error


def said(positive, rows):
    """Rows of which so many are positive, all predicted right."""
    truth = [1] * positive + [0] * (rows - positive)
    return Predictions(predicted=truth, expected=truth, losses=[0.1] * rows, weights=[1.0] * rows)


def recall(predictions):
    """Has no value where nothing is positive."""
    if not any(predictions.expected):
        raise UndefinedScoreError("The metric recall has no value.")
    hits = [p for p, e in zip(predictions.predicted, predictions.expected, strict=True) if e]
    return sum(hits) / len(hits)


RECALL = Objective(name="recall", metrics={"recall": recall}, lower_is_better=False)


def test_resamples_without_a_value_are_left_out():
    """One positive row of thirty is missing in every third resample; the interval is that of the others."""
    found = score(said(1, 30), RECALL, 0)
    assert (found.value, found.low, found.high) == (1.0, 1.0, 1.0)
    assert standard_error(said(1, 30), RECALL, 0) == 0.0
    assert not difference(said(1, 30), said(1, 30), RECALL, 0).distinguishable


def test_a_metric_that_hardly_ever_has_a_value_is_refused(monkeypatch):
    """An interval of a handful of resamples would be none: the error says how many there were."""
    monkeypatch.setattr(scoring, "FEWEST_DEFINED", 90)
    with pytest.raises(UndefinedScoreError, match=r"a value on \d\d of 100 resamples of the 30 rows.*\nTake a metric"):
        standard_error(said(1, 30), RECALL, 0)


@pytest.mark.parametrize(("rows", "resamples"), [(4, 250), (1, 1000), (100, 200)])
def test_many_rows_are_drawn_fewer_times(monkeypatch, rows, resamples):
    """A split however large costs so many drawn rows, and never fewer resamples than an interval takes."""
    monkeypatch.setattr(scoring, "DRAWN_ROWS", 1000)
    asked: list[None] = []

    def counted(_predictions):
        asked.append(None)
        return 0.5

    score(said(1, rows), Objective(name="half", metrics={"half": counted}, lower_is_better=False), 0)
    assert len(asked) == resamples + 1
