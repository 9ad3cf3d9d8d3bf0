"""Files are written whole or not at all, and parsed with all errors at once."""

import dataclasses
import errno
import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autopeft.errors import FileFormatError
from autopeft.files import append_text, parse, plain, read_json, read_yaml, to_json, to_yaml, write_text
from autopeft.values.candidates import Candidate

numbers = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**53), 2**53)
parameters = st.dictionaries(
    st.text("abcdefgh_", min_size=1),
    numbers | st.booleans() | st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"])),
)


@given(parameters, st.floats(1e-6, 1.0), st.integers(1, 512))
def test_a_candidate_survives_yaml(values, rate, rows):
    """What is written is what is read, and writing it again gives the same bytes."""
    import yaml

    candidate = Candidate(method="m", parameters=values, learning_rate=rate, batch_size=rows)
    text = to_yaml(plain(candidate))
    back = parse(Candidate, yaml.safe_load(text), "text")
    assert back == candidate
    assert to_yaml(plain(back)) == text


def test_all_errors_of_a_file_come_at_once():
    """Unknown, missing and wrong keys are listed together, the unknown one with its closest match."""
    with pytest.raises(FileFormatError) as caught:
        parse(Candidate, {"method": "m", "learning_rate": "fast", "quantisation": "none"}, "x.yaml")
    message = str(caught.value)
    assert "x.yaml is not a valid Candidate" in message
    assert "`quantisation` is not a known key. Did you mean 'quantization'?" in message
    assert "`learning_rate`" in message
    assert "'fast'" in message


def test_nan_is_not_written_as_json():
    """A NaN is no JSON: it is refused rather than written."""
    with pytest.raises(ValueError, match="not JSON compliant"):
        to_json({"loss": float("nan")})


@pytest.mark.parametrize("read", [read_yaml, read_json])
def test_unreadable_files_are_named(read, tmp_path):
    """A missing, binary or malformed file gives one error with its path."""
    with pytest.raises(FileFormatError, match=r"missing.* does not exist"):
        read(tmp_path / "missing")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(FileFormatError, match="binary cannot be read"):
        read(tmp_path / "binary")
    (tmp_path / "broken").write_text("{a: [")
    with pytest.raises(FileFormatError, match="broken is not valid"):
        read(tmp_path / "broken")


def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch):
    """When the disk is full while writing, the old content stays and no temporary file is left."""
    path = tmp_path / "tuned.yaml"
    write_text(path, "old")

    def full(_descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_text(path, "new")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["tuned.yaml"]


def test_a_kill_while_writing_leaves_the_old_file(tmp_path):
    """A process killed before the rename leaves the old content in place."""
    path = tmp_path / "tuned.yaml"
    write_text(path, "old")
    code = (
        "import os, signal, sys, pathlib\n"
        "from autopeft.files import write_text\n"
        "os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)\n"
        "write_text(pathlib.Path(sys.argv[1]), 'new')\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert done.returncode == -9
    assert path.read_text() == "old"


def test_lines_are_added_after_one_that_was_cut_short(tmp_path):
    """A line without an end, as a crash leaves it, does not swallow the next one."""
    path = tmp_path / "folder" / "lines"
    append_text(path, "first\n")
    path.write_bytes(path.read_bytes() + b"cut sh")
    append_text(path, "second\nthird\n")
    assert path.read_text() == "first\ncut sh\nsecond\nthird\n"


@pytest.mark.skipif(os.name != "posix", reason="a limit on the size of files")
def test_a_line_that_the_disk_takes_in_part_is_an_error_and_leaves_nothing(tmp_path):
    """A write may end short without an error: what it left is taken back, and the caller told."""
    path = tmp_path / "lines"
    path.write_text("first\n")
    code = (
        "import errno, pathlib, resource, sys\n"
        "from autopeft.files import append_text\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))\n"
        "try:\n"
        "    append_text(pathlib.Path(sys.argv[1]), 'second\\n')\n"
        "except OSError as error:\n"
        "    sys.exit(error.errno != errno.ENOSPC)\n"
        "sys.exit(2)\n"
    )
    assert subprocess.run([sys.executable, "-B", "-c", code, str(path)], check=False).returncode == 0
    assert path.read_text() == "first\n"


def test_values_are_frozen():
    """Values that pass between the stages cannot be changed on the way."""
    candidate = Candidate(method="m", learning_rate=1.0)
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(candidate, "method", "other")  # noqa: B010 - the type checker knows it is frozen


@pytest.mark.skipif(os.name != "posix", reason="permissions of a POSIX file system")
def test_who_may_read_a_file_is_the_umasks_to_say(tmp_path):
    """A written file is as readable as any that the user makes: a report can be opened by others on the machine."""
    before = os.umask(0o022)
    try:
        write_text(tmp_path / "open.html", "x")
        os.umask(0o077)
        write_text(tmp_path / "closed.html", "x")
    finally:
        os.umask(before)
    assert (tmp_path / "open.html").stat().st_mode & 0o777 == 0o644
    assert (tmp_path / "closed.html").stat().st_mode & 0o777 == 0o600
