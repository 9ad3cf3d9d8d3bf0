"""A search that is killed at any moment resumes: no finished trial is lost, none is run twice, none is invented."""

import errno
import json
import random
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest
from sqlalchemy import event
from sqlalchemy.engine import Engine

from autopeft.errors import StudyError
from autopeft.files import write_text
from autopeft.tuning.budget import TrialSize
from autopeft.tuning.folder import OutputFolder, Settings, storage_errors
from tests.tuning.child import SimulatedRunner, open_study, search, snapshot

TRIALS = 25
CHILD = [sys.executable, "-m", "tests.tuning.child"]


def start(folder):
    return subprocess.Popen([*CHILD, str(folder), str(TRIALS)], stdout=subprocess.PIPE, text=True)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    return snapshot(search(tmp_path_factory.mktemp("unbroken"), TRIALS))


def test_kill_9_at_random_moments(tmp_path, unbroken):
    """Killed a dozen times at random moments and resumed, a search ends with every trial, each once."""
    generator = random.Random(3)
    before: list[list[object]] = []
    kills = 0
    for _ in range(60):
        child = start(tmp_path)
        assert child.stdout is not None
        after = json.loads(child.stdout.readline())  # what the study held when this process began
        assert after[: len(before)] == before or all(row in after for row in before if row[1] != "worker_lost")
        before = after
        if kills < 12:
            time.sleep(generator.uniform(0.0, 0.25))
            child.kill()
            kills += child.wait() == -9
            continue
        last = json.loads(child.stdout.readline())
        assert child.wait() == 0
        break
    numbers = [number for number, *_ in last]
    ended = [row for row in last if row[1] != "worker_lost"]
    assert kills >= 3
    assert len(numbers) == len(set(numbers))
    assert len(ended) == TRIALS
    assert all(row in last for row in before if row[1] != "worker_lost")
    assert {row[3] for row in unbroken[:2]} <= {row[3] for row in ended}  # the queued starts were not lost


def test_a_lost_trial_is_recorded_and_run_once_more(tmp_path):
    """A trial left open by a killed process is recorded as worker_lost, and its candidate is tried again, once."""
    study = open_study(tmp_path)
    _, candidate = study.ask()
    study = open_study(tmp_path)
    assert study.recover() == 1
    assert [o.status for o in study.outcomes()] == ["worker_lost"]
    assert study.outcomes()[0].candidate == candidate
    asked = [study.ask()[1] for _ in range(2)]
    assert candidate in asked
    study = open_study(tmp_path)
    assert study.recover() == 2
    again = [study.ask()[1] for _ in range(2)]
    assert candidate not in again


def test_an_outcome_stored_before_the_kill_counts(tmp_path, monkeypatch):
    """A process killed between storing an outcome and closing its trial loses nothing."""
    study = open_study(tmp_path)
    trial, candidate = study.ask()
    plan = type("Plan", (), {"tokens": 900})()
    outcome = SimulatedRunner(0).run(trial.number, candidate, plan, lambda _: False, 0, None)
    monkeypatch.setattr("autopeft.tuning.study.close", lambda *_: None)
    study.tell(trial, outcome)
    study = open_study(tmp_path)
    assert study.recover() == 0
    assert study.outcomes() == (outcome,)


def test_a_resumed_search_proposes_what_an_unbroken_one_would(tmp_path, unbroken):
    """Stopped after ten trials and resumed, a search draws the same candidates as one that was not stopped."""
    search(tmp_path, 10)
    assert snapshot(search(tmp_path, TRIALS)) == unbroken


def test_two_searches_cannot_share_a_folder(tmp_path):
    """The second of two searches on one folder is refused while the first runs."""
    folder = OutputFolder(tmp_path)
    other = OutputFolder(tmp_path)
    with folder.locked(), pytest.raises(StudyError, match="Another search is running"), other.locked():
        pass
    with other.locked():
        pass


def test_a_programming_error_stops_the_search_and_leaves_it_resumable(tmp_path):
    """A defect in a trial is no bad score: it keeps its traceback, and the study goes on afterwards."""

    class Broken(SimulatedRunner):
        def run(self, number, *arguments):
            if number == 3:
                raise KeyError("a typo")
            return super().run(number, *arguments)

    with pytest.raises(KeyError, match="a typo"):
        search(tmp_path, 8, Broken())
    ended = open_study(tmp_path).outcomes()
    assert 1 <= len(ended) <= 3
    assert all(o.number < 3 for o in ended)
    done = snapshot(search(tmp_path, 8))
    assert sum(status != "worker_lost" for _, status, *_ in done) == 8


@contextmanager
def room_for(folder, pages):
    """Lets the study's file grow by so many pages, as on a disk that is almost full."""

    def limit(connection, _record):
        (there,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {there + pages}")

    event.listen(Engine, "connect", limit)
    try:
        with storage_errors(folder):
            yield
    finally:
        event.remove(Engine, "connect", limit)


def test_a_study_on_a_full_disk_keeps_what_is_done(tmp_path):
    """When the study's file can grow no more, one sentence says so; with room again nothing is missing or double."""
    before = snapshot(search(tmp_path, 3))
    with pytest.raises(StudyError, match=r"is full\. What is done is kept: make room"), room_for(tmp_path, 1):
        search(tmp_path, 60)
    after = snapshot(search(tmp_path, 9))
    assert all(row in after for row in before)
    assert sum(status != "worker_lost" for _, status, *_ in after) >= 9
    assert len({number for number, *_ in after}) == len(after)


def test_half_written_files_are_nobodys(tmp_path):
    """What a power cut leaves of files that were being written disturbs no resumed search, and a state goes in time."""
    settings = Settings(
        schema_version=1, identity={"seed": 0}, size=TrialSize(tokens=1, pruning_rows=1, scoring_rows=1),
        tokens_per_second=1.0,
    )  # fmt: skip
    folder = OutputFolder(tmp_path)
    folder.begin(settings)
    folder.states.mkdir()
    for name in (".search.json.x1y2", "study.partial", "states/3.partial", ".trials.csv.z"):
        (tmp_path / name).write_bytes(b'{"schema_ver')
    assert folder.check_may_start({"seed": 0}, resume=True) == settings
    assert sum(status != "worker_lost" for _, status, *_ in snapshot(search(tmp_path, 2))) == 2
    folder.keep_states({1})
    assert list(folder.states.iterdir()) == []


def test_a_file_has_its_name_only_when_it_is_on_the_disk(tmp_path, monkeypatch):
    """A write that a power cut would lose is not given the name of what it replaces."""

    def cut(_descriptor):
        raise OSError(errno.EIO, "power cut")

    path = tmp_path / "trials.csv"
    write_text(path, "before")
    monkeypatch.setattr("os.fsync", cut)
    with pytest.raises(OSError, match="power cut"):
        write_text(path, "after")
    assert path.read_text() == "before"
    assert [found.name for found in tmp_path.iterdir()] == ["trials.csv"]
