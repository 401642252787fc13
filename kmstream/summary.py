"""What one pass over the rows leaves behind: small arrays that merge like a sum.

Means and squared deviations merge pairwise (T. F. Chan, G. H. Golub, R. J. LeVeque (1983), Algorithms for computing the
sample variance, The American Statistician 37, 242-247), in float64, so that no pass needs a second one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
Counts = NDArray[Any]  # int64, or float64 where rows have weights

PARTITION = "kmstream.partition"  # column of a row sample: the place of a row's partition in the dataset

# A distance bin is what a float32 is when its last 17 bits are cut off: 64 bins from a power of two to the next, each
# 0.8 to 1.6 % wide; from 2**-24 to 2**24 scaled units, the rest in the outer bins.
_CUT_BITS = 17
_LOWEST_BIN = (127 - 24) << (23 - _CUT_BITS)
N_DISTANCE_BINS = 48 << (23 - _CUT_BITS)


def merge_moments(
    n: tuple[Counts, Counts],
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
    total = n[0] + n[1]
    total = np.where(total > 0, total, 1)
    delta = mean[1] - mean[0]
    weight = n[1] / total
    return mean[0] + delta * weight, m2[0] + m2[1] + delta * delta * n[0] * weight


@dataclass(frozen=True)
class ColumnSummary:
    """Each numeric feature by itself, after log1p, over the rows where it is usable.

    Attributes
    ----------
    n, missing : ndarray of shape (n_numeric,)
        Rows with and without a usable value; sums of weights, if rows have any.
    mean, m2, low, high : ndarray of shape (n_numeric,)
        Mean, sum of squared deviations, least and greatest value; `low` is inf and `high` -inf where n is 0.
    """

    n: Counts
    missing: Counts
    mean: FloatArray
    m2: FloatArray
    low: FloatArray
    high: FloatArray

    @classmethod
    def empty(cls, n_numeric: int) -> Self:
        """Summarise no rows."""
        none, zeros = np.zeros(n_numeric, dtype=np.int64), np.zeros(n_numeric)
        return cls(none, none, zeros, zeros, np.full(n_numeric, np.inf), np.full(n_numeric, -np.inf))

    def add(self, values: Sequence[FloatArray], counted: Counts | None, tile_rows: int) -> Self:
        """Summarise the next rows of a span with those before them, tile by tile, so that batch ends leave no trace.

        Parameters
        ----------
        values : sequence of ndarray of shape (n_rows,)
            One per numeric feature; NaN where missing.
        counted : ndarray of shape (n_rows,), optional
            How many rows each counts for, 0 for those that don't; once each by default.
        tile_rows : int
        """
        if not values or not len(values[0]):
            return self
        columns = [_summarise_tiles(column, counted, tile_rows) for column in values]
        n, missing, mean, m2, low, high = (np.stack(figures, axis=1) for figures in zip(*columns, strict=True))
        total = self
        for i in range(len(n)):
            total = total.merge(type(self)(n[i], missing[i], mean[i], m2[i], low[i], high[i]))
        return total

    def merge(self, other: Self) -> Self:
        """Summarise the rows of both."""
        mean, m2 = merge_moments((self.n, other.n), (self.mean, other.mean), (self.m2, other.m2))
        low, high = np.minimum(self.low, other.low), np.maximum(self.high, other.high)
        return type(self)(self.n + other.n, self.missing + other.missing, mean, m2, low, high)

    @property
    def variance(self) -> FloatArray:
        """Variance of each feature (divided by n), shape (n_numeric,)."""
        return self.m2 / np.where(self.n > 0, self.n, 1)


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


def _summarise_tiles(values: FloatArray, counted: Counts | None, tile_rows: int) -> tuple[Counts, ...]:
    """Moments of each tile of a column: n, missing, mean, m2, low, high, each of shape (n_tiles,)."""
    whole = len(values) // tile_rows * tile_rows
    found = []
    for cut, width in ((slice(0, whole), tile_rows), (slice(whole, None), len(values) - whole)):
        tiles = values[cut].reshape(-1, width) if width else values[:0].reshape(0, 1)
        if counted is None and not np.isnan(np.vdot(tiles, tiles)):
            found.append(_moments(tiles))
            continue
        bad = np.isnan(tiles)
        weights = np.ones(tiles.shape, np.int64) if counted is None else counted[cut].reshape(tiles.shape)
        # A tile that counts in full is summed the same way whether its neighbours do or not.
        full = ~bad.any(axis=1) & (weights == 1).all(axis=1)
        some = _weighted_moments(np.where(bad, 0.0, tiles)[~full], bad[~full], weights[~full])
        figures = []
        for of_full, of_some in zip(_moments(tiles[full]), some, strict=True):
            both = np.empty(len(tiles), of_some.dtype)
            both[full], both[~full] = of_full, of_some
            figures.append(both)
        found.append(tuple(figures))
    return tuple(np.concatenate(figures) for figures in zip(*found, strict=True))


def _moments(x: FloatArray) -> tuple[Counts, ...]:
    n = np.full(len(x), x.shape[1])
    mean = x.mean(axis=1)
    deviation = x - mean[:, None]
    return n, np.zeros_like(n), mean, np.einsum("ij,ij->i", deviation, deviation), x.min(axis=1), x.max(axis=1)


def _weighted_moments(x: FloatArray, bad: NDArray[np.bool_], weights: Counts) -> tuple[Counts, ...]:
    used = np.where(bad, 0, weights)
    n = used.sum(axis=1)
    mean = (used * x).sum(axis=1) / np.where(n > 0, n, 1)
    deviation = np.square(x - mean[:, None])
    low = np.min(x, axis=1, initial=np.inf, where=used > 0)
    high = np.max(x, axis=1, initial=-np.inf, where=used > 0)
    return n, np.where(bad, weights, 0).sum(axis=1), mean, (used * deviation).sum(axis=1), low, high


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


def thin_positions(n_rows: int, at_most: int) -> IntArray:
    """Choose evenly spread rows, the same ones every time.

    Examples
    --------
    >>> thin_positions(5, 10).tolist(), thin_positions(7, 3).tolist()
    ([0, 1, 2, 3, 4], [0, 3, 6])
    """
    return np.arange(0, n_rows, max(1, -(-n_rows // at_most)))
