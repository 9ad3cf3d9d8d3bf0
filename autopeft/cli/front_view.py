"""The Pareto front and the final of a search, as the terminal shows them."""

from collections.abc import Iterator
from typing import Any

from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from autopeft.tuning.pareto import said
from autopeft.values.outcomes import SearchResult


def front_view(result: SearchResult) -> Iterator[Any]:
    """Yields the trials that nothing beats in all objectives, and why one of them was taken; nothing for quality."""
    if result.knee is None:
        return
    metric, costs = result.winner.test.metric, [name for name in result.objectives if name != "quality"]
    table = Table("trial", "method", escape(metric), *costs, title="Pareto front, as the trials were measured")
    for point in result.pareto:
        style = "bold" if point.number == result.knee.number else ""
        values = [f"{point.values['quality']:.4f}", *(said(name, point.values[name]) for name in costs)]
        table.add_row(str(point.number), escape(point.config.method), *values, style=style)
    yield table
    yield f"[bold]The knee:[/bold] {escape(result.knee.reason)}"


def final_view(result: SearchResult) -> Iterator[Any]:
    """Yields how those who were trained anew compare, where there was a choice."""
    if len(result.finalists) < 2:
        return
    yield "Trained anew with fresh seeds, chosen on validation over both trainings:"
    for finalist in result.finalists:
        mark = "[bold]winner[/bold]" if finalist.number == result.winner_trial else ""
        line = (
            f"trial {finalist.number} {escape(finalist.config.method)}: {finalist.validation.value:.4f} "
            f"(in its trial {finalist.trial_score:.4f}) {mark}"
        )
        yield Padding(line.rstrip(), (0, 0, 0, 2))
