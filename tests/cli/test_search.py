"""`autopeft search` as a program sees it: one JSON document on stdout, and a folder that can be gone on with."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from autopeft import __version__
from autopeft.cli.output import Output
from autopeft.cli.search_view import LiveView, cost_view
from autopeft.errors import StudyError
from autopeft.tuning.cost import Cost
from autopeft.tuning.folder import OutputFolder
from autopeft.tuning.limits import Limits
from autopeft.values.candidates import Candidate
from autopeft.values.names import STATUSES
from autopeft.values.outcomes import TrialOutcome
from tests.report.folders import begin, complete, finish
from tests.toys import classification_csv

SMALL = ("--trials", "3", "--trial-tokens", "1500", "--folds", "1", "--methods", "lora,ia3,bitfit")
SCORE_KEYS = {"metric", "value", "low", "high", "level", "rows"}


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    return classification_csv(tmp_path_factory.mktemp("toy") / "toy.csv")


def document(found):
    """Returns the one JSON document that stdout holds."""
    assert found.code == 0, found.err
    return json.loads(found.out)


def test_the_document_has_the_promised_keys(autopeft, tiny_models, toy, tmp_path):
    """Three contenders with config and scores, two differences, trials by status, seconds and the folder."""
    out = tmp_path / "out"
    found = autopeft("search", "--model", tiny_models["bert"], "--data", toy, *SMALL, "--output", out, "--json")
    told = document(found)
    promised = {
        "winner", "default_lora", "raced_lora", "difference", "trials", "seconds", "overhead_seconds", "output",
    }  # fmt: skip
    assert promised <= set(told)
    for name in ("winner", "default_lora", "raced_lora"):
        assert {"config", "validation", "test"} <= set(told[name])
        for split in ("validation", "test"):
            assert set(told[name][split]) == SCORE_KEYS
            assert told[name][split]["level"] == 0.95
            assert told[name][split]["low"] <= told[name][split]["value"] <= told[name][split]["high"]
    assert set(told["difference"]) == {"default_lora", "raced_lora"}
    for gap in told["difference"].values():
        assert {"value", "low", "high", "distinguishable"} <= set(gap)
    assert set(told["trials"]) == set(STATUSES)
    assert len(STATUSES) == 7
    assert sum(told["trials"].values()) == 3
    assert 0 <= told["overhead_seconds"] <= told["seconds"]
    assert told["output"] == str(out)
    assert {path.name for path in out.iterdir()} >= {"tuned.yaml", "trials.csv", "study.db", "result.json"}
    assert "anew with a fresh seed" in found.err  # what is said to people goes to stderr


def test_people_see_the_comparison_and_the_files(autopeft, tiny_models, toy, tmp_path):
    """In 80 columns the contenders and the Pareto front stand in tables, and the last line names the files."""
    out = tmp_path / "out"
    costs = ["memory", "time", "forgetting", "latency"]
    asked = ("--objective", ",".join(["quality", *costs]), "--output", out)
    found = autopeft("search", "--model", tiny_models["bert"], "--data", toy, *SMALL, *asked)
    assert found.code == 0, found.err
    told = json.loads((out / "result.json").read_text())
    (knee,) = (point for point in told["pareto"] if point["number"] == told["knee"]["number"] == told["winner_trial"])
    assert set(knee["values"]) == {"quality", *costs}
    assert knee["config"] == told["winner"]["config"]
    for words in (*costs, "The knee:", "Pareto front"):
        assert words in found.out
    for words in ("winner", "default LoRA", "raced LoRA", "untuned", "95 % interval", "tuned.yaml"):
        assert words in found.out
    path_lines = [line for line in found.out.splitlines() if str(tmp_path)[:20] in line]
    assert all(len(line) <= 80 for line in found.out.splitlines() if line not in path_lines)


def test_a_dry_run_is_one_document_and_writes_nothing(autopeft, tiny_models, toy, tmp_path):
    """--dry-run --json says the candidates, the seconds and the bytes to download, and leaves no folder."""
    options = ("--time", "60s", "--dry-run", "--output", tmp_path / "out", "--json")
    told = document(autopeft("search", "--model", tiny_models["bert"], "--data", toy, *SMALL, *options))
    assert {candidate["method"] for candidate in told["candidates"]} == {"lora", "ia3", "bitfit"}
    assert 0 < told["search_seconds"] <= 60
    assert told["trial_seconds"] > 0
    assert told["download_bytes"] == 0
    assert not (tmp_path / "out").exists()


CHILD = (
    "import signal, sys, time\n"
    "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # shells have it ignored in the background
    "from autopeft.training.run import TrainingRun\n"
    "from autopeft.tuning.trials import Trials\n"
    "outcome, step, seen = Trials._outcome, TrainingRun._step, []\n"
    "def counted(self, *a): seen.append(1); return outcome(self, *a)\n"
    "def slow(self, s):\n"
    "    if len(seen) == 2: print('IN A TRIAL', file=sys.stderr, flush=True); time.sleep(60)\n"
    "    return step(self, s)\n"
    "Trials._outcome, TrainingRun._step = counted, slow\n"
    "from autopeft.cli.main import main\n"
    "main()\n"
)


def trials(out):
    with (out / "trials.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_ctrl_c_keeps_what_is_done_and_says_how_to_go_on(autopeft, tiny_models, toy, tmp_path):
    """SIGINT in the second trial exits with 130 and names --resume, which ends the search with what the first was."""
    out = tmp_path / "out"
    command = ("search", "--model", tiny_models["bert"], "--data", toy, *SMALL, "--output", out, "--json")
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, *map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "COLUMNS": "80", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert child.stderr is not None
    said = []
    for line in child.stderr:
        said.append(line)
        if "IN A TRIAL" in line:
            child.send_signal(signal.SIGINT)
            break
    printed, rest = child.communicate(timeout=60)
    assert child.returncode == 130, "".join(said) + rest
    assert printed == ""
    assert "--resume" in rest
    assert "Traceback" not in rest
    (first,) = (row for row in trials(out) if row["number"] == "0")
    told = document(autopeft(*command, "--resume"))
    assert sum(told["trials"].values()) - told["trials"]["worker_lost"] == 3
    assert first in trials(out) or "0" in {row["continues"] for row in trials(out)}


@pytest.mark.parametrize(
    ("arguments", "keys"),
    [
        (("methods",), None),
        (("methods", "lora"), {"name", "parameters", "capabilities", "paper"}),
        (("fetch",), {"minilm", "smollm2", "vader-movies", "chatterbot"}),
        (("profile",), {"hardware", "model", "task"}),
        (("profile", "--model", "{bert}", "--data", "{toy}"), {"hardware", "model", "task"}),
        (("suggest", "--model", "{bert}", "--data", "{toy}"), {"candidates", "rejected", "notes"}),
    ],
)
def test_every_command_prints_one_document(autopeft, tiny_models, toy, arguments, keys):
    """With --json stdout is one JSON document, whatever else is said."""
    named = [part.format(bert=tiny_models["bert"], toy=toy) for part in arguments]
    told = document(autopeft(*named, "--json"))
    assert isinstance(told, list) if keys is None else keys <= set(told)


def test_what_is_fetched_is_one_document(autopeft, tmp_path):
    """`fetch --json` names the path of each asset, here of one that was fetched before."""
    there = tmp_path / "chatterbot"
    there.mkdir()
    (there / "pairs.jsonl").write_text("{}\n")
    told = document(autopeft("fetch", "chatterbot", "--into", tmp_path, "--json"))
    assert told == {"chatterbot": str(there / "pairs.jsonl")}


def test_brackets_in_a_path_are_printed(autopeft, tmp_path):
    """A folder's name is no markup: what stands in square brackets is not swallowed."""
    there = tmp_path / "cache[1]" / "chatterbot"
    there.mkdir(parents=True)
    found = autopeft("fetch", "chatterbot", "--into", tmp_path / "cache[1]")
    assert "cache[1]" in found.out


def test_the_version_is_the_packages(autopeft):
    """--version prints the name and the version, and nothing is run."""
    found = autopeft("--version")
    assert (found.code, found.out) == (0, f"autopeft {__version__}\n")


def _seconds(*command):
    times = []
    for _ in range(5):
        started = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        times.append(time.perf_counter() - started)
    return min(times)  # whatever else runs here can only add


def test_help_answers_at_once():
    """--help takes under half a second, or on a busy machine little more than the libraries that print it."""
    asked = _seconds(sys.executable, "-c", "from autopeft.cli.main import main; main()", "--help")
    floor = _seconds(sys.executable, "-c", "import typer, rich.console, rich.panel, rich.table")
    assert asked < max(0.5, 2 * floor)


def test_help_imports_nothing_heavy():
    """No command's own file brings in a library that takes seconds."""
    heavy = ("torch", "transformers", "peft", "datasets", "optuna", "sklearn", "scipy", "pydantic", "numpy")
    program = (
        "import sys; sys.argv = ['autopeft', '--help']\n"
        "from autopeft.cli.main import main\n"
        "try: main()\n"
        f"except SystemExit: print([m for m in {heavy!r} if m in sys.modules], file=sys.stderr)\n"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert told.stderr.strip() == "[]"


def test_a_search_goes_on_with_starts_that_are_advised_no_more(autopeft, tiny_models, toy, tmp_path):
    """Asked for methods that merge, a resumed search keeps the start that does not, and has no reasons for it."""
    command = (
        "search", "--model", tiny_models["bert"], "--data", toy, "--trials", "1", "--trial-tokens", "500", "--folds",
        "1", "--methods", "lora,houlsby_adapter", "--output", tmp_path / "out", "--json",
    )  # fmt: skip
    first = autopeft(*command)
    assert "houlsby_adapter" in first.err
    again = autopeft(*command, "--resume", "--no-inference-latency")
    assert document(again) == document(first)
    tried = again.err[again.err.index("Tried first") :]
    assert "houlsby_adapter" in tried


def test_labels_are_no_markup(autopeft, tiny_models, tmp_path):
    """What stands in square brackets is a label, whether it looks like the end of a style or like one."""
    data = tmp_path / "toy.csv"
    with data.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerows(
            [("text", "label"), *((f"film {n} was seen", ("[/INST]", "[spam]")[n % 2]) for n in range(80))]
        )
    options = ("--trial-tokens", "500", "--folds", "1", "--methods", "ia3", "--dry-run")
    found = autopeft("search", "--model", tiny_models["bert"], "--data", data, *options)
    assert found.code == 0, found.err
    assert "[/INST] 40, [spam] 40" in " ".join(found.out.split())


def test_the_result_is_told_before_its_page_is_written(autopeft, tiny_models, toy, tmp_path, monkeypatch):
    """A page that cannot be written takes no search along: the document is printed all the same."""

    def refused(_folder):
        raise StudyError("There is no room for the page.")

    study = begin(tmp_path)
    finish(tmp_path, complete(study, 0.9).candidate, {})
    result = OutputFolder(tmp_path).finished(None)
    monkeypatch.setattr("autopeft.tuning.session.run_search", lambda *_, **__: result)
    monkeypatch.setattr("autopeft.report.write_report", refused)
    found = autopeft("search", "--model", tiny_models["bert"], "--data", toy, "--output", tmp_path, "--json")
    assert (found.code, "no room for the page" in found.err) == (2, True)
    assert json.loads(found.out)["output"] == str(tmp_path)


def test_the_bar_counts_what_the_limit_counts():
    """A trial that goes on is the same trial, and one that is lost is run again; earlier runs' trials are there."""
    view = LiveView(Output(as_json=False), Limits(trials=4), begun=1)
    candidate = Candidate(method="ia3", learning_rate=1e-3)
    told = [("pruned", None), ("completed", 1), ("worker_lost", None), ("pruned", None)]
    for number, (status, continues) in enumerate(told, 1):
        outcome = TrialOutcome(number=number, status=status, candidate=candidate, continues=continues)  # type: ignore[arg-type]
        view.trial_ended(outcome, None, 1.0)
    (bar,) = view._progress.tasks
    assert (bar.completed, bar.total) == (3, 4)


@pytest.mark.parametrize(("limits", "words"), [(Limits(seconds=90.0), "1.5 min at most"), (Limits(trials=9), "about")])
def test_only_a_given_time_is_a_bound(limits, words):
    """What so many trials take is estimated; where a time is given they end in it."""
    cost = Cost(
        candidates=(), tokens=900, trial_seconds=9.0, search_seconds=90.0, comparison_seconds=30.0, download_bytes=0,
        tokens_per_second=100.0,
    )  # fmt: skip
    told, beside = (
        " ".join(str(getattr(part, "renderable", part)) for part in cost_view(each, limits))
        for each in (cost, replace(cost, at_once=2))
    )
    assert words in told
    assert "2 trials at once" in beside
    assert "at once" not in told
    assert ("at most" in told) == (limits.seconds is not None)
