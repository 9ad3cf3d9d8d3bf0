"""The largest batch, sequence or rank that fits, found by asking for the cost of few values."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from itertools import chain
from typing import Literal, get_args

from autopeft.errors import invalid, unknown
from autopeft.estimation.estimate import planned_tokens
from autopeft.estimation.practice import OWNER
from autopeft.estimation.question import Plan

TargetName = Literal["batch-size", "sequence-length", "rank"]
TARGETS: tuple[TargetName, ...] = get_args(TargetName)

_MOST = 1 << 20
"""Where a search without a natural end stops: rows of a batch, tokens of a row."""

_BISECT_EVERY = 6

_FARTHEST = 16
"""How many times the largest value known to fit the next guess may be: two points may lie on a flat stretch."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """The number that is made as large as it can be.

    Attributes:
        words: what a reader calls it.
        start: the value asked for, where the search begins.
        most: the largest value that the model and the method allow.
        least: the smallest one. The method may refuse some between them, as one that counts in pairs does.
        at: (plan, value) → the plan with that value.
    """

    name: TargetName
    words: str
    start: int
    most: int
    least: int = 1
    at: Callable[[Plan, int], Plan]


def maximize_target(name: str, asked: Plan) -> Target:
    """Returns the target of a name.

    Raises:
        InvalidValueError: there is no such target, or the method has no rank.
    """
    candidate = asked.setup.candidate
    if name == "batch-size":
        return Target(name="batch-size", words="batch", start=candidate.batch_size, most=_MOST, at=_with_batch)
    if name == "sequence-length":
        most = _longest(asked)
        return Target(
            name="sequence-length", words="sequence", start=min(asked.tokens, most), most=most, at=_with_tokens
        )
    if name == "rank":
        return _rank_target(asked)
    raise unknown("--maximize", OWNER, name, TARGETS)


def _rank_target(asked: Plan) -> Target:
    from optuna.distributions import IntDistribution

    domain = asked.method.legal.get("rank")
    if not isinstance(domain, IntDistribution):
        advice = f"Choose a method with a rank, or {' or '.join(TARGETS[:2])}."
        raise invalid("--maximize", f"an estimate of {asked.method.name}", "a number that it has", "rank", advice)
    start = int(asked.setup.candidate.parameters["rank"])
    return Target(name="rank", words="rank", start=start, most=domain.high, least=domain.low, at=_with_rank)


def _longest(asked: Plan) -> int:
    own = planned_tokens(asked.setup, asked.tokens) - asked.tokens
    return (asked.setup.model.max_positions or _MOST) - own


def _with_batch(asked: Plan, value: int) -> Plan:
    return replace(asked, setup=replace(asked.setup, candidate=replace(asked.setup.candidate, batch_size=value)))


def _with_tokens(asked: Plan, value: int) -> Plan:
    return replace(asked, tokens=value)


def _with_rank(asked: Plan, value: int) -> Plan:
    candidate = asked.setup.candidate
    changed = replace(candidate, parameters={**candidate.parameters, "rank": value})
    return replace(asked, setup=replace(asked.setup, candidate=changed))


def largest_that_fits(asked: Plan, target: Target, *, cost: Callable[[Plan], int]) -> int | None:
    """Returns the largest value of a target whose plan fits, None where the smallest does not.

    The value returned was asked for and fits; the next one was asked for and does not, unless there is none. Values
    that the method refuses are passed over: one stands for those between itself and the next.
    """
    nearest = possible_values(asked, target)

    @cache
    def price(possible: int) -> int:
        return cost(target.at(asked, possible))

    found = largest(
        lambda value: price(nearest(value)), asked.limit_bytes, start=target.start, least=target.least,
        most=target.most,
    )  # fmt: skip
    return None if found is None else nearest(found)


def possible_values(asked: Plan, target: Target) -> Callable[[int], int]:
    """Returns a function from a value to the nearest one that the method takes: from it downwards, else above it.

    The plan's own value is one of them.
    """

    @cache
    def taken(value: int) -> bool:
        return not asked.method.violations(target.at(asked, value).setup)

    def nearest(value: int) -> int:
        downwards, upwards = range(value, target.least - 1, -1), range(value + 1, target.most + 1)
        return next(filter(taken, chain(downwards, upwards)))

    return nearest


def largest(cost: Callable[[int], int], limit: int, *, start: int, least: int, most: int) -> int | None:
    """Returns the largest value from ``least`` to ``most`` whose cost is within a limit, for a cost that rises.

    Costs are near to straight lines, so values between a known good and a known bad one are guessed by
    interpolation, and halved now and then in case they are not.
    """
    low, high = least - 1, most + 1
    costs: dict[int, int] = {}
    value = min(max(start, least), most)
    while high - low > 1:
        costs[value] = cost(value)
        if costs[value] <= limit:
            low = value
        else:
            high = value
        value = _guess(low, high, costs, limit, halve=len(costs) % _BISECT_EVERY == 0)
    return low if low >= least else None


def _guess(low: int, high: int, costs: dict[int, int], limit: int, *, halve: bool) -> int:
    """Returns the next value to ask for, between the largest known to fit and the smallest known not to."""
    if low not in costs:
        return max(high // 2, low + 1)
    if high not in costs:
        return min(_beyond(low, costs, limit), high - 1)
    middle = (low + high) // 2
    if not halve and costs[high] > costs[low]:
        middle = low + int((limit - costs[low]) * (high - low) / (costs[high] - costs[low]))
    return min(max(middle, low + 1), high - 1)


def _beyond(low: int, costs: dict[int, int], limit: int) -> int:
    """Returns where the line through the two largest values that fit meets the limit, or a multiple of the largest."""
    before = max((value for value in costs if value < low), default=None)
    if before is None or costs[low] <= costs[before]:
        return 2 * low
    rise = (costs[low] - costs[before]) / (low - before)
    return min(max(low + 1 + int((limit - costs[low]) / rise), low + 1), _FARTHEST * low)
