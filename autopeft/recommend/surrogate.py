"""Predicts what a candidate gains over the default recipe in the same setting, with an interval, from measured runs.

A method with measured runs is expected to gain what it gained there, drawn towards nothing: on settings held out this
was better than any model of ranks, rates and sizes that the evidence allowed. A method without any is judged by its
family and, through a small forest, by its descriptors. Fitted offline by ``benchmarks/recommend.py fit``; what ships
are numbers in a file, which numpy evaluates. The unit is the hundredth: points of a metric that is a share, per cent
of a loss. What the predictions are worth stands in ``docs/recommender.md``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from autopeft import resources
from autopeft.errors import FileFormatError, invalid
from autopeft.files import parse, read_json
from autopeft.methods import Method
from autopeft.recommend._surrogate_features import NAMES, Described, matrix

if TYPE_CHECKING:
    import numpy as np

LEVELS = (0.5, 0.8, 0.95)


@dataclass(frozen=True, kw_only=True)
class Tree:
    """One regression tree; node 0 is its root.

    Attributes:
        feature: that a node asks for, by its place; -1 in a leaf.
        threshold: up to which the answer is ``left``.
        value: of a leaf.
    """

    feature: tuple[int, ...]
    threshold: tuple[float, ...]
    left: tuple[int, ...]
    right: tuple[int, ...]
    value: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Surrogate:
    """What was fitted: means, a forest, and what intervals and doubts need.

    Attributes:
        features: names of the descriptors.
        methods: shrunken mean gain of each method in the evidence.
        families: the same of each family.
        share: of the trees in what is predicted for a method that is not in the evidence; the rest is its family's.
        trees: whose mean is the forest's prediction.
        floor: residual that even agreeing trees leave.
        quantiles: half the interval's width in units of its scale, by level.
        centre: mean of each descriptor over the evidence.
        spread: its standard deviation.
        usual: distance to the nearest other run that nineteen in twenty runs of the evidence stay below.
        runs: descriptors of the evidence, scaled.
        names: of those runs.
        sources: of those runs, by place in ``addresses``.
    """

    schema_version: int
    fitted: str
    features: tuple[str, ...]
    methods: Mapping[str, float]
    families: Mapping[str, float]
    share: float
    trees: tuple[Tree, ...]
    floor: float
    quantiles: Mapping[str, float]
    centre: tuple[float, ...]
    spread: tuple[float, ...]
    usual: float
    runs: tuple[tuple[float, ...], ...]
    names: tuple[str, ...]
    sources: tuple[int, ...]
    addresses: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Neighbour:
    """A measured run that a prediction leans on."""

    name: str
    source: str


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What a candidate is expected to gain over the default recipe.

    Attributes:
        points: hundredths of the metric, per cent of the loss where the metric is one.
        low: lower end of the interval.
        high: its upper end.
        level: share of such intervals that are to hold the truth.
        extrapolates: why the evidence says little here, one sentence each; empty where it does.
        nearest: the measured runs most like it, the nearest first.
    """

    points: float
    low: float
    high: float
    level: float
    extrapolates: tuple[str, ...]
    nearest: tuple[Neighbour, ...]


@cache
def load() -> Surrogate:
    """Returns the surrogate that ships.

    Raises:
        FileFormatError: its file does not follow its schema, or was fitted on other descriptors.
    """
    path = resources.profiles() / "surrogate.json"
    found = parse(Surrogate, read_json(path), str(path))
    if found.features != NAMES:
        raise FileFormatError(f"{path} was fitted on other descriptors.\nRun benchmarks/recommend.py fit.")
    return found


def predict(
    candidates: Sequence[Described], *, level: float = 0.8, surrogate: Surrogate | None = None, neighbours: int = 3
) -> tuple[Prediction, ...]:
    """Returns a prediction for each candidate.

    Args:
        candidates: from `describe_candidate`.
        level: one of `LEVELS`.
        surrogate: None for the one that ships.
        neighbours: measured runs to name.

    Raises:
        InvalidValueError: there is no such level.
    """
    if level not in LEVELS:
        raise invalid("level", "a prediction", f"one of {', '.join(map(str, LEVELS))}", level)
    fitted = surrogate or load()
    if not candidates:
        return ()
    points, scale, distances = estimate(matrix(candidates), [candidate.method for candidate in candidates], fitted)
    half = fitted.quantiles[str(level)] * scale
    return tuple(
        Prediction(
            points=float(points[row]), low=float(points[row] - half[row]), high=float(points[row] + half[row]),
            level=level, extrapolates=_doubts(candidate, float(distances[row].min()), fitted),
            nearest=_nearest(distances[row], fitted, neighbours),
        )
        for row, candidate in enumerate(candidates)
    )  # fmt: skip


def estimate(
    descriptors: Sequence[Sequence[float]], methods: Sequence[Method], fitted: Surrogate
) -> tuple["np.ndarray[Any, Any]", "np.ndarray[Any, Any]", "np.ndarray[Any, Any]"]:
    """Returns points, the scale of their intervals, and distances to the evidence.

    Args:
        descriptors: of shape (candidates, descriptors).
        methods: the candidates'.
        fitted: the surrogate.

    Returns:
        Arrays of shapes (candidates,), (candidates,) and (candidates, runs).
    """
    import numpy as np

    described = np.asarray(descriptors, dtype=float)
    answers = np.stack([_walk(tree, described) for tree in fitted.trees])
    scaled = (described - np.asarray(fitted.centre)) / np.asarray(fitted.spread)
    apart = scaled[:, None, :] - np.asarray(fitted.runs)[None]
    distances = np.sqrt((apart**2).mean(axis=2))
    beyond = np.maximum(1.0, distances.min(axis=1) / fitted.usual)
    guesses = zip(methods, answers.mean(axis=0), strict=True)
    points = np.array([_expected(method, float(guess), fitted) for method, guess in guesses])
    return points, np.hypot(answers.std(axis=0), fitted.floor) * beyond, distances


def _expected(method: Method, guess: float, fitted: Surrogate) -> float:
    """Returns a method's own mean, or for one without measured runs a mixture of its family's and the forest's."""
    own = fitted.methods.get(method.name)
    if own is not None:
        return own
    return fitted.share * guess + (1 - fitted.share) * fitted.families.get(method.family, 0.0)


def _walk(tree: Tree, described: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
    """Returns a tree's answer for each row."""
    import numpy as np

    feature, threshold = np.asarray(tree.feature), np.asarray(tree.threshold)
    left, right = np.asarray(tree.left), np.asarray(tree.right)
    # The trees were grown on single precision, and a value may lie on a threshold.
    described = described.astype(np.float32)
    node = np.zeros(len(described), dtype=int)
    rows = np.arange(len(described))
    while True:
        asked = feature[node]
        inner = asked >= 0
        if not inner.any():
            return np.asarray(tree.value, dtype=float)[node]
        below = described[rows, np.maximum(asked, 0)] <= threshold[node]
        node = np.where(inner, np.where(below, left[node], right[node]), node)


def _doubts(candidate: Described, distance: float, fitted: Surrogate) -> tuple[str, ...]:
    doubts = []
    if candidate.method.name not in fitted.methods:
        doubts.append("No measured run is of this method: it is judged by its family and its descriptors.")
    if distance > fitted.usual:
        doubts.append("No measured run is like this one: the prediction extrapolates.")
    return tuple(doubts)


def _nearest(distances: "np.ndarray[Any, Any]", fitted: Surrogate, count: int) -> tuple[Neighbour, ...]:
    order = distances.argsort(kind="stable")[:count]
    return tuple(Neighbour(name=fitted.names[place], source=fitted.addresses[fitted.sources[place]]) for place in order)
