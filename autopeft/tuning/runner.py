"""Who runs a trial: the protocol that the search knows, and the runner that trains with torch."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from autopeft.data import EncodedData
from autopeft.errors import DivergedError, OutOfMemoryError, TimedOutError
from autopeft.training.devices import memory_guard, peak_bytes, reset_peak
from autopeft.training.run import TrainingRun
from autopeft.training.scoring import Objective, held_out_loss, predict
from autopeft.training.worker import Worker
from autopeft.tuning.budget import TrialSize
from autopeft.values.candidates import Candidate
from autopeft.values.names import Status
from autopeft.values.outcomes import Measurement, TrialOutcome
from autopeft.values.plans import Plan

Watch = Callable[[Measurement], bool]
"""Receives each reading of a trial before the last; answers whether to prune it."""


class Runner(Protocol):
    """Runs one trial and returns what came of it; it decides nothing about the search."""

    def run(self, number: int, candidate: Candidate, plan: Plan, watch: Watch, deadline: float) -> TrialOutcome:
        """Returns the outcome of a trial.

        Args:
            number: of the trial.
            candidate: what to train.
            plan: for how many tokens, and when to report.
            watch: asked after every reading but the last.
            deadline: on ``time.monotonic``'s clock; a trial that meets it ends as ``timed_out``.
        """
        ...


@dataclass
class _Record:
    """What a trial has gathered so far, kept when it ends early."""

    curve: list[Measurement]
    evaluating: float = 0.0
    training: float = 0.0
    tokens: int = 0
    trainable: int | None = None
    candidate: Candidate | None = None


class TorchRunner:
    """Trains a trial on the worker's base; further folds are trained only when the first was not pruned."""

    def __init__(self, worker: Worker, folds: Sequence[EncodedData], objective: Objective, size: TrialSize) -> None:
        """Prepares the runner.

        Args:
            worker: holds the base model.
            folds: the data of each fold; one for a plain split.
            objective: the metric that decides.
            size: how many validation rows stand behind each reading and behind the score.
        """
        self._worker, self._folds = worker, folds
        self._objective, self._size = objective, size

    def run(self, number: int, candidate: Candidate, plan: Plan, watch: Watch, deadline: float) -> TrialOutcome:
        """Returns the outcome; only what a trial is expected to meet is caught."""
        started = time.monotonic()
        record = _Record(curve=[])
        outcome = TrialOutcome(number=number, status="completed", candidate=candidate)
        reset_peak(self._worker.device)
        try:
            with memory_guard():
                outcome = self._folded(outcome, plan, watch, deadline, record)
        except OutOfMemoryError as error:
            outcome = _ended(outcome, "out_of_memory", error)
        except DivergedError as error:
            outcome = _ended(outcome, "diverged", error)
        except TimedOutError as error:
            outcome = _ended(outcome, "timed_out", error)
        busy = record.training + record.evaluating
        return replace(
            outcome,
            candidate=record.candidate or candidate,
            curve=tuple(record.curve),
            tokens=record.tokens,
            seconds=time.monotonic() - started,
            overhead_seconds=max(0.0, time.monotonic() - started - busy),
            peak_bytes=peak_bytes(self._worker.device),
            trainable_parameters=record.trainable,
        )

    def _folded(
        self, outcome: TrialOutcome, plan: Plan, watch: Watch, deadline: float, record: _Record
    ) -> TrialOutcome:
        scores = []
        for index, fold in enumerate(self._folds):
            fold_plan = replace(plan, seed=plan.seed + index)
            metrics = self._one_fold(
                outcome.candidate, fold, fold_plan, watch if index == 0 else None, deadline, record
            )
            if metrics is None:
                return replace(outcome, status="pruned", reason="behind other trials at the same tokens")
            scores.append(metrics)
        means = {name: sum(part[name] for part in scores) / len(scores) for name in scores[0]}
        return replace(outcome, metrics=means, score=self._objective.signed(means[self._objective.name]))

    def _one_fold(
        self, candidate: Candidate, fold: EncodedData, plan: Plan, watch: Watch | None, deadline: float, record: _Record
    ) -> dict[str, float] | None:
        """Returns the validation metrics after the whole budget, or None where the trial was pruned."""
        worker = self._worker
        before = record.training
        with worker.attached(candidate, plan, fold["train"], deadline) as run:
            record.trainable, record.candidate = run.trainable_parameters, run.candidate
            for share in plan.readings:
                try:
                    train_loss = run.advance(share)
                finally:
                    record.training = before + run.seconds
                if watch is None:
                    continue
                reading = self._reading(run, candidate, fold, train_loss, record)
                if share < 1.0 and watch(reading):
                    return None
            record.tokens += run.tokens if watch is None else 0
            return self._metrics(run, candidate, fold, record)

    def _reading(
        self, run: TrainingRun, candidate: Candidate, fold: EncodedData, train_loss: float, record: _Record
    ) -> Measurement:
        started = time.monotonic()
        loss = held_out_loss(
            run.model, fold["validation"], self._worker.task, dtype=candidate.dtype, device=self._worker.device,
            rows=self._size.pruning_rows,
        )  # fmt: skip
        record.evaluating += time.monotonic() - started
        if not math.isfinite(loss):
            raise DivergedError(f"The validation loss became {loss}; lower the learning rate.")
        record.tokens = run.tokens
        reading = Measurement(tokens=run.tokens, seconds=run.seconds, train_loss=train_loss, validation_loss=loss)
        record.curve.append(reading)
        return reading

    def _metrics(self, run: TrainingRun, candidate: Candidate, fold: EncodedData, record: _Record) -> dict[str, float]:
        started = time.monotonic()
        worker = self._worker
        tokenizer = worker.base(candidate).tokenizer
        predictions = predict(
            run.model, fold["validation"], worker.task, tokenizer, dtype=candidate.dtype, device=worker.device,
            rows=self._size.scoring_rows,
        )  # fmt: skip
        record.evaluating += time.monotonic() - started
        return self._objective.all_metrics(predictions)


def _ended(outcome: TrialOutcome, status: Status, error: Exception) -> TrialOutcome:
    return replace(outcome, status=status, reason=str(error))
