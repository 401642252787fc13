"""Each k fitted to the row sample, and what it is worth."""

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from kmstream.choose.advice import name_all
from kmstream.clustering import IntArray, Matrix, find_nearest
from kmstream.config import ModelConfig
from kmstream.engine import HasRows, map_on_threads
from kmstream.errors import ConfigError, TooFewRowsError
from kmstream.features import Scaling, clip, encode
from kmstream.quality import adjusted_rand_index, index_rows, normalized_mutual_information, sample_silhouettes
from kmstream.results import Candidate
from kmstream.run import Run
from kmstream.scan import Scan
from kmstream.search import search_centroids

DEFAULT_KS = range(2, 13)
SILHOUETTE_ROWS = 5000  # per k
STABILITY_ROWS = 10_000  # of a repeat, both halves: with many more rows even a wrong k is found again
STABILITY_REPEATS = 5
_STABILITY_RESTARTS = 5  # a half is small, and a fit of it need not be the fit of record

Item = TypeVar("Item", bound=HasRows)
Result = TypeVar("Result")


@dataclass(frozen=True)
class Truth:
    """Rows whose true class is known.

    Attributes
    ----------
    X : ndarray of shape (n_rows, n_features)
    classes : ndarray of shape (n_rows,)
        In 0 .. number of classes - 1.
    """

    X: Matrix
    classes: IntArray


def check_ks(ks: Sequence[int]) -> list[int]:
    """Sort the numbers of segments to try, each once.

    Raises
    ------
    ConfigError
        If there is none, or one below 2: a single segment has no silhouette to compare.
    """
    found = sorted(set(ks))
    if not found or found[0] < 2:
        error = ConfigError(f"k is {found[0]}; expected at least 2" if found else "no k to try; expected at least one")
        error.add_note("Give a range or a list, like --k 2:12 or --k 3,5,8.")
        raise error
    return found


def make_matrix(run: Run, scan: Scan, scaling: Scaling) -> Matrix:
    """Give the sample in scaled units, as a fit sees it; rows that count for more are there more often.

    Returns
    -------
    ndarray of shape (n_sample, n_features)
    """
    features = run.config.features
    X = clip(encode(scan.sample, features, scaling).rows, features).X
    total, n_rows = np.cumsum(scan.weights), len(X)
    if run.weighting is None or not total[-1]:
        return X
    chosen: IntArray = np.searchsorted(total, (np.arange(n_rows) + 0.5) * total[-1] / n_rows)
    return X[chosen]


def leave_out(ks: Sequence[int], X: Matrix) -> tuple[list[int], str]:
    """Leave out what the sample has too few distinct rows for.

    Returns
    -------
    ks : list of int
    note : str
        What was left out; empty if nothing.

    Raises
    ------
    TooFewRowsError
        If nothing is left.
    """
    distinct = len(np.unique(X + 0.0, axis=0))
    kept = [k for k in ks if k <= distinct]
    what = f"{distinct} distinct rows among {len(X):,} sampled"
    if not kept:
        error = TooFewRowsError(f"only {what}; expected at least k={ks[0]}")
        error.add_note("Try a smaller --k, or give it more rows or features.")
        raise error
    gone = [str(k) for k in ks if k > distinct]
    return kept, f"k={name_all(gone)} left out: {what}" if gone else ""


def assess(run: Run, X: Matrix, ks: Sequence[int], truth: Truth | None) -> list[Candidate]:
    """Fit each k to the sample and measure it.

    Parameters
    ----------
    X : ndarray of shape (n_sample, n_features)
        Scaled units.
    ks : sequence of int
        At least two, at most the number of distinct rows.
    truth : Truth, optional

    References
    ----------
    U. von Luxburg (2010), Clustering stability: an overview, Found. Trends Mach. Learn. 2, 235-274.
    """
    model, drawn = run.config.model, min(len(X), STABILITY_ROWS)
    fits = _each(run, "fit each k", partial(_fit, model, X, truth), [_Task(k, 0, len(X)) for k in ks])
    tasks = [_Task(k, repeat, drawn) for k in ks for repeat in range(STABILITY_REPEATS)]
    agreed = np.array(_each(run, "fit halves", partial(_compare_halves, model, X), tasks)).reshape(len(ks), -1)
    return [
        replace(fit, stability=None if np.isnan(found).any() else float(found.mean()))
        for fit, found in zip(fits, agreed, strict=True)
    ]


@dataclass(frozen=True)
class _Task:
    k: int
    repeat: int
    rows: int


def _each(run: Run, stage: str, function: Callable[[Item], Result], tasks: Sequence[Item]) -> list[Result]:
    """Do tasks on this machine's threads: the sample is here, wherever spans are read."""
    run.progress.start(stage, sum(task.rows for task in tasks))
    results = []
    here = run.config.engine.model_copy(update={"dask_address": ""})
    with closing(map_on_threads(function, tasks, here)) as found:
        for task, result in zip(tasks, found, strict=True):
            results.append(result)
            run.progress.advance(task.rows)
    return results


def _fit(model: ModelConfig, X: Matrix, truth: Truth | None, task: _Task) -> Candidate:
    k = task.k
    fit = search_centroids(X, k, n_init=model.n_init, seed=model.random_state)
    ids = find_nearest(X, fit.centroids).cluster_ids
    silhouette, _ = sample_silhouettes(X, ids, k, max_rows=SILHOUETTE_ROWS)
    davies_bouldin, calinski_harabasz = index_rows(X, ids)
    smallest = np.bincount(ids, minlength=k).min() / len(X)
    found = Candidate(
        k, fit.inertia / len(X), silhouette, davies_bouldin, calinski_harabasz, None, smallest_share=float(smallest)
    )
    if truth is None:
        return found
    table = _count_pairs(truth.classes, find_nearest(truth.X, fit.centroids).cluster_ids)
    return replace(found, ari=adjusted_rand_index(table), nmi=normalized_mutual_information(table))


def _compare_halves(model: ModelConfig, X: Matrix, task: _Task) -> float:
    """Fit two disjoint halves of drawn rows, assign all of them by both fits; NaN if a half has too few rows."""
    random = np.random.default_rng((model.random_state, task.repeat))  # the same rows for every k
    chosen = random.permutation(len(X))[: task.rows]
    restarts = min(model.n_init, _STABILITY_RESTARTS)
    try:
        one, two = (
            search_centroids(X[half], task.k, n_init=restarts, seed=model.random_state).centroids
            for half in np.array_split(chosen, 2)
        )
    except TooFewRowsError:
        return np.nan
    rows = X[chosen]
    return adjusted_rand_index(_count_pairs(find_nearest(rows, one).cluster_ids, find_nearest(rows, two).cluster_ids))


def _count_pairs(one: NDArray[np.integer], two: NDArray[np.integer]) -> IntArray:
    shape = (int(one.max()) + 1, int(two.max()) + 1)
    return np.bincount(np.ravel_multi_index((one, two), shape), minlength=shape[0] * shape[1]).reshape(shape)
