"""Charts of one row per name: labels at the left where there is room, above the row where there is not."""

from collections.abc import Iterable
from dataclasses import dataclass

from autopeft.report.svg.draw import line, shorten, text, text_width

_BESIDE_FROM = 560.0
_WIDEST = 190.0


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Where rows and their names stand.

    Attributes:
        left: where values begin.
        height: of a row.
        beside: whether names stand left of their rows.
    """

    left: float
    right: float
    height: float
    beside: bool

    def middle(self, position: int) -> float:
        """Returns the height that a row's values are drawn at."""
        top = position * self.height
        return top + self.height / 2 if self.beside else top + self.height - 12

    def bottom(self, count: int) -> float:
        """Returns the lower end of so many rows."""
        return count * self.height + 4

    def names(self, names: Iterable[str]) -> Iterable[str]:
        """Yields the rows' names and a faint line along each row."""
        for position, name in enumerate(names):
            height = self.middle(position)
            yield line(self.left, height, self.right, height, "grid")
            if self.beside:
                yield text(self.left - 12, height + 4, shorten(name, self.left - 12), "label", "end")
            else:
                yield text(0, height - 13, shorten(name, self.right), "label")


def rows(width: float, names: Iterable[str], height: float) -> Rows:
    """Returns the layout of rows with such names in a figure of this width."""
    if width < _BESIDE_FROM:
        return Rows(left=10.0, right=width - 14, height=max(height, 40.0), beside=False)
    widest = min(_WIDEST, max((text_width(name) for name in names), default=0.0))
    return Rows(left=widest + 16, right=width - 14, height=height, beside=True)
