"""The true classes of sampled rows, from a column of the files."""

from dataclasses import dataclass
from functools import partial
from typing import Self

import numpy as np
import pyarrow as pa

from kmstream.arrays import IntArray, Matrix
from kmstream.config import FeaturesConfig
from kmstream.dataset import Dataset, read_batches
from kmstream.errors import DataError
from kmstream.features import Scaling, clip, encode
from kmstream.run import Run
from kmstream.scan import SampledSpan, sample_spans
from kmstream.truth import name_class


@dataclass(frozen=True)
class ClassifiedRows:
    """Rows whose true class is known.

    Attributes
    ----------
    X : ndarray of shape (n_rows, n_features)
        In scaled units.
    classes : ndarray of shape (n_rows,)
        In 0 .. number of classes - 1.
    column : str
        Where they come from.
    """

    X: Matrix
    classes: IntArray
    column: str


def read_classes(run: Run, scaling: Scaling, column: str) -> ClassifiedRows:
    """Read features and class of sampled rows; those without a class, or that can't be used, are left out.

    Raises
    ------
    DataError
        If no such row is left.
    """
    config = run.config
    work = [sampled for sampled in sample_spans(run) if len(sampled.positions)]
    nothing = _NamedRows(np.empty((0, scaling.n_features), np.float32), ())
    read = partial(_read_span, run.source, config.features, scaling, run.chunk_rows, column)
    found = run.fold("read classes", read, work, nothing, _NamedRows.merge)
    if not found.names:
        n_rows = sum(len(sampled.positions) for sampled in work)
        error = DataError(f"truth column {column!r} is null in all {n_rows:,} sampled rows that can be used")
        error.add_note(f"in {len(run.dataset.partitions)} files of {config.dataset.path}")
        error.add_note("Name a column that holds the class of each row after --truth.")
        raise error
    return ClassifiedRows(found.X, np.unique(np.array(found.names), return_inverse=True)[1], column)


@dataclass(frozen=True)
class _NamedRows:
    """Rows in scaled units, and the names of their classes."""

    X: Matrix
    names: tuple[str, ...]

    def merge(self, other: Self) -> Self:
        return type(self)(np.concatenate([self.X, other.X]), self.names + other.names)


def _read_span(
    dataset: Dataset, features: FeaturesConfig, scaling: Scaling, chunk_rows: int, column: str, work: SampledSpan
) -> _NamedRows:
    found = _NamedRows(np.empty((0, scaling.n_features), np.float32), ())
    columns = tuple(dict.fromkeys((*features.columns, column)))
    for first_row, batch in read_batches(dataset, work.span, chunk_rows, columns):
        offset = first_row - work.span.first_row
        here = work.positions[(work.positions >= offset) & (work.positions < offset + batch.num_rows)] - offset
        rows = batch.take(pa.array(here))
        encoded = clip(encode(rows, features, scaling).rows, features)
        names = [name_class(value) for value in rows.column(column).to_pylist()]
        kept = [i for i, name in enumerate(names) if name is not None and encoded.keep[i]]
        found = found.merge(_NamedRows(encoded.X[kept], tuple(str(names[i]) for i in kept)))
    return found
