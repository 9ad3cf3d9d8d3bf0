"""Finds which column plays which role, and which task type the columns and their contents make."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from autopeft.data._tables import RawRow
from autopeft.errors import DataError, close_match
from autopeft.tasks import get_task
from autopeft.values.names import Task

ROLE_COLUMNS: dict[str, tuple[str, ...]] = {
    "messages": ("messages", "conversations", "conversation"),
    "tokens": ("tokens", "words"),
    "tags": ("tags", "ner_tags", "pos_tags", "ner", "labels"),
    "choices": ("choices", "options", "endings"),
    "answer": ("answer", "answerkey", "answer_key", "answer_idx", "label"),
    "text": (
        "text", "sentence", "review", "content", "tweet", "comment", "document", "body", "sms", "utterance",
        "sentence1", "premise", "question1", "text1", "text_a",
    ),
    "text_pair": ("text_pair", "sentence2", "hypothesis", "question2", "text2", "text_b"),
    "label": ("label", "labels", "class", "category", "sentiment", "target", "stars", "rating", "score", "intent", "y"),
    "prompt": ("prompt", "instruction", "question", "query", "problem", "goal", "ctx"),
    "input": ("input", "context"),
    "completion": ("completion", "output", "response", "answer", "solution", "chosen"),
    "source": ("source", "document", "article", "dialogue", "src", "input_text", "text"),
    "target": ("target", "summary", "highlights", "tgt", "target_text"),
}  # fmt: skip
OPTIONAL = {"instruction": ("input",), "reasoning": ("input",), "generation": ("input",)}
MOST_CLASSES = 50
"""A column of whole numbers with more distinct values than this is read as a quantity."""

_SAMPLE = 2000


def find_columns(
    rows: Sequence[RawRow], task: Task | None, named: Mapping[str, str], owner: str, classes: Collection[str] = ()
) -> tuple[Task, dict[str, str]]:
    """Returns the task type and the column of each role.

    Args:
        rows: the source's training rows.
        task: the user's choice; None to tell it from the columns and their contents.
        named: the user's columns by role.
        owner: the source, for errors.
        classes: columns whose values the source names, so that they are labels however many there are.

    Raises:
        DataError: a named column or role does not exist, or no task type can be told from the columns.
        InvalidValueError: there is no such task type.
    """
    sample = rows[:: max(1, len(rows) // _SAMPLE)]
    columns = list(dict.fromkeys(name for row in rows[:100] for name in row))
    _check_named(named, columns, owner)
    if task is not None:
        return task, _for_task(task, sample, columns, named, owner)
    found = _detect(sample, columns, named, classes)
    if found is None:
        raise DataError(
            f"The task cannot be told from the columns of {owner}: {', '.join(columns)}.\n"
            "Name the columns (--column text=… --column label=…) or the task (--task)."
        )
    return found


def _check_named(named: Mapping[str, str], columns: Sequence[str], owner: str) -> None:
    for role, column in named.items():
        if role not in ROLE_COLUMNS:
            hint = close_match(role, ROLE_COLUMNS)
            raise DataError(f"There is no column role {role!r}; roles are {', '.join(ROLE_COLUMNS)}. {hint}".rstrip())
        if column not in columns:
            hint = close_match(column, columns)
            message = f"{owner} has no column {column!r} for {role}; its columns are {', '.join(columns)}."
            raise DataError(f"{message}\n{hint}".rstrip())


def _for_task(
    task: Task, sample: Sequence[RawRow], columns: Sequence[str], named: Mapping[str, str], owner: str
) -> dict[str, str]:
    def preference(roles: tuple[str, ...]) -> tuple[bool, int, bool]:
        # What the user named comes first; then a pair column decides against the alternative without it.
        return set(roles) != set(named), -len(set(roles) & set(named)), "text_pair" not in roles

    for roles in sorted(get_task(task).roles, key=preference):
        found = _match((*roles,), columns, named) or _by_content(roles, sample, columns, named)
        if found:
            return found | _optional(task, columns, found, named)
    wanted = " or ".join(" + ".join(roles) for roles in get_task(task).roles)
    raise DataError(
        f"{task} needs columns for {wanted}; {owner} has {', '.join(columns)}.\nName them: --column role=column."
    )


def _optional(task: Task, columns: Sequence[str], found: Mapping[str, str], named: Mapping[str, str]) -> dict[str, str]:
    if "prompt" not in found:
        return {}
    free = [column for column in columns if column not in found.values()]
    return _match(OPTIONAL.get(task, ()), free, {role: name for role, name in named.items() if role == "input"}) or {}


def _match(roles: Sequence[str], columns: Sequence[str], named: Mapping[str, str]) -> dict[str, str] | None:
    """Returns a column for each role, the user's names first, or None where one has none."""
    found: dict[str, str] = {role: named[role] for role in roles if role in named}
    by_name = {column.strip().lower(): column for column in columns}
    for role in roles:
        if role in found:
            continue
        taken = {*found.values(), *named.values()}
        free = (by_name[name] for name in ROLE_COLUMNS[role] if name in by_name and by_name[name] not in taken)
        column = next(free, None)
        if column is None:
            return None
        found[role] = column
    return {role: found[role] for role in roles}


def _detect(
    sample: Sequence[RawRow], columns: Sequence[str], named: Mapping[str, str], classes: Collection[str]
) -> tuple[Task, dict[str, str]] | None:
    for roles in (("messages",), ("tokens", "tags"), ("prompt", "choices", "answer"), ("text", "text_pair", "label"),
                  ("prompt", "completion"), ("source", "target"), ("text", "label")):  # fmt: skip
        if set(named) - set(roles) - {"input"}:
            continue
        found = _match(roles, columns, named)
        task = _task_of(roles, found, sample, classes) if found else None
        if found and task:
            return task, found | _optional(task, columns, found, named)
    found = _by_content(("text", "label"), sample, columns, named)
    if found and (task := _task_of(("text", "label"), found, sample, classes)):
        return task, found
    only_text = _match(("text",), columns, named) if set(named) <= {"text"} else None
    return ("generation", only_text) if only_text else None


def _task_of(
    roles: Sequence[str], found: Mapping[str, str], sample: Sequence[RawRow], classes: Collection[str]
) -> Task | None:
    """Returns the task type that these columns make, or None where their contents speak against it."""
    if roles[0] == "messages":
        return "instruction"
    if roles[0] == "tokens":
        return "token-classification"
    if "choices" in roles:
        return "multiple-choice"
    if "completion" in roles:
        answers = values(sample, found["completion"])
        if answers and sum("####" in str(answer) for answer in answers) > len(answers) / 2:
            return "reasoning"
        return "generation" if found["prompt"].lower() == "prompt" else "instruction"
    if "target" in roles:
        return "seq2seq" if _is_free_text(values(sample, found["target"])) else None
    labels = values(sample, found["label"])
    if found["label"] not in classes:
        if is_quantity(labels):
            return "regression"
        if _is_free_text(labels):
            return None
    return "pair-classification" if "text_pair" in roles else "classification"


def values(rows: Sequence[RawRow], column: str) -> list[Any]:
    """Returns a column's values, missing ones left out."""
    return [row[column] for row in rows if not is_missing(row.get(column))]


def is_missing(value: Any) -> bool:
    """Returns whether a cell holds nothing: None, NaN, an empty list or white space."""
    if value is None or value != value:  # NaN alone differs from itself
        return True
    return not value.strip() if isinstance(value, str) else isinstance(value, list | dict) and not value


def is_quantity(labels: Sequence[Any]) -> bool:
    """Returns whether labels are numbers to be met closely rather than names of classes.

    True for numbers with a fraction, and for whole numbers with more than `MOST_CLASSES` distinct values.
    """
    numbers = [as_number(label) for label in labels]
    known = [number for number in numbers if number is not None]
    if not numbers or len(known) < len(numbers):
        return False
    distinct = set(known)
    return len(distinct) > (2 if any(not number.is_integer() for number in distinct) else MOST_CLASSES)


def as_number(value: Any) -> float | None:
    """Returns a cell as a finite number, or None where it is none."""
    if isinstance(value, bool):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if abs(number) != float("inf") and number == number else None


def _is_free_text(cells: Sequence[Any]) -> bool:
    """Returns whether cells are texts of their own rather than a few repeated names."""
    texts = [cell for cell in cells if isinstance(cell, str)]
    if len(texts) < max(1, len(cells) / 2):
        return False
    words = sum(len(text.split()) for text in texts) / len(texts)
    return len(set(texts)) > len(texts) / 2 and words > 3


def _by_content(
    roles: Sequence[str], sample: Sequence[RawRow], columns: Sequence[str], named: Mapping[str, str]
) -> dict[str, str] | None:
    """Returns the columns of a text and its label by what they hold: the longest texts, the fewest names."""
    if tuple(roles) != ("text", "label") or set(named) - {"text", "label"}:
        return None
    free = [column for column in columns if column not in named.values()]
    text = named.get("text") or max(free, key=lambda column: _mean_length(sample, column), default=None)
    free = [column for column in free if column != text and not _is_identifier(values(sample, column))]
    label = named.get("label") or (free[0] if len(free) == 1 else _match_label(free))
    if text is None or label is None or _mean_length(sample, text) == 0:
        return None
    return {"text": text, "label": label}


def _is_identifier(cells: Sequence[Any]) -> bool:
    """Returns whether cells are whole numbers of which none occurs twice, as row numbers are."""
    numbers = [as_number(cell) for cell in cells]
    whole = all(number is not None and number.is_integer() for number in numbers)
    return whole and len(set(numbers)) == len(cells) > 2


def _match_label(free: Sequence[str]) -> str | None:
    found = _match(("label",), free, {})
    return found["label"] if found else None


def _mean_length(sample: Sequence[RawRow], column: str) -> float:
    cells = values(sample, column)
    texts = [cell for cell in cells if isinstance(cell, str) and as_number(cell) is None]
    return sum(map(len, texts)) / len(texts) if texts else 0.0
