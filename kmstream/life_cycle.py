"""What became of each segment between two versions, from the rows it gave and got."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kmstream.arrays import Counts, FloatArray

SPLIT_OVERLAP, MERGED_OVERLAP = 0.3, 0.5
KEPT_OVERLAP = 0.7  # a segment that keeps less of its old rows goes on under its name, but is flagged
LEAST_MEMBERS = 0.1  # of the rows nearest to an old centroid; fewer say little about the old segment


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


def choose_rows(migration: Counts, members: Counts, rows_then: Counts) -> Counts:
    """Choose which rows tell what became of each old segment: its members, unless nearly all have left it.

    A group of new rows, far from all that was, is nearest to some old centroid all the same; leaving it is no split.

    Parameters
    ----------
    migration : ndarray of shape (n_from, n_to)
        Rows by old and new label.
    members : ndarray of shape (n_from, n_to)
        Those of them that lie no farther from the old centroid than 99 % of its own rows did.
    rows_then : ndarray of shape (n_from,)
        Rows of each segment when it was fitted.

    Examples
    --------
    >>> choose_rows(np.array([[90, 60], [10, 80]]), np.array([[88, 0], [0, 1]]), np.array([90, 90])).tolist()
    [[88, 0], [10, 80]]
    """
    enough = members.sum(axis=1) >= LEAST_MEMBERS * np.minimum(migration.sum(axis=1), rows_then)
    return np.where(enough[:, None], members, migration)


def share_out(migration: Counts) -> FloatArray:
    """Give the share of each old segment's rows that goes to each new one; 0 for a segment that had no rows.

    Examples
    --------
    >>> share_out(np.array([[30, 10], [0, 0]])).tolist()
    [[0.75, 0.25], [0.0, 0.0]]
    """
    rows = migration.sum(axis=1, keepdims=True)
    return np.asarray(migration / np.where(rows > 0, rows, 1))


def classify_life_cycle(migration: Counts, labels_from: Sequence[str], labels_to: Sequence[str]) -> LifeCycle:
    """Tell what became of each segment from the rows it gave and got.

    A name that goes on is kept, or split if two or more new segments each take at least 0.3 of its rows. A name that
    ends is split likewise, merged if it gives at least half of itself to a segment that another name continues, else
    retired. A new name has emerged.

    Parameters
    ----------
    migration : ndarray of shape (n_from, n_to)
        Rows by old and new label, or those of them that `choose_rows` gives.
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
    taken = share_out(migration)
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
