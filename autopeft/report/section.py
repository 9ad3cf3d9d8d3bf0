"""A section of the report, and the figures in it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from html import escape

WIDE, NARROW, PANEL = 720.0, 350.0, 330.0
"""Widths that figures are drawn for, in pixels: a screen or a sheet, a phone, and a panel in a row of several."""

Draw = Callable[[float], str]
"""Draws a figure for a width."""


@dataclass(frozen=True, kw_only=True)
class Section:
    """One section: its heading and its HTML."""

    key: str
    title: str
    body: str


def figure(draw: Draw, caption: str = "") -> str:
    """Returns a figure drawn for wide and for narrow screens; the style sheet shows the one that suits."""
    below = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return f'<figure><div class="wide">{draw(WIDE)}</div><div class="narrow">{draw(NARROW)}</div>{below}</figure>'


def panels(drawn: Iterable[tuple[str, str]]) -> str:
    """Returns small figures beside each other, as many in a row as there is room for; each with its title."""
    cells = "".join(f"<figure><h3>{escape(title)}</h3>{svg}</figure>" for title, svg in drawn)
    return f'<div class="panels">{cells}</div>'


def paragraph(content: str, css: str = "") -> str:
    """Returns a paragraph of plain text."""
    kind = f' class="{css}"' if css else ""
    return f"<p{kind}>{escape(content)}</p>"


def legend(entries: Iterable[tuple[str, str]]) -> str:
    """Returns a key of dots: style class and meaning."""
    items = "".join(
        f'<li><svg width="12" height="12" aria-hidden="true"><circle cx="6" cy="6" r="4.5" class="{css}"/></svg>'
        f"{escape(meaning)}</li>"
        for css, meaning in entries
    )
    return f'<ul class="legend">{items}</ul>'


def table(header: Iterable[str], rows: Iterable[Iterable[str]], css: str = "") -> str:
    """Returns a table that scrolls by itself where it is wider than the page."""
    head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="scroll"><table class="{css}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
