"""The rows of each cluster: moments, inertia, and how far they are from their centroid."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from kmstream.arrays import Counts, FloatArray
from kmstream.summary.columns import merge_moments

# A distance bin is what a float32 is when its last 17 bits are cut off: 64 bins from a power of two to the next, each
# 0.8 to 1.6 % wide; from 2**-24 to 2**24 scaled units, the rest in the outer bins.
_CUT_BITS = 17
_LOWEST_BIN = (127 - 24) << (23 - _CUT_BITS)
N_DISTANCE_BINS = 48 << (23 - _CUT_BITS)


@dataclass(frozen=True)
class ClusterSummary:
    """The rows of each cluster, in scaled units.

    Attributes
    ----------
    rows : ndarray of shape (n_clusters,)
        Sums of weights, if rows have any.
    mean, m2 : ndarray of shape (n_clusters, n_features)
        Mean and sum of squared deviations from it.
    sse : ndarray of shape (n_clusters,)
        Sum of squared distances to the centroid the rows were assigned to; its total is the inertia.
    distance_counts : ndarray of shape (n_clusters, N_DISTANCE_BINS)
        Rows by distance to their centroid, in bins that are about 1 % wide.
    """

    rows: Counts
    mean: FloatArray
    m2: FloatArray
    sse: FloatArray
    distance_counts: Counts

    @classmethod
    def empty(cls, n_clusters: int, n_features: int) -> Self:
        """Summarise no rows."""
        return cls(
            np.zeros(n_clusters, dtype=np.int64),
            np.zeros((n_clusters, n_features)),
            np.zeros((n_clusters, n_features)),
            np.zeros(n_clusters),
            np.zeros((n_clusters, N_DISTANCE_BINS), dtype=np.int64),
        )

    def merge(self, other: Self) -> Self:
        """Summarise the rows of both."""
        mean, m2 = merge_moments(
            (self.rows[:, None], other.rows[:, None]), (self.mean, other.mean), (self.m2, other.m2)
        )
        return type(self)(
            self.rows + other.rows,
            mean,
            m2,
            self.sse + other.sse,
            self.distance_counts + other.distance_counts,
        )

    @property
    def n_rows(self) -> float:
        """Rows of all clusters together; a whole number unless rows have weights."""
        total: float = self.rows.sum().item()
        return total

    @property
    def shares(self) -> FloatArray:
        """Share of all rows in each cluster, shape (n_clusters,)."""
        return np.asarray(self.rows / (self.n_rows or 1))

    @property
    def inertia_per_row(self) -> float:
        """Mean squared distance of a row to its centroid."""
        return float(self.sse.sum() / (self.n_rows or 1))

    def distance_quantile(self, q: float) -> FloatArray:
        """Distance within which at least a share `q` of each cluster's rows lies; 0 for an empty cluster.

        Returns
        -------
        ndarray of shape (n_clusters,)
            The upper end of a bin, so that never more than ``1 - q`` of the rows lie beyond, whatever values repeat.
        """
        quantile = np.zeros(len(self.rows))
        for i, counts in enumerate(self.distance_counts):
            target = q * counts.sum()
            if target > 0:
                inside = int(np.searchsorted(np.cumsum(counts), target))
                quantile[i] = distance_bin_ends()[inside]
        return quantile


@dataclass(frozen=True)
class DeviationSums:
    """What the assign pass adds up of the rows of each cluster: how they deviate from the centroid.

    Deviations are small beside the spread of the data, so one pass loses no digits, and sums of several spans merge by
    adding.

    Attributes
    ----------
    centroids : ndarray of shape (n_clusters, n_features)
        As float32 has them: what the deviations are taken from.
    rows : ndarray of shape (n_clusters,)
        Sums of weights, if rows have any.
    sums, squares : ndarray of shape (n_clusters, n_features)
        Of the deviations, and of their squares.
    distance_counts : ndarray of shape (n_clusters, N_DISTANCE_BINS)
    """

    centroids: NDArray[np.float32]
    rows: Counts
    sums: FloatArray
    squares: FloatArray
    distance_counts: Counts

    @classmethod
    def empty(cls, centroids: FloatArray, kind: type[np.number] = np.int64) -> Self:
        """Sum of no rows; rows are counted as int64, weights added up as float64."""
        zeros, n_clusters = np.zeros(centroids.shape), len(centroids)
        counts = np.zeros((n_clusters, N_DISTANCE_BINS), kind)
        return cls(centroids.astype(np.float32), np.zeros(n_clusters, kind), zeros, zeros, counts)

    def merge(self, other: Self) -> Self:
        """Sum of the rows of both."""
        return type(self)(
            self.centroids,
            self.rows + other.rows,
            self.sums + other.sums,
            self.squares + other.squares,
            self.distance_counts + other.distance_counts,
        )

    @property
    def summary(self) -> ClusterSummary:
        """The same as moments."""
        rows = self.rows[:, None]
        shift = self.sums / np.where(rows > 0, rows, 1)
        mean = np.where(rows > 0, self.centroids + shift, 0.0)
        m2 = np.maximum(self.squares - shift * self.sums, 0.0)
        return ClusterSummary(self.rows, mean, m2, self.squares.sum(axis=1), self.distance_counts)


def add_distances(
    total: Counts,
    cluster_ids: NDArray[np.integer],
    distances: NDArray[np.float32],
    weights: FloatArray | None,
) -> Counts:
    """Count the next rows by cluster and distance bin, one by one in their order, so that batch ends leave no trace.

    Parameters
    ----------
    total : ndarray of shape (n_clusters, N_DISTANCE_BINS)
    cluster_ids, distances, weights : ndarray of shape (n_rows,)
    """
    bins = (np.ascontiguousarray(distances).view(np.int32) >> _CUT_BITS) - _LOWEST_BIN
    np.clip(bins, 0, N_DISTANCE_BINS - 1, out=bins)
    flat = cluster_ids * np.int64(N_DISTANCE_BINS) + bins
    counts = total.copy()
    np.add.at(counts.reshape(-1), flat, 1 if weights is None else weights)
    return counts


def distance_bin_ends() -> NDArray[np.float32]:
    """Give the upper end of each distance bin, in scaled units; shape (N_DISTANCE_BINS,)."""
    bits = (np.arange(1, N_DISTANCE_BINS + 1, dtype=np.int32) + _LOWEST_BIN) << _CUT_BITS
    return bits.view(np.float32)
