"""What a task type asks of a method, read from ``profiles/tasks/<type>.yaml``."""

from dataclasses import dataclass
from typing import Literal

from autopeft import resources
from autopeft.errors import FileFormatError
from autopeft.files import parse, read_yaml
from autopeft.values.names import Task


@dataclass(frozen=True, kw_only=True)
class TaskNeeds:
    """What a task type asks.

    Attributes:
        complexity: ``complex`` where the answer takes several steps or many decisions per row.
        generative: whether the model writes text.
        low_data_rows: training rows below which the task counts as one with little data.
        typical_rows: training rows assumed where the user names none.
        typical_tokens_per_row: tokens per row assumed where the user names none.
        because: why the complexity is what it is.
        source: where the figures come from.
    """

    schema_version: Literal[1]
    task: Task
    complexity: Literal["simple", "complex"]
    generative: bool
    low_data_rows: int
    typical_rows: int
    typical_tokens_per_row: int
    because: str
    source: str


def task_needs(task: Task) -> TaskNeeds:
    """Returns what a task type asks.

    Raises:
        FileFormatError: its file is missing, breaks the schema or describes another task.
    """
    path = resources.profiles() / "tasks" / f"{task}.yaml"
    needs = parse(TaskNeeds, read_yaml(path), str(path))
    if needs.task != task:
        raise FileFormatError(f"{path} describes {needs.task!r}; a task's file carries the task's name.")
    return needs
