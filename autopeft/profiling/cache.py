"""What is kept on disk: model profiles, so that a model seen before costs neither torch nor transformers, and more."""

import hashlib
import os
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar

import autopeft
from autopeft.errors import FileFormatError
from autopeft.files import parse, plain, read_json, to_json, write_text
from autopeft.profiling.source import ModelSource
from autopeft.tasks import all_tasks
from autopeft.values.names import Task
from autopeft.values.profiles import ModelProfile

T = TypeVar("T")

_LAYOUT = 1  # of the profiles themselves: raise it when the same config is to give another profile


def cache_folder() -> Path:
    """Returns the user's cache: ``AUTOPEFT_CACHE``, else ``~/.cache/autopeft``."""
    named = os.environ.get("AUTOPEFT_CACHE")
    return Path(named).expanduser() if named else Path.home() / ".cache" / "autopeft"


def profile_path(source: ModelSource, task: Task, labels: int) -> Path:
    """Returns where the profile of this config, task and size of head lies, for these versions."""
    versions = (version("transformers"), autopeft.__version__, str(_LAYOUT))
    parts = (source.identity, task, str(labels), *versions, *all_tasks())
    key = hashlib.sha256("\n".join(parts).encode()).hexdigest()
    return cache_folder() / "models" / f"{key}.json"


def load_profile(path: Path, source: ModelSource) -> ModelProfile | None:
    """Returns the kept profile under the name and weights of this source; None where there is none to trust."""
    kept = load_value(path, ModelProfile)
    if kept is None:
        return None
    return replace(
        kept, source=source.name, weight_format=source.weight_format, weight_bytes=source.weight_bytes
    )  # fmt: skip


def load_value(path: Path, kind: type[T]) -> T | None:
    """Returns the value of one of the project's dataclasses that a file keeps; None where there is none to trust."""
    try:
        return parse(kind, read_json(path), str(path))
    except FileFormatError:  # not there or not to be read, cut short or from elsewhere: it is made anew
        return None


def is_there(path: Path) -> bool:
    """Whether a file is kept; in a cache that may not be looked into none is, which costs only time."""
    try:
        return path.is_file()
    except OSError:
        return False


def save_value(path: Path, value: object) -> None:
    """Keeps a value of one of the project's dataclasses."""
    save_text(path, to_json(plain(value)))


def save_text(path: Path, text: str) -> None:
    """Keeps a text; a cache that cannot be written costs only time, so that is no error."""
    try:
        write_text(path, text)
    except OSError:
        return
