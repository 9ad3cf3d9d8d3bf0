"""A search from request to files: lock, prepare, size, run, compare, write."""

import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from autopeft import __version__
from autopeft.errors import RunningElsewhereError
from autopeft.training.devices import threads
from autopeft.training.run import plan_steps
from autopeft.training.worker import Worker
from autopeft.tuned import SCHEMA_VERSION, FullTraining, ModelReference, Provenance, TunedConfig
from autopeft.tuning.cluster import connected, work_on_cluster
from autopeft.tuning.cost import (
    Cost,
    cost_of,
    download_bytes,
    estimated_speed,
    measured_speed,
    settle,
)
from autopeft.tuning.crew import Crew, Spread, crew_of
from autopeft.tuning.folder import OutputFolder, Settings, check_same, storage_errors
from autopeft.tuning.gauge import Gauge
from autopeft.tuning.hired import Job
from autopeft.tuning.lessons import keep_lessons
from autopeft.tuning.limits import Limits
from autopeft.tuning.observations import keep_observations
from autopeft.tuning.observer import Observer
from autopeft.tuning.prepare import Prepared, Request, prepare
from autopeft.tuning.runner import TorchRunner
from autopeft.tuning.search import finish
from autopeft.tuning.storage import open_storage, public_name
from autopeft.tuning.study import TrialStudy
from autopeft.tuning.trials import Trials, deadline_of
from autopeft.tuning.watch import Watch
from autopeft.tuning.workers import work_together
from autopeft.values.outcomes import SearchResult
from autopeft.values.plans import Plan

DEFAULT_SECONDS = 1800.0
"""A search stops after half an hour where the user sets neither time nor trials."""

FULL_EPOCHS = 3.0


def limits(trials: int | None, seconds: float | None, tokens: int | None = None, *, when_flat: bool = False) -> Limits:
    """Returns the limits of a search, with the default time where the user sets none."""
    if trials is None and tokens is None and seconds is None:
        seconds = DEFAULT_SECONDS
    return Limits(trials=trials, seconds=seconds, tokens=tokens, when_flat=when_flat)


def dry_run(request: Request, stops: Limits) -> tuple[Prepared, Cost]:
    """Returns what a search would start from and cost; nothing is tried, downloaded or written.

    Speed is measured where the weights are on this machine, and estimated where they have yet to be downloaded.
    """
    prepared = prepare(request)
    speed = estimated_speed(prepared) if download_bytes(prepared) else measured_speed(prepared, prepared.worker())
    return prepared, cost_of(prepared, settle(prepared, speed, request, stops), stops)


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
    with folder.locked(), storage_errors(output if spread.storage is None else "the database"), ExitStack() as stack:
        prepared = prepare(request, folder.encoded)
        if spread.ray is None:
            crew = crew_of(spread, prepared.hardware)
        else:
            crew = stack.enter_context(connected(spread, prepared.hardware))
        held = _held(prepared, request, folder, spread, resume=resume)
        if held is not None:
            prepared = prepared.starting_from(held.starts, request.spaces)
        worker = prepared.worker()
        if missing := download_bytes(prepared):
            observer.phase(f"Downloading {missing / 1e6:,.0f} MB of weights")
        settings = _settled(prepared, worker, request, stops, crew, held, shared=spread.storage is not None)
        if spread.storage is not None:
            prepared, settings = _agreed(prepared, request, folder, spread, settings)
        observer.prepared(prepared, cost_of(prepared, settings, stops))
        if folder.settings() is None:
            folder.begin(settings)
        prepared.rows.save()
        study = _study(prepared, folder, spread)
        study.enqueue(prepared.starts)
        study.recover(restarted=True)
        known = frozenset(outcome.number for outcome in study.outcomes())
        try:
            if crew is None:
                gauge = Gauge(worker, prepared)
                runner = TorchRunner(worker, prepared.parts, prepared.objective, settings.size, folder.states, gauge)
                Trials(study, runner, prepared, settings, observer).run(stops, began)
            else:
                worker.release()
                _run_crew(crew, prepared, settings, folder, study, stops, began, spread, observer)
        finally:
            folder.write_trials(study.outcomes())
            if study.shared:
                study.copy_to(folder.study)
            if request.teach:
                keep_lessons(prepared, settings, study.own(), known)
        if request.teach:
            keep_observations(prepared, study.own(), known)
        if not study.alone:
            raise RunningElsewhereError(_ELSEWHERE)
        result = _finished(folder, study) or _finish(prepared, worker, study, folder, settings, observer)
        folder.keep_states(())
        return result


_ELSEWHERE = (
    "The trials of this machine are done, and others are still at theirs: the one that ends last compares.\n"
    "Run the same command again to compare here too."
)


def _study(prepared: Prepared, folder: OutputFolder, spread: Spread) -> TrialStudy:
    if spread.storage is None:
        return TrialStudy(folder.study, prepared.proposal, seed=prepared.seed)
    storage = open_storage(spread.storage, spread.beats)
    return TrialStudy(storage, prepared.proposal, seed=prepared.seed, name=spread.study, place=folder.place())


def _held(
    prepared: Prepared, request: Request, folder: OutputFolder, spread: Spread, *, resume: bool
) -> Settings | None:
    """Returns the settings of the study to go on with, None for a new one; a shared one is joined without a word.

    Raises:
        StudyError: it is another search's, or one in the folder was not to be resumed.
    """
    identity = prepared.identity(request)
    if spread.storage is None:
        return folder.check_may_start(identity, resume=resume)
    if (own := folder.settings()) is not None:
        check_same(own, identity, str(folder.path), "--output")
    held = _study(prepared, folder, spread).agree()
    if held is not None:
        check_same(held, identity, f"{public_name(spread.storage)} ({spread.study})", "--study")
    return held


def _agreed(
    prepared: Prepared, request: Request, folder: OutputFolder, spread: Spread, settings: Settings
) -> tuple[Prepared, Settings]:
    """Returns a shared search as the first of its machines has settled it, with this machine's own speed."""
    first = _study(prepared, folder, spread).agree(settings) or settings
    check_same(first, prepared.identity(request), f"the study {spread.study}", "--study")
    own = replace(first, tokens_per_second=settings.tokens_per_second)
    return prepared.starting_from(first.starts, request.spaces), own


def _settled(
    prepared: Prepared, worker: Worker, request: Request, stops: Limits, crew: Crew | None, held: Settings | None,
    *, shared: bool,
) -> Settings:  # fmt: skip
    """Returns the settings of a search; the speed of a new one, and of each machine, as one of its processes has it."""
    if held is not None and not shared:
        return held
    with threads(None if crew is None else crew.threads):
        speed = measured_speed(prepared, worker)
    return settle(prepared, speed, request, stops) if held is None else replace(held, tokens_per_second=speed)


def _run_crew(
    crew: Crew, prepared: Prepared, settings: Settings, folder: OutputFolder, study: TrialStudy, stops: Limits,
    began: float, spread: Spread, observer: Observer,
) -> None:  # fmt: skip
    """Runs the trials in processes of their own."""
    before = study.seconds
    job = Job(
        prepared=crew.share(prepared), settings=settings, where=spread.storage or folder.study, beats=spread.beats,
        name=spread.study, place=study.place, limits=stops,
        deadline=deadline_of(stops, began, before), states=folder.states,
    )  # fmt: skip
    watch = Watch(study, observer, lambda: before + time.monotonic() - began, crew.size)
    if spread.ray is not None:
        observer.phase(f"Training {crew.size} trials at once on the Ray cluster")
        work_on_cluster(job, crew, study, folder, watch.look)
    else:
        observer.phase(f"Starting {crew.size} workers")
        work_together(job, crew, study, watch.look)
    study.spend(before + time.monotonic() - began, crew.size)


def _finished(folder: OutputFolder, study: TrialStudy) -> SearchResult | None:
    """Returns the stored result where no trial has been added since it was written."""
    result = folder.finished()
    if result is None or sum(result.trials.values()) != len(study.outcomes()):
        return None
    return result


def _finish(
    prepared: Prepared, worker: Worker, study: TrialStudy, folder: OutputFolder, settings: Settings, observer: Observer
) -> SearchResult:
    result = finish(prepared, worker, study, folder, settings, observer)
    tuned_config(prepared, result).save(folder.tuned)
    folder.write_result(result)
    return result


def tuned_config(prepared: Prepared, result: SearchResult) -> TunedConfig:
    """Returns the winner as a config for full training."""
    winner = result.winner.config
    epoch = sum(prepared.encoded["train"].lengths)
    plan = Plan(tokens=round(FULL_EPOCHS * epoch), seed=prepared.seed)
    return TunedConfig(
        schema_version=SCHEMA_VERSION,
        model=ModelReference(
            source=prepared.model.source,
            fingerprint=prepared.model.fingerprint,
            task=prepared.model.task,
            labels=prepared.model.labels,
        ),
        candidate=winner,
        data=prepared.encoded.spec,
        training=FullTraining(
            epochs=FULL_EPOCHS,
            steps=len(plan_steps(prepared.encoded["train"], winner, plan)),
            warmup_share=plan.warmup_share,
            weight_decay=plan.weight_decay,
            max_gradient_norm=plan.max_gradient_norm,
            seed=prepared.seed,
            head_seed=prepared.seed,
        ),
        provenance=Provenance(
            autopeft_version=__version__,
            validation=result.winner.validation,
            test=result.winner.test,
            trials=result.trials,
            search_seconds=result.seconds,
            reasons=_reasons(prepared, winner.method),
        ),
    )


def _reasons(prepared: Prepared, method: str) -> tuple[str, ...]:
    """Returns what the recommender preferred a method for, with the sources; nothing for one that it did not rank."""
    ranked = prepared.recommendation.candidates
    reasons = next((found.reasons for found in ranked if found.candidate.method == method), ())
    return tuple(f"{reason.because} ({reason.source})" for reason in reasons if reason.verdict == "prefer")
