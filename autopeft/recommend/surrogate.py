"""Predicts what a candidate gains over the default recipe in the same setting, with an interval, from measured runs.

A hierarchical linear model: a method's effect is drawn towards what its family and its descriptors lead one to expect,
the more the fewer settings it was measured in; where a rate lies in the method's own range counts beside it. Fitted
offline by ``benchmarks/recommend.py fit``; what ships are coefficients and their covariance in a file, which numpy
evaluates. The unit is the hundredth: points of a metric that is a share, per cent of a loss. What the predictions are
worth stands in ``docs/recommender.md``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from autopeft import resources
from autopeft.errors import FileFormatError, invalid
from autopeft.files import parse, read_json
from autopeft.recommend._surrogate_features import NAMES, TERMS, Described, terms, vector
from autopeft.values.predictions import Neighbour, Prediction, Unit

if TYPE_CHECKING:
    import numpy as np

LEVELS = (0.5, 0.8, 0.95)

BOUNDED: Mapping[str, str] = {
    "log model": "model size", "log share": "share of trained parameters", "log labels": "labels",
    "log rows": "training rows", "log tokens": "training tokens", "log batch": "batch size", "layers": "layers",
}  # fmt: skip
"""Descriptors outside whose measured range a prediction extrapolates, in a reader's words."""

NEAR_ENOUGH = 0.1
"""Decades beyond the range that do not count."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A run of the evidence, as a reader is told of it; see `Neighbour`."""

    name: str
    method: str
    points: float
    unit: Unit
    source: int


@dataclass(frozen=True, kw_only=True)
class Surrogate:
    """What was fitted: effects with their covariance, and what intervals and doubts need.

    Attributes:
        descriptors: names of what runs are compared by.
        terms: names of what the prediction is linear in; the effects of the methods follow theirs.
        methods: in the evidence.
        effects: of terms and methods.
        covariance: of the effects, its lower triangle row by row.
        method_variance: of the effect of a method that is not in the evidence.
        setting_variance: by which a method's effect differs from one model and data set to another.
        reference_variance: by which the default recipe is lucky or not in a setting: a gain is over what it came to.
        rate_variance: by which what a starving or heating rate costs differs likewise, by term.
        noise: variance that is left, by unit.
        quantiles: half the interval's width in standard deviations of the prediction, by unit and level.
        unseen_quantiles: the same for methods that are not in the evidence.
        centre: mean of each descriptor over the evidence.
        spread: its standard deviation.
        usual: distance to the nearest other run that nineteen in twenty runs of the evidence stay below.
        runs: descriptors of the evidence, scaled.
        measured: what a reader is told of those runs, with the source's place in ``addresses``.
    """

    schema_version: int
    fitted: str
    descriptors: tuple[str, ...]
    terms: tuple[str, ...]
    methods: tuple[str, ...]
    effects: tuple[float, ...]
    covariance: tuple[tuple[float, ...], ...]
    method_variance: float
    setting_variance: float
    reference_variance: float
    rate_variance: Mapping[str, float]
    noise: Mapping[str, float]
    quantiles: Mapping[str, Mapping[str, float]]
    unseen_quantiles: Mapping[str, Mapping[str, float]]
    centre: tuple[float, ...]
    spread: tuple[float, ...]
    usual: float
    runs: tuple[tuple[float, ...], ...]
    measured: tuple[Measured, ...]
    addresses: tuple[str, ...]


@cache
def load() -> Surrogate:
    """Returns the surrogate that ships.

    Raises:
        FileFormatError: its file does not follow its schema, or was fitted on other descriptors.
    """
    path = resources.profiles() / "surrogate.json"
    found = parse(Surrogate, read_json(path), str(path))
    if (found.descriptors, found.terms) != (NAMES, TERMS):
        raise FileFormatError(f"{path} was fitted on other descriptors.\nRun benchmarks/recommend.py fit.")
    return found


def predict(
    candidates: Sequence[Described],
    *,
    unit: Unit = "points",
    level: float = 0.8,
    surrogate: Surrogate | None = None,
    neighbours: int = 3,
) -> tuple[Prediction, ...]:
    """Returns a prediction for each candidate.

    Args:
        candidates: from `describe_candidate`.
        unit: that gains are counted in: the interval of a loss is wider.
        level: one of `LEVELS`.
        surrogate: None for the one that ships.
        neighbours: measured runs to name.

    Raises:
        InvalidValueError: there is no such level.
    """
    if level not in LEVELS:
        raise invalid("level", "a prediction", f"one of {', '.join(map(str, LEVELS))}", level)
    import numpy as np

    fitted = surrogate or load()
    if not candidates:
        return ()
    units = [unit] * len(candidates)
    points, scale, apart = estimate(candidates, units, fitted)
    outside = _outside(np.array([vector(candidate) for candidate in candidates]), fitted)
    half = widths(candidates, units, level, fitted) * scale
    return tuple(
        Prediction(
            points=float(points[row]), low=float(points[row] - half[row]), high=float(points[row] + half[row]),
            level=level, unit=unit, extrapolates=_doubts(candidate, float(apart[row].min()), outside[row], fitted),
            nearest=_nearest(apart[row], fitted, neighbours),
        )
        for row, candidate in enumerate(candidates)
    )  # fmt: skip


def estimate(
    candidates: Sequence[Described], units: Sequence[str], fitted: Surrogate
) -> tuple["np.ndarray[Any, Any]", "np.ndarray[Any, Any]", "np.ndarray[Any, Any]"]:
    """Returns points, the standard deviations that intervals are multiples of, and distances to the evidence.

    Args:
        candidates: the candidates.
        units: that their gains are counted in.
        fitted: the surrogate.

    Returns:
        Arrays of shapes (candidates,), (candidates,) and (candidates, runs).
    """
    import numpy as np

    inputs = np.array([design(candidate, fitted.methods) for candidate in candidates])
    unseen = np.array([candidate.method.name not in fitted.methods for candidate in candidates])
    known = ((inputs @ covariance(fitted)) * inputs).sum(axis=1)
    left = fitted.setting_variance + fitted.reference_variance + np.array([fitted.noise[unit] for unit in units])
    for name, variance in fitted.rate_variance.items():
        left += variance * inputs[:, TERMS.index(name)] ** 2
    described = np.array([vector(candidate) for candidate in candidates])
    scaled = (described - np.asarray(fitted.centre)) / np.asarray(fitted.spread)
    apart = distances(scaled, np.asarray(fitted.runs))
    beyond = np.maximum(apart.min(axis=1) / fitted.usual, 1 + _outside(described, fitted).max(axis=1) / 2)
    scale = np.sqrt(known + fitted.method_variance * unseen + left) * beyond
    return inputs @ np.asarray(fitted.effects), scale, apart


def distances(some: "np.ndarray[Any, Any]", others: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
    """Returns the root mean squares of the differences of all pairs of rows, of shape (some, others)."""
    import numpy as np

    squares = (some**2).sum(axis=1)[:, None] + (others**2).sum(axis=1) - 2 * some @ others.T
    return np.asarray(np.sqrt(np.maximum(squares, 0.0) / some.shape[1]))


def _outside(described: "np.ndarray[Any, Any]", fitted: Surrogate) -> "np.ndarray[Any, Any]":
    """Returns how far each candidate lies outside the evidence in each of `BOUNDED`, in decades of most of them."""
    import numpy as np

    places = [NAMES.index(name) for name in BOUNDED]
    runs = (np.asarray(fitted.runs) * np.asarray(fitted.spread) + np.asarray(fitted.centre))[:, places]
    asked = described[:, places]
    excess = np.maximum(runs.min(axis=0) - asked, asked - runs.max(axis=0)) - NEAR_ENOUGH
    return np.asarray(np.maximum(excess, 0.0))


def widths(
    candidates: Sequence[Described], units: Sequence[str], level: float, fitted: Surrogate
) -> "np.ndarray[Any, Any]":
    """Returns half of each interval in standard deviations, as calibrated for its unit and for what was measured."""
    import numpy as np

    seen = [candidate.method.name in fitted.methods for candidate in candidates]
    by_unit = [fitted.quantiles if known else fitted.unseen_quantiles for known in seen]
    return np.array([found[unit][str(level)] for found, unit in zip(by_unit, units, strict=True)])


def design(candidate: Described, methods: Sequence[str]) -> list[float]:
    """Returns the terms of a candidate, and which of the methods it is of."""
    return [*terms(candidate), *(float(candidate.method.name == name) for name in methods)]


def covariance(fitted: Surrogate) -> "np.ndarray[Any, Any]":
    """Returns that of the effects, of shape (effects, effects): the file holds its lower half."""
    import numpy as np

    lower = np.zeros((len(fitted.effects),) * 2)
    for place, row in enumerate(fitted.covariance):
        lower[place, : len(row)] = row
    return lower + np.tril(lower, -1).T


def _doubts(
    candidate: Described, distance: float, outside: "np.ndarray[Any, Any]", fitted: Surrogate
) -> tuple[str, ...]:
    doubts = []
    if candidate.method.name not in fitted.methods:
        doubts.append("No measured run is of this method: it is judged by its family and its descriptors.")
    beyond = [words for words, excess in zip(BOUNDED.values(), outside, strict=True) if excess > 0]
    if beyond:
        doubts.append(f"It lies outside all measured runs in {' and '.join(beyond)}: the prediction extrapolates.")
    elif distance > fitted.usual:
        doubts.append("No measured run is like this one: the prediction extrapolates.")
    return tuple(doubts)


def _nearest(distances: "np.ndarray[Any, Any]", fitted: Surrogate, count: int) -> tuple[Neighbour, ...]:
    found = [fitted.measured[place] for place in distances.argsort(kind="stable")[:count]]
    return tuple(
        Neighbour(
            name=run.name, method=run.method, points=run.points, unit=run.unit, source=fitted.addresses[run.source]
        )
        for run in found
    )  # fmt: skip
