"""Small things that many tests need: configurations, scalings, blobs, and the summary of given rows."""

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import HealthCheck, settings

from kmstream.assign import Assigned, AssignJob, assign_dataset
from kmstream.clustering import ClusterModel, assign_rows
from kmstream.config import Config, FeaturesConfig
from kmstream.drift import Observed
from kmstream.engine import single_threaded
from kmstream.features import Rows, Scaling
from kmstream.fit import Fit, fit_centroids
from kmstream.matrices import open_matrices
from kmstream.run import Run
from kmstream.scan import Scan, scan_dataset
from kmstream.scan import make_scaling as freeze_scaling
from kmstream.summary import ClusterSummary, DeviationSums

# A busy machine must not fail a law.
settings.register_profile("steady", deadline=None, suppress_health_check=[HealthCheck.too_slow])
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


def make_rows(X: Any, keep: Any = None, weights: Any = None) -> Rows:
    """Rows in scaled units: all of them kept, each once, unless said otherwise."""
    X = np.asarray(X, dtype=np.float32)
    keep = np.ones(len(X), dtype=bool) if keep is None else np.asarray(keep)
    return Rows(X, keep, None if weights is None else np.asarray(weights, dtype=np.float64))


def cut_rows(rows: Rows, piece: slice) -> Rows:
    """Some of the rows, in memory of their own."""
    weights = None if rows.weights is None else rows.weights[piece].copy()
    return Rows(rows.X[piece].copy(), rows.keep[piece].copy(), weights)


def repeat_rows(rows: Rows, times: Any) -> Rows:
    """Each row as often as it counts, without weights."""
    return Rows(np.repeat(rows.X, times, axis=0), np.repeat(rows.keep, times))


def no_deviations(centroids: Any, *, weighted: bool = False) -> DeviationSums:
    """Where the sums of an assign pass begin."""
    return DeviationSums.empty(np.asarray(centroids, dtype=np.float64), np.float64 if weighted else np.int64)


def summarise_rows(X: Any, centroids: Any) -> ClusterSummary:
    return assign_rows(make_rows(X), no_deviations(centroids))[1].summary


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


@dataclass(frozen=True)
class Passes:
    """What the passes of a refresh leave behind, one after the other."""

    scan: Scan
    scaling: Scaling
    fit: Fit
    assigned: Assigned

    def bits(self) -> list[bytes]:
        """Every bit of every number."""
        parts = [self.scan.columns, self.assigned.deviations, self.assigned.summary]
        values = self.assigned.values
        arrays = [self.scan.weights, self.fit.centroids, self.fit.rows, values.bins, self.assigned.outliers]
        arrays += [self.scaling.center, self.scaling.scale, self.scaling.fill, self.scaling.edges]
        told = [(done.name, done.rows, done.inertia_per_row, done.largest_move) for done in self.fit.passes]
        told += [self.scaling.categories, sorted(values.skipped.items()), sorted(values.unseen.items())]
        told += [self.assigned.fit_sse, self.assigned.current_sse, self.scan.sample.to_pydict()]
        found = [bits for part in parts for bits in bits_of(part)]
        return [*found, *(array.tobytes() for array in arrays), self.assigned.migration.tobytes(), repr(told).encode()]


def make_passes(run: Run, folder: Path, *, known: Any = None, current: ClusterModel | None = None) -> Passes:
    """Scan, fit and assign as a first refresh does, the outputs in a folder that is there; nothing is published."""
    features, n_clusters = run.config.features, run.config.model.n_clusters
    with single_threaded():
        scan = scan_dataset(run, statistics=True)
        scaling = freeze_scaling(features, scan)
        with open_matrices(run, scaling, folder / ".scratch") as matrices:
            fit = fit_centroids(run, matrices, scan, known)
            model = ClusterModel(features, scaling, fit.centroids, tuple(f"s{i}" for i in range(n_clusters)))
            job = AssignJob.of(run, matrices, model, folder / "assigned", "v000001", np.ones(n_clusters), current)
            return Passes(scan, scaling, fit, assign_dataset(run, job))
