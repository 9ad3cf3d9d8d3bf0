"""The metric that decides may be the user's own."""

import math

import pytest

from autopeft.errors import UndefinedScoreError
from autopeft.tasks import Predictions
from autopeft.tuning.objective import _applied

SAID = Predictions(predicted=[0, 0], expected=[0, 1], losses=[0.1, 2.0], weights=[1.0, 1.0])


@pytest.mark.parametrize(
    ("metric", "why"),
    [(lambda p, e: math.nan, "it gave nan"), (lambda p, e: 1 / p.count(1), "division by zero")],
)
def test_a_metric_without_a_value_is_named(metric, why):
    """A metric that gives no number, or cannot be computed on some predictions, is refused by its name."""
    with pytest.raises(UndefinedScoreError, match=rf"mine:own has no value on 2 rows of predictions: {why}\.\nLet it"):
        _applied(metric, "mine:own", SAID)


def test_a_defect_of_a_metric_keeps_its_traceback():
    """A metric that was written wrong is no metric without a value."""

    def misspelt(predicted, expected):
        return predicted.counted(1)

    with pytest.raises(AttributeError, match="counted"):
        _applied(misspelt, "mine:own", SAID)
    assert _applied(lambda p, e: sum(e), "mine:own", SAID) == 1.0
