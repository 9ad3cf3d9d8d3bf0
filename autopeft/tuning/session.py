"""A search from request to files: lock, prepare, size, run, compare, write."""

import time
from pathlib import Path

from autopeft.errors import RunningElsewhereError, StudyError
from autopeft.tuning.cluster import work_on_cluster
from autopeft.tuning.cost import Cost, download_bytes, estimated_speed, settle
from autopeft.tuning.crew import Crew
from autopeft.tuning.folder import OutputFolder, storage_errors
from autopeft.tuning.hands import Hands
from autopeft.tuning.hired import Job
from autopeft.tuning.lessons import keep_lessons
from autopeft.tuning.limits import Limits
from autopeft.tuning.observations import keep_observations
from autopeft.tuning.observer import Observer
from autopeft.tuning.opening import Opened, cost_in, crew_for, opened, size_of, speed_of
from autopeft.tuning.prepare import Prepared, Request, prepare
from autopeft.tuning.search import finish
from autopeft.tuning.spread import Spread
from autopeft.tuning.starts import begun
from autopeft.tuning.storage import database_url
from autopeft.tuning.teams import check_spread
from autopeft.tuning.trainer import Contests, trainer_of
from autopeft.tuning.trials import Trials, deadline_of
from autopeft.tuning.watch import Watch
from autopeft.values.outcomes import SearchResult

DEFAULT_SECONDS = 1800.0
"""A search stops after half an hour where the user sets neither time nor trials."""


def limits(trials: int | None, seconds: float | None, tokens: int | None = None, *, when_flat: bool = False) -> Limits:
    """Returns the limits of a search, with the default time where the user sets none."""
    if trials is None and tokens is None and seconds is None:
        seconds = DEFAULT_SECONDS
    return Limits(trials=trials, seconds=seconds, tokens=tokens, when_flat=when_flat)


def dry_run(request: Request, stops: Limits, spread: Spread | None = None) -> tuple[Prepared, Cost]:
    """Returns what a search would start from and cost; nothing is tried, downloaded or written.

    Speed is measured where the weights are on this machine, and estimated where they have yet to be downloaded.
    Where trials are to run is checked as far as it can be without opening a database or joining a cluster.

    Raises:
        AutopeftError: bad input, or nothing fits.
    """
    spread = spread or Spread()
    check_spread(request.constraints.team, spread)
    if spread.storage is not None:
        database_url(spread.storage)
    prepared = prepare(request)
    crew = crew_for(spread, prepared, stops) if spread.ray is None else None
    speed = estimated_speed(prepared) if download_bytes(prepared) else _measured(prepared, crew)
    settings = settle(prepared, speed, request, stops, size_of(crew))
    prepared = begun(prepared, settings, request.spaces)
    return prepared, cost_in(prepared, settings, stops, crew, spread)


def _measured(prepared: Prepared, crew: Crew | None) -> float:
    trainer, hands = trainer_of(prepared), None if crew is None else Hands(crew)
    try:
        if hands is not None:
            hands.tell(prepared)
        return speed_of(hands, crew, trainer)
    finally:
        trainer.release()
        if hands is not None:
            hands.release()


def run_search(
    request: Request, output: Path, stops: Limits, *, resume: bool, observer: Observer, spread: Spread | None = None
) -> SearchResult:
    """Returns the result of a search, and leaves the study, ``tuned.yaml``, ``trials.csv`` and ``result.json``.

    Args:
        request: what to search for.
        output: the folder; it may hold this search's own study when ``resume`` is set.
        stops: when the trials stop.
        resume: go on with the study in the folder.
        observer: told how it goes.
        spread: where trials run; in this process by default.

    Raises:
        RunningElsewhereError: this machine's part is done, and other machines will end the search.
        AutopeftError: bad input, nothing fits, another study in the folder, or a full disk.
    """
    began = time.monotonic()
    folder, spread = OutputFolder(output), spread or Spread()
    with (
        folder.locked(),
        storage_errors(output if spread.storage is None else "the database"),
        opened(request, folder, stops, spread, observer, resume=resume) as search,
    ):
        study = search.study
        try:
            _run_trials(search, stops, began, observer)
        finally:
            folder.write_trials(study.outcomes())
            if study.shared:
                study.copy_to(folder.study)
            if request.teach:
                keep_lessons(search.prepared, search.settings, study.own(), folder)
                _observe(search)
        if not study.alone:
            raise RunningElsewhereError(_ELSEWHERE)
        if not study.outcomes() and stops.seconds is not None:
            raise StudyError(_NO_TIME.format(spent=time.monotonic() - began, given=stops.seconds))
        result = folder.finished(study.outcomes()) or _finish(search, observer)
        folder.keep_states(())
        return result


_NO_TIME = (
    "Preparing took {spent:.0f} s of the {given:.0f} s that `--time` gives, so no trial was begun.\n"
    "Give it more --time, and --resume: the clock starts with the command."
)

_ELSEWHERE = (
    "The trials of this machine are done, and others are still at theirs: the one that ends last compares.\n"
    "Run the same command again to compare here too."
)


def _run_trials(search: Opened, stops: Limits, began: float, observer: Observer) -> None:
    prepared, settings, folder, trainer = search.prepared, search.settings, search.folder, search.trainer
    if search.crew is not None:
        trainer.release()
        _run_crew(search, search.crew, stops, began, observer)
        return
    Trials(search.study, trainer.runner(settings.size, folder.states), prepared, settings, observer).run(stops, began)


def _run_crew(search: Opened, crew: Crew, stops: Limits, began: float, observer: Observer) -> None:
    """Runs the trials in processes of their own."""
    study, folder, spread, before = search.study, search.folder, search.spread, search.study.seconds
    job = Job(
        settings=search.settings, where=spread.storage or folder.study,
        beats=spread.beats, name=spread.study, place=study.place, limits=stops,
        deadline=deadline_of(stops, began, before), states=folder.states,
    )  # fmt: skip
    watch = Watch(study, observer, lambda: before + time.monotonic() - began, crew.size)
    if search.hands is None:
        observer.phase(f"Training {crew.size} trials at once on the Ray cluster")
        work_on_cluster(crew.share(search.prepared), job, crew, study, folder, watch.look)
    else:
        observer.phase(f"Training {crew.size} trials at once")
        search.hands.work(job, search.prepared.proposal, study, watch.look)
    study.spend(before + time.monotonic() - began, crew.size)


def _observe(search: Opened) -> None:
    """Keeps what trials took on this machine; those of a cluster ran on nodes that nobody here knows."""
    if search.spread.ray is not None:
        return
    crowded = search.crew is not None and search.crew.crowded
    keep_observations(search.prepared, search.study.own(), search.known, crowded=crowded)


def _finish(search: Opened, observer: Observer) -> SearchResult:
    prepared, folder = search.prepared, search.folder
    contests: Contests = search.hands or search.trainer
    result = finish(prepared, contests, search.study, folder, search.settings, observer)
    folder.write_result(result)
    return result
