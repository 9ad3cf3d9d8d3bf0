"""What tables that authors publish have in common: how a page is named, and how one of its figures becomes a run."""

from collections.abc import Mapping
from dataclasses import dataclass

from autopeft.values.evidence import Run, RunModel, RunQuality, RunTask
from autopeft.values.names import Task

MILLION = 1_000_000
UNLICENSED = "figures quoted; repository without a licence"
PADDED = "Tokens count the padding: every row is padded to the limit."
NOT_SHARES = ("mcc", "pearson", "validation_loss")


@dataclass(frozen=True, kw_only=True)
class Table:
    """What the rows of a page share.

    Attributes:
        label: begins the names of its settings, so that no other page's runs fall into them.
        interested: whether those who measured had proposed a method that they compare.
    """

    source: str
    licence: str
    date: str
    interested: bool
    label: str = ""
    device: str = "not stated"


GLUE_TASKS: Mapping[str, tuple[Task, str]] = {
    "MNLI": ("pair-classification", "accuracy"), "SST-2": ("classification", "accuracy"),
    "MRPC": ("pair-classification", "accuracy"), "CoLA": ("classification", "mcc"),
    "QNLI": ("pair-classification", "accuracy"), "QQP": ("pair-classification", "accuracy"),
    "RTE": ("pair-classification", "accuracy"), "STS-B": ("regression", "pearson"),
}  # fmt: skip
GLUE_LABELS = {"MNLI": 3, "STS-B": 0}


def rows(text: str) -> list[list[str]]:
    """Returns a table's rows as words."""
    return [line.split() for line in text.strip().splitlines()]


def glue(name: str, rows_: int | None = None) -> RunTask:
    """Returns a GLUE task, of all its rows or of as many as were taken."""
    return RunTask(name=name, task=GLUE_TASKS[name][0], rows=rows_, labels=GLUE_LABELS.get(name, 2), language="en")


def share(percent: float, parameters: int) -> int:
    """Returns the trained parameters where a page gives them in percent of the model."""
    return round(percent / 100 * parameters)


def run(
    table: Table, model: RunModel, task: RunTask, method: str | None, original: str, figure: str, *,
    budget: str = "", suffix: str = "", metric: str = "accuracy",
) -> Run:  # fmt: skip
    """Returns one figure of a table as a run: of a hundred, a loss as it stands."""
    setting = " ".join(part for part in (table.label, model.name, task.name, budget) if part)
    loss = metric == "validation_loss"
    return Run(
        name=f"{original} {setting}{suffix}", setting=setting, model=model, task=task, method=method,
        original=original, reference=method == "lora", interested=table.interested, status="completed",
        quality=RunQuality(
            metric=metric, value=float(figure) if loss else round(float(figure) / 100, 6),
            higher_is_better=not loss, share=metric not in NOT_SHARES,
        ),
        device=table.device, date=table.date, source=table.source, licence=table.licence,
    )  # fmt: skip
