"""A search from request to files: lock, prepare, size, run, compare, write."""

import time
from pathlib import Path

from autopeft import __version__
from autopeft.training.forgetting import general_texts
from autopeft.training.run import plan_steps
from autopeft.training.worker import Worker
from autopeft.tuned import SCHEMA_VERSION, FullTraining, ModelReference, Provenance, TunedConfig
from autopeft.tuning.cost import (
    Cost,
    cost_of,
    download_bytes,
    estimated_speed,
    measured_speed,
    settle,
)
from autopeft.tuning.folder import OutputFolder, Settings, storage_errors
from autopeft.tuning.gauge import Gauge
from autopeft.tuning.lessons import keep_lessons
from autopeft.tuning.limits import Limits
from autopeft.tuning.observations import keep_observations
from autopeft.tuning.observer import Observer
from autopeft.tuning.prepare import Prepared, Request, prepare
from autopeft.tuning.runner import TorchRunner
from autopeft.tuning.search import Trials, finish
from autopeft.tuning.study import TrialStudy
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
    speed = estimated_speed(prepared) if download_bytes(prepared) else measured_speed(prepared, _worker(prepared))
    return prepared, cost_of(prepared, settle(prepared, speed, request, stops), stops)


def run_search(request: Request, output: Path, stops: Limits, *, resume: bool, observer: Observer) -> SearchResult:
    """Returns the result of a search, and leaves the study, ``tuned.yaml``, ``trials.csv`` and ``result.json``.

    Args:
        request: what to search for.
        output: the folder; it may hold this search's own study when ``resume`` is set.
        stops: when the trials stop.
        resume: go on with the study in the folder.
        observer: told how it goes.

    Raises:
        AutopeftError: bad input, nothing fits, another study in the folder, or a full disk.
    """
    began = time.monotonic()
    folder = OutputFolder(output)
    with folder.locked(), storage_errors(output):
        prepared = prepare(request, folder.encoded)
        held = folder.check_may_start(prepared.identity(request), resume=resume)
        worker = _worker(prepared)
        if missing := download_bytes(prepared):
            observer.phase(f"Downloading {missing / 1e6:,.0f} MB of weights")
        settings = held or settle(prepared, measured_speed(prepared, worker), request, stops)
        observer.prepared(prepared, cost_of(prepared, settings, stops))
        if held is None:
            folder.begin(settings)
        prepared.rows.save()
        study = TrialStudy(folder.study, prepared.proposal, seed=request.seed)
        study.enqueue(prepared.starts)
        study.recover()
        known = frozenset(outcome.number for outcome in study.outcomes())
        runner = _runner(prepared, worker, settings, folder, request)
        try:
            Trials(study, runner, prepared, settings, observer).run(stops, began)
        finally:
            folder.write_trials(study.outcomes())
            if request.teach:
                keep_lessons(prepared, settings, study.outcomes(), known)
        if request.teach:
            keep_observations(prepared, study.outcomes(), known)
        result = _finished(folder, study) or _finish(prepared, worker, study, folder, settings, observer)
        runner.keep(())
        return result


def _runner(
    prepared: Prepared, worker: Worker, settings: Settings, folder: OutputFolder, request: Request
) -> TorchRunner:
    gauge = Gauge(worker, prepared, general_texts(request.general_text))
    return TorchRunner(worker, prepared.parts, prepared.objective, settings.size, folder.states, gauge)


def _worker(prepared: Prepared) -> Worker:
    return Worker(
        prepared.model,
        prepared.hardware,
        head_seed=prepared.seed,
        label_names=prepared.data.spec.labels,
        class_weights=prepared.data.spec.class_weights,
    )


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
