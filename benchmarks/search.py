"""Real searches against honest baselines at equal seconds: final test score by task, budget and seed.

    python -m benchmarks.search --seconds 300 --seconds 900 --seeds 3

Every contender chooses a configuration in so many seconds of training on the same runner; then all of them are trained
anew for the same tokens with a fresh seed and scored once on the test split. Rows go to ``search.jsonl`` as they come;
what the file holds is not run again, so a stopped benchmark goes on where it stood. The table and the plots are made
from the whole file. Other programs on the same cores falsify it: run it alone.
"""

import argparse
import json
import math
import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from autopeft.assets import fetch, get_asset
from autopeft.files import parse, plain, write_text
from autopeft.tasks import get_task
from autopeft.tuning.prepare import Request
from autopeft.values.candidates import Candidate
from benchmarks._contenders import CONTENDERS, Bench, bench
from benchmarks._intervals import Mean, mean
from benchmarks._plot import Point, chart

TASKS = ("minilm:vader-amazon", "minilm:vader-nyt", "smollm2-8:chatterbot")
"""Short texts, of which two cores train some hundred steps a minute, and data that no run of the evidence has seen."""
BASELINES = ("default LoRA", "raced LoRA")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One contender on one task with one seed and one budget.

    Attributes:
        seconds: that it might take to choose.
        taken: that it took.
        validation: the metric's value after the final training.
        test: likewise, on the test split.
        tokens: of the final training.
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


def measure(given: Bench, task: str, name: str) -> Row:
    """Returns a contender's row: it chooses, then its choice is trained anew and tested."""
    chosen = CONTENDERS[name](given)
    comparison = given.comparison()
    contender = comparison.contender(comparison.single(name.replace(" ", "_"), chosen.candidate))
    prepared = given.prepared
    return Row(
        task=task, seed=prepared.seed, seconds=given.seconds, contender=name, metric=prepared.objective.name,
        lower_is_better=prepared.objective.name in get_task(prepared.model.task).lower_is_better,
        taken=chosen.seconds, trials=chosen.trials, completed=chosen.completed, config=contender.config,
        validation=contender.validation.value, test=contender.test.value, test_rows=contender.test.rows,
        tokens=contender.tokens,
    )  # fmt: skip


def run(
    tasks: Sequence[str], seeds: int, budgets: Sequence[float], contenders: Sequence[str], path: Path, work: Path
) -> Iterator[Row]:
    """Yields the rows that the file lacks, each written before the next is begun."""
    done = {row.key for row in read_rows(path)}
    for task in tasks:
        for seconds in budgets:
            for seed in range(seeds):
                missing = [name for name in contenders if (task, seed, seconds, name) not in done]
                if not missing:
                    continue
                place = Path(_slug(task), f"{seconds:g}", str(seed))
                kept = path.parent / "settings" / place
                _check_settings(kept, begun=any(key[:3] == (task, seed, seconds) for key in done))
                given = bench(request(task, seed, work), work / place, kept, seconds)
                for name in missing:
                    row = measure(given, task, name)
                    _append(path, row)
                    yield row


def _check_settings(kept: Path, *, begun: bool) -> None:
    if begun and not (kept / "search.json").exists():
        sys.exit(
            f"{kept} has no search.json, and trials of another length are not to be compared: "
            "take the rows of this task, seed and time out of search.jsonl, and all are run again."
        )


def _append(path: Path, row: Row) -> None:
    """Adds a row to the file, which is written whole, so that a kill leaves no half row in its midst."""
    lines = [json.dumps(plain(each)) for each in (*read_rows(path), row)]
    write_text(path, "\n".join(lines) + "\n")


def _slug(task: str) -> str:
    return re.sub(r"[^\w.-]+", "_", task).strip("_")


def request(task: str, seed: int, work: Path) -> Request:
    """Returns what a search on a task is asked for; what is missing of model and data is fetched."""
    model, _, data = task.partition(":")
    return Request(model=str(_model(model, work)), data=str(_data(data, work)), seed=seed)


def _model(name: str, work: Path) -> Path:
    """Returns a model folder: a path as it is, an asset, or an asset's first layers, as in ``smollm2-8``."""
    if Path(name).exists():
        return Path(name)
    if name.rpartition("-")[2].isdigit():
        from benchmarks.collect import cut_model

        return cut_model(name, work / "assets")
    return fetch(get_asset(name), work / "assets", print)


def _data(name: str, work: Path) -> Path:
    return Path(name) if Path(name).exists() else fetch(get_asset(name), work / "assets", print)


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
    """Returns what each contender gains over each baseline by budget, paired by task and seed, higher better."""
    quality = {row.key: row.quality for row in rows}
    found: dict[tuple[str, str, float], list[float]] = defaultdict(list)
    for row in rows:
        for baseline in BASELINES:
            other = quality.get((row.task, row.seed, row.seconds, baseline))
            if other is not None and row.contender not in BASELINES:
                found[(row.contender, baseline, row.seconds)].append(row.quality - other)
    return {key: mean(values) for key, values in found.items()}


def gain_table(rows: Sequence[Row]) -> str:
    """Returns the gains as a Markdown table; tasks of one metric only can be averaged."""
    parts = []
    for scale in sorted({row.scale for row in rows}):
        parts.append(f"### Gain in {scale}, all its tasks and seeds\n\n| contender | over | seconds | gain |")
        parts[-1] += "\n|---|---|---|---|"
        for (name, baseline, seconds), gain in gains([row for row in rows if row.scale == scale]).items():
            said = f"{gain.value:+.4f} ({gain.low:+.4f} to {gain.high:+.4f}, {gain.count})"
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
        name = f"search-{_slug(task)}.svg"
        write_text(output / name, drawing([row for row in rows if row.task == task]))
        pictures.append(f"![test score against seconds: {task}]({name})")
    said = "Means over seeds with 95 % bootstrap intervals and the number of seeds."
    parts = ["# Searches at equal seconds", said, table(rows), gain_table(rows), *pictures]
    write_text(output / "search.md", "\n\n".join(parts) + "\n")


def main() -> None:
    """Runs what is missing and writes the results."""
    given = _arguments()
    path = given.output / "search.jsonl"
    contenders = given.contender or list(CONTENDERS)
    for row in run(given.task or TASKS, given.seeds, given.seconds or [600.0], contenders, path, given.work):
        print(f"{row.task} seed {row.seed} {row.seconds:g} s {row.contender}: {row.test:.4f}", file=sys.stderr)
    write_results(read_rows(path), given.output)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", action="append", metavar="MODEL:DATA", help=f"repeatable; [{', '.join(TASKS)}]")
    parser.add_argument("--contender", action="append", choices=list(CONTENDERS), help="repeatable; [all]")
    parser.add_argument("--seconds", action="append", type=float, help="budget of choosing; repeatable; [600]")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--work", type=Path, default=Path(".cache/benchmark-search"), help="models, data and studies")
    return parser.parse_args()


if __name__ == "__main__":
    main()
