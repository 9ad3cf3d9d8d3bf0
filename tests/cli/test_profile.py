"""Rules of `autopeft profile`: one JSON document, or three tables; bad input ends with code 2 and one sentence."""

import json
import re
import sys

import pytest

from autopeft.cli import main as cli


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A cache of its own, and a terminal of 80 columns."""
    monkeypatch.setenv("AUTOPEFT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "80")


@pytest.fixture
def run(monkeypatch, capsys):
    """Calls the command as a shell does; gives its exit code, stdout and stderr."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["autopeft", "profile", *arguments])
        with pytest.raises(SystemExit, match=r"^\d$") as done:
            cli.main()
        out = capsys.readouterr()
        return done.value.code or 0, out.out, out.err

    return call


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "rows.csv"
    lines = [f"{'good' if i % 2 else 'bad'} film number {i * 7919} [not markup],{'pos' if i % 2 else 'neg'}"
             for i in range(60)]  # fmt: skip
    path.write_text("\n".join(["text,label", *lines]) + "\n")
    return path


def test_json_is_one_document(run, tiny_models, table):
    """Stdout holds hardware, model and task; modules are summed by role, since they are too many to list."""
    code, out, _ = run("--model", str(tiny_models["bert"]), "--data", str(table), "--gpu", "rtx-3090", "--json")
    found = json.loads(out)
    assert code == 0
    assert set(found) == {"hardware", "model", "task"}
    assert found["hardware"]["devices"][0]["name"] == "GeForce RTX 3090"
    assert "modules" not in found["model"]
    assert sum(found["model"]["parameters_by_role"].values()) == found["model"]["parameters"]
    assert (found["model"]["head_modules"], found["model"]["hidden_size"]) == (["classifier"], 48)
    assert found["task"]["label_counts"] == {"neg": 30, "pos": 30}


def test_json_without_model_and_data(run):
    """What was not named is null."""
    code, out, _ = run("--memory", "24GiB", "--json")
    found = json.loads(out)
    assert (code, found["model"], found["task"]) == (0, None, None)
    assert found["hardware"]["devices"][0]["total_memory_bytes"] == 24 << 30
    assert found["hardware"]["dtype_reason"]


def test_tables_fit_a_terminal(run, tiny_models, table):
    """No line is wider than 80 columns, and the facts asked first are there."""
    code, out, _ = run("--model", str(tiny_models["bert"]), "--data", str(table), "--gpu", "a100-80gb")
    assert code == 0
    assert max(len(line) for line in out.splitlines()) <= 80
    for said in ("A100", "80.0 GiB", "BertForSequenceClassification", "73,682", "neg 50.0 %", "p95", "Duplicates"):
        assert said in out
    assert re.search(r"Columns\s+text = text, label = label", out)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--gpu", "rtx3090"), "Did you mean 'rtx-3090'?"),
        (("--memory", "lots"), "`--memory` of the command must be a size above zero"),
        (("--model", "gone/model"), "neither a folder here nor in the hub's local cache"),
        (("--data", "gone.csv"), "gone.csv"),
        (("--column", "text"), "ROLE=NAME"),
    ],
)
def test_bad_input_ends_with_one_sentence(run, arguments, message):
    """Exit code 2, the sentence on stderr, nothing on stdout."""
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("Error: ")
    assert message in err
    assert "Traceback" not in err
