"""Which layers of a model are alike, so that a few of them stand for all: pure Python.

Of a run of alike units a few are traced: those at its start that differ from the rest, two that must agree, of which
the second is repeated, and the last. The first unit differs because of what comes before it. The first layer that
trains differs because no gradient passes its input, and the next one because what it hands back is taken otherwise.
"""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

AFTER = 3
"""Units that are traced of a run after those that differ: two that must agree, and the last."""

LONGEST_UNIT = 8


@dataclass(frozen=True, kw_only=True)
class Run:
    """Units of layers that follow each other alike.

    Attributes:
        start: index of its first layer among the layers kept.
        length: layers in a unit, such as six where every sixth attends globally.
        units: how many units are kept.
        repeats: how many more units the whole model has after the last but one kept.
    """

    start: int
    length: int
    units: int
    repeats: int

    @property
    def template(self) -> range:
        """The kept layers that are repeated: the last unit but one."""
        first = self.start + (self.units - 2) * self.length
        return range(first, first + self.length)


@dataclass(frozen=True, kw_only=True)
class DepthPlan:
    """The layers to build, as indices of the whole model, and the runs among them."""

    kept: tuple[int, ...]
    runs: tuple[Run, ...]

    def repeating_once(self) -> "DepthPlan":
        """Returns the plan of a model with one unit more in every run than is kept."""
        return replace(self, runs=tuple(replace(run, repeats=1) for run in self.runs))

    def with_one_more(self) -> "DepthPlan":
        """Returns the plan that keeps one unit more of every run: the one after its last but one."""
        more = [
            self.kept[run.template[-1]] + 1 + step for run in self.runs for step in range(run.length)
        ]  # fmt: skip
        return DepthPlan(kept=tuple(sorted((*self.kept, *more))), runs=())


def plan_depth(likeness: Sequence[Hashable], trained: int) -> DepthPlan:
    """Returns which layers have to be traced.

    Args:
        likeness: one value per layer; layers of equal value are alike in all that decides memory.
        trained: the first layer that trains.
    """
    kept: list[int] = []
    runs: list[Run] = []
    at = 0
    while at < len(likeness):
        length, units = _longest_run(likeness, at, trained)
        traced = _traced_units(at, length, units, trained)
        spared = units - traced
        if spared > 0:
            runs.append(Run(start=len(kept), length=length, units=traced, repeats=spared))
            skipped, first = spared * length, length * (traced - 1)
            kept += [*range(at, at + first), *range(at + first + skipped, at + units * length)]
        else:
            kept += range(at, at + units * length)
        at += units * length
    return DepthPlan(kept=tuple(kept), runs=tuple(runs))


def _traced_units(at: int, length: int, units: int, trained: int) -> int:
    """Returns how many units have to be traced of a run of so many from a layer on."""
    differing = 2 if length == 1 else 1
    if at <= trained < at + units * length:
        differing = max(differing, math.ceil((trained + 2 - at) / length))
    return differing + AFTER


def _longest_run(likeness: Sequence[Hashable], at: int, trained: int) -> tuple[int, int]:
    """Returns the unit and the number of units of the run from a layer on that saves most; (1, 1) where none does."""
    best, saved = (1, 1), 0
    for length in range(1, LONGEST_UNIT + 1):
        units = 1
        while at + (units + 1) * length <= len(likeness) and all(
            likeness[at + step] == likeness[at + units * length + step] for step in range(length)
        ):
            units += 1
        spared = (units - _traced_units(at, length, units, trained)) * length
        if spared > saved:
            best, saved = (length, units), spared
    return best
