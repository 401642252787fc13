"""Columns appended to Parquet files: the old ones stay byte for byte, any reader sees the new ones."""

import base64
import errno
import json
import os
import pickle
import resource
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kmstream.append import append_columns, encode_row_group, read_footer, thrift
from kmstream.append.copying import COPY_BYTES, copy_bytes
from kmstream.errors import CorruptFileError

SCHEMA = pa.schema(
    [
        ("cluster_id", pa.int32()),
        ("cluster_label", pa.dictionary(pa.int32(), pa.string())),
        ("cluster_distance", pa.float32()),
        ("cluster_margin", pa.float32()),
    ]
)
N_ROWS = 1_000
SPARK, AVRO = "org.apache.spark.sql.parquet.row.metadata", "parquet.avro.schema"
# Fields of parquet.thrift
SCHEMA_LIST, ROW_GROUPS, KEY_VALUES, CREATED_BY, COLUMN_ORDERS = 2, 4, 5, 6, 7


def make_table(n_rows: int = N_ROWS) -> pa.Table:
    rows = range(n_rows)
    return pa.table(
        {
            "number": pa.array(rows),
            "text": [None if row % 11 == 0 else f"text {row % 7}" for row in rows],
            "real": np.linspace(0, 1, n_rows),
            "when": pa.array(rows, pa.timestamp("us")),
            "list": [[row, None] if row % 3 else [] for row in rows],
            "struct": [{"a": row, "b": [{"c": str(row)}]} for row in rows],
            "map": pa.array([[("key", row)] for row in rows], pa.map_(pa.string(), pa.int64())),
            "required": pa.array(rows, pa.int16()),
        },
        schema=pa.schema(
            [
                ("number", pa.int64()),
                ("text", pa.string()),
                ("real", pa.float64()),
                ("when", pa.timestamp("us")),
                ("list", pa.list_(pa.int64())),
                ("struct", pa.struct([("a", pa.int64()), ("b", pa.list_(pa.struct([("c", pa.string())])))])),
                ("map", pa.map_(pa.string(), pa.int64())),
                pa.field("required", pa.int16(), nullable=False),
            ]
        ),
    )


def make_new(n_rows: int = N_ROWS) -> pa.Table:
    rng = np.random.default_rng(0)
    unassigned = rng.random(n_rows) < 0.1
    ids = pa.array(rng.integers(0, 24, n_rows, dtype=np.int32), mask=unassigned)
    labels = pa.DictionaryArray.from_arrays(ids, pa.array([f"segment {number}" for number in range(24)]))
    reals = [pa.array(rng.random(n_rows, dtype=np.float32), mask=unassigned) for _ in range(2)]
    return pa.table([ids, labels, *reals], schema=SCHEMA)


def decoded(table: pa.Table) -> pa.Table:
    """The same with labels as plain strings, and no metadata."""
    names = table.schema.names
    columns = [
        column.cast(pa.string()) if pa.types.is_dictionary(column.type) else column for column in table.itercolumns()
    ]
    return pa.table(columns, names=names).combine_chunks()


def append(source: Path, target: Path, table: pa.Table | None = None, *, step: int = 150, **metadata: str) -> Path:
    footer = read_footer(source)
    new = make_new(sum(footer.rows)) if table is None else table
    assert footer.why_not_appendable(new.schema.names) is None
    with append_columns(footer, target, new.schema, metadata) as output:
        for start in range(0, new.num_rows, step):
            output.write(new.slice(start, step))
    return target


def read_fields(path: Path, depth: int = 99) -> dict:
    raw = path.read_bytes()
    return thrift.read_struct(raw[-8 - int.from_bytes(raw[-8:-4], "little") : -8], depth=depth)[0]


def write_fields(path: Path, fields: dict, *, extra: bytes = b"") -> Path:
    """Put another footer on a file."""
    raw = path.read_bytes()
    footer = thrift.write_struct(fields) + extra
    path.write_bytes(raw[: read_footer(path).start] + footer + len(footer).to_bytes(4, "little") + b"PAR1")
    return path


def structs(fields: dict, number: int) -> list[dict]:
    return fields[number][1].items


def chunks(fields: dict) -> list[list[dict]]:
    return [structs(group, 1) for group in structs(fields, ROW_GROUPS)]


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "source.parquet"
    pq.write_table(make_table(), path, row_group_size=300, write_page_index=True, data_page_size=256)
    return path


WRITER_OPTIONS = {
    "one row group": {},
    "ten row groups": {"row_group_size": 100},
    "many small row groups": {"row_group_size": 7},
    "v2 pages, zstd": {"data_page_version": "2.0", "compression": "zstd", "row_group_size": 300},
    "page index": {"write_page_index": True, "data_page_size": 256, "row_group_size": 300},
    "no Arrow schema": {"store_schema": False, "row_group_size": 300},
    "delta, byte streams": {
        "use_dictionary": False,
        "column_encoding": {"number": "DELTA_BINARY_PACKED", "text": "DELTA_BYTE_ARRAY", "real": "BYTE_STREAM_SPLIT"},
    },
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
    assert both.schema.names == [*old.schema.names, *SCHEMA.names]
    assert both.select(old.schema.names).equals(old)
    assert decoded(both.select(SCHEMA.names)).equals(decoded(make_new()))
    start = read_footer(source).start
    assert target.read_bytes()[:start] == source.read_bytes()[:start]
    assert pq.read_metadata(target).num_row_groups == pq.read_metadata(source).num_row_groups


@pytest.mark.parametrize(
    "rows_per_group", [[], [0], [0, 5, 0, 0, 7, 0]], ids=["no row group", "an empty one", "empty ones between"]
)
def test_files_without_rows_can_be_extended(tmp_path, rows_per_group):
    source, table = tmp_path / "source.parquet", make_table(12)
    with pq.ParquetWriter(source, table.schema) as writer:
        start = 0
        for rows in rows_per_group:
            writer.write_table(table.slice(start, rows))
            start += rows
    target = append(source, tmp_path / "target.parquet", step=3)
    assert pq.read_table(target).select(table.schema.names).equals(pq.read_table(source))
    assert decoded(pq.read_table(target, columns=SCHEMA.names)).equals(decoded(make_new(start)))
    assert read_footer(target).rows == rows_per_group


@pytest.mark.parametrize("step", [1, 299, 300, 301, 1_000])
def test_the_file_is_the_same_for_any_size_of_writes(source, tmp_path, step):
    one, other = append(source, tmp_path / "one"), append(source, tmp_path / "other", step=step)
    assert one.read_bytes() == other.read_bytes()


def test_row_groups_encoded_elsewhere_give_the_same_file(source, tmp_path):
    footer, new = read_footer(source), make_new()
    encoded = {}
    for number in (2, 0, 3, 1):
        group = encode_row_group(new.slice(300 * number, 300), page_index=footer.has_page_index)
        encoded[number] = pickle.loads(pickle.dumps(group))
    with append_columns(pickle.loads(pickle.dumps(footer)), tmp_path / "target", SCHEMA, {}) as output:
        for number in range(4):
            output.add(encoded[number])
    assert (tmp_path / "target").read_bytes() == append(source, tmp_path / "other").read_bytes()


def test_record_batches_and_changing_dictionaries_are_taken(source, tmp_path):
    schema = pa.schema([("label", pa.dictionary(pa.int32(), pa.string()))])
    with append_columns(read_footer(source), tmp_path / "target", schema, {}) as output:
        for batch in range(10):
            values = pa.array([f"{batch}-{row}" for row in range(100)]).dictionary_encode()
            output.write(pa.record_batch([values], schema=schema))
    expected = [f"{batch}-{row}" for batch in range(10) for row in range(100)]
    assert pq.read_table(tmp_path / "target")["label"].to_pylist() == expected


def test_nested_new_columns_are_taken(source, tmp_path):
    new = make_table().select(["struct", "list"]).rename_columns(["struct 2", "list 2"])
    both = pq.read_table(append(source, tmp_path / "target", new))
    assert both.select(new.schema.names).rename_columns(["struct", "list"]).equals(both.select(["struct", "list"]))


def test_types_come_from_the_arrow_schema_only_where_there_is_one(tmp_path):
    for stored, kind in ((True, SCHEMA.field("cluster_label").type), (False, pa.string())):
        pq.write_table(make_table(), tmp_path / "source", store_schema=stored)
        target = append(tmp_path / "source", tmp_path / "target")
        assert pq.read_schema(target).field("cluster_label").type == kind
        assert (b"ARROW:schema" in pq.read_metadata(target).metadata) == stored


def test_key_values_stay_and_ours_are_added(tmp_path):
    pq.write_table(
        make_table().replace_schema_metadata({"theirs": "1", "kmstream.name": "before"}), tmp_path / "source"
    )
    for stored in (True, False):
        if not stored:  # pyarrow leaves all key-values out then
            fields = read_fields(tmp_path / "source")
            pairs = structs(fields, KEY_VALUES)
            pairs[:] = [pair for pair in pairs if b"ARROW:schema" not in pair[1][1]]
            write_fields(tmp_path / "source", fields)
        target = append(tmp_path / "source", tmp_path / "target", **{"kmstream.name": "now"})
        found = pq.read_metadata(target).metadata
        assert {key: found[key] for key in (b"theirs", b"kmstream.name")} == {b"theirs": b"1", b"kmstream.name": b"now"}
        assert pq.read_schema(target).metadata == {b"theirs": b"1", b"kmstream.name": b"now"}
        assert len(structs(read_fields(target), KEY_VALUES)) == 2 + stored


def test_a_file_without_key_values_gets_some(tmp_path):
    pq.write_table(make_table(), tmp_path / "source", store_schema=False)
    assert pq.read_metadata(tmp_path / "source").metadata is None
    target = append(tmp_path / "source", tmp_path / "target", ours="1")
    assert pq.read_metadata(target).metadata == {b"ours": b"1"}


def test_the_schemas_of_spark_and_avro_get_the_new_columns(tmp_path):
    theirs = json.dumps({"type": "record", "fields": [{"name": "number", "type": "long"}], "more": "ü"})
    pq.write_table(make_table().replace_schema_metadata({SPARK: theirs, AVRO: theirs}), tmp_path / "source")
    found = pq.read_metadata(append(tmp_path / "source", tmp_path / "target")).metadata
    spark, avro = json.loads(found[SPARK.encode()]), json.loads(found[AVRO.encode()])
    assert [field["name"] for field in spark["fields"]] == ["number", *SCHEMA.names]
    assert [field["type"] for field in spark["fields"][1:]] == ["integer", "string", "float", "float"]
    assert avro["fields"][1] == {"name": "cluster_id", "type": ["null", "int"], "default": None}
    assert spark["more"] == avro["more"] == "ü"


@pytest.mark.parametrize("value", ["no JSON", "[]", '{"fields": 1}'])
def test_a_foreign_schema_that_is_none_stays_as_it_is(tmp_path, value):
    pq.write_table(make_table().replace_schema_metadata({SPARK: value}), tmp_path / "source")
    found = pq.read_metadata(append(tmp_path / "source", tmp_path / "target")).metadata
    assert found[SPARK.encode()] == value.encode()


def test_footer_fields_that_are_not_known_survive(source, tmp_path):
    unknown = (thrift.STRUCT, {1: (thrift.BINARY, thrift.encode_binary(b"from the future"))})
    fields = read_fields(source)
    fields[40] = unknown
    structs(fields, SCHEMA_LIST)[1][99] = unknown
    group = structs(fields, ROW_GROUPS)[1]
    group[30] = unknown
    structs(group, 1)[2][20] = structs(group, 1)[2][3][1][55] = unknown
    write_fields(source, fields)
    found = read_fields(append(source, tmp_path / "target"))
    assert found[40] == structs(found, SCHEMA_LIST)[1][99] == structs(found, ROW_GROUPS)[1][30] == unknown
    chunk = chunks(found)[1][2]
    assert chunk[20] == chunk[3][1][55] == unknown


def test_all_that_the_footer_says_of_the_old_columns_stays(source, tmp_path):
    before, after = read_fields(source), read_fields(append(source, tmp_path / "target"))
    assert after[CREATED_BY] == before[CREATED_BY]
    assert structs(after, SCHEMA_LIST)[1:-4] == structs(before, SCHEMA_LIST)[1:]
    assert structs(after, COLUMN_ORDERS)[:-4] == structs(before, COLUMN_ORDERS)
    assert [group[:-4] for group in chunks(after)] == chunks(before)
    changed = {1, 2, 6}  # columns, total_byte_size, total_compressed_size
    for one, other in zip(structs(before, ROW_GROUPS), structs(after, ROW_GROUPS), strict=True):
        assert {n: v for n, v in one.items() if n not in changed} == {
            n: v for n, v in other.items() if n not in changed
        }


def test_sizes_of_a_row_group_are_the_sums_over_its_columns(source, tmp_path):
    metadata = pq.read_metadata(append(source, tmp_path / "target"))
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        columns = [group.column(number) for number in range(group.num_columns)]
        assert group.total_byte_size == sum(column.total_uncompressed_size for column in columns)
    for group in structs(read_fields(tmp_path / "target"), ROW_GROUPS):
        sizes = [thrift.decode_int(chunk[3][1][7][1]) for chunk in structs(group, 1)]
        assert thrift.decode_int(group[6][1]) == sum(sizes)


def test_sizes_and_ordinals_that_are_absent_stay_absent(source, tmp_path):
    fields = read_fields(source)
    for number, group in enumerate(structs(fields, ROW_GROUPS)):
        for optional in (5, 6):
            group.pop(optional)
        group[7] = thrift.I16, thrift.encode_int(number)
    write_fields(source, fields)
    target = append(source, tmp_path / "target")
    for number, group in enumerate(structs(read_fields(target), ROW_GROUPS)):
        assert list(group) == [1, 2, 3, 7]
        assert thrift.decode_int(group[7][1]) == number
    assert pq.read_table(target).num_rows == N_ROWS


def test_bounds_need_column_orders_to_mean_anything(source, tmp_path):
    fields = read_fields(source)
    del fields[COLUMN_ORDERS]
    target = append(write_fields(source, fields), tmp_path / "target")
    assert COLUMN_ORDERS not in read_fields(target)
    for group in chunks(read_fields(target)):
        assert list(group[-4][3][1][12][1]) == [1, 2, 3]  # of cluster_id: max, min, null_count
        assert list(group[-3][3][1][12][1]) == [3]  # of cluster_label
    assert decoded(pq.read_table(target, columns=SCHEMA.names)).equals(decoded(make_new()))


def test_statistics_are_right(source, tmp_path):
    metadata, new = pq.read_metadata(append(source, tmp_path / "target")), make_new()
    distances = new["cluster_distance"].slice(300, 300)
    found = metadata.row_group(1).column(metadata.num_columns - 2).statistics
    assert (found.null_count, found.min, found.max) == (
        distances.null_count,
        min(distances.drop_null().to_pylist()),
        max(distances.drop_null().to_pylist()),
    )


def test_new_columns_have_a_page_index_where_the_old_ones_have(source, tmp_path):
    raw = append(source, tmp_path / "target").read_bytes()
    for group, rows in zip(chunks(read_fields(tmp_path / "target")), (300, 300, 300, 100), strict=True):
        for chunk in group[-4:]:
            assert list(chunk) == [2, 3, 4, 5, 6, 7]  # in this order: not every reader takes another one
            offset, length, _, column_length = (thrift.decode_int(chunk[number][1]) for number in (4, 5, 6, 7))
            index, end = thrift.read_struct(raw, offset, depth=99)
            assert end == offset + length
            assert column_length > 0
            values = 0
            for page in structs(index, 1):
                header, _ = thrift.read_struct(raw, thrift.decode_int(page[1][1]), depth=99)
                values += thrift.decode_int(header[5][1][1][1])
            assert values == rows


def test_new_columns_have_no_page_index_where_the_old_ones_have_none(tmp_path):
    pq.write_table(make_table(), tmp_path / "source")
    target = append(tmp_path / "source", tmp_path / "target")
    assert not read_footer(target).has_page_index
    assert list(chunks(read_fields(target))[0][-1]) == [2, 3]


def test_columns_can_be_appended_twice(source, tmp_path):
    append(source, tmp_path / "one")
    new = make_new().rename_columns([f"{name} 2" for name in SCHEMA.names])
    both = pq.read_table(append(tmp_path / "one", tmp_path / "two", new))
    assert both.select(new.schema.names).rename_columns(SCHEMA.names).equals(both.select(SCHEMA.names))


def test_a_filter_reads_the_old_page_index_and_the_new_statistics(source, tmp_path):
    duckdb = pytest.importorskip("duckdb", reason="duckdb is not installed")
    target = append(source, tmp_path / "target.parquet")
    query = f"select count(*), sum(number) from '{target}' where number between 10 and 500 and cluster_id = 3"
    ids = make_new()["cluster_id"].to_pylist()
    rows = [row for row in range(10, 501) if ids[row] == 3]
    assert duckdb.sql(query).fetchall() == [(len(rows), sum(rows))]


# What can't be appended to


def with_field(source: Path, number: int, kind: int, value: bytes) -> Path:
    return write_fields(source, thrift.replace_field(read_fields(source), number, kind, value))


def test_why_not_appendable_names_a_column_that_is_there(source):
    footer = read_footer(source)
    assert footer.names == make_table().schema.names
    assert footer.why_not_appendable(["new", "text"]) == "it has a column 'text' already"
    assert footer.why_not_appendable(["a", "b", "c"]) is None  # names below the top level are free


@pytest.mark.parametrize(
    ("number", "kind", "value", "reason"),
    [
        (1, thrift.I32, thrift.encode_int(3), "its format version is 3; expected 1 or 2"),
        (8, thrift.STRUCT, b"\0", "it is encrypted"),
    ],
)
def test_why_not_appendable_names_what_is_in_the_footer(source, number, kind, value, reason):
    assert read_footer(with_field(source, number, kind, value)).why_not_appendable(["new"]) == reason


def test_why_not_appendable_names_an_encrypted_footer(source):
    source.write_bytes(source.read_bytes()[:-4] + b"PARE")
    assert read_footer(source).why_not_appendable(["new"]) == "it is encrypted"


def test_why_not_appendable_names_bytes_after_the_footer(source):
    write_fields(source, read_fields(source), extra=b"abc")
    assert read_footer(source).why_not_appendable(["new"]) == "its footer goes on for 3 bytes after its end"


def test_why_not_appendable_names_columns_in_other_files(source):
    fields = read_fields(source)
    chunk = chunks(fields)[0][0]
    structs(structs(fields, ROW_GROUPS)[0], 1)[0] = {1: (thrift.BINARY, thrift.encode_binary(b"part-0")), **chunk}
    assert read_footer(write_fields(source, fields)).why_not_appendable(["new"]) == "its columns lie in other files"


def test_why_not_appendable_names_a_file_without_columns(tmp_path):
    pq.write_table(pa.table({}), tmp_path / "source")
    assert read_footer(tmp_path / "source").why_not_appendable(["new"]) == "it has no columns"


@pytest.mark.parametrize("value", [b"no base64!", base64.b64encode(b"no schema")])
def test_why_not_appendable_names_an_arrow_schema_that_is_none(source, value):
    fields = read_fields(source)
    (pair,) = structs(fields, KEY_VALUES)
    pair[2] = thrift.BINARY, thrift.encode_binary(value)
    reason = read_footer(write_fields(source, fields)).why_not_appendable(["new"])
    assert reason.startswith("its Arrow schema can't be read")


# Files that are damaged


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


def test_a_source_that_changes_meanwhile_is_noticed(source, tmp_path):
    footer, raw = read_footer(source), source.read_bytes()

    def append_while_it_changes() -> None:
        with append_columns(footer, tmp_path / "target", SCHEMA, {}) as output:
            output.write(make_new())
            source.write_bytes(raw + b"more")

    with pytest.raises(CorruptFileError, match="has changed since its footer was read"):
        append_while_it_changes()


def test_a_source_that_has_changed_is_noticed_before_anything_is_written(source, tmp_path):
    footer = read_footer(source)
    source.write_bytes(source.read_bytes() + b"more")
    with (
        pytest.raises(CorruptFileError, match="has changed since its footer was read"),
        append_columns(footer, tmp_path / "target", SCHEMA, {}),
    ):
        pass
    assert not (tmp_path / "target").exists()


# Mistakes of the caller, and disks


@pytest.mark.parametrize(
    ("rows", "message"), [(999, "999 rows for .*; expected 1000"), (1_001, "1 rows more than the 1000 of")]
)
def test_rows_must_be_as_many_as_in_the_file(source, tmp_path, rows, message):
    with (
        pytest.raises(ValueError, match=message),
        append_columns(read_footer(source), tmp_path / "target", SCHEMA, {}) as output,
    ):
        output.write(make_new(rows))


def test_an_encoded_row_group_must_have_the_rows_of_its_place(source, tmp_path):
    group = encode_row_group(make_new(299))
    with (
        pytest.raises(ValueError, match=r"299 rows for row group 0 of .*; expected 300"),
        append_columns(read_footer(source), tmp_path / "target", SCHEMA, {}) as output,
    ):
        output.add(group)


def test_columns_must_have_the_schema_announced(source, tmp_path):
    with (
        pytest.raises(ValueError, match="do not have the schema announced"),
        append_columns(read_footer(source), tmp_path / "target", SCHEMA, {}) as output,
    ):
        output.write(make_new().select(["cluster_id"]))


def test_a_file_is_not_extended_in_place(source, tmp_path):
    raw = source.read_bytes()
    (tmp_path / "link").hardlink_to(source)
    for target in (source, tmp_path / "link"):
        with (
            pytest.raises(ValueError, match="can't be appended in place"),
            append_columns(read_footer(source), target, SCHEMA, {}),
        ):
            pass
    assert source.read_bytes() == raw


def test_an_existing_longer_target_is_replaced(source, tmp_path):
    (tmp_path / "target").write_bytes(bytes(10_000_000))
    assert append(source, tmp_path / "target").read_bytes() == append(source, tmp_path / "other").read_bytes()


@pytest.mark.parametrize("part", [0.5, 1.01], ids=["while copying", "while appending"])
def test_a_limit_on_file_sizes_is_an_os_error(source, tmp_path, part):
    footer, new = read_footer(source), make_new()
    append(source, tmp_path / "before")  # imports what it needs: a limit must not cut off bytecode
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(footer.start * part), limits[1]))
    try:
        with pytest.raises(OSError) as caught, append_columns(footer, tmp_path / "target", SCHEMA, {}) as output:  # noqa: PT011
            output.write(new)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert caught.value.errno == errno.EFBIG


def test_no_file_stays_open_after_an_error(source, tmp_path):
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(KeyError), append_columns(read_footer(source), tmp_path / "target", SCHEMA, {}):
        raise KeyError
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.parametrize("flags", [0, os.O_APPEND], ids=["by the kernel", "by reading and writing"])
def test_copy_bytes_copies_the_first_bytes(tmp_path, flags):
    raw = np.random.default_rng(0).bytes(COPY_BYTES * 2 + 17)
    (tmp_path / "source").write_bytes(raw)
    for size in (0, 1, COPY_BYTES + 1, len(raw)):
        source = os.open(tmp_path / "source", os.O_RDONLY)
        target = os.open(tmp_path / f"target-{size}", os.O_WRONLY | os.O_CREAT | flags)  # the kernel refuses O_APPEND
        copy_bytes(source, target, size)
        os.write(target, b"end")
        os.close(source), os.close(target)
        assert (tmp_path / f"target-{size}").read_bytes() == raw[:size] + b"end"


def test_copy_bytes_says_where_a_source_ends_too_early(tmp_path):
    (tmp_path / "source").write_bytes(b"abc")
    with (
        (tmp_path / "source").open("rb") as source,
        (tmp_path / "target").open("wb") as target,
        pytest.raises(CorruptFileError, match="ends at byte 3; expected at least 5"),
    ):
        copy_bytes(source.fileno(), target.fileno(), 5)


def test_a_source_that_can_not_be_read_is_not_taken_for_a_full_disk(source, tmp_path):
    footer = read_footer(source)
    source.unlink()
    with (
        pytest.raises(CorruptFileError, match=r"source\.parquet can't be opened: No such file"),
        append_columns(footer, tmp_path / "out.parquet", SCHEMA, {}),
    ):
        pass
    (tmp_path / "bytes").write_bytes(b"abc")
    with (
        (tmp_path / "bytes").open("ab") as unreadable,
        (tmp_path / "target").open("wb") as target,
        pytest.raises(CorruptFileError, match="can't be read at byte 0: Bad file"),
    ):
        copy_bytes(unreadable.fileno(), target.fileno(), 3)
