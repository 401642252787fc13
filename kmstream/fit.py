"""From a sample to centroids of record: the start, the mini-batch stream, the exact passes."""

import time
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from kmstream.clustering import (
    ClusterSums,
    FloatArray,
    IntArray,
    Matrix,
    find_origin,
    largest_move,
    move_centroids,
    sum_by_cluster,
)
from kmstream.config import Config, FeaturesConfig
from kmstream.dataset import Dataset, Span, locate, read_batches
from kmstream.engine import count_workers, read_ahead, worker_threads
from kmstream.errors import TooFewRowsError
from kmstream.features import Scaling, clip, encode
from kmstream.minibatch import start_minibatch, stream_minibatches
from kmstream.run import Run
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
        How many rows those were.
    passes : tuple of FitPass
    """

    centroids: FloatArray
    rows: IntArray
    passes: tuple[FitPass, ...]


def fit_centroids(run: Run, sample: pa.Table, scaling: Scaling, known: FloatArray | None) -> Fit:
    """Fit the centroids to all rows of the dataset.

    Parameters
    ----------
    sample : pyarrow.Table
        Usable rows of the feature columns.
    known : ndarray of shape (any, n_features), optional
        Centroids of the current version, in the space of this scaling: a refit starts from the better of them and a
        fresh search.

    Raises
    ------
    TooFewRowsError
        If there are fewer usable, or fewer distinct, rows than n_clusters.
    """
    try:
        return _fit(run, sample, scaling, known)
    except TooFewRowsError as error:
        error.add_note(f"in {len(run.dataset.partitions)} files of {run.config.dataset.path}")
        error.add_note("Lower model.n_clusters, or give it more rows.")
        raise


def _fit(run: Run, sample: pa.Table, scaling: Scaling, known: FloatArray | None) -> Fit:
    config = run.config
    work = _Work(config.features, scaling, run.dataset, run.chunk_rows)
    X = clip(encode(sample, config.features, scaling).X, config.features)
    started = time.perf_counter()
    run.progress.start("search", len(X))
    start = _choose_start(config, X, known)
    run.progress.advance(len(X))
    centroids = start.centroids
    passes = [FitPass("start", len(X), start.inertia / len(X), None, time.perf_counter() - started)]
    if config.model.algorithm == "minibatch" and config.model.max_epochs:
        centroids, epochs = _stream_epochs(run, work, start)
        passes += epochs
    rows = np.zeros(len(centroids), dtype=np.int64)
    for _ in range(config.model.lloyd_passes):
        centroids, rows, done = _exact_pass(run, work, centroids, X)
        passes.append(done)
        if done.largest_move is not None and done.largest_move < config.model.tol:
            break
    return Fit(centroids, rows, tuple(passes))


@dataclass(frozen=True)
class _Work:
    """What every pass over the spans needs; pickles to a cluster's workers."""

    features: FeaturesConfig
    scaling: Scaling
    dataset: Dataset
    chunk_rows: int

    def matrices(self, span: Span) -> Iterator[tuple[Matrix, NDArray[np.bool_]]]:
        """Read a span as matrices and which of their rows count."""
        for first_row, batch in read_batches(self.dataset, span, self.chunk_rows, self.dataset.features.columns):
            with locate(span.partition, first_row, batch.num_rows):
                encoded = encode(batch, self.features, self.scaling)
            yield clip(encoded.X, self.features), encoded.keep


def _choose_start(config: Config, X: Matrix, known: FloatArray | None) -> SampleFit:
    model = config.model
    with worker_threads(config.engine) as pool:
        fresh = search_centroids(X, model.n_clusters, n_init=model.n_init, seed=model.random_state, apply=pool.map)
    if known is None or len(known) != model.n_clusters:
        return fresh
    warm = polish_centroids(X, known)
    # Both have settled on the same sample: what differs is the optimum they found, not how far they have come.
    return fresh if fresh.inertia < (1 - FRESH_MUST_GAIN) * warm.inertia else warm


def _stream_epochs(run: Run, work: _Work, start: SampleFit) -> tuple[FloatArray, list[FitPass]]:
    config, spans, passes = run.config.model, work.dataset.spans, []
    origin = find_origin(start.centroids)
    model = start_minibatch(replace(start, centroids=start.centroids - origin), seed=config.random_state)

    def stream(order: NDArray[np.int64]) -> Generator[Matrix]:
        for i in order:
            for X, keep in work.matrices(spans[i]):
                rows = X if keep.all() else X[keep]
                yield rows - origin if origin.any() else rows
                run.progress.advance(len(X))

    for epoch in range(config.max_epochs):
        started, before = time.perf_counter(), model.cluster_centers_.copy()
        run.progress.start(f"mini-batch epoch {epoch + 1}", work.dataset.rows)
        order = np.random.default_rng((config.random_state, epoch)).permutation(len(spans))
        source = stream(order)
        with closing(read_ahead(source) if count_workers(run.config.engine) > 1 else source) as matrices:
            n_rows = stream_minibatches(model, matrices, batch_size=config.batch_size, tol=config.tol)
        move = largest_move(before, model.cluster_centers_)
        passes.append(FitPass("mini-batch", n_rows, None, move, time.perf_counter() - started))
        if move < config.tol:
            break
    return model.cluster_centers_ + origin.astype(np.float64), passes


def _exact_pass(run: Run, work: _Work, centroids: FloatArray, sample: Matrix) -> tuple[FloatArray, IntArray, FitPass]:
    started, spans = time.perf_counter(), work.dataset.spans
    nothing = ClusterSums.empty(*centroids.shape)
    total = run.fold("exact pass", partial(_sum_span, work, centroids), spans, nothing, ClusterSums.merge)
    n_rows = int(total.counts.sum())
    if n_rows < len(centroids):
        msg = f"{n_rows} usable rows; expected at least n_clusters={len(centroids)}"
        raise TooFewRowsError(msg)
    moved = move_centroids(centroids, total.counts, total.sums, sample)
    seconds = time.perf_counter() - started
    return moved, total.counts, FitPass("exact", n_rows, total.sse / n_rows, largest_move(centroids, moved), seconds)


def _sum_span(work: _Work, centroids: FloatArray, span: Span) -> ClusterSums:
    total = ClusterSums.empty(*centroids.shape)
    for X, keep in work.matrices(span):
        total = sum_by_cluster(X, keep, centroids, total)
    return total
