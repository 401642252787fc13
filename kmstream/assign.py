"""The last pass: each row gets its segment and is written beside its record; the same pass counts what drift needs."""

import operator
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from kmstream.assignments import Entry, PartitionWriter, write_partition
from kmstream.clustering import ClusterModel, add_squares, find_nearest, summarise
from kmstream.dataset import Dataset, Partition, Span, locate, open_parquet, read_batches
from kmstream.features import clip, count_bins, encode
from kmstream.run import Run
from kmstream.summary import ClusterSummary

IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Assigned:
    """What the assign pass leaves behind besides the files.

    Attributes
    ----------
    summary : ClusterSummary
        Of the rows that were assigned, by cluster_id.
    bins : ndarray of shape (n_numeric, n_bins + 1)
        Rows per bin of feature drift; the last column counts missing values.
    outliers : ndarray of shape (n_clusters,)
        Rows farther than the reference's 99 % distance of their segment.
    migration : ndarray of shape (n_current, n_clusters)
        Rows by cluster under the current model and under this one; no rows of the first where there is none.
    fit_sse, current_sse : float
        Sum of squared distances as the fit counts them (clipped, if so configured), under this and the current model.
    skipped, unseen : Counter of str
        Rows without a segment by reason; rows with an unknown category by feature.
    entries : dict of str to Entry
        The manifest's line of each partition.
    """

    summary: ClusterSummary
    bins: IntArray
    outliers: IntArray
    migration: IntArray
    fit_sse: float
    current_sse: float
    skipped: Counter[str]
    unseen: Counter[str]
    entries: dict[str, Entry] = field(default_factory=dict)

    def merge(self, other: Self) -> Self:
        """Join what two consecutive runs of rows left behind."""
        return type(self)(
            self.summary.merge(other.summary),
            self.bins + other.bins,
            self.outliers + other.outliers,
            self.migration + other.migration,
            self.fit_sse + other.fit_sse,
            self.current_sse + other.current_sse,
            self.skipped + other.skipped,
            self.unseen + other.unseen,
            self.entries | other.entries,
        )


@dataclass(frozen=True)
class AssignJob:
    """What the pass needs; pickles to a cluster's workers.

    Attributes
    ----------
    outlier_distances : ndarray of shape (n_clusters,)
        The reference's 99 % distance per cluster; inf where there is none.
    current : ClusterModel, optional
        The model that rows migrate from.
    columns : sequence of str, optional
        Columns to carry into the output; all by default.
    """

    model: ClusterModel
    dataset: Dataset
    chunk_rows: int
    folder: Path
    metadata: dict[str, str]
    outlier_distances: NDArray[np.float64]
    current: ClusterModel | None
    columns: Sequence[str] | None

    @classmethod
    def of(
        cls,
        run: Run,
        model: ClusterModel,
        folder: Path,
        version: str,
        outlier_distances: NDArray[np.float64],
        current: ClusterModel | None = None,
    ) -> Self:
        """Make the job of a run: every row of its dataset under this model, written below a folder."""
        columns = None if run.config.output.columns == "all" else run.config.output.columns
        metadata = {"kmstream.version": version, "kmstream.name": run.config.name}
        return cls(model, run.dataset, run.chunk_rows, folder, metadata, outlier_distances, current, columns)

    def nothing(self) -> Assigned:
        """Give the result for no rows."""
        n_clusters, n_features = self.model.centroids.shape
        n_current = len(self.current.centroids) if self.current else 0
        bins = np.zeros((len(self.model.scaling.edges), self.model.scaling.edges.shape[1] + 2), dtype=np.int64)
        none = np.zeros(n_clusters, dtype=np.int64)
        table = np.zeros((n_current, n_clusters), dtype=np.int64)
        return Assigned(ClusterSummary.empty(n_clusters, n_features), bins, none, table, 0.0, 0.0, Counter(), Counter())


def assign_dataset(run: Run, job: AssignJob) -> Assigned:
    """Assign every row of the run's dataset and write it out, one file per partition."""
    return run.fold("assign", partial(_assign_partition, job), run.dataset.partitions, job.nothing(), Assigned.merge)


def _assign_partition(job: AssignJob, partition: Partition) -> Assigned:
    total, span = job.nothing(), Span(partition, 0, partition.rows)
    models = (job.model, job.current) if job.current else (job.model,)
    needed = dict.fromkeys([*(name for model in models for name in model.features.columns), *(job.columns or ())])
    with (
        open_parquet(job.dataset.filesystem, partition.uri) as source,
        write_partition(job.folder / partition.path, source, job.columns, job.model.labels, job.metadata) as output,
    ):
        for first_row, batch in read_batches(
            job.dataset, span, job.chunk_rows, list(needed), whole=job.columns is None
        ):
            with locate(partition, first_row, batch.num_rows):
                total = _assign_batch(job, batch, output, total)
    rows = {label: int(n) for label, n in zip(job.model.labels, total.summary.rows, strict=True)}
    entry = Entry(partition.fingerprint, partition.rows, partition.path, rows, dict(total.skipped), dict(total.unseen))
    return replace(total, entries={partition.path: entry})


def _assign_batch(job: AssignJob, batch: pa.Table, output: PartitionWriter, total: Assigned) -> Assigned:
    model, current = job.model, job.current
    encoded = encode(batch, model.features, model.scaling)
    keep, nearest = encoded.keep, find_nearest(encoded.X, model.centroids)
    output.write(batch, nearest, keep)
    ids = nearest.cluster_ids[keep]
    outside = nearest.distances[keep] > job.outlier_distances[ids]
    migration, fit_sse, current_sse = total.migration, total.fit_sse, total.current_sse
    if current is not None:
        there = encoded if current.scaling is model.scaling else encode(batch, current.features, current.scaling)
        before, both = find_nearest(there.X, current.centroids), keep & there.keep
        flat = before.cluster_ids[both] * np.int64(len(model.centroids)) + nearest.cluster_ids[both]
        migration = migration + np.bincount(flat, minlength=migration.size).reshape(migration.shape)
        if model.features.clip:
            clipped, there_clipped = clip(encoded.X.copy(), model.features), clip(there.X.copy(), model.features)
            fit_sse = add_squares(find_nearest(clipped, model.centroids).distances, both, fit_sse)
            current_sse = add_squares(find_nearest(there_clipped, current.centroids).distances, both, current_sse)
        else:
            fit_sse = add_squares(nearest.distances, both, fit_sse)
            current_sse = add_squares(before.distances, both, current_sse)
    return Assigned(
        summarise(encoded.X, keep, nearest, model.centroids, total.summary),
        total.bins + count_bins(encoded.numeric, model.scaling.edges),
        total.outliers + np.bincount(ids[outside], minlength=len(model.centroids)),
        migration,
        fit_sse,
        current_sse,
        total.skipped + Counter(encoded.skipped),
        total.unseen + Counter(encoded.unseen),
    )


def count_migration(run: Run, before: ClusterModel, after: ClusterModel) -> IntArray:
    """Count rows by old and new cluster without writing: names go on by overlap where the features have changed.

    Parameters
    ----------
    run : Run
    before, after : ClusterModel
        Each with features of its own; every file must hold the columns of both.

    Returns
    -------
    ndarray of shape (n_before, n_after)
        Over the rows that both models can assign.
    """
    nothing = np.zeros((len(before.centroids), len(after.centroids)), dtype=np.int64)
    function = partial(_count_span, run.dataset, run.chunk_rows, before, after)
    return run.fold("overlap", function, run.dataset.spans, nothing, operator.add)


def _count_span(dataset: Dataset, chunk_rows: int, before: ClusterModel, after: ClusterModel, span: Span) -> IntArray:
    columns = list(dict.fromkeys([*before.features.columns, *after.features.columns]))
    total = np.zeros((len(before.centroids), len(after.centroids)), dtype=np.int64)
    for _, batch in read_batches(dataset, span, chunk_rows, columns):
        ids, keep = [], np.ones(batch.num_rows, dtype=np.bool_)
        for model in (before, after):
            encoded = encode(batch, model.features.model_copy(update={"on_missing": "skip"}), model.scaling)
            ids.append(find_nearest(encoded.X, model.centroids).cluster_ids)
            keep &= encoded.keep
        flat = ids[0][keep] * np.int64(total.shape[1]) + ids[1][keep]
        total += np.bincount(flat, minlength=total.size).reshape(total.shape)
    return total
