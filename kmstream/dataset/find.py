"""Find Parquet files, read their footers, cut them into spans.

A `Dataset` is a list of `Partition` (one file each) in the order of their paths; nothing but footers is read to make
one. Rows are then read span by span, a span being at most `SPAN_ROWS` rows of one file, counted from its first row.
Span borders depend on row positions alone, never on row groups, memory or workers: a figure summed per span and merged
in order is the same to the bit for any layout of the same rows.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq

from kmstream.config import Config, FeaturesConfig
from kmstream.dataset.listing import SUFFIXES, File, is_chosen, is_hidden, list_files, make_denied, split_glob
from kmstream.dataset.read import MOST_AHEAD_BYTES, STORE_BUFFER_BYTES, first_line, open_parquet
from kmstream.dataset.schema import (
    CLUSTER_COLUMNS,
    check_schema,
    check_weight_columns,
    find_key_type,
    hive_values,
    widen_key_type,
)
from kmstream.engine import MAX_TASKS, map_in_order, uses_cluster
from kmstream.errors import CorruptFileError, DatasetNotFoundError, StorageError
from kmstream.storage import RangedFile, explain_storage_errors
from kmstream.weights import parse_time

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

SPAN_ROWS = 1 << 20
_FOOTER_THREADS, _STORE_THREADS = 8, 32  # a store answers later, and many at once
_MANY_FILES = 256  # a task of a cluster reads the footers of so many, at least
_PAGE_BYTES, _PAGES_HELD = (
    1 << 20,
    3,
)  # per column: a page, the same compressed, a dictionary; writers end a page at 1 MiB


@dataclass(frozen=True)
class Partition:
    """One Parquet file.

    Attributes
    ----------
    path : str
        Below the dataset's root, with "/"; names the output file, and the partition in manifests and messages.
    uri : str
        Where the file is, for `Dataset.filesystem`.
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
    features : FeaturesConfig
        Every partition's schema has been checked against it.
    filesystem : pyarrow.fs.LocalFileSystem or fsspec.AbstractFileSystem
        The second where the files don't lie on this machine's disks.
    ignored : tuple of str
        Paths passed over: hidden, empty, or no Parquet by their names.
    source : str
        The dataset.path by which it was found.
    """

    filesystem: "pyarrow.fs.FileSystem | AbstractFileSystem"
    root: str
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
        return isinstance(self.filesystem, pyarrow.fs.LocalFileSystem)

    @property
    def empty(self) -> tuple[str, ...]:
        """Paths of files that are named like Parquet files and hold no byte."""
        return tuple(path for path in self.ignored if path.endswith(SUFFIXES) and not is_hidden(path))

    @property
    def spans(self) -> list[Span]:
        """All rows, cut into spans, in dataset order."""
        return [span for partition in self.partitions for span in partition.spans]


def open_dataset(
    config: Config,
    only: Sequence[str] = (),
    features: FeaturesConfig | None = None,
    paths: Collection[str] | None = None,
) -> Dataset:
    """Find the partitions, read their footers, and check every schema.

    Parameters
    ----------
    config : Config
    only : sequence of str
        Globs; a partition stays if its path below the dataset matches one, or lies in a folder that does.
    features : FeaturesConfig, optional
        The columns that must be there; those of the config by default.
    paths : collection of str, optional
        Take these partitions and no others.

    Raises
    ------
    DatasetNotFoundError
        If the path does not exist, holds no Parquet file, or none that `only` matches.
    CorruptFileError
        If a footer can't be read.
    SchemaMismatchError
        If a feature column is missing or of the wrong type in any file, or a file can't take the cluster columns.
    """
    features = config.features if features is None else features
    filesystem, root, found, ignored = list_files(config.dataset.path)
    chosen = {path: info for path, info in found.items() if (paths is None or path in paths) and is_chosen(path, only)}
    if not chosen:
        error = DatasetNotFoundError(
            f"none of the {len(found)} Parquet files matches --only {' '.join(only)}"
            if found
            else f"no Parquet files in {config.dataset.path} ({len(ignored)} other files there)"
        )
        error.add_note(
            f"The paths below dataset.path look like {', '.join(sorted(found)[:3])}."
            if found
            else "The pattern matches none of them; `*` stays within a folder, `**` does not."
            if split_glob(config.dataset.path)[1]
            else f"Expected names that end in {', '.join(SUFFIXES)}; hidden and empty files are passed over."
        )
        raise error

    partitions = tuple(_read_footers(filesystem, [(path, chosen[path]) for path in sorted(chosen)], features, config))
    common = pa.null()
    for partition in partitions:
        if partition.key_type is not None:
            common = widen_key_type(common, partition.key_type, config.dataset.key, partition.path)
    return Dataset(filesystem, root, partitions, features, tuple(ignored), config.dataset.path)


def _read_footers(
    filesystem: "pyarrow.fs.FileSystem | AbstractFileSystem",
    files: Sequence[tuple[str, File]],
    features: FeaturesConfig,
    config: Config,
) -> Iterator[Partition]:
    """Read the footers of files: by threads that mostly wait; of very many files by the workers of a cluster."""
    read = partial(_read_footer, filesystem, features, config)
    if len(files) > _MANY_FILES and uses_cluster(config.engine):
        size = max(_MANY_FILES, -(-len(files) // MAX_TASKS))
        groups = [files[first : first + size] for first in range(0, len(files), size)]
        yield from chain.from_iterable(map_in_order(partial(_read_group, read), groups, config.engine))
    else:
        is_here = isinstance(filesystem, pyarrow.fs.FileSystem)
        with ThreadPoolExecutor(_FOOTER_THREADS if is_here else _STORE_THREADS) as pool:
            yield from pool.map(read, files)


def _read_group(read: Callable[[tuple[str, File]], Partition], files: Sequence[tuple[str, File]]) -> list[Partition]:
    with ThreadPoolExecutor(_FOOTER_THREADS) as pool:
        return list(pool.map(read, files))


def _read_footer(
    filesystem: "pyarrow.fs.FileSystem | AbstractFileSystem",
    features: FeaturesConfig,
    config: Config,
    file: tuple[str, File],
) -> Partition:
    path, found = file
    try:
        with _open_footer(filesystem, found) as parquet:
            metadata, schema = parquet.metadata, parquet.schema_arrow
    except StorageError:
        raise
    except (pa.ArrowException, OSError) as cause:
        if isinstance(cause, PermissionError):
            raise make_denied(found.uri) from cause
        if isinstance(cause, OSError) and cause.errno is not None:
            raise
        error = CorruptFileError(f"{path} is not a readable Parquet file: {first_line(cause)}")
        error.add_note(f"in {found.uri}")
        error.add_note("Write the file again, or move it out of dataset.path.")
        raise error from cause
    hive = hive_values(path, schema.names)
    time = config.dataset.time if config.model.half_life else ""
    check_schema(schema, hive, features, None if config.output.columns == "all" else config.output.columns, path)
    check_weight_columns(schema, hive, features.weight, time, path)
    names = {*features.columns, features.weight, *time.split("/")}  # what passes read
    decoded = on_disk = longest = 0
    largest: dict[str, int] = {}  # column chunk, uncompressed
    for group in range(metadata.num_row_groups):
        row_group = metadata.row_group(group)
        before = on_disk
        for column in map(row_group.column, range(row_group.num_columns)):
            decoded += max(column.total_uncompressed_size, int(column.num_values * _value_bytes(column)))
            if column.path_in_schema in names:
                on_disk += column.total_compressed_size
                largest[column.path_in_schema] = max(
                    largest.get(column.path_in_schema, 0), column.total_uncompressed_size
                )
        longest = max(longest, on_disk - before)
    fetched = 0  # what is held of the file itself, besides its pages
    if not isinstance(filesystem, pyarrow.fs.FileSystem):
        fetched = longest if longest <= MOST_AHEAD_BYTES else STORE_BUFFER_BYTES * len(largest)
    return Partition(
        path=path,
        uri=found.uri,
        rows=metadata.num_rows,
        bytes=found.size,
        fingerprint=found.fingerprint,
        hive=hive,
        row_groups=tuple(metadata.row_group(g).num_rows for g in range(metadata.num_row_groups)),
        decoded_bytes=decoded,
        feature_bytes=on_disk,
        group_bytes=longest,
        reader_bytes=sum(min(size, _PAGE_BYTES) for size in largest.values()) * _PAGES_HELD + fetched,
        newest=_find_newest(metadata, hive, time) if time else None,
        key_type=find_key_type(schema, config.dataset.key, path) if config.dataset.key else None,
        is_labelled=any(name in CLUSTER_COLUMNS for name in (*schema.names, *hive)),
    )


@contextmanager
def _open_footer(filesystem: "pyarrow.fs.FileSystem | AbstractFileSystem", found: File) -> Iterator[pq.ParquetFile]:
    if isinstance(filesystem, pyarrow.fs.FileSystem):
        with open_parquet(Path(found.uri)) as file:
            yield file
    else:
        with explain_storage_errors(found.uri), pq.ParquetFile(RangedFile(filesystem, found.uri, found.size)) as file:
            yield file


def _find_newest(metadata: pq.FileMetaData, hive: Mapping[str, str], time: str) -> float | None:
    """Find the newest time of a file without reading its rows, from its folder's name or its footer."""
    names = time.split("/")
    if all(name in hive for name in names):
        return parse_time("-".join(hive[name] for name in names))
    if len(names) > 1:
        return None
    newest = -np.inf
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        for column in (group.column(i) for i in range(group.num_columns)):
            if column.path_in_schema != time or not group.num_rows:
                continue
            try:
                latest = column.statistics.max if column.is_stats_set and column.statistics.has_min_max else None
            except (OverflowError, ValueError):  # a time that no calendar has
                return None
            if not isinstance(latest, date):  # what comes last as text need not be the latest
                return None
            newest = max(newest, parse_time(latest))
    return float(newest)


def _value_bytes(column: pq.ColumnChunkMetaData) -> float:
    """Estimate what a value takes decoded; a dictionary makes repeated text look far smaller than it is."""
    widths = {"BOOLEAN": 1.0, "INT32": 4.0, "FLOAT": 4.0, "INT64": 8.0, "DOUBLE": 8.0, "INT96": 8.0}
    if column.physical_type != "BYTE_ARRAY":
        return widths.get(column.physical_type, 0.0)
    statistics = column.statistics
    if statistics is None or not statistics.has_min_max:
        return 16.0
    return 4.0 + (len(statistics.min_raw) + len(statistics.max_raw)) / 2
