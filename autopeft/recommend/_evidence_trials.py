"""A trial's outcome as a measured run, so that what was tried once counts the next time."""

import datetime
import math
from collections.abc import Mapping

from autopeft.environment import stack
from autopeft.recommend._evidence_checks import possible
from autopeft.values.candidates import Candidate
from autopeft.values.evidence import Run, RunModel, RunPoint, RunQuality, RunTask
from autopeft.values.outcomes import TrialOutcome
from autopeft.values.profiles import ModelProfile, TaskProfile

SHARES = frozenset({"accuracy", "macro_f1", "seqeval_f1", "exact_match", "rouge_l"})
"""Metrics between 0 and 1."""


def model_facts(profile: ModelProfile, name: str) -> RunModel:
    """Returns what a run keeps of a model, under a name that means something on other machines too."""
    return RunModel(
        name=name, kind=profile.kind, model_type=profile.model_type, parameters=profile.parameters,
        layers=profile.layers, hidden_size=profile.hidden_size, vocabulary_size=profile.vocabulary_size,
    )  # fmt: skip


def task_facts(profile: TaskProfile, name: str) -> RunTask:
    """Returns what a run keeps of a task, under a name that means something on other machines too.

    Args:
        profile: of the data.
        name: of the data set.
    """
    return RunTask(
        name=name, task=profile.task, rows=profile.training_rows, labels=len(profile.labels),
        tokens_per_row=round(profile.tokens.mean, 2), language=profile.language,
    )  # fmt: skip


def trial_run(
    outcome: TrialOutcome,
    *,
    name: str,
    setting: str,
    model: RunModel,
    task: RunTask,
    metric: str,
    lower_is_better: bool,
    scored_rows: int | None,
    seed: int,
    device: str,
    on_gpu: bool,
    source: str,
    licence: str,
    reference: bool = False,
    date: str | None = None,
    notes: tuple[str, ...] = (),
) -> Run:
    """Returns a trial as a run.

    Args:
        outcome: of the trial, whatever its status; the tokens are those of one training.
        name: of the run, unique where it is kept.
        setting: of the trial; see `Run`.
        model: from `model_facts`.
        task: from `task_facts`.
        metric: that decided.
        lower_is_better: of that metric.
        scored_rows: behind the score.
        seed: of the trial.
        device: as a reader knows it.
        on_gpu: whether the peak is reserved memory of a GPU, not that of the whole process.
        source: what measured it.
        licence: of the figures.
        reference: whether the trial is the default recipe.
        date: ``YYYY-MM-DD``; today where it is None.
        notes: what a reader has to know.
    """
    candidate = outcome.candidate
    kind = ("reserved" if on_gpu else "process") if outcome.peak_bytes is not None else ""
    return Run(
        name=name, setting=setting, model=model, task=task, method=candidate.method, original=candidate.method,
        parameters=dict(candidate.parameters), targets=candidate.targets, layers=candidate.layers,
        quantization=candidate.quantization, dtype=candidate.dtype, optimizer=candidate.optimizer,
        schedule=candidate.schedule,
        learning_rate=candidate.learning_rate, batch_size=_rows(candidate), tokens=_tokens(outcome), seed=seed,
        reference=reference, trainable_parameters=outcome.trainable_parameters, status=outcome.status,
        reason=outcome.reason, quality=_quality(outcome, metric, scored_rows, lower_is_better=lower_is_better),
        peak_bytes=outcome.peak_bytes, peak_kind=kind, seconds=round(outcome.seconds, 2), versions=dict(stack()),
        device=device, date=date or datetime.date.today().isoformat(), source=source, licence=licence, notes=notes,
    )  # fmt: skip


def _tokens(outcome: TrialOutcome) -> int:
    """Returns the tokens of one training: of a trial over several folds the first, which is the one that is read."""
    return outcome.curve[-1].tokens if outcome.curve else outcome.tokens


def _rows(candidate: Candidate) -> int:
    return candidate.batch_size * candidate.accumulation


def _quality(
    outcome: TrialOutcome, metric: str, scored_rows: int | None, *, lower_is_better: bool
) -> RunQuality | None:
    if outcome.status != "completed" or outcome.score is None or not math.isfinite(outcome.score):
        return None
    last = max((reading.tokens for reading in outcome.curve), default=0)
    curve = tuple(
        RunPoint(
            share=round(reading.tokens / last, 4),
            # A reading that no step separates from the one before has no training loss.
            train_loss=round(reading.train_loss, 5) if math.isfinite(reading.train_loss) else None,
            validation_loss=round(reading.validation_loss, 5),
        )
        for reading in outcome.curve
    )
    found = RunQuality(
        metric=metric, value=outcome.metrics.get(metric, outcome.score), higher_is_better=not lower_is_better,
        share=metric in SHARES, rows=scored_rows, curve=curve, others=_others(outcome.metrics, metric),
    )  # fmt: skip
    # No error at all, which a metric that falls can come to, has no level among others.
    return found if possible(found, found.value) else None


def _others(metrics: Mapping[str, float], deciding: str) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if name != deciding and math.isfinite(value)}
