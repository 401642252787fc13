"""Appended columns are taken off a footer again: what is left is the original's, or the reason is said."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from parquet_files import WRITERS, by_pyarrow, make_flat, make_nested, make_new
from parquet_footers import UNKNOWN, append, read_fields, structs, write_fields

from kmstream.append import Footer, cut_columns, read_footer, thrift
from kmstream.append.fields import (
    COLUMN_ORDERS,
    COLUMNS,
    KEY_VALUES,
    META_DATA,
    PAGE_OFFSETS,
    ROW_GROUPS,
    TOTAL_BYTE_SIZE,
    TOTAL_COMPRESSED_SIZE,
)
from kmstream.errors import CorruptFileError
from kmstream.outputs import CLUSTER_SCHEMA

NAMES = CLUSTER_SCHEMA.names


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


# --- what can't be cut ------------------------------------------------------------------------------------------------


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
    data, _, dictionary = PAGE_OFFSETS
    for number in (data, dictionary):
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
