"""Several objectives: the trials that nothing beats, and the one of them to take.

A study with several objectives cannot be pruned by Optuna, so trials are proposed and pruned on held-out loss as ever;
the front is built from what was measured of those that came to their end.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from autopeft.errors import invalid, unknown
from autopeft.fronts import Costs, front
from autopeft.values.names import CRITERIA, Criterion
from autopeft.values.outcomes import Knee, ParetoPoint, TrialOutcome

COST_GRAIN = 0.05
"""Share of the least measured cost below which a difference is taken for noise: a busy machine moves times by more."""

FORGETTING_GRAIN, FORGETTING_UNIT = 0.01, 0.1
"""For forgetting, as shares of the measure before training: what is noise, and what its changes are weighed in."""


def check_objectives(names: Sequence[str]) -> tuple[Criterion, ...]:
    """Returns the objectives in their own order, quality first.

    Raises:
        InvalidValueError: a name is unknown, or quality is not among them.
    """
    for name in names:
        if name not in CRITERIA:
            raise unknown("--objective", "autopeft search", name, CRITERIA)
    if "quality" not in names:
        raise invalid(
            "--objective", "autopeft search", "quality, alone or with others", ",".join(names),
            "Without it the best configuration would be the one that trains nothing.",
        )  # fmt: skip
    return tuple(name for name in CRITERIA if name in names)


def measured(outcome: TrialOutcome, objective: Criterion) -> float | None:
    """Returns what was measured of a trial, quality as its score; None where it was not.

    Memory, seconds of training and milliseconds per row are as `ParetoPoint` has them.
    """
    return _MEASURED[objective](outcome)


_MEASURED: Mapping[Criterion, Callable[[TrialOutcome], float | None]] = {
    "quality": lambda o: o.score,
    "memory": lambda o: o.peak_bytes,
    "time": lambda o: o.curve[-1].seconds if o.curve else None,
    "forgetting": lambda o: o.forgetting.change if o.forgetting else None,
    "latency": lambda o: o.latency.row_milliseconds if o.latency else None,
}


def knee(costs: Costs, grains: Costs, units: Sequence[float]) -> int:
    """Returns the position of the point of a front that lies nearest to the best of everything.

    Each objective is measured in its range over the front, and at least in its unit, so that a range which is small
    for what it measures weighs little. What a point gives up below its grain, which is what the measurement cannot
    tell apart, counts as nothing; between equals the better in the first objective is taken.

    Args:
        costs: of the points on a front.
        grains: of each point and objective, in the same units.
        units: of each objective.
    """
    columns = list(zip(*costs, strict=True))
    best = [min(column) for column in columns]
    spans = [max(max(column) - least, unit) for column, least, unit in zip(columns, best, units, strict=True)]

    def distance(index: int) -> float:
        given_up = (
            max(0.0, own - least - grain) / span if span > 0 else 0.0
            for own, grain, least, span in zip(costs[index], grains[index], best, spans, strict=True)
        )
        return math.hypot(*given_up)

    return min(range(len(costs)), key=lambda index: (distance(index), costs[index], index))


@dataclass(frozen=True, kw_only=True)
class Front:
    """The Pareto front of a search: its trials by number, and the order in which they are worth taking."""

    objectives: tuple[Criterion, ...]
    trials: tuple[TrialOutcome, ...]
    preferred: tuple[TrialOutcome, ...]

    def points(self, sign: float) -> tuple[ParetoPoint, ...]:
        """Returns the front for the result; ``sign`` turns scores back into the metric's own terms."""
        return tuple(
            ParetoPoint(
                number=trial.number,
                config=trial.candidate,
                values={name: _value(trial, name) * (sign if name == "quality" else 1.0) for name in self.objectives},
            )
            for trial in self.trials
        )


def unmeasured(found: Front) -> tuple[str, ...]:
    """Returns a note where several objectives were asked for and no trial was measured in all of them."""
    if found.trials or len(found.objectives) == 1:
        return ()
    return (f"No completed trial was measured in {', '.join(found.objectives)}, so quality alone decided.",)


def search_front(outcomes: Sequence[TrialOutcome], objectives: tuple[Criterion, ...]) -> Front:
    """Returns the front of the completed trials of which everything asked for was measured.

    It is empty where quality alone was asked for, since that ranks trials and leaves nothing to weigh.
    """
    if len(objectives) == 1:
        return Front(objectives=objectives, trials=(), preferred=())
    known = [o for o in outcomes if o.status == "completed" and all(measured(o, n) is not None for n in objectives)]
    costs = [_costs(outcome, objectives) for outcome in known]
    places = front(costs)
    left, preferred = [known[place] for place in places], []
    while left:
        preferred.append(left.pop(_knee(left, objectives)))
    return Front(objectives=objectives, trials=tuple(known[place] for place in places), preferred=tuple(preferred))


def _knee(trials: Sequence[TrialOutcome], objectives: tuple[Criterion, ...]) -> int:
    units = [_unit(trials, name) for name in objectives]
    return knee([_costs(trial, objectives) for trial in trials], _grains(trials, objectives), units)


def _unit(trials: Sequence[TrialOutcome], objective: Criterion) -> float:
    """Returns the difference that an objective is measured in at the least: twice the cost, a tenth more perplexity."""
    if objective == "quality":
        return 0.0
    if objective == "forgetting":
        return FORGETTING_UNIT * max(trial.forgetting.before for trial in trials if trial.forgetting)
    return min(_value(trial, objective) for trial in trials)


def _costs(outcome: TrialOutcome, objectives: tuple[Criterion, ...]) -> tuple[float, ...]:
    return tuple(-_value(outcome, name) if name == "quality" else _value(outcome, name) for name in objectives)


def _value(outcome: TrialOutcome, objective: Criterion) -> float:
    value = measured(outcome, objective)
    if value is None:
        raise ValueError(f"The {objective} of trial {outcome.number} was not measured.")
    return value


def _grains(trials: Sequence[TrialOutcome], objectives: tuple[Criterion, ...]) -> list[tuple[float, ...]]:
    best = _best(trials)
    least = {name: min(abs(_value(trial, name)) for trial in trials) for name in objectives}

    def grain(trial: TrialOutcome, name: Criterion) -> float:
        if name == "quality":
            return indistinct(best, trial)
        if name == "forgetting":
            return FORGETTING_GRAIN * trial.forgetting.before if trial.forgetting else 0.0
        return COST_GRAIN * least[name]

    return [tuple(grain(trial, name) for name in objectives) for trial in trials]


def _best(trials: Sequence[TrialOutcome]) -> TrialOutcome:
    return max(trials, key=lambda trial: (_value(trial, "quality"), -trial.number))


def indistinct(one: TrialOutcome, other: TrialOutcome) -> float:
    """Returns the difference of two scores that validation cannot tell from none: one standard error of it."""
    return math.hypot(one.score_error or 0.0, other.score_error or 0.0)


def explained(chosen: TrialOutcome, found: Front, metric: str, sign: float) -> Knee:
    """Returns the trial that was taken, with the reason in one or two sentences."""
    best, many = _best(found.trials), len(found.trials)
    score = f"{metric} {sign * _value(chosen, 'quality'):.4f}"
    if many == 1:
        reason = f"Trial {chosen.number} is the front: no other is better in anything."
    elif chosen is best:
        reason = (
            f"Trial {chosen.number} has the best {score} of the {many} on the front, and what the others save is not "
            f"worth what they lose: {_least_costs(chosen, found)}."
        )
    else:
        gap, grain = _value(best, "quality") - _value(chosen, "quality"), indistinct(best, chosen)
        unseen = "within" if gap <= grain else "more than"
        reason = (
            f"Trial {chosen.number} lies nearest to the best of everything among the {many} on the front: its {score} "
            f"is {gap:.4f} from the best, trial {best.number}, which is {unseen} the standard error of {grain:.4f}; "
            f"{_against(chosen, best, found.objectives)}."
        )
    return Knee(number=chosen.number, reason=reason)


_WORDS: Mapping[Criterion, tuple[str, Callable[[float], str]]] = {
    "memory": ("peak memory", lambda v: f"{v / 2**20:,.0f} MiB"),
    "time": ("training time", lambda v: f"{v:.1f} s"),
    "forgetting": ("forgetting", lambda v: f"{v:+.3g}"),
    "latency": ("latency", lambda v: f"{v:.2f} ms/row"),
}


def said(objective: Criterion, value: float) -> str:
    """Returns a measured cost in words and with its unit, such as ``12.1 s``."""
    return _WORDS[objective][1](value)


def titled(objective: Criterion) -> str:
    """Returns an objective's name in words."""
    return objective if objective == "quality" else _WORDS[objective][0]


def _against(chosen: TrialOutcome, best: TrialOutcome, objectives: tuple[Criterion, ...]) -> str:
    pairs = [
        (titled(name), said(name, _value(chosen, name)), said(name, _value(best, name)))
        for name in objectives
        if name != "quality"
    ]
    return ", ".join(f"{title} {own} instead of {its}" for title, own, its in pairs if own != its)


def _least_costs(chosen: TrialOutcome, found: Front) -> str:
    return ", ".join(
        f"{titled(name)} {said(name, _value(chosen, name))} against "
        f"{said(name, min(_value(trial, name) for trial in found.trials))} at the least"
        for name in found.objectives
        if name != "quality"
    )
