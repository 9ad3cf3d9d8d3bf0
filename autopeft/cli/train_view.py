"""How `autopeft train` looks on a terminal."""

from types import TracebackType
from typing import Any

from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.table import Table

from autopeft.cli.output import Output, unbroken
from autopeft.finetune import Trained
from autopeft.finetune.words import before_and_after, estimate_words


class Progress:
    """Shows phases and a bar on stderr while training lasts."""

    def __init__(self, show: Output) -> None:
        self._show, self._validation = show, ""
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._bar = Bar(*columns, console=show.messages, transient=True)
        self._task = self._bar.add_task("Training", visible=False)

    def __enter__(self) -> "Progress":
        self._bar.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._bar.stop()

    def phase(self, text: str) -> None:
        """Says what begins."""
        self._show.say(f"{text} …")

    def step(self, done: int, total: int, train_loss: float | None, validation_loss: float | None) -> None:
        """Moves the bar, with the last losses beside it."""
        if validation_loss is not None:
            self._validation = f", validation {validation_loss:.4f}"
        loss = f"loss {train_loss:.4f}" if train_loss is not None else "loss"
        self._bar.update(self._task, completed=done, total=total, visible=True, description=f"{loss}{self._validation}")


def result_view(trained: Trained) -> tuple[Any, ...]:
    """Returns the scores, the cost and where things lie."""
    table = Table("", "before", "after")
    for cells in before_and_after(trained):
        table.add_row(*(escape(cell) for cell in cells))
    early = " (stopped early)" if trained.stopped_early else ""
    took = [f"{name}: measured {found}; estimated {said}." for name, said, found in estimate_words(trained)]
    lines = [
        f"{trained.steps} steps{early}, weights of step {trained.kept_step}, {trained.seconds:.0f} s.",
        *(line[0].upper() + line[1:] for line in took),
        *([f"Probabilities: temperature {trained.calibration.temperature:.3g}."] if trained.calibration else []),
        *trained.notes,
    ]
    files = f"adapter, tokenizer, metrics.json, README.md{', merged/' if trained.merged else ''}"
    return (table, *(escape(line) for line in lines), unbroken(f"{trained.output}: {files}"))
