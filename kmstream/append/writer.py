"""Columns appended to a Parquet file: first its data as they are, then the new column chunks, then the footer."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from kmstream.append import thrift
from kmstream.append.copying import copy_bytes, start_flushing, write_bytes
from kmstream.append.encode import EncodedGroup, describe_columns, encode_row_group
from kmstream.append.fields import COLUMN_INDEX, OFFSET_INDEX
from kmstream.append.footer import MAGIC, Footer, sign
from kmstream.append.merge import NewChunks, extend_footer
from kmstream.append.thrift import I32, I64, Struct
from kmstream.errors import CorruptFileError

MAX_FOOTER_BYTES = 2**31 - 1  # readers take the length for a signed number


class ColumnAppender:
    """Takes the new columns of a file, in order of its rows; make one with `append_columns`."""

    def __init__(self, footer: Footer, output: int, schema: pa.Schema) -> None:
        self._footer, self._output, self._schema = footer, output, schema
        self._position = footer.start
        self._groups: list[EncodedGroup] = []
        self._waiting = [schema.empty_table()]
        self._waiting_rows = 0

    def write(self, table: pa.Table | pa.RecordBatch) -> None:
        """Append the next rows, any number of them; they are encoded when their row group is complete.

        Parameters
        ----------
        table : pyarrow.Table or pyarrow.RecordBatch
            With the schema of the new columns. What waits in memory is one row group of them and this table; while it
            is encoded, once more as much.

        Raises
        ------
        ValueError
            If the schema is another one, or there are more rows than in the file.
        OSError
        """
        table = pa.Table.from_batches([table]) if isinstance(table, pa.RecordBatch) else table
        if not table.schema.equals(self._schema):
            raise ValueError(f"new columns {table.schema.names} do not have the schema announced: {self._schema.names}")
        self._waiting.append(table)
        self._waiting_rows += table.num_rows
        self._encode_complete()
        if self._waiting_rows and len(self._groups) == len(self._footer.rows):
            raise ValueError(f"{self._waiting_rows} rows more than the {sum(self._footer.rows)} of {self._footer.path}")

    def finish(self, metadata: Mapping[str, str]) -> None:
        """Write page indexes and footer, which completes the file.

        Raises
        ------
        ValueError
            If rows are missing.
        OSError
        """
        self._encode_complete()
        if len(self._groups) < len(self._footer.rows):
            done = sum(self._footer.rows[: len(self._groups)]) + self._waiting_rows
            raise ValueError(f"{done} rows for {self._footer.path}; expected {sum(self._footer.rows)}")
        chunks = self._write_page_indexes()
        groups = [
            NewChunks(tuple(map(thrift.write_struct, of_group)), group.uncompressed_bytes, group.compressed_bytes)
            for of_group, group in zip(chunks, self._groups, strict=True)
        ]
        raw = extend_footer(self._footer, describe_columns(self._schema), groups, metadata)
        if len(raw) > MAX_FOOTER_BYTES:
            raise ValueError(f"the footer of {self._footer.path} grows to {len(raw)} bytes; at most {MAX_FOOTER_BYTES}")
        write_bytes(self._output, raw + len(raw).to_bytes(4, "little") + MAGIC)

    def _encode_complete(self) -> None:
        """Encode and write each row group whose rows are all there."""
        rows = self._footer.rows
        while len(self._groups) < len(rows) and self._waiting_rows >= (size := rows[len(self._groups)]):
            waiting = pa.concat_tables(self._waiting)
            self._waiting, self._waiting_rows = [waiting.slice(size)], self._waiting_rows - size
            group = encode_row_group(waiting.slice(0, size), page_index=self._footer.has_page_index)
            write_bytes(self._output, group.pages)
            self._groups.append(group.shift(self._position - len(MAGIC), ordered=self._footer.has_column_orders))
            self._position += group.pages.size

    def _write_page_indexes(self) -> list[list[Struct]]:
        """Write the page indexes of the new columns, and give their ColumnChunks with the places of these."""
        placed = [list(group.chunks) for group in self._groups]
        for (offset, length), field in ((COLUMN_INDEX, "column_indexes"), (OFFSET_INDEX, "offset_indexes")):
            for group, chunks in zip(self._groups, placed, strict=True):
                for number, index in enumerate(getattr(group, field)):
                    if index:
                        write_bytes(self._output, index)
                        chunk = thrift.replace_field(chunks[number], offset, I64, thrift.encode_int(self._position))
                        chunks[number] = thrift.replace_field(chunk, length, I32, thrift.encode_int(len(index)))
                        self._position += len(index)
        return placed


@contextmanager
def append_columns(
    footer: Footer, target: Path, schema: pa.Schema, metadata: Mapping[str, str]
) -> Iterator[ColumnAppender]:
    """Make a copy of a Parquet file with further columns; it is complete when the block ends without an error.

    The file's bytes before its footer are copied as they are, first. What is in the footer stays, but for the sums of
    sizes, the Arrow schema and the keys of `metadata`.

    Parameters
    ----------
    footer : Footer
        Of the source, which must not change meanwhile; `Footer.why_not_appendable` has given None.
    target : pathlib.Path
        Is created, or replaced. After an error it is the caller's to remove; fsync is the caller's too.
    schema : pyarrow.Schema
        The new columns.
    metadata : mapping of str to str
        Added to the key-value metadata.

    Raises
    ------
    CorruptFileError
        If the source is not what the footer was read from, or can't be read.
    ValueError
        If the rows written are not as many as in the source, or the target is the source.
    OSError
        If the target can't be written.
    """
    with _open_source(footer) as source, _open_target(target, source) as output:
        copy_bytes(source, output, footer.start)
        start_flushing(output)
        appender = ColumnAppender(footer, output, schema)
        yield appender
        appender.finish(metadata)


@contextmanager
def write_tail(
    footer: Footer, target: Path, schema: pa.Schema, metadata: Mapping[str, str]
) -> Iterator[ColumnAppender]:
    """Make what comes after the first `footer.start` bytes of such a copy; it is complete when the block ends.

    Whoever has those bytes puts the two together: an object store can do so by itself.

    Parameters
    ----------
    footer, schema, metadata
        Those of `append_columns`.
    target : pathlib.Path
        Is created, or replaced.
    """
    with target.open("wb", buffering=0) as output:
        appender = ColumnAppender(footer, output.fileno(), schema)
        yield appender
        appender.finish(metadata)


@contextmanager
def _open_source(footer: Footer) -> Iterator[int]:
    """Open the file that a footer was read from, and see before and after that it is still the same."""
    try:
        source = os.open(Path(str(footer.path)), os.O_RDONLY)
    except OSError as cause:
        raise CorruptFileError(f"{footer.path} can't be opened: {os.strerror(cause.errno or 0)}") from cause
    try:
        _check_unchanged(footer, source)
        yield source
        _check_unchanged(footer, source)
    finally:
        os.close(source)


@contextmanager
def _open_target(target: Path, source: int) -> Iterator[int]:
    """Open an empty file to write, which is not the one that is read."""
    output = os.open(target, os.O_WRONLY | os.O_CREAT, 0o666)
    try:
        if os.path.sameopenfile(source, output):
            raise ValueError(f"{target} is the file that is read: its columns can't be appended in place")
        if os.fstat(output).st_size:  # ext4 takes 2 ms for it, because such a file is mostly replaced in a hurry
            os.truncate(output, 0)
        yield output
    finally:
        os.close(output)


def _check_unchanged(footer: Footer, source: int) -> None:
    if (signature := sign(source)) != footer.signature:
        raise CorruptFileError(
            f"{footer.path} has changed since its footer was read: device, inode, bytes, time {footer.signature} are "
            f"now {signature}"
        )
