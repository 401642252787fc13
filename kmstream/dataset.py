"""Find Parquet files, read their footers, cut them into spans, iterate over bounded batches.

A `Dataset` is a list of `Partition` (one file each) in the order of their paths; nothing but footers is read to make
one. Rows are then read span by span, a span being at most `SPAN_ROWS` rows of one file, counted from its first row.
Span borders depend on row positions alone, never on row groups, memory or workers: a figure summed per span and merged
in order is the same to the bit for any layout of the same rows.
"""

import fnmatch
import os
import re
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq
from fsspec.utils import glob_translate

from kmstream.config import Config, FeaturesConfig
from kmstream.errors import CorruptFileError, DatasetNotFoundError, InvalidFeatureError, SchemaMismatchError
from kmstream.features import is_categorical, is_numeric

SPAN_ROWS = 1 << 20
SUFFIXES = (".parquet", ".parq", ".pq")
_HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"
_READ_BUFFER_BYTES = 1 << 16  # per column: column chunks are streamed, never held whole
_FOOTER_THREADS = 8


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
        Bytes of all columns decoded and uncompressed, as the footer has them.
    feature_bytes : int
        Bytes of the feature columns as they lie in the file.
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
    """

    filesystem: pyarrow.fs.FileSystem
    root: str
    partitions: tuple[Partition, ...]
    features: FeaturesConfig
    ignored: tuple[str, ...] = field(default=(), compare=False)

    @property
    def rows(self) -> int:
        """Rows of all partitions."""
        return sum(p.rows for p in self.partitions)

    @property
    def spans(self) -> list[Span]:
        """All rows, cut into spans, in dataset order."""
        return [
            Span(p, first, min(SPAN_ROWS, p.rows - first))
            for p in self.partitions
            for first in range(0, p.rows, SPAN_ROWS)
        ]


def open_dataset(config: Config, only: Sequence[str] = (), features: FeaturesConfig | None = None) -> Dataset:
    """Find the partitions, read their footers, and check every schema.

    Parameters
    ----------
    config : Config
    only : sequence of str
        Globs; a partition stays if its path below the dataset matches one, or lies in a folder that does.
    features : FeaturesConfig, optional
        The columns that must be there; those of the config by default.

    Raises
    ------
    DatasetNotFoundError
        If the path does not exist, holds no Parquet file, or none that `only` matches.
    CorruptFileError
        If a footer can't be read.
    SchemaMismatchError
        If a feature column is missing or of the wrong type in any file.
    """
    features = config.features if features is None else features
    filesystem, root, found, ignored = _list_files(config.dataset.path)
    chosen = {path: info for path, info in found.items() if not only or any(_matches(path, glob) for glob in only)}
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
        return _read_footer(filesystem, path, chosen[path], features)

    with ThreadPoolExecutor(_FOOTER_THREADS) as pool:
        partitions = tuple(pool.map(look, sorted(chosen)))
    return Dataset(filesystem, root, partitions, features, tuple(ignored))


def read_batches(
    dataset: Dataset, span: Span, chunk_rows: int, columns: Sequence[str] | None = None
) -> Iterator[tuple[int, pa.Table]]:
    """Read the rows of a span in order, in batches of exactly `chunk_rows` (the last one holds the rest).

    Parameters
    ----------
    columns : sequence of str, optional
        Columns to read; by default all of the file. Hive values that are asked for, or are features, follow them.

    Yields
    ------
    first_row : int
        Position of the batch's first row in the partition.
    batch : pyarrow.Table

    Raises
    ------
    CorruptFileError
        If the file can't be read to its end.
    """
    partition = span.partition
    in_file = None if columns is None else [name for name in columns if name not in partition.hive]
    first = span.first_row
    try:
        with open_parquet(dataset.filesystem, partition.uri) as file:
            for rows in _cut(_read_row_groups(file, span, in_file, chunk_rows), chunk_rows):
                yield first, _add_hive_columns(rows, partition, columns, dataset.features)
                first += rows.num_rows
    except (pa.ArrowException, OSError) as cause:
        if isinstance(cause, OSError) and cause.errno is not None:  # the storage failed, not the file
            raise
        error = CorruptFileError(f"{partition.path} can't be read: {_first_line(cause)}")
        error.add_note(f"in {partition.uri}, rows {first}-{min(first + chunk_rows, span.first_row + span.rows) - 1}")
        error.add_note("Write the file again, or move it out of dataset.path; nothing was published.")
        raise error from cause
    if first != span.first_row + span.rows:
        error = CorruptFileError(f"{partition.path} holds fewer rows than its footer says")
        error.add_note(f"expected {span.first_row + span.rows}, got {first}; did the file change during the run?")
        raise error


@contextmanager
def locate(partition: Partition, first_row: int, n_rows: int) -> Iterator[None]:
    """Say where a batch lies when its values can't be used."""
    try:
        yield
    except InvalidFeatureError as error:
        first = "" if error.first_row is None else f"; first such row {first_row + error.first_row}"
        error.add_note(f"in {partition.path}, rows {first_row}-{first_row + n_rows - 1}{first}")
        error.add_note("Set features.on_missing to skip, mean or median, or clean the column.")
        raise


def _read_row_groups(
    file: pq.ParquetFile, span: Span, columns: Sequence[str] | None, chunk_rows: int
) -> Iterator[pa.RecordBatch]:
    """Read exactly the span's rows, from the row groups that overlap it."""
    begin, end = span.first_row, span.first_row + span.rows
    wanted: list[int] = []
    skip, row = 0, 0
    for group, n_rows in enumerate(span.partition.row_groups):
        if row < end and row + n_rows > begin:
            if not wanted:
                skip = begin - row
            wanted.append(group)
        row += n_rows
    left = span.rows
    # A column whose name has dots would be taken for a nested path, so the names asked for are checked in the result.
    for batch in file.iter_batches(chunk_rows, row_groups=wanted, columns=columns, use_threads=False):
        if skip >= batch.num_rows:
            skip -= batch.num_rows
            continue
        rows = batch.slice(skip, left)
        skip = 0
        left -= rows.num_rows
        if rows.num_rows:
            yield rows if columns is None else rows.select(list(columns))
        if left == 0:
            return


def _cut(batches: Iterator[pa.RecordBatch], chunk_rows: int) -> Iterator[pa.Table]:
    """Re-slice a stream to exactly `chunk_rows` rows, without copying."""
    held: list[pa.RecordBatch] = []
    n_held = 0
    for batch in batches:
        rest = batch
        while n_held + rest.num_rows >= chunk_rows:
            take = chunk_rows - n_held
            yield pa.Table.from_batches([*held, rest.slice(0, take)])
            held, n_held, rest = [], 0, rest.slice(take)
        if rest.num_rows:
            held.append(rest)
            n_held += rest.num_rows
    if held:
        yield pa.Table.from_batches(held)


def _add_hive_columns(
    rows: pa.Table, partition: Partition, columns: Sequence[str] | None, features: FeaturesConfig
) -> pa.Table:
    for name in features.columns if columns is None else columns:
        if name in partition.hive:
            text = partition.hive[name]
            value: Any = None if text == _HIVE_NULL else float(text) if name in features.numeric else text
            kind = pa.float64() if name in features.numeric else pa.string()
            rows = rows.append_column(name, pa.repeat(pa.scalar(value, kind), rows.num_rows))
    return rows


def _list_files(path: str) -> tuple[pyarrow.fs.FileSystem, str, dict[str, pyarrow.fs.FileInfo], list[str]]:
    """Find the Parquet files of a file, folder, glob or URI, by their paths below the root."""
    magic = re.search(r"[*?\[]", path)
    stem = path[: magic.start()].rpartition("/")[0] if magic else path
    try:
        filesystem, root = pyarrow.fs.FileSystem.from_uri(stem if "://" in stem else os.path.abspath(stem))  # noqa: PTH100
    except (pa.ArrowInvalid, OSError) as cause:
        msg = f"dataset.path {path} can't be opened: {_first_line(cause)}"
        raise DatasetNotFoundError(msg) from cause
    info = filesystem.get_file_info(root)
    if info.type == pyarrow.fs.FileType.NotFound:
        error = DatasetNotFoundError(f"dataset.path does not exist: {path}")
        error.add_note("Relative paths are relative to the folder of kmstream.toml.")
        raise error
    if info.type == pyarrow.fs.FileType.File:
        return filesystem, str(PurePosixPath(root).parent), {PurePosixPath(root).name: info}, []
    below = path[len(stem) :].lstrip("/") if magic else None  # `*` stays within a folder, `**` crosses them
    found: dict[str, pyarrow.fs.FileInfo] = {}
    ignored: list[str] = []
    for info in filesystem.get_file_info(pyarrow.fs.FileSelector(root, recursive=True)):
        if info.type != pyarrow.fs.FileType.File:
            continue
        relative = info.path[len(root) :].lstrip("/")
        hidden = any(part.startswith(("_", ".")) for part in PurePosixPath(relative).parts)
        if below is None:
            right = relative.endswith(SUFFIXES)
        else:
            right = re.fullmatch(glob_translate(below), relative) is not None
        if hidden or not info.size or not right:
            ignored.append(relative)
        else:
            found[relative] = info
    return filesystem, root, found, ignored


def _matches(path: str, glob: str) -> bool:
    glob = glob.rstrip("/")
    return fnmatch.fnmatchcase(path, glob) or fnmatch.fnmatchcase(path, f"{glob}/*")


def _read_footer(
    filesystem: pyarrow.fs.FileSystem, path: str, info: pyarrow.fs.FileInfo, features: FeaturesConfig
) -> Partition:
    try:
        with open_parquet(filesystem, info.path) as file:
            metadata, schema = file.metadata, file.schema_arrow
    except (pa.ArrowException, OSError) as cause:
        if isinstance(cause, OSError) and cause.errno is not None:
            raise
        error = CorruptFileError(f"{path} is not a readable Parquet file: {_first_line(cause)}")
        error.add_note(f"in {info.path}")
        error.add_note("Write the file again, or move it out of dataset.path.")
        raise error from cause
    hive = hive_values(path, schema.names)
    check_schema(schema, hive, features, path)
    names = set(features.columns)
    decoded = on_disk = 0
    for group in range(metadata.num_row_groups):
        row_group = metadata.row_group(group)
        decoded += row_group.total_byte_size
        for column in map(row_group.column, range(row_group.num_columns)):
            if column.path_in_schema in names:
                on_disk += column.total_compressed_size
    return Partition(
        path=path,
        uri=info.path,
        rows=metadata.num_rows,
        bytes=info.size,
        fingerprint=f"{info.size}-{info.mtime_ns}",
        hive=hive,
        row_groups=tuple(metadata.row_group(g).num_rows for g in range(metadata.num_row_groups)),
        decoded_bytes=decoded,
        feature_bytes=on_disk,
    )


def hive_values(path: str, column_names: Sequence[str] = ()) -> dict[str, str]:
    """Read the values in folder names; a column of the file itself goes before a folder of the same name.

    Examples
    --------
    >>> hive_values("year=2013/month=04/part-0.parquet")
    {'year': '2013', 'month': '04'}
    """
    pairs = (part.partition("=") for part in PurePosixPath(path).parts[:-1] if "=" in part)
    return {key: urllib.parse.unquote(value) for key, _, value in pairs if key and key not in column_names}


def check_schema(schema: pa.Schema, hive: Mapping[str, str], features: FeaturesConfig, path: str) -> None:
    """Refuse a file that lacks a feature column or holds it in a type that can't be used.

    Raises
    ------
    SchemaMismatchError
        Names the column, its type and the file.
    """
    for name in features.columns:
        numeric = name in features.numeric
        if name in hive:
            if numeric and hive[name] != _HIVE_NULL and not _is_number(hive[name]):
                raise _mismatch(f"feature {name!r} is {hive[name]!r} in the folder name; expected a number", path)
            continue
        places = schema.get_all_field_indices(name)
        if not places:
            raise _mismatch(
                f"feature column {name!r} is missing; the file has {', '.join(map(repr, schema.names[:12]))}"
                + (" …" if len(schema.names) > 12 else ""),
                path,
            )
        if len(places) > 1:
            raise _mismatch(f"feature column {name!r} is there {len(places)} times; expected once", path)
        kind = schema.field(places[0]).type
        if not (is_numeric(kind) if numeric else is_categorical(kind)):
            cure = "list it under features.categorical" if numeric and is_categorical(kind) else "convert it"
            expected = "numbers" if numeric else "text, integers or booleans"
            raise _mismatch(
                f"feature column {name!r} has type {kind}; expected {expected}", path, f"Leave it out, or {cure}."
            )


def _mismatch(
    text: str, path: str, cure: str = "Mend the file or move it out of dataset.path, or change [features]."
) -> SchemaMismatchError:
    error = SchemaMismatchError(text)
    error.add_note(f"in {path}")
    error.add_note(cure)
    return error


@contextmanager
def open_parquet(filesystem: pyarrow.fs.FileSystem, uri: str) -> Iterator[pq.ParquetFile]:
    """Open a Parquet file so that column chunks are streamed, not held."""
    with (
        filesystem.open_input_file(uri) as source,
        pq.ParquetFile(source, pre_buffer=False, buffer_size=_READ_BUFFER_BYTES) as file,
    ):
        yield file


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _first_line(cause: BaseException) -> str:
    return str(cause).strip().partition("\n")[0] or type(cause).__name__
