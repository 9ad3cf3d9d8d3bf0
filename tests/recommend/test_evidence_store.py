"""The user's runs survive crashes, other writers and their own disk."""

import os
import subprocess
import sys

import pytest

from autopeft.errors import FileFormatError, InvalidValueError
from autopeft.recommend._evidence_store import (
    FOLDER,
    SWITCH,
    add_from,
    data_folder,
    export,
    forget,
    keep,
    kept,
    store_path,
)
from autopeft.recommend.evidence import to_line
from tests.recommend.test_evidence import a_run


@pytest.fixture(autouse=True)
def own_folder(monkeypatch, tmp_path):
    monkeypatch.setenv(FOLDER, str(tmp_path / "data"))
    monkeypatch.delenv(SWITCH, raising=False)


def names():
    return [run.name for run in kept().runs]


def test_what_is_kept_is_there_in_its_order():
    """Runs are added at the end; nothing is there before."""
    assert kept().runs == ()
    assert keep(a_run(name="one"))
    assert keep(a_run(name="two"))
    assert names() == ["one", "two"]


def test_switched_off_nothing_is_written_or_read(monkeypatch):
    """One variable keeps the store out of everything, and changes to it are refused with its name."""
    keep(a_run(name="one"))
    monkeypatch.setenv(SWITCH, "off")
    assert not keep(a_run(name="two"))
    assert kept().runs == ()
    with pytest.raises(InvalidValueError, match="switched off by AUTOPEFT_EVIDENCE"):
        forget(lambda _: True)
    monkeypatch.delenv(SWITCH)
    assert names() == ["one"]


def test_what_cannot_be_read_is_set_aside_and_not_lost():
    """A cut line, bytes that are no text and an impossible run are moved; the rest stays in use."""
    keep(a_run(name="one"))
    wrong = [to_line(a_run(name="cut"))[:50].encode(), b"\xff\xfe\x00", to_line(a_run(name="w", seconds=-1.0)).encode()]
    with store_path().open("ab") as stream:
        stream.write(b"\n".join(wrong))
    keep(a_run(name="two"))
    found = kept()
    assert [run.name for run in found.runs] == ["one", "two"]
    assert found.set_aside is not None
    assert found.set_aside.read_bytes().splitlines() == wrong
    assert kept().set_aside is None
    assert names() == ["one", "two"]


def test_a_store_that_cannot_be_written_is_no_error(tmp_path, monkeypatch):
    """A search goes on where the folder cannot be made."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(FOLDER, str(tmp_path / "file" / "below"))
    assert not keep(a_run())


def test_export_and_import_are_inverse(tmp_path):
    """What was exported comes back whole; what is there already is not added twice."""
    keep(a_run(name="one"))
    keep(a_run(name="two"))
    assert export(tmp_path / "out.jsonl") == 2
    assert forget(lambda run: run.name == "one") == 1
    assert names() == ["two"]
    assert add_from(tmp_path / "out.jsonl") == (1, 1)
    assert sorted(names()) == ["one", "two"]


def test_a_file_with_a_wrong_line_is_imported_not_at_all(tmp_path):
    """Line and key are named, and nothing is added."""
    path = tmp_path / "in.jsonl"
    path.write_text(f"{to_line(a_run(name='good'))}\n{to_line(a_run(name='bad', tokens=-1))}\n")
    with pytest.raises(FileFormatError, match=r"line 2[\s\S]*`tokens`"):
        add_from(path)
    assert kept().runs == ()


def test_two_writers_lose_nothing():
    """Processes that add at the same time keep all their runs."""
    code = (
        "import sys; from tests.recommend.test_evidence import a_run\n"
        "from autopeft.recommend._evidence_store import keep\n"
        "for i in range(20): assert keep(a_run(name=f'{sys.argv[1]}{i}'))\n"
    )
    others = [subprocess.Popen([sys.executable, "-c", code, who], env=dict(os.environ)) for who in "ab"]
    assert [other.wait() for other in others] == [0, 0]
    assert sorted(names()) == sorted(f"{who}{i}" for who in "ab" for i in range(20))


def test_the_data_folder_follows_the_system(monkeypatch, tmp_path):
    """Without a folder of its own it lies where the system keeps users' data."""
    monkeypatch.delenv(FOLDER)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert data_folder() == tmp_path / "autopeft"
