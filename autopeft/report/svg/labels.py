"""Labels beside points, placed where they cover neither each other nor the points."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from autopeft.report.svg.draw import FONT_SIZE, text, text_width
from autopeft.report.svg.frame import Area

_OFF, _NEAR = 8.0, 5.0


@dataclass(frozen=True)
class _Box:
    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: "_Box") -> bool:
        return not (
            self.right <= other.left or other.right <= self.left or self.bottom <= other.top or other.bottom <= self.top
        )

    def within(self, where: Area) -> bool:
        return (
            self.left >= where.left
            and self.right <= where.right + _OFF
            and self.top >= 14
            and self.bottom <= where.bottom
        )


def place_labels(
    wanted: Sequence[tuple[float, float, str]], points: Sequence[tuple[float, float]], where: Area
) -> Iterator[str]:
    """Yields each label above, beside or below its point; one that fits nowhere is left out.

    Args:
        wanted: x, y and text, the most important first.
        points: every dot of the chart, which no label covers.
        where: the plot area that labels stay in.
    """
    taken = [_Box(x - 4, y - 4, x + 4, y + 4) for x, y in points]
    for x, y, content in wanted:
        width = text_width(content)
        for box in _places(x, y, width):
            if box.within(where) and not any(box.meets(other) for other in taken):
                taken.append(box)
                yield text(box.left, box.bottom - 3, content, "label")
                break


def _places(x: float, y: float, width: float) -> Iterator[_Box]:
    half = FONT_SIZE / 2 + 1
    for left in (x - width / 2, x, x - width):
        yield _Box(left, y - _NEAR - 2 * half, left + width, y - _NEAR)
    yield _Box(x + _OFF, y - half, x + _OFF + width, y + half)
    yield _Box(x - _OFF - width, y - half, x - _OFF, y + half)
    for left in (x - width / 2, x, x - width):
        yield _Box(left, y + _NEAR, left + width, y + _NEAR + 2 * half)
