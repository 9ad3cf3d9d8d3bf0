"""Turns a source's rows into rows by role, in one form whatever the source's conventions were."""

import ast
import io
import json
import tokenize
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from autopeft.data._columns import as_number, is_missing
from autopeft.data._tables import RawRow
from autopeft.errors import DataError
from autopeft.tasks import Row
from autopeft.values.names import Task

MOST_MISSING = 0.05
"""Rows lacking a value are left out up to this share of a split; above it the data is refused."""

_SPEAKERS = {"human": "user", "gpt": "assistant", "chatgpt": "assistant", "bot": "assistant", "model": "assistant"}


def by_role(
    rows: Sequence[RawRow], task: Task, columns: Mapping[str, str], names: Mapping[str, Sequence[str]], owner: str
) -> tuple[list[Row], Counter[str]]:
    """Returns the usable rows by role, and how many were left out by reason.

    Labels become strings (numbers for regression), class ids their names, chat messages ``role``/``content``
    pairs, choices a list of strings with the answer's position as ``label``, and an ``input`` joins its prompt.

    Raises:
        DataError: more than `MOST_MISSING` of the rows lack a value.
    """
    found: list[Row] = []
    dropped: Counter[str] = Counter()
    for raw in rows:
        cells = {role: raw.get(column) for role, column in columns.items()}
        missing = next((role for role, cell in cells.items() if role != "input" and is_missing(cell)), None)
        if missing is None and _is_unlabelled(cells, columns, names):
            missing = "label"
        row = None if missing else _row(cells, task, columns, names)
        if row is None:
            dropped[f"{missing} missing" if missing else "not usable"] += 1
        else:
            found.append(row)
    for reason, count in dropped.items():
        if count > MOST_MISSING * len(rows):
            _refuse(reason, count, len(rows), columns, owner)
    return found, dropped


def _is_unlabelled(cells: Mapping[str, Any], columns: Mapping[str, str], names: Mapping[str, Sequence[str]]) -> bool:
    # Hub data sets mark a class id that is withheld with -1.
    return "label" in cells and columns["label"] in names and cells["label"] == -1


def _refuse(reason: str, count: int, rows: int, columns: Mapping[str, str], owner: str) -> None:
    role, _, state = reason.partition(" ")
    if state == "missing":
        what = f"{count} of {rows} rows of {owner} have no {role} (column {columns[role]!r})."
        raise DataError(f"{what}\nFill them in, remove these rows, or name another column: --column {role}=…")
    roles = ", ".join(f"{role} ({column})" for role, column in columns.items())
    raise DataError(
        f"{count} of {rows} rows of {owner} cannot be used: their {roles} do not have the form the task needs.\n"
        "Tokens need as many tags, choices an answer among them, messages an assistant turn, numbers a number; "
        "a list in a cell is spelled as JSON or Python does."
    )


def _row(
    cells: Mapping[str, Any], task: Task, columns: Mapping[str, str], names: Mapping[str, Sequence[str]]
) -> Row | None:
    if task == "multiple-choice":
        return _choices(cells)
    if task == "token-classification":
        return _tagged(cells, names.get(columns["tags"], ()))
    if "messages" in cells:
        messages = _messages(cells["messages"])
        return {"messages": messages} if messages else None
    row: dict[str, Any] = {role: str(cell) for role, cell in cells.items() if role not in ("label", "input")}
    if "input" in cells and not is_missing(cells["input"]):
        row["prompt"] = f"{row['prompt']}\n\n{cells['input']}"
    if "label" in cells:
        label = _label(cells["label"], task, names.get(columns["label"], ()))
        if label is None:
            return None
        row["label"] = label
    return row


def _label(cell: Any, task: Task, names: Sequence[str]) -> str | float | None:
    if task == "regression":
        return as_number(cell)
    return _name(cell, names)


def _name(cell: Any, names: Sequence[str]) -> str:
    if isinstance(cell, int) and 0 <= cell < len(names) and not isinstance(cell, bool):
        return names[cell]
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))  # a column of whole numbers with a gap is read as floats by many writers
    return str(cell).strip()


def listed(cell: Any) -> Any:
    """Returns a list or object that a CSV cell spells as JSON or as Python does, or its words.

    None for a cell that begins like one and is none: its words would carry brackets and quotation marks.
    """
    if not isinstance(cell, str):
        return cell
    if not cell.lstrip().startswith(("[", "{")):
        return cell.split()
    try:
        return json.loads(cell)
    except json.JSONDecodeError:
        return _literal(cell.strip())


def _literal(cell: str) -> Any:
    """Returns what a cell spells as Python does, or None where it spells nothing.

    Texts without a comma between them, as numpy writes a list, are one text to Python, and so are nothing here.
    """
    try:
        value = ast.literal_eval(cell)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):  # all that it raises for what is none
        return None
    kinds = (token.type for token in tokenize.generate_tokens(io.StringIO(cell).readline) if token.type != tokenize.NL)
    return None if (tokenize.STRING, tokenize.STRING) in pairwise(kinds) else value


def _tagged(cells: Mapping[str, Any], names: Sequence[str]) -> Row | None:
    tokens, tags = listed(cells["tokens"]), listed(cells["tags"])
    if not isinstance(tokens, list) or not isinstance(tags, list) or len(tokens) != len(tags):
        return None
    return {"tokens": [str(token) for token in tokens], "tags": [_name(tag, names) for tag in tags]}


def _choices(cells: Mapping[str, Any]) -> Row | None:
    choices: Any = listed(cells["choices"])
    marks: Any = None
    if isinstance(choices, dict):  # {"text": [...], "label": ["A", ...]}, as science exams are published
        choices, marks = choices.get("text"), choices.get("label")
    if not isinstance(choices, list) or len(choices) < 2:
        return None
    texts = [str(choice) for choice in choices]
    answer = _place(cells["answer"], texts, [str(mark) for mark in marks or ()])
    return None if answer is None else {"prompt": str(cells["prompt"]), "choices": texts, "label": answer}


def _place(answer: Any, texts: Sequence[str], marks: Sequence[str]) -> int | None:
    """Returns the answer's position: by its mark, its text, a number from 0, or a letter from A."""
    said = _name(answer, ())
    for known in (marks, texts):
        if said in known:
            return known.index(said)
    place = int(said) if said.isdecimal() else ord(said.upper()) - ord("A") if len(said) == 1 else -1
    return place if 0 <= place < len(texts) else None


def speaker(turn: Mapping[str, Any]) -> Any:
    """Returns who speaks in a turn of a chat by the one name that each has here; what is no name as it is."""
    role = turn.get("role", turn.get("from"))
    return _SPEAKERS.get(role, role) if isinstance(role, str) else role


def _messages(cell: Any) -> list[dict[str, str]] | None:
    """Returns messages up to the last assistant turn, or None where there is none."""
    turns = listed(cell)
    if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns):
        return None
    messages = []
    for turn in turns:
        role, content = speaker(turn), turn.get("content", turn.get("value"))
        if not isinstance(role, str) or not isinstance(content, str):
            return None
        messages.append({"role": role, "content": content})
    while messages and messages[-1]["role"] != "assistant":
        messages.pop()
    return messages if len(messages) > 1 else None  # an answer to nothing teaches no answering


def text_of(row: Row) -> str:
    """Returns all the text of a row in one string, labels left out: what duplicates are told by."""
    parts: list[str] = [row[role] for role in ("text", "text_pair", "prompt", "completion", "source") if role in row]
    parts += row.get("tokens", ()) or row.get("choices", ())
    parts += [message["content"] for message in row.get("messages", ())]
    return " ".join(parts)
