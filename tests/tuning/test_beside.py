"""Contenders are trained side by side: as many at once as there are processes, and none is left when one errs."""

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from autopeft.errors import OutOfMemoryError, StudyError
from autopeft.training.scoring import Objective
from autopeft.training.worker import Worker
from autopeft.tuning.beside import CrewContest
from autopeft.tuning.compare import Comparison
from autopeft.tuning.contest import OwnContest
from autopeft.tuning.cost import _compared_budgets
from autopeft.tuning.crew import Crew
from autopeft.tuning.group import LostError
from autopeft.tuning.hands import Hands
from autopeft.tuning.member import Terms
from autopeft.tuning.prepare import Request, prepare
from autopeft.tuning.race import Lap
from autopeft.values.candidates import Candidate, Constraints
from autopeft.values.plans import Plan
from tests.toys import classification_csv

TERMS = Terms(plan=Plan(tokens=1), seconds=60.0, racing_rows=1)
LORA = Candidate(
    method="lora", parameters={"rank": 4, "alpha": 8, "dropout": 0.0}, learning_rate=2e-2, batch_size=8
)  # fmt: skip
RATES = (1e-3, 5e-3, 2e-2, 5e-2)


class Group:
    """Calls a step in this process; once killed, whoever waits for it has lost it."""

    def __init__(self):
        self.killed = threading.Event()
        self.steps = 0

    def call(self, met_or_made, _contend, _terms, step, *arguments):
        self.steps += 1
        if self.killed.is_set():
            raise LostError("it was ended")
        return [met_or_made(self, step, *arguments)]

    def kill(self):
        self.killed.set()


def contest(groups, folder):
    return CrewContest(groups, TERMS, folder)


def together(made, calls):
    return made.together(calls, lambda: None)


def asking(made, step):
    return lambda: made._contend(step)


def test_as_many_train_at_once_as_there_are_processes(tmp_path):
    """Two steps meet, which one after the other never would; a third waits for whoever is free first."""
    meeting, groups = threading.Barrier(2, timeout=20), [Group(), Group()]
    made = contest(groups, tmp_path)

    def meet(_group):
        meeting.wait()
        return "met"

    assert together(made, [asking(made, meet)] * 2) == ["met", "met"]
    assert together(made, [asking(made, lambda _group: "alone")] * 5) == ["alone"] * 5
    assert sum(group.steps for group in groups) == 7


def test_answers_come_in_the_order_of_the_questions(tmp_path):
    """Whoever ends first, each call has its own answer."""
    made, first = contest([Group(), Group()], tmp_path), threading.Event()

    def slow(_group):
        assert first.wait(20)
        return "slow"

    def quick(_group):
        first.set()
        return "quick"

    assert together(made, [asking(made, slow), asking(made, quick)]) == ["slow", "quick"]


def test_a_process_that_is_killed_is_not_asked_again(tmp_path):
    """Another one does its step, as when both at once are too much for the memory; without another the search ends."""
    groups = [Group(), Group()]
    groups[0].kill()
    made = contest(groups, tmp_path)
    assert together(made, [asking(made, lambda group: groups.index(group))] * 3) == [1, 1, 1]
    assert groups[0].steps == 1
    groups[1].kill()
    with pytest.raises(StudyError, match=r"All processes that compare were lost: it was ended. .*--resume"):
        together(made, [asking(made, lambda group: groups.index(group))])


def test_an_expected_error_leaves_the_process_to_others(tmp_path):
    """Whoever caught it asks again, as a baseline does with half its rows."""
    made = contest([Group()], tmp_path)

    def full(_group):
        raise OutOfMemoryError("full")

    with pytest.raises(OutOfMemoryError):
        made._contend(full)
    assert made._contend(lambda _group: "half") == "half"


def test_a_lap_that_does_not_fit_ends_the_race_alone(tmp_path, monkeypatch):
    """Its baseline is tried again with half the rows at once, and whatever trains beside it trains on."""
    groups = [Group(), Group()]
    made = contest(groups, tmp_path)

    def lap(_group, candidate, *_):
        if candidate.learning_rate > 1e-2:
            raise OutOfMemoryError("full")
        return Lap(loss=1.0, tokens=1, seconds=1.0, state=None)

    monkeypatch.setattr("autopeft.tuning.beside._lap", lap)
    field = [(replace(LORA, learning_rate=rate), None) for rate in RATES]
    with pytest.raises(OutOfMemoryError):
        made.laps(field, 0.25, 0.0)
    assert len(made.laps(field[:2], 0.25, 0.0)) == 2
    assert not any(group.killed.is_set() for group in groups)


def test_no_lap_begins_once_one_has_failed(tmp_path, monkeypatch):
    """Of four laps on one process, the first of which does not fit, no other is trained for nothing."""
    made, begun = contest([Group()], tmp_path), []

    def lap(_group, candidate, *_):
        begun.append(candidate.learning_rate)
        raise OutOfMemoryError("full")

    monkeypatch.setattr("autopeft.tuning.beside._lap", lap)
    with pytest.raises(OutOfMemoryError):
        made.laps([(replace(LORA, learning_rate=rate), None) for rate in RATES], 0.25, 0.0)
    assert len(begun) <= 2, "the second may have begun before the first was heard of"


def test_laps_side_by_side_share_the_time_of_a_race(tmp_path, monkeypatch):
    """Together they take no more than one process would, however many there are."""
    made, allowed = contest([Group(), Group()], tmp_path), []

    def lap(_group, _candidate, _before, _after, _share, seconds):
        allowed.append(seconds)
        return Lap(loss=1.0, tokens=1, seconds=1.0, state=None)

    monkeypatch.setattr("autopeft.tuning.beside._lap", lap)
    made.laps([(replace(LORA, learning_rate=rate), None) for rate in RATES], 0.25, 60.0)
    assert allowed == [15.0] * 4


@pytest.mark.parametrize("nested", [False, True])
def test_the_first_error_ends_all(tmp_path, nested):
    """What others train is broken off, nobody begins anew, and it is that error which is raised, not what it caused."""
    groups = [Group(), Group()]
    made, begun = contest(groups, tmp_path), threading.Event()

    def long(group):
        begun.set()
        assert group.killed.wait(20)
        raise LostError("its process was killed")

    def broken(_group):
        assert begun.wait(20)
        raise KeyError("a typo")

    calls = [asking(made, long), asking(made, broken), asking(made, lambda _group: pytest.fail("it was begun"))]
    with pytest.raises(KeyError, match="a typo"):
        together(made, [lambda: together(made, calls)] if nested else calls)
    assert all(group.killed.is_set() for group in groups)
    with pytest.raises(KeyError, match="a typo"):
        made._contend(lambda _group: pytest.fail("it was begun"))


def test_phases_are_told_where_the_comparison_was_made(tmp_path):
    """Who watches a search hears of all that begins, in its own thread, whichever thread begins it."""
    told: list[tuple[str, int]] = []
    objective = Objective(name="accuracy", metrics={}, lower_is_better=False)
    made = Comparison(
        contest([Group()], tmp_path), objective, 0, tmp_path, lambda phase: told.append((phase, threading.get_ident()))
    )

    def outer():
        made.begins("outer")
        return made.together([lambda: made.begins("inner"), lambda: made.begins("inner")])

    made.begins("first")
    made.together([outer])
    here = threading.get_ident()
    assert told == [("first", here), ("outer", here), ("inner", here), ("inner", here)]


def test_ctrl_c_ends_all(tmp_path, monkeypatch):
    """The processes are in sessions of their own, so it is this one that ends them, whatever they train."""
    groups = [Group(), Group()]
    made = contest(groups, tmp_path)

    def long(group):
        assert group.killed.wait(20)
        raise LostError("its process was killed")

    def pressed(_asked, **_how):
        raise KeyboardInterrupt

    monkeypatch.setattr("autopeft.tuning.beside.wait", pressed)
    with pytest.raises(KeyboardInterrupt):
        together(made, [asking(made, long)] * 3)
    assert all(group.killed.is_set() for group in groups)


def test_more_at_once_take_less_time():
    """One after the other they are six budgets; with ever more the race alone counts, and the finalists' training."""
    assert _compared_budgets(1) == 6
    assert _compared_budgets(2) == 4
    assert 2 < _compared_budgets(100) < 2.1


def full(_contest):
    """Is refused for lack of memory."""
    raise OutOfMemoryError("full")


@pytest.mark.slow
def test_processes_train_what_one_would(tiny_models, tmp_path):
    """A finalist, a race and the frozen model come to what they come to in this process, and no process is left."""
    source = classification_csv(tmp_path / "toy.csv", rows=160)
    constraints = Constraints(methods=("lora",))
    prepared = prepare(Request(model=str(tiny_models["bert"]), data=str(source), folds=1, constraints=constraints))
    plan = Plan(tokens=1500, seed=5)
    own = OwnContest(
        Worker(prepared.model, prepared.hardware, head_seed=0), prepared.encoded, plan, prepared.objective,
        seconds=600.0, racing_rows=16,
    )  # fmt: skip
    hands = Hands(Crew(size=2, gpus=(), threads=1), tmp_path / "workers")
    hands.tell(prepared)
    try:
        made: Any = hands.contest(plan, seconds=600.0, racing_rows=16)
        asked: list[Callable[[], Any]] = [
            lambda: made.race(LORA, RATES),
            lambda: made.rehearse(LORA, 7, tmp_path / "finalist"),
            lambda: made.untuned(LORA, 0),
        ]
        raced, rehearsed, frozen = together(made, asked)
        performed = made.perform(rehearsed, tmp_path / "finalist")
        processes = [member.process for group in hands._groups for member in group._members]
        for _ in processes:
            with pytest.raises(OutOfMemoryError, match=r"^full$"):
                made._contend(full)
        assert all(process.poll() is None for process in processes), "an error that is expected ends none"
        assert made.tfidf(prepared, 0) == own.tfidf(prepared, 0)
    finally:
        hands.release()
    alone = own.race(LORA, RATES)
    assert replace(raced, seconds=0.0) == replace(alone, seconds=0.0)
    again = own.rehearse(LORA, 7, tmp_path / "own")
    assert replace(rehearsed, seconds=0.0) == replace(again, seconds=0.0)
    assert performed.test == own.perform(again, tmp_path / "own").test
    assert frozen == own.untuned(LORA, 0)
    assert len(processes) == 2
    assert all(process.poll() is not None for process in processes)
