"""How long a full trial is: from a measured speed and the search's time."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from autopeft.data import EncodedData, EncodedDataset
from autopeft.training.devices import memory_guard
from autopeft.training.run import plan_steps
from autopeft.training.worker import Worker
from autopeft.tuning.halving import READINGS, REDUCTION, readings
from autopeft.values.candidates import Candidate
from autopeft.values.plans import Plan

FULL_TRIALS = 10
"""A search's time is cut into so many full trials; pruning turns them into several times as many starts."""

LONGEST_EPOCHS = 3
"""No trial sees the training rows more often than this: more is for the full training."""

FORWARD_SHARE = 1 / 3
"""Time of a token that is scored over that of a token trained on: a forward pass without a backward one."""

READ_SHARE, SCORED_SHARE = 1 / 8, 1 / 2
"""Of the rows trained on, so many stand behind a reading's loss and behind the score, where there are as many."""

_READING_ROWS = (16, 512)
_SCORING_ROWS = 32
_WARM_UP_STEPS, _PROBE_STEPS, _PLANNED_STEPS = 2, 8, 20
"""Steps before the clock starts, those at whose end it stops, and those of the run that they begin: methods that
schedule over a run refuse one as short as what is measured."""


@dataclass(frozen=True, kw_only=True)
class TrialSize:
    """How much a full trial trains and scores, per fold.

    Attributes:
        tokens: trained on.
        pruning_rows: validation rows behind each reading's loss.
        scoring_rows: validation rows behind the score at the end.
        readings: shares of the tokens after which a trial is read, the last of them 1.
        folds: how many of a cross-validation's folds it takes, the first ones; None for all there are.
    """

    tokens: int
    pruning_rows: int
    scoring_rows: int
    readings: tuple[float, ...] = READINGS
    folds: int | None = None


def measure_speed(worker: Worker, candidate: Candidate, dataset: EncodedDataset) -> float:
    """Returns training tokens per second of a candidate on this machine, from a few steps after a warm-up.

    Raises:
        OutOfMemoryError: it does not fit.
    """
    rows = candidate.batch_size * candidate.accumulation * _PLANNED_STEPS
    plan = Plan(tokens=math.ceil(rows * fmean(dataset.lengths)))
    while len(plan_steps(dataset, candidate, plan)) < _PLANNED_STEPS:  # batches of very long rows came first
        plan = replace(plan, tokens=2 * plan.tokens)
    with memory_guard(), worker.attached(candidate, plan, dataset) as run:
        run.advance(_WARM_UP_STEPS / _PLANNED_STEPS)
        tokens, seconds = run.tokens, run.seconds
        run.advance(_PROBE_STEPS / _PLANNED_STEPS)
        return (run.tokens - tokens) / (run.seconds - seconds)


def trial_size(
    data: EncodedData, tokens_per_second: float, seconds: float | None, given: int | None, parts: int, step_rows: int,
    *, all_parts: bool = True, at_once: int = 1,
) -> TrialSize:  # fmt: skip
    """Returns the size of a full trial, so that about ten of them, scored, fill the time.

    Folds make a score steadier and every training shorter: of folds that nobody asked for, a trial takes as many as
    leave each training the length it would have without a time limit. Readings see an eighth of the rows trained on
    and the score half, so that scoring stays below a quarter of a trial; small numbers of rows are noise, so where
    training is slow they take more of it.

    Args:
        data: training and validation rows of a fold.
        tokens_per_second: of training, from `measure_speed`.
        seconds: the search's time limit, None for no limit.
        given: tokens the user asked for; they win.
        parts: how many trainings a full trial takes, folds times repeats.
        step_rows: of an optimizer step.
        all_parts: whether a full trial has to take them all.
        at_once: trials that are trained at the same time, each at that speed; what more of them bring makes trials
            longer and more of them in equal parts.
    """
    train, validation = data["train"], data["validation"]
    folds, tokens = parts, LONGEST_EPOCHS * sum(train.lengths)
    if given is not None:
        tokens = given
    elif seconds is not None:
        trial = tokens_per_second * seconds * math.sqrt(at_once) / FULL_TRIALS
        if not all_parts:
            folds = max((count for count in range(1, parts + 1) if trial / _trainings(count) >= tokens), default=1)
        affordable = trial / _trainings(folds)
        scored = (
            _read_rows(_sized(train, validation, affordable, step_rows)) * fmean(validation.lengths) * FORWARD_SHARE
        )
        tokens = max(1, min(tokens, int(max(affordable - scored, affordable / 2))))
    return replace(_sized(train, validation, tokens, step_rows), folds=folds)


def folds_taken(size: TrialSize, parts: Sequence[object]) -> int:
    """Returns how many trainings a full trial of a size takes, where there are so many parts to train on."""
    return len(parts[: size.folds])


def scored_rows(size: TrialSize, parts: Sequence[object]) -> int:
    """Returns the validation rows behind a trial's score, where there are so many parts to train on."""
    return size.scoring_rows * folds_taken(size, parts)


def _trainings(parts: int) -> float:
    """Returns how many trainings a trial comes to on average: one in `REDUCTION` goes on after its first part."""
    return 1 + (parts - 1) / REDUCTION


def _sized(train: EncodedDataset, validation: EncodedDataset, tokens: float, step_rows: int) -> TrialSize:
    rows = tokens / fmean(train.lengths)
    least, most = _READING_ROWS
    return TrialSize(
        tokens=int(tokens),
        pruning_rows=min(len(validation), max(least, min(most, int(rows * READ_SHARE)))),
        scoring_rows=min(len(validation), max(_SCORING_ROWS, int(rows * SCORED_SHARE))),
        readings=readings(rows / step_rows),
    )


def trial_seconds(size: TrialSize, parts: Sequence[EncodedData], tokens_per_second: float) -> float:
    """Returns the seconds that a full trial is planned to take, with all its folds, readings and scores."""
    fold = size.tokens / tokens_per_second + evaluation_seconds(size, parts[0]["validation"], tokens_per_second)
    return fold * folds_taken(size, parts)


def _read_rows(size: TrialSize) -> int:
    return len(size.readings) * size.pruning_rows + size.scoring_rows


def evaluation_seconds(size: TrialSize, validation: EncodedDataset, tokens_per_second: float) -> float:
    """Returns the seconds that a full trial's readings and score take, per fold."""
    return _read_rows(size) * fmean(validation.lengths) * FORWARD_SHARE / tokens_per_second
