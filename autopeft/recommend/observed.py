"""Combines what was predicted with what was seen here: a probe's few steps, or trials of the user's own searches.

A run that was shorter than the planned training is taken for it with an error that grows with what was left. Each
prediction and its observation are weighed by the other's variance.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from statistics import NormalDist, median

from autopeft.values.predictions import Prediction

LOSS_ERROR = 6.0
"""Error of a reading as a final gain, in per cent of the loss: 38 measured runs came to it times one and the decades of
tokens that a reading at two fifths leaves (``profiles/evidence/own_cpu.jsonl``)."""

POINTS_PER_LOSS, POINTS_ERROR = 0.28, 1.3
"""Points of accuracy for a per cent of the loss, and the error of saying so: 29 runs of twelve methods on film reviews
(``benchmarks/methods.py``)."""

FARTHEST = 40.0
"""Per cent of the loss from their median beyond which readings count no more: one that is far ahead says that it is
ahead, as in the measured gains that predictions rest on."""


def combined(predictions: Sequence[Prediction], gains: Sequence[float | None], ratio: float) -> tuple[Prediction, ...]:
    """Returns the predictions corrected by readings, each by the other's variance.

    The readings' common level is not known and is taken from the predictions, so that only differences count.

    Args:
        predictions: what measured runs led to expect.
        gains: from `readings`.
        ratio: tokens of the planned training over those of the probe.
    """
    error = LOSS_ERROR * (1 + math.log10(max(1.0, ratio)))
    in_points = [prediction.unit == "points" for prediction in predictions]
    scales = [POINTS_PER_LOSS if points else 1.0 for points in in_points]
    noises = [math.hypot(POINTS_PER_LOSS * error, POINTS_ERROR) if points else error for points in in_points]
    wide = [_deviation(prediction) for prediction in predictions]
    bounded = _bounded(gains)
    seen = sorted(bounded)
    trust = {place: 1 / (wide[place] ** 2 + noises[place] ** 2) for place in seen}
    excess = {place: scales[place] * bounded[place] - predictions[place].points for place in seen}
    level = sum(trust[place] * excess[place] for place in seen) / sum(trust.values())
    return tuple(
        _moved(prediction, wide[place] ** 2 * trust[place], excess[place] - level) if place in trust else prediction
        for place, prediction in enumerate(predictions)
    )


def _bounded(gains: Sequence[float | None]) -> dict[int, float]:
    """Returns the readings there are, by place, none farther than `FARTHEST` from their median."""
    known = {place: gain for place, gain in enumerate(gains) if gain is not None}
    middle = median(known.values())
    return {place: min(max(gain, middle - FARTHEST), middle + FARTHEST) for place, gain in known.items()}


def _moved(prediction: Prediction, share: float, by: float) -> Prediction:
    """Returns a prediction moved by a share of a surprise; the same share of its variance is gone."""
    points = prediction.points + share * by
    half = (prediction.high - prediction.low) / 2 * math.sqrt(1 - share)
    return replace(prediction, points=points, low=points - half, high=points + half)


def _deviation(prediction: Prediction) -> float:
    """Returns the standard deviation that a prediction's interval stands for."""
    return (prediction.high - prediction.low) / 2 / NormalDist().inv_cdf((1 + prediction.level) / 2)
