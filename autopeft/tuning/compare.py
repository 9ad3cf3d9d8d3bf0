"""The comparison at the end: the winner and its baselines trained alike, scored on the untouched test split."""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from autopeft.data import EncodedData
from autopeft.errors import DivergedError, TimedOutError
from autopeft.files import parse, plain, read_json, to_json, write_text
from autopeft.methods import baseline, get_method
from autopeft.tasks import Predictions
from autopeft.training.devices import memory_guard
from autopeft.training.run import RunState, TrainingRun
from autopeft.training.scoring import Objective, difference, held_out_loss, predict, score
from autopeft.training.worker import Worker
from autopeft.values.candidates import Candidate, rows_at_once
from autopeft.values.outcomes import Contender, Difference, Score
from autopeft.values.plans import Plan

T = TypeVar("T")

RACED_RATES = (1e-4, 3.1e-4, 9.65e-4, 3e-3)
"""Four learning rates from 1e-4 to 3e-3, evenly spaced in the logarithm."""

_RACE_SHARES = (0.25, 0.5, 1.0)


@dataclass(frozen=True, kw_only=True)
class Performance:
    """A contender as trained: what it said on validation and on test, row by row."""

    candidate: Candidate
    validation: Predictions
    test: Predictions
    tokens: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Rehearsal:
    """A finalist as trained, with what it said on validation alone; what it trained lies in a folder beside it."""

    candidate: Candidate
    validation: Predictions
    tokens: int
    seconds: float
    seed: int


class Comparison:
    """Trains contenders on one worker with one plan, and keeps each performance in a file."""

    def __init__(
        self,
        worker: Worker,
        data: EncodedData,
        plan: Plan,
        objective: Objective,
        *,
        folder: Path,
        seconds: float,
        racing_rows: int,
    ) -> None:
        """Prepares the comparison.

        Args:
            worker: holds the base model.
            data: train, validation and test.
            plan: the winner's tokens, with a seed that no trial has used.
            objective: the metric that decides.
            folder: finished performances are kept here, so that a killed comparison goes on.
            seconds: the winner's search seconds: no baseline may take more.
            racing_rows: validation rows that a race is decided on.
        """
        self._worker, self._data, self._plan = worker, data, plan
        self._objective, self.folder, self._seconds = objective, folder, seconds
        self._racing_rows = racing_rows

    def single(self, name: str, candidate: Candidate) -> Performance:
        """Returns a candidate's performance after the plan's budget."""
        return self._kept(name, Performance, lambda: self._race(candidate, (candidate.learning_rate,)))

    def raced(self, name: str, candidate: Candidate, rates: Sequence[float] = RACED_RATES) -> Performance:
        """Returns the performance of the best of several learning rates, halved at a quarter and half the budget."""
        return self._kept(name, Performance, lambda: self._race(candidate, rates))

    def rehearsed(self, name: str, candidate: Candidate, seed: int) -> Rehearsal:
        """Returns a candidate trained for the plan's budget with a seed of its own; the test split is not touched."""
        return self._kept(name, Rehearsal, lambda: self._rehearse(candidate, seed, self.folder / name))

    def performed(self, name: str, rehearsal: Rehearsal, rehearsed_as: str) -> Performance:
        """Returns a rehearsed finalist's performance: what it trained is put back, and asked for the test split."""
        return self._kept(name, Performance, lambda: self._perform(rehearsal, self.folder / rehearsed_as))

    def validated(self, rehearsal: Rehearsal) -> Score:
        """Returns a rehearsed finalist's validation score with its interval."""
        return score(rehearsal.validation, self._objective, self._plan.seed)

    def _kept(self, name: str, kind: type[T], make: Callable[[], T]) -> T:
        path = self.folder / f"{name}.json"
        if path.exists():
            return parse(kind, read_json(path), str(path))
        made = make()
        write_text(path, to_json(plain(made)))
        return made

    def _rehearse(self, candidate: Candidate, seed: int, folder: Path) -> Rehearsal:
        started = time.monotonic()
        plan = replace(self._plan, seed=seed)
        with (
            memory_guard(),
            self._worker.attached(candidate, plan, self._data["train"], started + self._seconds) as run,
        ):
            # A finalist whose time is up is judged as it stands; its tokens say so.
            with suppress(TimedOutError):
                run.advance(1.0)
            seconds = time.monotonic() - started
            folder.mkdir(parents=True, exist_ok=True)
            get_method(candidate.method).save(run.model, folder)
            return Rehearsal(
                candidate=run.candidate,
                seconds=seconds,
                validation=self._predict(run, candidate, test=False),
                tokens=run.tokens,
                seed=seed,
            )

    def _perform(self, rehearsal: Rehearsal, folder: Path) -> Performance:
        candidate, plan = rehearsal.candidate, replace(self._plan, seed=rehearsal.seed)
        if not folder.exists():  # an earlier final, which this one did not win, has cleared it away
            self._rehearse(candidate, rehearsal.seed, folder)
        with memory_guard(), self._worker.attached(candidate, plan, self._data["train"], saved=folder) as run:
            return Performance(
                candidate=candidate,
                validation=rehearsal.validation,
                test=self._predict(run, candidate, test=True),
                tokens=rehearsal.tokens,
                seconds=rehearsal.seconds,
            )

    def _race(self, candidate: Candidate, rates: Sequence[float]) -> Performance:
        """Trains all rates to the first share, the better half of them to the next, and the best to the end."""
        started = time.monotonic()
        deadline = started + self._seconds
        standing: list[tuple[float, RunState | None]] = [(rate, None) for rate in rates]
        spent = 0
        for share in _RACE_SHARES[:-1] if len(rates) > 1 else ():
            ranked = []
            for rate, state in standing:
                loss, after, tokens = self._lap(replace(candidate, learning_rate=rate), state, share, deadline)
                spent += tokens
                ranked.append((loss, rate, after))
            ranked.sort(key=lambda entry: entry[:2])
            standing = [(rate, state) for _, rate, state in ranked[: len(ranked) // 2]]
        rate, state = standing[0]
        best = replace(candidate, learning_rate=rate)
        with memory_guard(), self._run(best, state, deadline) as run:
            before = run.tokens
            # A contender whose time is up is scored as it stands; its tokens say so.
            with suppress(TimedOutError):
                run.advance(1.0)
            seconds = time.monotonic() - started
            return Performance(
                candidate=run.candidate,
                validation=self._predict(run, best, test=False),
                test=self._predict(run, best, test=True),
                tokens=spent + run.tokens - before,
                seconds=seconds,
            )

    def _lap(
        self, candidate: Candidate, state: RunState | None, share: float, deadline: float
    ) -> tuple[float, RunState | None, int]:
        """Returns validation loss, state and tokens of one lap; a rate that diverges comes last."""
        with memory_guard(), self._run(candidate, state, deadline) as run:
            before = run.tokens
            try:
                with suppress(TimedOutError):
                    run.advance(share)
            except DivergedError:
                return float("inf"), state, run.tokens - before
            loss = held_out_loss(
                run.model,
                self._data["validation"],
                self._worker.task,
                dtype=candidate.dtype,
                device=self._worker.device,
                rows=self._racing_rows,
                batch_size=rows_at_once(candidate, self._worker.device),
            )
            return loss, run.state(), run.tokens - before

    def _run(self, candidate: Candidate, state: RunState | None, deadline: float) -> Any:
        return self._worker.attached(candidate, self._plan, self._data["train"], deadline, state)

    def _predict(self, run: TrainingRun, candidate: Candidate, *, test: bool) -> Predictions:
        worker = self._worker
        return predict(
            run.model,
            self._data["test"] if test else self._data["validation"],
            worker.task,
            worker.base(candidate).tokenizer,
            dtype=candidate.dtype,
            device=worker.device,
            batch_size=rows_at_once(candidate, worker.device),
        )

    def contender(self, performance: Performance) -> Contender:
        """Returns a performance with its scores and their intervals."""
        return Contender(
            config=performance.candidate,
            validation=score(performance.validation, self._objective, self._plan.seed),
            test=score(performance.test, self._objective, self._plan.seed),
            tokens=performance.tokens,
            seconds=performance.seconds,
        )

    def difference(self, winner: Performance, other: Performance) -> Difference:
        """Returns the winner minus the other on the test split, paired by row."""
        return difference(winner.test, other.test, self._objective, self._plan.seed)


def default_recipe(winner: Candidate) -> Candidate:
    """Returns the recipe that nearly everybody uses, on the winner's base: same quantization, dtype and micro-batch."""
    method, recipe = baseline("default")
    rows = 16
    micro = min(rows, winner.batch_size)
    return replace(
        winner,
        method=method,
        parameters=dict(recipe.parameters),
        targets=recipe.targets,
        layers="all",
        layer_indices=None,
        optimizer="adamw",
        learning_rate=recipe.learning_rate,
        batch_size=micro,
        accumulation=max(1, rows // micro),
    )
