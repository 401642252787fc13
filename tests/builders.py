"""Small things that many tests need: configurations, scalings, blobs, and the summary of given rows."""

import itertools
from typing import Any

import numpy as np
from hypothesis import settings

from kmstream.clustering import find_nearest, summarise
from kmstream.config import Config, FeaturesConfig
from kmstream.drift import Observed
from kmstream.features import Scaling
from kmstream.summary import ClusterSummary

settings.register_profile("steady", deadline=None)  # a busy machine must not fail a law
settings.load_profile("steady")

# The least that a kmstream.toml has to say.
LEAST_CONFIG = {"name": "shop", "dataset": {"path": "/data/shop"}, "features": {"numeric": ["x"]}}

# Four centroids, far apart.
CORNERS = np.array([[0.0, 0.0, 0.0], [10.0, 0.0, 0.0], [0.0, 10.0, 0.0], [0.0, 0.0, 10.0]])


def make_config(**sections: Any) -> Config:
    return Config.model_validate(LEAST_CONFIG | sections)


def make_features(numeric: tuple[str, ...] = ("x",), **keys: Any) -> FeaturesConfig:
    return FeaturesConfig(numeric=numeric, **keys)


def make_scaling(
    n_numeric: int = 1, *, center: float = 0.0, scale: float = 1.0, categories: tuple[tuple[str, ...], ...] = ()
) -> Scaling:
    """Every feature scaled alike; missing values become 7; bins have edges 1, 2, 3."""
    return Scaling(
        center=np.full(n_numeric, center),
        scale=np.full(n_numeric, scale),
        fill=np.full(n_numeric, 7.0),
        edges=np.tile(np.array([1.0, 2.0, 3.0]), (n_numeric, 1)),
        categories=categories,
    )


def make_blobs(
    centers: Any, n_each: int, *, spread: float = 0.1, seed: int = 0
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Rows around each center in shuffled order, float32, and the center each belongs to."""
    rng = np.random.default_rng(seed)
    centers = np.asarray(centers, dtype=np.float64)
    ids = rng.permutation(np.repeat(np.arange(len(centers)), n_each))
    return (centers[ids] + rng.normal(0.0, spread, (len(ids), centers.shape[1]))).astype(np.float32), ids


def make_clouds(n_one: int, n_two: int, seed: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Two sets of points of the plane, no two distances between them alike."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n_one, 2)), rng.normal(size=(n_two, 2))


def summarise_rows(X: Any, centroids: Any) -> ClusterSummary:
    X, centroids = np.asarray(X, dtype=np.float32), np.asarray(centroids, dtype=np.float64)
    return summarise(
        X, np.ones(len(X), dtype=bool), find_nearest(X, centroids), centroids, ClusterSummary.empty(*centroids.shape)
    )


def observe_rows(
    X: Any, centroids: Any, labels: tuple[str, ...], *, bins: Any = None, outliers: Any = None
) -> Observed:
    """One side of a comparison, original units being ten times the scaled ones; no feature drift unless bins say so."""
    summary = summarise_rows(X, centroids)
    if bins is None:
        bins = np.full((summary.mean.shape[1], 11), 1)
    return Observed(
        labels, summary, summary.mean * 10.0, np.asarray(bins), None if outliers is None else np.asarray(outliers)
    )


def exact_distances(X: Any, centroids: Any) -> np.ndarray[Any, Any]:
    """From each row to each centroid, in float64, without any shortcut."""
    return np.linalg.norm(X[:, None, :].astype(np.float64) - centroids, axis=2)


def bits_of(found: Any) -> list[bytes]:
    """Every bit of a dataclass of arrays, to compare."""
    return [np.asarray(value).tobytes() for value in vars(found).values()]


def chunks(borders: list[int]) -> list[slice]:
    """The slices between borders."""
    return [slice(a, b) for a, b in itertools.pairwise(borders)]
