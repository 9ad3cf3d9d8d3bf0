"""`autopeft inspect`: what an adapter's update did, layer by layer."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autopeft.cli.options import TrustRemoteCode
from autopeft.cli.output import Output, unbroken

if TYPE_CHECKING:
    from autopeft.inspection import AdapterReport, LayerReport

_BARS = "▁▂▃▄▅▆▇█"
_WIDEST = 8


def command(
    adapter: Annotated[Path, typer.Argument(help="An adapter's folder, such as the output of autopeft train.")],
    every_layer: Annotated[bool, typer.Option("--layers", help="One line for every module.")] = False,
    base: Annotated[
        str | None, typer.Option(metavar="MODEL", help="The base model, where it is not the one that it names.")
    ] = None,
    plots: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Also draw spectra, entanglement and norms there, as SVG.")
    ] = None,
    _code: TrustRemoteCode = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Inspect: norms, ranks and spectra of an adapter's update, and what they suggest for the next search."""
    from rich.markup import escape

    from autopeft.files import plain
    from autopeft.inspection import inspect_adapter

    report = inspect_adapter(adapter, base)
    drawn = _drawn(report, plots)
    tables = [_table(report, every_layer=every_layer)] if report.layers else []
    norms = [escape(f"{name}: norm {norm:.4g}") for name, norm in sorted(report.norms.items())]
    kept = [f"{len(norms)} tensors of the file are beside these: --layers shows their norms."]
    share = [f"{report.hardly_moved:.0%} of {len(report.layers)} modules hardly moved."] if report.layers else []
    Output(as_json=as_json).result(
        {**plain(report), "plots": [str(file) for file in drawn]},
        escape(f"{report.kind} adapter" + (f" of {report.base_model}" if report.base_model else "")),
        *tables,
        *(norms if every_layer or not tables else kept if norms else []),
        *share,
        *(escape(f"Suggestion: {sentence}") for sentence in report.suggestions),
        *(escape(f"Note: {sentence}") for sentence in report.notes),
        *(unbroken(str(file)) for file in drawn),
    )


def _drawn(report: "AdapterReport", folder: Path | None) -> tuple[Path, ...]:
    if folder is None:
        return ()
    from autopeft.inspection.plots import write_plots

    return write_plots(report, folder)


def _table(report: "AdapterReport", *, every_layer: bool) -> Any:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    groups: dict[str, list[LayerReport]] = defaultdict(list)
    for layer in report.layers:
        groups[layer.name if every_layer else layer.module].append(layer)
    # Narrow, so that a module's name has room on 80 columns.
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("module", overflow="fold")
    for title in ("rank", "norm", "eff.", "stable", "99 %", "spectrum", "entangled"):
        table.add_column(title)
    for name, layers in groups.items():
        middle = [median(getattr(layer, key) for layer in layers) for key in ("norm", "effective_rank", "stable_rank")]
        numbers = [f"{value:.3g}" for value in middle]
        count = f" × {len(layers)}" if len(layers) > 1 else ""
        table.add_row(
            f"{name}{count}", str(layers[0].rank), *numbers, f"{median(layer.significant for layer in layers):g}",
            _bars([layer.spectrum for layer in layers]), _bars([layer.entanglement for layer in layers]),
        )  # fmt: skip
    return table


def _bars(rows: Sequence[Sequence[float]]) -> str:
    """Returns the mean of rows of numbers as bars, the highest full, at most 8 of them."""
    width = min((len(row) for row in rows), default=0)
    if not width:
        return ""
    means = [sum(row[place] for row in rows) / len(rows) for place in range(width)]
    shown = [means[place * width // _WIDEST] for place in range(_WIDEST)] if width > _WIDEST else means
    top = max(shown) or 1.0
    return "".join(_BARS[min(len(_BARS) - 1, int(value / top * (len(_BARS) - 1) + 0.5))] for value in shown)
