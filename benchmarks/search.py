"""Real searches against honest baselines at equal seconds: final test score by task, budget and seed.

    python -m benchmarks.search --seconds 300 --seeds 3 --jobs 2

Every contender chooses a configuration in so many seconds of training on the same runner; then all of them are trained
anew for the same tokens with a fresh seed and scored once on the test split. Rows go to ``search.jsonl`` as they come;
what the file holds is not run again, so a stopped benchmark goes on where it stood. The table and the plots are made
from the whole file. So many contenders run at the same time as ``--jobs`` says, with an equal share of the cores each.
Other programs on the same cores falsify it: run it alone.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from autopeft.tasks import get_task
from autopeft.training.devices import threads
from benchmarks._contenders import CONTENDERS, Bench, bench
from benchmarks._search_rows import Row, append_row, read_rows, slug, write_results
from benchmarks._search_tasks import held_out, request
from benchmarks._side_by_side import side_by_side, threads_each

TASKS = ("minilm:vader-amazon", "minilm:vader-nyt", "smollm2-8:chatterbot")
"""Short texts, of which two cores train some hundred steps a minute, and data that no run of the evidence has seen."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How all rows of a benchmark are measured.

    Attributes:
        jobs: contenders that run at the same time.
        threads: of each.
        path: of the results file; the settings lie beside it.
        work: for models, data and studies.
    """

    jobs: int = 1
    threads: int
    path: Path
    work: Path


@dataclass(frozen=True, kw_only=True)
class Heat:
    """A task with a seed and a budget, which all contenders meet alike."""

    task: str
    seed: int
    seconds: float

    @property
    def place(self) -> Path:
        """Where its files lie, below any folder."""
        return Path(slug(self.task), f"{self.seconds:g}", str(self.seed))


def run(plan: Plan, heats: Sequence[Heat], contenders: Sequence[str]) -> Iterator[Row]:
    """Yields the rows that the file lacks, each written as soon as it is measured."""
    held = {row.key: row for row in read_rows(plan.path)}
    missing = []
    for heat in heats:
        begun = [row for row in held.values() if row.key[:3] == (heat.task, heat.seed, heat.seconds)]
        lacking = [name for name in contenders if (heat.task, heat.seed, heat.seconds, name) not in held]
        if lacking:
            _check_alike(plan, heat, begun)
        missing += [(heat, name) for name in lacking]
    for row in side_by_side(measure, [(plan, *each) for each in missing], plan.jobs):
        append_row(plan.path, row)
        yield row


def _check_alike(plan: Plan, heat: Heat, begun: Sequence[Row]) -> None:
    """Ends the program where rows of a heat are there, and what is missing would be measured in another way."""
    said = "take the rows of this task, seed and time out of search.jsonl, and all are run again."
    kept = _settings(plan, heat)
    if begun and not (kept / "search.json").exists():
        sys.exit(f"{kept} has no search.json, and trials of another length are not to be compared: {said}")
    if other := next((row for row in begun if row.threads != plan.threads), None):
        sys.exit(
            f"{heat.task}, seed {heat.seed}, was begun with {other.threads} threads for each contender, and now each "
            f"has {plan.threads}: give as many --jobs as then, or {said}"
        )


def measure(plan: Plan, heat: Heat, name: str) -> Row:
    """Returns a contender's row: it chooses, then its choice is trained anew and tested."""
    with threads(plan.threads):
        given = bench_of(plan, heat)
        chosen = CONTENDERS[name](given)
        comparison = given.comparison()
        contender = comparison.contender(comparison.single(name.replace(" ", "_"), chosen.candidate))
    objective, task = given.prepared.objective, get_task(given.prepared.model.task)
    return Row(
        task=heat.task, seed=heat.seed, seconds=heat.seconds, contender=name, metric=objective.name,
        lower_is_better=objective.name in task.lower_is_better, taken=chosen.seconds, trials=chosen.trials,
        completed=chosen.completed, config=contender.config, validation=contender.validation.value,
        test=contender.test.value, test_rows=contender.test.rows, tokens=contender.tokens, threads=plan.threads,
    )  # fmt: skip


@lru_cache(maxsize=1)
def bench_of(plan: Plan, heat: Heat) -> Bench:
    """Returns the bench of a heat, which a process keeps for its next contender."""
    from filelock import FileLock

    work, kept = plan.work / heat.place, _settings(plan, heat)
    work.mkdir(parents=True, exist_ok=True)
    # Whoever comes first measures the speed that sizes everybody's trials.
    with FileLock(work / ".lock"):
        asked = request(heat.task, heat.seed, plan.work)
        data = held_out(asked.data, heat.seed, work / "data")
        return bench(replace(asked, data=str(data)), work, kept, heat.seconds)


def _settings(plan: Plan, heat: Heat) -> Path:
    return plan.path.parent / "settings" / heat.place


def main() -> None:
    """Runs what is missing and writes the results."""
    given = _arguments()
    path = given.output / "search.jsonl"
    plan = Plan(jobs=given.jobs, threads=threads_each(given.jobs), path=path, work=given.work)
    heats = [
        Heat(task=task, seed=seed, seconds=seconds)
        for seconds in given.seconds or [600.0]
        for seed in range(given.seeds)
        for task in given.task or TASKS
    ]
    for row in run(plan, heats, given.contender or list(CONTENDERS)):
        print(f"{row.task} seed {row.seed} {row.seconds:g} s {row.contender}: {row.test:.4f}", file=sys.stderr)
    write_results(read_rows(path), given.output)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", action="append", metavar="MODEL:DATA", help=f"repeatable; [{', '.join(TASKS)}]")
    parser.add_argument("--contender", action="append", choices=list(CONTENDERS), help="repeatable; [all]")
    parser.add_argument("--seconds", action="append", type=float, help="budget of choosing; repeatable; [600]")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=1, help="contenders at the same time; [1]")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--work", type=Path, default=Path(".cache/benchmark-search"), help="models, data and studies")
    return parser.parse_args()


if __name__ == "__main__":
    main()
