"""The errors autopeft raises for reasons a user can do something about.

Each subclass also inherits the matching builtin, so library users can catch either. The command line formats
these and nothing else; any other exception is a defect and keeps its traceback.
"""

import difflib
from collections.abc import Iterable, Mapping
from typing import TypeVar

T = TypeVar("T")

_SHORTEST_START = 3


def first_line(error: BaseException) -> str:
    """Returns what an error says in its first line, its kind where it says nothing: libraries' own go on for pages."""
    said = str(error).strip().splitlines()
    return said[0] if said else type(error).__name__


class AutopeftError(Exception):
    """Root of all errors that autopeft raises on purpose."""

    exit_code = 2


class InvalidValueError(AutopeftError, ValueError):
    """A value given by the user is not allowed where it stands."""


class DataError(AutopeftError, ValueError):
    """A data set cannot be read or cannot be used for the task."""


class UndefinedScoreError(DataError):
    """A metric has no value on some predictions, or on too many resamples of them for an interval."""


class ModelError(AutopeftError, ValueError):
    """A model folder, name or file cannot be read or is not supported."""


class FileFormatError(AutopeftError, ValueError):
    """A YAML or JSON file does not follow its schema."""


class DeviceError(AutopeftError, RuntimeError):
    """This machine's device cannot be used as it is; the message says what to change."""


class NothingFitsError(AutopeftError, RuntimeError):
    """No candidate meets the constraints; the message says what each one lacks."""

    exit_code = 3


class StudyError(AutopeftError, RuntimeError):
    """A search cannot start, resume or finish in the given output folder."""


class RunningElsewhereError(AutopeftError, RuntimeError):
    """This machine's part of a shared search is done, and others are still at theirs: no failure, and no result yet."""

    exit_code = 0


class OutOfMemoryError(AutopeftError, MemoryError):
    """A trial needed more memory than there is: an expected outcome, recorded as an observation."""


class DivergedError(AutopeftError, ArithmeticError):
    """A trial's loss became NaN or infinite: an expected outcome, recorded as an observation."""


class TimedOutError(AutopeftError, TimeoutError):
    """A trial met the deadline of its search: an expected outcome, recorded as an observation."""


def invalid(key: str, owner: str, expected: str, got: object, advice: str = "") -> InvalidValueError:
    """Returns the error "`key` of owner must be expected; got value." with a line of advice below."""
    message = f"`{key}` of {owner} must be {expected}; got {got!r}."
    return InvalidValueError(f"{message}\n{advice}" if advice else message)


def unknown(key: str, owner: str, got: str, known: Iterable[str]) -> InvalidValueError:
    """Returns the error for a name that is not among the known ones, with the closest match offered."""
    names = sorted(known)
    return invalid(key, owner, f"one of {', '.join(names)}", got, close_match(got, names))


def named(known: Mapping[str, T], name: str, key: str, owner: str) -> T:
    """Returns what goes by a name.

    Raises:
        InvalidValueError: nothing does; the closest match is offered.
    """
    if name not in known:
        raise unknown(key, owner, name, known)
    return known[name]


def close_match(got: str, known: Iterable[str]) -> str:
    """Returns "Did you mean 'x'?" for the nearest known name, or an empty string.

    A name that begins like the given one counts as nearest: ``a100`` stands for ``a100-40gb``, not for ``a10``.
    """
    names = list(known)
    longer = [name for name in names if len(got) >= _SHORTEST_START and name.startswith(got)]
    near = longer[:1] or difflib.get_close_matches(got, names, n=1, cutoff=0.6)
    return f"Did you mean {near[0]!r}?" if near else ""
