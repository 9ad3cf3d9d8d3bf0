"""Several workers on one study: each trial once, none lost, and what happens when one of them dies or errs."""

import json
import os
import signal
import subprocess
import sys
import time
import types
from collections import Counter
from typing import Any, cast

import psutil
import pytest

from autopeft.errors import StudyError
from autopeft.tuning.group import MOST_LOST_IN_A_ROW, Group, LostError
from autopeft.tuning.halving import promotable
from autopeft.tuning.hired import serve
from autopeft.tuning.running import Running
from autopeft.tuning.workers import work_together
from tests.tuning.child import STARTS, SimulatedRunner, job, open_study, prepared, search, search_together
from tests.tuning.test_halving import trial


def test_what_another_worker_continues_is_taken():
    """Of two that have earned their next reading, the one that is being continued is not continued again."""
    waiting = [trial(0, 0.1), trial(1, 0.2), *(trial(n, 1.0 + n) for n in range(2, 6))]
    assert promotable(waiting) == waiting[0]
    running = Running(number=6, losses=(0.1,), continues=0)
    assert promotable(waiting, [running]) == waiting[1]
    assert promotable(waiting, [running, Running(number=7, losses=(0.2,), continues=1)]) is None


def test_running_trials_are_ranked():
    """A trial that another worker has read is a rival before it ends: the first of several is no longer the best."""
    assert promotable([trial(0, 0.5)], [Running(number=1, losses=(0.4,))]) is None
    assert promotable([trial(0, 0.5)], [Running(number=1, losses=(0.6,))]) == trial(0, 0.5)
    assert promotable([trial(0, 0.5)], [Running(number=1)]) == trial(0, 0.5)


def test_what_lies_elsewhere_is_ranked_and_left():
    """A trial whose state another machine holds keeps its rank, and the next best is not promoted in its place."""
    waiting = [trial(0, 0.1), trial(1, 0.2)]
    assert promotable(waiting, beyond={0}) is None
    more = [*waiting, *(trial(n, 1.0 + n) for n in range(2, 6))]
    assert promotable(more, beyond={0}) == more[1]


def test_a_repeated_trial_is_repeated_once(tmp_path):
    """A process that dies while it puts a lost trial back in the queue leaves neither none nor two of it."""
    study = open_study(tmp_path)
    study.ask()
    for _ in range(3):
        open_study(tmp_path).recover()
    found = open_study(tmp_path)._study.get_trials()
    assert [t.user_attrs["retry"] for t in found if "retry" in t.user_attrs] == [0]


def test_an_outcome_that_comes_too_late_is_dropped(tmp_path):
    """A worker that was given up and goes on after all changes nothing: its trial is being repeated."""
    late = open_study(tmp_path)
    trial_, candidate = late.ask()
    assert open_study(tmp_path).recover() == 1
    plan = type("Plan", (), {"tokens": 900})()
    outcome = SimulatedRunner(0).run(trial_.number, candidate, plan, lambda _: False, 0, None)
    late.tell(trial_, outcome)
    assert [o.status for o in late.outcomes()] == ["worker_lost"]


def test_finished_outcomes_are_read_once(tmp_path, monkeypatch):
    """An outcome is parsed once: a search of many trials does not read all of them again at every step."""
    study = search(tmp_path, 4)
    before = study.outcomes()
    monkeypatch.setattr("autopeft.tuning.stored.parse", lambda *_: pytest.fail("an outcome was parsed again"))
    assert study.outcomes() == before


def numbers_once(found):
    return max(Counter(found).values(), default=0) <= 1


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_kill_9_of_any_worker_at_any_moment(tmp_path, seed):
    """Over a hundred kills, of one worker or of all: no finished trial is lost or changed, none is run twice."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.tuning.swarm", str(tmp_path), "60", "3", "120", str(seed)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    told = json.loads(done.stdout)
    trials = told["trials"]
    ended = [t for t in trials if t["status"] not in (None, "worker_lost")]
    assert told["kills"] >= 100
    assert not any(t["state"] in ("RUNNING", "WAITING") for t in trials)
    assert [t["number"] for t in trials] == list(range(len(trials)))
    # Exactly as many trials as were asked for, each continued at most once, and each lost one repeated at most once.
    assert sum(status != "worker_lost" for status in told["ended"]) == 60
    assert numbers_once(t["continues"] for t in ended if t["continues"] is not None)
    assert numbers_once(t["retry"] for t in trials if t["retry"] is not None)
    again = {t["number"] for t in trials if t["retry"] is not None}
    assert not any(t["retry"] in again for t in trials)
    # Each recommended start has run, or was lost twice; none has run twice.
    for start in STARTS:
        runs = [t for t in trials if t["rate"] == start.learning_rate and t["continues"] is None]
        assert sum(t["status"] != "worker_lost" for t in runs) == 1 or len(runs) == 2
    # No worker has removed a state that another one went on from.
    assert not any(t["missed"] for t in trials)


class Suicidal(SimulatedRunner):
    """Dies with its process in the third trial, as under the kernel's hand when memory runs out."""

    def run(self, number, *arguments):
        if number == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().run(number, *arguments)


class Broken(SimulatedRunner):
    """Has a defect that shows in the fourth trial."""

    def run(self, number, *arguments):
        if number == 3:
            raise KeyError("a typo")
        return super().run(number, *arguments)


def suicidal(_job) -> tuple[SimulatedRunner, float]:
    return Suicidal(), 1000.0


def broken(_job) -> tuple[SimulatedRunner, float]:
    return Broken(), 1000.0


def stillborn(_job) -> tuple[SimulatedRunner, float]:
    os._exit(3)


@pytest.mark.slow
def test_a_worker_that_is_killed_is_replaced(tmp_path):
    """The trial of a killed worker is recorded with the signal and repeated once; the search comes to its end."""
    outcomes = search_together(tmp_path, 8, 2, suicidal).outcomes()
    lost = [o for o in outcomes if o.status == "worker_lost"]
    assert [o.number for o in lost] == [2]
    assert "killed, as the kernel does when memory runs out" in lost[0].reason
    assert sum(o.status != "worker_lost" for o in outcomes) == 8
    assert any(o.candidate == lost[0].candidate for o in outcomes if o.status != "worker_lost")


@pytest.mark.slow
def test_a_defect_in_a_worker_stops_the_search_with_its_traceback(tmp_path):
    """What a worker raises is raised here with the worker's traceback, and the search goes on when it is mended."""
    with pytest.raises(RuntimeError, match="KeyError: 'a typo'") as caught:
        search_together(tmp_path, 8, 2, broken)
    assert 'raise KeyError("a typo")' in str(caught.value.__cause__)
    done = search_together(tmp_path, 8, 2).outcomes()
    assert sum(o.status != "worker_lost" for o in done) == 8


@pytest.mark.slow
def test_workers_that_cannot_start_end_the_search(tmp_path):
    """A machine on which every worker dies before its first trial is no endless loop."""
    with pytest.raises(StudyError, match="before they have begun a trial: its process ended with exit code 3"):
        search_together(tmp_path, 8, 1, stillborn)


class Dying:
    """A group whose process is killed so often before it comes to its end."""

    def __init__(self, deaths):
        self.deaths = deaths

    def call(self, *_):
        self.deaths -= 1
        if self.deaths >= 0:
            raise LostError("its process was killed", 1, "Killed")
        return [None]

    def kill(self):
        """There is none."""


def dying(deaths, outcomes):
    """Has work done by such a group; each death takes a trial with it."""
    study: Any = types.SimpleNamespace(lose=lambda *_: 1, outcomes=outcomes)
    hands: Any = [Dying(deaths)]
    work_together(cast("Any", None), cast("Any", None), hands, study, lambda: None)


def test_a_search_whose_every_trial_kills_its_worker_ends():
    """Nothing else would end one that is limited by its trials, of which a lost one is none."""
    with pytest.raises(StudyError, match=r"lost with their trials again and again: its process was killed\..*\nKilled"):
        dying(MOST_LOST_IN_A_ROW + 1, list)
    dying(MOST_LOST_IN_A_ROW, list)
    ended: list[Any] = []

    def growing():
        ended.append(trial(len(ended), 0.1))
        return ended

    dying(3 * MOST_LOST_IN_A_ROW, growing)


@pytest.mark.slow
def test_workers_end_with_the_search_that_started_them(tmp_path):
    """Killed with -9, a search leaves no worker behind that goes on with its study; resumed, it ends."""
    main = "from tests.tuning.child import main; main()"  # what it gives to its workers must have a module
    command = [sys.executable, "-c", main, str(tmp_path), "400", "2"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        study = open_study(tmp_path)
        while len(study.outcomes()) < 6 and parent.poll() is None:
            time.sleep(0.3)
        workers = psutil.Process(parent.pid).children(recursive=True)
        parent.kill()
    assert len(workers) == 2
    assert psutil.wait_procs(workers, timeout=30)[1] == []
    ended = len(study.outcomes())
    study.recover()
    assert not study.running
    assert len(search_together(tmp_path, ended + 4, 2).outcomes()) >= ended + 4


def test_a_worker_that_died_before_it_read_its_job_is_lost_and_no_error(tmp_path):
    """What is still to be written to a dead worker breaks its pipe: what counts is that it died, and its last words."""
    broken_python = {**os.environ, "PYTHONHOME": str(tmp_path / "nowhere")}
    group = Group(prepared(), [broken_python], [tmp_path / "0.log"])
    with pytest.raises(LostError, match="its process ended with exit code 1") as lost:
        group.call(serve, job(tmp_path, 1), prepared().proposal)
    assert lost.value.process > 0
    assert "encodings" in lost.value.words


def cry(_here):
    """Says something and dies."""
    print("heard last", file=sys.stderr, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_worker_writes_into_its_log_once_it_is_asked(tmp_path):
    """What is started ahead leaves the folder as it is: its search may yet be refused."""
    log = tmp_path / "workers" / "0.log"
    group = Group(prepared(), [os.environ], [log])
    group.start(("json",))
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(LostError) as lost:
        group.call(cry)
    assert lost.value.words == log.read_text() == "heard last\n"


def test_what_a_worker_cannot_read_is_an_error(tmp_path):
    """A function of a module that it cannot import ends it with the reason, and nobody waits for its answer."""
    group = Group(prepared(), [os.environ])
    unknown = types.FunctionType(serve.__code__, {}, "unknown")
    unknown.__module__, unknown.__qualname__ = "tests_unheard_of", "unknown"
    known: Any = types.ModuleType("tests_unheard_of")
    known.unknown = unknown
    sys.modules["tests_unheard_of"] = known
    try:
        with pytest.raises(RuntimeError, match="A worker met ModuleNotFoundError: No module named 'tests_unheard_of'"):
            group.call(unknown)
    finally:
        del sys.modules["tests_unheard_of"]
    assert group._members == []
