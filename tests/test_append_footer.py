"""Footers that columns can't be appended to, and files that are damaged."""

import base64

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from parquet_files import by_pyarrow, make_nested
from parquet_footers import chunks, read_fields, structs, write_fields

from kmstream.append import read_footer, thrift
from kmstream.append.fields import COLUMNS, ENCRYPTION, FILE_PATH, KEY_VALUES, ROW_GROUPS, VALUE, VERSION
from kmstream.errors import CorruptFileError


@pytest.fixture
def source(tmp_path):
    by_pyarrow(tmp_path / "source", make_nested())
    return tmp_path / "source"


def test_why_not_appendable_names_a_column_that_is_there(source):
    footer = read_footer(source)
    assert footer.names == make_nested().schema.names
    assert footer.why_not_appendable(["new", "text"]) == "it has a column 'text' already"
    assert footer.why_not_appendable(["a", "b", "c"]) is None  # names below the top level are free


@pytest.mark.parametrize(
    ("number", "kind", "value", "reason"),
    [
        (VERSION, thrift.I32, thrift.encode_int(3), "its format version is 3; expected 1 or 2"),
        (ENCRYPTION, thrift.STRUCT, b"\0", "it is encrypted"),
    ],
)
def test_why_not_appendable_names_what_is_in_the_footer(source, number, kind, value, reason):
    write_fields(source, thrift.replace_field(read_fields(source), number, kind, value))
    assert read_footer(source).why_not_appendable(["new"]) == reason


def test_why_not_appendable_names_an_encrypted_footer(source):
    source.write_bytes(source.read_bytes()[:-4] + b"PARE")
    assert read_footer(source).why_not_appendable(["new"]) == "it is encrypted"


def test_why_not_appendable_names_bytes_after_the_footer(source):
    write_fields(source, read_fields(source), extra=b"abc")
    assert read_footer(source).why_not_appendable(["new"]) == "its footer goes on for 3 bytes after its end"


def test_why_not_appendable_names_columns_in_other_files(source):
    fields = read_fields(source)
    chunk = chunks(fields)[0][0]
    structs(structs(fields, ROW_GROUPS)[0], COLUMNS)[0] = {
        FILE_PATH: (thrift.BINARY, thrift.encode_binary(b"part-0")),
        **chunk,
    }
    assert read_footer(write_fields(source, fields)).why_not_appendable(["new"]) == "its columns lie in other files"


def test_why_not_appendable_names_a_file_without_columns(tmp_path):
    pq.write_table(pa.table({}), tmp_path / "source")
    assert read_footer(tmp_path / "source").why_not_appendable(["new"]) == "it has no columns"


@pytest.mark.parametrize("value", [b"no base64!", base64.b64encode(b"no schema")])
def test_why_not_appendable_names_an_arrow_schema_that_is_none(source, value):
    fields = read_fields(source)
    (pair,) = structs(fields, KEY_VALUES)
    pair[VALUE] = thrift.BINARY, thrift.encode_binary(value)
    reason = read_footer(write_fields(source, fields)).why_not_appendable(["new"])
    assert reason.startswith("its Arrow schema can't be read")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda raw: b"", "ends with b'' at byte 0"),
        (lambda raw: b"PAR1", "ends with b'PAR1' at byte 4"),
        (lambda raw: raw[:-1], "expected a Parquet file's b'PAR1'"),
        (lambda raw: raw[:-8] + b"\xff\xff\xff\x7fPAR1", "claims 2147483647 bytes"),
        (lambda raw: raw[:-8] + b"\x10\0\0\0PAR1", "end inside a value|Thrift|expected"),
        (lambda raw: raw[:-8] + b"\0\0\0\0PAR1", "end inside a value"),
    ],
)
def test_read_footer_says_what_is_wrong_with_a_damaged_file(source, damage, message):
    source.write_bytes(damage(source.read_bytes()))
    with pytest.raises(CorruptFileError, match=message):
        read_footer(source)


def test_read_footer_finds_a_row_group_without_a_column(source):
    fields = read_fields(source)
    chunks(fields)[1].pop()
    with pytest.raises(CorruptFileError, match="row group 1 has 9 columns; its schema has 10"):
        read_footer(write_fields(source, fields))


def test_a_footer_with_any_bit_changed_is_read_or_said_to_be_corrupt(tmp_path):
    source = tmp_path / "source"
    pq.write_table(pa.table({"a": pa.array([1], pa.int8())}), source)
    raw, start = source.read_bytes(), read_footer(source).start
    for at in range(start, len(raw) - 8):
        damaged = bytearray(raw)
        damaged[at] ^= 1 << at % 8
        source.write_bytes(damaged)
        try:
            read_footer(source).why_not_appendable(["new"])
        except CorruptFileError:
            continue  # nothing else comes out
