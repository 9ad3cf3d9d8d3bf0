"""Successive halving with promotions: who goes on, how much is trained, and that nothing is trained twice."""

import time
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autopeft.tuning.budget import TrialSize
from autopeft.tuning.halving import (
    KEPT,
    MOST_LOST,
    READINGS,
    REDUCTION,
    begun,
    best_waiting,
    full_trials,
    promotable,
    too_late,
    waiting,
)
from autopeft.tuning.limits import Limits
from autopeft.tuning.observer import Silent
from autopeft.tuning.trials import LEAST_SECONDS, SLOWEST, Trials, plan_of
from autopeft.values.candidates import Candidate
from autopeft.values.outcomes import Measurement, TrialOutcome
from tests.tuning.child import SimulatedRunner, open_study, prepared

CANDIDATE = Candidate(method="ia3", learning_rate=1e-3)
SETTINGS: Any = SimpleNamespace(size=TrialSize(tokens=900, pruning_rows=1, scoring_rows=1), tokens_per_second=1000.0)


def trial(number, *losses, status="pruned", continues=None, too_slow=False):
    curve = tuple(Measurement(tokens=1, seconds=1.0, train_loss=loss, validation_loss=loss) for loss in losses)
    return TrialOutcome(
        number=number, status=status, candidate=CANDIDATE, curve=curve, continues=continues, too_slow=too_slow
    )


def test_the_best_of_each_reading_goes_on_at_once():
    """A single trial goes on, so that a search has a completed one early; then it takes three for the next."""
    assert promotable([trial(0, 0.5)]) == trial(0, 0.5)
    done = trial(0, 0.5, 0.4, 0.3, status="completed")
    assert promotable([done, trial(1, 0.6)]) is None
    assert promotable([done, trial(1, 0.4)]) == trial(1, 0.4)
    assert promotable([done, *(trial(n, 0.6 + n) for n in range(1, 5))]) is None
    assert promotable([done, *(trial(n, 0.6 + n) for n in range(1, 6))]) == trial(1, 1.6)


def test_the_furthest_is_promoted_first():
    """Of two that have earned it, the one that has come further goes on."""
    assert promotable([trial(0, 0.1), trial(1, 0.5, 0.2)]) == trial(1, 0.5, 0.2)


def test_a_trial_that_takes_its_process_down_is_left_alone():
    """After two lost continuations a trial is not continued again; one is no reason to give it up."""
    lost = [trial(n, status="worker_lost", continues=0) for n in range(1, MOST_LOST + 1)]
    assert promotable([trial(0, 0.5), *lost[:1]]) == trial(0, 0.5)
    assert promotable([trial(0, 0.5), *lost]) is None


def test_what_counts_as_begun():
    """A lost trial, and one that ran out of time while going on, were begun before and count once."""
    others = [trial(1, status="worker_lost"), trial(2, status="timed_out", continues=0)]
    assert begun([trial(0, 0.5), *others, trial(3, status="timed_out"), trial(4, status="infeasible")]) == 3
    assert begun([trial(5, status="timed_out", continues=0, too_slow=True)]) == 1, "it stands for what it went on from"


@given(st.lists(st.floats(0.0, 10.0), min_size=1, max_size=40))
def test_a_share_of_every_reading_goes_on(losses):
    """Promoted until nobody has earned it, a third of those read have gone on, and they are the best third."""
    outcomes = [trial(number, loss) for number, loss in enumerate(losses)]
    while (chosen := promotable(outcomes)) is not None:
        last = len(chosen.curve) == len(READINGS) - 1
        further = trial(
            chosen.number, *[r.validation_loss for r in chosen.curve], losses[chosen.number],
            status="completed" if last else "pruned",
        )  # fmt: skip
        outcomes[chosen.number] = further
    for position in range(len(READINGS) - 1):
        read = sorted((o for o in outcomes if len(o.curve) > position), key=lambda o: (losses[o.number], o.number))
        gone = {o.number for o in read if len(o.curve) > position + 1}
        assert gone == {o.number for o in read[: max(1, len(read) // REDUCTION)]}
    shares = [0.0, *READINGS]
    trained = sum(shares[len(o.curve)] for o in outcomes)
    assert trained == pytest.approx(full_trials(len(losses), READINGS))


@given(st.lists(st.floats(0.0, 10.0), min_size=1, max_size=40))
def test_the_best_that_wait_are_kept(losses):
    """The state of the best waiting trials is kept, and the next to be promoted is among them."""
    outcomes = [trial(number, loss) for number, loss in enumerate(losses)]
    kept = waiting(outcomes)
    assert len(kept) == min(KEPT, len(losses))
    assert best_waiting(outcomes) in [outcomes[number] for number in kept]


def search(folder, trials, runner, limit=None):
    study = open_study(folder)
    loop = Trials(study, runner, prepared(), SETTINGS, Silent())
    loop.run(Limits(trials=trials, seconds=limit), time.monotonic())
    return study.outcomes()


def test_nothing_is_trained_twice(tmp_path):
    """A search of so many trials trains exactly what successive halving takes, each rung of each trial once."""
    runner = SimulatedRunner(0.0)
    outcomes = search(tmp_path, 18, runner)
    assert len(outcomes) == 18
    shares = [0.0, *READINGS]
    assert runner.trained == pytest.approx(sum(shares[len(o.curve)] for o in outcomes))
    assert promotable(outcomes) is None
    assert runner.kept == waiting(outcomes)
    assert sum(o.status == "completed" for o in outcomes) >= 1


def test_the_last_seconds_go_to_who_waits(tmp_path):
    """With too little time for a new trial, the best of those that wait go on instead of leaving it unused."""
    runner = SimulatedRunner(0.02)

    class Slow(SimulatedRunner):
        def run(self, number, candidate, plan, stops, deadline, earlier):
            found = runner.run(number, candidate, plan, stops, deadline, earlier)
            return TrialOutcome(**{**vars(found), "seconds": 60.0})

    outcomes = search(tmp_path, None, Slow(), limit=50.0)
    assert begun(outcomes) < 6, "nothing new is begun once a full trial has shown that it takes a minute"
    assert all(o.status == "completed" for o in outcomes)


def test_a_method_too_slow_to_try_is_cut_short(tmp_path):
    """A part of a training has a limit of its own, by what a whole one was planned for, its scoring included."""
    given = []

    class Watched(SimulatedRunner):
        def run(self, number, candidate, plan, stops, deadline, earlier):
            given.append(plan.seconds)
            return super().run(number, candidate, plan, stops, deadline, earlier)

    search(tmp_path, 2, Watched(0.0))
    assert set(given) == {LEAST_SECONDS}
    slow: Any = SimpleNamespace(
        size=TrialSize(tokens=40_000, pruning_rows=1000, scoring_rows=3000), tokens_per_second=1000.0
    )
    loop = Trials(open_study(tmp_path), Watched(0.0), prepared(), slow, Silent())
    loop.run(Limits(trials=4, seconds=None), time.monotonic())
    assert given[-1] == pytest.approx(SLOWEST * 0.5 * (40.0 + 7.0 / 3.0)), (
        "7,000 rows of a token, scored at three a second of training"
    )
    folds: Any = SimpleNamespace(**{**vars(prepared()), "parts": 3 * prepared().parts})
    assert plan_of(slow, folds).seconds == pytest.approx(given[-1]), "each fold is a training of its own"


def test_who_cannot_come_to_the_end_is_known_by_its_pace():
    """A third of the way took half a minute, so the rest takes a minute; before a trial has completed all may try."""

    def read(number, seconds):
        found = trial(number, 0.5)
        return replace(found, curve=(replace(found.curve[0], tokens=300, seconds=seconds),))

    waits, done = [read(1, 30.0), read(2, 3.0)], trial(0, 0.1, 0.1, 0.1, status="completed")
    assert too_late(waits, 900, 20.0) == frozenset()
    assert too_late([done, *waits], 900, 20.0) == {1}
    assert too_late([done, *waits], 900, 60.0) == frozenset()


def test_seconds_are_not_spent_on_who_cannot_come_to_its_end(tmp_path):
    """However well it was read: at its first reading, and when others have fallen behind it."""
    slow = set()

    def better(reading):
        return replace(reading, seconds=120 * reading.seconds, validation_loss=reading.validation_loss - 5)

    class Uneven(SimulatedRunner):
        """Every third trial is slow and looks good, once another one has completed."""

        completed = False

        def run(self, number, candidate, plan, stops, deadline, earlier):
            if number % 3 or earlier is not None or not self.completed:
                found = super().run(number, candidate, plan, stops, deadline, earlier)
                self.completed |= found.status == "completed"
                return found
            slow.add(number)
            found = super().run(number, candidate, plan, lambda reading: stops(better(reading)), deadline, None)
            return replace(found, curve=tuple(map(better, found.curve)))

    outcomes = {outcome.number: outcome for outcome in search(tmp_path, 20, Uneven(0.0), limit=50.0)}
    assert len(slow) > 2
    assert {len(outcomes[number].curve) for number in slow} == {1}


def test_what_ran_out_of_time_takes_nobodys_place():
    """A continuation would count beside what it went on from; what is too slow would bar all that read worse."""
    outcomes = [trial(n, 0.5 + n / 10) for n in range(5)]
    done = trial(9, 0.1, 0.1, 0.1, status="completed")
    assert promotable([*outcomes[:4], done]) is None
    assert promotable([*outcomes[:4], done, trial(10, 0.5, status="timed_out", continues=0)]) is None
    assert promotable([*outcomes, done]) == outcomes[0]
    slow = trial(11, 0.1, status="timed_out", too_slow=True)
    assert promotable([slow, outcomes[0]]) == outcomes[0]


def test_what_waits_is_left_where_another_limit_ends_the_search(tmp_path):
    """Only where time is too short for a new trial does the best that waits go on without having earned it."""
    outcomes = search(tmp_path, 12, SimulatedRunner(0.0), limit=600.0)
    assert len(outcomes) == 12
    assert promotable(outcomes) is None
    assert sum(o.status == "completed" for o in outcomes) < 6
