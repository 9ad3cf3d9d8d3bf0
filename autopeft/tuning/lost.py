"""What becomes of trials whose processes have ended: their outcome is told, or they are lost and tried once more."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from autopeft.files import plain
from autopeft.tuning.proposal import Proposal
from autopeft.tuning.storage import Storage
from autopeft.tuning.stored import CONTINUES, INTERRUPTED, OUTCOME, drawn, lost_outcome, state_of, stored_outcome
from autopeft.values.outcomes import TrialOutcome

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial

LOST, SILENT = "the process ended during the trial", "no sign of life from its worker"

_RETRY = "retry"
"""Key of a trial that tries a lost one once more: that one's number."""


def close(study: "Study", number: int, outcome: TrialOutcome) -> None:
    """Ends an open trial, as the sampler sees it, with what came of it."""
    value = outcome.curve[-1].validation_loss if outcome.status == "completed" else None
    study.tell(number, value, state=state_of(outcome.status))


def settle(study: "Study", trial: "FrozenTrial", proposal: Proposal, reason: str, *, interrupted: bool = False) -> bool:
    """Ends an open trial whose process has ended, and returns whether it was lost.

    Args:
        study: that it is of.
        trial: the open trial; one whose outcome was stored is finished with it.
        proposal: the spaces that it was drawn from.
        reason: why it was lost, where it was.
        interrupted: whether the search stood still since; a trial that has ended takes no further mark.
    """
    import optuna

    open_ = optuna.trial.Trial(study, trial._trial_id)
    if interrupted:
        open_.set_user_attr(INTERRUPTED, value=True)
    if OUTCOME in trial.user_attrs:
        close(study, trial.number, stored_outcome(trial))
        return False
    outcome = lost_outcome(trial, proposal, reason)
    if outcome is not None:
        open_.set_user_attr(OUTCOME, plain(outcome))
    study.tell(trial.number, state=state_of("worker_lost"))
    return True


def repeat(study: "Study", trials: Sequence["FrozenTrial"], proposal: Proposal) -> int:
    """Puts each lost trial in the queue that began anew, was no second try and has none; returns how many."""
    repeated = {trial.user_attrs.get(_RETRY) for trial in trials}
    found = [trial for trial in trials if _is_lost(trial, proposal) and trial.number not in repeated]
    for trial in found:
        study.enqueue_trial(drawn(trial), user_attrs={_RETRY: trial.number})
    return len(found)


def _is_lost(trial: "FrozenTrial", proposal: Proposal) -> bool:
    # What was continued still waits where it stopped, so a lost continuation has nothing to repeat.
    began_anew = not {_RETRY, CONTINUES} & trial.user_attrs.keys()
    return trial.state.name == "FAIL" and began_anew and proposal.complete(drawn(trial))


def silent(study: "Study", storage: Storage, trials: Sequence["FrozenTrial"]) -> list["FrozenTrial"]:
    """Returns those open trials of a shared study whose workers have been silent for too long."""
    if not storage.shared:
        return []
    stale = set(storage.optuna._get_stale_trial_ids(study._study_id))
    return [trial for trial in trials if trial._trial_id in stale]
