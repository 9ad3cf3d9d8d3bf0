"""Trackers are told every trial and the winner, with the figures that the search has; each against its real package.

A tracker's test runs where its package is installed; with slow tests on, all run in an environment that has them.
"""

import os
import sqlite3
import subprocess
import time
from pathlib import Path
from typing import Any, cast

import pytest

from autopeft.errors import InvalidValueError
from autopeft.tuning.observer import Silent
from autopeft.tuning.trackers import TRACKERS, Tracked, _observer, check_trackers
from autopeft.tuning.trackers._record import Record, trial_record, winner_record
from autopeft.values.candidates import Candidate
from autopeft.values.outcomes import Contender, Difference, Measurement, Score, SearchResult, TrialOutcome
from tests.environments import ROOT, interpreter
from tests.environments import TRACKERS as PACKAGES

CANDIDATE = Candidate(method="ia3", parameters={"rank": 4}, learning_rate=5e-3, batch_size=8)
CURVE = tuple(
    Measurement(tokens=tokens, seconds=tokens / 100, train_loss=train, validation_loss=0.5)
    for tokens, train in ((100, 0.9), (200, float("nan")))
)
TRIAL = TrialOutcome(
    number=7, status="completed", candidate=CANDIDATE, score=-9.5, metrics={"perplexity": 9.5}, curve=CURVE, tokens=200,
    seconds=2.0, peak_bytes=2**30, continues=3,
)  # fmt: skip


def result(folder):
    score = Score(metric="perplexity", value=9.0, low=8.0, high=10.0, level=0.95, rows=40)
    contender = Contender(config=CANDIDATE, validation=score, test=score, tokens=200, seconds=2.0)
    gap = Difference(value=-1.0, low=-2.0, high=0.5, level=0.95, distinguishable=False)
    return SearchResult(
        winner=contender, default_lora=contender, raced_lora=contender, difference={"default_lora": gap}, references={},
        trials={}, seconds=9.0, comparison_seconds=3.0, overhead_seconds=0.1, output=str(folder), winner_trial=7,
    )  # fmt: skip


def test_a_trial_is_told_as_it_was_measured():
    """Metrics stand in their own terms, what was not measured or has no number is left out, settings are flat."""
    record = trial_record(TRIAL)
    assert record.name == "trial 7"
    assert record.facts == {"validation_perplexity": 9.5, "seconds": 2.0, "tokens": 200.0, "peak_bytes": float(2**30)}
    assert record.tags == {"status": "completed", "continues": "trial 3"}
    assert (record.settings["method"], record.settings["rank"]) == ("ia3", 4)
    facts = winner_record(result(Path("x"))).facts
    assert (facts["test_perplexity"], facts["test_minus_default_lora"]) == (9.0, -1.0)


def test_an_observer_in_front_tells_both(tmp_path, monkeypatch):
    """Trackers are opened when a search begins, told each trial and the winner, and the other observer hears all."""
    told: list[Record] = []
    opened: list[Path] = []
    heard: list[str] = []

    class Hearing(Silent):
        def trial_ended(self, outcome, best, spent):
            heard.append(outcome.status)

    monkeypatch.setattr(_observer, "find_spec", lambda _: True)

    def open_log(folder):
        opened.append(folder)
        return told.append

    monkeypatch.setattr(_observer, "TRACKERS", {"mlflow": open_log})
    watched = Tracked(Hearing(), ["mlflow", "mlflow"], tmp_path)
    assert opened == []
    watched.prepared(cast("Any", None), cast("Any", None))
    watched.trial_ended(TRIAL, TRIAL, 3.0)
    watched.finished(result(tmp_path))
    assert opened == [tmp_path]
    assert [record.name for record in told] == ["trial 7", "winner"]
    assert heard == ["completed"]


def test_a_tracker_that_is_not_there_is_one_sentence(monkeypatch):
    """An unknown name is answered with the nearest one, a missing package with what to install."""
    with pytest.raises(InvalidValueError, match=r"one of mlflow, tensorboard, trackio, wandb; got 'wanb'\.\nDid you"):
        check_trackers(["wanb"])
    monkeypatch.setattr(_observer, "find_spec", lambda _: None)
    with pytest.raises(InvalidValueError, match=r"--track wandb.* is not installed\.\nInstall it: pip install wandb"):
        check_trackers(["wandb"])


def logged(name, folder):
    """Logs a trial and the winner to a real tracker."""
    folder.mkdir(parents=True)
    log = TRACKERS[name](folder)
    for record in (trial_record(TRIAL), winner_record(result(folder))):
        log(record)


def test_mlflow_has_a_run_per_trial(tmp_path, monkeypatch, capfd):
    """The experiment holds both runs, with parameters, both losses by token and the metrics; no run is left open."""
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    logged("mlflow", tmp_path / "demo")
    client = mlflow.MlflowClient()
    runs = {r.info.run_name: r for r in client.search_runs([client.get_experiment_by_name("autopeft").experiment_id])}
    assert set(runs) == {"demo trial 7", "demo winner"}
    run = runs["demo trial 7"]
    assert (run.info.status, run.data.tags["status"], run.data.params["learning_rate"]) == (
        "FINISHED", "completed", "0.005"
    )  # fmt: skip
    assert run.data.metrics["validation_perplexity"] == 9.5
    history = client.get_metric_history(run.info.run_id, "validation_loss")
    assert [(m.step, m.value) for m in history] == [(100, 0.5), (200, 0.5)]
    assert len(client.get_metric_history(run.info.run_id, "train_loss")) == 1, "a NaN is left out"
    assert capfd.readouterr().out == ""


def test_tensorboard_has_a_run_per_trial(tmp_path):
    """Each trial has a folder with its losses by token, its figures and its settings as hyperparameters."""
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logged("tensorboard", tmp_path / "demo")
    assert {path.name for path in (tmp_path / "demo" / "tensorboard").iterdir()} == {"trial-7", "winner"}
    read = EventAccumulator(str(tmp_path / "demo" / "tensorboard" / "trial-7")).Reload()
    assert [(event.step, event.value) for event in read.Scalars("validation_loss")] == [(100, 0.5), (200, 0.5)]
    assert read.Scalars("validation_perplexity")[0].value == 9.5
    assert "_hparams_/session_start_info" in read.summary_metadata


def test_wandb_has_a_run_per_trial(tmp_path, monkeypatch, capfd):
    """Offline, each trial leaves a run in the search's folder that `wandb sync` takes."""
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    logged("wandb", tmp_path / "demo")
    files = sorted((tmp_path / "demo" / "wandb").glob("offline-run-*/run-*.wandb"))
    assert len(files) == 2
    expected = (b"trial 7", b"winner", b"learning_rate", b"validation_perplexity", b"validation_loss")
    deadline = time.monotonic() + 60
    missing: tuple[bytes, ...] = expected
    while missing and time.monotonic() < deadline:  # a process of W&B's own writes them, and not at once
        content = b"".join(path.read_bytes() for path in files)
        missing = tuple(word for word in expected if word not in content)
    assert not missing
    assert capfd.readouterr().out == ""


def test_trackio_has_a_run_per_trial(tmp_path, monkeypatch, capfd):
    """The local database holds both runs with their losses and figures; nothing is printed where results are."""
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    pytest.importorskip("trackio")
    logged("trackio", tmp_path / "demo")
    (path,) = (tmp_path / "trackio").glob("autopeft*.db")
    with sqlite3.connect(path) as database:
        rows = database.execute("select run_name, metrics from metrics").fetchall()
    assert {name for name, _ in rows} == {"demo trial 7", "demo winner"}
    assert any("validation_perplexity" in str(metrics) for _, metrics in rows)
    assert capfd.readouterr().out == ""


@pytest.mark.slow
def test_every_tracker_is_tried_with_its_package():
    """None of the four tests above is left out: where this environment lacks a package, another one has it."""
    command = [str(interpreter("trackers", *PACKAGES)), "-m", "pytest", "-q", "-k", "has_a_run_per_trial", __file__]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert f"{len(TRACKERS)} passed" in done.stdout, done.stdout
