"""A study in a database: joined by many workers, given back by lost ones, its password never told."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from contextlib import nullcontext
from pathlib import Path

import pytest
from optuna.storages import RDBStorage

from autopeft.errors import InvalidValueError, StudyError
from autopeft.tuning.folder import check_same
from autopeft.tuning.kept import kept_study
from autopeft.tuning.proposal import proposal
from autopeft.tuning.storage import Beats, Storage, database_url, open_storage, public_name
from autopeft.tuning.study import TrialStudy
from tests.toys import classification_csv
from tests.tuning import database
from tests.tuning.child import SETTINGS, STARTS, SimulatedRunner
from tests.tuning.swarm import start, told

BEATS = Beats(interval=1, grace=8)  # long enough that a busy machine does not make anybody silent


@pytest.fixture(scope="module")
def url():
    """The URL of a database on a server that lasts as long as this module."""
    programs = database.binaries()
    if programs is None and os.environ.get("AUTOPEFT_SLOW") != "1":
        pytest.skip("needs PostgreSQL: apt-get install postgresql")
    assert programs is not None, "PostgreSQL is not installed: apt-get install postgresql"
    with database.server(programs) as found:
        yield found


def joined(url, name, place="here", beats=BEATS) -> TrialStudy:
    study = TrialStudy(open_storage(url, beats), proposal(STARTS, depth=4), seed=0, name=name, place=place)
    study.enqueue(STARTS)
    return study


@pytest.mark.parametrize("text", ["mysql://user:hunter2@host/db", "hunter2", "sqlite:///hunter2.db", "://hunter2"])
def test_another_database_is_refused_and_its_url_not_repeated(text):
    """Only PostgreSQL is joined; what was given may hold a password, so the error does not show it."""
    with pytest.raises(InvalidValueError, match="`--storage` of a search must be the URL of a PostgreSQL") as caught:
        database_url(text)
    assert "hunter2" not in str(caught.value)


def test_a_name_without_secrets():
    """What messages call a database holds neither the password nor the query, which can hold one too."""
    name = public_name("postgresql://me:hunter2@host:5433/studies?password=hunter2")
    assert name == "postgresql://me@host:5433/studies"


def test_a_missing_driver_is_named(monkeypatch):
    """Without psycopg one sentence says what to install."""
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(StudyError, match=r"needs psycopg: pip install 'autopeft\[postgresql\]'"):
        open_storage("postgresql://me@localhost/studies")


def test_a_server_that_does_not_answer_is_named_without_its_password():
    """The error says which database cannot be opened, and why, and not how to get in."""
    with pytest.raises(StudyError, match=r"postgresql://me@127\.0\.0\.1:1/studies cannot be opened") as caught:
        open_storage("postgresql://me:hunter2@127.0.0.1:1/studies")
    assert "hunter2" not in str(caught.value)


@pytest.mark.slow
def test_the_first_settings_are_everybodys(url):
    """Whoever joins gets the settings that the study began with, and another search is refused by what differs."""
    assert joined(url, "agreed").agree() is None
    assert joined(url, "agreed").agree(SETTINGS) == SETTINGS
    other = type(SETTINGS)(schema_version=1, identity={"seed": 1}, size=SETTINGS.size, tokens_per_second=9.0)
    held = joined(url, "agreed").agree(other)
    assert held == SETTINGS
    with pytest.raises(StudyError, match=r"here holds another study: seed differ\.\nUse another --study"):
        check_same(held, {"seed": 1}, "here", "--study")


@pytest.mark.slow
def test_a_silent_worker_gives_its_trial_back(url):
    """A trial whose worker shows no sign of life is lost and repeated once; one that does is left alone."""
    dead, alive = joined(url, "silent", "one"), joined(url, "silent", "two")
    gone, candidate = dead.ask()
    dead.close()
    kept, _ = alive.ask()
    other = joined(url, "silent", "three")
    assert other.recover() == 0
    time.sleep(BEATS.grace + 1.5)
    assert other.recover() == 1
    assert [(o.number, o.status) for o in other.outcomes()] == [(gone.number, "worker_lost")]
    assert [running.number for running in other.running] == [kept.number]
    assert other.ask()[1] == candidate
    # What was given up is no longer the silent worker's to end.
    plan = type("Plan", (), {"tokens": 900})()
    dead.tell(gone, SimulatedRunner(0).run(gone.number, candidate, plan, lambda _: False, 0, None))
    assert other.outcomes()[0].status == "worker_lost"
    alive.close()
    other.close()


def test_a_trial_of_a_silent_worker_is_in_the_report(tmp_path):
    """What was lost by silence is stored like any other loss: who reads a copy knows no spaces to make it up from."""
    path = tmp_path / "shared.db"
    storage = Storage(
        name="shared", optuna=RDBStorage(f"sqlite:///{path}", heartbeat_interval=60, grace_period=120),
        held=nullcontext, beats=BEATS,
    )  # fmt: skip
    study = TrialStudy(storage, proposal(STARTS, depth=4), seed=0, place="here")
    study.enqueue(STARTS)
    gone, candidate = study.ask()
    study.close()
    assert study.recover() == 0
    with sqlite3.connect(path) as database_:
        database_.execute("update trial_heartbeats set heartbeat = datetime(heartbeat, '-1 hour')")
    assert study.recover() == 1
    study.copy_to(tmp_path / "study.db")
    copy = kept_study(tmp_path / "study.db")
    assert copy is not None
    (lost,) = copy.outcomes()
    assert (lost.number, lost.status, lost.candidate) == (gone.number, "worker_lost", candidate)
    assert "no sign of life" in lost.reason


@pytest.mark.slow
def test_a_process_that_died_while_it_claimed_is_seen_at_once(url, monkeypatch):
    """A trial that was taken from the queue and has no owner yet waits for nobody's heartbeat."""
    dead = joined(url, "claimed")
    monkeypatch.setattr(TrialStudy, "_claim", lambda *_: None)
    dead.ask()
    monkeypatch.undo()
    assert joined(url, "claimed", "other").recover() == 1


@pytest.mark.slow
def test_a_restarted_machine_takes_its_own_trials_back_at_once(url):
    """Who begins again in a folder knows that nobody runs there, and waits for no silence."""
    joined(url, "restarted", "one").ask()
    again = joined(url, "restarted", "one")
    assert again.recover() == 0
    assert again.recover(restarted=True) == 1


@pytest.mark.slow
def test_workers_of_several_machines_and_one_killed(url, tmp_path):
    """Of four workers in two places one is killed with -9: each trial runs once, and the lost one is repeated."""
    study = joined(url, "machines", "watching")
    crew = {}
    for number in range(4):
        folder = tmp_path / f"machine-{number % 2}"
        folder.mkdir(exist_ok=True)
        elsewhere = {"where": url, "beats": BEATS, "name": "machines", "place": folder.name}
        crew[start(folder, 40, **elsewhere)] = folder
    while len(study.outcomes()) < 8:
        time.sleep(0.1)
    victim = next(iter(crew))
    os.kill(victim, signal.SIGKILL)
    assert os.waitpid(victim, 0)[1] == signal.SIGKILL
    for process in list(crew)[1:]:
        assert os.waitpid(process, 0)[1] == 0
    time.sleep(BEATS.grace + 1.5)
    study.recover()
    folder = next(iter(crew.values()))
    elsewhere = {"where": url, "beats": BEATS, "name": "machines", "place": folder.name}
    assert os.waitpid(start(folder, 40, **elsewhere), 0)[1] == 0  # whoever comes later ends what is left
    outcomes, trials = study.outcomes(), told(study, tmp_path)
    ended = [t for t in trials if t["status"] not in (None, "worker_lost")]
    assert sum(o.status != "worker_lost" for o in outcomes) == 40
    assert max(Counter(t["continues"] for t in ended if t["continues"] is not None).values(), default=0) <= 1
    assert max(Counter(t["retry"] for t in trials if t["retry"] is not None).values(), default=0) <= 1
    assert not any(t["state"] in ("RUNNING", "WAITING") for t in trials)
    for candidate in STARTS:
        runs = [t for t in ended if t["rate"] == candidate.learning_rate and t["continues"] is None]
        assert len(runs) == 1


@pytest.mark.slow
def test_two_machines_join_one_search(url, tmp_path, tiny_models):
    """The same command twice at once is one search; the password is in no file, no output and no argument of it."""
    data = classification_csv(tmp_path / "toy.csv")
    environment = {**os.environ, "AUTOPEFT_STORAGE": url, "OMP_NUM_THREADS": "1"}

    def command(output: Path, *more: str) -> list[str]:
        return [
            sys.executable, "-c", "from autopeft.cli.main import main; main()", "search", "--model",
            str(tiny_models["bert"]), "--data", str(data), "--trials", "6", "--folds", "1", "--trial-tokens", "1500",
            "--methods", "ia3,bitfit,lora", "--study", "joined", "--output", str(output), *more,
        ]  # fmt: skip

    outputs = [tmp_path / "one", tmp_path / "two"]
    searches = [
        subprocess.Popen(command(o), env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for o in outputs
    ]
    said = [search.communicate()[0] for search in searches]
    assert [search.returncode for search in searches] == [0, 0], said
    study = TrialStudy(open_storage(url), proposal(STARTS, depth=4), seed=0, name="joined")
    assert sum(o.status != "worker_lost" for o in study.outcomes()) == 6
    assert any((output / "tuned.yaml").exists() for output in outputs)
    for output, text in zip(outputs, said, strict=True):
        words = " ".join(text.split())
        assert "winner minus default LoRA" in words or "the one that ends last compares" in words
        assert (output / "study.db").exists()
    refused = subprocess.run(
        command(tmp_path / "three", "--seed", "1"), env=environment, capture_output=True, text=True, check=False
    )
    assert refused.returncode == 2
    assert "(joined) holds another study: data, seed differ." in refused.stderr
    told_anywhere = [*said, refused.stderr, *_contents(tmp_path)]
    assert not any(word in text for text in told_anywhere for word in (database.PASSWORD, "correct-horse"))


def _contents(folder: Path) -> list[str]:
    return [path.read_bytes().decode(errors="replace") for path in folder.rglob("*") if path.is_file()]
