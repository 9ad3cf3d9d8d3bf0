"""Each example runs on its real model and data, within the minutes that its page states; searches are shortened."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from autopeft import TunedConfig
from autopeft.assets import fetch, get_asset

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "how-to" / "examples.md").read_text()
MINUTES = {name: int(most) for name, most in re.findall(r"^\| `([\w./]+)` .*\| (\d+) min \|$", PAGE, re.M)}
"""The most that each example may take here, as its page says it."""

SHORT = "--trials 2 --trial-tokens 3000"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(60 * 2 * max(MINUTES.values(), default=1))]


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """What an example measures of this machine must not reach the tests that come after it."""
    monkeypatch.setenv("AUTOPEFT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("AUTOPEFT_DATA", str(tmp_path / "data"))


def run(name, *arguments, **environment):
    """Runs an example in the checkout, says what it took, and returns what it printed; its page limits its minutes."""
    command = [{".sh": "bash", ".py": sys.executable}[Path(name).suffix], ROOT / "examples" / name, *arguments]
    return timed(name, command, **environment)


def timed(name, command, **environment):
    began = time.monotonic()
    done = subprocess.run(
        [str(part) for part in command], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    minutes = (time.monotonic() - began) / 60
    print(f"{name}: {minutes:.1f} minutes, at most {MINUTES[name]}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert minutes < MINUTES[name]
    return done.stdout


def searched(folder):
    """Returns the result of a search whose config is there and whose winner was scored on untouched rows."""
    result = json.loads((folder / "result.json").read_text())
    assert TunedConfig.load(folder / "tuned.yaml").candidate.method == result["winner"]["config"]["method"]
    assert result["winner"]["test"]["rows"] > 0
    return result


def asset(name):
    return fetch(get_asset(name), ROOT / ".cache", print)


def test_classification(tmp_path):
    """Search, training and prediction of eight topics; each new row gets a label with its probability."""
    printed = run("classification.sh", LIMIT=SHORT, EPOCHS="0.2", OUT=str(tmp_path / "out"))
    assert searched(tmp_path / "out")["winner"]["test"]["metric"] == "macro_f1"
    trained = json.loads((tmp_path / "out" / "trained" / "metrics.json").read_text())
    assert trained["test"]["after"]["value"] > trained["test"]["before"]["value"]
    assert "earn" in printed or "crude" in printed


def test_token_classification(tmp_path):
    """A search over tagged words, decided by span F1."""
    run("token_classification.sh", LIMIT=SHORT, OUT=str(tmp_path / "out"))
    assert searched(tmp_path / "out")["winner"]["test"]["metric"] == "seqeval_f1"


def test_generation(tmp_path):
    """A search over a real decoder, which ends below the perplexity it started from."""
    run("generation.sh", LIMIT=SHORT, OUT=str(tmp_path / "out"))
    result = searched(tmp_path / "out")
    assert result["winner"]["test"]["value"] < result["references"]["untuned"]["value"]


def test_seq2seq(tmp_path):
    """A search over an encoder-decoder, decided by perplexity."""
    pairs = asset("chatterbot")
    printed = run("seq2seq.py", pairs, tmp_path, "2")
    assert searched(tmp_path / "search")["winner"]["test"]["metric"] == "perplexity"
    assert "winner: " in printed


def test_trainer_and_full_training(tmp_path):
    """Two lines find a method with a Trainer and write its config, which plain Python trains and saves."""
    model, reviews, tuned = asset("minilm"), asset("vader-movies"), tmp_path / "tuned.yaml"
    printed = run("trainer.py", model, reviews, tuned, "3")
    assert "eval_accuracy" in printed
    assert TunedConfig.load(tuned).data.labels == ("negative", "positive")
    printed = run("train.py", tuned, reviews, tmp_path / "trained", "4")
    assert "test_loss" in printed
    assert list((tmp_path / "trained").glob("*.safetensors"))


def test_own_method():
    """The example's own test, run as its page says, holds its method to the contract."""
    examples = ROOT / "examples"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", examples / "own_method"]
    assert "1 passed" in timed("own_method/", command, PYTHONPATH=f"{examples}:{ROOT}")


def test_every_example_has_its_minutes():
    """The page states a limit for each example in the folder, so that none is untimed."""
    files = {path.name for path in (ROOT / "examples").iterdir() if path.suffix in (".sh", ".py")}
    assert set(MINUTES) == files | {"own_method/"}
