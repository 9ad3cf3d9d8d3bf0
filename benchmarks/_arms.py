"""Recorded trials to replay: complete learning curves of runs that differ in method and settings alone."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from autopeft.recommend.evidence import read_runs
from autopeft.report import read_story
from autopeft.values.evidence import Run, RunPoint
from autopeft.values.outcomes import TrialOutcome

LEAST_ARMS = 12
"""A pool of fewer runs is exhausted by a short search, and says nothing about searching."""

SIGNALS = ("train_loss", "validation_loss", "value")


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One recorded run.

    Attributes:
        seconds: of its whole training.
        value: its final quality, higher better.
        curves: (share of the budget, reading) by signal, ascending in the share; lower readings are better.
    """

    name: str
    method: str
    learning_rate: float
    trainable_parameters: int
    seconds: float
    value: float
    curves: Mapping[str, tuple[tuple[float, float], ...]]

    def reading(self, signal: str, share: float) -> float:
        """Returns a signal after a share of the budget, between two readings by the straight line."""
        import numpy as np

        shares, readings = zip(*self.curves[signal], strict=True)
        return float(np.interp(share, shares, readings))


@dataclass(frozen=True, kw_only=True)
class Pool:
    """Runs of one setting: the same model, task and budget.

    Attributes:
        advice: positions of its runs in the order in which the recommender expects them to gain; see `_advice`.
    """

    name: str
    arms: tuple[Arm, ...]
    advice: tuple[int, ...] = ()

    @property
    def signals(self) -> tuple[str, ...]:
        """The signals that every run has."""
        return tuple(signal for signal in SIGNALS if all(signal in arm.curves for arm in self.arms))

    @property
    def best(self) -> float:
        """The best final quality."""
        return max(arm.value for arm in self.arms)

    @property
    def mean_seconds(self) -> float:
        """The mean time of a full training: the unit of budgets."""
        return sum(arm.seconds for arm in self.arms) / len(self.arms)


def pools(evidence: Sequence[Path], studies: Sequence[Path]) -> list[Pool]:
    """Returns the pools in files of measured runs, one per setting, and in folders of searches, one each.

    Pools of fewer than `LEAST_ARMS` complete runs are left out, and measured runs whose metric is not a share: regrets
    are in points.
    """
    by_setting: dict[str, list[Arm]] = defaultdict(list)
    for path in evidence:
        for run in read_runs(path):
            quality = run.quality if run.status == "completed" else None
            if quality and quality.share and quality.curve and run.seconds:
                by_setting[run.setting].append(_arm_of_run(run))
    for folder in studies:
        story = read_story(folder)
        by_setting[str(folder)] = [_arm_of_trial(outcome) for outcome in story.ranked]
    made = [Pool(name=name, arms=tuple(arms)) for name, arms in by_setting.items()]
    return [pool for pool in made if len(pool.arms) >= LEAST_ARMS and pool.signals]


def _arm_of_run(run: Run) -> Arm:
    quality = run.quality
    if quality is None or run.seconds is None:
        raise ValueError(f"{run.name} has no quality or no seconds.")
    sign = 1.0 if quality.higher_is_better else -1.0
    curves = {signal: _curve(quality.curve, signal, -sign if signal == "value" else 1.0) for signal in SIGNALS}
    return Arm(
        name=run.name,
        method=run.original.partition("/")[0],
        learning_rate=run.learning_rate or 1e-4,
        trainable_parameters=run.trainable_parameters or 1,
        seconds=run.seconds,
        value=sign * quality.value,
        curves={signal: curve for signal, curve in curves.items() if curve},
    )


def _curve(points: Sequence[RunPoint], signal: str, sign: float) -> tuple[tuple[float, float], ...]:
    read = [(point.share, getattr(point, signal)) for point in points]
    return tuple((share, sign * value) for share, value in read if value is not None)


def _arm_of_trial(outcome: TrialOutcome) -> Arm:
    last = outcome.curve[-1].tokens
    return Arm(
        name=f"trial {outcome.number}",
        method=outcome.candidate.method,
        learning_rate=outcome.candidate.learning_rate,
        trainable_parameters=outcome.trainable_parameters or 1,
        seconds=outcome.curve[-1].seconds,
        value=outcome.score or 0.0,
        curves={
            signal: tuple((reading.tokens / last, getattr(reading, signal)) for reading in outcome.curve)
            for signal in ("train_loss", "validation_loss")
        },
    )
