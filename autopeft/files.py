"""The only place that parses, validates and writes YAML and JSON.

Files carry ``schema_version``. Values are the project's frozen dataclasses; pydantic validates them at this edge,
refuses unknown keys, and reports all errors of a file at once.
"""

import errno
import json
import os
import secrets
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import IO, Any, TypeVar

from autopeft.errors import FileFormatError, StudyError, close_match

T = TypeVar("T")


def write_text(path: Path, text: str) -> None:
    """Writes a whole file or nothing, as `write_bytes`, in UTF-8.

    Raises:
        OSError: the disk is full or the folder cannot be written; the old file is as it was.
    """
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a whole file or nothing: to a temporary file beside it, flushed to disk, then renamed.

    Raises:
        OSError: the disk is full or the folder cannot be written; the old file is as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not tempfile's, which nobody but its owner may read: here the user's umask decides, as for any file.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with temporary.open("xb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def flush(path: Path) -> None:
    """Has what others have written to a file reach the disk."""
    with path.open("rb+") as stream:
        os.fsync(stream.fileno())


def check_writable(path: Path) -> None:
    """Lets a path pass that a file can be written to, as far as that can be told before; one may be there already.

    Raises:
        StudyError: it is a folder, or may not be written where it is to lie.
    """
    if path.is_dir():
        raise StudyError(f"{path} cannot be written: it is a folder. Name a file.")
    check_place(path)


def check_place(path: Path) -> None:
    """Lets a path pass that a file or a folder can be made at, as far as that can be told before.

    Raises:
        StudyError: the folder that it is to lie in cannot be made, or may not be written to.
    """
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise StudyError(f"{path} cannot be written: {folder} is no folder that may be written to. Name another one.")


def append_text(path: Path, text: str) -> None:
    """Adds lines to the end of a file in one write, flushed to disk: writers at once do not lose each other's.

    A line that a crash has cut short is ended first, so that it does not swallow the next one.

    Raises:
        OSError: the disk is full or the folder cannot be written; the file is as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b", buffering=0) as stream:
        content = (_line_break(stream) + text).encode("utf-8")
        written = stream.write(content)
        if written < len(content):  # a disk that fills up takes a part without an error
            _take_back(stream, written)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        os.fsync(stream.fileno())


def _take_back(stream: IO[bytes], written: int) -> None:
    """Removes what was just written at the end, unless another writer has added to it since."""
    end = stream.tell()
    if stream.seek(0, os.SEEK_END) == end:
        stream.truncate(end - written)


def _line_break(stream: IO[bytes]) -> str:
    if stream.seek(0, os.SEEK_END) == 0:
        return ""
    stream.seek(-1, os.SEEK_END)
    return "" if stream.read(1) == b"\n" else "\n"


def read_yaml(path: Path) -> Any:
    """Returns a YAML file's content, loaded safely.

    Raises:
        FileFormatError: the file is missing, is not UTF-8 or is not YAML.
    """
    import yaml

    try:
        return yaml.safe_load(_read(path))
    except yaml.YAMLError as error:
        raise FileFormatError(f"{path} is not valid YAML: {error}") from error


def read_json(path: Path) -> Any:
    """Returns a JSON file's content.

    Raises:
        FileFormatError: the file is missing, is not UTF-8 or is not JSON.
    """
    try:
        return json.loads(_read(path))
    except json.JSONDecodeError as error:
        raise FileFormatError(f"{path} is not valid JSON: {error}") from error


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise FileFormatError(f"{path} does not exist.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise FileFormatError(f"{path} cannot be read: {error}") from error


@cache
def _adapter(kind: Any) -> Any:
    from pydantic import ConfigDict, TypeAdapter

    # The attribute is how pydantic reads a configuration off a stdlib dataclass.
    kind.__pydantic_config__ = ConfigDict(extra="forbid")
    return TypeAdapter(kind)


def parse(kind: type[T], content: Any, owner: str) -> T:
    """Returns the content as a value of the given dataclass.

    Args:
        kind: a frozen dataclass of the project.
        content: what a YAML or JSON file held.
        owner: what to call the content in an error, usually its path.

    Raises:
        FileFormatError: listing every key that is unknown, missing or of the wrong kind.
    """
    from pydantic import ValidationError

    try:
        adapter: Any = _adapter(kind)  # type: ignore[arg-type]  # a class is hashable
        value: T = adapter.validate_python(content)
    except ValidationError as error:
        lines = [_sentence(item, kind) for item in error.errors()]
        raise FileFormatError("\n".join([f"{owner} is not a valid {kind.__name__}:", *lines])) from error
    return value


def _sentence(item: Mapping[str, Any], kind: type) -> str:
    key = ".".join(str(part) for part in item["loc"]) or "(top level)"
    if item["type"] == "unexpected_keyword_argument":
        hint = close_match(str(item["loc"][-1]), _fields(kind))
        return f"  `{key}` is not a known key. {hint}".rstrip()
    if item["type"] == "missing":
        return f"  `{key}` is missing."
    return f"  `{key}`: {item['msg']}; got {item['input']!r}."


def _fields(kind: type) -> list[str]:
    return list(getattr(kind, "__dataclass_fields__", {}))


def plain(value: Any) -> Any:
    """Returns a value of the project as dictionaries, lists and scalars, ready for YAML or JSON."""
    from pydantic_core import to_jsonable_python

    return to_jsonable_python(value)


def to_yaml(content: Any) -> str:
    """Returns plain content as YAML with keys in their given order: the same content gives the same bytes."""
    import yaml

    text: str = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=100)
    return text


def to_json(content: Any) -> str:
    """Returns plain content as indented JSON; a NaN is refused rather than written."""
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
