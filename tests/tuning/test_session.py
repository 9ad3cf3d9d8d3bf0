"""A whole search on a tiny model: what it leaves behind, what it refuses, and how it resumes."""

import csv
import errno
import json
import math
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from autopeft.errors import StudyError, TimedOutError
from autopeft.estimation import draft
from autopeft.estimation.estimate import uncorrected
from autopeft.estimation.observations import Observation
from autopeft.files import plain, write_text
from autopeft.recommend.evidence import read_runs
from autopeft.report import write_report
from autopeft.resources import search_spaces
from autopeft.training.run import TrainingRun
from autopeft.tuned import TunedConfig
from autopeft.tuning import folder as folder_module
from autopeft.tuning import observations, session
from autopeft.tuning.baselines import Trained
from autopeft.tuning.crew import Crew
from autopeft.tuning.folder import OutputFolder
from autopeft.tuning.limits import Limits
from autopeft.tuning.observations import keep_observations
from autopeft.tuning.observer import Silent
from autopeft.tuning.opening import left_of
from autopeft.tuning.prepare import prepare
from autopeft.tuning.session import _observe, dry_run, run_search
from autopeft.tuning.spread import Spread
from autopeft.tuning.study import TrialStudy
from autopeft.tuning.trials import Trials
from autopeft.values.candidates import Constraints, Setup, Team
from autopeft.values.names import STATUSES
from autopeft.values.profiles import Throughput
from tests.report.folders import begin, complete, finish, stop
from tests.tuning.conftest import METHODS

TOKEN = "hf_" + "kRtWq" * 7
FOUR = Limits(trials=6, seconds=None)
pytestmark = pytest.mark.usefixtures("stored")


@pytest.fixture(scope="module")
def finished(request_, tmp_path_factory):
    output = tmp_path_factory.mktemp("search") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_TOKEN", TOKEN)
        return run_search(request_, output, FOUR, resume=False, observer=Silent()), output


def test_no_token_is_written(finished, stored, tmp_path):
    """A hub token of the environment stands in no file of a search, its study and report, nor in the evidence."""
    _, output = finished
    report = write_report(output, tmp_path / "report.html")
    files = [*(path for path in output.rglob("*") if path.is_file()), report, stored]
    assert {"study.db", "tuned.yaml", "result.json", "report.html"} <= {path.name for path in files}
    assert not [path for path in files if TOKEN.encode() in path.read_bytes()]


def test_the_files_say_what_the_result_says(finished):
    """result.json, trials.csv and tuned.yaml agree with the value that was returned."""
    result, output = finished
    assert json.loads((output / "result.json").read_text()) == json.loads(json.dumps(plain(result)))
    with (output / "trials.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 6
    assert {s: sum(row["status"] == s for row in rows) for s in STATUSES} == dict(result.trials)
    assert {row["method"] for row in rows} == set(METHODS)
    tuned = TunedConfig.load(output / "tuned.yaml")
    assert tuned.candidate == result.winner.config
    assert tuned.provenance.test == result.winner.test
    (chosen,) = (row for row in rows if row["number"] == str(result.winner_trial))
    assert (chosen["status"], chosen["method"]) == ("completed", tuned.candidate.method)
    best = max(result.finalists, key=lambda finalist: finalist.validation.value)
    assert best.validation.value == result.winner.validation.value
    assert all(int(row["estimated_bytes"]) > 0 for row in rows)
    assert all(row["forgetting"] == row["latency"] == "" for row in rows), "what was not asked for is not measured"


def test_the_rows_are_kept_as_tokens(finished, request_):
    """A run that goes on in the folder finds every row encoded, those of all folds in one file."""
    _, output = finished
    (kept,) = (output / "encoded").iterdir()
    before = kept.stat().st_mtime_ns
    prepare(request_, output / "encoded").rows.save()
    assert kept.stat().st_mtime_ns == before


def test_trials_are_kept_for_the_next_suggestion(finished, stored, request_, tmp_path):
    """Each trial that says something of a configuration is one run in the user's store, under its own name."""
    result, _ = finished
    before = stored.read_bytes()
    silent = replace(request_, teach=False, constraints=Constraints(methods=("ia3",)))
    run_search(silent, tmp_path / "out", Limits(trials=1), resume=False, observer=Silent())
    assert stored.read_bytes() == before
    runs = read_runs(stored)
    assert len({run.name for run in runs}) == len(runs)
    of_this = [run for run in runs if run.method in METHODS and run.device]
    taught = sum(result.trials[status] for status in ("completed", "pruned", "diverged", "out_of_memory"))
    assert len(of_this) >= taught > 0
    assert any(run.quality is not None and run.quality.value is not None for run in of_this)


def test_step_times_correct_later_estimates(finished, request_, monkeypatch):
    """Where the device's speed is known, a completed trial's step is kept beside what was estimated for it."""
    _, output = finished
    prepared = prepare(request_)
    outcomes = TrialStudy(output / "study.db", prepared.proposal, seed=0).outcomes()
    completed = [outcome for outcome in outcomes if outcome.status == "completed"]
    kept: list[Observation] = []
    monkeypatch.setattr(observations, "record", kept.append)
    assert keep_observations(prepared, outcomes, frozenset()) == 0, "nothing can be estimated for an unknown speed"
    speed = Throughput(tflops={"float32": 0.1}, bandwidth_bytes_per_second=1e10, source="measured")
    timed = replace(prepared.hardware.device, throughput=speed)
    ready = replace(prepared, hardware=replace(prepared.hardware, devices=(timed,)))
    assert keep_observations(ready, outcomes, frozenset()) == len(completed) == len(kept)
    assert all((found.step_seconds or 0) > 0 and found.estimated_seconds for found in kept)
    assert all(found.reserved_bytes is None for found in kept), "a CPU's peak is not what is estimated"
    assert keep_observations(ready, outcomes, {outcome.number for outcome in outcomes}) == 0


def test_peaks_correct_later_estimates(finished, request_, monkeypatch):
    """A card's peak is kept whatever is known of its speed, of one device, of a trial that has met the longest row."""
    _, output = finished
    prepared = prepare(request_)
    outcomes = TrialStudy(output / "study.db", prepared.proposal, seed=0).outcomes()
    done = replace(next(o for o in outcomes if o.status == "completed"), tokens=10**9, peak_bytes=123)
    card = replace(prepared.hardware.device, kind="cuda", name="In no catalogue", throughput=None)
    ready = replace(prepared, hardware=replace(prepared.hardware, devices=(card,)))
    kept: list[Observation] = []
    monkeypatch.setattr(observations, "record", kept.append)
    keep_observations(ready, [done, replace(done, tokens=1), replace(done, peak_bytes=None)], frozenset())
    assert [(found.reserved_bytes, found.step_seconds) for found in kept] == [(123, None)]
    longest = max(prepared.parts[0]["train"].lengths)
    setup = Setup(model=ready.model, task=ready.model.task, candidate=done.candidate)
    expected = uncorrected(setup, tokens_per_row=longest, hardware=ready.hardware)
    assert kept[0].estimated_reserved_bytes == expected.memory.peak_reserved_bytes
    keep_observations(replace(ready, team=Team(strategy="fsdp", devices=2)), [done], frozenset())
    bound = draft(setup, tokens_per_row=longest, hardware=ready.hardware)
    monkeypatch.setattr(observations, "uncorrected", lambda *_, **__: bound)
    keep_observations(ready, [done], frozenset())
    assert len(kept) == 1, "neither a share of a run nor a bound by formula is a residual"


def test_step_times_of_trials_that_shared_a_device_are_not_its_own(finished, request_, monkeypatch):
    """Where workers share the processor a step takes longer than on it alone; a card's peak is each process's own."""
    _, output = finished
    prepared = prepare(request_)
    outcomes = TrialStudy(output / "study.db", prepared.proposal, seed=0).outcomes()
    speed = Throughput(tflops={"float32": 0.1}, bandwidth_bytes_per_second=1e10, source="measured")
    timed = replace(prepared.hardware.device, throughput=speed)
    ready = replace(prepared, hardware=replace(prepared.hardware, devices=(timed,)))
    kept: list[Observation] = []
    monkeypatch.setattr(observations, "record", kept.append)
    assert keep_observations(ready, outcomes, frozenset(), crowded=True) == 0
    card = replace(timed, kind="cuda", name="In no catalogue")
    ready = replace(prepared, hardware=replace(prepared.hardware, devices=(card,)))
    done = replace(next(o for o in outcomes if o.status == "completed"), tokens=10**9, peak_bytes=123)
    keep_observations(ready, [done], frozenset(), crowded=True)
    assert [(found.reserved_bytes, found.step_seconds) for found in kept] == [(123, None)]


@pytest.mark.parametrize(
    ("spread", "crew", "crowded"),
    [
        (Spread(), None, [False]),
        (Spread(workers=2), Crew(size=2, gpus=(), threads=1), [True]),
        (Spread(gpus=("0", "1")), Crew(size=2, gpus=("0", "1"), threads=1), [False]),
        (Spread(gpus=("0", "0")), Crew(size=2, gpus=("0", "0"), threads=1), [True]),
        (Spread(ray=""), Crew(size=1, gpus=(), threads=1), []),
    ],
)
def test_what_a_trial_took_is_kept_of_this_machine_alone(monkeypatch, spread, crew, crowded):
    """Processes that share a device say so, and nodes of a cluster, which may be other machines, are left out."""
    told: list[bool] = []
    monkeypatch.setattr(session, "keep_observations", lambda *_, crowded: told.append(crowded))
    search: Any = SimpleNamespace(
        spread=spread, crew=crew, prepared=None, known=frozenset(), study=SimpleNamespace(own=tuple)
    )
    _observe(search)
    assert told == crowded


def test_a_search_that_is_interrupted_keeps_what_its_trials_took(request_, tmp_path, monkeypatch):
    """The next run knows the trials from before, and so keeps each once."""
    kept: list[int] = []

    def keep(_prepared, outcomes, known, *, crowded):
        kept.extend(outcome.number for outcome in outcomes if outcome.number not in known)

    def interrupted(self, stops, began):
        run(self, Limits(trials=1, seconds=None), began)
        raise KeyboardInterrupt

    run = Trials.run
    monkeypatch.setattr(session, "keep_observations", keep)
    only, two = replace(request_, constraints=Constraints(methods=("ia3",))), Limits(trials=2, seconds=None)
    monkeypatch.setattr(Trials, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_search(only, tmp_path / "out", two, resume=False, observer=Silent())
    monkeypatch.setattr(Trials, "run", run)
    assert kept == [0]
    run_search(only, tmp_path / "out", two, resume=True, observer=Silent())
    assert kept == [0, 1]


def test_baselines_are_the_published_recipe(finished):
    """Default LoRA is rank 16, alpha 32, no dropout, all linear layers, 2e-4; raced LoRA differs in the rate alone."""
    result, _ = finished
    default, raced = result.default_lora.config, result.raced_lora.config
    assert default.method == "lora"
    assert dict(default.parameters) == {"rank": 16, "alpha": 32, "dropout": 0.0}
    assert (default.targets, default.learning_rate) == ("all-linear", 2e-4)
    assert replace(raced, learning_rate=2e-4) == default
    assert 1e-4 <= raced.learning_rate <= 3e-3
    assert abs(result.default_lora.tokens - result.winner.tokens) < 400  # the same budget, to a batch
    assert result.raced_lora.tokens == pytest.approx(2 * result.winner.tokens, rel=0.3)
    assert result.winner.test.rows == result.default_lora.test.rows


def test_intervals_and_differences_fit_together(finished):
    """A score lies in its interval, and a difference is that of the two scores."""
    result, _ = finished
    for contender in (result.winner, result.default_lora, result.raced_lora):
        assert contender.test.low <= contender.test.value <= contender.test.high
        assert contender.test.level == 0.95
    gap = result.difference["default_lora"]
    assert gap.value == pytest.approx(result.winner.test.value - result.default_lora.test.value)
    assert gap.distinguishable == (not gap.low <= 0 <= gap.high)
    assert set(result.references) == {"untuned", "tfidf_logistic_regression"}


def test_resuming_a_finished_search_returns_its_result(finished, request_):
    """Nothing is trained again when the limits are already met."""
    result, output = finished
    before = (output / "result.json").stat().st_mtime_ns
    assert plain(run_search(request_, output, FOUR, resume=True, observer=Silent())) == plain(result)
    assert (output / "result.json").stat().st_mtime_ns == before


def test_a_folder_holds_one_study(finished, request_):
    """Another search, and the same one without --resume, are refused, saying what differs."""
    _, output = finished
    with pytest.raises(StudyError, match=r"holds this study already\. Add --resume"):
        run_search(request_, output, FOUR, resume=False, observer=Silent())
    with pytest.raises(StudyError, match=r"another study: .*seed differ"):
        run_search(replace(request_, seed=1), output, FOUR, resume=True, observer=Silent())
    with pytest.raises(StudyError, match="another study: objectives differ"):
        run_search(replace(request_, objectives=("quality", "time")), output, FOUR, resume=True, observer=Silent())
    with pytest.raises(StudyError, match="another study: token_limit differ"):
        run_search(replace(request_, token_limit=32), output, FOUR, resume=True, observer=Silent())


def test_a_study_keeps_its_search_spaces(finished, request_, tmp_path):
    """The same spaces in a folder of the user's own are the same search; another range is refused by its method."""
    result, output = finished
    for name in METHODS:
        shutil.copy(search_spaces() / f"{name}.yaml", tmp_path)
    own = replace(request_, spaces=tmp_path)
    assert plain(run_search(own, output, FOUR, resume=True, observer=Silent())) == plain(result)
    space = (tmp_path / "ia3.yaml").read_text()
    (tmp_path / "ia3.yaml").write_text(re.sub(r"optimizer:.*", "optimizer: [adamw, lion]", space))
    assert (tmp_path / "ia3.yaml").read_text() != space
    with pytest.raises(StudyError, match=r"another study: the search spaces of ia3 differ\.\n.*--search-spaces"):
        run_search(own, output, FOUR, resume=True, observer=Silent())


def test_a_dry_run_writes_nothing_and_says_the_cost(request_, tmp_path, monkeypatch):
    """A dry run names candidates, tokens and seconds, and leaves no file."""
    monkeypatch.chdir(tmp_path)
    prepared, cost = dry_run(request_, Limits(trials=6, seconds=60.0))
    assert [c.method for c in cost.candidates] == [c.method for c in prepared.starts]
    assert cost.tokens == 1500
    assert cost.download_bytes == 0
    assert 0 < cost.search_seconds <= 60
    assert list(tmp_path.iterdir()) == []


def test_kill_9_in_a_trial(request_, tmp_path):
    """A real search killed in a trial resumes: the lost trial is recorded, the others stay, the count is met."""
    output = tmp_path / "out"
    code = (
        "import os, signal, sys\n"
        "os.environ['HF_HUB_OFFLINE'] = '1'\n"
        "from autopeft import search\n"
        "from autopeft.training.run import TrainingRun\n"
        "from autopeft.tuning.trials import Trials\n"
        "from autopeft.values.candidates import Constraints\n"
        "outcome, step = Trials._outcome, TrainingRun._step\n"
        "seen = []\n"
        "def counted(self, *a): seen.append(1); return outcome(self, *a)\n"
        "def deadly(self, s): len(seen) == 3 and os.kill(os.getpid(), signal.SIGKILL); return step(self, s)\n"
        "Trials._outcome, TrainingRun._step = counted, deadly\n"
        "search(sys.argv[1], sys.argv[2], output=sys.argv[3], trials=6, folds=1, seconds=None, trial_tokens=1500,\n"
        f"       constraints=Constraints(methods={METHODS!r}))\n"
    )
    killed = subprocess.run(
        [sys.executable, "-c", code, request_.model, request_.data, str(output)], check=False, capture_output=True
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    result = run_search(request_, output, FOUR, resume=True, observer=Silent())
    assert result.trials["worker_lost"] == 1
    assert sum(result.trials.values()) == 7


def test_a_full_disk_is_one_clear_error_and_nothing_is_lost(request_, tmp_path, monkeypatch):
    """When the disk fills up at the end, the error says to make room and resume, and resuming works."""
    real = write_text

    def full(path, text):
        if path.name == "trials.csv":
            raise OSError(errno.ENOSPC, "No space left on device")
        real(path, text)

    monkeypatch.setattr(folder_module, "write_text", full)
    two = Limits(trials=2, seconds=None)
    with pytest.raises(StudyError, match=r"is full.* make room and --resume"):
        run_search(request_, tmp_path / "out", two, resume=False, observer=Silent())
    monkeypatch.undo()
    result = run_search(request_, tmp_path / "out", two, resume=True, observer=Silent())
    assert sum(result.trials.values()) == 2


def test_the_winner_is_written_before_anything_is_compared(request_, tmp_path, monkeypatch):
    """What can be trained is on disk once it is known; a search without baselines has a result that says so."""
    only = replace(request_, constraints=Constraints(methods=("ia3",)))
    one = Limits(trials=1, seconds=None)

    def cut(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("autopeft.tuning.yardsticks.train_baselines", cut)
    with pytest.raises(KeyboardInterrupt):
        run_search(only, tmp_path / "out", one, resume=False, observer=Silent())
    tuned = TunedConfig.load(tmp_path / "out" / "tuned.yaml")
    assert not (tmp_path / "out" / "result.json").exists()
    left_out = {"default_lora": Trained(note="It diverged."), "raced_lora": Trained(note="It did not fit.")}
    monkeypatch.setattr("autopeft.tuning.yardsticks.train_baselines", lambda *_: left_out)
    result = run_search(only, tmp_path / "out", one, resume=True, observer=Silent())
    assert result.winner.config == tuned.candidate
    assert (result.default_lora, result.raced_lora, dict(result.difference)) == (None, None, {})
    assert list(result.contenders) == ["winner"]
    assert result.notes[-2:] == ("It diverged.", "It did not fit.")
    told = json.loads((tmp_path / "out" / "result.json").read_text())
    assert (told["default_lora"], told["raced_lora"]) == (None, None)


def test_a_result_is_stale_once_a_trial_has_gone_on(tmp_path):
    """A trial that was stopped and then completed leaves as many outcomes, and yet another winner is possible."""
    study = begin(tmp_path)
    earlier, best = stop(study, 1.5), complete(study, 0.9)
    finish(tmp_path, best.candidate, {})
    folder = OutputFolder(tmp_path)
    assert folder.finished(study.outcomes()) is not None
    trial, _ = study.ask_again(earlier)
    study.tell(trial, replace(earlier, number=trial.number, status="completed", score=0.8, continues=earlier.number))
    assert len(study.outcomes()) == 2
    assert folder.finished(study.outcomes()) is None
    assert folder.finished(None) is not None, "without a study there is nothing to say otherwise"


def test_time_that_ends_before_the_first_trial_is_said(request_, tmp_path):
    """A search whose time is over when it is prepared begins no trial, says so, and can go on with more."""
    with pytest.raises(StudyError, match=r"Preparing took \d+ s of the 0 s that `--time` gives, so no trial was begun"):
        run_search(request_, tmp_path / "out", Limits(seconds=0.01), resume=False, observer=Silent())
    assert (tmp_path / "out" / "search.json").exists()


def test_a_search_that_is_broken_off_shows_no_further_sign_of_life(request_, tmp_path, monkeypatch):
    """In a notebook the process lives on after Ctrl-C; the trial must not seem to, or no machine takes it over."""
    closed: list[TrialStudy] = []

    def interrupted(*_):
        assert not closed
        raise KeyboardInterrupt

    monkeypatch.setattr("autopeft.tuning.session.Trials.run", interrupted)
    monkeypatch.setattr(TrialStudy, "close", lambda study: closed.append(study))
    with pytest.raises(KeyboardInterrupt):
        run_search(request_, tmp_path / "out", Limits(trials=1), resume=False, observer=Silent())
    assert closed


def test_trials_that_are_too_slow_are_outcomes(request_, tmp_path, monkeypatch):
    """A search whose every trial takes longer than a trial may says so, and goes on with none of them for ever."""
    advance = TrainingRun.advance

    def hurried(run, share):
        if run.done and run._pace.seconds < math.inf:  # the first trial is read, and goes on as the best so far
            raise TimedOutError("Its time was over.")
        return advance(run, share)

    monkeypatch.setattr(TrainingRun, "advance", hurried)
    with pytest.raises(StudyError, match=r"No trial was completed .* 2 timed_out.*(\n.*)+with another --output"):
        run_search(request_, tmp_path / "out", Limits(trials=2), resume=False, observer=Silent())


def test_time_that_is_spent_is_no_cost_of_going_on(tmp_path):
    """What is said of a search that goes on is the time that is left of it, and nothing less than none."""
    begin(tmp_path).spend(61.0)
    folder = OutputFolder(tmp_path)
    assert left_of(Limits(seconds=100.0), folder).seconds == 39.0
    assert left_of(Limits(seconds=50.0), folder).seconds == 0.0
    assert left_of(Limits(trials=3), folder) == Limits(trials=3)
    assert left_of(Limits(seconds=100.0), OutputFolder(tmp_path / "new")).seconds == 100.0
