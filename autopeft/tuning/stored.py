"""What an Optuna trial holds of a search's trial, and the sampler that draws the next one."""

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from autopeft.files import parse
from autopeft.tuning.proposal import Proposal
from autopeft.tuning.running import Running
from autopeft.values.names import Status
from autopeft.values.outcomes import TrialOutcome

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

OUTCOME, WORKER, CONTINUES = "outcome", "worker", "continues"
"""Keys of a trial's attributes: what came of it, whose it is, and the trial that it goes on from."""

INTERRUPTED = "interrupted"
"""Of a trial that was settled when its search was begun again: the end that Optuna has of it is when that was."""


def lost_outcome(trial: "FrozenTrial", proposal: Proposal, reason: str) -> TrialOutcome | None:
    """Returns the outcome of a lost trial; None where its process died before it was drawn."""
    if not proposal.complete(drawn(trial)):
        return None
    return TrialOutcome(
        number=trial.number,
        status="worker_lost",
        candidate=proposal.given(drawn(trial)),
        continues=trial.user_attrs.get(CONTINUES),
        reason=reason,
    )


def running(trial: "FrozenTrial", proposal: Proposal) -> Running:
    """Returns a trial that is being run, as the others see it."""
    return Running(
        number=trial.number,
        losses=tuple(loss for _, loss in sorted(trial.intermediate_values.items())),
        continues=trial.user_attrs.get(CONTINUES),
        place=place_of(trial),
        candidate=proposal.given(drawn(trial)) if proposal.complete(drawn(trial)) else None,
    )


def sampler(seed: int, startups: int) -> Any:
    """Returns what draws a trial: by chance for so many first ones, then by a tree of Parzen estimators."""
    import optuna

    with warnings.catch_warnings():
        # Grouped multivariate TPE, made for spaces where parameters depend on the method, is marked experimental.
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.TPESampler(seed=seed, n_startup_trials=startups, multivariate=True, group=True)


def drawn(trial: "FrozenTrial") -> dict[str, Any]:
    """Returns a trial's parameters, those included that it was to be given."""
    return {**trial.system_attrs.get("fixed_params", {}), **trial.params}


def place_of(trial: "FrozenTrial") -> str:
    """Returns the place that a trial was claimed in, empty where no study is shared."""
    return str(trial.user_attrs.get(WORKER, {}).get("place", ""))


def worker_of(trial: "FrozenTrial") -> str:
    """Returns what tells the process that asked for a trial from others; of one that has none noted, its number."""
    known = trial.user_attrs.get(WORKER)
    return f"trial {trial.number}" if known is None else f"{known['place']} {known['process']}"


def stored_outcome(trial: "FrozenTrial") -> TrialOutcome:
    """Returns the outcome that a trial holds."""
    return parse(TrialOutcome, trial.user_attrs[OUTCOME], f"trial {trial.number}")


def state_of(status: Status) -> Any:
    """Returns Optuna's state for a status.

    What cannot be trained, or not to the end, is told as pruned: the sampler then counts it among the bad.
    """
    from optuna.trial import TrialState

    states: Mapping[str, TrialState] = {"completed": TrialState.COMPLETE, "worker_lost": TrialState.FAIL}
    return states.get(status, TrialState.PRUNED)
