"""The Thrift codec: what is read is written back, byte for byte, and nonsense is an error that says so."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmstream.append import thrift
from kmstream.errors import CorruptFileError

INTEGERS = {thrift.I16: 16, thrift.I32: 32, thrift.I64: 64}
BOOLS = {thrift.TRUE, thrift.FALSE}


def varint(value: int) -> bytes:
    """Unsigned LEB128, written another way than in the codec."""
    groups = [value >> shift & 127 for shift in range(0, max(value.bit_length(), 1), 7)]
    return bytes([*(group | 128 for group in groups[:-1]), groups[-1]])


def zigzag(value: int) -> bytes:
    return varint(2 * value if value >= 0 else -2 * value - 1)


def scalars() -> list[st.SearchStrategy[tuple[int, bytes]]]:
    """Values of each plain type, as (type, bytes)."""
    integers = [
        st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1).map(lambda n, kind=kind: (kind, zigzag(n)))
        for kind, bits in INTEGERS.items()
    ]
    return [
        *integers,
        st.integers(-128, 127).map(lambda n: (thrift.I8, struct.pack("b", n))),
        st.floats().map(lambda x: (thrift.DOUBLE, struct.pack("<d", x))),
        st.binary(max_size=200).map(lambda b: (thrift.BINARY, varint(len(b)) + b)),
        st.binary(min_size=16, max_size=16).map(lambda b: (thrift.UUID, b)),
    ]


@st.composite
def lists(draw, values):
    """A list or set of 0 to 40 elements of one type."""
    kind, first = draw(values)
    items = [first, *(value for other, value in draw(st.lists(values, max_size=40)) if other == kind)]
    items = items * draw(st.sampled_from([0, 1, 15]))
    head = bytes([len(items) << 4 | kind]) if len(items) < 15 else bytes([0xF0 | kind]) + varint(len(items))
    return draw(st.sampled_from([thrift.LIST, thrift.SET])), head + b"".join(items)


@st.composite
def maps(draw, values):
    (key_kind, key), (value_kind, value) = draw(values), draw(values)
    size = draw(st.integers(0, 20))
    return thrift.MAP, varint(size) + (bytes([key_kind << 4 | value_kind]) + (key + value) * size if size else b"")


@st.composite
def structs(draw, values, *, long_headers=False):
    """A struct with ids that are near to each other, far, or going back; headers as short as can be, or long."""
    bools = st.sampled_from([(thrift.TRUE, b""), (thrift.FALSE, b"")])
    fields = draw(st.dictionaries(st.integers(-(2**15), 2**15 - 1) | st.integers(1, 20), values | bools, max_size=6))
    written, previous = b"", 0
    for number, (kind, value) in fields.items():
        if 1 <= number - previous <= 15 and not (long_headers and draw(st.booleans())):
            written += bytes([number - previous << 4 | kind]) + value
        else:
            written += bytes([kind]) + zigzag(number) + value
        previous = number
    return thrift.STRUCT, written + b"\0"


def trees(*, long_headers=False) -> st.SearchStrategy[bytes]:
    bools = st.sampled_from([(thrift.FALSE, b"\1"), (thrift.FALSE, b"\2"), (thrift.TRUE, b"\0")])  # as in lists
    plain = st.one_of(*scalars())
    deeper = st.recursive(
        plain,
        lambda inner: structs(inner, long_headers=long_headers) | lists(inner | bools) | maps(inner | bools),
        max_leaves=12,
    )
    return structs(deeper, long_headers=long_headers).map(lambda pair: pair[1])


@given(trees(), st.sampled_from([1, 2, 3, 99]))
def test_read_struct_and_write_struct_give_the_same_bytes_at_any_depth(raw, depth):
    fields, end = thrift.read_struct(raw, depth=depth)
    assert end == len(raw)
    assert thrift.write_struct(fields) == raw


@given(trees(long_headers=True))
def test_long_field_headers_mean_the_same_as_short_ones(raw):
    fields, end = thrift.read_struct(raw, depth=99)
    assert end == len(raw)
    again, _ = thrift.read_struct(thrift.write_struct(fields), depth=99)
    assert list(again.items()) == list(fields.items())


@given(trees(), st.data())
def test_a_struct_that_is_cut_off_is_an_error(raw, data):
    cut = data.draw(st.integers(0, len(raw) - 1))
    with pytest.raises(CorruptFileError):
        thrift.read_struct(raw[:cut], depth=data.draw(st.sampled_from([1, 99])))


@given(st.binary(max_size=300), st.sampled_from([1, 3, 99]))
def test_read_struct_takes_any_bytes_or_says_that_they_are_corrupt(raw, depth):
    try:
        _, end = thrift.read_struct(raw, depth=depth)
    except CorruptFileError:
        return
    assert end <= len(raw)


@given(st.integers(-(2**63), 2**63 - 1))
def test_integers_come_back_as_they_were(value):
    assert thrift.encode_int(value) == zigzag(value)
    assert thrift.decode_int(thrift.encode_int(value)) == value


@given(st.lists(st.integers(-99, 99), max_size=40), st.lists(st.integers(-99, 99), max_size=40))
def test_extend_list_adds_to_the_end(before, after):
    raw = b"".join(map(zigzag, before))
    head = bytes([len(before) << 4 | 5]) if len(before) < 15 else bytes([0xF5]) + varint(len(before))
    extended = thrift.extend_list(head + raw, [zigzag(value) for value in after])
    fields, _ = thrift.read_struct(b"\x19" + extended + b"\0", depth=2)
    assert [thrift.decode_int(item) for item in fields[1][1].items] == before + after
    assert thrift.count_list(extended) == len(before) + len(after)


def test_replace_field_puts_a_new_field_where_its_number_belongs():
    fields = {1: (thrift.TRUE, b""), 7: (thrift.TRUE, b"")}
    assert list(thrift.replace_field(fields, 5, thrift.FALSE, b"")) == [1, 5, 7]
    assert thrift.replace_field(fields, 1, thrift.FALSE, b"") == fields | {1: (thrift.FALSE, b"")}


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        pytest.param(b"\x15\x02\x05\x02\x02\x00", "field 1 is there twice", id="one field twice"),
        pytest.param(b"\x1e\x00", "unknown Thrift type 14", id="a type that does not exist"),
        pytest.param(b"\x10\x00", "unknown Thrift type 0", id="a field of no type"),
        pytest.param(b"\x18" + b"\xff" * 11, "more than 10 bytes", id="a length of more than 64 bits"),
        pytest.param(b"\x1c" * 100 + b"\0" * 101, "more than 64 deep", id="structs in structs"),
        pytest.param(b"\x19" * 200, "more than 64 deep", id="lists in lists"),
        pytest.param(b"\x19\xfc\xff\xff\xff\xff\x0f", "end inside a value", id="a list longer than the data"),
        pytest.param(b"\x18\x64a\x00", "end inside a value", id="a string longer than the data"),
    ],
)
def test_nonsense_is_named(raw, message):
    with pytest.raises(CorruptFileError, match=message):
        thrift.read_struct(raw)
