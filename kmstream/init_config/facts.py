"""What footers and a few rows say of every column."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from kmstream.columns import is_numeric, to_float64
from kmstream.dataset import Dataset, Span, read_batches, read_footers
from kmstream.wording import shorten

SAMPLE_ROWS = 10_000  # of the first file, and of the last
_LONGEST_KIND = 24  # characters; a nested type can fill a page


@dataclass
class Facts:
    """What is known of a column.

    Attributes
    ----------
    rows, nulls : int
        By the footers of the files that have the column; nulls is None if they don't say.
    bounds : set of object
        Every smallest and largest value of a row group; None if the footers don't say.
    kinds : list of pyarrow.DataType
        One, or several where files differ.
    files : int
        That have the column.
    twice : bool
        Whether a file has several columns of that name; nothing else is known then.
    samples : list of pyarrow.ChunkedArray
        Of the first and the last file.
    """

    name: str
    rows: int = 0
    nulls: int | None = 0
    bounds: set[Any] | None = field(default_factory=set)
    kinds: list[pa.DataType] = field(default_factory=list)
    files: int = 0
    twice: bool = False
    samples: list[pa.ChunkedArray] = field(default_factory=list)

    @property
    def kind(self) -> str:
        """The types for people."""
        return shorten(", ".join(map(str, self.kinds)), _LONGEST_KIND)

    @property
    def is_numeric(self) -> bool:
        """Whether every file holds numbers, booleans or nothing in it."""
        return all(map(is_numeric, self.kinds))

    @property
    def is_text(self) -> bool:
        """Whether every file holds text in it."""
        return all(_value_type(kind) in {pa.string(), pa.large_string(), pa.string_view()} for kind in self.kinds)

    @property
    def is_integer(self) -> bool:
        """Whether every number that was seen is a whole one."""
        return bool((self.numbers == np.floor(self.numbers)).all())

    @cached_property
    def numbers_by_file(self) -> list[NDArray[np.float64]]:
        """Finite values of each sample, in the order of the file; for numeric columns only."""
        return [values[np.isfinite(values)] for values in map(to_float64, self.samples)]

    @cached_property
    def numbers(self) -> NDArray[np.float64]:
        """Finite values of all samples."""
        return np.concatenate([*self.numbers_by_file, np.empty(0)])

    @cached_property
    def n_distinct(self) -> int:
        """Different values in the samples, missing ones not counted."""
        return len({one for sample in self.samples for one in pc.unique(sample).to_pylist() if one is not None})

    @cached_property
    def most_frequent(self) -> float:
        """Share of the most frequent number among those that were read."""
        return float(np.unique(self.numbers, return_counts=True)[1].max() / len(self.numbers))

    @cached_property
    def missing(self) -> float:
        """Share of missing values: nulls by the footers if they know, NaN and infinities as in the samples."""
        n_sampled = max(sum(map(len, self.samples)), 1)
        sampled_nulls = sum(sample.null_count for sample in self.samples)
        share = sampled_nulls / n_sampled if self.nulls is None else self.nulls / max(self.rows, 1)
        if self.is_numeric:
            share += max(sum(map(len, self.samples)) - sampled_nulls - len(self.numbers), 0) / n_sampled
        return share

    @cached_property
    def low(self) -> float:
        """Smallest number: by the footers if they know, and in the samples."""
        return min([*self._bounding_numbers, float(self.numbers.min(initial=np.inf))])

    @cached_property
    def high(self) -> float:
        """Largest number: by the footers if they know, and in the samples."""
        return max([*self._bounding_numbers, float(self.numbers.max(initial=-np.inf))])

    @property
    def _bounding_numbers(self) -> list[float]:
        return [float(one) for one in self.bounds or () if isinstance(one, int | float | Decimal)]

    @cached_property
    def comes_again(self) -> float:
        """Share of the values of the last file that the first one has too, as far as they were read."""
        if self.files < 2:
            return 0.0
        first, last = ({one for one in pc.unique(self.samples[at]).to_pylist() if one is not None} for at in (0, -1))
        return len(first & last) / max(len(last), 1)

    @property
    def is_constant(self) -> bool:
        """Whether there is only one value, in the samples and by the footers."""
        return self.n_distinct == 1 and len(self.bounds or ()) <= 1


def gather_facts(dataset: Dataset) -> list[Facts]:
    """Read the footers, and up to 10,000 rows of the first and the last file, in the order of their columns."""
    facts: dict[str, Facts] = {}
    for _, metadata, schema in read_footers(dataset):
        for name in dict.fromkeys(schema.names):
            _add_schema(facts.setdefault(name, Facts(name)), schema, metadata.num_rows)
        for group in map(metadata.row_group, range(metadata.num_row_groups)):
            for column in map(group.column, range(group.num_columns)):
                if column.path_in_schema in facts:  # parts of nested columns have paths of their own
                    _add_statistics(facts[column.path_in_schema], column)
    for batch in _read_samples(dataset):
        for name in dict.fromkeys(batch.column_names):
            if name in facts and not facts[name].twice:
                facts[name].samples.append(batch.column(name))
    return list(facts.values())


def _add_schema(facts: Facts, schema: pa.Schema, rows: int) -> None:
    places = schema.get_all_field_indices(facts.name)
    facts.files += 1
    facts.rows += rows
    facts.twice |= len(places) > 1
    facts.kinds += [kind for kind in {schema.field(place).type for place in places} if kind not in facts.kinds]


def _add_statistics(facts: Facts, column: pq.ColumnChunkMetaData) -> None:
    known = column.statistics if column.is_stats_set else None
    if known is None or not known.has_null_count:
        facts.nulls = None
    elif facts.nulls is not None:
        facts.nulls += known.null_count
    if known is not None and known.has_min_max:
        if facts.bounds is not None:
            facts.bounds |= {known.min, known.max}
    elif known is None or known.null_count != column.num_values:
        facts.bounds = None


def _read_samples(dataset: Dataset) -> Iterable[pa.Table]:
    first, last = dataset.partitions[0], dataset.partitions[-1]
    for partition in {one.path: one for one in (first, last)}.values():
        if partition.rows:
            span = Span(partition, 0, min(SAMPLE_ROWS, partition.rows))
            yield from (batch for _, batch in read_batches(dataset, span, SAMPLE_ROWS, None))


def _value_type(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind
