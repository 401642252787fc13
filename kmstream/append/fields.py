"""The fields of a Parquet footer that are read or changed, by their numbers, and how to get at their values.

The numbers are those of parquet-format's ``parquet.thrift``. All other fields are carried over as they were written.
"""

from collections.abc import Iterator, Sequence

from kmstream.append import thrift
from kmstream.append.thrift import LIST, STRUCT, List, Struct, Value
from kmstream.errors import CorruptFileError

# FileMetaData
VERSION, SCHEMA, ROW_GROUPS, KEY_VALUES, COLUMN_ORDERS, ENCRYPTION = 1, 2, 4, 5, 7, 8
# SchemaElement
NAME, NUM_CHILDREN = 4, 5
# RowGroup
COLUMNS, TOTAL_BYTE_SIZE, NUM_ROWS, TOTAL_COMPRESSED_SIZE = 1, 2, 3, 6
# ColumnChunk
FILE_PATH, META_DATA = 1, 3
OFFSET_INDEX, COLUMN_INDEX = (4, 5), (6, 7)  # offset and length in bytes of each
# ColumnMetaData
UNCOMPRESSED_BYTES, COMPRESSED_BYTES, STATISTICS = 6, 7, 12
PAGE_OFFSETS = (9, 10, 11)  # of the first data, index and dictionary page
# Statistics: bounds in an order that only column_orders defines; the older max and min are there too where it is plain
ORDERED_STATISTICS = {5, 6, 7, 8}
# OffsetIndex; PageLocation
PAGE_LOCATIONS, PAGE_OFFSET = 1, 1
# KeyValue
KEY, VALUE = 1, 2


def open_structs(struct: Struct, number: int) -> Iterator[Struct]:
    """Give each struct of a list that has been opened, or the one struct; none if the field is absent."""
    _, value = struct.get(number, (LIST, List(STRUCT, [])))
    for item in value.items if isinstance(value, List) else [value]:
        if not isinstance(item, dict):
            raise CorruptFileError(f"field {number} is no list of structs")
        yield item


def replace_structs(struct: Struct, number: int, structs: Sequence[Struct]) -> Struct:
    """Give a struct with another list of structs in one of its fields."""
    return thrift.replace_field(struct, number, LIST, List(STRUCT, list(structs)))


def read_int(struct: Struct, number: int, default: int | None = None) -> int:
    """Read an integer field of a struct."""
    if number not in struct and default is not None:
        return default
    return thrift.decode_int(get_field(struct, number))


def read_field(struct: Struct, number: int) -> bytes:
    """Give a field of a struct that has not been opened."""
    value = get_field(struct, number)
    if not isinstance(value, bytes):
        raise CorruptFileError(f"field {number} is a list; expected a value")
    return value


def get_field(struct: Struct, number: int) -> Value:
    """Give the value of a field that must be there."""
    if number not in struct:
        raise CorruptFileError(f"field {number} is missing")
    return struct[number][1]
