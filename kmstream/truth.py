"""True classes of rows, where a column of the files has them: what the clusters are compared with, never fitted to."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from kmstream.arrays import IntArray
from kmstream.dataset import Dataset, make_mismatch, name_columns, read_footers
from kmstream.errors import InvalidFeatureError
from kmstream.quality import adjusted_rand_index, normalized_mutual_information

_MAX_CLASSES = 10_000


@dataclass(frozen=True)
class TruthCounts:
    """Rows by true class and cluster.

    Attributes
    ----------
    rows : mapping of str to ndarray of shape (n_clusters,)
        Per class; rows without a class are not counted.
    """

    rows: Mapping[str, IntArray]

    def add(self, classes: pa.ChunkedArray, cluster_ids: NDArray[np.integer], keep: NDArray[np.bool_], k: int) -> Self:
        """Count the next rows.

        Parameters
        ----------
        classes : pyarrow.ChunkedArray of shape (n_rows,)
        cluster_ids, keep : ndarray of shape (n_rows,)
        k : int
            Number of clusters.

        Raises
        ------
        InvalidFeatureError
            If there are more than 10,000 classes: then the column holds something else.
        """
        coded = classes.combine_chunks()
        if not pa.types.is_dictionary(coded.type):
            coded = pc.dictionary_encode(coded)
        known = np.asarray(coded.is_valid()) & keep
        codes = np.asarray(coded.indices.fill_null(0))[known].astype(np.int64)
        table = np.bincount(codes * k + cluster_ids[known], minlength=len(coded.dictionary) * k).reshape(-1, k)
        found: dict[str, IntArray] = {}
        for name, rows in zip(map(name_class, coded.dictionary.to_pylist()), table, strict=True):
            if name is not None:  # a file's dictionary may hold a value twice
                found[name] = found[name] + rows if name in found else rows
        return self.merge(type(self)(found))

    def merge(self, other: Self) -> Self:
        """Count the rows of both."""
        rows = dict(self.rows)
        for name, more in other.rows.items():
            rows[name] = rows[name] + more if name in rows else more
        if len(rows) > _MAX_CLASSES:
            error = InvalidFeatureError(f"the truth column has more than {_MAX_CLASSES:,} values; expected classes")
            error.add_note("Name a column that holds the class of each row after --truth.")
            raise error
        return type(self)(rows)

    def compare(self, column: str) -> dict[str, Any] | None:
        """Say how well the clusters agree with the classes: ARI and NMI, exactly; None if no row has a class."""
        table = np.array([rows for rows in self.rows.values() if rows.any()], dtype=np.int64)
        if not len(table):
            return None
        return {
            "column": column,
            "rows": int(table.sum()),
            "classes": len(table),
            "ari": adjusted_rand_index(table),
            "nmi": normalized_mutual_information(table),
        }


def check_truth(dataset: Dataset, column: str | None) -> None:
    """Refuse a column that is not in every file, or holds lists or structs; None asks for none.

    Raises
    ------
    SchemaMismatchError
        Names the column and the first such file.
    """
    if column is None:
        return
    for partition, _, schema in read_footers(dataset):
        if column in partition.hive:
            continue
        places = schema.get_all_field_indices(column)
        if len(places) > 1:
            problem = f"is there {len(places)} times; expected once"
        elif not places:
            problem = f"is missing; the file has {name_columns([*schema.names, *partition.hive])}"
        elif pa.types.is_nested(schema.field(places[0]).type):
            problem = f"has type {schema.field(places[0]).type}; expected one class per row"
        else:
            continue
        cure = "Name a column that every file has after --truth."
        raise make_mismatch(f"truth column {column!r} {problem}", partition.path, cure)


def name_class(value: object) -> str | None:
    """Name a class alike whatever type a file holds it in: 1 and 1.0 are one class, NaN is none."""
    if isinstance(value, float):
        return None if math.isnan(value) else f"{value:.17g}"
    return None if value is None else str(value)
