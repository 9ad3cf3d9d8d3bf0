"""The user's own runs: one file in their data folder, never sent anywhere.

``AUTOPEFT_EVIDENCE=off`` neither writes nor reads it. It is apart from what corrects estimates of memory and time
(`autopeft.estimation.observations`): that is a cache, of the card rather than the task, which holds what had been
estimated and is worthless for other versions; this is data of the user's, which says how good a method was.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from autopeft.environment import switched_on
from autopeft.errors import FileFormatError, InvalidValueError
from autopeft.files import append_text, write_bytes, write_text
from autopeft.recommend.evidence import parse_run, read_runs, to_line
from autopeft.values.evidence import Run

SWITCH = "AUTOPEFT_EVIDENCE"
FOLDER = "AUTOPEFT_DATA"


@dataclass(frozen=True, kw_only=True)
class Kept:
    """What the store holds.

    Attributes:
        set_aside: where lines that could not be read were moved to; None where all could be read, or none was moved.
        left: lines that could not be read, nor moved.
        unread: why none of it could be read; empty where it could.
    """

    runs: tuple[Run, ...] = ()
    set_aside: Path | None = None
    left: int = 0
    unread: str = ""

    @property
    def complaints(self) -> tuple[str, ...]:
        """What a user has to know of it, one sentence each."""
        if self.unread:
            return (f"{self.unread} Advice goes without your own evidence.",)
        if self.left:
            said = f"Lines of {store_path()} cannot be read ({self.left}), nor set aside, and do not count."
            return (said,)
        if self.set_aside is None:
            return ()
        return (f"Lines of your own evidence that could not be read were moved to {self.set_aside} and do not count.",)


def enabled() -> bool:
    """Whether the user's runs are kept and used: unless the user has switched that off."""
    return switched_on(SWITCH)


def data_folder() -> Path:
    """Returns the data folder: ``AUTOPEFT_DATA``, else ``$XDG_DATA_HOME/autopeft``, else in ``~/.local/share``."""
    named = os.environ.get(FOLDER)
    if named:
        return Path(named).expanduser()
    shared = os.environ.get("XDG_DATA_HOME")
    return (Path(shared).expanduser() if shared else Path.home() / ".local" / "share") / "autopeft"


def store_path() -> Path:
    """Returns where the user's runs lie."""
    return data_folder() / "evidence.jsonl"


def keep(run: Run) -> bool:
    """Adds a run to the store and returns whether it is there now: not where that is off or the folder is read-only.

    One write at the end of the file, flushed to disk, so that workers do not lose each other's and a crash costs at
    most the last line.
    """
    if not enabled():
        return False
    try:
        with _locked():
            append_text(store_path(), _text([run]))
    except OSError:
        return False
    return True


def kept() -> Kept:
    """Returns the user's runs; none where that is switched off, or where the store cannot be read, which is said.

    Lines that cannot be read are moved to a file of their own beside the store, so that they are neither lost nor in
    the way; where the folder cannot be written they stay, and are read past.
    """
    path = store_path()
    try:
        if not enabled() or not path.is_file():
            return Kept()
        runs, wrong = _sorted_out(path)
    except OSError as error:
        return Kept(unread=f"{path} cannot be read: {error.strerror}.")
    if not wrong:
        return Kept(runs=tuple(runs))
    try:
        with _locked():
            runs, wrong = _sorted_out(path)
            return Kept(runs=tuple(runs), set_aside=_set_aside(path, runs, wrong) if wrong else None)
    except OSError:
        return Kept(runs=tuple(runs), left=len(wrong))


def _sorted_out(path: Path) -> tuple[list[Run], list[bytes]]:
    """Returns the runs of a file and the lines that are none."""
    runs, wrong = [], []
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        if not line.strip():
            continue
        try:
            runs.append(parse_run(line.decode("utf-8"), f"{path}, line {number}"))
        except (FileFormatError, UnicodeDecodeError):
            wrong.append(line)
    return runs, wrong


def _set_aside(path: Path, runs: Sequence[Run], wrong: Sequence[bytes]) -> Path:
    aside = path.with_name("evidence-set-aside.jsonl")
    held = aside.read_bytes() if aside.exists() else b""
    # Those that an earlier attempt has moved, and could not take out of the store, are there.
    new = [line for line in wrong if line not in set(held.splitlines())]
    write_bytes(aside, held + b"".join(line + b"\n" for line in new))
    _write(runs)
    return aside


def export(path: Path) -> Kept:
    """Writes the user's runs to a file that `add_from` takes, and returns them.

    Raises:
        InvalidValueError: the store is switched off or cannot be read, or the file cannot be written.
    """
    found = readable()
    try:
        write_text(path, _text(found.runs))
    except OSError as error:
        raise InvalidValueError(f"{path} cannot be written: {error.strerror}.") from error
    return found


def readable() -> Kept:
    """Returns the user's runs to copy or to change, where none for want of leave to read them would mislead.

    Raises:
        InvalidValueError: the store is switched off or cannot be read.
    """
    _refuse_off()
    found = kept()
    if found.unread:
        raise InvalidValueError(f"{found.unread}\nMake it readable, or name another folder with {FOLDER}.")
    return found


def add_from(path: Path) -> tuple[int, int]:
    """Adds the runs of a file to the store; returns how many were new and how many were there.

    A run whose name another one has is added under that name with a number behind it.

    Raises:
        FileFormatError: the file holds anything but possible runs; nothing is added then.
        InvalidValueError: the store is switched off or cannot be written.
    """
    _refuse_off()
    given = read_runs(path, unique=False)
    with _changing():
        held = _by_name(kept_lines())
        new = [named for run in given if (named := _named_apart(run, held)) is not None]
        append_text(store_path(), _text(new))
    return len(new), len(given) - len(new)


def _by_name(runs: Iterable[Run]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for run in runs:
        found.setdefault(run.name, set()).add(to_line(run))
    return found


def _named_apart(run: Run, held: dict[str, set[str]]) -> Run | None:
    """Returns a run under a name that nothing has, which it then has; None where it is there, numbered or not."""
    number, named = 1, run
    while lines := held.get(named.name):
        if to_line(named) in lines:
            return None
        number += 1
        named = replace(run, name=f"{run.name}-{number}")
    held[named.name] = {to_line(named)}
    return named


def kept_lines() -> tuple[Run, ...]:
    """Returns the user's runs without moving what cannot be read."""
    path = store_path()
    return tuple(_sorted_out(path)[0]) if path.is_file() else ()


def kept_names() -> frozenset[str]:
    """Returns the names of the user's runs; none where the store cannot be read, which is no reason to end a search."""
    try:
        return frozenset(run.name for run in kept_lines())
    except OSError:
        return frozenset()


def forget(which: Callable[[Run], bool]) -> int:
    """Removes the user's runs for which ``which`` holds, and returns how many they were.

    Raises:
        InvalidValueError: the store is switched off, or cannot be read or written.
    """
    if not readable().runs:
        return 0
    with _changing():
        runs = kept_lines()
        left = [run for run in runs if not which(run)]
        _write(left)
    return len(runs) - len(left)


def _refuse_off() -> None:
    if not enabled():
        raise InvalidValueError(
            f"Your own evidence is switched off by {SWITCH}.\nUnset it to change or copy what is kept."
        )


@contextmanager
def _changing() -> Iterator[None]:
    """Keeps other writers out while the context lasts.

    Raises:
        InvalidValueError: the store cannot be written.
    """
    try:
        with _locked():
            yield
    except OSError as error:
        raise InvalidValueError(f"{store_path()} cannot be written: {error.strerror}.") from error


@contextmanager
def _locked() -> Iterator[None]:
    """Keeps other writers out while the context lasts; the lock dies with the process."""
    from filelock import FileLock

    folder = data_folder()
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".evidence.lock"):
        yield


def _write(runs: Iterable[Run]) -> None:
    write_text(store_path(), _text(runs))


def _text(runs: Iterable[Run]) -> str:
    return "".join(f"{to_line(run)}\n" for run in runs)
