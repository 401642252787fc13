"""The footer of a Parquet file with further columns: what is not touched here stays as its writer left it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from kmstream.append import thrift
from kmstream.append.fields import (
    COLUMN_ORDERS,
    COLUMNS,
    KEY,
    KEY_VALUES,
    NUM_CHILDREN,
    ROW_GROUPS,
    SCHEMA,
    TOTAL_BYTE_SIZE,
    TOTAL_COMPRESSED_SIZE,
    VALUE,
    get_field,
    open_structs,
    read_field,
    read_int,
    replace_structs,
)
from kmstream.append.footer import Footer
from kmstream.append.schemas import extend_schemas
from kmstream.append.thrift import BINARY, I32, I64, LIST, Struct


@dataclass(frozen=True)
class NewColumns:
    """What the footer says of the new columns once, and not for each row group.

    Attributes
    ----------
    fields : tuple of pyarrow.Field
    elements : tuple of Struct
        Their SchemaElements, without a root.
    orders : tuple of Struct
        The ColumnOrder of each leaf.
    """

    fields: tuple[pa.Field, ...]
    elements: tuple[Struct, ...]
    orders: tuple[Struct, ...]


@dataclass(frozen=True)
class NewChunks:
    """The new column chunks of one row group.

    Attributes
    ----------
    chunks : tuple of bytes
        The ColumnChunks as they are written into the footer.
    uncompressed_bytes, compressed_bytes : int
        Size of all their pages before and after compression, with their headers.
    """

    chunks: tuple[bytes, ...]
    uncompressed_bytes: int
    compressed_bytes: int


def extend_footer(
    footer: Footer, columns: NewColumns, groups: Sequence[NewChunks], metadata: Mapping[str, str]
) -> bytes:
    """Give the footer with new columns, after the present ones.

    Parameters
    ----------
    footer : Footer
    columns : NewColumns
    groups : sequence of NewChunks
        One for each row group.
    metadata : mapping of str to str
        Added to the key-value metadata; a key that is there already gets the new value.
    """
    root = footer.elements[0]
    children = read_int(root, NUM_CHILDREN) + len(columns.fields)
    root = thrift.replace_field(root, NUM_CHILDREN, I32, thrift.encode_int(children))
    row_groups = [_extend_row_group(*pair) for pair in zip(footer.row_groups, groups, strict=True)]
    fields = footer.fields
    fields = replace_structs(fields, SCHEMA, [root, *footer.elements[1:], *columns.elements])
    fields = replace_structs(fields, ROW_GROUPS, row_groups)
    fields = replace_structs(fields, KEY_VALUES, _extend_key_values(footer, columns, metadata))
    if footer.has_column_orders:
        fields = replace_structs(fields, COLUMN_ORDERS, [*open_structs(fields, COLUMN_ORDERS), *columns.orders])
    return thrift.write_struct(fields)


def _extend_row_group(group: Struct, new: NewChunks) -> Struct:
    columns = thrift.extend_list(read_field(group, COLUMNS), list(new.chunks))
    extended = group | {COLUMNS: (LIST, columns)}
    for field, added in ((TOTAL_BYTE_SIZE, new.uncompressed_bytes), (TOTAL_COMPRESSED_SIZE, new.compressed_bytes)):
        if field in group:
            extended[field] = I64, thrift.encode_int(read_int(group, field) + added)
    return extended


def _extend_key_values(footer: Footer, columns: NewColumns, metadata: Mapping[str, str]) -> list[Struct]:
    added = {key.encode(): value.encode() for key, value in metadata.items()}
    added |= extend_schemas(footer.key_values, columns.fields, added)
    pairs = open_structs(footer.fields, KEY_VALUES)
    kept = [pair for pair in pairs if thrift.decode_binary(get_field(pair, KEY)) not in added]
    new: list[Struct] = [
        {KEY: (BINARY, thrift.encode_binary(key)), VALUE: (BINARY, thrift.encode_binary(value))}
        for key, value in added.items()
    ]
    return kept + new
