"""What a dataset is made of: partitions, and the spans they are cut into."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import pyarrow as pa
from fsspec import AbstractFileSystem

from kmstream.config import FeaturesConfig
from kmstream.dataset.listing import SUFFIXES, is_hidden

SPAN_ROWS = 1 << 20


@dataclass(frozen=True)
class Partition:
    """One Parquet file.

    Attributes
    ----------
    path : str
        Below the dataset's root, with "/"; names the output file, and the partition in manifests and messages.
    uri : str
        Where the file is, for `Dataset.filesystem`; an absolute path on this machine's disks.
    fingerprint : str
        Changes when the file's size or modification time does.
    hive : mapping of str to str
        Values in the folder names (``month=04``), as the strings they are on disk.
    row_groups : tuple of int
        Rows of each row group.
    decoded_bytes : int
        Bytes of all columns decoded and uncompressed, estimated from the footer.
    feature_bytes : int
        Bytes of the feature columns as they lie in the file.
    group_bytes : int
        The same of one row group, at most.
    reader_bytes : int
        Memory of the page buffers while its feature columns are read.
    newest : float or None
        Seconds since 1970 of its newest row by `dataset.time`; None where the footer doesn't tell.
    key_type : pyarrow.DataType or None
        Of the column `dataset.key`.
    is_labelled : bool
        Whether it holds, or its folder names, a cluster column: some model has chosen its rows.
    """

    path: str
    uri: str
    rows: int
    bytes: int
    fingerprint: str
    hive: Mapping[str, str]
    row_groups: tuple[int, ...]
    decoded_bytes: int
    feature_bytes: int
    group_bytes: int = 0
    reader_bytes: int = 0
    newest: float | None = None
    key_type: pa.DataType | None = None
    is_labelled: bool = False

    @property
    def longest_group(self) -> int:
        """Rows of its longest row group."""
        return max(self.row_groups, default=0)

    @property
    def spans(self) -> list["Span"]:
        """Its rows, cut into spans."""
        return [Span(self, first, min(SPAN_ROWS, self.rows - first)) for first in range(0, self.rows, SPAN_ROWS)]


@dataclass(frozen=True)
class Span:
    """Up to `SPAN_ROWS` consecutive rows of one partition: the unit of work."""

    partition: Partition
    first_row: int
    rows: int


@dataclass(frozen=True)
class Dataset:
    """The Parquet files a run works on.

    Attributes
    ----------
    filesystem : fsspec.AbstractFileSystem or None
        Of the store that the files lie in; None for this machine's disks.
    partitions : tuple of Partition
        In the order of their paths.
    features : FeaturesConfig
        Every partition's schema has been checked against it.
    ignored : tuple of str
        Paths passed over: hidden, empty, or no Parquet by their names.
    source : str
        The dataset.path by which it was found.
    """

    filesystem: AbstractFileSystem | None
    partitions: tuple[Partition, ...]
    features: FeaturesConfig
    ignored: tuple[str, ...] = field(default=(), compare=False)
    source: str = ""

    @property
    def rows(self) -> int:
        """Rows of all partitions."""
        return sum(p.rows for p in self.partitions)

    @property
    def is_local(self) -> bool:
        """Whether the files lie on this machine's disks."""
        return self.filesystem is None

    @property
    def empty(self) -> tuple[str, ...]:
        """Paths of files that are named like Parquet files and hold no byte."""
        return tuple(path for path in self.ignored if path.endswith(SUFFIXES) and not is_hidden(path))

    @property
    def spans(self) -> list[Span]:
        """All rows, cut into spans, in dataset order."""
        return [span for partition in self.partitions for span in partition.spans]
