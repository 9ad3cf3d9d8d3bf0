"""The rows of the benchmark of real searches, and the tables and charts that are made of them."""

import json
import math
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from autopeft.files import parse, plain, write_text
from autopeft.values.candidates import Candidate
from benchmarks._contenders import CONTENDERS
from benchmarks._intervals import Mean, mean
from benchmarks._plot import Point, chart

BASELINES = ("default LoRA", "raced LoRA")
OURS = "autopeft"
"""Is compared with the other searches too."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One contender on one task with one seed and one budget.

    Attributes:
        seconds: that it might take to choose.
        taken: that it took.
        validation: the metric's value after the final training.
        test: likewise, on the test split.
        tokens: of the final training.
        threads: that it had to itself.
    """

    task: str
    seed: int
    seconds: float
    contender: str
    metric: str
    lower_is_better: bool
    taken: float
    trials: int
    completed: int
    config: Candidate
    validation: float
    test: float
    test_rows: int
    tokens: int
    threads: int

    @property
    def key(self) -> tuple[str, int, float, str]:
        """What a row is found by."""
        return (self.task, self.seed, self.seconds, self.contender)

    @property
    def scale(self) -> str:
        """What the test score is compared in."""
        return "log perplexity" if self.metric == "perplexity" else self.metric

    @property
    def score(self) -> float:
        """The test score on its scale: one large perplexity would outweigh all others in a mean."""
        return math.log(self.test) if self.metric == "perplexity" else self.test

    @property
    def quality(self) -> float:
        """The score, higher better."""
        return -self.score if self.lower_is_better else self.score


def read_rows(path: Path) -> list[Row]:
    """Returns the rows of a results file, none where there is no file yet."""
    if not path.exists():
        return []
    return [parse(Row, json.loads(line), str(path)) for line in path.read_text(encoding="utf-8").splitlines()]


def append_row(path: Path, row: Row) -> None:
    """Adds a row to the file, which is written whole, so that a kill leaves no half row in its midst."""
    lines = [json.dumps(plain(each)) for each in (*read_rows(path), row)]
    write_text(path, "\n".join(lines) + "\n")


def slug(task: str) -> str:
    """Returns a task as a part of a file's name."""
    return re.sub(r"[^\w.-]+", "_", task).strip("_")


def table(rows: Iterable[Row]) -> str:
    """Returns one Markdown table per task: mean test score by contender and budget, with intervals over seeds."""
    by_task: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_task[row.task].append(row)
    return "\n\n".join(f"### {_title(task, found[0])}\n\n{_task_table(found)}" for task, found in by_task.items())


def _title(task: str, row: Row) -> str:
    return f"{task}, {row.scale} on {row.test_rows} test rows"


def _task_table(rows: Sequence[Row]) -> str:
    budgets = sorted({row.seconds for row in rows})
    lines = [
        "| contender | " + " | ".join(f"{budget:g} s" for budget in budgets) + " |",
        "|---" * (len(budgets) + 1) + "|",
    ]
    for name in _names(rows):
        cells = [_cell([row.score for row in rows if row.contender == name and row.seconds == b]) for b in budgets]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(values: Sequence[float]) -> str:
    if not values:
        return ""
    if len(values) == 1:  # which says nothing of how seeds differ
        return f"{values[0]:.4f} (one seed)"
    found = mean(values)
    return f"{found.value:.4f} ({found.low:.4f}–{found.high:.4f}, {found.count})"


def _names(rows: Iterable[Row]) -> list[str]:
    held = {row.contender for row in rows}
    return [name for name in CONTENDERS if name in held]


def gains(rows: Sequence[Row]) -> dict[tuple[str, str, float], Mean]:
    """Returns what each search gains over each baseline by budget, paired by task and seed, higher better.

    And what this project's gains over the other searches.
    """
    quality = {row.key: row.quality for row in rows}
    found: dict[tuple[str, str, float], list[float]] = defaultdict(list)
    for row in rows:
        for name in _compared_with(row.contender):
            other = quality.get((row.task, row.seed, row.seconds, name))
            if other is not None:
                found[(row.contender, name, row.seconds)].append(row.quality - other)
    return {key: mean(values) for key, values in found.items()}


def _compared_with(name: str) -> Sequence[str]:
    if name == OURS:
        return [other for other in CONTENDERS if other != OURS]
    return () if name in BASELINES else BASELINES


def gain_table(rows: Sequence[Row]) -> str:
    """Returns the gains as a Markdown table; tasks of one metric only can be averaged."""
    parts = []
    for scale in sorted({row.scale for row in rows}):
        parts.append(f"### Gain in {scale}, all its tasks and seeds\n\n| contender | over | seconds | gain |")
        parts[-1] += "\n|---|---|---|---|"
        for (name, baseline, seconds), gain in gains([row for row in rows if row.scale == scale]).items():
            spread = f"{gain.low:+.4f} to {gain.high:+.4f}, {gain.count}" if gain.count > 1 else "one pair"
            said = f"{gain.value:+.4f} ({spread})"
            parts[-1] += f"\n| {name} | {baseline} | {seconds:g} | {said} |"
    return "\n\n".join(parts)


def drawing(rows: Sequence[Row]) -> str:
    """Returns the chart of one task: mean test score against seconds."""
    lines: dict[str, list[Point]] = {}
    for name in _names(rows):
        lines[name] = []
        for seconds in sorted({row.seconds for row in rows if row.contender == name}):
            found = mean([row.score for row in rows if row.contender == name and row.seconds == seconds])
            lines[name].append(Point(x=seconds, value=found.value, low=found.low, high=found.high))
    return chart(lines, "seconds to choose in", f"test {rows[0].scale}")


def write_results(rows: Sequence[Row], output: Path) -> None:
    """Writes ``search.md`` and a chart per task."""
    pictures = []
    for task in dict.fromkeys(row.task for row in rows):
        name = f"search-{slug(task)}.svg"
        write_text(output / name, drawing([row for row in rows if row.task == task]))
        pictures.append(f"![test score against seconds: {task}]({name})")
    said = "Means over seeds with 95 % bootstrap intervals and the number of seeds."
    parts = ["# Searches at equal seconds", said, table(rows), gain_table(rows), *pictures]
    write_text(output / "search.md", "\n\n".join(parts) + "\n")
