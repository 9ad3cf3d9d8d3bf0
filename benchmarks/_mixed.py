"""Fits the surrogate: a hierarchical linear model by its closed form, intervals by cross-fitted residuals."""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from autopeft.recommend._surrogate_features import DIRECT, FAMILIES, NAMES, TERMS, vector
from autopeft.recommend.surrogate import LEVELS, Measured, Surrogate, design, distances, estimate
from benchmarks._gains import Row

Array = np.ndarray[Any, Any]

STARVED = -20.0
"""Points believed to be lost by a whole range of rates below the middle of a method's own: published runs that differ
in the rate alone lose 14 to 29. Without this belief the few runs at low rates taught that short runs want them."""


@dataclass(frozen=True, kw_only=True)
class Beliefs:
    """Standard deviations that are believed before any run, in points.

    Set with all runs at hand, near where `likelihood` is highest and regret on what is left out is not higher.

    Attributes:
        family: of the effect of a family.
        method: of that of a method beside its family's.
        rate: of that of a whole range of rates.
        other: of that of any other descriptor.
        setting: of what a method's effect differs by from one model and data set to another.
        starved: of what a whole range of rates too low costs differs by likewise.
        heated: the same of rates too high: well above its best rate one method collapses where another does not, so
            such runs say little of either.
        reference: of the default recipe's luck in a setting, which moves all gains there together.
        points: of repeats of a run whose metric is a share.
        loss: of repeats of a run whose metric is a loss, in per cent of it.
    """

    family: float = 1.0
    method: float = 1.5
    rate: float = 6.0
    other: float = 1.0
    setting: float = 3.0
    starved: float = 20.0
    heated: float = 60.0
    reference: float = 5.0
    points: float = 3.0
    loss: float = 6.0

    @property
    def rates(self) -> dict[str, float]:
        """Those of rates, by term."""
        return {"starved": self.starved, "heated": self.heated}

    @property
    def noise(self) -> dict[str, float]:
        """Those of repeats, by unit."""
        return {"points": self.points, "per cent of the loss": self.loss}

    def of_effects(self, methods: int) -> Array:
        """Those of the effects of terms and of so many methods, in the order of `design`."""
        kinds = [self.family] * len(FAMILIES) + [self.other] * (len(DIRECT) + 2)
        return np.array([*kinds, *[self.rate] * (len(TERMS) - len(kinds)), *[self.method] * methods])


BELIEFS = Beliefs()
FOLDS = 3


def weights(rows: Sequence[Row]) -> Array:
    """Returns weights by which repeats of a method on one model and data set count little more than one run."""
    counts: dict[tuple[str, str], int] = defaultdict(int)
    for row in rows:
        counts[row.method, row.cluster] += 1
    return np.array([counts[row.method, row.cluster] ** -0.5 for row in rows])


def targets(rows: Sequence[Row]) -> Array:
    """Returns what is fitted: the rows' gains, cut where one would outweigh the others."""
    return np.array([row.target for row in rows])


def fit(rows: Sequence[Row], date: str) -> Surrogate:
    """Returns the surrogate of the rows, its intervals calibrated on what its effects have not seen.

    On whole clusters for methods in the evidence, on whole methods for those that are not.
    """
    made = uncalibrated(rows, date)
    known = _by_unit(*_scores(rows, lambda row: row.cluster))
    # An unseen method is no better known than a seen one.
    unseen = {
        unit: {level: max(value, known[unit][level]) for level, value in found.items()}
        for unit, found in _by_unit(*_scores(rows, lambda row: row.method)).items()
    }
    return replace(made, quantiles=known, unseen_quantiles=unseen)


def uncalibrated(rows: Sequence[Row], date: str) -> Surrogate:
    """Returns the surrogate of the rows with intervals of one standard deviation."""
    methods = tuple(sorted({row.method for row in rows}))
    effects, covariance = _posterior(rows, methods)
    x = np.array([vector(row.described) for row in rows])
    centre, spread = x.mean(axis=0), np.maximum(x.std(axis=0), 0.1)
    scaled = np.round((x - centre) / spread, 3)
    addresses = sorted({row.address for row in rows})
    ones = dict.fromkeys(BELIEFS.noise, dict.fromkeys(map(str, LEVELS), 1.0))
    return Surrogate(
        schema_version=5, fitted=date, descriptors=NAMES, terms=TERMS, methods=methods, effects=_floats(effects),
        covariance=tuple(_floats(covariance[place, : place + 1]) for place in range(len(covariance))),
        method_variance=BELIEFS.method**2, setting_variance=BELIEFS.setting**2,
        reference_variance=BELIEFS.reference**2,
        rate_variance={name: size**2 for name, size in BELIEFS.rates.items()},
        noise={unit: size**2 for unit, size in BELIEFS.noise.items()}, quantiles=ones, unseen_quantiles=ones,
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
    precise = np.linalg.solve(_scatter(rows, inputs, BELIEFS), inputs).T
    covariance = np.linalg.inv(precise @ inputs + np.diag(BELIEFS.of_effects(len(methods)) ** -2))
    believed = _believed(inputs)
    return believed + covariance @ precise @ (targets(rows) - inputs @ believed), covariance


def likelihood(rows: Sequence[Row], beliefs: Beliefs = BELIEFS) -> float:
    """Returns the logarithm of the density that beliefs give to the gains of the rows, effects integrated out."""
    methods = sorted({row.method for row in rows})
    inputs = np.array([design(row.described, methods) for row in rows])
    effects = inputs * beliefs.of_effects(len(methods))
    lower = np.linalg.cholesky(_scatter(rows, inputs, beliefs) + effects @ effects.T)
    surprise = np.linalg.solve(lower, targets(rows) - inputs @ _believed(inputs))
    return float(-surprise @ surprise / 2 - np.log(np.diag(lower)).sum() - len(rows) / 2 * np.log(2 * np.pi))


def _scatter(rows: Sequence[Row], inputs: Array, beliefs: Beliefs) -> Array:
    """Returns the covariance of the rows' gains around what their effects say, of shape (rows, rows)."""
    differ = np.full((len(rows), len(rows)), beliefs.setting**2)
    for name, size in beliefs.rates.items():
        values = inputs[:, TERMS.index(name)]
        differ += size**2 * np.outer(values, values)
    apart = _equal([row.method for row in rows]) * _equal([row.cluster for row in rows]) * differ
    apart += _equal([row.run.setting for row in rows]) * beliefs.reference**2
    return apart + np.diag(np.array([beliefs.noise[row.unit] ** 2 for row in rows]) / weights(rows))


def _believed(inputs: Array) -> Array:
    """Returns the effects that are believed before any run, of as many as the inputs have columns."""
    believed = np.zeros(inputs.shape[1])
    believed[TERMS.index("starved")] = STARVED
    return believed


def _equal(names: Sequence[str]) -> Array:
    codes = np.unique(names, return_inverse=True)[1]
    return (codes[:, None] == codes[None]).astype(float)


def _floats(values: Array) -> tuple[float, ...]:
    return tuple(round(float(value), 4) for value in values)


def _usual(scaled: Array, clusters: list[str]) -> float:
    """Returns the distance to the nearest run of another cluster that 19 in 20 runs stay below."""
    apart = distances(scaled, scaled)
    apart[_equal(clusters) > 0] = np.inf
    nearest = apart.min(axis=1)
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


def _by_unit(scores: Array, scored: Sequence[Row]) -> dict[str, dict[str, float]]:
    """Returns the quantiles of each unit's scores, losses having longer tails; of all where it has none."""
    places = {unit: [place for place, row in enumerate(scored) if row.unit == unit] for unit in BELIEFS.noise}
    every = range(len(scored))
    return {
        unit: _quantiles(scores[list(own or every)], [scored[place] for place in own or every])
        for unit, own in places.items()
    }


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
