"""The two sides of a comparison, and how their clusters are brought into one order."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kmstream.arrays import Counts, FloatArray
from kmstream.summary import ClusterSummary

OUTLIER_QUANTILE = 0.99


@dataclass(frozen=True)
class Observed:
    """One side of a comparison: the rows of a window, or those a model was fitted on.

    Attributes
    ----------
    labels : tuple of str
        Per cluster of `summary`.
    summary : ClusterSummary
    original : ndarray of shape (n_clusters, n_features)
        Means of the clusters in original units.
    bins : ndarray of shape (n_numeric, n_bins + 1)
        Rows per frozen bin of each numeric feature; the last column counts missing values.
    outliers : ndarray of shape (n_clusters,), optional
        Rows beyond the reference's 99 % distance of their segment; None where they were not counted.
    n_rows : int, optional
        Rows with a segment, whatever they weigh.
    """

    labels: tuple[str, ...]
    summary: ClusterSummary
    original: FloatArray
    bins: Counts
    outliers: Counts | None = None
    n_rows: int | None = None


@dataclass(frozen=True)
class Aligned:
    """One side with its clusters in the order of the labels of both; zeros for a label that it does not have.

    Attributes
    ----------
    side : Observed
    labels : sequence of str
    rows, shares, sse : ndarray of shape (n_labels,)
    mean, original : ndarray of shape (n_labels, n_features)
        In scaled and in original units.
    outliers : ndarray of shape (n_labels,) or None
    """

    side: Observed
    labels: Sequence[str]
    rows: Counts
    shares: FloatArray
    mean: FloatArray
    original: FloatArray
    sse: FloatArray
    outliers: Counts | None


def align(side: Observed, labels: Sequence[str]) -> Aligned:
    """Bring the clusters of one side into the order of these labels."""
    summary = side.summary
    at = np.array([side.labels.index(label) if label in side.labels else -1 for label in labels])

    def pick(values: NDArray[Any]) -> NDArray[Any]:
        return np.where((at >= 0).reshape(-1, *[1] * (values.ndim - 1)), values[at], 0)

    return Aligned(
        side,
        labels,
        rows=pick(summary.rows),
        shares=pick(summary.shares),
        mean=pick(summary.mean),
        original=pick(side.original),
        sse=pick(summary.sse),
        outliers=None if side.outliers is None else pick(side.outliers),
    )
