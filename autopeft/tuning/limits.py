"""When a search stops: trials, seconds, tokens, or when it no longer gains."""

from collections.abc import Sequence
from dataclasses import dataclass

from autopeft.tuning.halving import begun
from autopeft.tuning.running import Running
from autopeft.values.outcomes import TrialOutcome

FLAT_AFTER = 12
"""New trials without a better first reading or a better score after which a search counts as flat: one in three of
them would have gone on, and none was worth it."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """When a search stops: at whichever comes first; None is no limit.

    Attributes:
        trials: so many trials were begun.
        seconds: so much time has passed.
        tokens: so many training tokens were seen by all trials together.
        when_flat: the last trials have brought nothing better.
    """

    trials: int | None = None
    seconds: float | None = None
    tokens: int | None = None
    when_flat: bool = False


def may_begin(
    limits: Limits, outcomes: Sequence[TrialOutcome], seconds_left: float, running: Sequence[Running] = ()
) -> bool:
    """Returns whether a new trial has a place beside those that are being run, and time to come to its end."""
    anew = sum(other.continues is None for other in running)
    return (
        (limits.trials is None or begun(outcomes) + anew < limits.trials)
        and (limits.tokens is None or tokens_spent(outcomes) < limits.tokens)
        and not (limits.when_flat and is_flat(outcomes))
        and not time_is_short(outcomes, seconds_left)
    )


def time_is_short(outcomes: Sequence[TrialOutcome], seconds_left: float) -> bool:
    """Returns whether no new trial can come to its end, going by the fastest that did."""
    return seconds_left <= min((o.seconds for o in outcomes if o.status == "completed"), default=0.0)


def may_go_on(limits: Limits, outcomes: Sequence[TrialOutcome], seconds_left: float) -> bool:
    """Returns whether a trial that waits may go on; the first to complete may, whatever tokens it takes."""
    completed = any(outcome.status == "completed" for outcome in outcomes)
    spent = limits.tokens is not None and tokens_spent(outcomes) >= limits.tokens
    return seconds_left > 0 and not (spent and completed)


def tokens_spent(outcomes: Sequence[TrialOutcome]) -> int:
    """Returns the training tokens that all trials have seen."""
    return sum(outcome.tokens for outcome in outcomes)


def is_flat(outcomes: Sequence[TrialOutcome]) -> bool:
    """Returns whether the last trials have brought neither a better first reading nor a better score.

    What was never trained, or lost with its process, says nothing of what may come.
    """
    loss, score, since = float("inf"), float("-inf"), 0
    for outcome in (each for each in outcomes if each.status not in ("infeasible", "worker_lost")):
        read = outcome.curve[0].validation_loss if outcome.curve else float("inf")
        found = outcome.score if outcome.score is not None else float("-inf")
        since = 0 if read < loss or found > score else since + 1
        loss, score = min(loss, read), max(score, found)
    return since >= FLAT_AFTER
