"""Which settings decided how well a trial did, by the variance that a random forest over the trials explains.

All trials are compared at their first reading, after equal training, so that stopped ones count too. Settings of
different methods are not comparable, so the question is asked twice: across methods, of what every method has, and
within the method that was tried most, of its own settings.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from autopeft.values.outcomes import TrialOutcome

LEAST_TRIALS = 12
"""Below so many trials that were read, importances say more about chance than about settings."""

_RATE = "learning_rate"


@dataclass(frozen=True, kw_only=True)
class Tried:
    """A trial that was read at least once: its parameters and their ranges by Optuna's names."""

    outcome: TrialOutcome
    parameters: Mapping[str, Any]
    distributions: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Importances:
    """Shares of the explained variance by setting, largest first.

    Attributes:
        across: what was asked about: ``all methods``, or one method's name.
        trials: how many trials they rest on.
    """

    across: str
    trials: int
    shares: Mapping[str, float]


def importances(tried: Sequence[Tried]) -> tuple[Importances, ...]:
    """Returns the importances for the loss at the first reading (fANOVA, Hutter et al. 2014); few trials give none."""
    most = Counter(each.outcome.candidate.method for each in tried).most_common(1)
    own = [each for each in tried if most and each.outcome.candidate.method == most[0][0]]
    asked = [("all methods", tried, [_common(each) for each in tried])]
    if len(own) < len(tried):
        asked.append((most[0][0], own, [_own(each) for each in own]))
    found = (_asked(across, which, rows) for across, which, rows in asked if len(which) >= LEAST_TRIALS)
    return tuple(each for each in found if each.shares)


def _common(tried: Tried) -> dict[str, float | str]:
    """Returns what every method has; rates by their place in the method's own range."""
    candidate = tried.outcome.candidate
    place = _place(candidate.learning_rate, tried.distributions.get(f"{candidate.method}.{_RATE}"))
    return {
        "method": candidate.method,
        "learning rate, by its place in the method's range": place,
        "batch size": str(candidate.batch_size * candidate.accumulation),
    }


def _own(tried: Tried) -> dict[str, float | str]:
    found: dict[str, float | str] = {}
    for name, value in tried.parameters.items():
        searched = tried.distributions[name]
        if name != "method":
            has_range = getattr(searched, "low", None) is not None
            found[name.rpartition(".")[2].replace("_", " ")] = _place(value, searched) if has_range else str(value)
    return found


def _place(value: float, searched: Any) -> float:
    """Returns where a value lies in its range, 0 to 1; 0.5 where the range is not known or is one point."""
    low, high = getattr(searched, "low", None), getattr(searched, "high", None)
    if low is None or high is None or low >= high:
        return 0.5
    inside = min(high, max(low, value))
    if searched.log:
        return math.log(inside / low) / math.log(high / low)
    return float((inside - low) / (high - low))


def _asked(across: str, tried: Sequence[Tried], rows: Sequence[Mapping[str, float | str]]) -> Importances:
    losses = [each.outcome.curve[0].validation_loss for each in tried]
    varied = [name for name in rows[0] if len({row[name] for row in rows}) > 1]
    if not varied or max(losses) == min(losses):
        return Importances(across=across, trials=len(tried), shares={})
    shares = _variance_shares([{name: row[name] for name in varied} for row in rows], losses)
    return Importances(across=across, trials=len(tried), shares=shares)


def _variance_shares(rows: Sequence[Mapping[str, float | str]], losses: Sequence[float]) -> dict[str, float]:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study()
    distributions: dict[str, Any] = {
        name: optuna.distributions.FloatDistribution(0.0, 1.0)
        if isinstance(value, float)
        else optuna.distributions.CategoricalDistribution(sorted({str(row[name]) for row in rows}))
        for name, value in rows[0].items()
    }
    # Ranks: one diverging trial would otherwise hold all the variance.
    order = {loss: position for position, loss in enumerate(sorted(set(losses)))}
    for row, loss in zip(rows, losses, strict=True):
        study.add_trial(
            optuna.trial.create_trial(params=dict(row), distributions=distributions, value=float(order[loss]))
        )
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    return dict(optuna.importance.get_param_importances(study, evaluator=evaluator))
