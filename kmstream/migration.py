"""Rows that went from one segment to another: counted over a dataset, or from what two versions left behind."""

import operator
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kmstream.arrays import Counts, FloatArray
from kmstream.assignments import read_manifest
from kmstream.clustering import ClusterModel, add_rows, find_nearest
from kmstream.dataset import Span, open_parquet
from kmstream.matrices import Matrices
from kmstream.run import Run
from kmstream.storage import Place, list_files
from kmstream.store import ModelVersion, Store

_BLOCK_ROWS = 1 << 20


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
        Matrices.of(run, model.features.model_copy(update={"on_missing": "skip"}), model.scaling)
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


def read_migration(store: Store, version: str) -> dict[str, Any] | None:
    """Read the table of rows by old and new name that a version was compared by, by the names of today."""
    table = store.read_json(version, "drift.json")["migration"]
    if table is None:
        return None
    called = store.renamed_since(version)
    names = {key: [called.get(label, label) for label in table[key]] for key in ("labels_from", "labels_to")}
    return names | {"rows": table["rows"]}


def count_common_rows(store: Store, one: ModelVersion, other: ModelVersion) -> dict[str, Any] | None:
    """Count rows by their segment in the assignments of two versions.

    Only partitions count that both have assigned, and that were the same then.

    Returns
    -------
    dict or None
        Like "migration" of drift.json; None where there is no such partition.
    """
    folders = [store.assignments(version.version) for version in (one, other)]
    mine, theirs = (read_manifest(folder) for folder in folders)
    there = [list_files(folder) for folder in folders]
    common = [
        path
        for path, entry in mine.items()
        if path in theirs and theirs[path].fingerprint == entry.fingerprint
        if all(path in files for files in there)
    ]
    if not common:
        return None
    shape = len(one.model.labels), len(other.model.labels)
    cells = np.zeros(shape[0] * shape[1], np.int64)
    for path in common:
        pairs = zip(*(_read_ids(folder / path) for folder in folders), strict=True)
        for before, after in pairs:
            both = (before >= 0) & (after >= 0)
            cells += np.bincount(before[both] * shape[1] + after[both], minlength=cells.size)
    names = {"labels_from": list(one.model.labels), "labels_to": list(other.model.labels)}
    return names | {"rows": cells.reshape(shape).tolist()}


def _read_ids(path: Place) -> Iterator[NDArray[np.int64]]:
    """Read cluster_id in blocks of the same size whatever the row groups; -1 where a row has none."""
    waiting, n_rows = [np.empty(0, np.int64)], 0
    with open_parquet(path) as file:
        for batch in file.iter_batches(_BLOCK_ROWS, columns=["cluster_id"]):
            waiting.append(batch.column(0).fill_null(-1).to_numpy().astype(np.int64))
            n_rows += len(waiting[-1])
            if n_rows >= _BLOCK_ROWS:
                ids = np.concatenate(waiting)
                yield ids[:_BLOCK_ROWS]
                waiting, n_rows = [ids[_BLOCK_ROWS:]], n_rows - _BLOCK_ROWS
    yield np.concatenate(waiting)
