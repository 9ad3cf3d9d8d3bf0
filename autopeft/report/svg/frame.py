"""The frame of a chart: plot area, grid, ticks that do not touch, and titles of both axes."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from autopeft.report.svg.draw import line, text, text_width
from autopeft.report.svg.scale import Scale, number

Format = Callable[[float], str]

TOP, BOTTOM, RIGHT = 26.0, 40.0, 14.0
_GAP = 10.0


@dataclass(frozen=True, kw_only=True)
class Area:
    """The rectangle that values are drawn in, in pixels."""

    left: float
    right: float
    top: float
    bottom: float


def area(width: float, height: float, widest_label: str) -> Area:
    """Returns the plot area of a chart with such labels on its vertical axis."""
    return Area(left=text_width(widest_label) + 12, right=width - RIGHT, top=TOP, bottom=height - BOTTOM)


def vertical_axis(where: Area, y: Scale, title: str, form: Format = number) -> Iterator[str]:
    """Yields horizontal grid lines with their labels, and the axis' title above them."""
    for value in y.ticks(max(2, int((where.bottom - where.top) / 36))):
        height = y.at(value)
        yield line(where.left, height, where.right, height, "grid")
        yield text(where.left - 6, height + 4, form(value), "tick", "end")
    yield text(0, 12, title, "axis")


def horizontal_axis(where: Area, x: Scale, title: str, form: Format = number, *, grid: bool = False) -> Iterator[str]:
    """Yields the line below, its ticks, those left out that would touch, and the title at its right end."""
    yield line(where.left, where.bottom, where.right, where.bottom, "base")
    free = 0.0
    for value in x.ticks(max(2, int((where.right - where.left) / 52))):
        place, label = x.at(value), form(value)
        half = text_width(label) / 2
        if grid:
            yield line(place, where.top, place, where.bottom, "grid")
        yield line(place, where.bottom, place, where.bottom + 4, "base")
        if place - half >= free:
            yield text(place, where.bottom + 17, label, "tick", "middle")
            free = place + half + _GAP
    yield text(where.right, where.bottom + 34, title, "axis", "end")
