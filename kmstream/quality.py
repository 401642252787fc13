"""How well segments hold together and keep apart, and how well they agree with other classes.

Of a published model everything is exact and comes out of what the last pass counted: a `ClusterSummary` gives
Calinski-Harabasz and Davies-Bouldin, a table of classes x clusters gives the agreement. Only the silhouette needs pairs
of rows, so it is taken on a sample.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kmstream.arrays import FloatArray, IntArray
from kmstream.summary import ClusterSummary, distance_bin_ends

SAMPLED_ROWS = 8000  # 0.3 s at 16 features; the cost grows with the square
LEAST_ROWS = 50  # of a cluster, as far as it has them: the silhouette of fewer says little
_WORKING_MEMORY_MIB = 32  # of the distances between rows that are held at once


def sample_silhouettes(
    X: NDArray[np.float32], cluster_ids: NDArray[np.integer], n_clusters: int, *, max_rows: int = SAMPLED_ROWS
) -> tuple[float | None, FloatArray]:
    """Mean silhouette of sampled rows, overall and per cluster: 1 = tight and apart, 0 = overlapping.

    If there are more than `max_rows`, each cluster is represented by a share of them like its own, yet by 50 where it
    has so many. The clusters' means are then weighted by their true sizes, so the overall mean is not biased towards
    the small ones.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_features)
    cluster_ids : ndarray of shape (n_rows,)
        In 0 .. n_clusters - 1.
    n_clusters : int
    max_rows : int
        Memory is bounded whatever it is; time grows with its square.

    Returns
    -------
    overall : float or None
        None with fewer than two clusters, or if every row is a cluster of its own.
    per_cluster : ndarray of shape (n_clusters,)
        NaN for an empty cluster; 0 for one of a single row; all NaN where overall is None.

    References
    ----------
    P. J. Rousseeuw (1987), Silhouettes, J. Comput. Appl. Math. 20, 53-65.

    Examples
    --------
    >>> X = np.array([[0.0], [0.1], [5.0], [5.1], [5.2]], np.float32)
    >>> overall, per_cluster = sample_silhouettes(X, np.array([0, 0, 1, 1, 1]), 2)
    >>> round(overall, 3), per_cluster.round(3).tolist()
    (0.976, [0.98, 0.974])
    """
    from sklearn import config_context
    from sklearn.metrics import silhouette_samples

    chosen = draw_rows(cluster_ids, max_rows)
    ids, per_cluster = cluster_ids[chosen], np.full(n_clusters, np.nan)
    drawn = np.bincount(ids, minlength=n_clusters)
    if not 1 < np.count_nonzero(drawn) < len(ids):
        return None, per_cluster
    with config_context(working_memory=_WORKING_MEMORY_MIB):
        silhouettes = silhouette_samples(X[chosen], ids)
    there = drawn > 0
    per_cluster[there] = np.bincount(ids, silhouettes, minlength=n_clusters)[there] / drawn[there]
    rows = np.bincount(cluster_ids, minlength=n_clusters)
    return float(np.average(per_cluster[there], weights=rows[there])), per_cluster


def draw_rows(cluster_ids: NDArray[np.integer], max_rows: int) -> IntArray:
    """Choose about `max_rows` rows, spread evenly over each cluster's rows in their order, and 50 of each at least.

    Returns
    -------
    ndarray of shape (n_chosen,)
        Positions, sorted; all where there are no more than max_rows.

    Examples
    --------
    >>> ids = np.repeat([0, 1], [900, 60])
    >>> np.bincount(ids[draw_rows(ids, 96)]).tolist()
    [90, 50]
    """
    if len(cluster_ids) <= max_rows:
        return np.arange(len(cluster_ids))
    order = np.argsort(cluster_ids, kind="stable")
    rows = np.bincount(cluster_ids)
    wanted = np.minimum(np.maximum(rows * max_rows // len(cluster_ids), LEAST_ROWS), rows)
    first = np.cumsum(rows) - rows
    picks = [at + np.arange(n) * size // max(n, 1) for at, n, size in zip(first, wanted, rows, strict=True)]
    return np.sort(order[np.concatenate(picks)])


def index_rows(X: NDArray[np.float32], cluster_ids: NDArray[np.integer]) -> tuple[float | None, float | None]:
    """Davies-Bouldin and Calinski-Harabasz of rows that are in memory; None with fewer than two clusters.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_features)
    cluster_ids : ndarray of shape (n_rows,)
    """
    from sklearn.metrics import calinski_harabasz_score, davies_bouldin_score

    if not 1 < len(np.unique(cluster_ids)) < len(cluster_ids):
        return None, None
    exact = X.astype(np.float64)
    return float(davies_bouldin_score(exact, cluster_ids)), float(calinski_harabasz_score(exact, cluster_ids))


def calinski_harabasz(summary: ClusterSummary) -> float | None:
    """Variance between clusters over variance within, exactly, over all rows: higher is better, from 0 up.

    Returns
    -------
    float or None
        None with fewer than two clusters, or if rows don't differ within any.

    References
    ----------
    T. Calinski, J. Harabasz (1974), A dendrite method for cluster analysis, Commun. Stat. 3, 1-27.
    """
    there = summary.rows > 0
    rows, mean, n_rows, n_clusters = summary.rows[there], summary.mean[there], summary.n_rows, np.count_nonzero(there)
    within = float(summary.m2.sum())
    if n_clusters < 2 or n_rows <= n_clusters or within <= 0:
        return None
    center = rows @ mean / n_rows
    between = float(rows @ np.square(mean - center).sum(axis=1))
    return float((between / (n_clusters - 1)) / (within / (n_rows - n_clusters)))


def davies_bouldin(summary: ClusterSummary) -> float | None:
    """How far each cluster and its worst neighbour reach into each other, on average: lower is better, from 0 up.

    Over all rows. The distance between centroids is exact; the mean distance of rows to their centroid comes from
    counts in bins about 1 % wide, calibrated by the exact sum of squares, and is right to about 0.1 %.

    Returns
    -------
    float or None
        None with fewer than two clusters.

    References
    ----------
    D. L. Davies, D. W. Bouldin (1979), A cluster separation measure, IEEE Trans. PAMI 1, 224-227.
    """
    from scipy.spatial.distance import cdist

    there = summary.rows > 0
    if np.count_nonzero(there) < 2:
        return None
    spread, apart = mean_distances(summary)[there], cdist(summary.mean[there], summary.mean[there])
    apart[apart == 0] = np.inf  # as scikit-learn has it: two centroids in one place are not held against them
    return float(((spread[:, None] + spread) / apart).max(axis=1).mean())


def mean_distances(summary: ClusterSummary) -> FloatArray:
    """Mean distance of the rows of each cluster to their centroid, to about 0.1 %; 0 for an empty cluster.

    Returns
    -------
    ndarray of shape (n_clusters,)
        Scaled units.
    """
    ends = distance_bin_ends().astype(np.float64)
    middles = np.append(0.0, (ends[:-1] + ends[1:]) / 2)  # all that is nearer was counted in the first bin, too
    rows = np.where(summary.rows > 0, summary.rows, 1)
    mean, squares = summary.distance_counts @ middles / rows, summary.distance_counts @ np.square(middles) / rows
    exact = summary.sse / rows
    return np.asarray(mean * np.sqrt(exact / np.where(squares > 0, squares, 1.0)))


def normalized_mutual_information(table: IntArray) -> float:
    """How much of the classes the clusters tell, and the reverse: 1 = the same, 0 = nothing.

    Parameters
    ----------
    table : ndarray of shape (n_classes, n_clusters)
        Rows by class and cluster.

    References
    ----------
    A. Strehl, J. Ghosh (2002), Cluster ensembles, J. Mach. Learn. Res. 3, 583-617; normalised by the arithmetic mean of
    the two entropies, as scikit-learn does.

    Examples
    --------
    >>> normalized_mutual_information(np.array([[0, 5], [5, 0]]))
    1.0
    >>> normalized_mutual_information(np.array([[5, 5], [5, 5]]))
    0.0
    """
    total = table.sum()
    one, two = table.sum(axis=1), table.sum(axis=0)
    if np.count_nonzero(one) <= 1 and np.count_nonzero(two) <= 1:
        return 1.0  # nothing to tell, and nothing missed
    entropies = _entropy(one / total) + _entropy(two / total)
    mutual = entropies - _entropy(table.ravel() / total)
    return min(max(0.0, 2.0 * mutual / entropies), 1.0)


def _entropy(shares: FloatArray) -> float:
    some = shares[shares > 0]
    return float(-(some * np.log(some)).sum())


def adjusted_rand_index(migration: NDArray[Any]) -> float:
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

    def pairs(n: NDArray[np.float64]) -> float:
        """Ordered pairs of rows that are in the same cell."""
        return float((n * (n - alone)).sum())

    together, first, second = pairs(table), pairs(table.sum(axis=1)), pairs(table.sum(axis=0))
    everything = pairs(table.sum())
    by_chance = first * second / everything if everything else 0.0
    most = (first + second) / 2
    return 1.0 if most == by_chance else (together - by_chance) / (most - by_chance)
