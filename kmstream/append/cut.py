"""Appended columns taken off again: the footer without them, to append columns of the same names in their place."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from kmstream.append import thrift
from kmstream.append.fields import (
    COLUMN_INDEX,
    COLUMN_ORDERS,
    COLUMNS,
    COMPRESSED_BYTES,
    META_DATA,
    NUM_CHILDREN,
    OFFSET_INDEX,
    PAGE_OFFSETS,
    ROW_GROUPS,
    SCHEMA,
    TOTAL_BYTE_SIZE,
    TOTAL_COMPRESSED_SIZE,
    UNCOMPRESSED_BYTES,
    open_structs,
    read_field,
    read_int,
    replace_structs,
)
from kmstream.append.footer import MAGIC, Footer, subtree_end
from kmstream.append.thrift import I32, I64, LIST, Struct


def cut_columns(footer: Footer, names: Sequence[str]) -> Footer | str:
    """Take the last columns off a footer, or say why they can't be.

    They can where nothing but their pages and page indexes lies between their first byte and the footer, as
    `append_columns` leaves a file. Then appending columns of the same names to the footer that is given makes the file
    that appending them to the original would have made: the schemas in the key-value metadata, which still have the
    columns, get those of the new ones in their place.

    Parameters
    ----------
    footer : Footer
    names : sequence of str
        The columns.

    Returns
    -------
    Footer or str
        Its `start` is where the first byte of the columns was; or the reason.

    Raises
    ------
    CorruptFileError
        If the footer is readable Thrift, and no Parquet footer.
    """
    if why := footer.why_not_appendable(()):
        return why
    n_kept = len(footer.names) - len(names)
    if footer.names[n_kept:] != list(names):
        return f"its last columns are {footer.names[-len(names) :]}; expected {list(names)}"
    elements = _keep_elements(footer, n_kept)
    if len(footer.elements) - len(elements) != len(names):
        return "one of its last columns is nested"
    groups, start = [], footer.start
    places: list[tuple[int, int]] = []
    for group in footer.row_groups:
        columns = read_field(group, COLUMNS)
        kept, cut = thrift.split_list(columns, thrift.count_list(columns) - len(names))
        chunks = [thrift.read_struct(chunk, depth=2)[0] for chunk in cut]
        groups.append(_shrink_row_group(group, kept, chunks))
        places += [place for chunk in chunks for place in _find_places(chunk)]
    for offset, size in sorted(places, reverse=True):
        if offset + size != start or offset < len(MAGIC):
            return f"bytes of other columns, or of none, lie behind {names[0]}"
        start = offset
    fields = replace_structs(footer.fields, SCHEMA, elements)
    fields = replace_structs(fields, ROW_GROUPS, groups)
    if footer.has_column_orders:
        orders = list(open_structs(fields, COLUMN_ORDERS))
        fields = replace_structs(fields, COLUMN_ORDERS, orders[: len(orders) - len(names)])
    return replace(footer, start=start, fields=fields)


def _keep_elements(footer: Footer, n_kept: int) -> list[Struct]:
    """Give the schema of the first columns: a root with so many children, and all below it."""
    end = 1
    for _ in range(n_kept):
        end = subtree_end(footer.elements, end)
    root = thrift.replace_field(footer.elements[0], NUM_CHILDREN, I32, thrift.encode_int(n_kept))
    return [root, *footer.elements[1:end]]


def _shrink_row_group(group: Struct, kept: bytes, chunks: Sequence[Struct]) -> Struct:
    """Give a row group with the columns that are kept, without the sizes of the others."""
    shrunk = group | {COLUMNS: (LIST, kept)}
    for field, size in ((TOTAL_BYTE_SIZE, UNCOMPRESSED_BYTES), (TOTAL_COMPRESSED_SIZE, COMPRESSED_BYTES)):
        if field in group:
            cut = sum(read_int(meta_data, size) for chunk in chunks for meta_data in open_structs(chunk, META_DATA))
            shrunk[field] = I64, thrift.encode_int(read_int(group, field) - cut)
    return shrunk


def _find_places(chunk: Struct) -> Iterator[tuple[int, int]]:
    """Give offset and size of all that a ColumnChunk refers to."""
    for meta_data in open_structs(chunk, META_DATA):
        if size := read_int(meta_data, COMPRESSED_BYTES):  # no byte: a chunk of no rows, whose offsets mean nothing
            yield min(filter(None, (read_int(meta_data, field, 0) for field in PAGE_OFFSETS)), default=0), size
    for offset, length in (OFFSET_INDEX, COLUMN_INDEX):
        if offset in chunk:
            yield read_int(chunk, offset), read_int(chunk, length)
