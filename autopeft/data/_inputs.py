"""Rows to predict on: what the task reads of a row, without what it is to be told."""

from collections.abc import Mapping
from typing import Any

from autopeft.data._columns import is_missing
from autopeft.data._rows import _row, listed, speaker
from autopeft.data._sources import read_rows
from autopeft.errors import DataError, close_match
from autopeft.tasks import Row
from autopeft.values.data import DataSpec

_ANSWERS = frozenset({"label", "tags", "answer", "completion", "target"})
_OPTIONAL = frozenset({"input"})


def input_rows(spec: DataSpec, source: str) -> tuple[Row | None, ...]:
    """Returns the rows of a source by role, all its splits one after another; None for a row that lacks an input.

    What a row is to be told stands in it as a placeholder, so that it is encoded as in training.

    Raises:
        DataError: the source cannot be read, or lacks a column that the spec names.
    """
    splits = read_rows(source).splits
    raw = [row for rows in splits.values() for row in rows]
    inputs = {role: column for role, column in spec.columns.items() if role not in _ANSWERS}
    present = {column for row in raw for column in row}
    for role, column in inputs.items():
        if column not in present and role not in _OPTIONAL:
            raise DataError(
                f"{source} must have the column {column!r}, which the training took its {role} from; "
                f"it has {', '.join(sorted(present))}. {close_match(column, present)}".rstrip()
            )
    return tuple(_input(row, spec, inputs) for row in raw)


def _input(raw: Mapping[str, Any], spec: DataSpec, inputs: Mapping[str, str]) -> Row | None:
    cells = {role: raw.get(column) for role, column in inputs.items()}
    if any(is_missing(cell) for role, cell in cells.items() if role not in _OPTIONAL):
        return None
    placeholders = {role: _placeholder(role, spec, cells) for role in spec.columns if role in _ANSWERS}
    if "messages" in cells:
        cells["messages"] = _with_answer(cells["messages"])
    return _row({**cells, **placeholders}, spec.task, spec.columns, {})


def _placeholder(role: str, spec: DataSpec, cells: Mapping[str, Any]) -> Any:
    if role == "tags":
        words = listed(cells["tokens"])
        return [spec.labels[0]] * len(words) if isinstance(words, list) else None
    if role == "label":
        return spec.labels[0] if spec.labels else 0.0
    return 0 if role == "answer" else ""


def _with_answer(cell: Any) -> Any:
    """Returns a chat that ends in an assistant turn: an empty one where it ends in a question."""
    turns = listed(cell)
    if not isinstance(turns, list) or not turns or not isinstance(turns[-1], dict):
        return turns
    return turns if speaker(turns[-1]) == "assistant" else [*turns, {"role": "assistant", "content": ""}]
