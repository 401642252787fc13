"""Thrift's compact protocol without a schema: read as deep as needed, change, write back; nothing unknown is lost.

A value is `bytes`, exactly as they were read, until it is opened; an opened struct is a `Struct`, an opened list or
set a `List`. Thrift's libraries read into classes made from a schema and drop every field that it does not name.

References
----------
Apache Thrift, Thrift compact protocol encoding (doc/specs/thrift-compact-protocol.md).
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

from kmstream.errors import CorruptFileError

TRUE, FALSE, I8, I16, I32, I64, DOUBLE, BINARY, LIST, SET, MAP, STRUCT, UUID = range(1, 14)
FIXED_BYTES = {I8: 1, DOUBLE: 8, UUID: 16}
MAX_DEPTH = 64  # structs and lists inside each other; Parquet's footer needs 8
MAX_VARINT_BYTES = 10  # of 64 bits

Value: TypeAlias = "bytes | Struct | List"
Struct: TypeAlias = dict[int, tuple[int, Value]]  # field id -> (type, value), in the order of the fields


@dataclass(frozen=True, slots=True)
class List:
    """A list or set that has been opened: the type of its elements, and each of them."""

    kind: int
    items: list[Value]


def read_struct(data: bytes, start: int = 0, *, depth: int = 1) -> tuple[Struct, int]:
    r"""Open a struct.

    Parameters
    ----------
    data : bytes
    start : int
        Where the struct begins.
    depth : int
        How many levels are opened: with 1 the struct's own fields, whose values stay bytes.

    Returns
    -------
    Struct
    int
        Where the struct has ended.

    Raises
    ------
    CorruptFileError
        If this is no Thrift, or ends too early.

    Examples
    --------
    >>> read_struct(bytes([0x15, 0x02, 0x18, 0x01, 0x61, 0x00]))
    ({1: (5, b'\x02'), 2: (8, b'\x01a')}, 6)
    """
    try:
        return _read_struct(data, start, depth)
    except IndexError:
        raise CorruptFileError(f"Thrift data of {len(data)} bytes end inside a value") from None


def write_struct(struct: Struct) -> bytes:
    """Write a struct and all that has been opened in it.

    Examples
    --------
    >>> write_struct({1: (I32, encode_int(1)), 2: (BINARY, encode_binary(b"a"))}).hex(" ")
    '15 02 18 01 61 00'
    """
    parts = []
    previous = 0
    for number, (kind, value) in struct.items():
        if 0 < number - previous < 16:
            parts.append(bytes((number - previous << 4 | kind,)))
        else:
            parts += bytes((kind,)), encode_int(number)
        parts.append(value if isinstance(value, bytes) else _write(value))
        previous = number
    parts.append(b"\0")
    return b"".join(parts)


def replace_field(struct: Struct, number: int, kind: int, value: Value) -> Struct:
    """Give a struct with one field set: in its place, or where its number belongs if it is new.

    Thrift allows any order, but fastparquet can't read a field whose number is below that of the one before.
    """
    changed = struct | {number: (kind, value)}
    return changed if number in struct else dict(sorted(changed.items()))


def extend_list(data: bytes, items: list[bytes]) -> bytes:
    """Add elements to the end of a list without opening it; they must be of its type."""
    size, kind, start = _read_list_header(data, 0)
    return b"".join((_list_header(size + len(items), kind), data[start:], *items))


def split_list(data: bytes, size: int) -> tuple[bytes, list[bytes]]:
    r"""Cut a list after its first elements without opening them: give the list of these, and each of the others.

    Examples
    --------
    >>> split_list(bytes([0x35, 0x02, 0x04, 0x06]), 2)
    (b'%\x02\x04', [b'\x06'])
    """
    total, kind, start = _read_list_header(data, 0)
    ends = [start]
    for _ in range(total):
        ends.append(_skip(data, ends[-1], kind, 0))
    kept = _list_header(size, kind) + data[start : ends[size]]
    return kept, [data[begin:end] for begin, end in pairwise(ends[size:])]


def count_list(data: bytes) -> int:
    """Count the elements of a list without opening it."""
    return _read_list_header(data, 0)[0]


def list_start(data: bytes) -> int:
    """Give the offset of the first element of a list."""
    return _read_list_header(data, 0)[2]


def decode_int(data: Value) -> int:
    """Read an integer of 16, 32 or 64 bits.

    Examples
    --------
    >>> decode_int(encode_int(-150)), encode_int(-150).hex()
    (-150, 'ab02')
    """
    if not isinstance(data, bytes) or not 0 < len(data) <= MAX_VARINT_BYTES:
        raise CorruptFileError(f"expected an integer of 1 to {MAX_VARINT_BYTES} bytes, found {data!r:.40}")
    folded, _ = _read_varint(data, 0)
    return folded >> 1 ^ -(folded & 1)


def encode_int(value: int) -> bytes:
    """Write an integer of 16, 32 or 64 bits."""
    return _varint(value << 1 ^ value >> 63)


def decode_binary(data: Value) -> bytes:
    """Read a string or binary."""
    if not isinstance(data, bytes):
        raise CorruptFileError(f"expected a string, found {data!r:.40}")
    size, start = _read_varint(data, 0)
    return data[start : start + size]


def encode_binary(value: bytes) -> bytes:
    """Write a string or binary."""
    return _varint(len(value)) + value


def _read_struct(data: bytes, start: int, depth: int) -> tuple[Struct, int]:
    struct: Struct = {}
    number, at = 0, start
    while header := data[at]:
        kind = header & 15
        if header > 15:
            number, at = number + (header >> 4), at + 1
        else:
            end = _skip_varint(data, at + 1)
            number, at = decode_int(data[at + 1 : end]), end
        if number in struct:
            raise CorruptFileError(f"Thrift field {number} is there twice, again at byte {at}")
        value: Value
        if depth > 1 and kind == STRUCT:
            value, at = _read_struct(data, at, depth - 1)
        elif depth > 1 and kind in {LIST, SET}:
            value, at = _read_list(data, at, depth - 1)
        else:
            end = at if TRUE <= kind <= FALSE else _skip(data, at, kind, 0)
            value, at = data[at:end], end
        struct[number] = kind, value
    return struct, at + 1


def _read_list(data: bytes, at: int, depth: int) -> tuple[List, int]:
    size, kind, at = _read_list_header(data, at)
    items: list[Value] = []
    for _ in range(size):
        value: Value
        if depth > 1 and kind == STRUCT:
            value, at = _read_struct(data, at, depth - 1)
        elif depth > 1 and kind in {LIST, SET}:
            value, at = _read_list(data, at, depth - 1)
        else:
            end = _skip(data, at, kind, 0)
            if end > len(data):
                raise IndexError
            value, at = data[at:end], end
        items.append(value)
    return List(kind, items), at


def _skip(data: bytes, at: int, kind: int, depth: int) -> int:
    """Give the end of a value; a bool is one byte, as in lists: the field that is one has no value at all."""
    if I16 <= kind <= I64:
        return _skip_varint(data, at)
    if kind == BINARY:
        size, at = _read_varint(data, at)
        return at + size
    if depth > MAX_DEPTH:
        raise CorruptFileError(f"Thrift values lie more than {MAX_DEPTH} deep inside each other, at byte {at}")
    if kind == STRUCT:
        return _skip_struct(data, at, depth + 1)
    if kind in {LIST, SET}:
        size, kind, at = _read_list_header(data, at)
        return _skip_items(data, at, (kind,), size, depth)
    if kind == MAP:
        size, at = _read_varint(data, at)
        return _skip_items(data, at + 1, divmod(data[at], 16), size, depth) if size else at
    if kind in {TRUE, FALSE}:
        return at + 1
    if kind in FIXED_BYTES:
        return at + FIXED_BYTES[kind]
    raise CorruptFileError(f"unknown Thrift type {kind} at byte {at}; expected {TRUE} to {UUID}")


def _skip_items(data: bytes, at: int, kinds: tuple[int, ...], size: int, depth: int) -> int:
    for _ in range(size):
        for kind in kinds:
            at = _skip(data, at, kind, depth + 1)
        data[at - 1]  # an end past the data stops a size that is nonsense
    return at


def _skip_struct(data: bytes, at: int, depth: int) -> int:
    """Give the end of a struct: where a large footer is read, nearly all the time goes by here."""
    while header := data[at]:
        at += 1
        if header < 16:
            at = _skip_varint(data, at)
        kind = header & 15
        if I16 <= kind <= I64:
            while data[at] > 127:
                at += 1
            at += 1
        elif kind == BINARY and data[at] < 128:
            at += data[at] + 1
        elif kind > FALSE or not kind:
            at = _skip(data, at, kind, depth)
    return at + 1


def _read_list_header(data: bytes, at: int) -> tuple[int, int, int]:
    size, kind = divmod(data[at], 16)
    if size < 15:
        return size, kind, at + 1
    size, at = _read_varint(data, at + 1)
    return size, kind, at


def _list_header(size: int, kind: int) -> bytes:
    return bytes((size << 4 | kind,)) if size < 15 else bytes((0xF0 | kind,)) + _varint(size)


def _skip_varint(data: bytes, at: int) -> int:
    while data[at] > 127:
        at += 1
    return at + 1


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value, shift = data[at] & 127, 7
    while data[at] > 127:
        at += 1
        if shift >= 7 * MAX_VARINT_BYTES:
            raise CorruptFileError(f"Thrift integer of more than {MAX_VARINT_BYTES} bytes, at byte {at}")
        value |= (data[at] & 127) << shift
        shift += 7
    return value, at + 1


def _varint(value: int) -> bytes:
    written = bytearray()
    while value > 127:
        written.append(value & 127 | 128)
        value >>= 7
    written.append(value)
    return bytes(written)


def _write(value: Value) -> bytes:
    if isinstance(value, List):
        items = [item if isinstance(item, bytes) else _write(item) for item in value.items]
        return b"".join((_list_header(len(items), value.kind), *items))
    return value if isinstance(value, bytes) else write_struct(value)
