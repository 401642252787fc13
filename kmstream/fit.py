"""From a sample to centroids of record: the start, the mini-batch stream, the exact passes.

The exact passes run on all workers. The mini-batch stream runs in one place, also with a cluster: a step takes 2 ms
there, a round of steps on two workers 20 ms, most of it messages; and the stream ends after a look or two of 64
steps. What a round gives would also depend on the number of workers. `tests/benchmarks/minibatch_cluster.py` measures.
"""

import time
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from kmstream.arrays import Counts, FloatArray
from kmstream.clustering import ClusterSums, find_origin, find_radii, largest_move, move_centroids, sum_by_cluster
from kmstream.dataset import Span
from kmstream.engine import count_workers, read_ahead, worker_threads
from kmstream.errors import TooFewRowsError
from kmstream.features import Rows, clip, encode
from kmstream.matrices import Matrices
from kmstream.minibatch import find_still, start_minibatch, stream_minibatches
from kmstream.run import Run
from kmstream.scan import Scan
from kmstream.search import SampleFit, polish_centroids, search_centroids

FRESH_MUST_GAIN = 0.01  # a fresh search replaces the current centroids only if it lowers the sample's inertia by more


@dataclass(frozen=True)
class FitPass:
    """One pass of the fit, as `model.json` keeps it.

    Attributes
    ----------
    name : str
        start, mini-batch or exact.
    inertia_per_row : float or None
        Of the centroids the pass began with, over the rows it read; None for mini-batch steps, which don't know it.
    largest_move : float or None
        Of any centroid during the pass, in scaled units.
    """

    name: str
    rows: int
    inertia_per_row: float | None
    largest_move: float | None
    seconds: float

    def to_json(self) -> dict[str, str | int | float | None]:
        """Give the pass as `model.json` and the report have it."""
        return {
            "pass": self.name,
            "rows": self.rows,
            "inertia_per_row": self.inertia_per_row,
            "largest_move": self.largest_move,
            "seconds": round(self.seconds, 3),
        }


@dataclass(frozen=True)
class Fit:
    """Where a fit ended, and how.

    Attributes
    ----------
    centroids : ndarray of shape (n_clusters, n_features)
        Scaled units: the means of the rows of each cluster in the last exact pass.
    rows : ndarray of shape (n_clusters,)
        How many rows those were; sums of weights, if rows have any.
    passes : tuple of FitPass
    """

    centroids: FloatArray
    rows: Counts
    passes: tuple[FitPass, ...]


def fit_centroids(run: Run, matrices: Matrices, scan: Scan, known: FloatArray | None) -> Fit:
    """Fit the centroids to all rows of the dataset.

    Parameters
    ----------
    matrices : Matrices
    scan : Scan
        Its sample is where the search for start centroids takes place.
    known : ndarray of shape (any, n_features), optional
        Centroids of the current version, in the space of this scaling: a refit starts from the better of them and a
        fresh search.

    Raises
    ------
    TooFewRowsError
        If there are fewer usable, or fewer distinct, rows than n_clusters.
    """
    try:
        return _fit(run, matrices, scan, known)
    except TooFewRowsError as error:
        error.add_note(f"in {len(run.dataset.partitions)} files of {run.config.dataset.path}")
        error.add_note("Lower model.n_clusters, or give it more rows.")
        raise


def _fit(run: Run, matrices: Matrices, scan: Scan, known: FloatArray | None) -> Fit:
    config = run.config
    encoded = encode(scan.sample, config.features, matrices.scaling).rows
    sample = clip(Rows(encoded.X, encoded.keep, scan.weights if run.weighting else None), config.features)
    started = time.perf_counter()
    run.progress.start("search", len(sample.X))
    start = _choose_start(run, sample, known)
    run.progress.advance(len(sample.X))
    centroids = start.centroids
    inertia = start.inertia / start.rows.sum()
    passes = [FitPass("start", len(sample.X), float(inertia), None, time.perf_counter() - started)]
    if config.model.algorithm == "minibatch" and config.model.max_epochs:
        centroids, epochs = _stream_epochs(run, matrices, start, sample)
        passes += epochs
    rows: Counts = np.zeros(len(centroids), dtype=np.int64)
    for _ in range(config.model.lloyd_passes):
        centroids, rows, done = _exact_pass(run, matrices, centroids, sample)
        passes.append(done)
        if done.largest_move is not None and done.largest_move < config.model.tol:
            break
    return Fit(centroids, rows, tuple(passes))


def _choose_start(run: Run, sample: Rows, known: FloatArray | None) -> SampleFit:
    model = run.config.model
    with worker_threads(run.engine) as pool:
        fresh = search_centroids(
            sample.X,
            model.n_clusters,
            n_init=model.n_init,
            seed=model.random_state,
            weights=sample.weights,
            apply=pool.map,
        )
    if known is None or len(known) != model.n_clusters:
        return fresh
    warm = polish_centroids(sample.X, known, sample.weights)
    # Both have settled on the same sample: what differs is the optimum they found, not how far they have come.
    return fresh if fresh.inertia < (1 - FRESH_MUST_GAIN) * warm.inertia else warm


def _stream_epochs(run: Run, matrices: Matrices, start: SampleFit, sample: Rows) -> tuple[FloatArray, list[FitPass]]:
    config, spans, passes = run.config.model, run.dataset.spans, []
    origin = find_origin(start.centroids)
    shifted = replace(start, centroids=start.centroids - origin)
    model = start_minibatch(shifted, seed=config.random_state)
    still = find_still(start, find_radii(sample, start.centroids), config.tol)

    def read(order: NDArray[np.int64]) -> Generator[Rows]:
        for i in order:
            for rows in matrices.read(spans[i]):
                kept = clip(rows, matrices.features).kept()
                yield Rows(kept.X - origin, kept.keep, kept.weights) if origin.any() else kept
                run.progress.advance(len(rows.X))

    for epoch in range(config.max_epochs):
        started, before = time.perf_counter(), model.cluster_centers_.copy()
        run.progress.start(f"mini-batch epoch {epoch + 1}", run.dataset.rows)
        order = np.random.default_rng((config.random_state, epoch)).permutation(len(spans))
        source = read(order)
        with closing(read_ahead(source) if count_workers(run.engine) > 1 else source) as batches:
            n_rows, settled = stream_minibatches(
                model, batches, batch_size=config.batch_size, still=still, at_least=len(sample.X)
            )
        move = largest_move(before, model.cluster_centers_)
        passes.append(FitPass("mini-batch", n_rows, None, move, time.perf_counter() - started))
        if settled or move < config.tol:
            break
    return model.cluster_centers_ + origin.astype(np.float64), passes


def _exact_pass(
    run: Run, matrices: Matrices, centroids: FloatArray, sample: Rows
) -> tuple[FloatArray, Counts, FitPass]:
    started, spans = time.perf_counter(), run.dataset.spans
    nothing = ClusterSums.empty(*centroids.shape)
    function = partial(_sum_span, matrices, centroids)
    total = run.fold("exact pass", function, spans, nothing, ClusterSums.merge)
    weight = float(total.counts.sum())
    if (weight < len(centroids) and run.weighting is None) or not weight:
        msg = f"{weight:g} usable rows; expected at least n_clusters={len(centroids)}"
        raise TooFewRowsError(msg)
    usable = sample.X if sample.weights is None else sample.X[sample.weights > 0]
    moved = move_centroids(total.counts, total.sums, usable)
    seconds, inertia = time.perf_counter() - started, total.sse(centroids) / weight
    return moved, total.counts, FitPass("exact", run.dataset.rows, inertia, largest_move(centroids, moved), seconds)


def _sum_span(matrices: Matrices, centroids: FloatArray, span: Span) -> ClusterSums:
    total = ClusterSums.empty(*centroids.shape)
    for rows in matrices.read(span):
        total = sum_by_cluster(clip(rows, matrices.features), centroids, total)
    return total
