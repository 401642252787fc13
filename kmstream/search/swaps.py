"""Swaps: a centroid is taken away where it is missed least, and put where a second one pays most."""

import numpy as np

from kmstream.arrays import FloatArray, IntArray, Matrix
from kmstream.search.settled import LEAST_GAIN, Settled, TwoNearest, WeightedRows, find_two_nearest, settle, sum_by

_AMONG = 5  # once the best swap has failed, one of the 5 x 5 best is drawn


def improve(rows: WeightedRows, start: Matrix, rng: np.random.Generator, patience: int) -> Settled:
    """Settle centroids, then swap as long as it pays: remove one, split another, settle.

    The first try at each standstill makes every promising swap at once, as breathing k-means does; if that fails,
    single ones are drawn from the best few until `patience` in a row have failed.

    Parameters
    ----------
    rows : WeightedRows
    start : ndarray of shape (n_clusters, n_features), float32
    rng : Generator
    patience : int
    """
    best, n_clusters, failed, near = settle(rows, start), len(start), 0, None
    while failed < patience and n_clusters > 1:
        if near is None:
            near = find_two_nearest(rows, best.centroids)
            costs = _removal_costs(rows, best.centroids, near)
        gains, halves = _split_gains(rows, best.centroids, near, rng)
        pairs = _pair_swaps(gains, costs, near, None if failed == 0 else rng)
        trial = best.centroids.copy()
        for split, removed in pairs:
            trial[split], trial[removed] = halves[0][split], halves[1][split]
        settled = settle(rows, trial) if pairs else best
        failed = 0 if settled.inertia < (1.0 - LEAST_GAIN) * best.inertia else failed + 1
        if settled.inertia < best.inertia:
            best, near = settled, None
    return best


def _pair_swaps(
    gains: FloatArray, costs: FloatArray, near: TwoNearest, rng: np.random.Generator | None
) -> list[tuple[int, int]]:
    """Pair clusters to split with clusters to remove: all that promise to pay, or one drawn from the best few."""
    by_gain, by_cost = np.argsort(-gains), np.argsort(costs)
    if rng is not None:
        split = by_gain[rng.integers(min(_AMONG, len(gains)))]
        removed = rng.choice([i for i in by_cost[: _AMONG + 1] if i != split][:_AMONG])
        return [(split, removed)] if gains[split] > 0.5 * costs[removed] else []  # settling lowers the cost further
    pairs: list[tuple[int, int]] = []
    used = np.zeros(len(gains), bool)
    for split in by_gain:
        free = by_cost[~used[by_cost] & (by_cost != split)]
        if used[split] or not len(free):
            continue
        if len(pairs) >= max(1, len(gains) // 5) or gains[split] <= costs[free[0]] * (1.0 if pairs else 0.5):
            break
        pairs.append((split, free[0]))
        used[[split, free[0]]] = True
        used[near.second[near.first == free[0]]] = True  # they take its rows over: leave them as they are
    return pairs


def _removal_costs(rows: WeightedRows, centroids: Matrix, near: TwoNearest) -> FloatArray:
    """Inertia that each centroid saves: its rows go to their second nearest, and that moves to its new mean."""
    n_clusters = len(centroids)
    costs = np.bincount(near.first, rows.weights * (near.next - near.near), n_clusters)
    pairs, ids = np.unique(near.first * n_clusters + near.second, return_inverse=True)
    moved = np.square(sum_by(ids, len(pairs), rows, rows.X - centroids[near.second])).sum(axis=1)
    after = np.bincount(near.first, rows.weights, n_clusters)[pairs % n_clusters] + np.bincount(ids, rows.weights)
    return np.asarray(costs - np.bincount(pairs // n_clusters, moved / after, n_clusters), np.float64)


def _split_gains(
    rows: WeightedRows, centroids: Matrix, near: TwoNearest, rng: np.random.Generator
) -> tuple[FloatArray, tuple[Matrix, Matrix]]:
    """Inertia that a second centroid would save in each cluster, and where both would be: a short 2-means in each.

    It starts from the centroid and a row drawn by its squared distance, so that a few rows far off are found too; from
    another such draw; and across the longest axis, found by one power iteration. The best of the three counts.
    """
    ids, n_clusters = near.first, len(centroids)
    offset = rows.X - centroids[ids]
    gains, halves = np.full(n_clusters, -1.0), (np.zeros_like(centroids), np.zeros_like(centroids))
    for start in ("row", "row", "axis"):
        if start == "row":
            race = rng.exponential(size=rows.n_rows) / np.maximum(rows.weights * near.near, 1e-30)  # the least wins
            order = np.argsort(-race)
            drawn = np.zeros(n_clusters, np.int64)
            drawn[ids[order]] = order
            axis = rows.X[drawn] - centroids
            middle = np.square(axis).sum(axis=1) / 2
        else:
            along = np.einsum("ij,ij->i", offset, axis[ids])
            axis = sum_by(ids, n_clusters, rows, offset * along[:, None]).astype(np.float32)
            middle = np.zeros(n_clusters, np.float32)
        gain, one, two = _split(rows, ids, offset, axis, middle)
        better = gain > gains
        gains[better], halves[0][better], halves[1][better] = gain[better], one[better], two[better]
    return gains, (centroids + halves[0], centroids + halves[1])


def _split(
    rows: WeightedRows, ids: IntArray, offset: Matrix, axis: Matrix, middle: Matrix
) -> tuple[FloatArray, Matrix, Matrix]:
    """Run 2-means in each cluster at once, on offsets from its centroid, first cut across an axis at its middle."""
    n_clusters = len(axis)
    for _ in range(3):
        side = np.einsum("ij,ij->i", offset, axis[ids]) > middle[ids]
        halves = ids + n_clusters * side
        mass = np.bincount(halves, rows.weights, 2 * n_clusters)
        sums = sum_by(halves, 2 * n_clusters, rows, offset)
        means = (sums / np.where(mass > 0, mass, 1.0)[:, None]).astype(np.float32)
        one, two = means[:n_clusters], means[n_clusters:]
        axis, middle = two - one, (np.square(two).sum(axis=1) - np.square(one).sum(axis=1)) / 2
    shared = mass[:n_clusters] * mass[n_clusters:] / np.maximum(mass[:n_clusters] + mass[n_clusters:], 1e-300)
    return shared * np.square(axis).sum(axis=1), one, two
