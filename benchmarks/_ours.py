"""The search's own loop on recorded runs: `autopeft.tuning.trials.Trials` with a simulated clock."""

import random
from collections.abc import Collection
from contextlib import AbstractContextManager, nullcontext
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from autopeft.tuning import halving, trials
from autopeft.tuning.budget import FORWARD_SHARE, READ_SHARE, SCORED_SHARE
from autopeft.tuning.halving import READINGS, REDUCTION
from autopeft.tuning.limits import Limits
from autopeft.tuning.observer import Silent
from autopeft.tuning.ranking import best_trial
from autopeft.tuning.runner import Stops
from autopeft.values.candidates import Candidate
from autopeft.values.outcomes import Measurement, TrialOutcome
from autopeft.values.plans import Plan
from benchmarks._arms import Arm, Pool
from benchmarks._samplers import Sampler

STARTS = 8
"""Trials that the search puts in the queue: the recommended ones. Here they are drawn like any other."""

TOKENS = 1_000_000

READING, SCORING = FORWARD_SHARE * READ_SHARE, FORWARD_SHARE * SCORED_SHARE
"""What a reading and the score at the end take beside training, in full trainings. No search of `benchmarks._others` is
charged for them."""

SEED_NOISE = 0.011
"""Standard deviation of a repeated run's accuracy, of which the published repeats give 0.8 to 1.1 points."""


class Clock:
    """Seconds that pass only when a recorded run trains."""

    def __init__(self) -> None:
        """Starts at 0."""
        self.now = 0.0

    def monotonic(self) -> float:
        """Returns the simulated seconds."""
        return self.now


class RecordedRunner:
    """Plays recorded curves: a `Runner` that trains nothing."""

    def __init__(self, pool: Pool, signal: str, clock: Clock, seed: int) -> None:
        """Prepares the runner; ``seed`` draws the noise of the final scores."""
        self._arms = {arm.name: arm for arm in pool.arms}
        self._signal, self._clock = signal, clock
        self._noise = {name: random.Random(f"{seed} {name}").gauss(0.0, SEED_NOISE) for name in self._arms}
        self._kept: set[int] = set()

    def score(self, arm: Arm) -> float:
        """Returns what a run scores when this search trains it: its recorded quality and the noise of a repeat."""
        return arm.value + self._noise[arm.name]

    def run(
        self, number: int, candidate: Candidate, plan: Plan, stops: Stops, deadline: float, earlier: TrialOutcome | None
    ) -> TrialOutcome:
        """Returns the outcome that the recorded curve gives, and lets its time pass."""
        arm = self._arms[candidate.method]
        curve = list(earlier.curve) if earlier else []
        outcome = SimpleNamespace(status="completed", score=self.score(arm))
        trained = curve[-1].tokens / plan.tokens if earlier and earlier.number in self._kept else 0.0
        for share in plan.readings[len(curve) :]:
            end = self._clock.now + arm.seconds * (share - trained + READING + (SCORING if share == 1 else 0.0))
            if end > deadline:
                self._clock.now, outcome = deadline, SimpleNamespace(status="timed_out", score=None)
                break
            self._clock.now, trained = end, share
            loss, tokens = arm.reading(self._signal, share), round(plan.tokens * share)
            curve.append(
                Measurement(
                    tokens=tokens,
                    seconds=arm.seconds * share,
                    train_loss=loss,
                    validation_loss=loss,
                )
            )
            if share < 1 and stops(curve[-1]):
                outcome = SimpleNamespace(status="pruned", score=None)
                self._kept.add(number)
                break
        return TrialOutcome(
            number=number, status=outcome.status, candidate=candidate, score=outcome.score, curve=tuple(curve),
            seconds=arm.seconds * (curve[-1].tokens / plan.tokens if curve else 0.0),
            continues=earlier.number if earlier else None,
        )  # fmt: skip

    def keep(self, numbers: Collection[int]) -> None:
        """Forgets the state of all stopped trials but these."""
        self._kept &= set(numbers)


class RecordedStudy:
    """A study in memory with what the search's loop asks of `TrialStudy`."""

    seconds = 0.0
    shared = False
    running = ()
    busy = False

    def __init__(self, pool: Pool, sampler: Sampler) -> None:
        """Opens an empty study."""
        self._pool, self._sampler = pool, sampler
        self._outcomes: list[TrialOutcome] = []
        self._number, self._asked = 0, 0
        self._positions = {arm.name: position for position, arm in enumerate(pool.arms)}

    @property
    def queued(self) -> bool:
        """Whether a recommended start waits."""
        return self._asked < min(STARTS, len(self._pool.arms))

    def ask(self) -> tuple[Any, Candidate]:
        """Returns the next trial."""
        arm = self._pool.arms[self._sampler.ask()]
        self._asked += 1
        return self._begun(), Candidate(method=arm.name, learning_rate=arm.learning_rate)

    def ask_again(self, earlier: TrialOutcome) -> tuple[Any, Candidate]:
        """Returns a trial that goes on from an earlier one."""
        return self._begun(), earlier.candidate

    def _begun(self) -> Any:
        self._number += 1
        return SimpleNamespace(number=self._number - 1)

    def exclusive(self) -> AbstractContextManager[None]:
        """Does nothing: there is one worker."""
        return nullcontext()

    def elsewhere(self) -> frozenset[int]:
        """Returns nothing: there is one place."""
        return frozenset()

    def is_open(self, _trial: Any) -> bool:
        """Returns that nobody has given a trial up."""
        return True

    def report(self, _trial: Any, _reading: Measurement, _position: int) -> None:
        """Does nothing: the sampler learns when a trial ends."""

    def tell(self, _trial: Any, outcome: TrialOutcome) -> None:
        """Stores an outcome, in place of the one that it goes on from."""
        if outcome.supersedes:
            self._outcomes = [o for o in self._outcomes if o.number != outcome.continues]
        self._outcomes.append(outcome)
        readings = {position: reading.validation_loss for position, reading in enumerate(outcome.curve)}
        if readings and outcome.status != "timed_out":
            arm = self._positions[outcome.candidate.method]
            self._sampler.tell(arm, readings, finished=outcome.status == "completed")

    def outcomes(self) -> tuple[TrialOutcome, ...]:
        """Returns the outcomes, by number."""
        return tuple(self._outcomes)

    def spend(self, _seconds: float) -> None:
        """Does nothing: the simulated clock counts."""


def play(
    pool: Pool, sampler: Sampler, seconds: float, *, signal: str, seed: int,
    readings: tuple[float, ...] = READINGS, reduction: int = REDUCTION,
) -> Arm | None:  # fmt: skip
    """Returns the run that the search would pick after so many simulated seconds, None where none was read."""
    clock = Clock()
    study: Any = RecordedStudy(pool, sampler)
    runner = RecordedRunner(pool, signal, clock, seed)
    # The clock charges readings and scores by the share of a training that they take, whatever the rows' lengths.
    parts = ({"validation": SimpleNamespace(lengths=(1,))},)
    prepared: Any = SimpleNamespace(obstacles=lambda _: [], seed=seed, parts=parts)
    size = SimpleNamespace(tokens=TOKENS, readings=readings, folds=None, pruning_rows=0, scoring_rows=0)
    settings: Any = SimpleNamespace(size=size, tokens_per_second=TOKENS / pool.mean_seconds)
    with patch.object(trials, "time", clock), patch.object(halving, "REDUCTION", reduction):
        trials.Trials(study, runner, prepared, settings, Silent()).run(
            Limits(trials=len(pool.arms), seconds=seconds), 0.0
        )
    outcomes = study.outcomes()
    picked = best_trial(outcomes) or _furthest(outcomes)
    return next(arm for arm in pool.arms if picked.candidate.method == arm.name) if picked else None


def _furthest(outcomes: Collection[TrialOutcome]) -> TrialOutcome | None:
    read = [outcome for outcome in outcomes if outcome.curve]
    return max(read, key=lambda o: (len(o.curve), -o.curve[-1].validation_loss), default=None)
