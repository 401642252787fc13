"""Names that persist: which new centroid continues which known segment.

K-means numbers its clusters anew at every fit. Here a `cluster_label` is carried from the known centroids to the new
ones by an assignment of least total distance. What became of each segment is told by `life_cycle`.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from kmstream.arrays import Counts, FloatArray
from kmstream.errors import DataError
from kmstream.life_cycle import share_out

_AUTOMATIC = re.compile(r"segment-(\d+)")


@dataclass(frozen=True)
class LabelMatch:
    """The labels of new centroids, and where they came from.

    Attributes
    ----------
    labels : tuple of str
        Per new centroid.
    matched : tuple of bool
        Whether the label continues a known segment.
    distances : ndarray of shape (n_new,)
        To the known centroid it continues, in scaled units; NaN if it continues none.
    margins : ndarray of shape (n_new,)
        How much more the best assignment would cost in which this centroid has another label, or none: near 0, the
        name could as well have gone elsewhere. NaN if it continues none.
    retired : tuple of str
        Known labels that no new centroid continues.
    by : {"distance", "overlap"}
        What distances and margins are: scaled units, or shares of rows.
    """

    labels: tuple[str, ...]
    matched: tuple[bool, ...]
    distances: FloatArray
    margins: FloatArray
    retired: tuple[str, ...]
    by: str = "distance"

    @classmethod
    def of_new(cls, labels: tuple[str, ...], retired: tuple[str, ...] = ()) -> Self:
        """Give segments that continue none."""
        none = np.full(len(labels), np.nan)
        return cls(labels, (False,) * len(labels), none, none, retired)


def first_labels(rows: Counts, used_labels: Collection[str] = ()) -> tuple[str, ...]:
    """Name segments for the first time, by size: the largest is segment-01, or the first name that is free.

    Examples
    --------
    >>> first_labels(np.array([5, 90, 20]))
    ('segment-03', 'segment-01', 'segment-02')
    """
    largest_first = np.argsort(-rows, kind="stable").tolist()
    label_of = dict(zip(largest_first, free_labels(len(rows), used_labels), strict=True))
    return tuple(label_of[i] for i in range(len(rows)))


def free_labels(n: int, used_labels: Collection[str]) -> list[str]:
    """Give the next `n` names that were never used.

    Examples
    --------
    >>> free_labels(2, ["segment-02", "vip"])
    ['segment-03', 'segment-04']
    """
    numbers = [int(found[1]) for label in used_labels if (found := _AUTOMATIC.fullmatch(label))]
    start = max(numbers, default=0) + 1
    return [f"segment-{number:02d}" for number in range(start, start + n)]


def is_automatic(label: str) -> bool:
    """Whether a name is one of those that are given by themselves.

    Examples
    --------
    >>> is_automatic("segment-07"), is_automatic("segment-vip")
    (True, False)
    """
    return _AUTOMATIC.fullmatch(label) is not None


def match_labels(
    centroids: FloatArray,
    known: FloatArray,
    known_labels: Sequence[str],
    *,
    max_match_distance: float,
    rows: Counts,
    used_labels: Collection[str] = (),
) -> LabelMatch:
    """Give each new centroid the label of the known centroid it continues.

    The assignment minimises the total distance over all pairs (Hungarian method). Leaving a centroid unmatched costs
    `max_match_distance`, so no farther pair is ever made; it gets the next free label, larger segments first. Where
    two assignments cost the same, the coordinates of the centroids decide, not their order.

    Parameters
    ----------
    centroids : ndarray of shape (n_new, n_features)
        Centroids of this run, in scaled units (1.0 = one baseline standard deviation of one feature).
    known : ndarray of shape (n_known, n_features)
        Centroids of the version whose labels go on, in the same units.
    known_labels : sequence of str
    max_match_distance : float
    rows : ndarray of shape (n_new,)
        Sizes, the order in which new names are given.
    used_labels : collection of str
        Every label ever used, retired ones too: none of them is given again.

    Raises
    ------
    DataError
        If the two sets differ in n_features.

    References
    ----------
    H. W. Kuhn (1955), The Hungarian method for the assignment problem, Naval Res. Logist. Quart. 2, 83-97.

    Examples
    --------
    >>> match = match_labels(
    ...     np.array([[5.0], [0.1], [9.0]]),
    ...     np.array([[0.0], [5.0]]),
    ...     ["low", "high"],
    ...     max_match_distance=1.0,
    ...     rows=np.array([10, 10, 10]),
    ... )
    >>> match.labels, match.retired
    (('high', 'low', 'segment-01'), ())
    """
    if known.shape[1] != centroids.shape[1]:
        msg = f"known centroids have n_features={known.shape[1]}; expected {centroids.shape[1]}"
        raise DataError(msg)
    return _match(cdist(centroids, known), known_labels, max_match_distance, rows, used_labels, centroids)


def match_by_overlap(
    migration: Counts,
    known_labels: Sequence[str],
    *,
    min_overlap: float,
    rows: Counts,
    used_labels: Collection[str] = (),
) -> LabelMatch:
    """Match by shared rows, for a baseline with other features, where distances between centroids mean nothing.

    Parameters
    ----------
    migration : ndarray of shape (n_known, n_new)
        Rows by old and new cluster.
    min_overlap : float
        Share of a segment's rows that must stay with its name.

    Other parameters and the result are those of `match_labels`; distances are 1 - the share that stays.
    """
    cost = np.where(migration > 0, 1.0 - share_out(migration), np.inf).T
    found = _match(cost, known_labels, 1.0 - min_overlap, rows, used_labels, migration[np.argsort(known_labels)].T)
    return replace(found, by="overlap")


def _match(
    cost: FloatArray,
    known_labels: Sequence[str],
    cost_unmatched: float,
    rows: Counts,
    used_labels: Collection[str],
    traits: Counts,
) -> LabelMatch:
    """Match by a cost of each pair (n_new, n_known); the traits of the new ones (n_new, any) order them for ties."""
    n_new, n_known = cost.shape
    rank = np.lexsort((*traits.T[::-1], -rows))
    known_rank = np.argsort(known_labels)
    # Each new centroid has a place of its own to stay unmatched in, so the augmented problem always has a solution.
    places = np.full((n_new, n_new), np.inf)
    np.fill_diagonal(places, cost_unmatched)
    costs = np.hstack([np.where(cost <= cost_unmatched, cost, np.inf)[np.ix_(rank, known_rank)], places])
    chosen_by_rank = linear_sum_assignment(costs)[1]
    chosen, margins = np.empty(n_new, np.int64), np.empty(n_new)
    chosen[rank] = np.concatenate([known_rank, np.full(n_new, n_known)])[chosen_by_rank]
    margins[rank] = _find_margins(costs, chosen_by_rank)
    labels = [known_labels[j] if j < n_known else "" for j in chosen.tolist()]
    matched = tuple(bool(label) for label in labels)
    unnamed = [i for i in rank.tolist() if not matched[i]]
    for i, name in zip(unnamed, free_labels(len(unnamed), {*used_labels, *known_labels}), strict=True):
        labels[i] = name
    distances = np.array([cost[i, j] if j < n_known else np.nan for i, j in enumerate(chosen)])
    retired = tuple(label for label in known_labels if label not in labels)
    return LabelMatch(tuple(labels), matched, distances, np.where(matched, margins, np.nan), retired)


def _find_margins(costs: FloatArray, chosen: NDArray[np.int64]) -> FloatArray:
    """Give what it costs beyond the least to take each row's column away from it.

    Rows that change columns form a ring, or a chain whose last row takes a free column. A chain may begin before the
    row in question: another one is glad to have its column. Their least costs are shortest paths (Floyd-Warshall), in
    a graph where an edge i -> j says that i takes the column of j, and the last node is a free column.
    """
    n_rows = len(costs)
    taken = costs[np.arange(n_rows), chosen]
    free = np.setdiff1d(np.arange(costs.shape[1]), chosen)
    paths = np.full((n_rows + 1, n_rows + 1), np.inf)
    paths[:-1, :-1] = costs[:, chosen] - taken[:, None]
    paths[:-1, -1] = costs[:, free].min(axis=1, initial=np.inf) - taken
    np.fill_diagonal(paths, np.inf)
    for middle in range(n_rows):
        np.minimum(paths, paths[:, middle, None] + paths[middle], out=paths)
    before = np.minimum(paths[:-1, :-1].min(axis=0, initial=np.inf), 0.0)
    margins: FloatArray = np.maximum(np.minimum(np.diag(paths)[:-1], before + paths[:-1, -1]), 0.0)
    return margins
