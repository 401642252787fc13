"""What a pass over the rows adds up by cluster, and how the centroids move at its end."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from kmstream.arrays import Counts, FloatArray, Matrix
from kmstream.clustering.nearest import Nearest, find_lowest, find_nearest, find_origin, measure_tile, score_rows, tiles
from kmstream.features import Rows
from kmstream.summary import DeviationSums, add_distances


def assign_rows(rows: Rows, total: DeviationSums) -> tuple[Nearest, DeviationSums]:
    """Find the nearest centroid of the next rows of a span, and add what the rows are like to the sums by cluster.

    Parameters
    ----------
    rows : Rows
        Those with `keep` False are measured too, but don't count.
    total : DeviationSums
        Of the rows before these, and the centroids; tiles are added one by one, so batch ends leave no trace.
    """
    near, n_clusters, found = total.centroids, len(total.centroids), Nearest.unknown(len(rows.X))
    counts, sums, squares = total.rows, total.sums.copy(), total.squares.copy()
    for tile in tiles(len(rows.X)):
        part = rows.take(tile)
        difference = measure_tile(part.X, near, found, tile)
        ids, deviation = found.cluster_ids[tile][part.kept_at], difference.astype(np.float64)[part.kept_at]
        indicator = make_indicator(ids, n_clusters, part.kept_weights)
        counts = counts + np.bincount(ids, part.kept_weights, n_clusters)
        sums += indicator @ deviation
        squares += indicator @ np.square(deviation, out=deviation)
    ids, distances = found.cluster_ids[rows.kept_at], found.distances[rows.kept_at]
    distance_counts = add_distances(total.distance_counts, ids, distances, rows.kept_weights)
    return found, DeviationSums(near, counts, sums, squares, distance_counts)


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
        part = rows.take(tile).kept()
        scores, weights, wide = score_rows(part.X, near), part.weights, part.X.astype(np.float64)
        ids = find_lowest(scores, scores.min(axis=0))
        counts = counts + np.bincount(ids, weights, n_clusters)
        sums += make_indicator(ids, n_clusters, weights) @ wide
        if origin.any():
            wide -= origin
        squares += float(np.vdot(wide, wide) if weights is None else weights @ np.einsum("ij,ij->i", wide, wide))
    return ClusterSums(counts, sums, squares)


def make_indicator(
    ids: NDArray[np.integer], n_clusters: int, weights: NDArray[np.floating] | None
) -> scipy.sparse.csc_array:
    """Build the (n_clusters, n_rows) matrix whose product with rows is their weighted sum by cluster, in row order."""
    n_rows = len(ids)
    values = np.ones(n_rows) if weights is None else weights
    return scipy.sparse.csc_array((values, ids, np.arange(n_rows + 1)), shape=(n_clusters, n_rows))


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
        part = rows.take(tile)
        squares, weights = np.square(distances[tile][part.kept_at], dtype=np.float64), part.kept_weights
        total += float(squares.sum() if weights is None else weights @ squares)
    return total


def move_centroids(counts: Counts, sums: FloatArray, sample: Matrix) -> FloatArray:
    """End an exact pass: each centroid becomes the mean of its rows.

    An empty one is put where the fit is worst: on the sampled row farthest from every other centroid, the next empty
    one on the farthest after that.

    Parameters
    ----------
    counts : ndarray of shape (n_clusters,)
    sums : ndarray of shape (n_clusters, n_features)
    sample : ndarray of shape (n_sample, n_features)
    """
    moved: FloatArray = sums / np.where(counts > 0, counts, 1)[:, None]
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


def load_kernels() -> None:
    """Load scikit-learn's compiled code; only what is loaded can be held to one thread."""
    import sklearn.cluster  # noqa: F401
