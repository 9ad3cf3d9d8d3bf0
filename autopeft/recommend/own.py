"""What the user's own searches say: their trials on the same model and data correct what published runs predict."""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from statistics import mean

from autopeft.recommend.evidence import level
from autopeft.recommend.expect import repredicted
from autopeft.recommend.observed import POINTS_PER_LOSS, combined
from autopeft.recommend.setting import EPOCHS, Setting
from autopeft.values.candidates import Suggestion
from autopeft.values.evidence import Run

FEWEST = 2
"""Methods that a search must have brought to their end: one alone can't be compared."""


def with_own(suggestions: Sequence[Suggestion], setting: Setting, runs: Iterable[Run]) -> tuple[Suggestion, ...]:
    """Returns the suggestions with predictions corrected by the user's own trials, one search after the other.

    A method's best finished trial counts for all its suggestions, which are what a search would start from.

    Args:
        suggestions: with their predictions.
        setting: whose model and data the trials must have been on.
        runs: the user's store.
    """
    found = tuple(suggestions)
    for trials in _searches(setting, runs).values():
        levels = _levels(trials)
        if len(levels) >= FEWEST:
            found = _corrected(found, levels, _planned(setting) / mean(trial.tokens or 1 for trial in trials))
    return found


def counted(setting: Setting, runs: Iterable[Run]) -> int:
    """Returns how many of the user's trials `with_own` counts."""
    searches = _searches(setting, runs).values()
    return sum(len(trials) for trials in searches if len(_levels(trials)) >= FEWEST)


def _searches(setting: Setting, runs: Iterable[Run]) -> dict[str, list[Run]]:
    found: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        if run.status == "completed" and run.quality is not None and run.tokens and _same(run, setting):
            found[run.setting].append(run)
    return found


def _same(run: Run, setting: Setting) -> bool:
    """Returns whether a run was on this model and, by its measures, on this data."""
    model, task = setting.model, setting.task
    return (
        (run.model.model_type, run.model.parameters, run.model.layers)
        == (model.model_type, model.parameters, model.layers)
        and (run.task.task, run.task.rows, run.task.labels) == (task.task, task.training_rows, len(task.labels))
        and run.task.tokens_per_row == round(task.tokens.mean, 2)
    )  # fmt: skip


def _levels(trials: Iterable[Run]) -> dict[str, float]:
    """Returns the best that each method came to, in per cent of the loss or what a share's points stand for."""
    best: dict[str, float] = {}
    for run in trials:
        if run.method is None or run.quality is None:
            continue
        reached = level(run.quality) / (POINTS_PER_LOSS if run.quality.higher_is_better else 1.0)
        best[run.method] = max(best.get(run.method, -math.inf), reached)
    return best


def _planned(setting: Setting) -> float:
    return setting.task.training_rows * EPOCHS * setting.task.tokens.mean


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
