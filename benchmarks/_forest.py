"""Fits the surrogate and what it was chosen among: trees by scikit-learn, intervals by cross-fitted residuals."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from _gains import Row
from sklearn.ensemble import GradientBoostingRegressor, RandomForestRegressor
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from autopeft.methods import Method, get_method
from autopeft.recommend._surrogate_features import NAMES
from autopeft.recommend.surrogate import LEVELS, Surrogate, Tree, estimate

TREES = 24
SHRINKAGE = 3.0
"""Clusters' worth of belief that a method gains nothing."""
FAMILY_SHRINKAGE = 2.0
"""Methods' worth of belief that a family gains nothing."""
TREES_SHARE = 0.5
FOLDS = 3

Array = np.ndarray[Any, Any]
Predictor = Callable[[Sequence[Row]], Array]


def weights(rows: Sequence[Row]) -> Array:
    """Returns weights by which repeats of a method on one model and task count little more than one run."""
    counts: dict[tuple[str, str], int] = defaultdict(int)
    for row in rows:
        counts[row.method, row.cluster] += 1
    return np.array([counts[row.method, row.cluster] ** -0.5 for row in rows])


def method_means(rows: Sequence[Row], without: str | None = None) -> dict[str, float]:
    """Returns each method's mean over the means of its clusters, drawn towards 0; one cluster can be left out."""
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        if row.cluster != without:
            found[row.method][row.cluster].append(row.target)
    return {
        name: float(sum(np.mean(points) for points in clusters.values()) / (len(clusters) + SHRINKAGE))
        for name, clusters in sorted(found.items())
    }


def family_means(means: Mapping[str, float]) -> dict[str, float]:
    """Returns each family's mean over its methods' means, drawn towards 0."""
    found: dict[str, list[float]] = defaultdict(list)
    for name, mean in means.items():
        found[get_method(name).family].append(mean)
    return {family: sum(part) / (len(part) + FAMILY_SHRINKAGE) for family, part in sorted(found.items())}


def descriptors(rows: Sequence[Row]) -> Array:
    """Returns the rows' descriptors, of shape (rows, descriptors)."""
    return np.array([row.x for row in rows])


def methods(rows: Sequence[Row]) -> list[Method]:
    """Returns the rows' methods."""
    return [get_method(row.method) for row in rows]


def inputs(rows: Sequence[Row], means: dict[str, float]) -> Array:
    """Returns descriptors and the method's mean, of shape (rows, descriptors + 1)."""
    return np.array([[*row.x, means.get(row.method, 0.0)] for row in rows])


def training_inputs(rows: Sequence[Row]) -> Array:
    """Returns the same with each row's mean taken without its own cluster, so that none sees its own answer."""
    by_cluster = {cluster: method_means(rows, cluster) for cluster in {row.cluster for row in rows}}
    return np.array([[*row.x, by_cluster[row.cluster].get(row.method, 0.0)] for row in rows])


def ridge(rows: Sequence[Row]) -> Predictor:
    """Returns a linear model of the descriptors and the method's mean."""
    return _fitted(make_pipeline(StandardScaler(), Ridge(alpha=30)), rows, "ridge__sample_weight")


def boosting(rows: Sequence[Row]) -> Predictor:
    """Returns boosted trees of three levels."""
    model = GradientBoostingRegressor(n_estimators=120, max_depth=3, learning_rate=0.05, subsample=0.7, random_state=0)
    return _fitted(model, rows, "sample_weight")


def by_method(rows: Sequence[Row]) -> Predictor:
    """Returns the method's shrunken mean and nothing else."""
    means = method_means(rows)
    return lambda others: np.array([means.get(row.method, 0.0) for row in others])


def forest(rows: Sequence[Row]) -> Predictor:
    """Returns the mean of trees on resampled rows, of the descriptors alone."""
    model = _forest(rows)
    return lambda others: np.asarray(model.predict(descriptors(others)))


def kept(rows: Sequence[Row]) -> Predictor:
    """Returns what ships: the method's shrunken mean, and for a method not seen its family's with the forest's."""
    made = _uncalibrated(rows, "")
    return lambda others: estimate(descriptors(others), methods(others), made)[0]


KINDS: dict[str, Callable[[Sequence[Row]], Predictor]] = {
    "ridge": ridge, "boosting": boosting, "forest": forest, "method's mean": by_method,
    "kept": kept,
}  # fmt: skip


def _fitted(model: Any, rows: Sequence[Row], key: str) -> Predictor:
    means = method_means(rows)
    model.fit(training_inputs(rows), _targets(rows), **{key: weights(rows)})
    return lambda others: np.asarray(model.predict(inputs(others, means)))


def _targets(rows: Sequence[Row]) -> Array:
    return np.array([row.target for row in rows])


def _forest(rows: Sequence[Row]) -> Any:
    model = RandomForestRegressor(TREES, min_samples_leaf=3, max_depth=6, max_features=0.5, random_state=0)
    return model.fit(descriptors(rows), _targets(rows), sample_weight=weights(rows))


def fit(rows: Sequence[Row], date: str) -> Surrogate:
    """Returns the surrogate of the rows, its intervals calibrated on clusters that its trees have not seen."""
    made = _uncalibrated(rows, date)
    scores, owners = _scores(rows, date)
    return _with_quantiles(made, scores, owners)


def _uncalibrated(rows: Sequence[Row], date: str) -> Surrogate:
    x = descriptors(rows)
    centre, spread = x.mean(axis=0), np.maximum(x.std(axis=0), 0.1)
    scaled = np.round((x - centre) / spread, 3)
    addresses = sorted({row.origin for row in rows})
    model, means = _forest(rows), method_means(rows)
    residuals = np.abs(model.predict(x) - _targets(rows))
    return Surrogate(
        schema_version=1, fitted=date, features=NAMES, methods=_rounded(means),
        families=_rounded(family_means(means)), share=TREES_SHARE,
        trees=tuple(_tree(one.tree_) for one in model.estimators_), floor=round(float(np.median(residuals)), 3),
        quantiles=dict.fromkeys(map(str, LEVELS), 1.0), centre=_floats(centre), spread=_floats(spread),
        usual=round(_usual(scaled, [row.cluster for row in rows]), 4), runs=tuple(map(_floats, scaled)),
        names=tuple(row.run.name for row in rows), sources=tuple(addresses.index(row.origin) for row in rows),
        addresses=tuple(addresses),
    )  # fmt: skip


def _rounded(values: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in values.items()}


def _floats(values: Array) -> tuple[float, ...]:
    return tuple(round(float(value), 4) for value in values)


def _tree(tree: Any) -> Tree:
    inner = tree.children_left >= 0
    return Tree(
        feature=tuple(int(f) if is_inner else -1 for f, is_inner in zip(tree.feature, inner, strict=True)),
        # Rounded up the way that a threshold is asked, so that no value of the evidence changes sides.
        threshold=tuple(float(t) if is_inner else 0.0 for t, is_inner in zip(tree.threshold, inner, strict=True)),
        left=tuple(int(max(child, 0)) for child in tree.children_left),
        right=tuple(int(max(child, 0)) for child in tree.children_right),
        value=_floats(tree.value[:, 0, 0]),
    )


def _usual(scaled: Array, clusters: list[str]) -> float:
    """Returns the distance to the nearest run of another cluster that 19 in 20 runs stay below."""
    distances = np.sqrt(((scaled[:, None, :] - scaled[None]) ** 2).mean(axis=2))
    names = np.array(clusters)
    distances[names[:, None] == names[None]] = np.inf
    nearest = distances.min(axis=1)
    return float(np.quantile(nearest, 0.95)) if np.isfinite(nearest).all() else 1.0


def _scores(rows: Sequence[Row], date: str) -> tuple[Array, list[str]]:
    """Returns how many scales each row lies off, predicted without its cluster's fold, and the rows' clusters."""
    clusters = sorted({row.cluster for row in rows})
    scores, owners = [], []
    for fold in range(min(FOLDS, len(clusters))):
        held = set(clusters[fold::FOLDS])
        inside = [row for row in rows if row.cluster not in held]
        outside = [row for row in rows if row.cluster in held]
        part = _uncalibrated(inside, date)
        points, scale, _ = estimate(descriptors(outside), methods(outside), part)
        scores += list(np.abs(points - np.array([row.points for row in outside])) / scale)
        owners += [row.cluster for row in outside]
    return np.array(scores), owners


def _with_quantiles(made: Surrogate, scores: Array, owners: list[str]) -> Surrogate:
    """Returns the surrogate with quantiles in which every cluster weighs the same."""
    counts = {name: owners.count(name) for name in set(owners)}
    order = scores.argsort()
    share = np.cumsum([1 / counts[owners[place]] for place in order])
    # One cluster more than there are: the one to come may lie farther off than all of them.
    share /= len(counts) + 1
    quantiles = {}
    for level in LEVELS:
        place = min(int(np.searchsorted(share, level)), len(scores) - 1)
        quantiles[str(level)] = round(float(scores[order[place]]), 4)
    return replace(made, quantiles=quantiles)
