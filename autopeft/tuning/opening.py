"""How a search opens: what it was asked for is prepared, what the folder or the database holds is joined or settled."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

from autopeft.profiling.hardware import probe_hardware
from autopeft.training.devices import threads
from autopeft.tuning.cluster import connected
from autopeft.tuning.cost import Cost, cost_of, download_bytes, settle
from autopeft.tuning.crew import Crew, crew_expected, crew_of, crew_unasked
from autopeft.tuning.folder import OutputFolder, Settings, check_same, check_spaces
from autopeft.tuning.hands import Hands
from autopeft.tuning.kept import kept_study
from autopeft.tuning.limits import Limits
from autopeft.tuning.observer import Observer
from autopeft.tuning.prepare import Prepared, Request, prepare
from autopeft.tuning.spread import Spread
from autopeft.tuning.starts import begun
from autopeft.tuning.storage import Storage, open_storage
from autopeft.tuning.study import TrialStudy
from autopeft.tuning.teams import check_spread
from autopeft.tuning.trainer import Trainer, trainer_of


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A search whose trials can begin.

    Attributes:
        trainer: of this process, or of those that train together; it holds nothing where others train.
        crew: the processes that train, None where this one does.
        hands: those of them that this machine has.
        study: with its starts in the queue, and what a killed run left open settled.
        known: numbers of the trials that were there before.
    """

    prepared: Prepared
    settings: Settings
    folder: OutputFolder
    spread: Spread
    trainer: Trainer
    crew: Crew | None
    hands: Hands | None
    study: TrialStudy
    known: frozenset[int]


@contextmanager
def opened(
    request: Request, folder: OutputFolder, stops: Limits, spread: Spread, observer: Observer, *, resume: bool
) -> Iterator[Opened]:
    """Opens a search in a folder that is locked; a cluster stays connected while the context lasts.

    Raises:
        AutopeftError: bad input, nothing fits, or another study in the folder or the database.
    """
    check_spread(request.constraints.team, spread)
    with _manned(request, folder, stops, spread) as (prepared, crew, hands):
        storage = None if spread.storage is None else open_storage(spread.storage, spread.beats)
        identity = prepared.identity(request)
        held = _held(prepared, identity, folder, spread, storage, resume=resume)
        if held is not None:
            prepared = _going_on(prepared, held, request, folder, spread)
        trainer = trainer_of(prepared)
        if missing := download_bytes(prepared):
            observer.phase(f"Downloading {missing / 1e6:,.0f} MB of weights")
        settings = _settled(
            prepared, lambda: speed_of(hands, crew, trainer), request, stops, crew, held, shared=storage is not None
        )
        if held is None:
            prepared = begun(prepared, settings, request.spaces)
        if storage is not None:
            first = _study(prepared, folder, spread, storage).agree(settings) or settings
            check_same(first, identity, f"the study {spread.study}", "--study")
            prepared = _going_on(prepared, first, request, folder, spread)
            settings = replace(first, tokens_per_second=settings.tokens_per_second)
        prepared = prepared.guided(settings.size.tokens)
        observer.prepared(prepared, cost_in(prepared, settings, left_of(stops, folder), crew, spread))
        if folder.settings() is None:
            folder.begin(settings)
        prepared.rows.save()
        study = _study(prepared, folder, spread, storage)
        study.enqueue(prepared.starts)
        study.recover(restarted=True)
        try:
            yield Opened(
                prepared=prepared, settings=settings, folder=folder, spread=spread, trainer=trainer, crew=crew,
                hands=hands, study=study, known=frozenset(outcome.number for outcome in study.outcomes()),
            )  # fmt: skip
        finally:
            # A notebook lives on: a trial that was broken off there shows no further sign of life to other machines.
            study.close()
            trainer.release()


@contextmanager
def _manned(
    request: Request, folder: OutputFolder, stops: Limits, spread: Spread
) -> Iterator[tuple[Prepared, Crew | None, Hands | None]]:  # fmt: skip
    """Gives a search that is prepared, with who trains: a cluster's crew, or a crew and its processes, or nobody else.

    Processes that it will most likely have load their libraries while it is prepared.
    """
    with ExitStack() as ends:
        ahead = _ahead(request, folder, stops, spread)
        ends.callback(_release, ahead)
        if ahead is not None:
            ahead.start()
        prepared = prepare(request, folder.encoded, processes=spread.processes)
        if spread.ray is not None:
            yield prepared, ends.enter_context(connected(spread, prepared.hardware)), None
            return
        crew, hands = crew_for(spread, prepared, stops), ahead
        if ahead is None or ahead.crew != crew:
            _release(ahead)
            hands = None if crew is None else Hands(crew, folder.workers)
            ends.callback(_release, hands)
        if hands is not None:
            hands.tell(prepared)
        yield prepared, crew, hands


def _ahead(request: Request, folder: OutputFolder, stops: Limits, spread: Spread) -> Hands | None:
    """Returns the processes that the search will most likely have, None where that cannot be told yet."""
    if spread.ray is not None or not request.constraints.team.alone:
        return None
    crew = crew_expected(spread, probe_hardware(), stops)
    return None if crew is None else Hands(crew, folder.workers)


def _release(hands: Hands | None) -> None:
    if hands is not None:
        hands.release()


def crew_for(spread: Spread, prepared: Prepared, stops: Limits) -> Crew | None:
    """Returns the processes of this machine that trials are spread over, None where this one does the work.

    They are those that were asked for, or, where none were, what suits the machine and the limits.

    Raises:
        InvalidValueError: the machine has not the GPUs that were asked for.
    """
    if not prepared.team.alone:
        return None
    return crew_of(spread, prepared.hardware) or crew_unasked(prepared, stops)


def left_of(stops: Limits, folder: OutputFolder) -> Limits:
    """Returns the limits of a search that goes on, without the time that it has spent here already."""
    study = None if stops.seconds is None else kept_study(folder.study)
    if study is None or stops.seconds is None:
        return stops
    return replace(stops, seconds=max(0.0, stops.seconds - study.seconds))


def _study(prepared: Prepared, folder: OutputFolder, spread: Spread, storage: Storage | None) -> TrialStudy:
    if storage is None:
        return TrialStudy(folder.study, prepared.proposal, seed=prepared.seed)
    return TrialStudy(storage, prepared.proposal, seed=prepared.seed, name=spread.study, place=folder.place())


def _held(
    prepared: Prepared, identity: dict[str, Any], folder: OutputFolder, spread: Spread, storage: Storage | None,
    *, resume: bool,
) -> Settings | None:  # fmt: skip
    """Returns the settings of the study to go on with, None for a new one; a shared one is joined without a word.

    Raises:
        StudyError: it is another search's, or one in the folder was not to be resumed.
    """
    if storage is None:
        return folder.check_may_start(identity, resume=resume)
    if (own := folder.settings()) is not None:
        check_same(own, identity, str(folder.path), "--output")
    held = _study(prepared, folder, spread, storage).agree()
    if held is not None:
        check_same(held, identity, f"{storage.name} ({spread.study})", "--study")
    return held


def _going_on(prepared: Prepared, held: Settings, request: Request, folder: OutputFolder, spread: Spread) -> Prepared:
    """Returns the search with the starts of its study.

    Raises:
        StudyError: the spaces that they lie in are others now.
    """
    found = prepared.starting_from(held.starts, request.spaces)
    shared = spread.storage is not None
    owner = (f"the study {spread.study}", "--study") if shared else (str(folder.path), "--output")
    check_spaces(held, found.searched, *owner)
    return found


def _settled(
    prepared: Prepared, measure: Callable[[], float], request: Request, stops: Limits, crew: Crew | None,
    held: Settings | None, *, shared: bool,
) -> Settings:  # fmt: skip
    """Returns the settings of a search; the speed of a new one, and of each machine, as one of its processes has it."""
    if held is not None and not shared:
        return held
    speed = measure()
    if held is not None:
        return replace(held, tokens_per_second=speed)
    return settle(prepared, speed, request, stops, size_of(crew))


def speed_of(hands: Hands | None, crew: Crew | None, trainer: Trainer) -> float:
    """Returns training tokens per second, measured by whoever trains; of a cluster, with the threads of a task."""
    if hands is not None:
        return hands.speed()
    with threads(None if crew is None else crew.threads):
        return trainer.speed()


def cost_in(prepared: Prepared, settings: Settings, stops: Limits, crew: Crew | None, spread: Spread) -> Cost:
    """Returns what a search will cost with a crew."""
    return cost_of(prepared, settings, stops, size_of(crew), competing(crew, spread))


def competing(crew: Crew | None, spread: Spread) -> int:
    """Returns how many contenders are trained at once at the end: a cluster's search compares on this machine alone."""
    return 1 if spread.ray is not None else size_of(crew)


def size_of(crew: Crew | None) -> int:
    """Returns how many trials are trained at once."""
    return 1 if crew is None else crew.size
