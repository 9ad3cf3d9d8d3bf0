"""What `autopeft report` shows: a summary for people, and one document for programs."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from autopeft.cli.output import unbroken
from autopeft.report import Story
from autopeft.report.front import COSTS, costed, front
from autopeft.report.words import MEANINGS, counts, described, state, why

_SHOWN = 5


def document(story: Story, path: Path) -> dict[str, Any]:
    """Returns the report's facts, ready for JSON: counts, the best trials, the fronts and the importances."""
    return {
        "report": str(path),
        "finished": story.result is not None,
        "metric": story.metric,
        "lower_is_better": story.lower_is_better,
        "seconds": story.seconds,
        "trials": counts(story),
        "best": [
            {"number": o.number, "score": story.value(o), "config": o.candidate, "seconds": o.seconds}
            for o in story.ranked
        ],
        "front": {
            cost.key: [{"number": o.number, "score": story.value(o), cost.key: value} for o, value in front(pairs)]
            for cost in COSTS
            if (pairs := costed(story.ranked, cost))
        },
        "importances": story.importances,
        "result": story.result,
    }


def view(story: Story, path: Path) -> Iterator[Any]:
    """Yields the summary: how far the search came, its best trials, why the first won, and where the file is."""
    yield state(story)
    told = ", ".join(f"{count} {MEANINGS[status]}" for status, count in counts(story).items())
    yield f"{len(story.outcomes)} trials in {story.seconds:,.0f} s{': ' + told if told else ''}."
    if story.ranked:
        yield _best(story)
    yield from (Padding(escape(sentence), (0, 0, 0, 2)) for sentence in why(story))
    for found in story.importances:
        shares = ", ".join(f"{name} {share:.0%}" for name, share in found.shares.items() if share >= 0.01)
        yield f"What mattered across {found.across} ({found.trials} trials): {shares}"
    yield unbroken(f"\n{path}  the report")


def _best(story: Story) -> Table:
    table = Table("trial", story.metric, "configuration", title="Best on validation")
    for outcome in story.ranked[:_SHOWN]:
        table.add_row(str(outcome.number), f"{story.value(outcome):.4f}", escape(described(outcome.candidate)))
    return table
