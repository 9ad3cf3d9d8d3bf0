"""Scoring a model on a split: predictions, metrics, and bootstrap intervals over rows."""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from autopeft.data import EncodedDataset
from autopeft.errors import DivergedError, UndefinedScoreError
from autopeft.tasks import Metric, Predictions, TaskType
from autopeft.training.devices import autocast
from autopeft.training.parallel import ALONE, Parallel
from autopeft.training.run import collate
from autopeft.values.candidates import SCORED_ON_CPU
from autopeft.values.names import Dtype
from autopeft.values.outcomes import Difference, Score

LEVEL = 0.95
RESAMPLES = 1000
DRAWN_ROWS, FEWEST_RESAMPLES = 10_000_000, 200
"""Rows that all resamples together draw at the most, and how many there are of a split however large: drawn a thousand
times, a hundred thousand rows take minutes for an interval as narrow as that of a few hundred."""

ERROR_RESAMPLES = 100
"""Enough for a standard error, which they give to within 7 %."""

FEWEST_DEFINED = 20
"""Resamples on which a metric must have a value for an interval or an error to be told."""


def predict(
    model: Any,
    dataset: EncodedDataset,
    task: TaskType,
    tokenizer: Any,
    *,
    dtype: Dtype,
    device: str,
    rows: int | None = None,
    batch_size: int = SCORED_ON_CPU,
) -> Predictions:
    """Returns predictions for a split's rows in their order.

    Args:
        model: the attached model; it is put into evaluation mode.
        dataset: the split.
        task: its type, which knows how to predict.
        tokenizer: for tasks whose predictions are text.
        dtype: of the computation.
        device: torch's name for it.
        rows: so many of them, evenly spread; None for all.
        batch_size: rows per forward pass.
    """
    import torch

    chosen = spread(len(dataset), len(dataset) if rows is None else rows)
    # Batches of like length waste no padding; the order of rows is restored below.
    order = sorted(chosen, key=lambda index: dataset.lengths[index])
    batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    # Of the whole split, so that no text is cut short by what it happens to be written beside.
    longest = dataset.longest_target
    model.eval()
    with torch.no_grad(), autocast(device, dtype):
        parts = [task.predict(model, collate(dataset, batch, device), tokenizer, longest) for batch in batches]
    position = {index: place for place, index in enumerate(order)}
    return _rearrange(_join(parts), [position[index] for index in chosen])


def checked(predictions: Predictions) -> Predictions:
    """Returns predictions of a trained model whose rows all have a loss.

    Raises:
        DivergedError: one has none, so that its metrics are no numbers either.
    """
    if not all(map(math.isfinite, predictions.losses)):
        raise DivergedError("After its training the loss on held-out rows is no number; lower the learning rate.")
    return predictions


def held_out_loss(
    model: Any,
    dataset: EncodedDataset,
    task: TaskType,
    *,
    dtype: Dtype,
    device: str,
    rows: int,
    batch_size: int = SCORED_ON_CPU,
    parallel: Parallel = ALONE,
) -> float:
    """Returns the weighted mean loss of some of a split's rows, in nats: the smooth signal trials are pruned on.

    Processes that train together take so many rows each at once, and all return the mean over all rows.
    """
    import torch

    order = sorted(spread(len(dataset), rows), key=lambda index: dataset.lengths[index])
    total, weight = 0.0, 0.0
    model.eval()
    with torch.no_grad(), autocast(device, dtype):
        for start in range(0, len(order), batch_size * parallel.size):
            together = order[start : start + batch_size * parallel.size]
            # One without rows computes along: sharded layers do so only where all processes do.
            mine = parallel.share(together)
            losses, weights = task.losses(model, collate(dataset, mine or together[:1], device))
            if mine:
                total += sum(loss * part for loss, part in zip(losses, weights, strict=True))
                weight += sum(weights)
    total, weight = parallel.total(total, weight)
    return float(total / weight)


def spread(count: int, rows: int) -> list[int]:
    """Returns positions of so many rows out of ``count``, evenly spaced, for sources often lie sorted by label."""
    taken = min(rows, count)
    return [place * count // taken for place in range(taken)]


@dataclass(frozen=True, kw_only=True)
class Objective:
    """The metric that decides a search, and the others that are reported beside it."""

    name: str
    metrics: Mapping[str, Metric]
    lower_is_better: bool

    @property
    def metric(self) -> Metric:
        """The function behind the name."""
        return self.metrics[self.name]

    def signed(self, value: float) -> float:
        """Returns the value so that higher is better."""
        return -value if self.lower_is_better else value

    def all_metrics(self, predictions: Predictions) -> dict[str, float]:
        """Returns every metric on the predictions."""
        return {name: float(metric(predictions)) for name, metric in self.metrics.items()}


def score(predictions: Predictions, objective: Objective, seed: int) -> Score:
    """Returns the deciding metric with its percentile bootstrap interval over rows."""
    metric = objective.metric
    values = _resampled([predictions], seed, lambda parts: metric(parts[0]))
    low, high = _interval(values)
    rows = len(predictions.expected)
    return Score(metric=objective.name, value=metric(predictions), low=low, high=high, level=LEVEL, rows=rows)


def difference(winner: Predictions, other: Predictions, objective: Objective, seed: int) -> Difference:
    """Returns winner minus other in the deciding metric, with a bootstrap interval paired by row."""
    metric = objective.metric
    values = _resampled([winner, other], seed, lambda parts: metric(parts[0]) - metric(parts[1]))
    low, high = _interval(values)
    return Difference(
        value=metric(winner) - metric(other), low=low, high=high, level=LEVEL, distinguishable=not low <= 0.0 <= high
    )


def standard_error(predictions: Predictions, objective: Objective, seed: int) -> float:
    """Returns the standard error of the deciding metric by a bootstrap over rows: what other rows would change."""
    values = _resampled([predictions], seed, lambda parts: objective.metric(parts[0]), ERROR_RESAMPLES)
    # A value beyond a float's range says nothing on how far another one is from it.
    return statistics.stdev(values) if all(math.isfinite(value) for value in values) else math.inf


def _resampled(
    parts: Sequence[Predictions],
    seed: int,
    statistic: Callable[[Sequence[Predictions]], float],
    resamples: int = RESAMPLES,
) -> list[float]:
    """Returns a statistic on resampled rows; resamples are left out on which the metric has no value.

    Raises:
        UndefinedScoreError: it has one on too few.
    """
    import numpy as np

    generator = np.random.default_rng(seed)
    rows = len(parts[0].expected)
    count = min(resamples, max(FEWEST_RESAMPLES, DRAWN_ROWS // rows))
    found = []
    for _ in range(count):
        draw = generator.integers(0, rows, rows).tolist()
        with suppress(UndefinedScoreError):
            found.append(statistic([_rearrange(part, draw) for part in parts]))
    if len(found) < FEWEST_DEFINED:
        raise UndefinedScoreError(_FEW.format(len(found), count, rows))
    return found


_FEW = (
    "The metric has a value on {} of {} resamples of the {} rows, which are too few for an interval.\n"
    "Take a metric that has one on any rows, or give more rows."
)


def _interval(values: Sequence[float]) -> tuple[float, float]:
    import numpy as np

    tail = 100 * (1 - LEVEL) / 2
    low, high = np.percentile(values, [tail, 100 - tail])
    return float(low), float(high)


def _join(parts: Sequence[Predictions]) -> Predictions:
    return Predictions(
        predicted=[item for part in parts for item in part.predicted],
        expected=[item for part in parts for item in part.expected],
        losses=[item for part in parts for item in part.losses],
        weights=[item for part in parts for item in part.weights],
    )


def _rearrange(part: Predictions, indices: Sequence[int]) -> Predictions:
    return Predictions(
        predicted=[part.predicted[index] for index in indices],
        expected=[part.expected[index] for index in indices],
        losses=[part.losses[index] for index in indices],
        weights=[part.weights[index] for index in indices],
    )
