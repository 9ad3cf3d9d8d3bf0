"""Corrects estimates by what real runs took on the same card with the same library versions.

No global scale: what is off differs in kind. A traced peak misses what no trace sees (workspaces of kernels, a
library's own buffers), which does not grow with the model, so memory is corrected by an offset in bytes. Time is
corrected by a factor for each class of operation, because products, attention and memory traffic each reach a share of
the card's rates of their own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from statistics import median

from autopeft.estimation.observations import Observation, observations, store_state
from autopeft.values.candidates import Estimate, MemoryEstimate

FEWEST = 3
"""Runs below which memory is not corrected: one run's residual may be its own."""

AGREEMENT = 2 / 3
"""Share of the runs whose residuals must have one sign; where they disagree no offset is the right one."""

_PRIOR = 0.1
"""Weight of the belief that a factor is 1, in runs' squared relative errors."""
_ROUNDS = 200
_SLOWEST, _FASTEST = 5.0, 0.2
_SMALLEST_SPREAD = 1.05


@dataclass(frozen=True, kw_only=True)
class Correction:
    """What measured runs change about an estimate.

    Attributes:
        measurements: how many it rests on; a trial on a card gives two, of its peak and of its step.
        reserved_offset_bytes: added to the estimated peak of reserved memory.
        seconds_factors: by class of operation.
        spread: factor above and below within which every run's time lay; None where the estimate's own holds.
    """

    card: str = ""
    measurements: int = 0
    reserved_offset_bytes: int = 0
    seconds_factors: Mapping[str, float] = field(default_factory=dict)
    spread: float | None = None


def correction(card: str, stack: str) -> Correction:
    """Returns what the runs kept of one card and stack say; nothing is changed where there are none."""
    return _fitted(card, stack, store_state())


@lru_cache(maxsize=8)
def _fitted(card: str, stack: str, _state: tuple[Path, int, int] | None) -> Correction:
    """Returns the correction as the file stands: a search asks for it at every estimate."""
    return fit(card, observations(card, stack))


def fit(card: str, runs: Sequence[Observation]) -> Correction:
    """Returns the correction that runs of one card and stack ask for."""
    factors = _factors(runs)
    return Correction(
        card=card,
        measurements=len(runs),
        reserved_offset_bytes=_offset(
            [r.reserved_bytes - r.estimated_reserved_bytes for r in runs if r.reserved_bytes is not None]
        ),
        seconds_factors=factors,
        spread=_spread(runs, factors),
    )


def _offset(residuals: Sequence[int]) -> int:
    """Returns the median residual where there are enough runs and they agree on its sign, else 0."""
    above = sum(residual > 0 for residual in residuals)
    below = sum(residual < 0 for residual in residuals)
    if len(residuals) < FEWEST or max(above, below) < AGREEMENT * len(residuals):
        return 0
    return int(median(residuals))


def _timed(runs: Sequence[Observation]) -> list[tuple[Mapping[str, float], float]]:
    return [(run.estimated_seconds, run.step_seconds) for run in runs if run.estimated_seconds and run.step_seconds]


def _factors(runs: Sequence[Observation]) -> dict[str, float]:
    """Returns the factors with the least squared relative error over the runs, drawn towards 1.

    Ridge regression by coordinate descent; classes that take no time in any run keep 1.
    """
    timed = _timed(runs)
    shares = [{name: seconds / took for name, seconds in estimated.items()} for estimated, took in timed]
    names = sorted({name for row in shares for name in row})
    factors = dict.fromkeys(names, 1.0)
    for _ in range(_ROUNDS if shares else 0):
        for name in names:
            lacking = [1 - sum(f * row.get(n, 0.0) for n, f in factors.items() if n != name) for row in shares]
            above = sum(row.get(name, 0.0) * rest for row, rest in zip(shares, lacking, strict=True)) + _PRIOR
            below = sum(row.get(name, 0.0) ** 2 for row in shares) + _PRIOR
            factors[name] = min(max(above / below, _FASTEST), _SLOWEST)
    return factors


def _spread(runs: Sequence[Observation], factors: Mapping[str, float]) -> float | None:
    timed = _timed(runs)
    if len(timed) < FEWEST:
        return None
    ratios = [sum(factors[name] * seconds for name, seconds in row.items()) / took for row, took in timed]
    return max(_SMALLEST_SPREAD, *(max(ratio, 1 / ratio) for ratio in ratios))


def corrected(estimate: Estimate, by: Correction) -> Estimate:
    """Returns an estimate with a correction applied, and a note that says which.

    Args:
        estimate: as made without corrections.
        by: from `correction`; without measurements the estimate is returned as it is.
    """
    if by.measurements == 0:
        return estimate
    memory = _corrected_memory(estimate.memory, by)
    timed = _corrected_seconds(estimate, by)
    return replace(timed, memory=memory, notes=(*estimate.notes, _note(by)))


def _corrected_memory(memory: MemoryEstimate, by: Correction) -> MemoryEstimate:
    reserved = memory.peak_reserved_bytes + by.reserved_offset_bytes
    return replace(memory, peak_reserved_bytes=max(memory.peak_allocated_bytes, reserved))


def _corrected_seconds(estimate: Estimate, by: Correction) -> Estimate:
    if estimate.step_seconds is None or not estimate.step_seconds_by_class or not by.seconds_factors:
        return estimate
    by_class = {
        name: seconds * by.seconds_factors.get(name, 1.0) for name, seconds in estimate.step_seconds_by_class.items()
    }
    seconds = sum(by_class.values())
    low, high = estimate.step_seconds_low, estimate.step_seconds_high
    if by.spread is not None:
        low, high = seconds / by.spread, seconds * by.spread
    elif low is not None and high is not None:
        low, high = low * seconds / estimate.step_seconds, high * seconds / estimate.step_seconds
    return replace(
        estimate, step_seconds=seconds, step_seconds_low=low, step_seconds_high=high, step_seconds_by_class=by_class
    )  # fmt: skip


def _note(by: Correction) -> str:
    said = []
    if by.reserved_offset_bytes:
        said.append(f"{by.reserved_offset_bytes / 2**20:+.0f} MiB of reserved memory")
    slower = [f"{name} ×{factor:.2f}" for name, factor in by.seconds_factors.items() if abs(factor - 1) > 0.005]
    if slower:
        said.append(f"time by {', '.join(slower)}")
    by_what = f"{by.measurements} measurement{'' if by.measurements == 1 else 's'} on {by.card}"
    return f"Corrected by {by_what}: {'; '.join(said)}." if said else f"In line with {by_what}: nothing to correct."
