"""Passes on how a search goes, and tells trackers of each trial that ends."""

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from autopeft.errors import InvalidValueError, unknown
from autopeft.tuning.cost import Cost
from autopeft.tuning.observer import Observer
from autopeft.tuning.prepare import Prepared
from autopeft.tuning.trackers import _mlflow, _tensorboard, _trackio, _wandb
from autopeft.tuning.trackers._record import Log, Open, trial_record, winner_record
from autopeft.values.candidates import Candidate
from autopeft.values.outcomes import SearchResult, TrialOutcome

TRACKERS: Mapping[str, Open] = {
    "mlflow": _mlflow.open_log,
    "tensorboard": _tensorboard.open_log,
    "trackio": _trackio.open_log,
    "wandb": _wandb.open_log,
}
"""By the name that the command line takes, which is the name of the package too."""


def check_trackers(names: Sequence[str]) -> tuple[str, ...]:
    """Returns the names of trackers, each once.

    Raises:
        InvalidValueError: one is unknown, or its package is not installed.
    """
    for name in names:
        if name not in TRACKERS:
            raise unknown("--track", "autopeft search", name, TRACKERS)
        if find_spec(name) is None:
            raise InvalidValueError(
                f"`--track {name}` needs the package {name}, which is not installed.\nInstall it: pip install {name}"
            )
    return tuple(dict.fromkeys(names))


class Tracked:
    """An observer in front of another one: both are told, and trackers of what ended.

    An error of a tracker, such as a server that is gone, stops the search as any error does: ``--resume`` goes on.
    """

    def __init__(self, observer: Observer, names: Sequence[str], folder: Path) -> None:
        """Checks the names; the trackers are opened once a search has found nothing to refuse.

        Raises:
            InvalidValueError: a tracker is unknown or not installed.
        """
        self._observer, self._names, self._folder = observer, check_trackers(names), folder
        self._logs: tuple[Log, ...] = ()

    def prepared(self, prepared: Prepared, cost: Cost) -> None:
        """Opens the trackers."""
        self._observer.prepared(prepared, cost)
        self._logs = tuple(TRACKERS[name](self._folder) for name in self._names)

    def phase(self, text: str) -> None:
        """Passes it on."""
        self._observer.phase(text)

    def trial_started(self, number: int, candidate: Candidate) -> None:
        """Passes it on."""
        self._observer.trial_started(number, candidate)

    def trial_ended(self, outcome: TrialOutcome, best: TrialOutcome | None, spent: float) -> None:
        """Passes it on and logs the trial."""
        self._observer.trial_ended(outcome, best, spent)
        for log in self._logs:
            log(trial_record(outcome))

    def finished(self, result: SearchResult) -> None:
        """Logs the winner, once the search has returned it."""
        for log in self._logs:
            log(winner_record(result))
