"""Leave-one-out evaluation of advice over measured settings, with intervals by a bootstrap over models and data."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import comb
from typing import Any

import numpy as np

from autopeft.recommend.surrogate import LEVELS, widths
from benchmarks._gains import Row
from benchmarks._kinds import KINDS, Predictor, method_means
from benchmarks._mixed import fit, predicted

FEWEST = 4
"""Runs that a setting must have for a choice among them to mean something."""
RESAMPLES = 2000

Array = np.ndarray[Any, Any]
SCHEMES: Mapping[str, Callable[[Row], str]] = {
    "task": lambda row: row.trained_on,
    "model": lambda row: row.whole_model,
    "method": lambda row: row.method,
    "source": lambda row: row.origin,
}


def places_by(rows: Sequence[Row], key: Callable[[Row], str]) -> Mapping[str, list[int]]:
    """Returns the places of the rows of each group, in order."""
    found: dict[str, list[int]] = defaultdict(list)
    for place, row in enumerate(rows):
        found[key(row)].append(place)
    return found


def held_out(rows: Sequence[Row], scheme: str, make: Callable[[Sequence[Row]], Predictor]) -> Array:
    """Returns a prediction for each row by a model that has not seen its task, model, method or source."""
    key = SCHEMES[scheme]
    predicted = np.zeros(len(rows))
    for name, places in places_by(rows, key).items():
        predictor = make([row for row in rows if key(row) != name])
        predicted[places] = predictor([rows[place] for place in places])
    return predicted


def missed(rows: Sequence[Row], predicted: Array) -> Array:
    """Returns how far each row lies from what was predicted; not a number for a reference, as in `covered`."""
    off: Array = np.abs(predicted - np.array([row.points for row in rows]))
    off[[place for place, row in enumerate(rows) if row.run.reference]] = np.nan
    return off


def covered(rows: Sequence[Row], scheme: str) -> Mapping[float, Array]:
    """Returns, by level, whether each row lies in the interval of a surrogate that has not seen its group.

    Not a number for a reference, which gains nothing by definition.
    """
    key = SCHEMES[scheme]
    inside = {level: np.zeros(len(rows)) for level in LEVELS}
    for name, places in places_by(rows, key).items():
        fitted = fit([row for row in rows if key(row) != name], "2000-01-01")
        held = [rows[place] for place in places]
        described, units = [row.described for row in held], [row.unit for row in held]
        points, scale = predicted(held, fitted)
        off = np.abs(points - np.array([row.points for row in held])) / scale
        for level in LEVELS:
            inside[level][places] = off <= widths(described, units, level, fitted)
            inside[level][[place for place in places if rows[place].run.reference]] = np.nan
    return inside


def settings(rows: Sequence[Row]) -> list[list[int]]:
    """Returns the places of each setting's runs, for settings with enough of them."""
    return [places for places in places_by(rows, lambda row: row.run.setting).values() if len(places) >= FEWEST]


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What came of following a policy in one setting.

    Attributes:
        regret: of its first suggestion, against the best run of the setting.
        best_of_three: regret of the best of its first three.
        hit: chance that its first suggestion is the best run, or within what repeats differ by.
        rank: Spearman correlation of its order with what was measured; nan for a policy without an order.
    """

    drawn: tuple[str, str]
    unit: str
    regret: float
    best_of_three: float
    hit: float
    rank: float


HIT_WITHIN = 0.8


def followed(rows: Sequence[Row], places: Sequence[int], scores: Array) -> Choice:
    """Returns what came of trying a setting's runs in the order of their scores; ties count as their orders' mean."""
    points = np.array([rows[place].points for place in places])
    best = points.max()
    lost = best - points[scores == scores.max()]
    return Choice(
        drawn=rows[places[0]].drawn, unit=rows[places[0]].unit, regret=float(lost.mean()),
        best_of_three=float(best - _expected_best(points, scores, 3)), hit=float((lost <= HIT_WITHIN).mean()),
        rank=spearman(scores, points),
    )  # fmt: skip


def unavoidable(points: Array, noise: float) -> float:
    """Returns the regret of whoever knows each run's mean, where repeats differ by so much: some best is luck's."""
    repeats = points + np.random.default_rng(0).normal(0, noise, (RESAMPLES, len(points)))
    return float((repeats.max(axis=1) - repeats[:, points.argmax()]).mean())


def _expected_best(points: Array, scores: Array, count: int) -> float:
    """Returns the best of so many with the highest scores, on average over the orders that ties leave open."""
    best = -np.inf
    for score in np.unique(scores)[::-1]:
        tied = np.sort(points[scores == score])[::-1]
        if len(tied) >= count:  # the best of a random few of these is each with the chance that none better is drawn
            chances = [comb(len(tied) - place, count - 1) for place in range(1, len(tied) + 1)]
            return float(np.dot(chances, np.maximum(tied, best))) / comb(len(tied), count)
        best, count = max(best, tied[0]), count - len(tied)
    return float(best)


def spearman(first: Array, second: Array) -> float:
    """Returns the rank correlation; nan where one side does not vary."""
    from scipy.stats import spearmanr

    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return float("nan")
    return float(spearmanr(first, second).statistic)


def default_scores(rows: Sequence[Row], places: Sequence[int]) -> Array:
    """Returns the scores of a policy that always takes plain LoRA as its setting has it."""
    return np.array([float(rows[place].run.reference) for place in places])


def overall_best(rows: Sequence[Row], scheme: str) -> Array:
    """Returns each row's method's mean gain over what was not held out: the evidence's overall best comes first."""
    return held_out(rows, scheme, lambda part: _means(part))


def _means(part: Sequence[Row]) -> Predictor:
    means = method_means(part)
    return lambda others: np.array([means.get(row.method, 0.0) for row in others])


def random_choice(rows: Sequence[Row], places: Sequence[int]) -> Choice:
    """Returns what a random order comes to on average."""
    return replace(followed(rows, places, np.zeros(len(places))), rank=float("nan"))


def interval(values: Sequence[float], drawn: Sequence[Sequence[str]], seed: int = 0) -> tuple[float, float, float]:
    """Returns the mean and its 95 % interval by a bootstrap that draws whole groups of each kind.

    A value counts as often as all of its groups were drawn, so that what shares one of them is not taken for two pieces
    of evidence (the pigeonhole bootstrap, A. Owen 2007, doi 10.1214/07-AOAS122).

    Args:
        values: those that are no number are left out.
        drawn: of each value, the group of each kind that it belongs to.
        seed: of the draws.
    """
    known = [place for place, value in enumerate(values) if not np.isnan(value)]
    if not known:
        return (float("nan"),) * 3
    kept = np.array([values[place] for place in known])
    rng, weights = np.random.default_rng(seed), np.ones((RESAMPLES, len(known)))
    for groups in zip(*(drawn[place] for place in known), strict=True):
        names, places = np.unique(groups, return_inverse=True)
        weights *= rng.multinomial(len(names), np.full(len(names), 1 / len(names)), RESAMPLES)[:, places]
    counts = weights.sum(axis=1)
    means = (weights @ kept)[counts > 0] / counts[counts > 0]
    low, high = np.percentile(means, [2.5, 97.5])
    return float(kept.mean()), float(low), float(high)


def errors(rows: Sequence[Row], scheme: str) -> Mapping[str, tuple[float, float]]:
    """Returns mean absolute error and mean regret by kind of model, to choose among them."""
    found = {}
    for name, make in KINDS.items():
        predicted = held_out(rows, scheme, make)
        regrets = [followed(rows, places, predicted[places]).regret for places in settings(rows)]
        off = missed(rows, predicted)
        found[name] = (float(np.nanmean(off)), float(np.mean(regrets)))
    return found
