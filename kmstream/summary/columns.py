"""Moments of each numeric feature by itself, and how moments of two groups of rows merge."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from kmstream.arrays import Counts, FloatArray


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
