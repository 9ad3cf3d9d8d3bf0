"""The trainings of the comparison at the end: a race, a finalist, what a finalist trained, and the untuned model."""

import math
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

from autopeft.data import EncodedData
from autopeft.errors import DivergedError, TimedOutError
from autopeft.tasks import Predictions, get_task
from autopeft.training.checkpoint import save_trained
from autopeft.training.devices import memory_guard
from autopeft.training.run import RunState, TrainingRun
from autopeft.training.scoring import Objective, checked, held_out_loss, predict
from autopeft.training.worker import Worker
from autopeft.tuning.prepare import Prepared
from autopeft.tuning.race import Fallen, Lap, Performance, run_race
from autopeft.tuning.references import tfidf, untuned
from autopeft.values.candidates import Candidate, rows_at_once
from autopeft.values.outcomes import Score
from autopeft.values.plans import Plan

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Rehearsal:
    """A finalist as trained, with what it said on validation alone; what it trained lies in a folder beside it."""

    candidate: Candidate
    validation: Predictions
    tokens: int
    seconds: float
    seed: int


class Contest(Protocol):
    """Trains whoever is compared, all for the same tokens; it keeps nothing but what a finalist trained."""

    def together(self, calls: Sequence[Callable[[], T]], look: Callable[[], None]) -> list[T]:
        """Returns what each call returns, in order.

        They may be made at the same time, each in a thread; ``look`` is called now and then in the one that waits.
        """
        ...

    def race(self, candidate: Candidate, rates: Sequence[float]) -> Performance:
        """Returns the performance of the best of several learning rates: see `autopeft.tuning.race`."""
        ...

    def rehearse(self, candidate: Candidate, seed: int, folder: Path) -> Rehearsal:
        """Returns a candidate trained with a seed of its own, and leaves what it trained in a folder."""
        ...

    def perform(self, rehearsal: Rehearsal, folder: Path) -> Performance:
        """Returns the performance of what `rehearse` left in a folder, trained once more where it is gone."""
        ...

    def untuned(self, candidate: Candidate, seed: int) -> Score | None:
        """Returns the base's own test score: see `autopeft.tuning.references`."""
        ...

    def tfidf(self, prepared: Prepared, seed: int) -> Score | None:
        """Returns the test score of TF-IDF on the texts of a search: see `autopeft.tuning.references`."""
        ...


def own_tfidf(prepared: Prepared, seed: int) -> Score | None:
    """Returns the test score of TF-IDF on the texts of a search, fitted in this process."""
    return tfidf(prepared.data, get_task(prepared.model.task), prepared.objective, seed)


def one_by_one(calls: Sequence[Callable[[], T]], look: Callable[[], None]) -> list[T]:
    """Returns what each call returns, with a look after each."""
    found = []
    for call in calls:
        found.append(call())
        look()
    return found


class OwnContest:
    """Trains on one worker of this process."""

    def __init__(
        self, worker: Worker, data: EncodedData, plan: Plan, objective: Objective, *, seconds: float, racing_rows: int
    ) -> None:
        """Prepares the contest.

        Args:
            worker: holds the base model.
            data: train, validation and test.
            plan: the winner's tokens, with a seed that no trial has used.
            objective: the metric that decides.
            seconds: the winner's search seconds: no baseline may take more.
            racing_rows: validation rows that a race is decided on.
        """
        self._worker, self._data, self._plan, self._objective = worker, data, plan, objective
        self._seconds, self._racing_rows = seconds, racing_rows

    def together(self, calls: Sequence[Callable[[], T]], look: Callable[[], None]) -> list[T]:
        """Returns what each call returns, made one after the other."""
        return one_by_one(calls, look)

    def race(self, candidate: Candidate, rates: Sequence[float]) -> Performance:
        """Returns the performance of the best of several learning rates: see `autopeft.tuning.race`."""
        return run_race(self, candidate, rates, self._seconds)

    def laps(self, field: Sequence[tuple[Candidate, RunState | None]], share: float, seconds: float) -> list[Lap]:
        """Returns what came of a lap of each, from its state to a share of the budget."""
        deadline = time.monotonic() + seconds
        return [self.lap(candidate, state, share, deadline - time.monotonic()) for candidate, state in field]

    def lap(self, candidate: Candidate, state: RunState | None, share: float, seconds: float) -> Lap:
        """Returns what came of one lap; a rate that diverges, or has no loss, comes last."""
        started = self._begun(candidate)
        with memory_guard(), self._run(candidate, state, started + seconds) as run:
            before = run.tokens
            try:
                with suppress(TimedOutError):
                    run.advance(share)
                loss, reached = self._held_out(run, candidate), run.state()
            except DivergedError:
                loss, reached = math.inf, state
            return Lap(loss=loss, state=reached, tokens=run.tokens - before, seconds=time.monotonic() - started)

    def home(self, candidate: Candidate, state: RunState | None, seconds: float) -> Performance | Fallen:
        """Returns the performance at the end of the budget; one whose time is up is scored as it stands."""
        started = self._begun(candidate)
        with memory_guard(), self._run(candidate, state, started + seconds) as run:
            before = run.tokens
            try:
                with suppress(TimedOutError):
                    run.advance(1.0)
                trained = time.monotonic() - started
                return Performance(
                    candidate=run.candidate,
                    validation=self._predict(run, candidate, test=False),
                    test=self._predict(run, candidate, test=True),
                    tokens=run.tokens - before,
                    seconds=trained,
                )
            except DivergedError as error:
                return Fallen(tokens=run.tokens - before, seconds=time.monotonic() - started, error=str(error))

    def rehearse(self, candidate: Candidate, seed: int, folder: Path) -> Rehearsal:
        """Returns a candidate trained with a seed of its own, and leaves what it trained in a folder."""
        started = self._begun(candidate)
        plan = replace(self._plan, seed=seed)
        with (
            memory_guard(),
            self._worker.attached(candidate, plan, self._data["train"], started + self._seconds) as run,
        ):
            # A finalist whose time is up is judged as it stands; its tokens say so.
            with suppress(TimedOutError):
                run.advance(1.0)
            seconds = time.monotonic() - started
            # Who says no number is no finalist, and leaves nothing behind.
            said = self._predict(run, candidate, test=False)
            save_trained(run, folder)
            return Rehearsal(
                candidate=run.candidate,
                seconds=seconds,
                validation=said,
                tokens=run.tokens,
                seed=seed,
            )

    def perform(self, rehearsal: Rehearsal, folder: Path) -> Performance:
        """Returns the performance of what `rehearse` left in a folder, trained once more where it is gone."""
        candidate, plan = rehearsal.candidate, replace(self._plan, seed=rehearsal.seed)
        if not folder.exists():  # an earlier final, which this one did not win, has cleared it away
            self.rehearse(candidate, rehearsal.seed, folder)
        with memory_guard(), self._worker.attached(candidate, plan, self._data["train"], saved=folder) as run:
            return Performance(
                candidate=candidate,
                validation=rehearsal.validation,
                test=self._predict(run, candidate, test=True),
                tokens=rehearsal.tokens,
                seconds=rehearsal.seconds,
            )

    def untuned(self, candidate: Candidate, seed: int) -> Score | None:
        """Returns the base's own test score: see `autopeft.tuning.references`."""
        with memory_guard():
            return untuned(self._worker, self._data, self._objective, candidate, seed)

    def tfidf(self, prepared: Prepared, seed: int) -> Score | None:
        """Returns the test score of TF-IDF on the texts of a search: see `autopeft.tuning.references`."""
        return own_tfidf(prepared, seed)

    def _begun(self, candidate: Candidate) -> float:
        """Returns when a training begins: what its base takes to load is nobody's time, as in trials."""
        with memory_guard():
            self._worker.base(candidate)
        return time.monotonic()

    def _run(self, candidate: Candidate, state: RunState | None, deadline: float) -> Any:
        return self._worker.attached(candidate, self._plan, self._data["train"], deadline, state)

    def _held_out(self, run: TrainingRun, candidate: Candidate) -> float:
        worker = self._worker
        loss = held_out_loss(
            run.model,
            self._data["validation"],
            worker.task,
            dtype=candidate.dtype,
            device=worker.device,
            rows=self._racing_rows,
            batch_size=rows_at_once(candidate, worker.device),
            parallel=worker.parallel,
        )
        return loss if math.isfinite(loss) else math.inf

    def _predict(self, run: TrainingRun, candidate: Candidate, *, test: bool) -> Predictions:
        worker = self._worker
        said = predict(
            run.model,
            self._data["test"] if test else self._data["validation"],
            worker.task,
            worker.base(candidate).tokenizer,
            dtype=candidate.dtype,
            device=worker.device,
            batch_size=rows_at_once(candidate, worker.device),
        )
        return checked(said)
