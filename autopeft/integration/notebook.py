"""A search inside a notebook: a table of its trials that grows below the cell."""

from typing import Any

from rich.table import Table

from autopeft.tuning.cost import Cost
from autopeft.tuning.observer import Observer, Silent
from autopeft.tuning.prepare import Prepared
from autopeft.values.candidates import Candidate
from autopeft.values.outcomes import TrialOutcome

_LONGEST_REASON = 60


def observer(*, show: bool | None) -> Observer:
    """Returns who watches a search: a live table where ``show`` or, for None, the code runs in a notebook."""
    return LiveTable() if (in_notebook() if show is None else show) else Silent()


def in_notebook() -> bool:
    """Returns whether the code runs where tables are shown below a cell: a Jupyter kernel, Colab, Databricks."""
    from rich.console import Console

    return bool(Console().is_jupyter)


class LiveTable:
    """Shows a search's trials as one table, drawn anew in place after each."""

    def __init__(self) -> None:
        """Shows nothing yet: the first table appears when the search is prepared."""
        self._rows: dict[int, tuple[str, ...]] = {}
        self._title, self._sign = "", 1.0
        self._handle: Any = None

    def prepared(self, prepared: Prepared, cost: Cost) -> None:
        """Shows the empty table under what the search will be."""
        self._sign = prepared.objective.signed(1.0)
        model = prepared.model
        self._title = (
            f"{model.architecture}, {model.parameters / 1e6:.1f} M parameters: a full trial is {cost.tokens:,} tokens, "
            f"about {cost.trial_seconds:.0f} s"
        )
        self._draw("")

    def phase(self, text: str) -> None:
        """Shows what is being done below the table."""
        self._draw(text)

    def trial_started(self, number: int, candidate: Candidate) -> None:
        """Adds the trial's row."""
        self._rows[number] = (*_named(number, candidate), "running", "", "", "")
        self._draw("")

    def trial_ended(self, outcome: TrialOutcome, best: TrialOutcome | None, spent: float) -> None:
        """Fills the trial's row, and says which is the best so far."""
        loss = f"{outcome.curve[-1].validation_loss:.4f}" if outcome.curve else ""
        score = "" if outcome.score is None else f"{self._sign * outcome.score:.4f}"
        note = "" if outcome.continues is None else f"after {outcome.continues}"
        note = note or outcome.reason[:_LONGEST_REASON]
        # A trial of another worker was never seen to start.
        self._rows[outcome.number] = (*_named(outcome.number, outcome.candidate), outcome.status, loss, score, note)
        leads = "" if best is None else f"best: trial {best.number}, {best.candidate.method}, "
        self._draw(f"{leads}{spent:.0f} s")

    def table(self, caption: str) -> Table:
        """Returns the table as it stands."""
        table = Table("trial", "method", "rate", "status", "loss", "score", "", title=self._title, caption=caption)
        for row in self._rows.values():
            table.add_row(*row)
        return table

    def _draw(self, caption: str) -> None:
        from IPython.display import display

        table: Any = self.table(caption)
        if self._handle is None:
            self._handle = display(table, display_id=True)
        else:
            self._handle.update(table)


def _named(number: int, candidate: Candidate) -> tuple[str, str, str]:
    return str(number), candidate.method, f"{candidate.learning_rate:.2g}"
