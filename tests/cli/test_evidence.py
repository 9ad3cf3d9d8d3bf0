"""The command shows what advice rests on, and the user rules over their own runs."""

import json

import pytest

from autopeft.recommend._evidence_store import keep, store_path
from autopeft.recommend.evidence import shipped_runs
from tests.recommend.test_evidence import a_run


@pytest.fixture
def own(autopeft):
    keep(a_run(name="first", method="lora"))
    keep(a_run(name="second", method="dora"))
    return autopeft


def test_own_runs_are_listed(own):
    """By default the user's own, as a table or as one JSON document."""
    assert "second" in own("evidence", "list").out
    told = json.loads(own("evidence", "list", "--json").out)
    assert [run["name"] for run in told] == ["first", "second"]
    assert [run["name"] for run in json.loads(own("evidence", "list", "--method", "dora", "--json").out)] == ["second"]


def test_shipped_runs_are_listed_with_source_and_licence(autopeft):
    """What comes with autopeft says where it is from."""
    told = json.loads(autopeft("evidence", "list", "--whose", "shipped", "--json").out)
    assert len(told) == len(shipped_runs())
    assert all(run["source"] and run["licence"] for run in told)


def test_an_unknown_method_or_run_is_refused(own):
    """Mistyped names are answered with the nearest."""
    wrong = own("evidence", "list", "--method", "dorra")
    assert (wrong.code, "Did you mean 'dora'?" in wrong.err) == (2, True)
    wrong = own("evidence", "forget", "secnd")
    assert (wrong.code, "Did you mean 'second'?" in wrong.err) == (2, True)


def test_runs_are_forgotten_by_name_or_all_but_not_by_nothing(own):
    """Forgetting everything has to be said."""
    assert own("evidence", "forget").code == 2
    assert own("evidence", "forget", "first", "--all").code == 2
    assert json.loads(own("evidence", "forget", "first", "--json").out) == {"forgotten": 1}
    assert json.loads(own("evidence", "forget", "--all", "--json").out) == {"forgotten": 1}
    assert json.loads(own("evidence", "list", "--json").out) == []


def test_export_and_import(own, tmp_path):
    """A file written is a file read; a wrong one is refused with its line."""
    path = tmp_path / "runs.jsonl"
    assert json.loads(own("evidence", "export", path, "--json").out)["runs"] == 2
    assert json.loads(own("evidence", "import", path, "--json").out) == {"added": 0, "known": 2}
    path.write_text('{"name": 3}\n')
    wrong = own("evidence", "import", path)
    assert wrong.code == 2
    assert "line 1" in wrong.err


def test_switched_off_is_said(own, monkeypatch):
    """Nothing is shown, and why."""
    monkeypatch.setenv("AUTOPEFT_EVIDENCE", "off")
    told = own("evidence", "list")
    assert "switched off by AUTOPEFT_EVIDENCE" in told.err
    assert "second" not in told.out


@pytest.mark.parametrize("command", [("export", "out.jsonl"), ("forget", "first"), ("list",)])
def test_lines_that_were_set_aside_are_said(own, tmp_path, monkeypatch, command):
    """Whichever command moves what it cannot read says where to."""
    monkeypatch.chdir(tmp_path)
    with store_path().open("a") as stream:
        stream.write("{\n")
    told = own("evidence", *command, "--json")
    assert told.code == 0
    assert "that could not be read were moved to" in told.err
    assert "evidence-set-aside.jsonl" in told.err.replace("\n", "")


def test_nothing_is_forgotten_while_switched_off(own, monkeypatch):
    """The switch is the reason that is given, not a name that seems unknown because of it."""
    monkeypatch.setenv("AUTOPEFT_EVIDENCE", "off")
    for which in ("first", "--all"):
        told = own("evidence", "forget", which)
        assert (told.code, "switched off by AUTOPEFT_EVIDENCE" in told.err) == (2, True)


def test_paths_are_told_as_they_are(own, tmp_path, monkeypatch):
    """Square brackets are no markup, and a long path is not broken: it can be copied."""
    path = tmp_path / "runs of mine[1].jsonl"
    assert str(path) in own("evidence", "export", path).out
    folder = tmp_path / "data[1]"
    folder.mkdir()
    (folder / "evidence.jsonl").write_text("not a run\n")
    monkeypatch.setenv("AUTOPEFT_DATA", str(folder))
    assert str(folder / "evidence-set-aside.jsonl") in own("evidence", "list").err


def test_no_runs_are_told_for_what_they_are(autopeft, monkeypatch):
    """Searches add runs of one's own; none of them adds one to those that come with autopeft."""
    monkeypatch.setattr("autopeft.recommend.evidence.shipped_runs", lambda: ())
    assert "searches on this machine add theirs" in autopeft("evidence", "list").out
    shipped = autopeft("evidence", "list", "--whose", "shipped", "--method", "dora").out
    assert "None of the runs that come with autopeft is of this method." in shipped
