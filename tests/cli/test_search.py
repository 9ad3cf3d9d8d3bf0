"""`autopeft search` as a program sees it: one JSON document on stdout, and a folder that can be gone on with."""

import csv
import json
import os
import signal
import statistics
import subprocess
import sys
import time

import pytest

from autopeft import __version__
from autopeft.values.names import STATUSES
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
    return statistics.median(times)


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
