"""The true classes of sampled rows, from a column of the files."""

from dataclasses import dataclass
from functools import partial
from typing import Self

import numpy as np
import pyarrow as pa

from kmstream.choose.fits import Truth
from kmstream.clustering import IntArray, Matrix
from kmstream.config import FeaturesConfig
from kmstream.dataset import Dataset, Span, read_batches
from kmstream.errors import DataError
from kmstream.features import Scaling, clip, encode
from kmstream.run import Run
from kmstream.summary import sample_positions
from kmstream.truth import name_class


def read_truth(run: Run, scaling: Scaling, column: str) -> Truth:
    """Read features and class of sampled rows; those without a class, or that can't be used, are left out.

    Raises
    ------
    DataError
        If no such row is left.
    """
    config, dataset = run.config, run.dataset
    positions = sample_positions(dataset.rows, config.model.sample_rows, config.model.random_state)
    borders = np.cumsum([0, *(span.rows for span in dataset.spans)])
    cuts = np.searchsorted(positions, borders)
    work = [
        _SampledSpan(span, positions[cuts[i] : cuts[i + 1]] - borders[i])
        for i, span in enumerate(dataset.spans)
        if cuts[i + 1] > cuts[i]
    ]
    nothing = _Classified(np.empty((0, scaling.n_features), np.float32), ())
    read = partial(_read_span, dataset, config.features, scaling, run.chunk_rows, column)
    found = run.fold("read classes", read, work, nothing, _Classified.merge)
    if not found.names:
        error = DataError(f"truth column {column!r} is null in all {len(positions):,} sampled rows that can be used")
        error.add_note(f"in {len(dataset.partitions)} files of {config.dataset.path}")
        error.add_note("Name a column that holds the class of each row after --truth.")
        raise error
    return Truth(found.X, np.unique(np.array(found.names), return_inverse=True)[1])


@dataclass(frozen=True)
class _SampledSpan:
    """A span, and the positions in it of the rows that are wanted."""

    span: Span
    positions: IntArray

    @property
    def rows(self) -> int:
        return self.span.rows


@dataclass(frozen=True)
class _Classified:
    """Rows in scaled units, and the names of their classes."""

    X: Matrix
    names: tuple[str, ...]

    def merge(self, other: Self) -> Self:
        return type(self)(np.concatenate([self.X, other.X]), self.names + other.names)


def _read_span(
    dataset: Dataset, features: FeaturesConfig, scaling: Scaling, chunk_rows: int, column: str, work: _SampledSpan
) -> _Classified:
    found = _Classified(np.empty((0, scaling.n_features), np.float32), ())
    columns = tuple(dict.fromkeys((*features.columns, column)))
    for first_row, batch in read_batches(dataset, work.span, chunk_rows, columns):
        offset = first_row - work.span.first_row
        here = work.positions[(work.positions >= offset) & (work.positions < offset + batch.num_rows)] - offset
        rows = batch.take(pa.array(here))
        encoded = clip(encode(rows, features, scaling).rows, features)
        names = [name_class(value) for value in rows.column(column).to_pylist()]
        kept = [i for i, name in enumerate(names) if name is not None and encoded.keep[i]]
        part = _Classified(encoded.X[kept], tuple(str(names[i]) for i in kept))
        found = found.merge(part)
    return found
