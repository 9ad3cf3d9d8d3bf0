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


def test_lines_are_set_aside_once(monkeypatch):
    """Where the disk has room for them and then none for the store without them, the next attempt adds none twice."""
    keep(a_run(name="one"))
    with store_path().open("ab") as stream:
        stream.write(b"{\n")

    def full(_runs):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("autopeft.recommend._evidence_store._write", full)
        assert [kept().left for _ in range(3)] == [1, 1, 1]
    found = kept()
    assert found.set_aside is not None
    assert found.set_aside.read_bytes() == b"{\n"
    assert names() == ["one"]


def test_a_store_that_cannot_be_written_is_no_error(tmp_path, monkeypatch):
    """A search goes on where the folder cannot be made."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(FOLDER, str(tmp_path / "file" / "below"))
    assert not keep(a_run())


def test_export_and_import_are_inverse(tmp_path):
    """What was exported comes back whole; what is there already is not added twice."""
    keep(a_run(name="one"))
    keep(a_run(name="two"))
    assert [run.name for run in export(tmp_path / "out.jsonl").runs] == ["one", "two"]
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


def unwritable():
    """Leaves the store as it is and its lock, without which nothing is written, out of reach."""
    lock = data_folder() / ".evidence.lock"
    lock.unlink(missing_ok=True)
    lock.mkdir(parents=True)


def test_a_store_that_cannot_be_changed_is_said_where_that_was_asked_for(tmp_path):
    """Import and forget say which file cannot be written, and what is there stays."""
    keep(a_run(name="one"))
    export(tmp_path / "out.jsonl")
    unwritable()
    for change in (lambda: forget(lambda _: True), lambda: add_from(tmp_path / "out.jsonl")):
        with pytest.raises(InvalidValueError, match=r"evidence\.jsonl cannot be written"):
            change()
    assert names() == ["one"]


def test_a_wrong_line_in_a_folder_that_cannot_be_written_is_read_past():
    """Advice goes on with the runs that can be read, and the line stays where it is."""
    keep(a_run(name="one"))
    with store_path().open("a") as stream:
        stream.write("{\n")
    before = store_path().read_bytes()
    unwritable()
    found = kept()
    assert ([run.name for run in found.runs], found.set_aside) == (["one"], None)
    assert "cannot be read (1)" in found.complaints[0]
    assert store_path().read_bytes() == before


def test_switched_off_nothing_is_written_over(tmp_path, monkeypatch):
    """An export without evidence does not leave an empty file in place of the last one."""
    keep(a_run(name="one"))
    export(tmp_path / "out.jsonl")
    before = (tmp_path / "out.jsonl").read_bytes()
    monkeypatch.setenv(SWITCH, "off")
    with pytest.raises(InvalidValueError, match="switched off by AUTOPEFT_EVIDENCE"):
        export(tmp_path / "out.jsonl")
    assert (tmp_path / "out.jsonl").read_bytes() == before


def test_runs_of_one_name_are_imported_apart(tmp_path, monkeypatch):
    """What an export holds can be imported though two runs have one name; each can then be forgotten by its own."""
    keep(a_run(name="one"))
    keep(a_run(name="one", seconds=2.0))
    export(tmp_path / "out.jsonl")
    assert add_from(tmp_path / "out.jsonl") == (0, 2)
    monkeypatch.setenv(FOLDER, str(tmp_path / "other"))
    assert add_from(tmp_path / "out.jsonl") == (2, 0)
    assert names() == ["one", "one-2"]
    assert add_from(tmp_path / "out.jsonl") == (0, 2)
    assert forget(lambda run: run.name == "one-2") == 1
    assert names() == ["one"]


def test_a_store_that_cannot_be_read_is_said_and_not_taken_for_an_empty_one(tmp_path, monkeypatch):
    """Advice goes without it and says so; nothing is exported or forgotten as if there were no runs."""
    keep(a_run(name="one"))

    def refused(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(type(store_path()), "read_bytes", refused)
    found = kept()
    assert found.runs == ()
    assert found.complaints == (
        f"{store_path()} cannot be read: Permission denied. Advice goes without your own evidence.",
    )
    for change in (lambda: forget(lambda _: True), lambda: export(tmp_path / "out.jsonl")):
        with pytest.raises(InvalidValueError, match=r"evidence\.jsonl cannot be read: Permission denied"):
            change()
    assert not (tmp_path / "out.jsonl").exists()
