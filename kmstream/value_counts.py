"""What every pass over feature values counts of them: bins of feature drift, skipped rows, unknown categories."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from kmstream.arrays import Counts, FloatArray
from kmstream.features import Encoded, Scaling


@dataclass(frozen=True)
class ValueCounts:
    """What there is to count before a row has a segment.

    Attributes
    ----------
    bins : ndarray of shape (n_numeric, n_bins + 1)
        Rows per bin of feature drift, or sums of their weights; the last column counts missing values.
    skipped, unseen : Counter of str
        Rows without a segment by reason; rows with an unknown category by feature.
    """

    bins: Counts
    skipped: Counter[str]
    unseen: Counter[str]

    @classmethod
    def empty(cls, scaling: Scaling, kind: type[np.number] = np.int64) -> Self:
        """Count no rows; rows are counted as int64, weights added up as float64."""
        n_numeric, n_edges = scaling.edges.shape
        return cls(np.zeros((n_numeric, n_edges + 2), kind), Counter(), Counter())

    def add(self, encoded: Encoded, scaling: Scaling) -> Self:
        """Count the next rows of a span."""
        bins = self.bins.copy()
        if encoded.rows.weights is None:
            bins += count_bins(encoded.numeric, scaling.edges)
        else:
            for counts, values, edges in zip(bins, encoded.numeric, scaling.edges, strict=True):
                places = np.where(np.isnan(values), len(edges) + 1, np.searchsorted(edges, values, side="right"))
                np.add.at(counts, places, encoded.rows.weights)  # one by one: batch ends leave no trace
        return type(self)(bins, self.skipped + Counter(encoded.skipped), self.unseen + Counter(encoded.unseen))

    def merge(self, other: Self) -> Self:
        """Count the rows of both."""
        return type(self)(self.bins + other.bins, self.skipped + other.skipped, self.unseen + other.unseen)


def count_bins(values: Sequence[FloatArray], edges: FloatArray) -> NDArray[np.int64]:
    """Count values per bin, exactly; a value equal to an edge belongs to the bin above it.

    Parameters
    ----------
    values : sequence of ndarray of shape (n_rows,)
        One per numeric feature; NaN where missing.
    edges : ndarray of shape (n_numeric, n_bins - 1)
        Ascending per feature.

    Returns
    -------
    ndarray of shape (n_numeric, n_bins + 1)
        The last column counts missing values.

    Examples
    --------
    >>> count_bins([np.array([1.0, 2.0, 3.0, np.nan])], np.array([[2.0, 2.5]])).tolist()
    [[1, 1, 1, 1]]
    """
    counts = np.zeros((len(values), edges.shape[1] + 2), dtype=np.int64)
    for j, row in enumerate(values):
        n_usable = len(row) - np.count_nonzero(np.isnan(row))
        below = [0, *(int(np.count_nonzero(row < edge)) for edge in edges[j]), n_usable]
        counts[j, :-1] = np.diff(np.array(below))
        counts[j, -1] = len(row) - n_usable
    return counts
