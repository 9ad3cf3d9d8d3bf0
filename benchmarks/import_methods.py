"""Turns the runs of ``benchmarks/methods.py`` into evidence: every method on one task, at several rates and seeds.

    python benchmarks/import_methods.py runs.jsonl [more.jsonl …] --device "AMD EPYC, 1 thread"

Writes ``profiles/evidence/own_methods.jsonl``: the runs at three rates compared by validation loss, those with fresh
seeds by accuracy on the test split. Plain LoRA at the rate that served it best is what both are compared with, since
that is what the benchmark's final runs are of. The two settings share model and data, so they are left out together.
"""

import argparse
import datetime
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from autopeft import resources
from autopeft.assets import fetch, get_asset
from autopeft.data import load_data
from autopeft.errors import StudyError
from autopeft.files import write_text
from autopeft.methods import baseline, get_method
from autopeft.profiling.task import describe_task
from autopeft.profiling.tokenizer import load_tokenizer
from autopeft.recommend._evidence_trials import model_facts, task_facts, trial_run
from autopeft.recommend.evidence import to_line
from autopeft.values.candidates import Candidate
from autopeft.values.evidence import Run, RunModel, RunTask
from autopeft.values.names import Status
from autopeft.values.outcomes import TrialOutcome
from benchmarks import methods as benchmark

MODEL, DATA = "minilm", "vader-movies"
"""The benchmark's assets."""
NAMED = "minilm-6"
"""The model as other evidence calls it: with its layers."""
LOSS = "validation_loss"
STATUSES: Mapping[str, Status] = {"completed": "completed", "diverged": "diverged", "refused": "infeasible"}
NOTE = "Compared with plain LoRA at the best of its three rates, not at the default recipe's."


@dataclass(frozen=True, kw_only=True)
class Where:
    """What all runs share, as evidence has it."""

    model: RunModel
    task: RunTask
    metric: str
    validation_rows: int
    test_rows: int
    device: str
    date: str


def exact(row: benchmark.Row, bench: benchmark.Bench) -> Candidate:
    """Returns the candidate that a row is of.

    Raises:
        StudyError: the benchmark would run the method otherwise now, so that its settings are not known.
    """
    found, _ = benchmark.candidates(get_method(row.method), bench)
    for candidate in found:
        if (candidate.learning_rate, candidate.quantization) == (row.learning_rate, row.quantization):
            return candidate
    if row.status == "refused":
        return Candidate(method=row.method, learning_rate=get_method(row.method).seeds[0].learning_rate)
    raise StudyError(f"{row.method} at {row.learning_rate:g} ({row.quantization}) is not what the benchmark runs now.")


def evidence(rows: Sequence[benchmark.Row], bench: benchmark.Bench, where: Where) -> list[Run]:
    """Returns the runs, in the order of the rows.

    Raises:
        StudyError: plain LoRA has no finished run, or a row cannot be told.
    """
    plain, _ = baseline("default")
    done = [row for row in rows if row.method == plain and row.stage == "rate" and row.validation_loss is not None]
    if not done:
        raise StudyError(f"There is no finished run of {plain} to compare with.")
    best = min(done, key=lambda row: row.validation_loss or math.inf).learning_rate
    return [_run(row, exact(row, bench), where, reference=_key(row) == (plain, best)) for row in rows]


def _key(row: benchmark.Row) -> tuple[str, float]:
    return row.method, row.learning_rate


def _run(row: benchmark.Row, candidate: Candidate, where: Where, *, reference: bool) -> Run:
    final = row.stage == "final"
    metrics = {**(row.metrics or {}), **({} if row.validation_loss is None else {LOSS: row.validation_loss})}
    metric = where.metric if final else LOSS
    outcome = TrialOutcome(
        number=0, status=STATUSES[row.status], candidate=candidate, reason=row.reason, score=metrics.get(metric),
        metrics=metrics, tokens=row.tokens, seconds=row.seconds, trainable_parameters=row.trainable or None,
    )  # fmt: skip
    setting = f"own methods {where.model.name} {where.task.name}, {'final' if final else 'rates'}"
    return trial_run(
        outcome, name=f"{setting} {row.method} seed {row.seed} rate {row.learning_rate:g}", setting=setting,
        model=where.model, task=where.task, metric=metric, lower_is_better=not final,
        scored_rows=where.test_rows if final else where.validation_rows, seed=row.seed, device=where.device,
        on_gpu=False, source="autopeft benchmarks/methods.py", licence="Apache-2.0", reference=reference,
        date=where.date, notes=(NOTE,),
    )  # fmt: skip


def where(bench: benchmark.Bench, model: str, data: str, names: tuple[str, str], device: str, date: str) -> Where:
    """Returns what all runs share, model and data under the given names."""
    task = describe_task(load_data(data), load_tokenizer(model))
    return Where(
        model=model_facts(bench.profile, names[0]), task=task_facts(task, names[1]),
        metric=next(iter(bench.task.metrics)),
        validation_rows=min(benchmark.VALIDATION_ROWS, len(bench.encoded["validation"])),
        test_rows=len(bench.encoded["test"]), device=device, date=date,
    )  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads the command line and writes the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", help="JSONL files of benchmarks/methods.py")
    parser.add_argument("--device", required=True, help="what to call the device in the rows")
    parser.add_argument("--date", default=datetime.date.today().isoformat(), help="of the runs")
    parser.add_argument("--steps", type=int, default=100, help="as the runs were made with")
    parser.add_argument("--model", type=Path, help="folder of the model, where it was not the asset")
    parser.add_argument("--data", type=Path, help="the data, where they were not the asset")
    parser.add_argument("--cache", type=Path, default=Path(".cache"), help="where fetched files lie")
    parser.add_argument("--output", type=Path, default=resources.profiles() / "evidence" / "own_methods.jsonl")
    given = parser.parse_args(arguments)
    model = str(given.model or fetch(get_asset(MODEL), given.cache, print))
    data = str(given.data or fetch(get_asset(DATA), given.cache, print))
    names = (given.model.name if given.model else NAMED, given.data.stem if given.data else DATA)
    bench = benchmark.Bench(model, data, given.steps)
    rows = {row.key: row for path in given.runs for row in benchmark.read_rows(path, bench.setting)}
    found = evidence(list(rows.values()), bench, where(bench, model, data, names, given.device, given.date))
    write_text(given.output, "".join(f"{to_line(run)}\n" for run in found))
    print(f"{len(found)} runs of {len({run.method for run in found})} methods in {given.output}")


if __name__ == "__main__":
    main()
