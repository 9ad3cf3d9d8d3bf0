"""Who runs a trial: the protocol that the search knows, and the runner that trains with torch."""

import math
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from autopeft.data import EncodedData
from autopeft.errors import DivergedError, OutOfMemoryError, TimedOutError
from autopeft.training.checkpoint import load_state, save_state
from autopeft.training.devices import memory_guard, peak_bytes, reset_peak
from autopeft.training.run import RunState, TrainingRun
from autopeft.training.scoring import Objective, checked, held_out_loss, predict, standard_error
from autopeft.training.worker import Worker
from autopeft.tuning.budget import TrialSize
from autopeft.tuning.folder import keep_states
from autopeft.tuning.gauge import Gauge
from autopeft.values.candidates import Candidate, rows_at_once
from autopeft.values.names import Status
from autopeft.values.outcomes import Measurement, TrialOutcome
from autopeft.values.plans import Plan

Stops = Callable[[Measurement], bool]
"""Receives each reading of a trial before the last; answers whether the trial stops there."""


class Runner(Protocol):
    """Runs one trial and returns what came of it; it decides nothing about the search."""

    def run(
        self,
        number: int,
        candidate: Candidate,
        plan: Plan,
        stops: Stops,
        deadline: float,
        earlier: TrialOutcome | None,
    ) -> TrialOutcome:
        """Returns the outcome of a trial.

        Args:
            number: of the trial.
            candidate: what to train.
            plan: for how many tokens, and when to report.
            stops: asked after every reading but the last.
            deadline: on ``time.monotonic``'s clock; a trial that meets it ends as ``timed_out``.
            earlier: the stopped trial of the same candidate that this one goes on from.
        """
        ...

    def keep(self, numbers: Collection[int]) -> None:
        """Forgets the state of all stopped trials but these."""
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
    peaks: list[int | None] = field(default_factory=list)
    errors: list[float] = field(default_factory=list)


class TorchRunner:
    """Trains a trial on the worker's base; further folds are trained only when the first came to its end."""

    def __init__(
        self,
        worker: Worker,
        folds: Sequence[EncodedData],
        objective: Objective,
        size: TrialSize,
        states: Path,
        gauge: Gauge | None = None,
    ) -> None:
        """Prepares the runner.

        Args:
            worker: holds the base model.
            folds: the data of each fold; one for a plain split.
            objective: the metric that decides.
            size: how many validation rows stand behind each reading and behind the score.
            states: the folder for the state of stopped trials.
            gauge: measures what else was asked for; None for nothing else.
        """
        self._worker, self._folds, self._states, self._gauge = worker, folds, states, gauge
        self._objective, self._size = objective, size

    def run(
        self,
        number: int,
        candidate: Candidate,
        plan: Plan,
        stops: Stops,
        deadline: float,
        earlier: TrialOutcome | None,
    ) -> TrialOutcome:
        """Returns the outcome; only what a trial is expected to meet is caught."""
        started = time.monotonic()
        record = _Record(curve=list(earlier.curve), tokens=earlier.tokens) if earlier else _Record(curve=[])
        outcome = TrialOutcome(
            number=number, status="completed", candidate=candidate, continues=earlier.number if earlier else None
        )
        try:
            with memory_guard():
                outcome = self._before(outcome, record)
                reset_peak(self._worker.device)
                outcome = self._folded(outcome, plan, stops, deadline, record)
        except OutOfMemoryError as error:
            outcome = _ended(outcome, "out_of_memory", error)
        except DivergedError as error:
            outcome = _ended(outcome, "diverged", error)
        except TimedOutError as error:
            outcome = _ended(outcome, "timed_out", error)
        seconds = time.monotonic() - started
        overhead = max(0.0, seconds - record.training - record.evaluating)
        own = replace(
            outcome,
            candidate=record.candidate or candidate,
            curve=tuple(record.curve),
            tokens=record.tokens - (earlier.tokens if earlier else 0),
            seconds=seconds,
            overhead_seconds=overhead,
            peak_bytes=_largest([*record.peaks, peak_bytes(self._worker.device)]),
            trainable_parameters=record.trainable,
        )
        # What ran out of time while going on does not replace what it went on from, whose figures count by themselves.
        return own if outcome.status == "timed_out" else carrying(own, earlier)

    def keep(self, numbers: Collection[int]) -> None:
        """Removes the state of all stopped trials but these."""
        keep_states(self._states, numbers)

    def _state_of(self, number: int) -> Path:
        return self._states / f"{number}.safetensors"

    def _before(self, outcome: TrialOutcome, record: _Record) -> TrialOutcome:
        """Returns the outcome with its estimate, once the bare base has been measured where that is needed."""
        if self._gauge is None:
            return outcome
        with _evaluated(record):
            self._gauge.ready(outcome.candidate)
        return self._gauge.estimated(outcome)

    def _beside(self, outcome: TrialOutcome, run: TrainingRun, record: _Record) -> TrialOutcome:
        """Returns the outcome with what is measured beside the score, which does not count to the trial's peak."""
        if self._gauge is None:
            return outcome
        with _evaluated(record):
            record.peaks.append(peak_bytes(self._worker.device))
            outcome = self._gauge.finished(outcome, run.model)
            reset_peak(self._worker.device)
        return outcome

    def _folded(
        self, outcome: TrialOutcome, plan: Plan, stops: Stops, deadline: float, record: _Record
    ) -> TrialOutcome:
        first, *others = self._folds[: self._size.folds]
        outcome, metrics = self._first_fold(outcome, first, plan, stops, deadline, record)
        if metrics is None:
            return replace(outcome, status="pruned", reason="behind other trials at the same tokens")
        scores = [metrics]
        for index, fold in enumerate(others, start=1):
            fold_plan = replace(plan, seed=plan.seed + index)
            try:
                scores.append(self._further_fold(outcome.candidate, fold, fold_plan, deadline, record))
            except TimedOutError:
                break  # the folds that are scored stand for the trial
        means = {name: sum(part[name] for part in scores) / len(scores) for name in scores[0]}
        return replace(
            outcome,
            metrics=means,
            score=self._objective.signed(means[self._objective.name]),
            score_error=math.hypot(*record.errors) / len(record.errors),
        )

    def _first_fold(
        self, outcome: TrialOutcome, fold: EncodedData, plan: Plan, stops: Stops, deadline: float, record: _Record
    ) -> tuple[TrialOutcome, dict[str, float] | None]:
        """Returns the outcome with the validation metrics after the whole budget, or None where it was stopped."""
        candidate = outcome.candidate
        with self._worker.attached(candidate, plan, fold["train"], deadline, self._earlier_state(outcome)) as run:
            record.trainable, record.candidate = run.trainable_parameters, run.candidate
            for share in plan.readings[len(record.curve) :]:
                with _timed(run, record):
                    train_loss = run.advance(share)
                reading = self._reading(run, candidate, fold, train_loss, record)
                if share < 1.0 and stops(reading):
                    state = run.state()
                    if state is not None and self._worker.parallel.rank == 0:
                        save_state(state, self._state_of(outcome.number))
                    return outcome, None
            metrics = self._metrics(run, candidate, fold, record)
            return self._beside(outcome, run, record), metrics

    def _earlier_state(self, outcome: TrialOutcome) -> RunState | None:
        """Returns the state to go on from; None where none was kept, so that the trial begins anew."""
        if outcome.continues is None or not self._state_of(outcome.continues).exists():
            return None
        return load_state(self._state_of(outcome.continues))

    def _further_fold(
        self, candidate: Candidate, fold: EncodedData, plan: Plan, deadline: float, record: _Record
    ) -> dict[str, float]:
        with self._worker.attached(candidate, plan, fold["train"], deadline) as run:
            with _timed(run, record):
                run.advance(1.0)
            return self._metrics(run, candidate, fold, record)

    def _reading(
        self, run: TrainingRun, candidate: Candidate, fold: EncodedData, train_loss: float, record: _Record
    ) -> Measurement:
        with _evaluated(record):
            loss = held_out_loss(
                run.model, fold["validation"], self._worker.task, dtype=candidate.dtype, device=self._worker.device,
                rows=self._size.pruning_rows, batch_size=rows_at_once(candidate, self._worker.device),
                parallel=self._worker.parallel,
            )  # fmt: skip
        if not math.isfinite(loss):
            raise DivergedError(f"The validation loss became {loss}; lower the learning rate.")
        reading = Measurement(tokens=run.tokens, seconds=run.seconds, train_loss=train_loss, validation_loss=loss)
        record.curve.append(reading)
        return reading

    def _metrics(self, run: TrainingRun, candidate: Candidate, fold: EncodedData, record: _Record) -> dict[str, float]:
        worker = self._worker
        tokenizer = worker.base(candidate).tokenizer
        with _evaluated(record):
            predictions = predict(
                run.model, fold["validation"], worker.task, tokenizer, dtype=candidate.dtype, device=worker.device,
                rows=self._size.scoring_rows, batch_size=rows_at_once(candidate, worker.device),
            )  # fmt: skip
            checked(predictions)
            # The same draws for every trial, so that their errors differ by what was predicted alone.
            record.errors.append(standard_error(predictions, self._objective, seed=len(record.errors)))
        return self._objective.all_metrics(predictions)


def carrying(outcome: TrialOutcome, earlier: TrialOutcome | None) -> TrialOutcome:
    """Returns an outcome with the figures of what it went on from, and now stands for, counted in."""
    if earlier is None:
        return outcome
    return replace(
        outcome,
        tokens=outcome.tokens + earlier.tokens,
        seconds=outcome.seconds + earlier.seconds,
        overhead_seconds=outcome.overhead_seconds + earlier.overhead_seconds,
        peak_bytes=_largest([outcome.peak_bytes, earlier.peak_bytes]),
    )


@contextmanager
def _evaluated(record: _Record) -> Iterator[None]:
    """Adds what passes to the record as time of evaluation."""
    started = time.monotonic()
    try:
        yield
    finally:
        record.evaluating += time.monotonic() - started


def _largest(peaks: Sequence[int | None]) -> int | None:
    return max((peak for peak in peaks if peak is not None), default=None)


@contextmanager
def _timed(run: TrainingRun, record: _Record) -> Iterator[None]:
    """Adds what a run trains to the record, however it ends."""
    seconds, tokens = run.seconds, run.tokens
    try:
        yield
    finally:
        record.training += run.seconds - seconds
        record.tokens += run.tokens - tokens


def _ended(outcome: TrialOutcome, status: Status, error: Exception) -> TrialOutcome:
    return replace(outcome, status=status, reason=str(error))
