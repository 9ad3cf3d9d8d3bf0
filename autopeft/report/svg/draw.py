"""SVG elements as text. Colours are classes of the page's style sheet, so a chart follows light and dark."""

from collections.abc import Iterable
from html import escape

FONT_SIZE = 12
_CHARACTER = 0.56
"""Mean width of a character over the size of the font: what labels are kept apart by."""


def text_width(content: str) -> float:
    """Returns about how wide a label is, in pixels."""
    return len(content) * FONT_SIZE * _CHARACTER


def shorten(content: str, width: float) -> str:
    """Returns a label that fits into so many pixels, cut with an ellipsis where it has to be."""
    most = max(4, int(width / (FONT_SIZE * _CHARACTER)))
    return content if len(content) <= most else content[: most - 1] + "…"


def image(width: float, height: float, label: str, parts: Iterable[str]) -> str:
    """Returns a whole drawing that scales with its place; ``label`` is read out to who cannot see it."""
    body = "".join(parts)
    return (
        f'<svg viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" height="{height:.0f}" role="img" '
        f'aria-label="{escape(label)}">{body}</svg>'
    )


def text(x: float, y: float, content: str, css: str = "label", anchor: str = "start") -> str:
    """Returns a line of text; ``anchor`` is ``start``, ``middle`` or ``end``."""
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{css}" text-anchor="{anchor}">{escape(content)}</text>'


def line(x1: float, y1: float, x2: float, y2: float, css: str) -> str:
    """Returns a straight line."""
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{css}"/>'


def circle(x: float, y: float, radius: float, css: str, title: str = "") -> str:
    """Returns a dot; ``title`` shows when it is pointed at."""
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}" class="{css}">{_title(title)}</circle>'


def rectangle(x: float, y: float, width: float, height: float, css: str, title: str = "") -> str:
    """Returns a bar with slightly rounded corners."""
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(0.0, width):.1f}" height="{height:.1f}" rx="2" '
        f'class="{css}">{_title(title)}</rect>'
    )


def path(points: Iterable[tuple[float, float]], css: str, title: str = "") -> str:
    """Returns a line through points."""
    course = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline points="{course}" class="{css}">{_title(title)}</polyline>'


def _title(content: str) -> str:
    return f"<title>{escape(content)}</title>" if content else ""
