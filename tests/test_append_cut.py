"""Appended columns are taken off a footer again: what is left is the original's, or the reason is said."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from parquet_files import WRITERS, by_pyarrow, make_flat, make_nested, make_new

from kmstream.append import Footer, append_columns, cut_columns, read_footer, thrift
from kmstream.append.footer import (
    COLUMN_ORDERS,
    COLUMNS,
    KEY_VALUES,
    META_DATA,
    ROW_GROUPS,
    TOTAL_BYTE_SIZE,
    TOTAL_COMPRESSED_SIZE,
)
from kmstream.errors import CorruptFileError
from kmstream.outputs import CLUSTER_SCHEMA

NAMES = CLUSTER_SCHEMA.names
SPARK, AVRO = "org.apache.spark.sql.parquet.row.metadata", "parquet.avro.schema"
UNKNOWN = (thrift.STRUCT, {1: (thrift.BINARY, thrift.encode_binary(b"from the future"))})
PAGE_OFFSET, COMPRESSED_BYTES = 9, 7


def append(source, target, **metadata):
    footer = read_footer(source)
    with append_columns(footer, target, CLUSTER_SCHEMA, metadata) as output:
        output.write(make_new(sum(footer.rows)))
    return target


def read_fields(path):
    raw = path.read_bytes()
    return thrift.read_struct(raw[read_footer(path).start : -8], depth=99)[0]


def write_fields(path, fields):
    raw, footer = path.read_bytes()[: read_footer(path).start], thrift.write_struct(fields)
    path.write_bytes(raw + footer + len(footer).to_bytes(4, "little") + b"PAR1")
    return path


def structs(fields, number):
    return fields[number][1].items


@pytest.fixture
def source(tmp_path):
    by_pyarrow(tmp_path / "source", make_nested(), write_page_index=True)
    return tmp_path / "source"


@pytest.mark.parametrize("writer", WRITERS)
def test_cut_columns_gives_the_footer_that_columns_were_appended_to(tmp_path, writer):
    WRITERS[writer](tmp_path / "source")
    before = read_footer(tmp_path / "source")
    after = cut_columns(read_footer(append(tmp_path / "source", tmp_path / "target")), NAMES)
    assert isinstance(after, Footer)
    assert (after.start, after.rows, after.names) == (before.start, before.rows, before.names)
    assert after.has_page_index == before.has_page_index
    after.check_structure()
    for fields in (before.fields, after.fields):
        fields.pop(KEY_VALUES, None)  # its schemas get the next columns in place of these
        if not before.rows:  # fastparquet gives an empty list a type of its own
            del fields[ROW_GROUPS]
    assert thrift.write_struct(after.fields) == thrift.write_struct(before.fields)


def test_what_is_not_known_survives(source, tmp_path):
    fields = read_fields(source)
    fields[40] = UNKNOWN
    group = structs(fields, ROW_GROUPS)[1]
    group[30] = structs(group, COLUMNS)[2][20] = UNKNOWN
    write_fields(source, fields)
    after = cut_columns(read_footer(append(source, tmp_path / "target")), NAMES)
    assert thrift.write_struct(after.fields | {KEY_VALUES: fields[KEY_VALUES]}) == thrift.write_struct(fields)


def test_sizes_and_column_orders_that_are_absent_stay_absent(source, tmp_path):
    fields = read_fields(source)
    del fields[COLUMN_ORDERS]
    for group in structs(fields, ROW_GROUPS):
        del group[TOTAL_COMPRESSED_SIZE]
    append(write_fields(source, fields), tmp_path / "target")
    after = cut_columns(read_footer(tmp_path / "target"), NAMES)
    assert COLUMN_ORDERS not in after.fields
    assert all(TOTAL_COMPRESSED_SIZE not in group and TOTAL_BYTE_SIZE in group for group in after.row_groups)


def test_the_schemas_of_spark_and_avro_get_the_columns_once(tmp_path):
    theirs = json.dumps({"type": "record", "fields": [{"name": "number", "type": "long"}, "odd"], "more": "ü"})
    by_pyarrow(tmp_path / "source", make_flat().replace_schema_metadata({SPARK: theirs, AVRO: theirs}))
    one = append(tmp_path / "source", tmp_path / "one", version="1")
    footer = cut_columns(read_footer(one), NAMES)
    with append_columns(footer, tmp_path / "two", CLUSTER_SCHEMA, {"version": "1"}) as output:
        output.write(make_new(240))
    assert (tmp_path / "two").read_bytes() == one.read_bytes()
    fields = json.loads(pq.read_metadata(one).metadata[SPARK.encode()])["fields"]
    assert [field if field == "odd" else field["name"] for field in fields] == ["number", "odd", *NAMES]


# What can't be cut


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (["cluster_id"], "its last columns are ['cluster_margin']; expected ['cluster_id']"),
        (["struct", "map"], "its last columns are ['cluster_distance', 'cluster_margin']; expected ['struct', 'map']"),
    ],
)
def test_cut_columns_names_columns_that_are_not_the_last(source, tmp_path, names, reason):
    assert cut_columns(read_footer(append(source, tmp_path / "target")), names) == reason


def test_cut_columns_refuses_a_nested_column(tmp_path):
    table = pa.table({"number": [1], "cluster_id": [{"cluster_id": 1}], "cluster_label": [1]})
    pq.write_table(table, tmp_path / "file")
    assert cut_columns(read_footer(tmp_path / "file"), NAMES[:2]) == "one of its last columns is nested"


@pytest.mark.parametrize("options", [{"row_group_size": 60}, {"write_page_index": True}, {}], ids=str)
def test_cut_columns_refuses_bytes_of_other_columns_behind_them(tmp_path, options):
    columns = [*make_flat().columns, *make_new(240).columns]
    pq.write_table(pa.table(columns, names=[*make_flat().schema.names, *NAMES]), tmp_path / "file", **options)
    cut = cut_columns(read_footer(tmp_path / "file"), NAMES)
    if options:
        assert cut == "bytes of other columns, or of none, lie behind cluster_id"
    else:  # one row group: they are the last of it
        assert cut.names == make_flat().schema.names


def test_cut_columns_says_what_keeps_the_file_from_being_read(source, tmp_path):
    target = append(source, tmp_path / "target")
    target.write_bytes(target.read_bytes()[:-4] + b"PARE")
    assert cut_columns(read_footer(target), NAMES) == "it is encrypted"


@pytest.mark.parametrize("offset", [-300, 0, 3, 10**9])
def test_cut_columns_refuses_offsets_that_leave_a_gap(source, tmp_path, offset):
    target = append(source, tmp_path / "target")
    fields = read_fields(target)
    meta_data = structs(structs(fields, ROW_GROUPS)[0], COLUMNS)[-4][META_DATA][1]
    for number in (PAGE_OFFSET, 11):
        meta_data[number] = thrift.I64, thrift.encode_int(offset)
    assert "lie behind cluster_id" in cut_columns(read_footer(write_fields(target, fields)), NAMES)


def test_a_footer_with_any_bit_changed_is_cut_refused_or_said_to_be_corrupt(tmp_path):
    pq.write_table(pa.table({"a": pa.array([1], pa.int8())}), tmp_path / "source", store_schema=False)
    target = append(tmp_path / "source", tmp_path / "target")
    raw, start = target.read_bytes(), read_footer(target).start
    for at in range(start, len(raw) - 8):
        for bit in range(0, 8, 3):
            damaged = bytearray(raw)
            damaged[at] ^= 1 << (at + bit) % 8
            target.write_bytes(damaged)
            try:
                cut = cut_columns(read_footer(target), NAMES)
            except CorruptFileError:
                continue  # nothing else comes out
            assert isinstance(cut, str) or cut.start < start
