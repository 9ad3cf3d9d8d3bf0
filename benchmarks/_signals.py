"""Which early reading tells how good a run will be: rank correlation, and whether the best are among the first."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmarks._arms import Pool

FRACTIONS = (0.05, 0.1, 0.15, 0.25, 0.33, 0.5, 0.75, 1.0)
_RESAMPLES = 1000


@dataclass(frozen=True, kw_only=True)
class SignalQuality:
    """How well a signal after a share of the budget orders runs by their final quality.

    Attributes:
        correlation: Spearman's, with the ends of a bootstrap interval over runs.
        winner_place: where the signal puts the run that ends best, from 1.
        regret_of_first: quality that is lost by taking the run that the signal puts first.
    """

    signal: str
    share: float
    correlation: float
    low: float
    high: float
    winner_place: int
    regret_of_first: float


def signal_quality(pool: Pool, fractions: Sequence[float] = FRACTIONS) -> Iterator[SignalQuality]:
    """Yields every signal of a pool after every fraction that its curves reach down to."""
    for signal in pool.signals:
        first = max(arm.curves[signal][0][0] for arm in pool.arms)
        for share in fractions:
            if share >= first - 1e-9:
                yield _quality(pool, signal, share)


def _quality(pool: Pool, signal: str, share: float) -> SignalQuality:
    import numpy as np

    readings = np.array([arm.reading(signal, share) for arm in pool.arms])
    values = np.array([arm.value for arm in pool.arms])
    generator = np.random.default_rng(0)
    rows = generator.integers(0, len(values), (_RESAMPLES, len(values)))
    low, high = np.nanquantile([_spearman(-readings[r], values[r]) for r in rows], [0.025, 0.975])
    order = np.argsort(readings, kind="stable")
    return SignalQuality(
        signal=signal,
        share=share,
        correlation=_spearman(-readings, values),
        low=float(low),
        high=float(high),
        winner_place=1 + int(np.flatnonzero(order == values.argmax())[0]),
        regret_of_first=float(values.max() - values[order[0]]),
    )


def _spearman(one: object, other: object) -> float:
    from scipy.stats import spearmanr

    return float(spearmanr(one, other).statistic)
