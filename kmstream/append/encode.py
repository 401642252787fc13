"""New columns of one row group as the bytes that go into the file: pyarrow encodes, we take its pages over."""

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Self

import pyarrow as pa
import pyarrow.parquet as pq

from kmstream.append import thrift
from kmstream.append.fields import (
    COLUMN_INDEX,
    COLUMN_ORDERS,
    COLUMNS,
    COMPRESSED_BYTES,
    META_DATA,
    OFFSET_INDEX,
    ORDERED_STATISTICS,
    PAGE_LOCATIONS,
    PAGE_OFFSET,
    PAGE_OFFSETS,
    ROW_GROUPS,
    SCHEMA,
    STATISTICS,
    UNCOMPRESSED_BYTES,
    open_structs,
    read_field,
    read_int,
    replace_structs,
)
from kmstream.append.footer import MAGIC, TRAILER_BYTES
from kmstream.append.merge import NewColumns
from kmstream.append.thrift import I64, STRUCT, Struct

CHUNK_DEPTH = 6  # opens FileMetaData, row_groups, RowGroup, columns, ColumnChunk, meta_data
WRITE_BATCH_ROWS = 16384  # pyarrow's default of 1,024 takes a tenth more time


@dataclass(frozen=True)
class EncodedGroup:
    """The new columns of one row group, encoded; they can be put at any place of any file.

    Attributes
    ----------
    pages : pyarrow.Buffer
        The pages of all its column chunks, one after the other.
    chunks : tuple of Struct
        Their ColumnChunks, as if the pages began at byte 4 of a file; without a page index.
    column_indexes : tuple of bytes
        The ColumnIndex of each chunk; empty where there is none.
    offset_indexes : tuple of bytes
        The OffsetIndex of each chunk, likewise, and with offsets as in the chunks.
    uncompressed_bytes, compressed_bytes : int
        Size of all pages before and after compression, with their headers.
    """

    pages: pa.Buffer
    chunks: tuple[Struct, ...]
    column_indexes: tuple[bytes, ...]
    offset_indexes: tuple[bytes, ...]
    uncompressed_bytes: int
    compressed_bytes: int

    def shift(self, by: int, *, ordered: bool) -> Self:
        """Move all offsets by some bytes, and leave the pages behind.

        Parameters
        ----------
        by : int
            Bytes.
        ordered : bool
            Whether the file defines column orders; without them go the statistics that need them.
        """
        chunks = tuple(_shift_chunk(chunk, by, ordered=ordered) for chunk in self.chunks)
        indexes = tuple(_shift_offset_index(index, by) for index in self.offset_indexes)
        moved: Self = replace(self, pages=pa.py_buffer(b""), chunks=chunks, offset_indexes=indexes)
        return moved


def encode_row_group(table: pa.Table, *, page_index: bool = False) -> EncodedGroup:
    """Encode the new columns of one row group.

    Floating point numbers are written plain, all else with a dictionary: 24 segments are 5 bits a row. There is no
    codec: distances and 5-bit numbers hardly get smaller by any.

    Parameters
    ----------
    table : pyarrow.Table
        All rows of the row group. The memory needed besides is what pyarrow holds while it writes them: the encoded
        columns, at most as large as the table.
    page_index : bool
        Whether to add a page index: where the other columns have one, some readers use it only if all do.
    """
    raw = _write_parquet(table, page_index=page_index)
    (group,) = open_structs(_read_own_footer(raw, CHUNK_DEPTH), ROW_GROUPS)
    chunks = [dict(chunk) for chunk in open_structs(group, COLUMNS)]
    sizes = [read_int(_open_meta_data(chunk), COMPRESSED_BYTES) for chunk in chunks]
    column_indexes = tuple(_take_index(raw, chunk, COLUMN_INDEX) for chunk in chunks)
    offset_indexes = tuple(_take_index(raw, chunk, OFFSET_INDEX) for chunk in chunks)
    return EncodedGroup(
        raw.slice(len(MAGIC), sum(sizes)),
        tuple(chunks),
        column_indexes,
        offset_indexes,
        sum(read_int(_open_meta_data(chunk), UNCOMPRESSED_BYTES) for chunk in chunks),
        sum(sizes),
    )


@lru_cache(maxsize=16)
def describe_columns(schema: pa.Schema) -> NewColumns:
    """Give the Parquet schema of new columns, as pyarrow writes it."""
    fields = _read_own_footer(_write_parquet(schema.empty_table(), page_index=False), 3)
    _, *elements = open_structs(fields, SCHEMA)
    return NewColumns(tuple(schema), tuple(elements), tuple(open_structs(fields, COLUMN_ORDERS)))


def _shift_chunk(chunk: Struct, by: int, *, ordered: bool) -> Struct:
    """Move a ColumnChunk by some bytes; where the file defines no column orders, without statistics that need them."""
    meta_data = dict(_open_meta_data(chunk))
    for field in PAGE_OFFSETS:
        if field in meta_data and (offset := read_int(meta_data, field)):  # 0: it has no such page
            meta_data[field] = I64, thrift.encode_int(offset + by)
    if not ordered and STATISTICS in meta_data:
        statistics, _ = thrift.read_struct(read_field(meta_data, STATISTICS))
        kept = {number: value for number, value in statistics.items() if number not in ORDERED_STATISTICS}
        meta_data[STATISTICS] = STRUCT, thrift.write_struct(kept)
    return chunk | {META_DATA: (STRUCT, meta_data)}


def _shift_offset_index(index: bytes, by: int) -> bytes:
    """Move the pages of an OffsetIndex by some bytes."""
    if not index:
        return index
    fields, _ = thrift.read_struct(index, depth=3)
    pages = [
        page | {PAGE_OFFSET: (I64, thrift.encode_int(read_int(page, PAGE_OFFSET) + by))}
        for page in open_structs(fields, PAGE_LOCATIONS)
    ]
    return thrift.write_struct(replace_structs(fields, PAGE_LOCATIONS, pages))


def _open_meta_data(chunk: Struct) -> Struct:
    """Give the ColumnMetaData of a ColumnChunk that has been opened with it."""
    (meta_data,) = open_structs(chunk, META_DATA)
    return meta_data


def _write_parquet(table: pa.Table, *, page_index: bool) -> pa.Buffer:
    """Write a table to memory as a Parquet file of one row group."""
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(
        sink,
        table.schema,
        use_dictionary=[field.name for field in table.schema if not pa.types.is_floating(field.type)],
        compression="NONE",
        write_page_index=page_index,
        write_batch_size=WRITE_BATCH_ROWS,
        store_schema=False,
    ) as writer:
        writer.write_table(table, row_group_size=max(1, table.num_rows))
    return sink.getvalue()


def _read_own_footer(raw: pa.Buffer, depth: int) -> Struct:
    size = int.from_bytes(raw[raw.size - TRAILER_BYTES : raw.size - len(MAGIC)], "little")
    start = raw.size - TRAILER_BYTES - size
    return thrift.read_struct(raw[start : raw.size - TRAILER_BYTES].to_pybytes(), depth=depth)[0]


def _take_index(raw: pa.Buffer, chunk: Struct, place: tuple[int, int]) -> bytes:
    """Take a page index out of a ColumnChunk; empty if it has none."""
    if place[0] not in chunk:
        return b""
    offset, size = (thrift.decode_int(chunk.pop(field)[1]) for field in place)
    index: bytes = raw.slice(offset, size).to_pybytes()
    return index
