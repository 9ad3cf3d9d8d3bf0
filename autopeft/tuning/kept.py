"""A search's study as it stands: its trials, what came of them, and the time that they took."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from autopeft.tuning.storage import read_storage
from autopeft.tuning.stored import OUTCOME, stored_outcome
from autopeft.values.outcomes import TrialOutcome

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial

NAME = "autopeft"
"""Of a study whose storage holds no other."""

SECONDS, WORKER_SECONDS = "seconds", "worker_seconds"
"""Keys of the time spent in a place, followed by its name: by the clock, and by all workers together."""


class KeptStudy:
    """One search's study to be read; nothing changes it."""

    def __init__(self, study: "Study", place: str = "") -> None:
        """Takes the study as Optuna has it.

        Args:
            study: of a search.
            place: whose time is asked for, where several machines share a study.
        """
        self._study, self._place = study, place
        self._ended: dict[int, TrialOutcome] = {}

    def _all(self) -> Sequence["FrozenTrial"]:
        return self._study.get_trials(deepcopy=False)

    @property
    def trials(self) -> tuple["FrozenTrial", ...]:
        """All trials as Optuna has them, by number."""
        return tuple(self._all())

    def outcomes(self) -> tuple[TrialOutcome, ...]:
        """Returns the outcomes of all trials that ended, by number; one that was continued is left out.

        Who was lost, or ran out of time, while going on has not replaced what it went on from.
        """
        found = [o for trial in self._all() if (o := self._ended_as(trial)) is not None]
        continued = {outcome.continues for outcome in found if outcome.supersedes}
        return tuple(outcome for outcome in found if outcome.number not in continued)

    def _ended_as(self, trial: "FrozenTrial") -> TrialOutcome | None:
        """Returns the outcome of a trial, None for one that has not ended; a finished trial never changes."""
        known = self._ended.get(trial.number)
        if known is None and OUTCOME in trial.user_attrs:
            known = stored_outcome(trial)
        if known is not None and trial.state.is_finished():
            self._ended[trial.number] = known
        return known

    @property
    def seconds(self) -> float:
        """Search seconds spent so far in this place, over all runs of this study."""
        return float(self._study.user_attrs.get(f"{SECONDS}{self._place}", 0.0))

    @property
    def longest_seconds(self) -> float:
        """Search seconds of the place that has spent most."""
        return max(self._spent(SECONDS), default=0.0)

    @property
    def worker_seconds(self) -> float:
        """Search seconds of all workers in all places together."""
        return float(sum(self._spent(WORKER_SECONDS)))

    def _spent(self, kind: str) -> list[float]:
        return [float(value) for key, value in self._study.user_attrs.items() if key.startswith(kind)]


def kept_study(path: Path) -> KeptStudy | None:
    """Returns the study in a file to be read, None where there is none yet; nothing is made, locked or written.

    Raises:
        StudyError: the file is no study.
    """
    import optuna

    if not path.is_file() or not path.stat().st_size:
        return None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = read_storage(path)
    if NAME not in (study.study_name for study in storage.get_all_studies()):
        return None
    return KeptStudy(optuna.load_study(study_name=NAME, storage=storage))
