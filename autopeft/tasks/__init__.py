"""The catalogue of task types: one file each, found by walking this package."""

from functools import cache

from autopeft.discovery import discover
from autopeft.errors import named
from autopeft.tasks._declaration import Encoded, Metric, Predictions, Row, TaskType
from autopeft.tasks._language import chat_text
from autopeft.tasks._tokenizers import ready_tokenizer

__all__ = [
    "Encoded",
    "Metric",
    "Predictions",
    "Row",
    "TaskType",
    "all_tasks",
    "chat_text",
    "get_task",
    "ready_tokenizer",
]


@cache
def all_tasks() -> dict[str, TaskType]:
    """Returns every task type by name, sorted."""
    import autopeft.tasks as package

    return discover(package, "TASK", TaskType)


def get_task(name: str) -> TaskType:
    """Returns one task type.

    Raises:
        InvalidValueError: no task type has this name.
    """
    return named(all_tasks(), name, "task", "the data")
