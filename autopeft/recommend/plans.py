"""Makes a method's seed into a candidate that fits: quantization, checkpointing and batch, the gentlest first."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from autopeft.estimation import draft
from autopeft.methods import Method, Seed
from autopeft.quantization import all_quantizations
from autopeft.recommend.conditions import AMPLE_RANK
from autopeft.recommend.dividing import undivided
from autopeft.recommend.rules import RATE, rate_rules, reasons_for
from autopeft.recommend.setting import MANY_ROWS, Case, Setting, plan_setup
from autopeft.values.candidates import Candidate, Estimate, Reason
from autopeft.values.names import Dtype
from autopeft.values.profiles import Device

EFFECTIVE_BATCH = 16
"""Rows per optimizer step: the middle of what the papers' recipes use, and small enough for low-rank updates."""

LARGE_EFFECTIVE_BATCH = 32
"""Rows per step for the other families when rows are many."""

ENOUGH_ROWS = 4
"""Rows per forward pass from which a device is kept busy; below, checkpointing is tried first."""

OPTIMIZER = "adamw"
PAGED_OPTIMIZER = "paged_adamw_8bit"

INT8_CAPABILITY = 7.5
"""CUDA compute capability from which 8-bit matrix products run (bitsandbytes' installation notes)."""

OTHER_TARGETS = ("all-linear", "mlp", "qv")
"""What else the most trusted seed of a method is tried on."""


@dataclass(frozen=True, kw_only=True)
class Planned:
    """A candidate with its cost.

    Attributes:
        reasons: the rules that fire, judged at the seed's own learning rate.
        seed_rate: that rate; None before rules have moved it.
        violations: why the method cannot apply; nothing else matters then.
    """

    candidate: Candidate
    estimate: Estimate | None
    reasons: tuple[Reason, ...] = ()
    seed_rate: float | None = None
    violations: tuple[str, ...] = ()


def seed_candidates(method: Method, setting: Setting) -> Iterator[Candidate]:
    """Yields a method's seeds as candidates, the most trusted first, then its first seed on other targets.

    Where there are many texts, the first seed leads with the rank that those want.
    """
    raised = _raised(method.seeds[0])
    if method.family == "low-rank" and setting.many_texts and raised is not None:
        yield _seed_candidate(method, raised, setting, raised.targets)
    for seed in method.seeds:
        yield _seed_candidate(method, seed, setting, seed.targets)
    if not method.capabilities.takes_targets:
        return
    first = method.seeds[0]
    for targets in OTHER_TARGETS:
        if targets not in {seed.targets for seed in method.seeds}:
            yield _seed_candidate(method, first, setting, targets)


def _raised(seed: Seed) -> Seed | None:
    """Returns a seed with the rank that many texts want, and the same scaling; None where it has that or no rank."""
    rank = seed.parameters.get("rank")
    if isinstance(rank, bool) or not isinstance(rank, int) or rank >= AMPLE_RANK:
        return None
    parameters = {**seed.parameters, "rank": AMPLE_RANK}
    alpha = seed.parameters.get("alpha")
    if isinstance(alpha, int | float):
        parameters["alpha"] = type(alpha)(alpha * AMPLE_RANK / rank)
    return replace(seed, parameters=parameters)


def _seed_candidate(method: Method, seed: Seed, setting: Setting, targets: str) -> Candidate:
    return Candidate(
        method=method.name,
        parameters=dict(seed.parameters),
        targets=targets if method.capabilities.takes_targets else "none",
        dtype=_dtype(method, setting),
        learning_rate=seed.learning_rate,
        batch_size=effective_batch(method, setting),
    )


def _dtype(method: Method, setting: Setting) -> Dtype:
    """Returns the device's dtype; float32 where the base's own weights train on a CPU, or would in float16.

    Small updates of 16-bit weights round to nothing. A GPU's memory is planned for those of bfloat16 all the same.
    """
    able, dtype = method.capabilities, setting.hardware.dtype
    rounds = able.trains_base and setting.hardware.device.kind == "cpu"
    return "float32" if rounds else able.dtype_beside(dtype)


def effective_batch(method: Method, setting: Setting) -> int:
    """Returns the rows per optimizer step: 16, or 32 on many rows outside low-rank; never more than there are."""
    many = setting.task.training_rows >= MANY_ROWS and method.family != "low-rank"
    wanted = LARGE_EFFECTIVE_BATCH if many else EFFECTIVE_BATCH
    while wanted > max(setting.task.training_rows, 1):
        wanted //= 2
    return wanted


EstimateFunction = Callable[..., Estimate]
"""`estimate`, or what stands in for it: takes a setup, ``tokens_per_row`` and ``hardware``."""


def plan(method: Method, candidate: Candidate, setting: Setting) -> Planned:
    """Returns the gentlest version of a candidate that fits by its draft, or the smallest where none does."""
    return _finished(method, first_that_fits(method, candidate, setting, draft), setting)


def first_that_fits(method: Method, candidate: Candidate, setting: Setting, cost: EstimateFunction) -> Planned:
    """Returns the gentlest version of a candidate that fits, or the smallest there is where none does.

    Args:
        method: the candidate's.
        candidate: with its whole batch at once, nothing quantized.
        setting: to fit.
        cost: what a version costs.
    """
    smallest: Planned | None = None
    refused: tuple[str, ...] = ()
    for scheme, optimizer in storages(method, setting):
        stored = replace(candidate, quantization=scheme, optimizer=optimizer)
        planned = _within_storage(method, stored, setting, cost)
        if planned.estimate is None:
            refused = refused or planned.violations
            continue
        if _fits(planned, setting):
            return planned
        if smallest is None or smallest.estimate is None or _total(planned) < _total(smallest):
            smallest = planned
    if smallest is None:
        return Planned(candidate=candidate, estimate=None, violations=refused)
    return smallest


def storages(method: Method, setting: Setting) -> tuple[tuple[str, str], ...]:
    """Returns pairs of quantization and optimizer to try, the gentlest first.

    AdamW with its float32 state leads. On CUDA a 4-bit base comes with paged 8-bit state, as QLoRA has it
    (Dettmers et al., arXiv 2305.14314), and a method that trains the base itself, which cannot be quantized,
    falls back to 8-bit state (Dettmers et al., arXiv 2110.02861).
    """
    cuda = setting.hardware.device.kind == "cuda"
    small = PAGED_OPTIMIZER if cuda else OPTIMIZER
    pairs = [
        (scheme, small if 0 < all_quantizations()[scheme].bits <= 4 else OPTIMIZER)
        for scheme in schemes(method, setting.hardware.device)
    ]
    if cuda and method.capabilities.trains_base:
        pairs.append(("none", small))
    return tuple(pairs)


def schemes(method: Method, device: Device) -> tuple[str, ...]:
    """Returns the quantizations to try, the least lossy first: none, then more bits, unpacked constants first.

    Four-bit floats are left out: normal floats take the same room and lose less (Dettmers et al., arXiv
    2305.14314).
    """
    if not method.capabilities.quantized_base:
        return ("none",)
    if device.kind not in ("cuda", "cpu"):
        return ("none",)
    found = all_quantizations().values()
    old = device.compute_capability is not None and float(device.compute_capability) < INT8_CAPABILITY
    kept = [s for s in found if not s.name.startswith("fp4") and not (old and s.bits == 8)]
    ordered = sorted(kept, key=lambda scheme: (scheme.bits == 0, scheme.bits, scheme.bytes_per_weight or 0.0))
    return tuple(scheme.name for scheme in reversed(ordered))


def smaller_schemes(method: Method, device: Device, scheme: str) -> tuple[str, ...]:
    """Returns a quantization and those that take less room than it, the gentlest of as many bits each."""
    every = schemes(method, device)
    by_bits: dict[int, str] = {}
    for name in every[every.index(scheme) :] if scheme in every else (scheme,):
        by_bits.setdefault(all_quantizations()[name].bits, name)
    return tuple(by_bits.values())


def _within_storage(method: Method, candidate: Candidate, setting: Setting, cost: EstimateFunction) -> Planned:
    options = list(_batches(method, candidate))
    cheapest = _measured(method, options[-1], setting, cost)
    if cheapest.estimate is None and len({option.gradient_checkpointing for option in options}) == 1:
        return cheapest
    if cheapest.estimate is not None and not _fits(cheapest, setting):
        return cheapest
    last = cheapest
    for option in options:
        planned = _measured(method, option, setting, cost)
        if planned.estimate is not None and _fits(planned, setting):
            return planned
        last = planned if planned.estimate is not None else last
    return last


def _batches(method: Method, candidate: Candidate) -> Iterator[Candidate]:
    """Yields ways to run the same step, the fastest first and the one that takes the least memory last."""
    effective = candidate.batch_size
    rows = [effective >> shift for shift in range(effective.bit_length())]
    checkpointing = (False, True) if method.capabilities.gradient_checkpointing else (False,)
    for small in (False, True):
        for recompute in checkpointing:
            for count in rows:
                if (count < min(ENOUGH_ROWS, effective)) is small:
                    yield replace(
                        candidate,
                        batch_size=count,
                        accumulation=effective // count,
                        gradient_checkpointing=recompute,
                    )


def _measured(method: Method, candidate: Candidate, setting: Setting, cost: EstimateFunction) -> Planned:
    setup = plan_setup(setting, candidate)
    violations = (*undivided(candidate, setting.model.kind, setting.constraints.team), *method.violations(setup))
    if violations:
        return Planned(candidate=candidate, estimate=None, violations=violations)
    found = cost(setup, tokens_per_row=setting.tokens_per_row, hardware=setting.hardware)
    return Planned(candidate=candidate, estimate=setting.shared(found, setup))


def _finished(method: Method, planned: Planned, setting: Setting) -> Planned:
    """Returns the plan with its reasons, and with the rate that rules make of the seed's inside the method's range."""
    if planned.estimate is None:
        return planned
    case = Case(method=method, candidate=planned.candidate, estimate=planned.estimate, setting=setting)
    rate, reason = _rate(case)
    candidate = replace(planned.candidate, learning_rate=rate)
    reasons = (*reasons_for(case), reason)
    return replace(planned, candidate=candidate, reasons=reasons, seed_rate=case.candidate.learning_rate)


def _rate(case: Case) -> tuple[float, Reason]:
    """Returns the rate that rules make of the seed's, and where it comes from."""
    seed, moved = case.candidate.learning_rate, rate_rules(case)
    low, high = case.method.learning_rate.low, case.method.learning_rate.high
    wanted = seed * math.prod(rule.rate_factor for rule in moved)
    rate = min(max(wanted, low), high)
    factors = "".join(f", times {rule.rate_factor:g} ({rule.id})" for rule in moved)
    factors += "" if rate == wanted else ", kept in the method's range"
    source = next(known.source for known in case.method.seeds if known.learning_rate == seed)
    because = f"The rate is the seed's {seed:.2g}{factors}{f': {rate:.2g}' if factors else ''}."
    return rate, Reason(rule=RATE, verdict="note", because=because, source=source, weight=0.0)


def _total(planned: Planned) -> int:
    return planned.estimate.memory.total_bytes if planned.estimate else 0


def _fits(planned: Planned, setting: Setting) -> bool:
    return _total(planned) <= setting.memory_limit
