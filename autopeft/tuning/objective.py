"""The metric that decides a search: one of the task's, or a function of the user's own."""

import math
from functools import partial

from autopeft.data import Data, UserMetric, load_metric
from autopeft.errors import UndefinedScoreError
from autopeft.tasks import Metric, Predictions, get_task
from autopeft.training.scoring import Objective


def objective(data: Data) -> Objective:
    """Returns the metric that decides, and the others of the task beside it."""
    task = get_task(data.spec.task)
    name = data.spec.metric
    if ":" in name:
        return Objective(name=name, metrics={**task.metrics, name: _own_metric(name)}, lower_is_better=False)
    return Objective(name=name, metrics=task.metrics, lower_is_better=name in task.lower_is_better)


def _own_metric(name: str) -> Metric:
    return partial(_applied, load_metric(name), name)


def _applied(function: UserMetric, name: str, predictions: Predictions) -> float:
    """Returns a metric of the user's own on the predictions.

    Raises:
        UndefinedScoreError: it has no value there; other errors are defects of the metric, and keep their traceback.
    """
    rows = len(predictions.expected)
    try:
        value = float(function(predictions.predicted, predictions.expected))
    except (ArithmeticError, ValueError) as error:
        raise UndefinedScoreError(_UNDEFINED.format(name, rows, error)) from error
    if not math.isfinite(value):
        raise UndefinedScoreError(_UNDEFINED.format(name, rows, f"it gave {value}"))
    return value


_UNDEFINED = (
    "The metric {} has no value on {} rows of predictions: {}.\n"
    "Let it return a number for any, also where one class is predicted or expected alone."
)
