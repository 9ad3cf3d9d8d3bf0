"""What the processes of a group are asked in `test_teams.py`."""

from dataclasses import replace
from typing import Any

import torch

from autopeft.methods import all_methods
from autopeft.testing.cases import example
from autopeft.training.run import TrainingRun
from autopeft.training.worker import Worker
from autopeft.tuning import member
from autopeft.tuning.prepare import Prepared
from autopeft.values.candidates import Candidate, Setup
from autopeft.values.outcomes import TrialOutcome
from autopeft.values.plans import Plan


def held(here: member.Here, candidate: Candidate) -> tuple[int, int]:
    """Parameters that this process holds, and those of the model."""
    with here.worker.attached(candidate, Plan(tokens=200), here.prepared.encoded["train"]) as run:
        run.advance(1.0)
        parameters = list(run.model.parameters())
        return sum(p.to_local().numel() for p in parameters), sum(p.numel() for p in parameters)


def train_short_of_memory(here: member.Here, trial: member.Trial) -> TrialOutcome:
    """A trial in which the second process runs out of memory in its third micro-batch."""
    backward = TrainingRun._backward
    seen: list[None] = []

    def full(run: TrainingRun, *arguments: Any) -> float:
        seen.append(None)
        if len(seen) == 3 and not here.first:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return backward(run, *arguments)

    TrainingRun._backward = full  # type: ignore[assignment, method-assign]
    return member.train(here, trial)


def broken(here: member.Here) -> None:
    """A defect in the second process, for which the first one waits."""
    if not here.first:
        raise KeyError("a typo")
    here.parallel.agreed(None)


NOISY = {"pvera"}
"""Draws noise for every row as it trains, so that no two processes draw what one would."""


def shardable(prepared: Prepared) -> list[Candidate]:
    """A candidate of every method that claims to be shardable and can be tried on this model, without dropout."""
    found = []
    for method in all_methods().values():
        given = example(method)
        plain = {key: 0.0 if "dropout" in key else value for key, value in given.parameters.items()}
        candidate = replace(given, parameters=plain, batch_size=5, accumulation=2)
        setup = Setup(model=prepared.model, task=prepared.model.task, candidate=candidate)
        able = method.capabilities.shardable and method.prepare is None
        able = able and method.name not in NOISY
        if able and prepared.model.task in method.capabilities.tasks and not method.violations(setup):
            found.append(candidate)
    return found


def losses(here: member.Here, prepared: Prepared, candidates: list[Candidate]) -> dict[str, list[float]]:
    """The losses of a short run of each candidate, by method, on a model that the group was not started for."""
    worker = prepared.worker(here.parallel)
    return {candidate.method: trained(worker, prepared, candidate) for candidate in candidates}


def trained(worker: Worker, prepared: Prepared, candidate: Candidate) -> list[float]:
    """The losses of a short run."""
    with worker.attached(candidate, Plan(tokens=700, seed=1), prepared.encoded["train"]) as run:
        return [run.advance(share) for share in (0.5, 1.0)]
