"""An inspected adapter as drawings: spectra, entanglement profiles, and how far each layer moved."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from autopeft.errors import StudyError
from autopeft.files import check_writable, write_text
from autopeft.inspection.report import AdapterReport, LayerReport
from autopeft.report.page import style
from autopeft.report.svg.draw import circle, image, path, text
from autopeft.report.svg.frame import area, horizontal_axis, vertical_axis
from autopeft.report.svg.scale import number, scale

_WIDTH, _HEIGHT, _GAP, _TITLE = 380.0, 200.0, 20.0, 20.0
_COLUMNS = 2
_DOTTED = 40
"""Points up to which each has a dot."""

_XMLNS = 'xmlns="http://www.w3.org/2000/svg"'
Points = Sequence[tuple[float, float]]


def write_plots(report: AdapterReport, folder: Path) -> tuple[Path, ...]:
    """Writes SVG files that stand alone, and returns their paths: one for each of the three that can be drawn.

    Each has a panel per kind of module; a curve is the mean over its layers, and of the norms it runs over them.

    Raises:
        StudyError: one of the files is there already, or they cannot be written there; nothing is written.
    """
    groups = _by_kind(report.layers)
    drawn = {
        "spectra.svg": (_means(groups, _relative), "direction", "singular value, share of the largest"),
        "entanglement.svg": (_means(groups, lambda layer: layer.entanglement), "cut", "entropy at the cut, nats"),
        "norms.svg": (_over_depth(groups), "layer", "root mean square of the update"),
    }
    files = {folder / name: _chart(*parts) for name, parts in drawn.items() if any(parts[0].values())}
    for file in files:
        if file.exists():
            raise StudyError(f"{file} exists already. Name another folder with --plots.")
        check_writable(file)
    for file, content in files.items():
        write_text(file, content)
    return tuple(files)


def _by_kind(layers: Sequence[LayerReport]) -> dict[str, list[LayerReport]]:
    groups: dict[str, list[LayerReport]] = defaultdict(list)
    for layer in layers:
        groups[layer.module].append(layer)
    return dict(groups)


def _relative(layer: LayerReport) -> Sequence[float]:
    top = max(layer.spectrum, default=0.0)
    return [value / top for value in layer.spectrum] if top > 0 else []


def _means(
    groups: Mapping[str, Sequence[LayerReport]], values: Callable[[LayerReport], Sequence[float]]
) -> dict[str, Points]:
    """Returns by kind the mean of the layers' values at each place, from 1, over those that have one there."""
    found: dict[str, Points] = {}
    for kind, layers in groups.items():
        rows = [list(values(layer)) for layer in layers]
        columns = [[row[i] for row in rows if i < len(row)] for i in range(max(map(len, rows)))]
        found[kind] = [(place, sum(column) / len(column)) for place, column in enumerate(columns, 1)]
    return found


def _over_depth(groups: Mapping[str, Sequence[LayerReport]]) -> dict[str, Points]:
    return {
        kind: sorted((float(layer.layer), layer.rms) for layer in layers if layer.layer is not None)
        for kind, layers in groups.items()
    }


def _chart(curves: Mapping[str, Points], across: str, up: str) -> str:
    """Returns a panel per kind on the same axes, its own curve strong among the others'."""
    shown = {kind: points for kind, points in curves.items() if points}
    rows = -(-len(shown) // _COLUMNS)
    panels = []
    for place, kind in enumerate(shown):
        row, column = divmod(place, _COLUMNS)
        drawn = "".join(_panel(shown, kind, across, up))
        shift = f"translate({column * _WIDTH:.0f} {row * (_TITLE + _HEIGHT):.0f})"
        below = f'<g transform="translate(0 {_TITLE:.0f})">{drawn}</g>'
        panels.append(f'<g transform="{shift}">{text(0, 12, kind)}{below}</g>')
    svg = image(_COLUMNS * _WIDTH, rows * (_TITLE + _HEIGHT), f"{up} over {across}", panels)
    return svg.replace("<svg ", f"<svg {_XMLNS} ", 1).replace(">", f"><style>{style()}</style>", 1) + "\n"


def _panel(curves: Mapping[str, Points], own: str, across: str, up: str) -> Iterator[str]:
    where = area(_WIDTH - _GAP, _HEIGHT, "0.00000")
    every = [point for points in curves.values() for point in points]
    x = scale([place for place, _ in every], where.left, where.right)
    y = scale([value for _, value in every], where.bottom, where.top, zero=True)

    def course(points: Points) -> list[tuple[float, float]]:
        return [(x.at(place), y.at(value)) for place, value in points]

    yield from vertical_axis(where, y, up, number)
    yield from horizontal_axis(where, x, across, number)
    yield from (path(course(points), "curve faint", kind) for kind, points in curves.items() if kind != own)
    yield path(course(curves[own]), "curve strong", own)
    if len(curves[own]) <= _DOTTED:
        yield from (circle(a, b, 2.5, "dot completed", own) for a, b in course(curves[own]))
