"""What to change first so that a run fits: each change is estimated, not guessed."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from autopeft.estimation.practice import OWN, writes
from autopeft.estimation.question import Plan
from autopeft.values.candidates import Estimate

SCHEME = "nf4-double"
SMALL_OPTIMIZER = "adamw_8bit"
OPTIMIZERS = {"cuda": "paged_adamw_8bit", "rocm": SMALL_OPTIMIZER, "cpu": SMALL_OPTIMIZER}
"""Optimizers of small state by the kinds of device that bitsandbytes updates them on."""

QUANTIZED_KINDS = frozenset({"cuda", "cpu"})
"""Kinds of device whose quantized bases are planned with."""

SHORTEST = 64
"""Tokens below which shorter rows are no remedy."""


@dataclass(frozen=True, kw_only=True)
class Remedy:
    """A change that lowers the peak.

    Attributes:
        words: what to do, with the command's options.
        gain_bytes: by how much reserved memory and context fall.
        total_bytes: what is left of them.
        fits: whether the run then fits.
    """

    words: str
    gain_bytes: int
    total_bytes: int
    fits: bool


@dataclass(frozen=True, kw_only=True)
class _Change:
    words: str
    apply: Callable[[Plan], Plan]


def remedies(asked: Plan, found: Estimate, total: Callable[[Plan], int]) -> tuple[Remedy, ...]:
    """Returns the single changes that lower the peak, the most effective first, and the shortest way to fit.

    Where no single change is enough, the last remedy is the most effective ones together until they are; where
    all of them are not, it is all of them.

    Args:
        asked: the run that does not fit.
        found: its estimate.
        total: plan → reserved memory and context.
    """
    before = found.memory.total_bytes
    tried = [(change, total(changed)) for change in _changes(asked) if _possible(changed := change.apply(asked))]
    useful = sorted(((c, after) for c, after in tried if after < before), key=lambda pair: pair[1])
    single = [_remedy(change.words, before, after, asked) for change, after in useful]
    if len(useful) < 2 or any(remedy.fits for remedy in single):
        return tuple(single)
    return (*single, _together([change for change, _ in useful], before, asked, total))


def _together(changes: list[_Change], before: int, asked: Plan, total: Callable[[Plan], int]) -> Remedy:
    changed, words, after = asked, [], before
    for change in changes:
        next_step = change.apply(changed)
        if not _possible(next_step):
            continue
        changed, after = next_step, total(next_step)
        words.append(change.words)
        if after <= asked.limit_bytes:
            break
    return _remedy(" and ".join(words), before, after, asked)


def _remedy(words: str, before: int, after: int, asked: Plan) -> Remedy:
    return Remedy(words=words, gain_bytes=before - after, total_bytes=after, fits=after <= asked.limit_bytes)


def _possible(asked: Plan) -> bool:
    return not asked.method.violations(asked.setup)


def _changes(asked: Plan) -> Iterator[_Change]:
    candidate, able, kind = asked.setup.candidate, asked.method.capabilities, asked.device.kind
    if candidate.quantization == "none" and able.quantized_base and kind in QUANTIZED_KINDS:
        yield _Change(words=f"--quantization {SCHEME}", apply=lambda p: _changed(p, quantization=SCHEME))
    if not candidate.gradient_checkpointing and able.gradient_checkpointing:
        yield _Change(words="--gradient-checkpointing", apply=lambda p: _changed(p, gradient_checkpointing=True))
    if asked.practice != OWN and asked.practice.loss == "whole" and writes(asked.setup):
        chunked = replace(asked.practice, loss="chunked")
        yield _Change(words="--loss chunked", apply=lambda p: replace(p, practice=chunked))
    if candidate.batch_size > 1:
        rows = candidate.batch_size * candidate.accumulation
        yield _Change(
            words=f"--batch-size 1 --accumulation {rows}", apply=lambda p: _changed(p, batch_size=1, accumulation=rows)
        )
    small = OPTIMIZERS.get(kind)
    if small is not None and candidate.optimizer not in (small, SMALL_OPTIMIZER):
        yield _Change(words=f"--optimizer {small}", apply=lambda p: _changed(p, optimizer=small))
    if asked.tokens >= 2 * SHORTEST:
        half = asked.tokens // 2
        yield _Change(words=f"--sequence-length {half}", apply=lambda p: replace(p, tokens=half))


def _changed(asked: Plan, **changes: object) -> Plan:
    candidate = replace(asked.setup.candidate, **changes)  # type: ignore[arg-type]  # fields by name
    return replace(asked, setup=replace(asked.setup, candidate=candidate))
