"""The last pass: each row gets its segment and is written beside its record; the same pass counts what drift needs."""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial, reduce
from typing import Any, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from kmstream.arrays import Counts, IntArray
from kmstream.assignments import Entry
from kmstream.clustering import ClusterModel, Nearest, add_rows, add_squares, assign_rows, find_nearest
from kmstream.dataset import SPAN_ROWS, Partition, Span, read_batches
from kmstream.engine import Group, check_wanted, find_group_size, group_items, uses_cluster
from kmstream.features import Rows, clip
from kmstream.matrices import Matrices
from kmstream.outputs import CLUSTER_SCHEMA, OutputPlan, make_cluster_columns, open_output
from kmstream.plan import max_appended_rows
from kmstream.relabel import describe_labels
from kmstream.run import Run
from kmstream.storage import Place
from kmstream.summary import ClusterSummary, DeviationSums
from kmstream.truth import TruthCounts
from kmstream.value_counts import ValueCounts


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
            self.entries | other.entries,
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
    group_size : int
        Partitions whose sums are added up before they join the others.
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
    group_size: int
    current: ClusterModel | None = None
    reach: NDArray[np.float64] | None = None
    truth: str | None = None

    @classmethod
    def of(
        cls,
        run: Run,
        matrices: Matrices,
        model: ClusterModel,
        folder: Place,
        version: str,
        outlier_distances: NDArray[np.float64],
    ) -> Self:
        """Make the job of a run: every row of its dataset under this model, written below a folder."""
        columns = None if run.config.output.columns == "all" else run.config.output.columns
        metadata = {"kmstream.version": version, "kmstream.name": run.config.name, **describe_labels(model.labels)}
        output = OutputPlan(run.source, folder, run.chunk_rows, columns, max_appended_rows(run.config), metadata)
        group_size = find_group_size(len(run.dataset.partitions))
        return cls(model, matrices, output, outlier_distances, group_size)

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


def assign_dataset(
    run: Run, job: AssignJob, start: Assigned | None = None, then: Callable[[Assigned], None] | None = None
) -> Assigned:
    """Assign every row of the run's dataset and write it out, one file per partition.

    Spans are added up within their partition, partitions within their group, groups one after the other. On a cluster
    one worker assigns and writes the partitions of a group, and only sums travel. Here a partition of one span is
    written by the thread that assigns it; the spans of a larger one are assigned by all threads, and written by this
    one, in order.

    Parameters
    ----------
    run : Run
    job : AssignJob
    start : Assigned, optional
        Of the first groups of partitions, which are done already.
    then : callable, optional
        Given what has come so far each time another group is done.
    """
    total = job.nothing() if start is None else start
    groups = group_items(run.dataset.partitions, job.group_size)
    groups = [group for group in groups if group.pieces[0].path not in total.entries]
    if uses_cluster(run.engine):
        results = run.map("assign", partial(_assign_group, job), groups)
    else:
        results = _assign_here(run, job, groups)
    with closing(results):
        for assigned in results:
            total = total.merge(assigned)
            if then is not None:
                then(total)
    return total


def _assign_group(job: AssignJob, group: Group[Partition]) -> Assigned:
    return reduce(Assigned.merge, (_assign_partition(job, partition) for partition in group.pieces))


def _assign_here(run: Run, job: AssignJob, groups: Sequence[Group[Partition]]) -> Generator[Assigned]:
    pieces = [
        _Piece(span, alone=partition.rows <= SPAN_ROWS)
        for group in groups
        for partition in group.pieces
        for span in _cut(partition)
    ]
    with closing(run.map("assign", partial(_assign_piece, job), pieces)) as results:
        for group in groups:
            done = (
                next(results) if partition.rows <= SPAN_ROWS else _write_partition(job, partition, results)
                for partition in group.pieces
            )
            yield reduce(Assigned.merge, done)
        next(results, None)  # the pass comes to its end


def _assign_piece(job: AssignJob, piece: _Piece) -> Any:  # noqa: ANN401 - what one thread hands to another
    return _assign_partition(job, piece.span.partition) if piece.alone else _assign_span(job, piece.span)


def _assign_partition(job: AssignJob, partition: Partition) -> Assigned:
    return _write_partition(job, partition, (_assign_span(job, span) for span in _cut(partition)))


def _write_partition(job: AssignJob, partition: Partition, found: Iterator[tuple[Assigned, pa.Table]]) -> Assigned:
    """Write the output of a partition from what comes of its spans, in their order; take no more than that.

    On a cluster another worker may write the same file at the same time, for this run or for one that has lost this
    worker: it writes the same bytes to a temporary file of its own, and the last rename wins.
    """
    parts = []
    check_wanted()
    with open_output(job.output, partition) as output:  # first, so that the disk gets its bytes meanwhile
        for span in _cut(partition):
            assigned, columns = next(found)
            output.write(span, columns)
            parts.append(assigned)
            check_wanted()
    return _with_entry(job, reduce(Assigned.merge, parts), partition, output.rewritten)


def _cut(partition: Partition) -> list[Span]:
    return partition.spans or [Span(partition, 0, 0)]


def _with_entry(job: AssignJob, assigned: Assigned, partition: Partition, rewritten: str) -> Assigned:
    values = assigned.values
    entry = Entry(
        fingerprint=partition.fingerprint,
        rows=partition.rows,
        output=partition.path,
        rows_per_cluster=dict(zip(job.model.labels, assigned.counts.tolist(), strict=True)),
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
    batches = read_batches(job.output.dataset, span, job.output.chunk_rows, [job.truth], ahead=False)
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
