"""The last pass: each row gets its segment and is written beside its record; the same pass counts what drift needs."""

import operator
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from kmstream.assignments import Entry, merge_entries
from kmstream.clustering import ClusterModel, Nearest, add_rows, add_squares, assign_rows, find_nearest
from kmstream.dataset import SPAN_ROWS, Span, read_batches
from kmstream.features import Rows, clip
from kmstream.matrices import Matrices
from kmstream.outputs import CLUSTER_SCHEMA, Output, OutputPlan, make_cluster_columns, open_output
from kmstream.plan import max_appended_rows
from kmstream.relabel import describe_labels
from kmstream.run import Run
from kmstream.summary import ClusterSummary, Counts, DeviationSums
from kmstream.truth import TruthCounts
from kmstream.value_counts import ValueCounts

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Assigned:
    """What the assign pass leaves behind besides the files.

    Attributes
    ----------
    deviations : DeviationSums
        Of the rows that were assigned, by cluster_id.
    values : ValueCounts
        Of all rows.
    counts : ndarray of shape (n_clusters,)
        Rows of each cluster, whatever their weights.
    outliers : ndarray of shape (n_clusters,)
        Rows farther than the reference's 99 % distance of their segment.
    migration : ndarray of shape (n_current, n_clusters)
        Rows by cluster under the current model and under this one; no rows of the first where there is none.
    members : ndarray of shape (n_current, n_clusters)
        Those of them within the reach of their cluster under the current model.
    fit_sse, current_sse : float
        Sum of squared distances as the fit counts them (clipped, if so configured), under this and the current model.
    truth : TruthCounts
        Rows by true class and cluster, where there are true classes.
    entries : dict of str to Entry
        The manifest's line of each partition.
    """

    deviations: DeviationSums
    values: ValueCounts
    counts: IntArray
    outliers: Counts
    migration: Counts
    members: Counts
    fit_sse: float
    current_sse: float
    truth: TruthCounts
    entries: dict[str, Entry] = field(default_factory=dict)

    def merge(self, other: Self) -> Self:
        """Join what two consecutive runs of rows left behind."""
        return type(self)(
            self.deviations.merge(other.deviations),
            self.values.merge(other.values),
            self.counts + other.counts,
            self.outliers + other.outliers,
            self.migration + other.migration,
            self.members + other.members,
            self.fit_sse + other.fit_sse,
            self.current_sse + other.current_sse,
            self.truth.merge(other.truth),
            merge_entries(self.entries, other.entries),
        )

    @property
    def summary(self) -> ClusterSummary:
        """Of the rows that were assigned, by cluster_id, in scaled units."""
        return self.deviations.summary


@dataclass(frozen=True)
class AssignJob:
    """What the pass needs; pickles to a cluster's workers.

    Attributes
    ----------
    matrices : Matrices
        The rows to assign, in the space of the model.
    outlier_distances : ndarray of shape (n_clusters,)
        The reference's 99 % distance per cluster; inf where there is none.
    current : ClusterModel, optional
        The model that rows migrate from.
    reach : ndarray of shape (n_current,), optional
        The 99 % distance per cluster of the current model, of the rows it was fitted on; None: there is no limit.
    truth : str, optional
        Column of the true classes, where the clusters are to be compared with them.
    """

    model: ClusterModel
    matrices: Matrices
    output: OutputPlan
    outlier_distances: NDArray[np.float64]
    current: ClusterModel | None = None
    reach: NDArray[np.float64] | None = None
    truth: str | None = None

    @classmethod
    def of(
        cls,
        run: Run,
        matrices: Matrices,
        model: ClusterModel,
        folder: Path,
        version: str,
        outlier_distances: NDArray[np.float64],
        current: ClusterModel | None = None,
        reach: NDArray[np.float64] | None = None,
        truth: str | None = None,
    ) -> Self:
        """Make the job of a run: every row of its dataset under this model, written below a folder."""
        columns = None if run.config.output.columns == "all" else run.config.output.columns
        metadata = {"kmstream.version": version, "kmstream.name": run.config.name, **describe_labels(model.labels)}
        output = OutputPlan(run.dataset, folder, run.chunk_rows, columns, max_appended_rows(run.config), metadata)
        return cls(model, matrices, output, outlier_distances, current, reach, truth)

    def nothing(self) -> Assigned:
        """Give the result for no rows."""
        n_clusters, n_current = len(self.model.centroids), len(self.current.centroids) if self.current else 0
        kind = self.matrices.kind
        return Assigned(
            DeviationSums.empty(self.model.centroids, kind),
            ValueCounts.empty(self.model.scaling, kind),
            np.zeros(n_clusters, np.int64),
            np.zeros(n_clusters, kind),
            np.zeros((n_current, n_clusters), kind),
            np.zeros((n_current, n_clusters), kind),
            0.0,
            0.0,
            TruthCounts({}),
        )


@dataclass(frozen=True)
class _Piece:
    """A span, and whether it is all there is of its partition."""

    span: Span
    alone: bool

    @property
    def rows(self) -> int:
        return self.span.rows


@dataclass(frozen=True)
class _AssignedPiece:
    """What comes of a span; its cluster columns only where they have not been written yet."""

    span: Span
    assigned: Assigned
    columns: pa.Table | None


def assign_dataset(
    run: Run, job: AssignJob, start: Assigned | None = None, then: Callable[[Assigned], None] | None = None
) -> Assigned:
    """Assign every row of the run's dataset and write it out, one file per partition.

    A partition of one span is written by the worker that assigns it. The spans of a larger one are assigned by all
    workers, and written here, in order.

    Parameters
    ----------
    run : Run
    job : AssignJob
    start : Assigned, optional
        Of the first partitions, which are done already.
    then : callable, optional
        Given what has come so far each time another partition is done.
    """
    start = job.nothing() if start is None else start
    pieces = [
        _Piece(span, alone=partition.rows <= SPAN_ROWS)
        for partition in run.dataset.partitions
        if partition.path not in start.entries
        for span in partition.spans or [Span(partition, 0, 0)]
    ]
    with _joining(job, then or (lambda _: None)) as join:
        return run.fold("assign", partial(_assign_piece, job), pieces, start, join)


@contextmanager
def _joining(
    job: AssignJob, then: Callable[[Assigned], None]
) -> Iterator[Callable[[Assigned, _AssignedPiece], Assigned]]:
    with ExitStack() as open_file:
        output: Output | None = None

        def join(total: Assigned, piece: _AssignedPiece) -> Assigned:
            nonlocal output
            if piece.columns is None:
                total = total.merge(piece.assigned)
                then(total)
                return total
            span = piece.span
            if span.first_row == 0:
                output = open_file.enter_context(open_output(job.output, span.partition))
            if output is None:
                msg = f"span {span.first_row} of {span.partition.path} came before the first"
                raise RuntimeError(msg)
            output.write(span, piece.columns)
            total = total.merge(_with_entry(job, piece.assigned, span, output.rewritten))
            if span.first_row + span.rows == span.partition.rows:
                open_file.close()
                then(total)
            return total

        yield join


def _assign_piece(job: AssignJob, piece: _Piece) -> _AssignedPiece:
    span = piece.span
    if not piece.alone:
        return _AssignedPiece(span, *_assign_span(job, span))
    with open_output(job.output, span.partition) as output:  # first, so that the disk gets its bytes meanwhile
        assigned, columns = _assign_span(job, span)
        output.write(span, columns)
    return _AssignedPiece(span, _with_entry(job, assigned, span, output.rewritten), None)


def _with_entry(job: AssignJob, assigned: Assigned, span: Span, rewritten: str) -> Assigned:
    partition, values = span.partition, assigned.values
    rows = dict(zip(job.model.labels, assigned.counts.tolist(), strict=True))
    entry = Entry(
        fingerprint=partition.fingerprint,
        rows=span.rows,
        output=partition.path,
        rows_per_cluster=rows,
        skipped=dict(values.skipped),
        unseen=dict(values.unseen),
        rewritten=rewritten,
        dataset=job.output.dataset.source,
    )
    return replace(assigned, entries={partition.path: entry})


def _assign_span(job: AssignJob, span: Span) -> tuple[Assigned, pa.Table]:
    model, total, columns = job.model, job.nothing(), [CLUSTER_SCHEMA.empty_table()]
    labels = pa.array(model.labels, pa.string())
    current, classes = _read_current(job, span), _read_classes(job, span)
    for rows, values in job.matrices.read_counted(span):
        nearest, deviations = assign_rows(rows, total.deviations)
        ids = nearest.cluster_ids
        outside = rows.keep & (nearest.distances > job.outlier_distances[ids])
        total = replace(
            total,
            deviations=deviations,
            values=values,
            counts=total.counts + np.bincount(ids[rows.keep], minlength=len(model.centroids)),
            outliers=add_rows(total.outliers, ids, rows.weights, outside),
        )
        if job.current is not None:
            there = rows if current is None else next(current)
            total = _compare_with_current(job, rows, there, nearest, total)
        if classes is not None:
            total = replace(total, truth=total.truth.add(next(classes), ids, rows.keep, len(model.centroids)))
        columns.append(make_cluster_columns(nearest, rows.keep, labels))
    return total, pa.concat_tables(columns)


def _read_current(job: AssignJob, span: Span) -> Iterator[Rows] | None:
    """Read the same rows in the space of the current model; None where that is the same space."""
    current = job.current
    if current is None or current.scaling is job.model.scaling:
        return None
    return replace(job.matrices, features=current.features, scaling=current.scaling, scratch=None).read(span)


def _read_classes(job: AssignJob, span: Span) -> Iterator[pa.ChunkedArray] | None:
    if job.truth is None:
        return None
    batches = read_batches(job.output.dataset, span, job.output.chunk_rows, [job.truth])
    return (batch.column(0) for _, batch in batches)


def _compare_with_current(job: AssignJob, rows: Rows, there: Rows, nearest: Nearest, total: Assigned) -> Assigned:
    model, current = job.model, job.current
    if current is None:
        return total
    before, after = find_nearest(there.X, current.centroids), nearest
    both = Rows(rows.X, rows.keep & there.keep, rows.weights)
    flat = before.cluster_ids * np.int64(len(model.centroids)) + nearest.cluster_ids
    inside = both.keep if job.reach is None else both.keep & (before.distances <= job.reach[before.cluster_ids])
    migration, members = (
        add_rows(table.ravel(), flat, rows.weights, keep).reshape(table.shape)
        for table, keep in ((total.migration, both.keep), (total.members, inside))
    )
    if model.features.clip:
        after = find_nearest(clip(rows, model.features).X, model.centroids)
        before = find_nearest(clip(there, model.features).X, current.centroids)
    return replace(
        total,
        migration=migration,
        members=members,
        fit_sse=add_squares(after.distances, both, total.fit_sse),
        current_sse=add_squares(before.distances, both, total.current_sse),
    )


def count_migration(run: Run, before: ClusterModel, after: ClusterModel) -> Counts:
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
    cells = np.zeros(len(before.centroids) * len(after.centroids), np.float64 if run.weighting else np.int64)
    one, other = (
        Matrices(
            model.features.model_copy(update={"on_missing": "skip"}),
            model.scaling,
            run.dataset,
            run.chunk_rows,
            run.weighting,
        )
        for model in (before, after)
    )
    function = partial(_count_span, one, other, before.centroids, after.centroids, cells)
    total = run.fold("overlap", function, run.dataset.spans, cells, operator.add)
    return np.asarray(total.reshape(len(before.centroids), len(after.centroids)))


def _count_span(
    one: Matrices, other: Matrices, before: FloatArray, after: FloatArray, nothing: Counts, span: Span
) -> Counts:
    total = nothing
    for there, here in zip(one.read(span), other.read(span), strict=True):
        flat = (
            find_nearest(there.X, before).cluster_ids * np.int64(len(after)) + find_nearest(here.X, after).cluster_ids
        )
        total = add_rows(total, flat, here.weights, there.keep & here.keep)
    return total
