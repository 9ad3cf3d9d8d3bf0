"""`autopeft compare`: configs, searches, trainings and adapters side by side."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from autopeft.cli.output import Output

if TYPE_CHECKING:
    from autopeft.comparison import Entry, Verdict
    from autopeft.values.outcomes import Forgetting, Score


def command(
    paths: Annotated[list[Path], typer.Argument(help="tuned.yaml files, folders of searches and trainings, adapters.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Compare: quality with intervals, memory, time, latency, size and forgetting side by side."""
    from rich.markup import escape
    from rich.table import Table

    from autopeft.comparison import compare

    found = compare(paths)
    table = Table()
    for title in ("", *(escape(entry.name) for entry in found.entries)):
        table.add_column(title, overflow="fold")
    for title, cells in _rows(found.entries).items():
        if any(cells):
            table.add_row(title, *(escape(cell) for cell in cells))
    Output(as_json=as_json).result(found, table, *(escape(_sentence(verdict)) for verdict in found.verdicts))


def _rows(entries: "tuple[Entry, ...]") -> dict[str, list[str]]:
    return {
        "kind": [entry.kind for entry in entries],
        "method": [entry.method for entry in entries],
        "settings": [entry.settings for entry in entries],
        "base": [_base(entry) for entry in entries],
        "data": [entry.data for entry in entries],
        "metric": [entry.test.metric if entry.test else "" for entry in entries],
        "validation": [_score(entry.validation) for entry in entries],
        "test": [_score(entry.test) for entry in entries],
        "training": [_unit(entry.seconds, "s") for entry in entries],
        "peak memory": [_size(entry.peak_bytes) for entry in entries],
        "memory, estimated": [_estimated(entry) for entry in entries],
        "forgetting": [_forgetting(entry.forgetting) for entry in entries],
        "latency per row": [_unit(e.latency.row_milliseconds if e.latency else None, "ms") for e in entries],
        "inference memory": [_size(entry.inference_bytes) for entry in entries],
        "scoring per row": [_unit(_thousand(entry.prediction_seconds_per_row), "ms") for entry in entries],
        "adapter": [_size(entry.adapter_bytes) for entry in entries],
        "trainable": [f"{entry.trainable_parameters:,}" if entry.trainable_parameters else "" for entry in entries],
    }


def _base(entry: "Entry") -> str:
    """Returns the beginning of a fingerprint; an adapter of another tool's names its base by its place alone."""
    return Path(entry.base).name if entry.kind == "adapter" else entry.base[:12]


def _estimated(entry: "Entry") -> str:
    rows = f" for rows of {entry.estimated_tokens} tokens" if entry.estimated_tokens else ""
    return f"{_size(entry.estimated_bytes)}{rows}"


def _forgetting(found: "Forgetting | None") -> str:
    if found is None:
        return ""
    from autopeft.finetune.words import forgetting_words

    name, before, after = forgetting_words(found)
    return f"{name}: {before} to {after}"


def _size(octets: int | None) -> str:
    from autopeft.profiling.sizes import format_bytes

    return "" if octets is None else format_bytes(octets)


def _score(score: "Score | None") -> str:
    return f"{score.value:.4f} ({score.low:.4f} to {score.high:.4f})" if score else ""


def _thousand(value: float | None) -> float | None:
    return None if value is None else value * 1000


def _unit(value: float | None, unit: str) -> str:
    return "" if value is None else f"{value:.4g} {unit}"


def _sentence(verdict: "Verdict") -> str:
    pair = f"{verdict.first} against {verdict.second}"
    if verdict.difference is None:
        return f"{pair}: not comparable, {verdict.because}."
    found, rows = verdict.difference, "paired" if verdict.paired else "taken as independent"
    told = f"{found.value:+.4f} ({found.low:+.4f} to {found.high:+.4f}, rows {rows})"
    return f"{pair}: {told}; {f'{verdict.better} is better' if verdict.better else 'chance explains it'}."
