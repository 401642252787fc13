"""Rows of a dataset as matrices: what every pass of a fit reads, from Parquet or from the scratch copy."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from kmstream.config import FeaturesConfig
from kmstream.dataset import Dataset, Span, locate, read_batches
from kmstream.features import Rows, Scaling, encode
from kmstream.run import Run
from kmstream.scratch import Scratch, open_scratch
from kmstream.value_counts import ValueCounts
from kmstream.weights import Weighting


@dataclass(frozen=True)
class Matrices:
    """A dataset in scaled units; pickles to a cluster's workers.

    Attributes
    ----------
    dataset : Dataset
        Without the list of its partitions: what is read is said by a span.
    chunk_rows : int
        Rows per batch.
    weighting : Weighting or None
        None where every row counts once.
    scratch : Scratch or None
        Where the first pass leaves a copy for those that follow.
    """

    features: FeaturesConfig
    scaling: Scaling
    dataset: Dataset
    chunk_rows: int
    weighting: Weighting | None = None
    scratch: Scratch | None = None

    @classmethod
    def of(cls, run: Run, features: FeaturesConfig, scaling: Scaling, scratch: Scratch | None = None) -> Self:
        """Give the rows of a run in this scaling."""
        return cls(features, scaling, run.source, run.chunk_rows, run.weighting, scratch)

    @property
    def kind(self) -> type[np.number]:
        """What rows are counted in: whole numbers, or sums of weights."""
        return np.float64 if self.weighting else np.int64

    def read(self, span: Span) -> Iterator[Rows]:
        """Read the rows of a span, in order, in batches."""
        if self.scratch is not None and self.scratch.takes(span):
            if self.scratch.holds(span):
                return self.scratch.read(span)
            return self.scratch.write(span, self.decode(span))
        return (rows for rows, _ in self.decode(span))

    def read_counted(self, span: Span) -> Iterator[tuple[Rows, ValueCounts]]:
        """Read the rows of a span, in order, in batches; the last has the counts of the whole span."""
        if self.scratch is not None and self.scratch.holds(span):
            counts = self.scratch.read_counts(span)
            return ((rows, counts) for rows in self.scratch.read(span))
        return self.decode(span)

    def decode(self, span: Span) -> Iterator[tuple[Rows, ValueCounts]]:
        """Read the rows of a span from the dataset, and count their values: all of the span so far."""
        counts = ValueCounts.empty(self.scaling, self.kind)
        columns = list(dict.fromkeys([*self.features.columns, *(self.weighting.columns if self.weighting else ())]))
        for first_row, batch in read_batches(self.dataset, span, self.chunk_rows, columns):
            with locate(span.partition, first_row, batch.num_rows):
                encoded = encode(batch, self.features, self.scaling, self.weighting)
            counts = counts.add(encoded, self.scaling)
            yield encoded.rows, counts


@contextmanager
def open_matrices(run: Run, scaling: Scaling, folder: Path) -> Iterator[Matrices]:
    """Give a run's dataset in scaled units, with a scratch copy in a folder that is gone when the block ends."""
    config, weighted = run.config, run.weighting is not None
    with open_scratch(
        folder, config, run.dataset, chunk_rows=run.chunk_rows, n_features=scaling.n_features, weighted=weighted
    ) as scratch:
        yield Matrices.of(run, config.features, scaling, scratch)
