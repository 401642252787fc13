"""Start centroids: the best that can be found on a sample, for the least work.

K-means++ with restarts gets stuck as soon as there are many clusters. Here every start goes on by swaps, which take a
centroid from where it is missed least to where a second one pays most; the starts are then crossed with each other.
All that happens on a few thousand rows, drawn so that they stand for the sample (a core): a swap costs milliseconds.
The best three are improved on a larger core, and the winner on the whole sample.

On the core, no result is worse than that of `n_init` plain k-means++ restarts, since each start is one of those, and
nothing is kept that does not lower the inertia.

References
----------
- D. Arthur, S. Vassilvitskii (2007), k-means++: the advantages of careful seeding, SODA, 1027-1035.
- O. Bachem, M. Lucic, A. Krause (2018), Scalable k-means clustering via lightweight coresets, KDD, 1119-1127.
- P. Fränti (2018), Efficiency of random swap clustering, J. Big Data 5, 13.
- B. Fritzke (2020), The breathing k-means algorithm, arXiv:2006.15666.
- D. Gribel, T. Vidal (2019), HG-means: a scalable hybrid genetic algorithm for minimum sum-of-squares clustering,
  Pattern Recognition 88, 569-583.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from kmstream.errors import TooFewRowsError

Matrix = NDArray[np.float32]
FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

_TILE_ROWS = 4096  # distances of so many rows at once: they stay in the cache
_CORES = ((3_000, 50), (20_000, 200))  # small and large: rows, but at least so many per cluster
_GENERATIONS = 4  # of n_init / 2 children each
_FINALISTS = 3  # of the small core, improved on the large one
_PATIENCE, _LAST_PATIENCE = 2, 1  # swaps in a row that may fail: of a start and of a finalist; of a child
_AMONG = 5  # once the best swap has failed, one of the 5 x 5 best is drawn
_ITERATIONS, _LAST_ITERATIONS = 30, 100  # of Lloyd, at most: on a core; on the whole sample
_LEAST_GAIN, _LAST_GAIN = 1e-4, 1e-6  # what lowers the inertia by less (relative) is the last; on the whole sample


@dataclass(frozen=True)
class SampleFit:
    """Centroids settled on a sample.

    Attributes
    ----------
    centroids : ndarray of shape (n_clusters, n_features)
    rows : ndarray of shape (n_clusters,), float64
        Sum of the weights of the sampled rows of each; their number, where each weighs 1.
    inertia : float
        Of the sample, total: squared distances to the nearest centroid, times the weights.
    """

    centroids: FloatArray
    rows: FloatArray
    inertia: float


def search_centroids(
    X: Matrix,
    n_clusters: int,
    *,
    n_init: int,
    seed: int,
    weights: FloatArray | None = None,
    apply: Callable[..., Iterable[Any]] = map,
) -> SampleFit:
    """Search for the best start centroids on the sample.

    Parameters
    ----------
    X : ndarray of shape (n_sample, n_features)
    n_clusters : int
    n_init : int
        Independent starts, and children in each of two generations that cross them; the work grows with it. 1 is a
        single start, improved by swaps and never crossed.
    seed : int
    weights : ndarray of shape (n_sample,), optional
        How many rows each counts for; by default 1. Rows of weight 0 change nothing.
    apply : callable
        `map`, or that of a pool of threads; each start and child is seeded by itself, so it changes nothing.

    Raises
    ------
    TooFewRowsError
        If the sample has fewer distinct rows than n_clusters.
    """
    if weights is not None and not weights.all():
        X, weights = X[weights > 0], weights[weights > 0]
    check_distinct_rows(X, n_clusters)
    rows, origin = _center(X, weights)
    n_children = (n_init + 1) // 2
    *seeds, first, second = np.random.SeedSequence(seed).spawn(n_init + _GENERATIONS * n_children + 2)
    small, large = (
        _draw_core(rows, max(least, each * n_clusters), np.random.default_rng(one))
        for one, (least, each) in zip((first, second), _CORES, strict=True)
    )

    def begin(one: np.random.SeedSequence) -> _Settled:
        rng = np.random.default_rng(one)
        return _improve(small, _seed_centroids(small, n_clusters, rng), rng, _PATIENCE)

    def cross(one: np.random.SeedSequence) -> _Settled:
        rng = np.random.default_rng(one)
        mother, father = (found[i].centroids for i in rng.choice(len(found), 2, replace=False))
        return _improve(small, _cross(mother, father, rng), rng, _LAST_PATIENCE)

    def improve(one: _Settled) -> _Settled:
        return _improve(large, one.centroids, np.random.default_rng(second), _PATIENCE)

    found = _best(apply(begin, seeds[:n_init]), n_init)
    for born in range(n_init, len(seeds), n_children):
        if len(found) > 1:
            found = _best([*found, *apply(cross, seeds[born : born + n_children])], n_init)
    if large.n_rows > small.n_rows:
        found = _best(apply(improve, found[:_FINALISTS]), 1)
    settled = found[0].centroids
    if rows.n_rows > large.n_rows:  # what is too rare for a core may show on the whole sample
        settled = _improve(rows, settled, np.random.default_rng(second), _LAST_PATIENCE).centroids
    return _finish(rows, settled, origin)


def polish_centroids(X: Matrix, centroids: FloatArray, weights: FloatArray | None = None) -> SampleFit:
    """Run Lloyd on the sample from given centroids until an iteration gains less than a millionth, keeping their order.

    Parameters
    ----------
    X : ndarray of shape (n_sample, n_features)
    centroids : ndarray of shape (n_clusters, n_features)
    weights : ndarray of shape (n_sample,), optional
    """
    if weights is not None and not weights.all():
        X, weights = X[weights > 0], weights[weights > 0]
    rows, origin = _center(X, weights)
    return _finish(rows, (centroids - origin).astype(np.float32), origin)


def check_distinct_rows(X: Matrix, n_clusters: int) -> None:
    """Refuse to look for more segments than there are distinct rows.

    Raises
    ------
    TooFewRowsError
    """
    if len(X) < n_clusters:
        msg = f"{len(X)} usable rows; expected at least n_clusters={n_clusters}"
        raise TooFewRowsError(msg)
    seen: set[bytes] = set()
    for row in X:  # ends at the first n_clusters distinct rows, almost always at once
        seen.add((row + 0.0).tobytes())
        if len(seen) == n_clusters:
            return
    msg = f"only {len(seen)} distinct rows among {len(X)} sampled; expected at least n_clusters={n_clusters}"
    raise TooFewRowsError(msg)


@dataclass(frozen=True)
class _Rows:
    """Weighted rows: `points` (n_rows, n_features + 1), the last column ones; `weights` and `squares` (n_rows,)."""

    points: Matrix
    weights: FloatArray
    squares: Matrix  # squared lengths

    @property
    def n_rows(self) -> int:
        return len(self.points)

    @property
    def X(self) -> Matrix:
        return self.points[:, :-1]

    def tiles(self) -> Iterable[slice]:
        return (slice(start, start + _TILE_ROWS) for start in range(0, self.n_rows, _TILE_ROWS))


@dataclass(frozen=True)
class _Settled:
    """Centroids that Lloyd has settled, float32, and their inertia."""

    centroids: Matrix
    inertia: float


@dataclass(frozen=True)
class _Nearest:
    """Of each row: the nearest and the second nearest centroid, and the squared distances to both."""

    first: IntArray
    second: IntArray
    near: Matrix
    next: Matrix


def _center(X: Matrix, weights: FloatArray | None) -> tuple[_Rows, Matrix]:
    """Measure rows from their median: where most of them are, float32 has its digits, whatever a few outliers do."""
    origin = np.median(X[:: max(1, len(X) // _TILE_ROWS)], axis=0)
    points = np.ones((len(X), X.shape[1] + 1), np.float32)
    np.subtract(X, origin, out=points[:, :-1])
    squares = np.einsum("ij,ij->i", points[:, :-1], points[:, :-1])
    return _Rows(points, np.ones(len(X)) if weights is None else weights, squares), origin


def _draw_core(rows: _Rows, size: int, rng: np.random.Generator) -> _Rows:
    """Draw rows that stand for all (a lightweight coreset): half by weight, half by what they add to the variance.

    The draw is systematic, so no row comes twice; what is rare and far off is in it for sure.
    """
    if rows.n_rows <= size:
        return rows
    mass = rows.weights
    mean = (_sum_by(np.zeros(rows.n_rows, np.int64), 1, rows)[0, :-1] / mass.sum()).astype(np.float32)
    spread = mass * np.maximum(rows.squares - 2.0 * (rows.X @ mean) + mean @ mean, 0.0)
    chance = mass / mass.sum() + (spread / spread.sum() if spread.any() else 0.0)
    for _ in range(3):  # what is certain leaves the others more room
        sure = chance >= 1.0
        chance = np.where(sure, 1.0, chance * ((size - sure.sum()) / max(chance[~sure].sum(), 1e-300)))
    chance = np.minimum(chance, 1.0)
    total = np.cumsum(chance)
    taken = np.unique(np.searchsorted(total, np.arange(rng.random(), total[-1])).clip(max=rows.n_rows - 1))
    return _Rows(rows.points[taken], mass[taken] / chance[taken], rows.squares[taken])


def _seed_centroids(rows: _Rows, n_clusters: int, rng: np.random.Generator) -> Matrix:
    """Draw centroids by k-means++, each the best of a few draws."""
    n_draws = 2 + int(np.log(n_clusters))
    centroids = np.empty((n_clusters, rows.X.shape[1]), np.float32)
    near = np.ones(rows.n_rows)
    for i in range(n_clusters):
        total = np.cumsum(rows.weights * near if near.any() else rows.weights)
        drawn = np.searchsorted(total, rng.random(n_draws if i else 1) * total[-1], side="right")
        drawn = rows.X[drawn.clip(max=rows.n_rows - 1)]
        apart = (-2.0 * drawn) @ rows.X.T + np.square(drawn).sum(axis=1)[:, None] + rows.squares
        best = (np.minimum(apart, near) @ rows.weights).argmin() if i else 0
        centroids[i] = drawn[best]
        exact = np.square(rows.X - centroids[i]).sum(axis=1)  # 0 on the row itself: it is not drawn again
        near = np.minimum(near, exact) if i else exact
    return centroids


def _find_nearest(rows: _Rows, centroids: Matrix, *, second: bool = True) -> _Nearest:
    n_rows, n_clusters = rows.n_rows, len(centroids)
    ids, squares = np.zeros((2, n_rows), np.int64), np.zeros((2, n_rows), np.float32)
    found = _Nearest(ids[0], ids[1], squares[0], squares[1])
    product = np.hstack([-2.0 * centroids, np.square(centroids).sum(axis=1)[:, None]])
    kind = np.uint8 if n_clusters <= 1 << 8 else np.uint16 if n_clusters <= 1 << 16 else np.uint32
    codes = np.arange(n_clusters, dtype=kind)[:, None]
    for tile in rows.tiles():
        scores = product @ rows.points[tile].T
        for rank in range(1 + second):
            least = scores.min(axis=0)
            # The lowest code of a centroid at the least distance: several times as fast as argmin along this axis.
            ids[rank, tile] = ((scores != least) * kind(np.iinfo(kind).max) | codes).min(axis=0)
            squares[rank, tile] = np.maximum(least + rows.squares[tile], 0.0)
            if second:
                scores[ids[rank, tile], np.arange(scores.shape[1])] = np.inf
    return found


def _sum_by(ids: IntArray, n_groups: int, rows: _Rows, values: Matrix | None = None) -> FloatArray:
    """Sum values (the points, unless others are given) times weights by group; tiles in float32, all in float64."""
    values, weights = rows.points if values is None else values, rows.weights.astype(np.float32)
    sums = np.zeros((n_groups, values.shape[1]))
    for tile in rows.tiles():
        n_rows = len(ids[tile])
        indicator = (weights[tile], ids[tile], np.arange(n_rows + 1))
        sums += scipy.sparse.csc_array(indicator, shape=(n_groups, n_rows)) @ values[tile]
    return sums


def _means(sums: FloatArray, otherwise: Matrix) -> Matrix:
    """Divide sums by their last column; where that is zero, keep what was."""
    held = sums[:, -1:] > 0
    return np.where(held, sums[:, :-1] / np.where(held, sums[:, -1:], 1.0), otherwise).astype(np.float32)


def _settle(rows: _Rows, centroids: Matrix, iterations: int = _ITERATIONS, least_gain: float = _LEAST_GAIN) -> _Settled:
    """Run Lloyd; an empty centroid stays where it is."""
    last = np.inf
    for _ in range(iterations):
        found = _find_nearest(rows, centroids, second=False)
        inertia = float(rows.weights @ found.near)
        if last - inertia <= least_gain * inertia:
            break
        last, settled = inertia, centroids
        centroids = _means(_sum_by(found.first, len(centroids), rows), centroids)
    return _Settled(settled, last) if last < inertia else _Settled(centroids, inertia)


def _improve(rows: _Rows, start: Matrix, rng: np.random.Generator, patience: int) -> _Settled:
    """Settle centroids, then swap as long as it pays: remove one, split another, settle.

    The first try at each standstill makes every promising swap at once, as breathing k-means does; if that fails,
    single ones are drawn from the best few until `patience` in a row have failed.
    """
    best, n_clusters, failed, near = _settle(rows, start), len(start), 0, None
    while failed < patience and n_clusters > 1:
        if near is None:
            near = _find_nearest(rows, best.centroids)
            costs = _removal_costs(rows, best.centroids, near)
        gains, halves = _split_gains(rows, best.centroids, near, rng)
        pairs = _pair_swaps(gains, costs, near, None if failed == 0 else rng)
        trial = best.centroids.copy()
        for split, removed in pairs:
            trial[split], trial[removed] = halves[0][split], halves[1][split]
        settled = _settle(rows, trial) if pairs else best
        failed = 0 if settled.inertia < (1.0 - _LEAST_GAIN) * best.inertia else failed + 1
        if settled.inertia < best.inertia:
            best, near = settled, None
    return best


def _pair_swaps(
    gains: FloatArray, costs: FloatArray, near: _Nearest, rng: np.random.Generator | None
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


def _removal_costs(rows: _Rows, centroids: Matrix, near: _Nearest) -> FloatArray:
    """Inertia that each centroid saves: its rows go to their second nearest, and that moves to its new mean."""
    n_clusters = len(centroids)
    costs = np.bincount(near.first, rows.weights * (near.next - near.near), n_clusters)
    pairs, ids = np.unique(near.first * n_clusters + near.second, return_inverse=True)
    moved = np.square(_sum_by(ids, len(pairs), rows, rows.X - centroids[near.second])).sum(axis=1)
    after = np.bincount(near.first, rows.weights, n_clusters)[pairs % n_clusters] + np.bincount(ids, rows.weights)
    return np.asarray(costs - np.bincount(pairs // n_clusters, moved / after, n_clusters), np.float64)


def _split_gains(
    rows: _Rows, centroids: Matrix, near: _Nearest, rng: np.random.Generator
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
            axis = _sum_by(ids, n_clusters, rows, offset * along[:, None]).astype(np.float32)
            middle = np.zeros(n_clusters, np.float32)
        gain, one, two = _split(rows, ids, offset, axis, middle)
        better = gain > gains
        gains[better], halves[0][better], halves[1][better] = gain[better], one[better], two[better]
    return gains, (centroids + halves[0], centroids + halves[1])


def _split(
    rows: _Rows, ids: IntArray, offset: Matrix, axis: Matrix, middle: Matrix
) -> tuple[FloatArray, Matrix, Matrix]:
    """Run 2-means in each cluster at once, on offsets from its centroid, first cut across an axis at its middle."""
    n_clusters = len(axis)
    for _ in range(3):
        side = np.einsum("ij,ij->i", offset, axis[ids]) > middle[ids]
        halves = ids + n_clusters * side
        mass = np.bincount(halves, rows.weights, 2 * n_clusters)
        sums = _sum_by(halves, 2 * n_clusters, rows, offset)
        means = (sums / np.where(mass > 0, mass, 1.0)[:, None]).astype(np.float32)
        one, two = means[:n_clusters], means[n_clusters:]
        axis, middle = two - one, (np.square(two).sum(axis=1) - np.square(one).sum(axis=1)) / 2
    shared = mass[:n_clusters] * mass[n_clusters:] / np.maximum(mass[:n_clusters] + mass[n_clusters:], 1e-300)
    return shared * np.square(axis).sum(axis=1), one, two


def _cross(mother: Matrix, father: Matrix, rng: np.random.Generator) -> Matrix:
    """Pair the centroids of two fits so that they are closest in total, and take one of each pair at random."""
    apart = np.square(mother[:, None] - father[None]).sum(axis=2)
    paired = father[linear_sum_assignment(apart)[1]]
    return np.where(rng.random(len(mother))[:, None] < 0.5, mother, paired)


def _best(found: Iterable[_Settled], n_best: int) -> list[_Settled]:
    """Keep the lowest inertias, one of those that are alike."""
    kept: list[_Settled] = []
    for one in sorted(found, key=lambda one: one.inertia):
        if not kept or one.inertia > kept[-1].inertia * (1 + 1e-5):
            kept.append(one)
    return kept[:n_best]


def _finish(rows: _Rows, centroids: Matrix, origin: Matrix) -> SampleFit:
    """Settle on the whole sample; a centroid left without rows moves to the row farthest from all others."""
    n_clusters = len(centroids)
    for _ in range(_LAST_ITERATIONS):
        centroids = _settle(rows, centroids, _LAST_ITERATIONS, _LAST_GAIN).centroids
        found = _find_nearest(rows, centroids, second=False)
        offset = rows.X - centroids[found.first]
        squares = np.einsum("ij,ij->i", offset, offset, dtype=np.float64)
        counts: FloatArray = np.bincount(found.first, rows.weights, n_clusters).astype(np.float64)
        empty = np.flatnonzero(counts == 0)
        if not len(empty) or not squares.any():
            break
        for i in empty:
            row = rows.X[squares.argmax()]
            centroids[i] = row
            squares = np.minimum(squares, np.square(rows.X - row).sum(axis=1))
    return SampleFit(centroids.astype(np.float64) + origin, counts, float(rows.weights @ squares))
