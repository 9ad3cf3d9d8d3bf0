"""What the user's own searches say: their trials on the same model and data correct what published runs predict."""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import mean

from autopeft.recommend.evidence import level
from autopeft.recommend.expect import repredicted
from autopeft.recommend.observed import POINTS_PER_LOSS, combined
from autopeft.recommend.setting import Setting, planned_tokens
from autopeft.tasks import get_task
from autopeft.values.candidates import Suggestion
from autopeft.values.evidence import Run, RunQuality

FEWEST = 2
"""Suggested methods that a search must have brought to their end: one alone can't be compared."""


@dataclass(frozen=True, kw_only=True)
class _Trial:
    """A finished trial on the setting's model and data.

    Attributes:
        reached: in per cent of the loss, or what a share's points stand for.
        tokens: of one training.
    """

    method: str
    reached: float
    tokens: int


def with_own(
    suggestions: Sequence[Suggestion], setting: Setting, runs: Iterable[Run]
) -> tuple[tuple[Suggestion, ...], int]:
    """Returns the suggestions with predictions corrected by the user's own trials, and by how many trials.

    One search after the other. A method's best finished trial counts for all its suggestions, which are what a search
    would start from.

    Args:
        suggestions: with their predictions.
        setting: whose model and data the trials must have been on.
        runs: the user's store.
    """
    found, count = tuple(suggestions), 0
    for trials in _searches(setting, runs).values():
        ratio = planned_tokens(setting.task) / mean(trial.tokens for trial in trials)
        after = _corrected(found, _levels(trials), ratio)
        count += len(trials) if after != found else 0
        found = after
    return found, count


def _searches(setting: Setting, runs: Iterable[Run]) -> dict[str, list[_Trial]]:
    found: dict[str, list[_Trial]] = defaultdict(list)
    for run in runs:
        trial = _trial(run) if _same(run, setting) else None
        if trial is not None:
            found[run.setting].append(trial)
    return found


def _trial(run: Run) -> _Trial | None:
    """Returns what a run says of its method; None where it did not end, or nobody knows what its score is worth."""
    quality = run.quality
    if run.status != "completed" or run.method is None or quality is None or not run.tokens:
        return None
    if not _comparable(quality, run):
        return None
    reached = level(quality) / (POINTS_PER_LOSS if quality.higher_is_better else 1.0)
    return _Trial(method=run.method, reached=reached, tokens=run.tokens)


def _comparable(quality: RunQuality, run: Run) -> bool:
    """Whether a quality counts in points: of a metric of the user's own nobody knows what its range is."""
    return not quality.higher_is_better or quality.share or quality.metric in get_task(run.task.task).metrics


def _same(run: Run, setting: Setting) -> bool:
    """Returns whether a run was on this model and, by its measures, on this data."""
    model, task = setting.model, setting.task
    return (
        (run.model.model_type, run.model.parameters, run.model.layers)
        == (model.model_type, model.parameters, model.layers)
        and (run.task.task, run.task.rows, run.task.labels) == (task.task, task.training_rows, len(task.labels))
        and run.task.tokens_per_row == round(task.tokens.mean, 2)
    )  # fmt: skip


def _levels(trials: Iterable[_Trial]) -> dict[str, float]:
    """Returns the best that each method came to."""
    best: dict[str, float] = {}
    for trial in trials:
        best[trial.method] = max(best.get(trial.method, -math.inf), trial.reached)
    return best


def _corrected(suggestions: tuple[Suggestion, ...], levels: dict[str, float], ratio: float) -> tuple[Suggestion, ...]:
    known = {
        place: s.prediction for place, s in enumerate(suggestions) if s.prediction and s.candidate.method in levels
    }
    if len({suggestions[place].candidate.method for place in known}) < FEWEST:
        return suggestions
    readings = [levels[suggestions[place].candidate.method] for place in known]
    changed = list(suggestions)
    for place, prediction in zip(known, combined(list(known.values()), readings, ratio), strict=True):
        changed[place] = repredicted(suggestions[place], prediction)
    return tuple(changed)
