"""An inspected adapter as drawings: spectra, entanglement profiles, and how far each layer moved."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from autopeft.errors import StudyError
from autopeft.files import write_text
from autopeft.inspection.report import AdapterReport, LayerReport
from autopeft.report.page import style
from autopeft.report.svg.draw import circle, image, path, text_width
from autopeft.report.svg.frame import Area, area, horizontal_axis, vertical_axis
from autopeft.report.svg.labels import place_labels
from autopeft.report.svg.scale import number, scale

_WIDTH, _HEIGHT = 720.0, 320.0
_XMLNS = 'xmlns="http://www.w3.org/2000/svg"'
Points = Sequence[tuple[float, float]]


def write_plots(report: AdapterReport, folder: Path) -> tuple[Path, ...]:
    """Writes SVG files that stand alone, and returns their paths: one for each of the three that can be drawn.

    A curve is the mean over the layers of one kind of module; of the norms it runs over the layers.

    Raises:
        StudyError: one of the files is there already; nothing is written.
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
    for file, content in files.items():
        write_text(file, content)
    return tuple(files)


def _by_kind(layers: Sequence[LayerReport]) -> dict[str, list[LayerReport]]:
    groups: dict[str, list[LayerReport]] = defaultdict(list)
    for layer in layers:
        groups[layer.name.rpartition(".")[2]].append(layer)
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
    where = _area(curves)
    every = [point for points in curves.values() for point in points]
    x = scale([place for place, _ in every], where.left, where.right)
    y = scale([value for _, value in every], where.bottom, where.top, zero=True)
    drawn = {kind: [(x.at(a), y.at(b)) for a, b in points] for kind, points in curves.items() if points}
    ends = [(*points[-1], kind) for kind, points in drawn.items()]
    parts = [
        *vertical_axis(where, y, up, number),
        *horizontal_axis(where, x, across, number),
        *(path(points, "curve", kind) for kind, points in drawn.items()),
        *(circle(a, b, 2.5, "dot completed", kind) for kind, points in drawn.items() for a, b in points),
        *place_labels(ends, [(a, b) for a, b, _ in ends], Area(left=0, right=_WIDTH, top=0, bottom=where.bottom)),
    ]
    svg = image(_WIDTH, _HEIGHT, f"{up} over {across}", parts)
    return svg.replace("<svg ", f"<svg {_XMLNS} ", 1).replace(">", f"><style>{style()}</style>", 1) + "\n"


def _area(curves: Mapping[str, Points]) -> Area:
    """Returns the plot area, with room at its right for the curves' names."""
    full = area(_WIDTH, _HEIGHT, "0.00000")
    return Area(left=full.left, right=full.right - max(map(text_width, curves)) - 8, top=full.top, bottom=full.bottom)
