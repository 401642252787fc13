"""Names that persist: which new centroid continues which known segment, and what became of each.

K-means numbers its clusters anew at every fit. Here a `cluster_label` is carried from the known centroids to the new
ones by an assignment of least total distance, and the table old label x new label, counted over every row, tells
whether a segment was kept, split, merged, retired or has emerged.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from kmstream.errors import DataError

FloatArray = NDArray[np.float64]
Counts = NDArray[Any]  # int64, or float64 where rows have weights

SPLIT_OVERLAP, MERGED_OVERLAP = 0.3, 0.5
_PREFIX = "segment-"


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
    retired : tuple of str
        Known labels that no new centroid continues.
    """

    labels: tuple[str, ...]
    matched: tuple[bool, ...]
    distances: FloatArray
    retired: tuple[str, ...]

    @classmethod
    def of_new(cls, labels: tuple[str, ...], retired: tuple[str, ...] = ()) -> Self:
        """Give segments that continue none."""
        return cls(labels, (False,) * len(labels), np.full(len(labels), np.nan), retired)


@dataclass(frozen=True)
class LifeCycle:
    """What became of the segments between two versions.

    Attributes
    ----------
    status : dict of str to str
        Per label, old or new: kept, split, merged, emerged or retired.
    overlap : dict of str to float
        Per label that goes on: share of its old rows that it keeps (NaN if it had none).
    """

    status: dict[str, str]
    overlap: dict[str, float]


def first_labels(rows: Counts, used_labels: Collection[str] = ()) -> tuple[str, ...]:
    """Name segments for the first time, by size: the largest is segment-01, or the first name that is free.

    Examples
    --------
    >>> first_labels(np.array([5, 90, 20]))
    ('segment-03', 'segment-01', 'segment-02')
    """
    names = free_labels(len(rows), used_labels)
    labels = [""] * len(rows)
    for name, i in zip(names, np.argsort(-rows, kind="stable"), strict=True):
        labels[i] = name
    return tuple(labels)


def free_labels(n: int, used_labels: Collection[str]) -> list[str]:
    """Give the next `n` names that were never used.

    Examples
    --------
    >>> free_labels(2, ["segment-02", "vip"])
    ['segment-03', 'segment-04']
    """
    numbers = [int(found[1]) for label in used_labels if (found := re.fullmatch(rf"{_PREFIX}(\d+)", label))]
    start = max(numbers, default=0) + 1
    return [f"{_PREFIX}{number:02d}" for number in range(start, start + n)]


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
    `max_match_distance`, so no farther pair is ever made; it gets the next free label, larger segments first.

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
    return _match(cdist(centroids, known), known_labels, max_match_distance, rows, used_labels)


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
    stays = migration / _or_one(migration.sum(axis=1))[:, None]
    cost = np.where(migration > 0, 1.0 - stays, np.inf).T
    return _match(cost, known_labels, 1.0 - min_overlap, rows, used_labels)


def _match(
    cost: FloatArray,
    known_labels: Sequence[str],
    cost_unmatched: float,
    rows: Counts,
    used_labels: Collection[str],
) -> LabelMatch:
    n_new, n_known = cost.shape
    # Each new centroid has a place of its own to stay unmatched in, so the augmented problem always has a solution.
    places = np.full((n_new, n_new), np.inf)
    np.fill_diagonal(places, cost_unmatched)
    chosen = linear_sum_assignment(np.hstack([np.where(cost <= cost_unmatched, cost, np.inf), places]))[1].tolist()
    labels = [known_labels[j] if j < n_known else "" for j in chosen]
    matched = tuple(bool(label) for label in labels)
    unnamed = [int(i) for i in np.argsort(-rows, kind="stable") if not matched[i]]
    for i, name in zip(unnamed, free_labels(len(unnamed), {*used_labels, *known_labels}), strict=True):
        labels[i] = name
    distances = np.array([cost[i, j] if j < n_known else np.nan for i, j in enumerate(chosen)])
    retired = tuple(label for label in known_labels if label not in labels)
    return LabelMatch(tuple(labels), matched, distances, retired)


def classify_life_cycle(migration: Counts, labels_from: Sequence[str], labels_to: Sequence[str]) -> LifeCycle:
    """Tell what became of each segment from the rows it gave and got.

    A name that goes on is kept, or split if two or more new segments each take at least 0.3 of its rows. A name that
    ends is split likewise, merged if it gives at least half of itself to a segment that another name continues, else
    retired. A new name has emerged.

    Parameters
    ----------
    migration : ndarray of shape (n_from, n_to)
        Rows by old and new label.
    labels_from, labels_to : sequence of str

    References
    ----------
    M. Spiliopoulou et al. (2006), MONIC: modeling and monitoring cluster transitions, KDD, 706-711.

    Examples
    --------
    >>> life = classify_life_cycle(np.array([[90, 10], [0, 50]]), ["a", "b"], ["a", "c"])
    >>> life.status, life.overlap
    ({'a': 'kept', 'b': 'retired', 'c': 'emerged'}, {'a': 0.9})
    """
    taken = migration / _or_one(migration.sum(axis=1))[:, None]
    status: dict[str, str] = {}
    overlap: dict[str, float] = {}
    for label, shares in zip(labels_from, taken, strict=True):
        split = np.count_nonzero(shares >= SPLIT_OVERLAP) > 1
        if label in labels_to:
            overlap[label] = float(shares[labels_to.index(label)]) if shares.any() else float("nan")
            status[label] = "split" if split else "kept"
        elif split:
            status[label] = "split"
        elif any(share >= MERGED_OVERLAP and to in labels_from for share, to in zip(shares, labels_to, strict=True)):
            status[label] = "merged"
        else:
            status[label] = "retired"
    return LifeCycle(status | {label: "emerged" for label in labels_to if label not in labels_from}, overlap)


def adjusted_rand_index(migration: Counts) -> float:
    """Agreement of two partitions of the same rows, from their table: 1 = the same, about 0 = by chance.

    A table of weights (float64) is taken as one of very many rows: pairs of a row with itself are not left out then.

    References
    ----------
    L. Hubert, P. Arabie (1985), Comparing partitions, J. Classif. 2, 193-218.

    Examples
    --------
    >>> adjusted_rand_index(np.array([[0, 5], [5, 0]]))
    1.0
    """
    table, alone = migration.astype(np.float64), 1.0 if np.issubdtype(migration.dtype, np.integer) else 0.0

    def pairs(n: FloatArray) -> float:
        return float((n * (n - alone) / 2).sum())

    together, first, second = pairs(table), pairs(table.sum(axis=1)), pairs(table.sum(axis=0))
    everything = pairs(table.sum())
    by_chance = first * second / everything if everything else 0.0
    most = (first + second) / 2
    return 1.0 if most == by_chance else (together - by_chance) / (most - by_chance)


def _or_one(rows: Counts) -> Counts:
    """Give a divisor: what has no rows has no share either."""
    return np.where(rows > 0, rows, 1)
