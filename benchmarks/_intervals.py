"""Means with bootstrap intervals."""

from collections.abc import Sequence
from dataclasses import dataclass

RESAMPLES = 2000
LEVEL = 0.95


@dataclass(frozen=True, kw_only=True)
class Mean:
    """A mean over repetitions with a percentile bootstrap interval at `LEVEL`."""

    value: float
    low: float
    high: float
    count: int


def mean(values: Sequence[float], seed: int = 0) -> Mean:
    """Returns the mean of values and its interval."""
    import numpy as np

    given = np.asarray(values, dtype=float)
    generator = np.random.default_rng(seed)
    means = generator.choice(given, (RESAMPLES, len(given))).mean(axis=1)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Mean(value=float(given.mean()), low=float(low), high=float(high), count=len(given))
