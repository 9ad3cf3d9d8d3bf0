"""Temperature scaling: one number that turns a classifier's raw scores into probabilities one can rely on."""

from collections.abc import Sequence
from typing import Any

from autopeft.finetune.outcomes import Calibration

_LOW, _HIGH = 0.05, 20.0
_BINS = 10
_GOLDEN = 0.6180339887498949
_ROUNDS = 60


def calibrate(scores: Sequence[Any], truths: Sequence[Any]) -> Calibration:
    """Returns the temperature of the lowest mean negative log-likelihood (Guo et al. 2017, arXiv 1706.04599).

    The truths are taken for as sure as their number lets one be (Platt 1999): of n of them each stands for (n + 1) /
    (n + 2), and the other classes share the rest. A set without an error would else have its optimum at zero, and
    probabilities of 0 and 1 whatever the row. The likelihood has one optimum in the temperature, so a golden-section
    search between 0.05 and 20 finds it.

    Args:
        scores: raw scores per row, (classes,) or (words, classes).
        truths: class ids per row, as many as words.
    """
    import numpy as np

    stacked = np.concatenate([np.atleast_2d(row) for row in scores]).astype(np.float64)
    ids = np.concatenate(list(truths)).astype(int)
    temperature = _minimum(lambda value: _loss(stacked, ids, value))
    return Calibration(
        temperature=temperature,
        error_before=calibration_error(probabilities(stacked, 1.0), ids),
        error_after=calibration_error(probabilities(stacked, temperature), ids),
        rows=len(ids),
    )


def probabilities(scores: Any, temperature: float) -> Any:
    """Returns the softmax of the scores divided by the temperature, over the last axis."""
    import numpy as np

    scaled = np.asarray(scores, dtype=np.float64) / temperature
    exponents = np.exp(scaled - scaled.max(-1, keepdims=True))
    return exponents / exponents.sum(-1, keepdims=True)


def calibration_error(chances: Any, ids: Any) -> float:
    """Returns the mean gap between confidence and accuracy over ten bins of equal width, weighed by their rows."""
    import numpy as np

    confidence, right = chances.max(-1), chances.argmax(-1) == ids
    bins = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
    members = [bins == place for place in range(_BINS)]
    gaps = [abs(confidence[m].mean() - right[m].mean()) * m.mean() for m in members if m.any()]
    return float(sum(gaps))


def _loss(scores: Any, ids: Any, temperature: float) -> float:
    import numpy as np

    scaled = scores / temperature
    top = scaled.max(-1)
    total = top + np.log(np.exp(scaled - top[:, None]).sum(-1))
    right, sure = scaled[np.arange(len(ids)), ids], (len(ids) + 1) / (len(ids) + 2)
    others = (scaled.sum(-1) - right) / (scaled.shape[-1] - 1)
    return float((total - sure * right - (1 - sure) * others).mean())


def _minimum(function: Any) -> float:
    """Returns where a function with one minimum has it, searched on a logarithmic scale."""
    from math import exp, log

    low, high = log(_LOW), log(_HIGH)
    for _ in range(_ROUNDS):
        near, far = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
        if function(exp(near)) <= function(exp(far)):
            high = far
        else:
            low = near
    return float(exp((low + high) / 2))
