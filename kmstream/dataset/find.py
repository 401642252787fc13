"""Find Parquet files, read their footers, cut them into spans.

A `Dataset` is a list of `Partition` (one file each) in the order of their paths; nothing but footers is read to make
one. Rows are then read span by span, a span being at most `SPAN_ROWS` rows of one file, counted from its first row.
Span borders depend on row positions alone, never on row groups, memory or workers: a figure summed per span and merged
in order is the same to the bit for any layout of the same rows.
"""

import fnmatch
import os
import re
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path, PurePosixPath

import numpy as np
import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq
from fsspec.utils import glob_translate

from kmstream.config import Config, FeaturesConfig
from kmstream.dataset.read import first_line, make_fingerprint, open_parquet
from kmstream.dataset.schema import (
    CLUSTER_COLUMNS,
    check_schema,
    check_weight_columns,
    find_key_type,
    hive_values,
    widen_key_type,
)
from kmstream.errors import CorruptFileError, DatasetNotFoundError
from kmstream.weights import parse_time

SPAN_ROWS = 1 << 20
SUFFIXES = (".parquet", ".parq", ".pq")
_FOOTER_THREADS = 8
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
    ignored : tuple of str
        Paths passed over: hidden, empty, or no Parquet by their names.
    source : str
        The dataset.path by which it was found.
    """

    filesystem: pyarrow.fs.FileSystem
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
        return tuple(path for path in self.ignored if path.endswith(SUFFIXES) and not _is_hidden(path))

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
    filesystem, root, found, ignored = _list_files(config.dataset.path)
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
            else f"Expected names that end in {', '.join(SUFFIXES)}; hidden and empty files are passed over."
        )
        raise error

    def look(path: str) -> Partition:
        return _read_footer(filesystem, path, chosen[path], features, config)

    with ThreadPoolExecutor(_FOOTER_THREADS) as pool:
        partitions = tuple(pool.map(look, sorted(chosen)))
    common = pa.null()
    for partition in partitions:
        if partition.key_type is not None:
            common = widen_key_type(common, partition.key_type, config.dataset.key, partition.path)
    return Dataset(filesystem, root, partitions, features, tuple(ignored), config.dataset.path)


def split_glob(path: str) -> tuple[str, str | None]:
    """Split a dataset path into the folder that is there and the glob below it; None where there is no glob.

    `*` stays within a folder, `**` crosses them. What exists as it is written is no glob.

    Examples
    --------
    >>> split_glob("/data/year=*/part-?.parquet")
    ('/data', 'year=*/part-?.parquet')
    """
    magic = re.search(r"[*?\[]", path)
    if magic is None or ("://" not in path and Path(path).exists()):
        return path, None
    stem = path[: magic.start()].rpartition("/")[0]
    return stem, path[len(stem) :].lstrip("/")


def _list_files(path: str) -> tuple[pyarrow.fs.FileSystem, str, dict[str, pyarrow.fs.FileInfo], list[str]]:
    """Find the Parquet files of a file, folder, glob or URI, by their paths below the root."""
    stem, below = split_glob(path)
    try:
        filesystem, root = pyarrow.fs.FileSystem.from_uri(stem if "://" in stem else os.path.abspath(stem))  # noqa: PTH100
    except (pa.ArrowInvalid, OSError) as cause:
        msg = f"dataset.path {path} can't be opened: {first_line(cause)}"
        raise DatasetNotFoundError(msg) from cause
    info = filesystem.get_file_info(root)
    if info.type == pyarrow.fs.FileType.NotFound:
        error = DatasetNotFoundError(f"dataset.path does not exist: {path}")
        error.add_note("Relative paths are relative to the folder of kmstream.toml.")
        raise error
    if info.type == pyarrow.fs.FileType.File:
        return filesystem, str(PurePosixPath(root).parent), {PurePosixPath(root).name: info}, []
    found: dict[str, pyarrow.fs.FileInfo] = {}
    ignored: list[str] = []
    try:
        listed = filesystem.get_file_info(pyarrow.fs.FileSelector(root, recursive=True))
    except PermissionError as cause:
        raise _denied(path) from cause
    for info in listed:
        if info.type != pyarrow.fs.FileType.File:
            continue
        relative = info.path[len(root) :].lstrip("/")
        hidden = _is_hidden(relative)
        if below is None:
            right = relative.endswith(SUFFIXES)
        else:
            right = re.fullmatch(glob_translate(below), relative) is not None
        if hidden or not info.size or not right:
            ignored.append(relative)
        else:
            found[relative] = info
    return filesystem, root, found, ignored


def _denied(path: str) -> DatasetNotFoundError:
    error = DatasetNotFoundError(f"{path} can't be read: permission denied")
    error.add_note("Give the user who runs kmstream the permission to read it.")
    return error


def _is_hidden(path: str) -> bool:
    return any(part.startswith(("_", ".")) for part in PurePosixPath(path).parts)


def is_chosen(path: str, only: Sequence[str]) -> bool:
    """Whether a partition matches one of some globs, or lies in a folder that does; without globs, each does.

    Examples
    --------
    >>> is_chosen("month=04/a.parquet", ["month=0*"]), is_chosen("month=04/a.parquet", ["b*"])
    (True, False)
    """
    globs = [glob.rstrip("/") for glob in only]
    return not globs or any(fnmatch.fnmatchcase(path, g) or fnmatch.fnmatchcase(path, f"{g}/*") for g in globs)


def _read_footer(
    filesystem: pyarrow.fs.FileSystem,
    path: str,
    info: pyarrow.fs.FileInfo,
    features: FeaturesConfig,
    config: Config,
) -> Partition:
    try:
        with open_parquet(filesystem, info.path) as file:
            metadata, schema = file.metadata, file.schema_arrow
    except (pa.ArrowException, OSError) as cause:
        if isinstance(cause, PermissionError):
            raise _denied(info.path) from cause
        if isinstance(cause, OSError) and cause.errno is not None:
            raise
        error = CorruptFileError(f"{path} is not a readable Parquet file: {first_line(cause)}")
        error.add_note(f"in {info.path}")
        error.add_note("Write the file again, or move it out of dataset.path.")
        raise error from cause
    hive = hive_values(path, schema.names)
    time = config.dataset.time if config.model.half_life else ""
    check_schema(schema, hive, features, None if config.output.columns == "all" else config.output.columns, path)
    check_weight_columns(schema, hive, features.weight, time, path)
    names = set(features.columns)
    decoded = on_disk = 0
    largest: dict[str, int] = {}  # column chunk, uncompressed
    for group in range(metadata.num_row_groups):
        row_group = metadata.row_group(group)
        for column in map(row_group.column, range(row_group.num_columns)):
            decoded += max(column.total_uncompressed_size, int(column.num_values * _value_bytes(column)))
            if column.path_in_schema in names:
                on_disk += column.total_compressed_size
                largest[column.path_in_schema] = max(
                    largest.get(column.path_in_schema, 0), column.total_uncompressed_size
                )
    return Partition(
        path=path,
        uri=info.path,
        rows=metadata.num_rows,
        bytes=info.size,
        fingerprint=make_fingerprint(info),
        hive=hive,
        row_groups=tuple(metadata.row_group(g).num_rows for g in range(metadata.num_row_groups)),
        decoded_bytes=decoded,
        feature_bytes=on_disk,
        reader_bytes=sum(min(size, _PAGE_BYTES) for size in largest.values()) * _PAGES_HELD,
        newest=_find_newest(metadata, hive, time) if time else None,
        key_type=find_key_type(schema, config.dataset.key, path) if config.dataset.key else None,
        is_labelled=any(name in CLUSTER_COLUMNS for name in (*schema.names, *hive)),
    )


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
