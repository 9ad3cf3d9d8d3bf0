"""How long a full trial is: from a measured speed and the search's time."""

import math
from collections.abc import Sequence

from autopeft.data import EncodedDataset
from autopeft.training.worker import Worker
from autopeft.tuning.study import READINGS
from autopeft.values.candidates import Candidate
from autopeft.values.plans import Plan

FULL_TRIALS = 10
"""A search's time is cut into so many full trials; pruning turns them into several times as many starts."""

LONGEST_EPOCHS = 3
"""No trial sees the training rows more often than this: more is for the full training."""

_PROBE_STEPS = 8
_WARM_UP_SHARE = 0.25


def measure_speed(worker: Worker, candidate: Candidate, dataset: EncodedDataset) -> float:
    """Returns training tokens per second of a candidate on this machine, from a few steps after a warm-up."""
    rows = candidate.batch_size * candidate.accumulation * _PROBE_STEPS
    plan = Plan(tokens=math.ceil(rows * _mean(dataset.lengths)))
    with worker.attached(candidate, plan, dataset) as run:
        run.advance(_WARM_UP_SHARE)
        tokens, seconds = run.tokens, run.seconds
        run.advance(1.0)
        return (run.tokens - tokens) / (run.seconds - seconds)


def trial_tokens(
    dataset: EncodedDataset, tokens_per_second: float, seconds: float | None, given: int | None, folds: int
) -> int:
    """Returns the token budget of a full trial, per fold.

    Args:
        dataset: the training rows.
        tokens_per_second: from `measure_speed`.
        seconds: the search's time limit, None for no limit.
        given: what the user asked for; it wins.
        folds: how many trainings a full trial takes.
    """
    if given is not None:
        return given
    most = LONGEST_EPOCHS * sum(dataset.lengths)
    if seconds is None:
        return most
    return max(1, min(most, int(tokens_per_second * seconds / FULL_TRIALS / folds)))


def pruning_rows(dataset: EncodedDataset, tokens: int) -> int:
    """Returns how many validation rows a reading scores: about half the tokens trained for the first reading.

    A forward pass costs a third of a training step, so readings stay a small part of a trial.
    """
    affordable = int(tokens * READINGS[0] / 2 / _mean(dataset.lengths))
    return min(len(dataset), max(64, min(512, affordable)))


def _mean(lengths: Sequence[int]) -> float:
    return sum(lengths) / len(lengths)
