"""Columns appended to Parquet files: the old ones stay byte for byte, any reader sees the new ones."""

import errno
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from builders import limit_file_size
from parquet_files import make_nested, make_new
from parquet_footers import UNKNOWN, append, chunks, read_fields, structs, write_fields

from kmstream.append import append_columns, read_footer, thrift
from kmstream.append.fields import (
    COLUMN_INDEX,
    COLUMN_ORDERS,
    COLUMNS,
    COMPRESSED_BYTES,
    META_DATA,
    NUM_ROWS,
    OFFSET_INDEX,
    PAGE_LOCATIONS,
    PAGE_OFFSET,
    ROW_GROUPS,
    SCHEMA,
    STATISTICS,
    TOTAL_BYTE_SIZE,
    TOTAL_COMPRESSED_SIZE,
)
from kmstream.errors import CorruptFileError
from kmstream.outputs import CLUSTER_SCHEMA

N_ROWS, GROUP_ROWS = 1_000, 300
NAMES = CLUSTER_SCHEMA.names


def make_table():
    """Nested columns, one that is never null, and no NaN, which equals nothing."""
    required = pa.field("required", pa.int16(), nullable=False)
    return make_nested(N_ROWS).drop_columns("real").append_column(required, pa.array(range(N_ROWS), pa.int16()))


def plain(table):
    """The same with labels as plain strings, and no metadata."""
    columns = [
        column.cast(pa.string()) if pa.types.is_dictionary(column.type) else column for column in table.itercolumns()
    ]
    return pa.table(columns, names=table.schema.names).combine_chunks()


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "source.parquet"
    pq.write_table(make_table(), path, row_group_size=GROUP_ROWS, write_page_index=True, data_page_size=256)
    return path


WRITER_OPTIONS = {  # further writers are in test_readers.py
    "one row group": {},
    "many small row groups": {"row_group_size": 7},
    "version 1.0, INT96": {"version": "1.0", "use_deprecated_int96_timestamps": True},
    "no statistics, no codec": {"write_statistics": False, "compression": "none"},
    "checksums, sorting columns": {"write_page_checksum": True, "sorting_columns": [pq.SortingColumn(0)]},
}


@pytest.mark.parametrize("options", [pytest.param(options, id=name) for name, options in WRITER_OPTIONS.items()])
def test_append_columns_keeps_the_old_columns_and_adds_the_new_ones(tmp_path, options):
    source = tmp_path / "source.parquet"
    pq.write_table(make_table(), source, **options)
    target = append(source, tmp_path / "target.parquet")
    old, both = pq.read_table(source), pq.read_table(target)
    assert both.schema.names == [*old.schema.names, *NAMES]
    assert both.select(old.schema.names).equals(old)
    assert plain(both.select(NAMES)).equals(plain(make_new(N_ROWS)))
    start = read_footer(source).start
    assert target.read_bytes()[:start] == source.read_bytes()[:start]
    assert pq.read_metadata(target).num_row_groups == pq.read_metadata(source).num_row_groups


@pytest.mark.parametrize("step", [1, GROUP_ROWS - 1, GROUP_ROWS, GROUP_ROWS + 1, N_ROWS])
def test_append_columns_makes_the_same_file_for_any_size_of_writes(source, tmp_path, step):
    one, other = append(source, tmp_path / "one"), append(source, tmp_path / "other", step=step)
    assert one.read_bytes() == other.read_bytes()


def test_append_columns_takes_record_batches_and_dictionaries_that_change(source, tmp_path):
    schema = pa.schema([("label", pa.dictionary(pa.int32(), pa.string()))])
    with append_columns(read_footer(source), tmp_path / "target", schema, {}) as output:
        for batch in range(10):
            values = pa.array([f"{batch}-{row}" for row in range(100)]).dictionary_encode()
            output.write(pa.record_batch([values], schema=schema))
    expected = [f"{batch}-{row}" for batch in range(10) for row in range(100)]
    assert pq.read_table(tmp_path / "target")["label"].to_pylist() == expected


def test_append_columns_takes_nested_columns(source, tmp_path):
    new = make_table().select(["struct", "list"]).rename_columns(["struct 2", "list 2"])
    both = pq.read_table(append(source, tmp_path / "target", new))
    assert both.select(new.schema.names).rename_columns(["struct", "list"]).equals(both.select(["struct", "list"]))


def test_columns_can_be_appended_twice(source, tmp_path):
    append(source, tmp_path / "one")
    new = make_new(N_ROWS).rename_columns([f"{name} 2" for name in NAMES])
    both = pq.read_table(append(tmp_path / "one", tmp_path / "two", new))
    assert both.select(new.schema.names).rename_columns(NAMES).equals(both.select(NAMES))


def test_types_come_from_the_arrow_schema_only_where_there_is_one(tmp_path):
    for stored, kind in ((True, CLUSTER_SCHEMA.field("cluster_label").type), (False, pa.string())):
        pq.write_table(make_table(), tmp_path / "source", store_schema=stored)
        target = append(tmp_path / "source", tmp_path / "target")
        assert pq.read_schema(target).field("cluster_label").type == kind
        assert (b"ARROW:schema" in pq.read_metadata(target).metadata) == stored


# --- what the footer says --------------------------------------------------------------------------------------------


def test_all_that_the_footer_says_of_the_old_columns_stays(source, tmp_path):
    fields = read_fields(source)
    fields[40] = structs(fields, SCHEMA)[1][99] = UNKNOWN
    group = structs(fields, ROW_GROUPS)[1]
    group[30] = structs(group, COLUMNS)[2][20] = structs(group, COLUMNS)[2][META_DATA][1][55] = UNKNOWN
    before = read_fields(write_fields(source, fields))
    after = read_fields(append(source, tmp_path / "target"))
    assert structs(after, SCHEMA)[1:-4] == structs(before, SCHEMA)[1:]
    assert structs(after, COLUMN_ORDERS)[:-4] == structs(before, COLUMN_ORDERS)
    assert [group[:-4] for group in chunks(after)] == chunks(before)
    changed = {COLUMNS, TOTAL_BYTE_SIZE, TOTAL_COMPRESSED_SIZE}
    for one, other in zip(structs(before, ROW_GROUPS), structs(after, ROW_GROUPS), strict=True):
        assert {n: one[n] for n in one if n not in changed} == {n: other[n] for n in other if n not in changed}
    lists = {SCHEMA, COLUMN_ORDERS, ROW_GROUPS, 5}  # 5: key-value metadata
    assert {n: before[n] for n in before if n not in lists} == {n: after[n] for n in after if n not in lists}


def test_sizes_of_a_row_group_are_the_sums_over_its_columns(source, tmp_path):
    metadata = pq.read_metadata(append(source, tmp_path / "target"))
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        columns = [group.column(number) for number in range(group.num_columns)]
        assert group.total_byte_size == sum(column.total_uncompressed_size for column in columns)
    for group in structs(read_fields(tmp_path / "target"), ROW_GROUPS):
        sizes = [thrift.decode_int(chunk[META_DATA][1][COMPRESSED_BYTES][1]) for chunk in structs(group, COLUMNS)]
        assert thrift.decode_int(group[TOTAL_COMPRESSED_SIZE][1]) == sum(sizes)


def test_sizes_and_ordinals_that_are_absent_stay_absent(source, tmp_path):
    fields, ordinal = read_fields(source), 7
    for number, group in enumerate(structs(fields, ROW_GROUPS)):
        for optional in (5, TOTAL_COMPRESSED_SIZE):  # 5: file_offset
            group.pop(optional)
        group[ordinal] = thrift.I16, thrift.encode_int(number)
    target = append(write_fields(source, fields), tmp_path / "target")
    for number, group in enumerate(structs(read_fields(target), ROW_GROUPS)):
        assert list(group) == [COLUMNS, TOTAL_BYTE_SIZE, NUM_ROWS, ordinal]
        assert thrift.decode_int(group[ordinal][1]) == number
    assert pq.read_table(target).num_rows == N_ROWS


def test_bounds_need_column_orders_to_mean_anything(source, tmp_path):
    fields = read_fields(source)
    del fields[COLUMN_ORDERS]
    target = append(write_fields(source, fields), tmp_path / "target")
    assert COLUMN_ORDERS not in read_fields(target)
    for group in chunks(read_fields(target)):
        ids, labels = (list(chunk[META_DATA][1][STATISTICS][1]) for chunk in group[-4:-2])
        assert (ids, labels) == ([1, 2, 3], [3])  # max, min, null_count
    assert plain(pq.read_table(target, columns=NAMES)).equals(plain(make_new(N_ROWS)))


def test_statistics_are_right(source, tmp_path):
    metadata, new = pq.read_metadata(append(source, tmp_path / "target")), make_new(N_ROWS)
    distances = new["cluster_distance"].slice(GROUP_ROWS, GROUP_ROWS)
    found = metadata.row_group(1).column(metadata.num_columns - 2).statistics
    known = distances.drop_null().to_pylist()
    assert (found.null_count, found.min, found.max) == (distances.null_count, min(known), max(known))


def test_new_columns_have_a_page_index_where_the_old_ones_have(source, tmp_path):
    raw = append(source, tmp_path / "target").read_bytes()
    for group, rows in zip(chunks(read_fields(tmp_path / "target")), (300, 300, 300, 100), strict=True):
        for chunk in group[-4:]:
            assert list(chunk) == [2, META_DATA, *OFFSET_INDEX, *COLUMN_INDEX]  # not every reader takes another order
            offset, length, _, column_length = (
                thrift.decode_int(chunk[number][1]) for number in (*OFFSET_INDEX, *COLUMN_INDEX)
            )
            index, end = thrift.read_struct(raw, offset, depth=99)
            assert end == offset + length
            assert column_length > 0
            values = 0
            for page in structs(index, PAGE_LOCATIONS):
                header, _ = thrift.read_struct(raw, thrift.decode_int(page[PAGE_OFFSET][1]), depth=99)
                values += thrift.decode_int(header[5][1][1][1])  # of its data page header
            assert values == rows


def test_new_columns_have_no_page_index_where_the_old_ones_have_none(tmp_path):
    pq.write_table(make_table(), tmp_path / "source")
    target = append(tmp_path / "source", tmp_path / "target")
    assert not read_footer(target).has_page_index
    assert list(chunks(read_fields(target))[0][-1]) == [2, META_DATA]


# --- mistakes of the caller, sources that change, disks --------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "message"), [(999, "999 rows for .*; expected 1000"), (1_001, "1 rows more than the 1000 of")]
)
def test_rows_must_be_as_many_as_in_the_file(source, tmp_path, rows, message):
    with (
        pytest.raises(ValueError, match=message),
        append_columns(read_footer(source), tmp_path / "target", CLUSTER_SCHEMA, {}) as output,
    ):
        output.write(make_new(rows))


def test_columns_must_have_the_schema_announced(source, tmp_path):
    with (
        pytest.raises(ValueError, match="do not have the schema announced"),
        append_columns(read_footer(source), tmp_path / "target", CLUSTER_SCHEMA, {}) as output,
    ):
        output.write(make_new(N_ROWS).select(["cluster_id"]))


def test_a_file_is_not_extended_in_place(source, tmp_path):
    raw = source.read_bytes()
    (tmp_path / "link").hardlink_to(source)
    for target in (source, tmp_path / "link"):
        with (
            pytest.raises(ValueError, match="can't be appended in place"),
            append_columns(read_footer(source), target, CLUSTER_SCHEMA, {}),
        ):
            pass
    assert source.read_bytes() == raw


def test_an_existing_longer_target_is_replaced(source, tmp_path):
    (tmp_path / "target").write_bytes(bytes(1_000_000))
    assert append(source, tmp_path / "target").read_bytes() == append(source, tmp_path / "other").read_bytes()


def test_a_source_that_changes_meanwhile_is_noticed(source, tmp_path):
    footer, raw = read_footer(source), source.read_bytes()

    def append_while_it_changes():
        with append_columns(footer, tmp_path / "target", CLUSTER_SCHEMA, {}) as output:
            output.write(make_new(N_ROWS))
            source.write_bytes(raw + b"more")

    with pytest.raises(CorruptFileError, match="has changed since its footer was read"):
        append_while_it_changes()


def test_a_source_that_has_changed_is_noticed_before_anything_is_written(source, tmp_path):
    footer = read_footer(source)
    source.write_bytes(source.read_bytes() + b"more")
    with (
        pytest.raises(CorruptFileError, match="has changed since its footer was read"),
        append_columns(footer, tmp_path / "target", CLUSTER_SCHEMA, {}),
    ):
        pass
    assert not (tmp_path / "target").exists()


def test_a_source_that_is_gone_is_not_taken_for_a_full_disk(source, tmp_path):
    footer = read_footer(source)
    source.unlink()
    with (
        pytest.raises(CorruptFileError, match=r"source\.parquet can't be opened: No such file"),
        append_columns(footer, tmp_path / "out.parquet", CLUSTER_SCHEMA, {}),
    ):
        pass


@pytest.mark.parametrize("part", [0.5, 1.01], ids=["while copying", "while appending"])
def test_a_limit_on_file_sizes_is_an_os_error(source, tmp_path, part):
    footer, new = read_footer(source), make_new(N_ROWS)
    append(source, tmp_path / "before")  # imports what it needs: a limit must not cut off bytecode
    with (
        limit_file_size(int(footer.start * part)),
        pytest.raises(OSError) as caught,  # noqa: PT011
        append_columns(footer, tmp_path / "target", CLUSTER_SCHEMA, {}) as output,
    ):
        output.write(new)
    assert caught.value.errno == errno.EFBIG


def test_no_file_stays_open_after_an_error(source, tmp_path):
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(KeyError), append_columns(read_footer(source), tmp_path / "target", CLUSTER_SCHEMA, {}):
        raise KeyError
    assert len(list(Path("/proc/self/fd").iterdir())) == before
