"""What one pass over the rows leaves behind: small arrays that merge like a sum.

Means and squared deviations merge pairwise (T. F. Chan, G. H. Golub, R. J. LeVeque (1983), Algorithms for computing the
sample variance, The American Statistician 37, 242-247), in float64, so that no pass needs a second one.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

BINS_PER_OCTAVE = 64  # distance bins are 1.1 % wide
_LOWEST_OCTAVE, _OCTAVES = -24, 48  # distances from 2**-24 to 2**24 scaled units, the rest in the outer bins
N_DISTANCE_BINS = BINS_PER_OCTAVE * _OCTAVES


def merge_moments(
    n: tuple[NDArray[np.number], NDArray[np.number]],
    mean: tuple[FloatArray, FloatArray],
    m2: tuple[FloatArray, FloatArray],
) -> tuple[FloatArray, FloatArray]:
    """Merge the means and sums of squared deviations of two groups of rows.

    Parameters
    ----------
    n, mean, m2 : pair of ndarray
        Of the first and of the second group; shapes that broadcast against each other.

    Returns
    -------
    mean, m2 : ndarray
        Of both groups together; 0 where both are empty.

    Examples
    --------
    >>> one, two = np.array([1.0, 2.0]), np.array([3.0, 5.0, 10.0])
    >>> mean, m2 = merge_moments((np.array(2), np.array(3)), (one.mean(), two.mean()), (one.var() * 2, two.var() * 3))
    >>> round(float(mean), 12), round(float(m2), 12)
    (4.2, 50.8)
    """
    total = np.maximum(n[0] + n[1], 1)
    delta = mean[1] - mean[0]
    weight = n[1] / total
    return mean[0] + delta * weight, m2[0] + m2[1] + delta * delta * n[0] * weight


@dataclass(frozen=True)
class ColumnSummary:
    """Each numeric feature by itself, after log1p, over the rows where it is usable.

    Attributes
    ----------
    n, missing : ndarray of shape (n_numeric,)
        Rows with and without a usable value.
    mean, m2, low, high : ndarray of shape (n_numeric,)
        Mean, sum of squared deviations, least and greatest value; `low` is inf and `high` -inf where n is 0.
    """

    n: IntArray
    missing: IntArray
    mean: FloatArray
    m2: FloatArray
    low: FloatArray
    high: FloatArray

    @classmethod
    def of(cls, values: FloatArray) -> Self:
        """Summarise one block of rows.

        Parameters
        ----------
        values : ndarray of shape (n_numeric, n_rows)
            NaN where missing.
        """
        n_rows = values.shape[1]
        bad = np.isnan(values)
        missing = bad.sum(axis=1)
        n = n_rows - missing
        filled = np.where(bad, 0.0, values) if missing.any() else values
        mean = filled.sum(axis=1) / np.maximum(n, 1)
        deviation = np.where(bad, 0.0, values - mean[:, None]) if missing.any() else values - mean[:, None]
        low = np.min(values, axis=1, initial=np.inf, where=~bad)
        high = np.max(values, axis=1, initial=-np.inf, where=~bad)
        return cls(n, missing, mean, np.square(deviation).sum(axis=1), low, high)

    def merge(self, other: Self) -> Self:
        """Summarise the rows of both."""
        mean, m2 = merge_moments((self.n, other.n), (self.mean, other.mean), (self.m2, other.m2))
        low, high = np.minimum(self.low, other.low), np.maximum(self.high, other.high)
        return type(self)(self.n + other.n, self.missing + other.missing, mean, m2, low, high)

    @property
    def variance(self) -> FloatArray:
        """Variance of each feature (divided by n), shape (n_numeric,)."""
        return self.m2 / np.maximum(self.n, 1)


@dataclass(frozen=True)
class ClusterSummary:
    """The rows of each cluster, in scaled units.

    Attributes
    ----------
    rows : ndarray of shape (n_clusters,)
    mean, m2 : ndarray of shape (n_clusters, n_features)
        Mean and sum of squared deviations from it.
    sse : ndarray of shape (n_clusters,)
        Sum of squared distances to the centroid the rows were assigned to; its total is the inertia.
    distance_counts : ndarray of shape (n_clusters, N_DISTANCE_BINS)
        Rows by distance to their centroid, in bins of 1/64 octave.
    """

    rows: IntArray
    mean: FloatArray
    m2: FloatArray
    sse: FloatArray
    distance_counts: IntArray

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
    def n_rows(self) -> int:
        """Rows of all clusters together."""
        return int(self.rows.sum())

    @property
    def shares(self) -> FloatArray:
        """Share of all rows in each cluster, shape (n_clusters,)."""
        return self.rows / max(self.n_rows, 1)

    @property
    def inertia_per_row(self) -> float:
        """Mean squared distance of a row to its centroid."""
        return float(self.sse.sum() / max(self.n_rows, 1))

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
                quantile[i] = 2.0 ** (_LOWEST_OCTAVE + (inside + 1) / BINS_PER_OCTAVE)
        return quantile


def count_distances(cluster_ids: NDArray[np.integer], distances: NDArray[np.floating], n_clusters: int) -> IntArray:
    """Count rows by cluster and distance bin; integers, so any order of batches gives the same.

    Returns
    -------
    ndarray of shape (n_clusters, N_DISTANCE_BINS)
    """
    octave = np.log2(np.maximum(distances, 2.0**_LOWEST_OCTAVE), dtype=np.float32)
    bins = ((octave - _LOWEST_OCTAVE) * BINS_PER_OCTAVE).astype(np.int64)
    np.clip(bins, 0, N_DISTANCE_BINS - 1, out=bins)
    flat = np.bincount(cluster_ids * np.int64(N_DISTANCE_BINS) + bins, minlength=n_clusters * N_DISTANCE_BINS)
    return flat.reshape(n_clusters, N_DISTANCE_BINS)


def sample_positions(n_rows: int, size: int, seed: int) -> IntArray:
    """Choose the rows of the sample: uniform, without replacement, sorted.

    They depend on the number of rows and the seed alone, so chunking, row groups and workers can't change them, and
    every partition is represented by its rows.

    Examples
    --------
    >>> sample_positions(5, 10, seed=0).tolist()
    [0, 1, 2, 3, 4]
    >>> len(sample_positions(1_000_000_000, 100, seed=0))
    100
    """
    if size >= n_rows:
        return np.arange(n_rows, dtype=np.int64)
    return np.sort(np.random.default_rng(seed).choice(n_rows, size, replace=False, shuffle=False))
