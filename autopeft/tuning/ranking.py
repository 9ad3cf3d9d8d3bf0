"""Which completed trial is best, and how many trials ended how."""

from collections.abc import Sequence

from autopeft.values.names import STATUSES
from autopeft.values.outcomes import TrialOutcome


def best_trial(outcomes: Sequence[TrialOutcome]) -> TrialOutcome | None:
    """Returns the completed trial with the best score; the lower validation loss breaks a tie."""
    ranked = ranking(outcomes)
    return ranked[0] if ranked else None


def ranking(outcomes: Sequence[TrialOutcome]) -> list[TrialOutcome]:
    """Returns the completed trials, best first."""
    completed = [outcome for outcome in outcomes if outcome.status == "completed" and outcome.score is not None]
    return sorted(completed, key=lambda o: (-(o.score or 0.0), o.curve[-1].validation_loss, o.number))


def counted(outcomes: Sequence[TrialOutcome]) -> dict[str, int]:
    """Returns how many trials ended in each status."""
    return {status: sum(o.status == status for o in outcomes) for status in STATUSES}
