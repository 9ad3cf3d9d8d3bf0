"""Fits the surrogate: a hierarchical linear model by its closed form, intervals by cross-fitted residuals."""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from autopeft.recommend._surrogate_features import DIRECT, FAMILIES, NAMES, TERMS, vector
from autopeft.recommend.surrogate import LEVELS, Measured, Surrogate, design, estimate
from benchmarks._gains import Row

FAMILY, METHOD, RATE, OTHER = 2.0, 2.0, 3.0, 1.0
"""Standard deviations that effects are believed to have before any run, in points."""
STARVED = -20.0
"""Points believed to be lost by a whole range of rates below the middle of a method's own: published runs that differ
in the rate alone lose 14 to 29. Without this belief the few runs at low rates taught that short runs want them."""
SETTING = 3.0
"""By how much a method's effect differs from one model and data set to another."""
RATES = {"starved": 30.0, "heated": 100.0}
"""By how much what a whole range of rates too low, or too high, costs differs likewise: well above its best rate one
method collapses where another does not, so such runs say little of either. Set with all runs at hand."""
REFERENCE = 5.0
"""By how much the default recipe itself is lucky or not in a setting, which moves all gains there together."""
NOISE = {"points": 3.0, "per cent of the loss": 15.0}
"""What repeats of a run differ by; short runs are compared by their loss, and differ more."""
FOLDS = 3

Array = np.ndarray[Any, Any]


def weights(rows: Sequence[Row]) -> Array:
    """Returns weights by which repeats of a method on one model and data set count little more than one run."""
    counts: dict[tuple[str, str], int] = defaultdict(int)
    for row in rows:
        counts[row.method, row.cluster] += 1
    return np.array([counts[row.method, row.cluster] ** -0.5 for row in rows])


def fit(rows: Sequence[Row], date: str) -> Surrogate:
    """Returns the surrogate of the rows, its intervals calibrated on what its effects have not seen.

    On whole clusters for methods in the evidence, on whole methods for those that are not.
    """
    made = uncalibrated(rows, date)
    known = _quantiles(*_scores(rows, lambda row: row.cluster))
    unseen = _quantiles(*_scores(rows, lambda row: row.method))
    # An unseen method is no better known than a seen one.
    unseen = {level: max(value, known[level]) for level, value in unseen.items()}
    return replace(made, quantiles=known, unseen_quantiles=unseen)


def uncalibrated(rows: Sequence[Row], date: str) -> Surrogate:
    """Returns the surrogate of the rows with intervals of one standard deviation."""
    methods = tuple(sorted({row.method for row in rows}))
    effects, covariance = _posterior(rows, methods)
    x = np.array([vector(row.described) for row in rows])
    centre, spread = x.mean(axis=0), np.maximum(x.std(axis=0), 0.1)
    scaled = np.round((x - centre) / spread, 3)
    addresses = sorted({row.address for row in rows})
    return Surrogate(
        schema_version=4, fitted=date, descriptors=NAMES, terms=TERMS, methods=methods, effects=_floats(effects),
        covariance=tuple(_floats(covariance[place, : place + 1]) for place in range(len(covariance))),
        method_variance=METHOD**2, setting_variance=SETTING**2, reference_variance=REFERENCE**2,
        rate_variance={name: size**2 for name, size in RATES.items()},
        noise={unit: value**2 for unit, value in NOISE.items()}, quantiles=dict.fromkeys(map(str, LEVELS), 1.0),
        unseen_quantiles=dict.fromkeys(map(str, LEVELS), 1.0),
        centre=_floats(centre), spread=_floats(spread),
        usual=round(_usual(scaled, [row.cluster for row in rows]), 4), runs=tuple(map(_floats, scaled)),
        measured=tuple(_measured(row, addresses) for row in rows), addresses=tuple(addresses),
    )  # fmt: skip


def _measured(row: Row, addresses: list[str]) -> Measured:
    return Measured(
        name=row.run.name, method=row.method, points=round(row.points, 2), unit=row.unit,
        source=addresses.index(row.address),
    )  # fmt: skip


def _posterior(rows: Sequence[Row], methods: Sequence[str]) -> tuple[Array, Array]:
    """Returns the effects of terms and methods, and their covariance."""
    inputs = np.array([design(row.described, methods) for row in rows])
    differ = np.full((len(rows), len(rows)), SETTING**2)
    for name, size in RATES.items():
        values = inputs[:, TERMS.index(name)]
        differ += size**2 * np.outer(values, values)
    apart = [_equal([row.method for row in rows]) * _equal([row.cluster for row in rows]) * differ]
    apart += [_equal([row.run.setting for row in rows]) * REFERENCE**2]
    noise = np.array([NOISE[row.unit] ** 2 for row in rows]) / weights(rows)
    precise = np.linalg.solve(sum(apart) + np.diag(noise), inputs).T
    covariance = np.linalg.inv(precise @ inputs + np.diag(1 / _prior(len(methods))))
    believed = np.zeros(len(covariance))
    believed[TERMS.index("starved")] = STARVED
    surprise = np.array([row.target for row in rows]) - inputs @ believed
    return believed + covariance @ precise @ surprise, covariance


def _prior(methods: int) -> Array:
    kinds = [FAMILY] * len(FAMILIES) + [OTHER] * (len(DIRECT) + 2)
    kinds += [RATE] * (len(TERMS) - len(kinds)) + [METHOD] * methods
    return np.array(kinds) ** 2


def _equal(names: Sequence[str]) -> Array:
    codes = np.unique(names, return_inverse=True)[1]
    return (codes[:, None] == codes[None]).astype(float)


def _floats(values: Array) -> tuple[float, ...]:
    return tuple(round(float(value), 4) for value in values)


def _usual(scaled: Array, clusters: list[str]) -> float:
    """Returns the distance to the nearest run of another cluster that 19 in 20 runs stay below."""
    lengths = (scaled**2).sum(axis=1)
    squares = lengths[:, None] + lengths[None] - 2 * scaled @ scaled.T
    distances = np.sqrt(np.maximum(squares, 0.0) / scaled.shape[1])
    distances[_equal(clusters) > 0] = np.inf
    nearest = distances.min(axis=1)
    return float(np.quantile(nearest, 0.95)) if np.isfinite(nearest).all() else 1.0


def _scores(rows: Sequence[Row], key: Callable[[Row], str]) -> tuple[Array, list[Row]]:
    """Returns how many scales each row lies off, predicted without its group's fold, and the rows themselves.

    The reference is left out: it gains nothing by definition.
    """
    counted = [row for row in rows if not row.run.reference]
    groups = sorted({key(row) for row in counted})
    scores, scored = [], []
    for fold in range(min(FOLDS, len(groups))):
        held = set(groups[fold::FOLDS])
        inside = [row for row in rows if key(row) not in held]
        outside = [row for row in counted if key(row) in held]
        points, scale = predicted(outside, uncalibrated(inside, ""))
        scores += list(np.abs(points - np.array([row.points for row in outside])) / scale)
        scored += outside
    return np.array(scores), scored


def predicted(rows: Sequence[Row], fitted: Surrogate) -> tuple[Array, Array]:
    """Returns what a surrogate expects of rows, and the scale of its doubt."""
    points, scale, _ = estimate([row.described for row in rows], [row.unit for row in rows], fitted)
    return points, scale


def _quantiles(scores: Array, scored: Sequence[Row]) -> dict[str, float]:
    """Returns the quantiles of the scores, every setting weighing alike: whoever asks comes with one of their own.

    Weighed by runs, the widest grid of rates would decide for all.
    """
    counts = Counter(row.run.setting for row in scored)
    order = scores.argsort()
    share = np.cumsum([1 / counts[scored[place].run.setting] for place in order])
    # One cluster more than there are: the one to come may lie farther off than all of them.
    share /= share[-1] * (1 + 1 / len({row.cluster for row in scored}))
    places = {level: min(int(np.searchsorted(share, level)), len(scores) - 1) for level in LEVELS}
    return {str(level): round(float(scores[order[place]]), 4) for level, place in places.items()}
