"""Reads one local file into rows: dictionaries by column name."""

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from autopeft.errors import DataError

RawRow = dict[str, Any]
DELIMITERS = (",", "\t", ";", "|")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_TEXT_ADVICE = "Save it as UTF-8 text, or name a file of another format by its ending."
_FIELD_LIMIT = 2**31 - 1


def read_table(path: Path) -> Any:
    """Returns a file's rows as a list, or a mapping of split names to lists where a JSON file holds splits.

    Raises:
        DataError: the file cannot be read, has another format than its name says, or an unknown one.
    """
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        known = ", ".join(sorted(READERS))
        raise DataError(f"{path} has no known format: a data file ends in one of {known}.")
    return reader(path)


def read_text(path: Path) -> str:
    """Returns a file's text, decoded as UTF-8 (or UTF-16 where it starts with that mark).

    Raises:
        DataError: naming the first line that is not UTF-8 and the encoding that it looks like.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from error
    utf16 = content.startswith((b"\xff\xfe", b"\xfe\xff"))
    if b"\x00" in content and not utf16:
        raise DataError(f"{path} is a binary file: it holds zero bytes, which no text does.\n{_TEXT_ADVICE}")
    try:
        return content.decode("utf-16" if utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        if utf16:
            raise DataError(f"{path} starts like UTF-16 but is not: {error.reason}.\n{_TEXT_ADVICE}") from error
        raise DataError(_encoding_sentence(path, content, error.start)) from error


def _encoding_sentence(path: Path, content: bytes, position: int) -> str:
    line = content.count(b"\n", 0, position) + 1
    mixed = any(byte > 127 for byte in content[:position])
    # Bytes 0x80–0x9f are control characters in Latin-1 and quotation marks or dashes in Windows-1252.
    encoding = "WINDOWS-1252" if any(0x80 <= byte < 0xA0 for byte in content) else "ISO-8859-1"
    what = "mixes encodings: it is UTF-8 up to" if mixed else "is not UTF-8 from"
    advice = (
        f"Line {line} reads as {encoding}; rewrite the lines that are not UTF-8."
        if mixed
        else f"It reads as {encoding}; convert it: iconv -f {encoding} -t UTF-8 {path.name} > utf8-{path.name}"
    )
    return f"{path} {what} line {line}, where byte 0x{content[position]:02x} stands.\n{advice}"


def read_delimited(path: Path) -> list[RawRow]:
    """Returns the rows of a CSV or TSV file; the delimiter is the one that cuts the first lines most evenly.

    A first line with a number in it is data: the columns are then named ``column1``, ``column2``, ….
    Cells that a short line lacks are None.
    """
    text = read_text(path)
    csv.field_size_limit(_FIELD_LIMIT)  # long documents exceed the module's default of 128 KiB
    delimiter, quoting = _dialect(text)
    lines = csv.reader(_lines(text), delimiter=delimiter, quoting=quoting)
    try:
        numbered = [(lines.line_num, cells) for cells in lines if any(cell.strip() for cell in cells)]
    except csv.Error as error:
        raise DataError(f"{path} is not valid CSV at line {lines.line_num}: {error}.") from error
    if not numbered:
        return []
    header = [cell.strip() for cell in numbered[0][1]]
    if any(_NUMBER.fullmatch(cell) for cell in header):
        header = [f"column{index + 1}" for index in range(len(header))]
    else:
        numbered = numbered[1:]
    return [_cells(path, header, line, cells) for line, cells in numbered]


def _lines(text: str) -> io.StringIO:
    """Returns a text's lines with their ends; what else ends a line in Unicode may stand within a cell."""
    return io.StringIO(text, newline="")


def _cells(path: Path, header: list[str], line: int, cells: list[str]) -> RawRow:
    if len(cells) > len(header):
        message = f"{path}, line {line}, has {len(cells)} cells where there are {len(header)} columns."
        raise DataError(f"{message}\nPut quotation marks around cells that hold the delimiter.")
    return {name: cells[index] if index < len(cells) else None for index, name in enumerate(header)}


def delimiter_of(path: Path) -> str:
    """Returns what separates the cells of a CSV or TSV file, as `read_delimited` takes it.

    Raises:
        DataError: the file is not UTF-8.
    """
    return _dialect(read_text(path))[0]


def _dialect(text: str) -> tuple[str, Any]:
    """Returns the delimiter and quoting under which most of the first lines have as many cells as the first one."""
    sample = list(islice(_lines(text[:200_000]), 200))
    best: tuple[float, str, Any] = (0.0, ",", csv.QUOTE_MINIMAL)
    for delimiter in DELIMITERS:
        for quoting in (csv.QUOTE_MINIMAL, csv.QUOTE_NONE) if delimiter == "\t" else (csv.QUOTE_MINIMAL,):
            evenness = _evenness(sample, delimiter, quoting)
            if evenness > best[0]:
                best = (evenness, delimiter, quoting)
    return best[1], best[2]


def _evenness(sample: list[str], delimiter: str, quoting: Any) -> float:
    try:
        widths = [len(cells) for cells in csv.reader(sample, delimiter=delimiter, quoting=quoting) if cells]
    except csv.Error:  # this dialect does not fit; another one may
        return 0.0
    # Against all lines, so that a stray quotation mark, which swallows lines, counts against its reading.
    return sum(width == widths[0] for width in widths) / len(sample) if widths and widths[0] > 1 else 0.0


def read_json_lines(path: Path) -> list[RawRow]:
    """Returns the rows of a file with one JSON object per line; empty lines are skipped."""
    rows = []
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(f"{path}, line {number}, is not valid JSON: {error.msg}.") from error
        rows.append(_object(row, f"{path}, line {number},"))
    return rows


def read_json_table(path: Path) -> Any:
    """Returns the rows of a JSON file: a list of objects, or an object of such lists by split name."""
    text = read_text(path)
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        message = f"{path} is not valid JSON at line {error.lineno}: {error.msg}."
        advice = f"\nIts lines are JSON objects: rename it to {path.stem}.jsonl." if _is_json_lines(text) else ""
        raise DataError(message + advice) from error
    if isinstance(content, list):
        return _objects(content, path)
    if isinstance(content, dict):
        lists = {key: value for key, value in content.items() if isinstance(value, list)}
        if lists:
            return {key: _objects(value, path) for key, value in lists.items()}
    raise DataError(f"{path} must hold a list of objects, or lists of objects by split name.")


def _is_json_lines(text: str) -> bool:
    """Returns whether the first line that holds anything is a JSON object by itself."""
    first = next((line for line in text.split("\n") if line.strip()), "")
    try:
        return isinstance(json.loads(first), dict)
    except json.JSONDecodeError:
        return False


def _objects(items: Iterable[Any], path: Path) -> list[RawRow]:
    return [_object(item, f"{path}, row {number},") for number, item in enumerate(items, start=1)]


def _object(item: Any, where: str) -> RawRow:
    if not isinstance(item, dict):
        raise DataError(f"{where} must be a JSON object with the columns as keys; got {str(item)[:40]!r}.")
    return item


def read_parquet(path: Path) -> list[RawRow]:
    """Returns the rows of a Parquet file."""
    import pyarrow
    import pyarrow.parquet

    try:
        rows: list[RawRow] = pyarrow.parquet.read_table(path).to_pylist()
    except (OSError, pyarrow.ArrowException) as error:
        raise DataError(f"{path} cannot be read as Parquet: {error}") from error
    return rows


def read_lines(path: Path) -> list[RawRow]:
    """Returns a text file's rows: cells where its lines are cut by tabs alike, else each line as ``text``."""
    lines = [line.rstrip("\r\n") for line in _lines(read_text(path)) if line.strip()]
    if lines and all("\t" in line for line in lines[:200]):
        return read_delimited(path)
    return [{"text": line} for line in lines]


READERS: Mapping[str, Callable[[Path], Any]] = {
    ".csv": read_delimited,
    ".json": read_json_table,
    ".jsonl": read_json_lines,
    ".ndjson": read_json_lines,
    ".parquet": read_parquet,
    ".tsv": read_delimited,
    ".txt": read_lines,
}
