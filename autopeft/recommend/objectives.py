"""Several objectives at once: a weighing of them, or the suggestions that no other beats in all."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import mean
from typing import Literal, get_args

from autopeft.errors import invalid, unknown
from autopeft.fronts import front
from autopeft.methods import get_method
from autopeft.recommend.evidence import published_runs
from autopeft.values.candidates import Recommendation, Suggestion

Objective = Literal["quality", "memory", "time", "size", "latency", "forgetting"]
OBJECTIVES: tuple[Objective, ...] = get_args(Objective)

BELIEF = 2.0
"""Runs' worth of belief that a method forgets like its family, and a family like all."""


@dataclass(frozen=True, kw_only=True)
class Objectives:
    """What a user asks suggestions to be good at.

    Attributes:
        names: in the user's order.
        weights: of the names; None asks for the Pareto set.
    """

    names: tuple[Objective, ...]
    weights: tuple[float, ...] | None = None


def parse_objectives(text: str) -> Objectives:
    """Returns objectives such as ``quality=1,memory=0.3``, which weighs, or ``quality,memory``: the Pareto set.

    Raises:
        InvalidValueError: a name is not known or given twice, a weight is not above 0, or some have none.
    """
    pairs = [part.partition("=") for part in text.split(",")]
    names = tuple(_named(name.strip()) for name, _, _ in pairs)
    if len(set(names)) < len(names):
        raise invalid("--objective", "a suggestion", "given with each name once", text)
    signs = {sign for _, sign, _ in pairs}
    if len(signs) > 1:
        raise invalid("--objective", "a suggestion", "given with a weight for every name, or for none", text)
    weights = tuple(_weight(value, text) for _, _, value in pairs) if signs == {"="} else None
    return Objectives(names=names, weights=weights)


def _named(name: str) -> Objective:
    for known in OBJECTIVES:
        if known == name:
            return known
    raise unknown("--objective", "a suggestion", name, OBJECTIVES)


def _weight(value: str, text: str) -> float:
    try:
        weight = float(value)
    except ValueError:
        weight = math.nan
    if not 0 < weight < math.inf:
        raise invalid("--objective", "a suggestion", "given with weights above 0, such as quality=1,memory=0.3", text)
    return weight


def preferred(found: Recommendation, asked: Objectives) -> Recommendation:
    """Returns the recommendation in the order of the objectives.

    Weighed, every objective runs from 0 at the worst suggestion that fits to 1 at the best, memory, time and size on a
    logarithmic scale, and the weighted sum orders. Otherwise the suggestions that no other beats come first, by score.
    What does not fit stays last.

    Raises:
        InvalidValueError: the time is asked for on a device whose speed is not known.
    """
    fitting = [s for s in found.candidates if s.fits]
    rest = tuple(s for s in found.candidates if not s.fits)
    if "time" in asked.names and any(s.estimate.step_seconds is None for s in fitting):
        raise invalid("--objective", "a suggestion", "without time on a device whose speed is not known", "time")
    values = [tuple(_COSTS[name](suggestion) for name in asked.names) for suggestion in fitting]
    if asked.weights is not None:
        worth = _worth(values, asked.weights)
        order = sorted(range(len(fitting)), key=lambda place: -worth[place])
        return replace(found, candidates=(*(fitting[place] for place in order), *rest))
    best = set(front(values))
    marked = [replace(suggestion, on_front=place in best) for place, suggestion in enumerate(fitting)]
    marked.sort(key=lambda s: (not s.on_front, -s.score))
    note = f"{len(best)} of {len(fitting)} are not beaten by another in {', '.join(asked.names)} at once."
    return replace(found, candidates=(*marked, *rest), notes=(*found.notes, note))


def _worth(values: Sequence[tuple[float, ...]], weights: Sequence[float]) -> list[float]:
    columns = [_scaled(column) for column in zip(*values, strict=True)]
    return [sum(w * share for w, share in zip(weights, row, strict=True)) for row in zip(*columns, strict=True)]


def _scaled(costs: Sequence[float]) -> list[float]:
    """Returns 1 for the least of some costs and 0 for the most; 1 for all where they do not differ."""
    least, most = min(costs), max(costs)
    return [1.0 if most == least else (most - cost) / (most - least) for cost in costs]


def forgetting(method: str) -> float:
    """Returns the nats that a method's published runs forgot, drawn towards its family's, and those towards all."""
    by_method: dict[str, list[float]] = {}
    for run in published_runs():
        if run.method is not None and run.forgetting is not None:
            by_method.setdefault(run.method, []).append(run.forgetting)
    family = get_method(method).family
    kin = [value for name, values in by_method.items() if get_method(name).family == family for value in values]
    everywhere = mean(value for values in by_method.values() for value in values)
    return _drawn(by_method.get(method, []), _drawn(kin, everywhere))


def _drawn(values: Sequence[float], towards: float) -> float:
    return (sum(values) + BELIEF * towards) / (len(values) + BELIEF)


def _row_seconds(suggestion: Suggestion) -> float:
    """Returns the seconds of a row, on a logarithmic scale: steps of more rows than another's are fewer."""
    candidate = suggestion.candidate
    return math.log((suggestion.estimate.step_seconds or 1.0) / (candidate.batch_size * candidate.accumulation))


_COSTS: Mapping[Objective, Callable[[Suggestion], float]] = {
    "quality": lambda s: -s.score,
    "memory": lambda s: math.log(s.estimate.memory.total_bytes),
    "time": _row_seconds,
    "size": lambda s: math.log(s.estimate.trainable_parameters),
    "latency": lambda s: float(get_method(s.candidate.method).capabilities.adds_latency),
    "forgetting": lambda s: forgetting(s.candidate.method),
}
"""What is to be small, by objective."""
