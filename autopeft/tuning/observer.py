"""Who is told how a search goes."""

from typing import Protocol

from autopeft.tuning.cost import Cost
from autopeft.tuning.prepare import Prepared
from autopeft.values.candidates import Candidate
from autopeft.values.outcomes import TrialOutcome


class Observer(Protocol):
    """Is told how a search goes; it decides nothing."""

    def prepared(self, prepared: Prepared, cost: Cost) -> None:
        """Profiles, candidates and cost are known; nothing has been tried."""

    def phase(self, text: str) -> None:
        """A part of the search begins."""

    def trial_started(self, number: int, candidate: Candidate) -> None:
        """A trial begins."""

    def trial_ended(self, outcome: TrialOutcome, best: TrialOutcome | None, spent: float) -> None:
        """A trial ended; ``best`` is the best so far, ``spent`` the search's seconds."""


class Silent:
    """An observer that says nothing."""

    def prepared(self, prepared: Prepared, cost: Cost) -> None:
        """Says nothing."""

    def phase(self, text: str) -> None:
        """Says nothing."""

    def trial_started(self, number: int, candidate: Candidate) -> None:
        """Says nothing."""

    def trial_ended(self, outcome: TrialOutcome, best: TrialOutcome | None, spent: float) -> None:
        """Says nothing."""
