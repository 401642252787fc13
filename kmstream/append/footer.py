"""A Parquet footer that can be extended: what is not understood is carried over as it was written."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import pyarrow as pa

from kmstream.append import thrift
from kmstream.append.fields import (
    COLUMN_ORDERS,
    COLUMNS,
    ENCRYPTION,
    FILE_PATH,
    KEY,
    KEY_VALUES,
    NAME,
    NUM_CHILDREN,
    NUM_ROWS,
    OFFSET_INDEX,
    ROW_GROUPS,
    SCHEMA,
    VALUE,
    VERSION,
    get_field,
    open_structs,
    read_field,
    read_int,
)
from kmstream.append.schemas import ARROW_SCHEMA, read_arrow_schema
from kmstream.append.thrift import BINARY, Struct
from kmstream.errors import CorruptFileError
from kmstream.storage import Place, explain_storage_errors, is_local

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

MAGIC, ENCRYPTED_MAGIC = b"PAR1", b"PARE"
TRAILER_BYTES = 8  # the footer's length and the magic number
GUESSED_FOOTER_BYTES = 16384  # read with the trailer, so that most footers come with one read
KNOWN_VERSIONS = {1, 2}  # mean the same; others are reserved

ABSENT = (BINARY, b"\0")  # an empty string


@dataclass(frozen=True)
class Footer:
    """The footer of one Parquet file, opened down to the fields of row groups and schema elements.

    Attributes
    ----------
    path : Path, UPath or str
    signature : tuple of int
        Device, inode, size in bytes and time of change in nanoseconds of the file it was read from.
    start : int
        Offset of the footer: the bytes before it are data, page indexes and Bloom filters.
    fields : Struct
        FileMetaData; empty if it is encrypted.
    trailing : int
        Bytes between the end of FileMetaData and the footer's length.
    """

    path: object
    signature: tuple[int, int, int, int]
    start: int
    fields: Struct
    trailing: int = 0

    @cached_property
    def elements(self) -> list[Struct]:
        """The schema's elements, root first, depth first."""
        return list(open_structs(self.fields, SCHEMA))

    @cached_property
    def row_groups(self) -> list[Struct]:
        """The row groups; their columns stay unopened."""
        return list(open_structs(self.fields, ROW_GROUPS))

    @cached_property
    def rows(self) -> list[int]:
        """Rows of each row group."""
        return [read_int(group, NUM_ROWS) for group in self.row_groups]

    @cached_property
    def names(self) -> list[str]:
        """Names of the top-level columns."""
        names, at = [], 1
        for _ in range(read_int(self.elements[0], NUM_CHILDREN, 0)):
            end = subtree_end(self.elements, at)
            names.append(thrift.decode_binary(get_field(self.elements[at], NAME)).decode(errors="replace"))
            at = end
        if at != len(self.elements):
            raise CorruptFileError(f"the schema has {len(self.elements)} elements; its root has {at}")
        return names

    @cached_property
    def key_values(self) -> dict[bytes, bytes]:
        """The key-value metadata; keys without a value are left out."""
        pairs = [pair for pair in open_structs(self.fields, KEY_VALUES) if VALUE in pair]
        return {thrift.decode_binary(get_field(pair, KEY)): thrift.decode_binary(pair[VALUE][1]) for pair in pairs}

    @property
    def has_column_orders(self) -> bool:
        """Whether the order of the columns' bounds is defined; if not, the newer bounds mean nothing."""
        return COLUMN_ORDERS in self.fields

    @property
    def has_page_index(self) -> bool:
        """Whether the first column chunk has an offset index."""
        return OFFSET_INDEX[0] in self._first_chunk()

    def why_not_appendable(self, names: Sequence[str]) -> str | None:
        """Say why columns of these names can't be appended; None if they can.

        Raises
        ------
        CorruptFileError
            If the footer is readable Thrift, and no Parquet footer.
        """
        if not self.fields or ENCRYPTION in self.fields:
            return "it is encrypted"
        if (version := read_int(self.fields, VERSION)) not in KNOWN_VERSIONS:
            return f"its format version is {version}; expected 1 or 2"
        if taken := [name for name in names if name in self.names]:
            return f"it has a column {taken[0]!r} already"
        if not self.names:
            return "it has no columns"
        if self.trailing:
            return f"its footer goes on for {self.trailing} bytes after its end"
        if self._first_chunk().get(FILE_PATH, ABSENT) != ABSENT:
            return "its columns lie in other files"
        try:
            if ARROW_SCHEMA in self.key_values:
                read_arrow_schema(self.key_values[ARROW_SCHEMA])
        except (ValueError, OSError, pa.ArrowException) as error:  # an ArrowException or not, by what is wrong
            return f"its Arrow schema can't be read: {error}"
        return None

    def check_structure(self) -> None:
        """Check that there is a schema, and that each row group has a column chunk for each leaf of it.

        Raises
        ------
        CorruptFileError
        """
        if not self.elements:
            raise CorruptFileError("the schema has no elements; expected a root")
        leaves = sum(read_int(element, NUM_CHILDREN, 0) == 0 for element in self.elements[1:])
        for number, group in enumerate(self.row_groups):
            if (columns := thrift.count_list(read_field(group, COLUMNS))) != leaves:
                raise CorruptFileError(f"row group {number} has {columns} columns; its schema has {leaves}")

    def _first_chunk(self) -> Struct:
        """Open the first column chunk; an empty struct if there is none."""
        for group in self.row_groups[:1]:
            columns = read_field(group, COLUMNS)
            if thrift.count_list(columns):
                return thrift.read_struct(columns, thrift.list_start(columns))[0]
        return {}


def read_footer(place: Place) -> Footer:
    """Read the footer of a Parquet file.

    Raises
    ------
    CorruptFileError
        If this is no Parquet file, or is cut off.
    OSError
        If it can't be read.
    """
    if not is_local(place):
        with explain_storage_errors(place):
            return read_footer_of(place.fs, place.path, place.fs.size(place.path))
    file = os.open(place, os.O_RDONLY)
    try:
        return _read(place, sign(file), lambda start, size: os.pread(file, size, start))
    finally:
        os.close(file)


def read_footer_of(filesystem: "AbstractFileSystem", path: str, size: int) -> Footer:
    """Read the footer of a file of a store whose size is known, like `read_footer`."""

    def read(start: int, size: int) -> bytes:
        return bytes(filesystem.cat_file(path, start=start, end=start + size))

    with explain_storage_errors(path):
        return _read(path, (0, 0, size, 0), read)


def _read(path: object, signature: tuple[int, int, int, int], read: Callable[[int, int], bytes]) -> Footer:
    size = signature[2]
    begin = max(0, size - TRAILER_BYTES - GUESSED_FOOTER_BYTES)
    end = read(begin, size - begin)
    magic = end[-4:]
    if len(end) < size - begin or size < len(MAGIC) + TRAILER_BYTES or magic not in {MAGIC, ENCRYPTED_MAGIC}:
        raise CorruptFileError(f"{path} ends with {magic!r} at byte {size}; expected a Parquet file's {MAGIC!r}")
    length = int.from_bytes(end[-TRAILER_BYTES:-4], "little")
    start = size - TRAILER_BYTES - length
    if start < len(MAGIC):
        raise CorruptFileError(f"the footer of {path} claims {length} bytes; the file has {size}")
    if magic == ENCRYPTED_MAGIC:
        return Footer(path, signature, start, {})
    raw = end[start - begin : -TRAILER_BYTES] if start >= begin else read(start, length)
    try:
        fields, used = thrift.read_struct(raw, depth=3)
        footer = Footer(path, signature, start, fields, length - used)
        footer.check_structure()
    except CorruptFileError as error:
        error.add_note(f"in the footer of {path}, bytes {start}-{size - TRAILER_BYTES}")
        raise
    return footer


def sign(file: int) -> tuple[int, int, int, int]:
    """Give what tells an open file from another one, or from itself after a change."""
    status = os.fstat(file)
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def subtree_end(elements: list[Struct], at: int) -> int:
    """Give the position after an element and all below it."""
    open_children = 1
    while open_children:
        if at >= len(elements):
            raise CorruptFileError(f"the schema ends after {at} elements; more were announced")
        open_children += read_int(elements[at], NUM_CHILDREN, 0) - 1
        at += 1
    return at
