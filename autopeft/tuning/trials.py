"""The loop over trials: whose turn it is, decided while the study is held alone, and what came of it."""

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from autopeft.profiling.sizes import format_bytes
from autopeft.training.pace import longest_part
from autopeft.tuning.budget import folds_taken, trial_seconds
from autopeft.tuning.folder import Settings
from autopeft.tuning.halving import best_waiting, promotable, too_late, waiting
from autopeft.tuning.limits import Limits, may_begin, may_go_on, time_is_short
from autopeft.tuning.observer import Observer
from autopeft.tuning.prepare import Prepared
from autopeft.tuning.ranking import best_trial
from autopeft.tuning.runner import Runner, Stops, carrying
from autopeft.tuning.study import TrialStudy
from autopeft.values.candidates import Candidate, halved
from autopeft.values.outcomes import Measurement, TrialOutcome
from autopeft.values.plans import Plan

if TYPE_CHECKING:
    from optuna.trial import Trial

SLOWEST = 2.0
"""Each part of a training, from one reading to the next, may take so many times what the longest was planned for: at
three times that, a method with a quarter of the planned speed took half a search (benchmarks/LOG.md, 2026-11-22)."""

LEAST_SECONDS = 10.0
"""What a part may always take: plans of a few seconds are mostly noise."""

PAUSE = 0.5
"""Seconds between two looks of a worker that has nothing to do while others train."""

Turn = tuple["Trial", Candidate, TrialOutcome | None]
"""A trial to run, its candidate, and the trial that it goes on from."""


class Desk:
    """Hands out trials and takes their readings, so that any number of workers may ask at once."""

    def __init__(self, study: TrialStudy, limits: Limits, deadline: float, tokens: int) -> None:
        """Opens for a search that ends with its limits or at the deadline, on ``time.monotonic``'s clock.

        Args:
            study: whose trials are run.
            limits: of the search.
            deadline: of the search.
            tokens: of a full trial, in its first fold.
        """
        self._study, self._limits, self._deadline, self._tokens = study, limits, deadline, tokens

    def next(self) -> Turn | None:
        """Returns whose turn it is: the recommended starts first, then who is promoted, then a new trial."""
        study, limits = self._study, self._limits
        if study.shared:
            study.recover()
        with study.exclusive():
            outcomes, running = study.outcomes(), study.running
            left = self._deadline - time.monotonic()
            new = may_begin(limits, outcomes, left, running)
            if study.queued and new:
                return (*study.ask(), None)
            beyond = self._beyond(outcomes, left)
            earlier = promotable(outcomes, running, beyond)
            if earlier is None and time_is_short(outcomes, left):
                earlier = best_waiting(outcomes, running, beyond)
            if earlier is not None and may_go_on(limits, outcomes, left):
                return (*study.ask_again(earlier), earlier)
            return (*study.ask(), None) if new else None

    def _beyond(self, outcomes: Sequence[TrialOutcome], left: float) -> frozenset[int]:
        """Returns the numbers of the trials that nobody goes on from: their state lies elsewhere, or it is too late."""
        return self._study.elsewhere() | too_late(outcomes, self._tokens, left)

    @property
    def may_come(self) -> bool:
        """Whether a turn may come later: from what other workers of this place are training, while there is time."""
        return time.monotonic() < self._deadline and self._study.busy

    def stops(self, trial: "Trial", candidate: Candidate, earlier: TrialOutcome | None) -> Stops:
        """Returns what takes the readings of a trial, and answers whether it stops there."""
        study = self._study
        curve = list(earlier.curve) if earlier else []

        def stops(reading: Measurement) -> bool:
            with study.exclusive():
                if not study.is_open(trial):
                    return True
                study.report(trial, reading, len(curve))
                curve.append(reading)
                here = TrialOutcome(number=trial.number, status="pruned", candidate=candidate, curve=tuple(curve))
                seen = [*(o for o in study.outcomes() if earlier is None or o.number != earlier.number), here]
                running = [other for other in study.running if other.number != trial.number]
                beyond = self._beyond(seen, self._deadline - time.monotonic())
                # Who would be promoted at once need not be taken off and put on again.
                return study.queued or promotable(seen, running, beyond) is not here

        return stops

    def done(self, trial: "Trial", outcome: TrialOutcome, keep: Callable[[Collection[int]], None]) -> None:
        """Stores an outcome, and has the states forgotten that nobody will go on from: all but those to keep."""
        if outcome.status == "worker_lost":
            self._study.give_up(trial, outcome.reason)
            return
        with self._study.exclusive():
            self._study.tell(trial, outcome)
            running = self._study.running
            used = {other.number for other in running} | {n for o in running if (n := o.continues) is not None}
            keep(waiting(self._study.outcomes()) | used)


Train = Callable[[Candidate, TrialOutcome | None], TrialOutcome]
"""Trains a candidate, from where an earlier trial stopped if one is given."""


def attempt(
    number: int, candidate: Candidate, earlier: TrialOutcome | None, prepared: Prepared, train: Train
) -> TrialOutcome:
    """Returns the outcome of a trial, run once more with half the rows at once where memory runs out.

    Args:
        number: of the trial.
        candidate: what to train; what cannot fit is not trained.
        earlier: the trial that it goes on from.
        prepared: the search.
        train: runs it.
    """
    problems = prepared.obstacles(candidate)
    if problems:
        return TrialOutcome(number=number, status="infeasible", candidate=candidate, reason=" ".join(problems))
    first = train(candidate, earlier)
    if first.status != "out_of_memory" or candidate.batch_size == 1:
        return first
    second = train(halved(candidate), None)
    return replace(
        second,
        # It began anew, and stands all the same for what it was to go on from.
        continues=earlier.number if earlier else None,
        tokens=first.tokens + second.tokens,
        seconds=first.seconds + second.seconds,
        overhead_seconds=first.overhead_seconds + second.overhead_seconds,
        reason=f"{candidate.batch_size} rows at once ran out of memory{_at(first)}, so it was run with half. "
        f"{second.reason}".rstrip(),
    )


def _at(outcome: TrialOutcome) -> str:
    peak = outcome.peak_bytes
    return "" if peak is None else f" at a peak of {format_bytes(peak)}"


class Trials:
    """Runs trials of a study until a limit is met, each rejected by the estimate before it can run out of memory."""

    def __init__(
        self, study: TrialStudy, runner: Runner, prepared: Prepared, settings: Settings, observer: Observer
    ) -> None:
        """Prepares the loop; `run` starts it."""
        self._study, self._runner, self._prepared = study, runner, prepared
        self._observer, self._plan = observer, plan_of(settings, prepared)

    def run(self, limits: Limits, began: float) -> None:
        """Runs trials; ``began`` is when this search's clock started, on ``time.monotonic``."""
        spent_before = self._study.seconds

        def ended(outcome: TrialOutcome) -> None:
            spent = spent_before + time.monotonic() - began
            self._study.spend(spent)
            self._observer.trial_ended(outcome, best_trial(self._study.outcomes()), spent)

        self.work(limits, deadline_of(limits, began, spent_before), ended)

    def work(self, limits: Limits, deadline: float, ended: Callable[[TrialOutcome], None]) -> None:
        """Runs trials until there are none left for this worker, and says what came of each."""
        desk = Desk(self._study, limits, deadline, self._plan.tokens)
        while (turn := desk.next()) is not None or desk.may_come:
            if turn is None:
                time.sleep(PAUSE)
                continue
            trial, candidate, _ = turn
            self._observer.trial_started(trial.number, candidate)
            outcome = self._outcome(desk, turn, deadline)
            desk.done(trial, outcome, self._runner.keep)
            ended(outcome)

    def _outcome(self, desk: Desk, turn: Turn, deadline: float) -> TrialOutcome:
        trial, candidate, earlier = turn

        def train(tried: Candidate, before: TrialOutcome | None) -> TrialOutcome:
            replaced = replace(earlier, curve=()) if earlier is not None and before is None else before
            stops = desk.stops(trial, tried, replaced)

            outcome = self._runner.run(trial.number, tried, self._plan, stops, deadline, before)
            return told_apart(outcome, self._plan, deadline, before)

        return attempt(trial.number, candidate, earlier, self._prepared, train)


def told_apart(outcome: TrialOutcome, plan: Plan, deadline: float, earlier: TrialOutcome | None) -> TrialOutcome:
    """Returns the outcome of a trial, and whether it was too slow: met its own limit and not the end of the search.

    It would meet that again, so nobody goes on from where it began: it stands for what it went on from.

    Args:
        outcome: of a trial that has just ended.
        plan: that it was trained by.
        deadline: of the search, on ``time.monotonic``'s clock.
        earlier: the trial that it went on from.
    """
    if outcome.status != "timed_out" or time.monotonic() >= deadline:
        return outcome
    said = f"A part of it takes longer than the {plan.seconds:.0f} s that it may. {outcome.reason}"
    return carrying(replace(outcome, too_slow=True, reason=said), earlier)


def plan_of(settings: Settings, prepared: Prepared) -> Plan:
    """Returns the plan of a full trial: what is too slow to try is a finding, not a wait."""
    size = settings.size
    planned = trial_seconds(size, prepared.parts, settings.tokens_per_second) / folds_taken(size, prepared.parts)
    most = max(LEAST_SECONDS, SLOWEST * longest_part(size.readings) * planned)
    return Plan(tokens=size.tokens, seed=prepared.seed, readings=size.readings, seconds=most)


def deadline_of(limits: Limits, began: float, spent_before: float) -> float:
    """Returns when the trials end, on ``time.monotonic``'s clock."""
    return float("inf") if limits.seconds is None else began + limits.seconds - spent_before
