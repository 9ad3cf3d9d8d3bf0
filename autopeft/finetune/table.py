"""Predictions as a file."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from autopeft.errors import StudyError, invalid
from autopeft.files import check_place, plain, write_text
from autopeft.finetune.predict import Prediction

_SUFFIXES = (".csv", ".jsonl")
_COLUMNS = tuple(field.name for field in fields(Prediction))


def check_target(path: Path) -> None:
    """Lets a path pass that predictions can be written to.

    Raises:
        InvalidValueError: its name ends in neither .csv nor .jsonl.
        StudyError: there is a file already, or its folder cannot be written.
    """
    if path.suffix not in _SUFFIXES:
        raise invalid("--output", "autopeft predict", "a name that ends in .csv or .jsonl", str(path))
    if path.exists():
        raise StudyError(f"{path} exists already. Name another file with --output.")
    check_place(path)


def write_predictions(found: Sequence[Prediction], path: Path) -> None:
    """Writes one line per row, whole or not at all; a CSV cell holds lists as JSON.

    Raises:
        InvalidValueError: the path ends in neither .csv nor .jsonl.
        StudyError: there is a file already.
    """
    check_target(path)
    rows = [plain(row) for row in found]
    if path.suffix == ".jsonl":
        write_text(path, "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows))
        return
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(_COLUMNS)
    writer.writerows([[_cell(row[key]) for key in _COLUMNS] for row in rows])
    write_text(path, stream.getvalue())


def _cell(value: object) -> object:
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False) if value else ""
    return value
