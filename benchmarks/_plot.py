"""Line charts with intervals as SVG files that stand alone, in light and dark."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from autopeft.report.svg.draw import circle, line, path, text
from autopeft.report.svg.frame import Area, horizontal_axis, vertical_axis
from autopeft.report.svg.scale import Scale, number, scale

_WIDTH, _HEIGHT, _KEY = 760.0, 380.0, 250.0
_COLOURS = (
    "#1f6fb2", "#c8560b", "#2e8b57", "#7b4fa3", "#8a8f96", "#b3261e", "#b58900", "#1d1f23", "#0f8b8d", "#d6336c",
    "#5c6f2b", "#7a4a21",
)  # fmt: skip
_DARK = (
    "#6cb2f0", "#ff9a52", "#6cc998", "#c3a0e8", "#9aa1a9", "#f2766d", "#e0b84a", "#e8e9ea", "#5fd0d2", "#ff8fb5",
    "#b5c977", "#c89a73",
)  # fmt: skip
_APART = 17.0


@dataclass(frozen=True, kw_only=True)
class Point:
    """One point of a line: where, the mean, and the ends of its interval."""

    x: float
    value: float
    low: float
    high: float


def chart(
    lines: Mapping[str, Sequence[Point]], x_title: str, y_title: str, *, log: bool = True, log_y: bool = False
) -> str:
    """Returns a chart: a line per name with an interval at each point, and the names beside the lines' ends.

    Args:
        lines: points by name, ascending in x.
        x_title: below the horizontal axis.
        y_title: above the vertical one.
        log: whether the horizontal axis is logarithmic.
        log_y: whether the vertical one is; all values and ends must then be above zero.

    Raises:
        ValueError: there are more lines than colours.
    """
    if len(lines) > len(_COLOURS):
        raise ValueError(f"{len(lines)} lines cannot be told apart by {len(_COLOURS)} colours.")
    where = Area(left=58, right=_WIDTH - _KEY, top=26, bottom=_HEIGHT - 40)
    points = [point for drawn in lines.values() for point in drawn]
    x = scale([point.x for point in points], where.left, where.right, log=log)
    y = scale([end for point in points for end in (point.low, point.high)], where.bottom, where.top, log=log_y)
    parts = [*vertical_axis(where, y, y_title), *horizontal_axis(where, x, x_title, number)]
    for position, drawn in enumerate(lines.values()):
        css = f"s{position}"
        parts += [line(x.at(p.x), y.at(p.low), x.at(p.x), y.at(p.high), f"{css} interval") for p in drawn]
        parts.append(path([(x.at(p.x), y.at(p.value)) for p in drawn], f"{css} curve"))
        parts += [circle(x.at(p.x), y.at(p.value), 3.5, f"{css} dot") for p in drawn]
    return _standing(parts + _names(lines, where, y))


def _names(lines: Mapping[str, Sequence[Point]], where: Area, y: Scale) -> list[str]:
    """Returns the names in the order of the lines' ends, pushed apart, each joined to its line."""
    ends = sorted((y.at(drawn[-1].value), position, name) for position, (name, drawn) in enumerate(lines.items()))
    places, free = [], where.top
    for height, *_ in ends:
        places.append(max(height, free))
        free = places[-1] + _APART
    free = where.bottom
    for index in reversed(range(len(places))):
        places[index] = min(places[index], free)
        free = places[index] - _APART
    parts = []
    for place, (height, position, name) in zip(places, ends, strict=True):
        parts.append(line(where.right - 4, height, where.right + 18, place, f"s{position} lead"))
        parts.append(text(where.right + 22, place + 4, name, f"s{position} name"))
    return parts


def _standing(parts: Sequence[str]) -> str:
    style = "".join(f".s{n}{{stroke:{c}}}.s{n}.dot,.s{n}.name{{fill:{c};stroke:none}}" for n, c in enumerate(_COLOURS))
    dark = "".join(f".s{n}{{stroke:{c}}}.s{n}.dot,.s{n}.name{{fill:{c};stroke:none}}" for n, c in enumerate(_DARK))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH:.0f} {_HEIGHT:.0f}" '
        f'width="{_WIDTH:.0f}" height="{_HEIGHT:.0f}"><style>'
        "svg{background:#fcfcfb}text{font:12px system-ui,'DejaVu Sans',sans-serif;fill:#1d1f23}"
        ".tick,.axis{fill:#5b6068}.grid{stroke:#e3e4e1}.base{stroke:#a9adb3}"
        ".curve{fill:none;stroke-width:1.8}.interval{stroke-width:1.2;opacity:.6}.lead{opacity:.5}"
        f"{style}@media(prefers-color-scheme:dark){{svg{{background:#15171a}}text{{fill:#e8e9ea}}"
        f".tick,.axis{{fill:#a3a9b1}}.grid{{stroke:#2b2f34}}.base{{stroke:#5f666e}}{dark}}}"
        f"</style>{''.join(parts)}</svg>\n"
    )
