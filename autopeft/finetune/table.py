"""Predictions as a file."""

import csv
import io
import json
import os
from collections.abc import Sequence
from pathlib import Path

from autopeft.errors import StudyError, invalid
from autopeft.files import plain, write_text
from autopeft.finetune.predict import Prediction

_SUFFIXES = (".csv", ".jsonl")


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
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise StudyError(f"{path} cannot be written: {folder} is no folder that may be written to. Name another file.")


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
    writer.writerow(["row", "value", "probability", "probabilities"])
    writer.writerows([[_cell(row[key]) for key in ("row", "value", "probability", "probabilities")] for row in rows])
    write_text(path, stream.getvalue())


def _cell(value: object) -> object:
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False) if value else ""
    return value
