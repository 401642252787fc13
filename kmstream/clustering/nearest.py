"""The nearest centroid of each row, and how near it is.

Distances are taken in float32: the matrix product is what costs.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from kmstream.arrays import FloatArray, Matrix
from kmstream.config import FeaturesConfig
from kmstream.features import TILE_ROWS, Scaling

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

    @classmethod
    def unknown(cls, n_rows: int) -> Self:
        """Make room for so many rows; what is in it means nothing yet."""
        return cls(np.empty(n_rows, np.int32), np.empty(n_rows, np.float32), np.empty(n_rows, np.float32))


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
    found, near = Nearest.unknown(len(X)), centroids.astype(np.float32)
    for tile in tiles(len(X)):
        measure_tile(X[tile], near, found, tile)
    return found


def tiles(n_rows: int) -> Iterator[slice]:
    """Cut rows into the pieces in which everything is computed."""
    return (slice(start, min(start + TILE_ROWS, n_rows)) for start in range(0, n_rows, TILE_ROWS))


def measure_tile(X: Matrix, near: Matrix, found: Nearest, tile: slice) -> Matrix:
    """Fill in the part of a tile, and give each row's difference from its centroid."""
    scores = score_rows(X, near)
    lowest = scores.min(axis=0)
    ids = find_lowest(scores, lowest)
    # The product form loses digits close to a centroid; the distance itself is taken from the difference.
    difference: Matrix = X - near[ids]
    distances = np.sqrt(np.einsum("ij,ij->i", difference, difference))
    found.cluster_ids[tile] = ids
    found.distances[tile] = distances
    if len(near) == 1:
        found.margins[tile] = np.inf
        return difference
    # Scores of a row differ as its squared distances do: gap = second^2 - first^2 = (second - first)(second + first).
    scores[ids, np.arange(len(X))] = np.inf
    gap = (scores.min(axis=0) - lowest).astype(np.float32)
    both = distances + np.sqrt(np.square(distances) + gap)
    found.margins[tile] = np.divide(gap, both, out=np.zeros_like(gap), where=both > 0)
    return difference


def score_rows(X: NDArray[np.floating], near: NDArray[np.floating]) -> NDArray[Any]:
    """Give squared distances less what all centroids share; of shape (n_clusters, n_rows), which is fast to reduce."""
    origin = find_origin(near)
    if origin.any():
        X, near = X - origin, near - origin
    if np.abs(near).max() > _WIDE_APART:
        X, near = X.astype(np.float64), near.astype(np.float64)
    scores = (-2.0 * near) @ X.T
    scores += np.square(near).sum(axis=1)[:, None]
    return scores


def find_lowest(scores: NDArray[np.floating], lowest: NDArray[np.floating]) -> NDArray[np.integer]:
    """Find the cluster with the lowest score of each row, the first of several; three times as fast as argmin.

    What is not the lowest gets the highest code, what is gets its own number; the lowest code is the answer.

    Parameters
    ----------
    scores : ndarray of shape (n_clusters, n_rows)
    lowest : ndarray of shape (n_rows,)
        The lowest score of each row.
    """
    n_clusters = len(scores)
    kind = np.uint8 if n_clusters <= 1 << 8 else np.uint16 if n_clusters <= 1 << 16 else np.uint32
    codes = np.not_equal(scores, lowest).astype(kind)
    codes *= kind(np.iinfo(kind).max)
    codes |= np.arange(n_clusters, dtype=kind)[:, None]
    return np.asarray(codes.min(axis=0))


def find_origin(centroids: NDArray[np.floating]) -> Matrix:
    """Find a point to measure from: zero, or amid centroids so far off that float32 would lose their digits."""
    middle = centroids.mean(axis=0)
    return np.where(np.abs(middle).max() > _FAR_OFF, middle, 0.0).astype(np.float32)
