"""Each k fitted to the row sample and measured."""

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from kmstream.arrays import IntArray, Matrix
from kmstream.choose.classes import ClassifiedRows
from kmstream.clustering import find_nearest
from kmstream.config import ModelConfig
from kmstream.engine import HasRows, map_on_threads
from kmstream.errors import TooFewRowsError
from kmstream.quality import adjusted_rand_index, index_rows, normalized_mutual_information, sample_silhouettes
from kmstream.results import Candidate
from kmstream.run import Run
from kmstream.search import search_centroids

SILHOUETTE_ROWS = 5000  # per k
STABILITY_ROWS = 10_000  # of a repeat, both halves: with many more rows even a wrong k is found again
STABILITY_REPEATS = 5
_STABILITY_RESTARTS = 5  # a half is small, and a fit of it need not be the fit of record

Item = TypeVar("Item", bound=HasRows)
Result = TypeVar("Result")


def measure_ks(run: Run, X: Matrix, ks: Sequence[int], classified: ClassifiedRows | None) -> list[Candidate]:
    """Fit each k to the sample and measure it.

    Parameters
    ----------
    run : Run
        For its configuration and its progress; its dataset is not read.
    X : ndarray of shape (n_sample_rows, n_features)
        The sample in scaled units.
    ks : sequence of int
        Each at least 2, at most the number of distinct rows.
    classified : ClassifiedRows or None
        Rows whose true classes each fit is compared with.

    References
    ----------
    U. von Luxburg (2010), Clustering stability: an overview, Found. Trends Mach. Learn. 2, 235-274.
    """
    model, drawn = run.config.model, min(len(X), STABILITY_ROWS)
    fits = _each(run, "fit each k", partial(_fit, model, X, classified), [_Task(k, 0, len(X)) for k in ks])
    tasks = [_Task(k, repeat, drawn) for k in ks for repeat in range(STABILITY_REPEATS)]
    agreed = np.array(_each(run, "fit halves", partial(_compare_halves, model, X), tasks)).reshape(len(ks), -1)
    return [
        replace(fit, stability=None if np.isnan(found).any() else float(found.mean()))
        for fit, found in zip(fits, agreed, strict=True)
    ]


@dataclass(frozen=True)
class _Task:
    """A fit to be made, or two to halves: of so many rows, which for a repeat are drawn anew."""

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


def _fit(model: ModelConfig, X: Matrix, classified: ClassifiedRows | None, task: _Task) -> Candidate:
    k = task.k
    fit = search_centroids(X, k, n_init=model.n_init, seed=model.random_state)
    ids = find_nearest(X, fit.centroids).cluster_ids
    silhouette, _ = sample_silhouettes(X, ids, k, max_rows=SILHOUETTE_ROWS)
    davies_bouldin, calinski_harabasz = index_rows(X, ids)
    smallest = np.bincount(ids, minlength=k).min() / len(X)
    found = Candidate(
        k, fit.inertia / len(X), silhouette, davies_bouldin, calinski_harabasz, None, smallest_share=float(smallest)
    )
    if classified is None:
        return found
    table = _count_pairs(classified.classes, find_nearest(classified.X, fit.centroids).cluster_ids)
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
