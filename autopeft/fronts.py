"""Pareto fronts: the points that no other dominates."""

from collections.abc import Sequence

Costs = Sequence[tuple[float, ...]]
"""One row per point, one column per objective; lower is better in all of them."""


def front(costs: Costs) -> list[int]:
    """Returns the positions of the points that no other dominates, ascending."""
    return [index for index, own in enumerate(costs) if not any(dominates(other, own) for other in costs)]


def dominates(one: Sequence[float], other: Sequence[float]) -> bool:
    """Returns whether one point costs no more in anything and less in something."""
    return all(a <= b for a, b in zip(one, other, strict=True)) and any(a < b for a, b in zip(one, other, strict=True))
