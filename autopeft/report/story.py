"""What a search's folder tells: its trials, when each ran, and its result; read without changing anything."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from autopeft.errors import StudyError
from autopeft.report.clock import WallTime, search_clock
from autopeft.report.importances import Importances, Tried, importances
from autopeft.tasks import get_task
from autopeft.tuning.folder import OutputFolder, Settings
from autopeft.tuning.kept import KeptStudy, kept_study
from autopeft.tuning.ranking import ranking
from autopeft.tuning.stored import INTERRUPTED, place_of, worker_of
from autopeft.values.outcomes import SearchResult, TrialOutcome

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One stretch of work on a trial: from its start, or from where it went on, until it stopped.

    Attributes:
        status: as in a trial's outcome, or ``running``.
        start: search seconds; pauses in which nothing ran are left out.
        end: search seconds; None while it runs.
        worker: the process that asked for it, and where; the trial's own number where a study does not say.
    """

    number: int
    method: str
    status: str
    start: float
    end: float | None
    worker: str


@dataclass(frozen=True, kw_only=True)
class Story:
    """A search as the report tells it.

    Attributes:
        outcomes: of the trials that ended, those left out that another went on from.
        ranked: the completed ones among them, best first.
        attempts: every stretch of work, by number.
        resumed: search seconds at which the search went on after a pause.
        result: None for a search that has not come to its comparison, or has gone on since.
        seconds: search seconds spent.
    """

    folder: Path
    settings: Settings
    metric: str
    lower_is_better: bool
    outcomes: tuple[TrialOutcome, ...]
    ranked: tuple[TrialOutcome, ...]
    attempts: tuple[Attempt, ...]
    resumed: tuple[float, ...]
    importances: tuple[Importances, ...]
    result: SearchResult | None
    seconds: float

    def value(self, outcome: TrialOutcome) -> float:
        """Returns a completed trial's score in the metric's own terms, where lower can be better."""
        score = outcome.score if outcome.score is not None else 0.0
        return -score if self.lower_is_better else score


def read_story(folder: Path) -> Story:
    """Returns what the folder of a search holds: a finished one, a running one, or one that failed.

    Raises:
        StudyError: there is no search in the folder, or its study cannot be opened.
        FileFormatError: one of its files is not what this version writes.
    """
    files = OutputFolder(folder)
    settings = files.settings()
    if settings is None:
        raise StudyError(f"{folder} holds no search: search.json is not there.\nGive the --output of a search.")
    metric, task = str(settings.identity["metric"]), get_task(str(settings.identity["task"]))
    study = kept_study(files.study)
    outcomes, attempts, resumed, tried, seconds = _told(study) if study else _NOTHING
    return Story(
        folder=folder,
        settings=settings,
        metric=metric,
        lower_is_better=metric in task.lower_is_better,
        outcomes=outcomes,
        ranked=tuple(ranking(outcomes)),
        attempts=attempts,
        resumed=resumed,
        importances=importances(tried),
        result=files.finished(outcomes if study else None),
        seconds=seconds,
    )


_Told = tuple[tuple[TrialOutcome, ...], tuple[Attempt, ...], tuple[float, ...], list[Tried], float]
"""Outcomes, attempts, pauses, what importances are computed from, and seconds."""

_NOTHING: _Told = ((), (), (), [], 0.0)


def _told(study: KeptStudy) -> _Told:
    outcomes = study.outcomes()
    begun = [trial for trial in study.trials if trial.datetime_start is not None and "method" in trial.params]
    status = {outcome.number: outcome.status for outcome in outcomes}
    ends = {trial.number: _end(trial, begun) for trial in begun}
    clock = search_clock([WallTime(_started(trial.datetime_start), ends[trial.number]) for trial in begun])
    attempts = tuple(
        Attempt(
            number=trial.number,
            method=str(trial.params["method"]),
            status=status.get(trial.number, _unfinished(trial.state.name)),
            start=clock.at(_started(trial.datetime_start)),
            end=None if (end := ends[trial.number]) is None else clock.at(end),
            worker=worker_of(trial),
        )
        for trial in begun
    )
    return outcomes, attempts, clock.pauses, _tried(outcomes, begun), study.seconds


def _end(trial: "FrozenTrial", begun: Sequence["FrozenTrial"]) -> datetime | None:
    """Returns when work on a trial stopped, None while it runs.

    One that was settled when its search was begun again had stopped by then, nobody knows when: it ends with the last
    that was begun or ended before in the same place, which may be its own beginning.
    """
    if trial.datetime_complete is None or INTERRUPTED not in trial.user_attrs:
        return trial.datetime_complete
    beside = [other for other in begun if place_of(other) == place_of(trial)]
    moments = [_started(other.datetime_start) for other in beside]
    moments += [o.datetime_complete for o in beside if o.datetime_complete and INTERRUPTED not in o.user_attrs]
    before = (moment for moment in moments if moment <= trial.datetime_complete)
    return max(before, default=trial.datetime_complete)


def _started(moment: datetime | None) -> datetime:
    if moment is None:
        raise RuntimeError("A trial that was begun has no start.")
    return moment


def _unfinished(state: str) -> str:
    """Returns the status of a stretch whose trial went on later, or has no outcome yet, by Optuna's state."""
    return {"RUNNING": "running", "FAIL": "worker_lost"}.get(state, "pruned")


def _tried(outcomes: Sequence[TrialOutcome], trials: Sequence["FrozenTrial"]) -> list[Tried]:
    """Returns each trial that was read, with its parameters and their ranges."""
    by_number = {trial.number: trial for trial in trials}
    read = [outcome for outcome in outcomes if outcome.curve and outcome.number in by_number]
    return [
        Tried(outcome=o, parameters=by_number[o.number].params, distributions=by_number[o.number].distributions)
        for o in read
    ]
