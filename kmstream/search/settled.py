"""Lloyd on weighted rows in memory: each row goes to its nearest centroid, each centroid to the mean of its rows."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kmstream.arrays import FloatArray, IntArray, Matrix
from kmstream.clustering import find_lowest, make_indicator, tiles
from kmstream.features import TILE_ROWS

ITERATIONS = 30  # at most, on a core
LEAST_GAIN = 1e-4  # what lowers the inertia by less (relative) is the last


@dataclass(frozen=True)
class WeightedRows:
    """Rows to search in.

    Attributes
    ----------
    points : ndarray of shape (n_rows, n_features + 1), float32
        The last column is ones, so that a product with it adds a constant, and a sum of it adds up weights.
    weights : ndarray of shape (n_rows,), float64
    squares : ndarray of shape (n_rows,), float32
        Squared lengths.
    """

    points: Matrix
    weights: FloatArray
    squares: Matrix

    @property
    def n_rows(self) -> int:
        """How many there are."""
        return len(self.points)

    @property
    def X(self) -> Matrix:
        """The rows themselves, of shape (n_rows, n_features)."""
        return self.points[:, :-1]


@dataclass(frozen=True)
class Settled:
    """Centroids that Lloyd has settled, float32 of shape (n_clusters, n_features), and their inertia."""

    centroids: Matrix
    inertia: float


@dataclass(frozen=True)
class TwoNearest:
    """The nearest and the second nearest centroid of each row.

    Attributes
    ----------
    first, second : ndarray of shape (n_rows,), int64
        The nearest one and the next.
    near, next : ndarray of shape (n_rows,), float32
        Squared distances to them.
    """

    first: IntArray
    second: IntArray
    near: Matrix
    next: Matrix


def center_rows(X: Matrix, weights: FloatArray | None) -> tuple[WeightedRows, Matrix]:
    """Measure rows from their median: where most of them are, float32 has its digits, whatever a few outliers do.

    Returns
    -------
    rows : WeightedRows
    origin : ndarray of shape (n_features,)
        What was subtracted.
    """
    origin = np.median(X[:: max(1, len(X) // TILE_ROWS)], axis=0)
    points = np.ones((len(X), X.shape[1] + 1), np.float32)
    np.subtract(X, origin, out=points[:, :-1])
    squares = np.einsum("ij,ij->i", points[:, :-1], points[:, :-1])
    return WeightedRows(points, np.ones(len(X)) if weights is None else weights, squares), origin


def settle(
    rows: WeightedRows, centroids: Matrix, iterations: int = ITERATIONS, least_gain: float = LEAST_GAIN
) -> Settled:
    """Run Lloyd; an empty centroid stays where it is."""
    last = np.inf
    for _ in range(iterations):
        found = find_two_nearest(rows, centroids, second=False)
        inertia = float(rows.weights @ found.near)
        if last - inertia <= least_gain * inertia:
            break
        last, settled = inertia, centroids
        centroids = _means(sum_by(found.first, len(centroids), rows), centroids)
    return Settled(settled, last) if last < inertia else Settled(centroids, inertia)


def find_two_nearest(rows: WeightedRows, centroids: Matrix, *, second: bool = True) -> TwoNearest:
    """Find the nearest centroid of each row, ties going to the lower one, and the next unless that is not wanted."""
    ids, squares = np.zeros((2, rows.n_rows), np.int64), np.zeros((2, rows.n_rows), np.float32)
    product = np.hstack([-2.0 * centroids, np.square(centroids).sum(axis=1)[:, None]])
    for tile in tiles(rows.n_rows):
        scores = product @ rows.points[tile].T  # squared distances less the squared length of the row
        for rank in range(1 + second):
            lowest = scores.min(axis=0)
            ids[rank, tile] = find_lowest(scores, lowest)
            squares[rank, tile] = np.maximum(lowest + rows.squares[tile], 0.0)
            if second:
                scores[ids[rank, tile], np.arange(scores.shape[1])] = np.inf
    return TwoNearest(ids[0], ids[1], squares[0], squares[1])


def sum_by(ids: IntArray, n_groups: int, rows: WeightedRows, values: Matrix | None = None) -> FloatArray:
    """Sum values (the points, unless others are given) times weights by group; tiles in float32, all in float64.

    Parameters
    ----------
    ids : ndarray of shape (n_rows,)
        Group of each row.
    values : ndarray of shape (n_rows, n_columns), optional

    Returns
    -------
    ndarray of shape (n_groups, n_columns)
    """
    values, weights = rows.points if values is None else values, rows.weights.astype(np.float32)
    sums = np.zeros((n_groups, values.shape[1]))
    for tile in tiles(rows.n_rows):
        sums += make_indicator(ids[tile], n_groups, weights[tile]) @ values[tile]
    return sums


def _means(sums: FloatArray, otherwise: Matrix) -> Matrix:
    """Divide sums by their last column; where that is zero, keep what was."""
    held: NDArray[np.bool_] = sums[:, -1:] > 0
    return np.where(held, sums[:, :-1] / np.where(held, sums[:, -1:], 1.0), otherwise).astype(np.float32)
