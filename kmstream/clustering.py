"""K-means itself: the nearest centroid, the exact pass, what is added up by cluster.

Distances are taken in float32 (the matrix product is what costs), sums in float64. Rows are worked on in tiles of
`TILE_ROWS` counted from the first row of a span, and tiles are added up in order, so no result depends on how the rows
were batched. Callers hold BLAS and OpenMP to one thread (`engine.single_threaded`): parallelism is over spans, and a
product split over threads may round differently.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from kmstream.config import FeaturesConfig
from kmstream.features import TILE_ROWS, Rows, Scaling
from kmstream.summary import Counts, DeviationSums, add_distances

Matrix = NDArray[np.float32]
FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

_FAR_OFF = 16.0  # scaled units
_WIDE_APART = 256.0  # scaled units; beyond, squares of the centroids leave float32 no digits for the distances


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
        _measure_tile(X[tile], near, found, tile)
    return found


def assign_rows(rows: Rows, total: DeviationSums) -> tuple[Nearest, DeviationSums]:
    """Find the nearest centroid of the next rows of a span, and add what the rows are like to the sums by cluster.

    Parameters
    ----------
    rows : Rows
        Those with `keep` False are measured too, but don't count.
    total : DeviationSums
        Of the rows before these, and the centroids; tiles are added one by one, so batch ends leave no trace.
    """
    near, weight = total.centroids, total.rows
    n_rows, n_clusters = len(rows.X), len(near)
    found = Nearest(np.empty(n_rows, np.int32), np.empty(n_rows, np.float32), np.empty(n_rows, np.float32))
    sums, squares = total.sums.copy(), total.squares.copy()
    for tile in tiles(n_rows):
        difference = _measure_tile(rows.X[tile], near, found, tile)
        kept, weights = rows.select(tile)
        ids, deviation = found.cluster_ids[tile], difference.astype(np.float64)
        if kept is not None:
            ids, deviation = ids[kept], deviation[kept]
        indicator = _indicator(ids, n_clusters, weights)
        weight = weight + _count(ids, n_clusters, weights)
        sums += indicator @ deviation
        squares += indicator @ np.square(deviation, out=deviation)
    ids, distances = found.cluster_ids, found.distances
    kept, weights = rows.select(slice(None))
    if kept is not None:
        ids, distances = ids[kept], distances[kept]
    distance_counts = add_distances(total.distance_counts, ids, distances, weights)
    return found, DeviationSums(near, weight, sums, squares, distance_counts)


@dataclass(frozen=True)
class ClusterSums:
    """What an exact pass adds up.

    Attributes
    ----------
    counts : ndarray of shape (n_clusters,)
        Rows of each cluster; the sum of their weights, if rows have any.
    sums : ndarray of shape (n_clusters, n_features)
        Sum of the rows of each cluster, each times its weight.
    squares : float
        Sum of the squared lengths of all rows, measured from the origin of the pass, times their weights.
    """

    counts: Counts
    sums: FloatArray
    squares: float

    @classmethod
    def empty(cls, n_clusters: int, n_features: int) -> Self:
        """Sum of no rows."""
        return cls(np.zeros(n_clusters, dtype=np.int64), np.zeros((n_clusters, n_features)), 0.0)

    def merge(self, other: Self) -> Self:
        """Sum of the rows of both."""
        return type(self)(self.counts + other.counts, self.sums + other.sums, self.squares + other.squares)

    def sse(self, centroids: FloatArray) -> float:
        """Sum of squared distances to the centroids that the rows were summed by.

        No distance is taken row by row: sum |x - c|^2 = sum |x|^2 - 2 c . sum x + n |c|^2 in each cluster.
        """
        origin = find_origin(centroids).astype(np.float64)
        sums, near = self.sums - self.counts[:, None] * origin, centroids.astype(np.float32) - origin
        within = self.counts @ np.square(near).sum(axis=1) - 2.0 * np.vdot(near, sums)
        return max(self.squares + float(within), 0.0)


def sum_by_cluster(rows: Rows, centroids: FloatArray, total: ClusterSums) -> ClusterSums:
    """Do the work of one exact pass on the next rows of a span: assign each to its centroid, add to the total.

    Parameters
    ----------
    rows : Rows
    centroids : ndarray of shape (n_clusters, n_features)
    total : ClusterSums
        Of the rows before these; tiles are added one by one, so batch ends leave no trace.
    """
    near, n_clusters, origin = centroids.astype(np.float32), len(centroids), find_origin(centroids)
    counts, sums, squares = total.counts, total.sums.copy(), total.squares
    for tile in tiles(len(rows.X)):
        kept, weights = rows.select(tile)
        X = rows.X[tile] if kept is None else rows.X[tile][kept]
        ids = _lowest(_scores(X, near))
        wide = X.astype(np.float64)
        counts = counts + _count(ids, n_clusters, weights)
        sums += _indicator(ids, n_clusters, weights) @ wide
        if origin.any():
            wide -= origin
        squares += float(np.vdot(wide, wide) if weights is None else weights @ np.einsum("ij,ij->i", wide, wide))
    return ClusterSums(counts, sums, squares)


def load_kernels() -> None:
    """Load scikit-learn's compiled code; only what is loaded can be held to one thread."""
    import sklearn.cluster  # noqa: F401


def add_rows(
    total: Counts, places: NDArray[np.integer], weights: FloatArray | None, counted: NDArray[np.bool_]
) -> Counts:
    """Count the next rows of a span in the cells they belong to, one by one, so that batch ends leave no trace.

    Parameters
    ----------
    total : ndarray of shape (n_cells,)
    places : ndarray of shape (n_rows,)
        Cell of each row.
    weights : ndarray of shape (n_rows,), optional
        Once each by default.
    counted : ndarray of shape (n_rows,)
        False for rows that don't count.
    """
    if weights is None:
        return total + np.bincount(places[counted], minlength=len(total))
    counts = total.copy()
    np.add.at(counts, places[counted], weights[counted])
    return counts


def add_squares(distances: Matrix, rows: Rows, total: float) -> float:
    """Add the squared distances of the next rows of a span, tile by tile."""
    for tile in tiles(len(distances)):
        kept, weights = rows.select(tile)
        squares = np.square(distances[tile] if kept is None else distances[tile][kept], dtype=np.float64)
        total += float(squares.sum() if weights is None else weights @ squares)
    return total


def move_centroids(centroids: FloatArray, counts: Counts, sums: FloatArray, sample: Matrix) -> FloatArray:
    """End an exact pass: each centroid becomes the mean of its rows.

    An empty one is put where the fit is worst: on the sampled row farthest from every other centroid, the next empty
    one on the farthest after that.

    Parameters
    ----------
    centroids, sums : ndarray of shape (n_clusters, n_features)
    counts : ndarray of shape (n_clusters,)
    sample : ndarray of shape (n_sample, n_features)
    """
    moved = np.where(counts[:, None] > 0, sums / np.where(counts > 0, counts, 1)[:, None], centroids)
    for i in np.flatnonzero(counts == 0):
        others = moved[(counts > 0) | (np.arange(len(moved)) < i)]
        moved[i] = sample[find_nearest(sample, others).distances.argmax()]
    return moved


def find_radii(rows: Rows, centroids: FloatArray) -> FloatArray:
    """Measure the root mean squared distance of the rows of each cluster to their centroid; 0 where it has none.

    Returns
    -------
    ndarray of shape (n_clusters,)
    """
    _, total = assign_rows(rows, DeviationSums.empty(centroids, np.float64))
    return np.asarray(np.sqrt(total.squares.sum(axis=1) / np.where(total.rows > 0, total.rows, 1)))


def largest_move(before: NDArray[np.floating], after: NDArray[np.floating]) -> float:
    """Measure how far the centroid that moved most has moved, in scaled units."""
    return float(np.sqrt(np.square(after - before).sum(axis=1)).max())


def find_origin(centroids: NDArray[np.floating]) -> Matrix:
    """Find a point to measure from: zero, or amid centroids so far off that float32 would lose their digits."""
    middle = centroids.mean(axis=0)
    return np.where(np.abs(middle).max() > _FAR_OFF, middle, 0.0).astype(np.float32)


def _measure_tile(X: Matrix, near: Matrix, found: Nearest, tile: slice) -> Matrix:
    """Fill in the part of a tile, and give each row's difference from its centroid."""
    scores = _scores(X, near)
    ids = _lowest(scores)
    # The product form loses digits close to a centroid; the distance itself is taken from the difference.
    difference: Matrix = X - near[ids]
    distances = np.sqrt(np.einsum("ij,ij->i", difference, difference))
    found.cluster_ids[tile] = ids
    found.distances[tile] = distances
    if len(near) == 1:
        found.margins[tile] = np.inf
        return difference
    # Scores of a row differ as its squared distances do: gap = second^2 - first^2 = (second - first)(second + first).
    columns = np.arange(len(X))
    lowest = scores[ids, columns]
    scores[ids, columns] = np.inf
    gap = (scores.min(axis=0) - lowest).astype(np.float32)
    both = distances + np.sqrt(np.square(distances) + gap)
    found.margins[tile] = np.divide(gap, both, out=np.zeros_like(gap), where=both > 0)
    return difference


def _scores(X: NDArray[np.floating], near: NDArray[np.floating]) -> NDArray[Any]:
    """Give squared distances less what all centroids share; of shape (n_clusters, n_rows), which is fast to reduce."""
    origin = find_origin(near)
    if origin.any():
        X, near = X - origin, near - origin
    if np.abs(near).max() > _WIDE_APART:
        X, near = X.astype(np.float64), near.astype(np.float64)
    scores = (-2.0 * near) @ X.T
    scores += np.square(near).sum(axis=1)[:, None]
    return scores


def _lowest(scores: NDArray[np.floating]) -> NDArray[np.integer]:
    """Find the row of the least score in each column, the first of equal ones; three times as fast as argmin.

    What is not the least gets the highest code, what is gets its own number; the least code is the answer.
    """
    n_clusters = len(scores)
    kind = np.uint8 if n_clusters <= 1 << 8 else np.uint16 if n_clusters <= 1 << 16 else np.uint32
    codes = np.not_equal(scores, scores.min(axis=0)).astype(kind)
    codes *= kind(np.iinfo(kind).max)
    codes |= np.arange(n_clusters, dtype=kind)[:, None]
    return np.asarray(codes.min(axis=0))


def _count(ids: NDArray[np.integer], n_clusters: int, weights: FloatArray | None) -> Counts:
    return np.bincount(ids, weights, minlength=n_clusters)


def _indicator(ids: NDArray[np.integer], n_clusters: int, weights: FloatArray | None = None) -> scipy.sparse.csc_array:
    """Build the (n_clusters, n_rows) matrix whose product with rows is their sum by cluster, in row order."""
    n_rows = len(ids)
    ones = np.ones(n_rows) if weights is None else weights
    return scipy.sparse.csc_array((ones, ids, np.arange(n_rows + 1)), shape=(n_clusters, n_rows))


def tiles(n_rows: int) -> Iterator[slice]:
    """Cut rows into the pieces in which everything is computed."""
    return (slice(start, min(start + TILE_ROWS, n_rows)) for start in range(0, n_rows, TILE_ROWS))
