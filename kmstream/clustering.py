"""K-means itself: the nearest centroid, the exact pass, what is added up by cluster.

Distances are taken in float32 (the matrix product is what costs), sums in float64. Rows are worked on in tiles of
`TILE_ROWS` counted from the first row of a span, and tiles are added up in order, so no result depends on how the rows
were batched. Callers hold BLAS and OpenMP to one thread (`engine.single_threaded`): parallelism is over spans, and a
product split over threads may round differently.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from kmstream.config import FeaturesConfig
from kmstream.features import TILE_ROWS, Scaling
from kmstream.summary import ClusterSummary, count_distances

Matrix = NDArray[np.float32]
FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

_FAR_OFF = 16.0  # scaled units
_WIDE_APART = 256.0  # scaled units; beyond, squares of the centroids leave float32 no digits for the distances


@dataclass(frozen=True)
class Nearest:
    """The nearest centroid of each row.

    Attributes
    ----------
    cluster_ids : ndarray of shape (n_rows,), int32
    distances, margins : ndarray of shape (n_rows,), float32
        To the nearest centroid, and how much farther the second nearest is (inf if there is only one); scaled units.
    """

    cluster_ids: NDArray[np.int32]
    distances: Matrix
    margins: Matrix


def find_nearest(X: Matrix, centroids: FloatArray) -> Nearest:
    """Find the nearest centroid of each row, ties going to the lower cluster_id.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_features)
    centroids : ndarray of shape (n_clusters, n_features)

    Examples
    --------
    >>> found = find_nearest(np.array([[0.0], [0.9]], np.float32), np.array([[0.0], [1.0]]))
    >>> found.cluster_ids.tolist(), found.distances.round(3).tolist(), found.margins.round(3).tolist()
    ([0, 1], [0.0, 0.10000000149011612], [1.0, 0.800000011920929])
    """
    n_rows = len(X)
    found = Nearest(np.empty(n_rows, np.int32), np.empty(n_rows, np.float32), np.empty(n_rows, np.float32))
    near = centroids.astype(np.float32)
    for tile in tiles(n_rows):
        rows = X[tile]
        ids, scores = _nearest_ids(rows, near)
        # The product form loses digits close to a centroid; the distance itself is taken from the difference.
        distances = _distances(rows, near[ids])
        if len(near) > 1:
            scores[np.arange(len(ids)), ids] = np.inf
            seconds = _distances(rows, near[scores.argmin(axis=1)])
            np.maximum(seconds - distances, 0.0, out=found.margins[tile])
        else:
            found.margins[tile] = np.inf
        found.cluster_ids[tile] = ids
        found.distances[tile] = distances
    return found


@dataclass(frozen=True)
class ClusterModel:
    """All it takes to assign a row.

    Attributes
    ----------
    features : FeaturesConfig
    scaling : Scaling
    centroids : ndarray of shape (n_clusters, n_features)
        Scaled units; the row number is the cluster_id.
    labels : tuple of str
        The cluster_label of each centroid.
    """

    features: FeaturesConfig
    scaling: Scaling
    centroids: FloatArray
    labels: tuple[str, ...]


@dataclass(frozen=True)
class ClusterSums:
    """What an exact pass adds up.

    Attributes
    ----------
    counts : ndarray of shape (n_clusters,)
    sums : ndarray of shape (n_clusters, n_features)
        Sum of the rows of each cluster.
    sse : float
        Sum of squared distances to the nearest centroid.
    """

    counts: IntArray
    sums: FloatArray
    sse: float

    @classmethod
    def empty(cls, n_clusters: int, n_features: int) -> Self:
        """Sum of no rows."""
        return cls(np.zeros(n_clusters, dtype=np.int64), np.zeros((n_clusters, n_features)), 0.0)

    def merge(self, other: Self) -> Self:
        """Sum of the rows of both."""
        return type(self)(self.counts + other.counts, self.sums + other.sums, self.sse + other.sse)


def sum_by_cluster(X: Matrix, keep: NDArray[np.bool_], centroids: FloatArray, total: ClusterSums) -> ClusterSums:
    """Do the work of one exact pass on the next rows of a span: assign each to its centroid, add to the total.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_features)
    keep : ndarray of shape (n_rows,)
        False for rows that don't count.
    centroids : ndarray of shape (n_clusters, n_features)
    total : ClusterSums
        Of the rows before these; tiles are added one by one, so batch ends leave no trace.
    """
    near, n_clusters = centroids.astype(np.float32), len(centroids)
    counts, sums, sse = total.counts.copy(), total.sums.copy(), total.sse
    for tile in tiles(len(X)):
        rows = X[tile] if keep[tile].all() else X[tile][keep[tile]]
        ids, _ = _nearest_ids(rows, near)
        counts += np.bincount(ids, minlength=n_clusters)
        sums += _indicator(ids, n_clusters) @ rows.astype(np.float64)
        difference = rows - near[ids]
        sse += float(np.einsum("ij,ij->", difference, difference, dtype=np.float64))
    return ClusterSums(counts, sums, sse)


def summarise(
    X: Matrix, keep: NDArray[np.bool_], nearest: Nearest, centroids: FloatArray, total: ClusterSummary
) -> ClusterSummary:
    """Add the next assigned rows of a span to a summary by cluster.

    Deviations are taken from the centroid, close to the mean, so one pass loses no digits.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_features)
    keep : ndarray of shape (n_rows,)
        False for rows that don't count.
    nearest : Nearest
        What `find_nearest` found for these rows.
    centroids : ndarray of shape (n_clusters, n_features)
    total : ClusterSummary
        Of the rows before these; tiles are merged one by one, so batch ends leave no trace.
    """
    n_clusters = len(centroids)
    for tile in tiles(len(X)):
        ids = nearest.cluster_ids[tile][keep[tile]]
        indicator = _indicator(ids, n_clusters)
        deviation = X[tile][keep[tile]] - centroids[ids]
        rows = np.bincount(ids, minlength=n_clusters)
        shift = (indicator @ deviation) / np.maximum(rows, 1)[:, None]
        squares = indicator @ np.square(deviation)
        part = ClusterSummary(
            rows,
            np.where(rows[:, None] > 0, centroids + shift, 0.0),
            np.maximum(squares - shift * shift * rows[:, None], 0.0),
            squares.sum(axis=1),
            count_distances(ids, nearest.distances[tile][keep[tile]], n_clusters),
        )
        total = total.merge(part)
    return total


def load_kernels() -> None:
    """Load scikit-learn's compiled code; only what is loaded can be held to one thread."""
    import sklearn.cluster  # noqa: F401


def add_squares(distances: Matrix, keep: NDArray[np.bool_], total: float) -> float:
    """Add the squared distances of the next rows of a span, tile by tile."""
    for tile in tiles(len(distances)):
        total += float(np.square(distances[tile][keep[tile]], dtype=np.float64).sum())
    return total


def move_centroids(centroids: FloatArray, counts: IntArray, sums: FloatArray, sample: Matrix) -> FloatArray:
    """End an exact pass: each centroid becomes the mean of its rows.

    An empty one is put where the fit is worst: on the sampled row farthest from every other centroid, the next empty
    one on the farthest after that.

    Parameters
    ----------
    centroids, sums : ndarray of shape (n_clusters, n_features)
    counts : ndarray of shape (n_clusters,)
    sample : ndarray of shape (n_sample, n_features)
    """
    moved = np.where(counts[:, None] > 0, sums / np.maximum(counts, 1)[:, None], centroids)
    for i in np.flatnonzero(counts == 0):
        others = moved[(counts > 0) | (np.arange(len(moved)) < i)]
        moved[i] = sample[find_nearest(sample, others).distances.argmax()]
    return moved


def largest_move(before: NDArray[np.floating], after: NDArray[np.floating]) -> float:
    """Measure how far the centroid that moved most has moved, in scaled units."""
    return float(np.sqrt(np.square(after - before).sum(axis=1)).max())


def tiles(n_rows: int) -> Iterator[slice]:
    """Cut rows into the pieces in which everything is computed."""
    return (slice(start, min(start + TILE_ROWS, n_rows)) for start in range(0, n_rows, TILE_ROWS))


def find_origin(centroids: NDArray[np.floating]) -> Matrix:
    """Find a point to measure from: zero, or amid centroids so far off that float32 would lose their digits."""
    middle = centroids.mean(axis=0)
    return np.where(np.abs(middle).max() > _FAR_OFF, middle, 0.0).astype(np.float32)


def _nearest_ids(X: NDArray[np.floating], centroids: NDArray[np.floating]) -> tuple[IntArray, NDArray[np.floating]]:
    origin = find_origin(centroids)
    if origin.any():
        X, centroids = X - origin, centroids - origin
    if np.abs(centroids).max() > _WIDE_APART:
        X, centroids = X.astype(np.float64), centroids.astype(np.float64)
    scores = X @ (-2.0 * centroids.T)
    scores += np.square(centroids).sum(axis=1)
    return scores.argmin(axis=1), scores


def _distances(X: Matrix, targets: Matrix) -> Matrix:
    difference = X - targets
    return np.asarray(np.sqrt(np.einsum("ij,ij->i", difference, difference)))


def _indicator(cluster_ids: NDArray[np.integer], n_clusters: int) -> scipy.sparse.csc_array:
    """Build the (n_clusters, n_rows) matrix whose product with rows is their sum by cluster, in row order."""
    n_rows = len(cluster_ids)
    return scipy.sparse.csc_array((np.ones(n_rows), cluster_ids, np.arange(n_rows + 1)), shape=(n_clusters, n_rows))
