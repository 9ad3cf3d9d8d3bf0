"""Kinds of models that the surrogate was chosen among: trees and ridge by scikit-learn, means by hand."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from sklearn.ensemble import GradientBoostingRegressor, RandomForestRegressor
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from autopeft.recommend._surrogate_features import terms, vector
from benchmarks._gains import Row
from benchmarks._mixed import predicted, targets, uncalibrated, weights

TREES = 24
SHRINKAGE = 3.0
"""Clusters' worth of belief that a method gains nothing."""

Array = np.ndarray[Any, Any]
Predictor = Callable[[Sequence[Row]], Array]


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


def descriptors(rows: Sequence[Row]) -> Array:
    """Returns the rows' descriptors and terms, of shape (rows, both)."""
    return np.array([[*vector(row.described), *terms(row.described)] for row in rows])


def inputs(rows: Sequence[Row], means: dict[str, float]) -> Array:
    """Returns descriptors and the method's mean, of shape (rows, descriptors + 1)."""
    return np.column_stack([descriptors(rows), [means.get(row.method, 0.0) for row in rows]])


def training_inputs(rows: Sequence[Row]) -> Array:
    """Returns the same with each row's mean taken without its own cluster, so that none sees its own answer."""
    by_cluster = {cluster: method_means(rows, cluster) for cluster in {row.cluster for row in rows}}
    return np.column_stack([descriptors(rows), [by_cluster[row.cluster].get(row.method, 0.0) for row in rows]])


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
    model = RandomForestRegressor(TREES, min_samples_leaf=3, max_depth=6, max_features=0.5, random_state=0)
    model.fit(descriptors(rows), targets(rows), sample_weight=weights(rows))
    return lambda others: np.asarray(model.predict(descriptors(others)))


def kept(rows: Sequence[Row]) -> Predictor:
    """Returns what ships: effects of methods drawn towards their families', descriptors and rates beside them."""
    made = uncalibrated(rows, "")
    return lambda others: predicted(others, made)[0]


KINDS: dict[str, Callable[[Sequence[Row]], Predictor]] = {
    "ridge": ridge, "boosting": boosting, "forest": forest, "method's mean": by_method,
    "kept": kept,
}  # fmt: skip


def _fitted(model: Any, rows: Sequence[Row], key: str) -> Predictor:
    means = method_means(rows)
    model.fit(training_inputs(rows), targets(rows), **{key: weights(rows)})
    return lambda others: np.asarray(model.predict(inputs(others, means)))
