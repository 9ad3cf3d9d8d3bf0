"""Pareto fronts: the completed trials that no other beats in quality without costing more."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from autopeft.report.svg.scale import memory_unit, number, octets
from autopeft.tuning.pareto import measured
from autopeft.values.outcomes import TrialOutcome


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Something that a trial costs.

    Attributes:
        of: the cost of a trial, None where it was not measured.
        form: writes it.
        unit: what ticks count in, and its name, given the largest value.
    """

    key: str
    title: str
    of: Callable[[TrialOutcome], float | None]
    form: Callable[[float], str]
    unit: Callable[[float], tuple[float, str]] = lambda _: (1.0, "")


COSTS = (
    Cost(key="trainable_parameters", title="trainable parameters", of=lambda o: o.trainable_parameters, form=number),
    Cost(key="seconds", title="seconds of training", of=lambda o: measured(o, "time"), form=number),
    Cost(
        key="peak_bytes", title="measured peak memory", of=lambda o: measured(o, "memory"), form=octets,
        unit=memory_unit,
    ),
    Cost(key="forgetting", title="forgetting of general text", of=lambda o: measured(o, "forgetting"), form=number),
    Cost(key="latency", title="milliseconds per row", of=lambda o: measured(o, "latency"), form=number),
    Cost(key="adapter_bytes", title="size on disk", of=lambda o: o.adapter_bytes, form=octets, unit=memory_unit),
)  # fmt: skip


def costed(outcomes: Iterable[TrialOutcome], cost: Cost) -> list[tuple[TrialOutcome, float]]:
    """Returns the completed trials whose cost is known, each with it."""
    pairs = [(outcome, cost.of(outcome)) for outcome in outcomes if outcome.score is not None]
    return [(outcome, value) for outcome, value in pairs if value is not None]


def front(pairs: Sequence[tuple[TrialOutcome, float]]) -> list[tuple[TrialOutcome, float]]:
    """Returns the trials that nothing cheaper equals in score, cheapest first."""
    best, kept = float("-inf"), []
    for outcome, value in sorted(pairs, key=lambda pair: (pair[1], -(pair[0].score or 0.0), pair[0].number)):
        if outcome.score is not None and outcome.score > best:
            best = outcome.score
            kept.append((outcome, value))
    return kept
