"""Trains every method of the catalogue on one real task, with equal tokens, and writes a table of what each learned.

    python benchmarks/methods.py benchmarks/methods.jsonl --table benchmarks/methods.md [--methods lora,dora]

For each method, its first seed from the literature at three learning rates spread over the range that is searched by
default: one short run each, and the rate with the lowest validation loss runs on with three fresh seeds. The test
split is scored for those alone. What the file holds already is not run again, so the command goes on where it was
stopped; a run that diverges is a result. By default the demo's model and data: 100 steps of 16 rows, some six hours
on two cores for all.
"""

import argparse
import json
import math
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from autopeft.assets import fetch, get_asset
from autopeft.data import EncodedData, encode, load_data
from autopeft.errors import DivergedError, StudyError, unknown
from autopeft.methods import Method, all_methods, get_method
from autopeft.profiling.hardware import probe_hardware
from autopeft.profiling.model import read_model
from autopeft.profiling.tokenizer import load_tokenizer
from autopeft.tasks import get_task
from autopeft.training.run import TrainingRun
from autopeft.training.scoring import held_out_loss, predict
from autopeft.training.worker import Worker
from autopeft.tuning.space import load_space
from autopeft.values.candidates import Candidate, Setup
from autopeft.values.plans import Plan

ROWS_PER_STEP = 16
RATE_SEED, SEEDS = 0, (1, 2, 3)
RATES = (1 / 6, 1 / 2, 5 / 6)
"""Where in the searched range of learning rates the three lie, on its logarithm."""
VALIDATION_ROWS = 300
HEAD = """\
# Every method on one real task

Written by `python benchmarks/methods.py benchmarks/methods.jsonl --table benchmarks/methods.md`; do not edit.

Setting: `{setting}` (the model's fingerprint, the file, rows by split, tokens of a run). The best of three learning
rates by one seed's validation loss, then three fresh seeds; the test split is scored for those alone. A hundred steps
say which methods learn, and how soon, not which end best. Seconds are of one thread of a shared machine.

"""
SCHEMES = ("none", "nf4")
"""Bases to try a method on: the first that it takes."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One run.

    Attributes:
        setting: what all runs of a file share: model, data and tokens.
        stage: ``rate`` for a run that helps to choose the learning rate, ``final`` for one that counts.
        status: ``completed``, ``diverged``, or ``refused`` for a method that cannot work here, with the reason.
        metrics: on the test split; of final runs alone.
    """

    setting: str
    method: str
    stage: str
    seed: int
    learning_rate: float
    status: str
    reason: str = ""
    quantization: str = "none"
    tokens: int = 0
    steps: int = 0
    seconds: float = 0.0
    trainable: int = 0
    validation_loss: float | None = None
    metrics: dict[str, float] | None = None

    @property
    def key(self) -> tuple[str, str, int, float]:
        """What tells a run from the others of a file."""
        return self.method, self.stage, self.seed, self.learning_rate


class Bench:
    """A model and data, ready to run any candidate on for the same number of tokens."""

    def __init__(self, model: str, data: str, steps: int) -> None:
        """Reads the model and the data; the base is loaded by the first run."""
        loaded = load_data(data)
        labels = max(1, len(loaded.spec.labels))
        self.profile = read_model(model, loaded.spec.task, labels)
        self.encoded: EncodedData = encode(loaded, load_tokenizer(model), self.profile.kind)
        self.worker = Worker(self.profile, probe_hardware(), head_seed=0)
        self.task = get_task(loaded.spec.task)
        self.tokens = round(steps * ROWS_PER_STEP * statistics.mean(self.encoded["train"].lengths))
        rows = {name: len(split) for name, split in self.encoded.splits.items()}
        self.setting = f"{self.profile.fingerprint[:12]} {Path(data).name} {rows} {self.tokens} tokens"

    def run(self, candidate: Candidate, stage: str, seed: int) -> Row:
        """Returns what came of one run; only divergence is expected, any other error is a defect and stops all."""
        row = partial(
            Row, setting=self.setting, method=candidate.method, stage=stage, seed=seed,
            learning_rate=candidate.learning_rate, quantization=candidate.quantization,
        )  # fmt: skip
        started = time.monotonic()
        plan = Plan(tokens=self.tokens, seed=seed)
        with self.worker.attached(candidate, plan, self.encoded["train"]) as run:
            facts = partial(row, trainable=run.trainable_parameters, steps=len(run.steps))
            try:
                run.advance(1.0)
                loss = self._validation_loss(run)
            except DivergedError as error:
                return facts(status="diverged", reason=str(error), seconds=time.monotonic() - started)
            metrics = self._test(run) if stage == "final" else None
            return facts(
                status="completed", tokens=run.tokens, seconds=run.seconds, validation_loss=loss, metrics=metrics
            )

    def _validation_loss(self, run: TrainingRun) -> float:
        split, dtype = self.encoded["validation"], run.candidate.dtype
        rows = min(VALIDATION_ROWS, len(split))
        loss = held_out_loss(run.model, split, self.task, dtype=dtype, device=self.worker.device, rows=rows)
        if not math.isfinite(loss):
            raise DivergedError(f"The validation loss is {loss}.")
        return loss

    def _test(self, run: TrainingRun) -> dict[str, float]:
        tokenizer = self.worker.base(run.candidate).tokenizer
        split, dtype = self.encoded["test"], run.candidate.dtype
        found = predict(run.model, split, self.task, tokenizer, dtype=dtype, device=self.worker.device)
        return {name: float(metric(found)) for name, metric in self.task.metrics.items()}


def candidates(method: Method, bench: Bench) -> tuple[list[Candidate], str]:
    """Returns the method's first seed that works here at each learning rate; none, and why, where no seed does."""
    space, reason = load_space(method.name).learning_rate, ""
    rates = [_between(float(space.low or 0), float(space.high or 0), share) for share in RATES]
    for scheme in SCHEMES:
        for seed in method.seeds:
            found = [
                Candidate(
                    method=method.name, parameters=dict(seed.parameters), quantization=scheme, learning_rate=rate,
                    targets="all-linear" if method.capabilities.takes_targets else "none", batch_size=ROWS_PER_STEP,
                )
                for rate in rates
            ]  # fmt: skip
            refused = method.violations(Setup(model=bench.profile, task=bench.profile.task, candidate=found[0]))
            if not refused:
                return found, ""
            reason = reason or refused[0]
    return [], reason


def _between(low: float, high: float, share: float) -> float:
    return float(f"{math.exp(math.log(low) + share * (math.log(high) - math.log(low))):.2g}")


def runs(method: Method, bench: Bench, known: dict[Any, Row]) -> Iterator[Row]:
    """Yields the runs of one method that are not known yet, in order."""
    tried, reason = candidates(method, bench)
    if not tried:
        row = Row(
            setting=bench.setting, method=method.name, stage="rate", seed=RATE_SEED, learning_rate=0.0,
            status="refused", reason=reason,
        )  # fmt: skip
        yield from () if row.key in known else (row,)
        return
    yield from _missing(tried, "rate", (RATE_SEED,), bench, known)
    best = min(tried, key=lambda candidate: _loss(known[candidate.method, "rate", RATE_SEED, candidate.learning_rate]))
    yield from _missing([best], "final", SEEDS, bench, known)


def _missing(
    tried: Sequence[Candidate], stage: str, seeds: Sequence[int], bench: Bench, known: dict[Any, Row]
) -> Iterator[Row]:
    for candidate in tried:
        for seed in seeds:
            key = (candidate.method, stage, seed, candidate.learning_rate)
            if key not in known:
                known[key] = bench.run(candidate, stage, seed)
                yield known[key]


def _loss(row: Row) -> float:
    return math.inf if row.validation_loss is None else row.validation_loss


def read_rows(path: Path, setting: str) -> list[Row]:
    """Returns the runs in a file; a last line that was cut off while it was written is dropped from it.

    Raises:
        StudyError: a run is of another setting.
    """
    if not path.exists():
        return []
    text = path.read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        path.write_text(whole, encoding="utf-8")
    rows = [Row(**json.loads(line)) for line in whole.splitlines()]
    for row in rows:
        if row.setting != setting:
            raise StudyError(f"{path} holds runs of another setting: {row.setting}; this is {setting}.")
    return rows


def table(rows: Sequence[Row]) -> str:
    """Returns the results as Markdown, the best mean first; methods without three finished runs at the end."""
    done: dict[str, list[Row]] = {}
    for row in rows:
        done.setdefault(row.method, []).append(row)
    lines = sorted((_line(name, own) for name, own in done.items()), key=lambda line: (-line[0], line[1]))
    metric = next((next(iter(row.metrics)) for row in rows if row.metrics), "score")
    score = f"test {metric}, mean of seeds"
    head = f"| method | kind | trained | rate | {score} | lowest … highest | validation loss | s per run |"
    return "\n".join([head, "|" + " --- |" * 8, *(text for _, _, text in lines)]) + "\n"


def _line(name: str, own: Sequence[Row]) -> tuple[float, str, str]:
    kind = get_method(name).kind
    finals = [row for row in own if row.stage == "final" and row.metrics]
    if not finals:
        why = next((row.reason for row in own if row.reason), "not run to its end")
        return -math.inf, name, f"| {name} | {kind} | | | {why.splitlines()[0]} | | | |"
    values = [next(iter(row.metrics.values())) for row in finals if row.metrics]
    mean, losses = statistics.mean(values), [_loss(row) for row in finals]
    base = "" if finals[0].quantization == "none" else f", {finals[0].quantization}"
    cells = (
        f"{name}{base}", kind, f"{finals[0].trainable:,}", f"{finals[0].learning_rate:g}",
        f"{mean:.4f} ({len(values)})", f"{min(values):.4f} … {max(values):.4f}", f"{statistics.mean(losses):.4f}",
        f"{statistics.mean(row.seconds for row in finals):.1f}",
    )  # fmt: skip
    return mean, name, "| " + " | ".join(cells) + " |"


def measure(path: Path, bench: Bench, names: Sequence[str]) -> list[Row]:
    """Runs what the file lacks, adding each run as it ends, and returns all that it then holds."""
    known = {row.key: row for row in read_rows(path, bench.setting)}
    path.parent.mkdir(parents=True, exist_ok=True)
    for name in names:
        for row in runs(get_method(name), bench, known):
            known[row.key] = row
            with path.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(asdict(row)) + "\n")
            print(
                f"{row.method} {row.stage} seed {row.seed} rate {row.learning_rate:g}: {row.status} {row.metrics or ''}"
            )
    return list(known.values())


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads the command line and runs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, help="JSONL file that the runs are added to")
    parser.add_argument("--table", type=Path, help="Markdown file to write the table to")
    parser.add_argument("--methods", help="only these, separated by commas")
    parser.add_argument("--steps", type=int, default=100, help="optimizer steps of 16 rows that the tokens come to")
    parser.add_argument("--model", help="folder of the model; MiniLM from the cache by default")
    parser.add_argument("--data", help="the data; the rated movie reviews from the cache by default")
    parser.add_argument("--cache", type=Path, default=Path(".cache"), help="where fetched files lie")
    given = parser.parse_args(arguments)
    names = list(all_methods()) if given.methods is None else given.methods.split(",")
    for name in names:
        if name not in all_methods():
            raise unknown("--methods", "the benchmark", name, all_methods())
    model = given.model or str(fetch(get_asset("minilm"), given.cache, print))
    data = given.data or str(fetch(get_asset("vader-movies"), given.cache, print))
    rows = measure(given.output, Bench(model, data, given.steps), names)
    if given.table:
        given.table.write_text(HEAD.format(setting=rows[0].setting) + table(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
