"""The whole search: starts, their children, and the best of them on ever more rows."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.random import SeedSequence, default_rng
from scipy.optimize import linear_sum_assignment

from kmstream.arrays import FloatArray, Matrix
from kmstream.errors import TooFewRowsError
from kmstream.search.draws import draw_core, seed_centroids
from kmstream.search.settled import Settled, WeightedRows, center_rows, find_two_nearest, settle
from kmstream.search.swaps import improve

_CORES = ((3_000, 50), (20_000, 200))  # small and large: rows, but at least so many per cluster
_GENERATIONS = 4  # of n_init / 2 children each
_FINALISTS = 3  # of the small core, improved on the large one
_PATIENCE, _LAST_PATIENCE = 2, 1  # swaps in a row that may fail: of a start and of a finalist; of a child
_LAST_ITERATIONS = 100  # of Lloyd on the whole sample, at most
_LAST_GAIN = 1e-6  # what lowers the inertia of the whole sample by less (relative) is the last

Apply = Callable[..., Iterable[Any]]


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
    apply: Apply = map,
) -> SampleFit:
    """Search for the best start centroids on the sample.

    Parameters
    ----------
    X : ndarray of shape (n_sample, n_features)
    n_clusters : int
    n_init : int
        Independent starts, crossed in four generations of half as many children each; the work grows with it. 1 is a
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
    X, weights = _drop_weightless(X, weights)
    check_distinct_rows(X, n_clusters)
    rows, origin = center_rows(X, weights)
    *seeds, of_small, of_large = SeedSequence(seed).spawn(n_init + _GENERATIONS * _count_children(n_init) + 2)
    small, large = (
        draw_core(rows, max(least, each * n_clusters), default_rng(one))
        for one, (least, each) in zip((of_small, of_large), _CORES, strict=True)
    )
    found = _search_core(small, n_clusters, n_init, seeds, apply)
    if large.n_rows > small.n_rows:
        found = _best(apply(partial(_improve_seeded, large, of_large, _PATIENCE), found[:_FINALISTS]), 1)
    if rows.n_rows > large.n_rows:  # what is too rare for a core may show on the whole sample
        found = [_improve_seeded(rows, of_large, _LAST_PATIENCE, found[0])]
    return _finish(rows, found[0].centroids, origin)


def polish_centroids(X: Matrix, centroids: FloatArray, weights: FloatArray | None = None) -> SampleFit:
    """Run Lloyd on the sample from given centroids until an iteration gains less than a millionth, keeping their order.

    Parameters
    ----------
    X : ndarray of shape (n_sample, n_features)
    centroids : ndarray of shape (n_clusters, n_features)
    weights : ndarray of shape (n_sample,), optional
    """
    rows, origin = center_rows(*_drop_weightless(X, weights))
    return _finish(rows, (centroids - origin).astype(np.float32), origin)


def _drop_weightless(X: Matrix, weights: FloatArray | None) -> tuple[Matrix, FloatArray | None]:
    if weights is None or weights.all():
        return X, weights
    return X[weights > 0], weights[weights > 0]


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


def _count_children(n_init: int) -> int:
    """Count the children of one generation."""
    return (n_init + 1) // 2


def _search_core(
    core: WeightedRows, n_clusters: int, n_init: int, seeds: Sequence[SeedSequence], apply: Apply
) -> list[Settled]:
    """Improve independent starts, then cross the best of them; the best `n_init`, each with a seed of its own."""

    def begin(seed: SeedSequence) -> Settled:
        rng = default_rng(seed)
        return improve(core, seed_centroids(core, n_clusters, rng), rng, _PATIENCE)

    def cross(seed: SeedSequence) -> Settled:
        rng = default_rng(seed)
        mother, father = (found[i].centroids for i in rng.choice(len(found), 2, replace=False))
        return improve(core, _cross(mother, father, rng), rng, _LAST_PATIENCE)

    n_children = _count_children(n_init)
    found = _best(apply(begin, seeds[:n_init]), n_init)
    for born in range(n_init, len(seeds), n_children):
        if len(found) > 1:
            found = _best([*found, *apply(cross, seeds[born : born + n_children])], n_init)
    return found


def _improve_seeded(rows: WeightedRows, seed: SeedSequence, patience: int, one: Settled) -> Settled:
    return improve(rows, one.centroids, default_rng(seed), patience)


def _cross(mother: Matrix, father: Matrix, rng: np.random.Generator) -> Matrix:
    """Pair the centroids of two fits so that they are closest in total, and take one of each pair at random."""
    apart = np.square(mother[:, None] - father[None]).sum(axis=2)
    paired = father[linear_sum_assignment(apart)[1]]
    return np.where(rng.random(len(mother))[:, None] < 0.5, mother, paired)


def _best(found: Iterable[Settled], n_best: int) -> list[Settled]:
    """Keep the lowest inertias, one of those that are alike."""
    kept: list[Settled] = []
    for one in sorted(found, key=lambda one: one.inertia):
        if not kept or one.inertia > kept[-1].inertia * (1 + 1e-5):
            kept.append(one)
    return kept[:n_best]


def _finish(rows: WeightedRows, centroids: Matrix, origin: Matrix) -> SampleFit:
    """Settle on the whole sample; a centroid left without rows moves to the row farthest from all others."""
    n_clusters = len(centroids)
    for _ in range(_LAST_ITERATIONS):
        centroids = settle(rows, centroids, _LAST_ITERATIONS, _LAST_GAIN).centroids
        found = find_two_nearest(rows, centroids, second=False)
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
