"""Trains configurations of one task to the end, drawn as a search draws them, so that searches can be replayed on them.

    python -m benchmarks.pool minilm:vader-tweets --runs 80 --tokens 40000

First plain LoRA at the four rates of a race, then the recommended starts, then draws by chance from their spaces.
Every run is read as often as any way to prune asks for; its quality is that on the test split. Each outcome is a line
of the file, in the evidence's own schema; what the file holds is not run again. `benchmarks.replay` finds the pools.
"""

import argparse
import math
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

from autopeft.files import write_text
from autopeft.recommend._evidence_trials import model_facts, task_facts, trial_run
from autopeft.recommend.evidence import read_runs, to_line
from autopeft.tasks import get_task
from autopeft.training.devices import threads
from autopeft.training.scoring import predict
from autopeft.training.worker import Worker
from autopeft.tuning.budget import TrialSize
from autopeft.tuning.compare import RACED_RATES, default_recipe
from autopeft.tuning.gauge import Gauge
from autopeft.tuning.prepare import Prepared, prepare
from autopeft.tuning.runner import TorchRunner
from autopeft.tuning.starts import for_trials_of
from autopeft.values.candidates import Candidate
from autopeft.values.evidence import Run
from autopeft.values.outcomes import TrialOutcome
from autopeft.values.plans import Plan
from benchmarks._search_tasks import request
from benchmarks._side_by_side import side_by_side, threads_each
from benchmarks.collect import LICENCE, held_runs, keep, label

READINGS = (0.06, 0.12, 0.25, 0.5, 0.75, 1.0)
READ_ROWS = 256
LONGEST_RUN = 180.0

NOTE = "Compared with plain LoRA at the best of four rates, not at the default recipe's. Seconds are of training alone."


class Tested(Gauge):
    """Scores each run on the test split too, while its trained model is at hand."""

    def __init__(self, worker: Worker, prepared: Prepared) -> None:
        """Prepares the scoring."""
        super().__init__(worker, prepared)
        self.metrics: dict[str, float] = {}

    def finished(self, outcome: TrialOutcome, model: Any) -> TrialOutcome:
        """Returns the outcome as it is, and keeps the metrics on the test split."""
        worker, candidate = self._worker, outcome.candidate
        found = predict(
            model, self._prepared.encoded["test"], worker.task, worker.base(candidate).tokenizer,
            dtype=candidate.dtype, device=worker.device,
        )  # fmt: skip
        self.metrics = self._prepared.objective.all_metrics(found)
        return outcome


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a pool is of.

    Attributes:
        tokens: of each run.
        seed: of the split, the draws and the training.
        work: for models and data.
        device: what to call it in the rows; None for its own name.
        threads: of each process.
    """

    task: str
    tokens: int
    seed: int
    work: Path
    device: str | None
    threads: int


class Pool:
    """One task, ready to train any configuration for the same tokens."""

    def __init__(self, asked: Asked) -> None:
        """Reads the model and the data."""
        self.asked = asked
        task, tokens, seed, work = asked.task, asked.tokens, asked.seed, asked.work
        # One training per run: what is replayed is a single curve.
        self.prepared = prepare(replace(request(task, seed, work), folds=1))
        self.worker, encoded = self.prepared.worker(), self.prepared.encoded
        self._tested = Tested(self.worker, self.prepared)
        size = TrialSize(tokens=tokens, pruning_rows=READ_ROWS, scoring_rows=len(encoded["validation"]))
        parts, states = self.prepared.parts, work / f"states-{os.getpid()}"
        self._runner = TorchRunner(self.worker, parts, self.prepared.objective, size, states, self._tested)
        self._plan = Plan(tokens=tokens, seed=seed, readings=READINGS)
        model, _, data = task.partition(":")
        self.setting = f"own pool {model} {data} {tokens} tokens seed {seed}"
        # A whole model goes by the number of its layers too, as everywhere in the evidence.
        whole = model if model.rpartition("-")[2].isdigit() else f"{model}-{self.prepared.model.layers}"
        self._facts = model_facts(self.prepared.model, whole), task_facts(self.prepared.task, data)
        self._device = asked.device or label(self.prepared.hardware.device.name)

    def candidates(self) -> Iterator[Candidate]:
        """Yields configurations without end, always the same in the same order."""
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        prepared, train = self.prepared, self.prepared.encoded["train"]
        mean = sum(train.lengths) / len(train)
        plain = default_recipe(prepared.starts[0])
        yield from (replace(plain, learning_rate=rate) for rate in RACED_RATES)
        starts = for_trials_of(self._plan.tokens, mean, prepared.proposal)
        yield from starts
        proposal = prepared.starting_from(starts, None).proposal
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=prepared.seed))
        while True:
            yield proposal.draw(study.ask())

    def run(self, candidate: Candidate, name: str) -> Run:
        """Returns a configuration's run, whatever comes of it."""
        objective, seed = self.prepared.objective, self.prepared.seed
        lower = objective.name in get_task(self.prepared.model.task).lower_is_better
        return trial_run(
            self._outcome(candidate), name=name, setting=self.setting, model=self._facts[0], task=self._facts[1],
            metric=objective.name, lower_is_better=lower, scored_rows=len(self.prepared.encoded["test"]), seed=seed,
            device=self._device, on_gpu=self.worker.device != "cpu", source="autopeft benchmarks/pool.py",
            licence=LICENCE, notes=(NOTE,),
        )  # fmt: skip

    def _outcome(self, candidate: Candidate) -> TrialOutcome:
        problems = self.prepared.obstacles(candidate)
        if problems:
            return TrialOutcome(number=0, status="infeasible", candidate=candidate, reason=" ".join(problems))
        found = self._runner.run(0, candidate, self._plan, lambda _: False, time.monotonic() + LONGEST_RUN, None)
        if found.status != "completed":
            return found
        held_out = {f"validation_{name}": value for name, value in found.metrics.items()}
        return replace(found, metrics={**self._tested.metrics, **held_out}, seconds=found.curve[-1].seconds)


def marked(runs: Sequence[Run]) -> list[Run]:
    """Returns the runs with plain LoRA at the best of its race's rates as what the others of its setting gain over.

    Its validation loss decides. A setting whose race is not over has no reference yet.
    """
    best: dict[str, str] = {}
    for setting in {run.setting for run in runs}:
        race = [run for run in runs if run.name in {f"{setting} {place}" for place in range(len(RACED_RATES))}]
        done = [run for run in race if run.quality is not None]
        if len(race) == len(RACED_RATES) and done:
            best[setting] = min(done, key=_last_loss).name
    return [replace(run, reference=best.get(run.setting) == run.name) for run in runs]


def _last_loss(run: Run) -> float:
    loss = run.quality.curve[-1].validation_loss if run.quality is not None else None
    return math.inf if loss is None else loss


@lru_cache(maxsize=4)
def pool_of(asked: Asked) -> Pool:
    """Returns a pool, which a process keeps for its next run."""
    return Pool(asked)


def trained(asked: Asked, candidate: Candidate, name: str) -> Run:
    """Returns a run of a pool."""
    with threads(asked.threads):
        return pool_of(asked).run(candidate, name)


def main() -> None:
    """Runs what the file lacks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", nargs="+", metavar="MODEL:DATA", help="several are run in turn, a run of each")
    parser.add_argument("--runs", type=int, default=80, help="of each task")
    parser.add_argument("--tokens", type=int, default=40_000, help="of each run")
    parser.add_argument("--seed", type=int, default=0, help="of the split, the draws and the training")
    parser.add_argument("--jobs", type=int, default=1, help="runs at the same time, with a share of the cores each")
    parser.add_argument("--work", type=Path, default=Path(".cache/benchmark-pool"), help="models and data")
    parser.add_argument("--device", help="what to call the device in the rows")
    parser.add_argument("--output", type=Path, default=Path("profiles/evidence/own_pools.jsonl"))
    given = parser.parse_args()
    held = {run.name for run in held_runs(given.output)}
    shared = {"tokens": given.tokens, "seed": given.seed, "work": given.work, "device": given.device}
    share = threads_each(given.jobs)
    made = [pool_of(Asked(task=task, threads=share, **shared)) for task in given.task]
    drawn = zip(*(islice(pool.candidates(), given.runs) for pool in made), strict=True)
    units = [
        (pool.asked, candidate, name)
        for number, row in enumerate(drawn)
        for pool, candidate in zip(made, row, strict=True)
        if (name := f"{pool.setting} {number}") not in held
    ]
    for run in side_by_side(trained, units, given.jobs):
        keep(given.output, run)
        quality = "" if run.quality is None else f"{run.quality.value:.4f}"
        print(f"{run.name}: {run.method} {run.status} {quality} {run.seconds:.0f} s", flush=True)
    runs = sorted(marked(read_runs(given.output)), key=lambda run: (run.setting, int(run.name.rpartition(" ")[2])))
    write_text(given.output, "".join(f"{to_line(run)}\n" for run in runs))


if __name__ == "__main__":
    main()
