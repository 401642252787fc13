"""Rows of a partition, in order, in batches of an exact size, in little memory."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain

import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq
from fsspec import AbstractFileSystem

from kmstream.dataset.listing import make_fingerprint
from kmstream.dataset.partitions import Dataset, Partition, Span
from kmstream.dataset.schema import HIVE_NULL
from kmstream.errors import CorruptFileError, InvalidFeatureError, StorageError
from kmstream.storage import Place, RangedFile, explain_storage_errors, is_local

_READ_BUFFER_BYTES = 1 << 16  # per column: column chunks are streamed, never held whole
STORE_BUFFER_BYTES = 1 << 22  # the same from a store, where a request costs as much as a megabyte
MOST_AHEAD_BYTES = 1 << 26  # of a row group's features; more are streamed


def read_batches(
    dataset: Dataset,
    span: Span,
    chunk_rows: int,
    columns: Sequence[str] | None = None,
    *,
    whole: bool = False,
    ahead: bool = True,
) -> Iterator[tuple[int, pa.Table]]:
    """Read the rows of a span in order, in batches of exactly `chunk_rows` (the last one holds the rest).

    Parameters
    ----------
    columns : sequence of str, optional
        Columns that are needed, the dataset's features by default. Those in the folder names follow the others, as the
        strings they are on disk.
    whole : bool
        Whether to read all columns of the file, first and in the order of the file; so it is if none are named.
    ahead : bool
        Whether the columns are as small as features are, so that those of a row group may be fetched from a store at
        once.

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
    needed = dataset.features.columns if columns is None else columns
    in_file = None if whole or columns is None else [name for name in columns if name not in partition.hive]
    first, end = span.first_row, span.first_row + span.rows
    try:
        with open_partition(dataset, partition, ahead=ahead and in_file is not None) as file:
            for rows in _cut(_read_row_groups(file, span, in_file, chunk_rows), chunk_rows):
                yield first, _add_hive_columns(rows, partition, needed)
                first += rows.num_rows
    except StorageError:
        raise
    except (pa.ArrowException, OSError) as cause:
        check_unchanged(dataset, partition)
        if isinstance(cause, OSError) and cause.errno is not None:  # the storage failed, not the file
            raise
        where = f"in {partition.uri}, rows {first}-{min(first + chunk_rows, end) - 1}"
        raise _make_corrupt(f"{partition.path} can't be read: {first_line(cause)}", where) from cause
    if first != end:
        check_unchanged(dataset, partition)
        raise _make_corrupt(f"{partition.path} holds fewer rows than its footer says", f"expected {end}, got {first}")


def _make_corrupt(text: str, where: str) -> CorruptFileError:
    error = CorruptFileError(text)
    error.add_note(where)
    error.add_note("Write the file again, or move it out of dataset.path; nothing was published.")
    return error


def check_unchanged(dataset: Dataset, partition: Partition) -> None:
    """Refuse a file that is not the one that was found when the run began: its rows would be mixed with others.

    Raises
    ------
    CorruptFileError
    """
    now = _find_fingerprint(dataset, partition) or "no such file"
    if now != partition.fingerprint:
        error = CorruptFileError(
            f"{partition.path} has changed since the run began: size and time were {partition.fingerprint}, now {now}"
        )
        error.add_note(f"in {partition.uri}")
        error.add_note("Let whoever writes it finish, then run again; nothing was published.")
        raise error


def _find_fingerprint(dataset: Dataset, partition: Partition) -> str | None:
    if dataset.filesystem is None:
        info = pyarrow.fs.LocalFileSystem().get_file_info(partition.uri)
        return make_fingerprint(info) if info.type == pyarrow.fs.FileType.File else None
    with explain_storage_errors(partition.path):
        try:
            return make_fingerprint(dataset.filesystem.info(partition.uri))
        except FileNotFoundError:
            return None


@contextmanager
def locate(partition: Partition, first_row: int, n_rows: int) -> Iterator[None]:
    """Say where a batch lies when its values can't be used."""
    try:
        yield
    except InvalidFeatureError as error:
        first = "" if error.first_row is None else f"; first such row {first_row + error.first_row}"
        error.add_note(f"in {partition.path}, rows {first_row}-{first_row + n_rows - 1}{first}")
        error.add_note(error.cure)
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
    # One after the other: what is fetched ahead from a store is the columns of one row group.
    for batch in chain.from_iterable(
        file.iter_batches(chunk_rows, row_groups=[group], columns=columns, use_threads=False) for group in wanted
    ):
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


def _add_hive_columns(rows: pa.Table, partition: Partition, columns: Sequence[str]) -> pa.Table:
    for name in columns:
        if name in partition.hive:
            text = None if partition.hive[name] == HIVE_NULL else partition.hive[name]
            rows = rows.append_column(name, pa.repeat(pa.scalar(text, pa.string()), rows.num_rows))
    return rows


@contextmanager
def open_partition(dataset: Dataset, partition: Partition, *, ahead: bool = False) -> Iterator[pq.ParquetFile]:
    """Open a file of a dataset so that column chunks are streamed, not held.

    With `ahead` the columns of a row group are fetched from a store by few requests, unless they are too large for it.
    """
    ahead = ahead and partition.group_bytes <= MOST_AHEAD_BYTES
    with (
        explain_storage_errors(partition.path),
        open_file(dataset.filesystem, partition.uri, partition.bytes, ahead=ahead) as file,
    ):
        yield file


@contextmanager
def open_parquet(place: Place) -> Iterator[pq.ParquetFile]:
    """Open any Parquet file, likewise."""
    if is_local(place):
        with open_file(None, str(place), 0) as file:
            yield file
        return
    with explain_storage_errors(place), open_file(place.fs, place.path, place.fs.size(place.path)) as file:
        yield file


@contextmanager
def open_file(
    filesystem: AbstractFileSystem | None, uri: str, n_bytes: int, *, ahead: bool = False
) -> Iterator[pq.ParquetFile]:
    """Open a Parquet file of a store, whose size is known, or of this machine's disks."""
    if filesystem is None:
        with (
            pyarrow.fs.LocalFileSystem().open_input_file(uri) as local,
            pq.ParquetFile(local, pre_buffer=False, buffer_size=_READ_BUFFER_BYTES) as file,
        ):
            yield file
        return
    source = RangedFile(filesystem, uri, n_bytes)
    with pq.ParquetFile(source, pre_buffer=ahead, buffer_size=0 if ahead else STORE_BUFFER_BYTES) as file:
        yield file


def first_line(cause: BaseException) -> str:
    """Give what a library said, without its stack of C++ contexts."""
    return str(cause).strip().partition("\n")[0] or type(cause).__name__
