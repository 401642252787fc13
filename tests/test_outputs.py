"""Output files: the input's columns as they are, the cluster columns, and nothing where they can't be written."""

import datetime
import decimal
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from builders import limit_file_size, make_assign_job, make_plain_model

from kmstream.assign import assign_dataset
from kmstream.dataset import CLUSTER_COLUMNS
from kmstream.errors import CorruptFileError, OutputError, SchemaMismatchError

UTC = datetime.UTC
COLUMNS = {
    "int8": pa.array([1, None, -3], pa.int8()),
    "uint64": pa.array([2**64 - 1, None, 0], pa.uint64()),
    "float16": pa.array([1.5, None, -2.0], pa.float16()),
    "float32": pa.array([1.5, None, float("inf")], pa.float32()),
    "bool": pa.array([True, None, False]),
    "string": pa.array(["a", None, ""]),
    "large_string": pa.array(["a", None, "ü"], pa.large_string()),
    "string_view": pa.array(["a", None, "a much longer string than fits inline"], pa.string_view()),
    "binary": pa.array([b"\0", None, b""]),
    "large_binary": pa.array([b"\0", None, b""], pa.large_binary()),
    "fixed_binary": pa.array([b"ab", None, b"cd"], pa.binary(2)),
    "decimal128": pa.array([decimal.Decimal("1.20"), None, decimal.Decimal("-9.99")], pa.decimal128(12, 2)),
    "decimal256": pa.array([decimal.Decimal("1.20"), None, decimal.Decimal("-9.99")], pa.decimal256(60, 2)),
    "date32": pa.array([datetime.date(2020, 2, 29), None, datetime.date(1, 1, 1)]),
    "time32": pa.array([datetime.time(1, 2), None, datetime.time(23, 59)], pa.time32("ms")),
    "time64": pa.array([1, None, 86_399_999_999_999], pa.time64("ns")),
    "timestamp_s": pa.array([0, None, 10**9], pa.timestamp("s")),
    "timestamp_ns": pa.array([1, None, 10**18 + 1], pa.timestamp("ns")),
    "timestamp_tz": pa.array([datetime.datetime(2020, 1, 1, tzinfo=UTC), None, None], pa.timestamp("us", "Asia/Tokyo")),
    "duration": pa.array([datetime.timedelta(hours=1), None, datetime.timedelta(0)], pa.duration("us")),
    "null": pa.nulls(3),
    "dictionary": pa.array(["a", None, "a"]).dictionary_encode(),
    "dictionary_int8": pa.array(["a", None, "b"], pa.dictionary(pa.int8(), pa.string())),
    "dictionary_ordered": pa.DictionaryArray.from_arrays(pa.array([1, None, 0]), ["lo", "hi"], ordered=True),
    "list": pa.array([[1, None], None, []]),
    "large_list": pa.array([[1, None], None, []], pa.large_list(pa.int16())),
    "fixed_list": pa.array([[1.0, 2.0], None, [3.0, 4.0]], pa.list_(pa.float32(), 2)),
    "struct": pa.array([{"x": 1, "y.z": "a"}, None, {"x": None, "y.z": "b"}]),
    "nested": pa.array([[{"k": [[1], None]}], None, [{"k": None}, None]]),
    "map": pa.array([[("a", 1)], None, []], pa.map_(pa.string(), pa.int32())),
}


def read_whole(path):
    with pq.ParquetFile(path) as file:  # also columns of one name
        return file.read()


# --- columns of the input --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", ["all", [*COLUMNS, "x", "y"]], ids=["copied", "rewritten"])
def test_an_output_keeps_columns_of_all_types_their_nullability_and_metadata(assign, data, files, out, columns):
    extra = {"x": pa.array([0.0, 10.0, 0.0]), "y": pa.array([0.0, 0.0, 10.0])}
    plain = pa.table(COLUMNS | extra)
    fields = [pa.field(f.name, f.type, nullable=f.name not in extra, metadata={"unit": "m"}) for f in plain.schema]
    table = plain.cast(pa.schema(fields, metadata={"who": "me"}))
    files(data, {"a.parquet": table}, compression="zstd")
    assign(chunk_rows=1, output={"columns": columns})
    before, after = pq.read_table(data / "a.parquet"), pq.read_table(out / "a.parquet")
    assert [after.schema.field(name) for name in before.column_names] == list(before.schema)
    assert after.schema.field("x").metadata[b"unit"] == b"m"
    assert after.schema.metadata[b"who"] == b"me"
    assert after.select(before.column_names).equals(before)
    assert after.column("cluster_id").to_pylist() == [0, 1, 2]


def test_an_output_keeps_columns_of_odd_and_equal_names(assign, data, files, out):
    names = ["a.b", "with space", "", "x", "y", "same", "same", "ünï"]
    table = pa.Table.from_arrays([pa.array([float(i)]) for i in range(len(names))], names=names)
    files(data, {"a.parquet": table})
    assign()
    after = read_whole(out / "a.parquet")
    assert after.column_names == [*names, *CLUSTER_COLUMNS]
    assert [column.to_pylist() for column in after.columns[: len(names)]] == [[float(i)] for i in range(len(names))]


@pytest.mark.parametrize("codec", ["NONE", "SNAPPY", "GZIP", "BROTLI", "LZ4", "ZSTD"])
def test_an_output_keeps_the_codec_of_the_input(assign, data, files, blobs, out, codec):
    """Where columns are chosen, all are written again with it; else the old are copied, and the new have none."""
    files(data, {"a.parquet": blobs(50)}, compression=codec)
    names = blobs(0).column_names
    for columns, of_new in (("all", "UNCOMPRESSED"), (names, codec)):
        assign(output={"columns": columns})
        before, after = (pq.read_metadata(folder / "a.parquet").row_group(0) for folder in (data, out))
        assert [after.column(i).compression for i in range(4)] == [before.column(i).compression for i in range(4)]
        assert {after.column(i).compression for i in range(4, 8)} == {of_new if of_new != "NONE" else "UNCOMPRESSED"}


def test_an_output_keeps_metadata_and_adds_version_and_name(assign, data, files, blobs, out):
    files(data, {"a.parquet": blobs(5).replace_schema_metadata({"pandas": "{}", "kmstream.version": "old"})})
    assign()
    metadata = pq.read_schema(out / "a.parquet").metadata
    labels = json.loads(metadata.pop(b"kmstream.labels"))
    assert labels == ["big", "right", "up"]
    assert metadata == {b"pandas": b"{}", b"kmstream.version": b"v000007", b"kmstream.name": b"blobs"}


def test_an_output_carries_the_columns_asked_for(assign, data, files, blobs, out):
    files(data, {"a.parquet": blobs(20).append_column("a.b", pa.array(range(20)))})
    assign(output={"columns": ["a.b", "id"]})
    written = pq.read_table(out / "a.parquet")
    assert written.column_names == ["a.b", "id", *CLUSTER_COLUMNS]
    assert written.column("id").to_pylist() == list(range(20))


def test_a_file_written_again_has_no_schema_of_sparks_that_would_hide_its_columns(assign, data, blobs, out):
    data.mkdir(exist_ok=True)
    table, key = blobs(20), "org.apache.spark.sql.parquet.row.metadata"
    with pq.ParquetWriter(data / "a.parquet", table.schema) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({key: '{"type": "struct", "fields": []}', "team": "retail"})
    assign(output={"columns": ["id"]})
    metadata = pq.read_metadata(out / "a.parquet").metadata
    assert metadata[b"team"] == b"retail"
    assert key.encode() not in metadata


# --- cluster columns -------------------------------------------------------------------------------------------------


def test_an_output_has_cluster_columns_of_the_promised_types(assign, data, files, blobs, out):
    files(data, {"a.parquet": blobs(10), "empty.parquet": blobs(0)})
    assign()
    for name in ("a.parquet", "empty.parquet"):
        kinds = [pq.read_schema(out / name).field(column).type for column in CLUSTER_COLUMNS]
        assert kinds == [pa.int32(), pa.dictionary(pa.int32(), pa.string()), pa.float32(), pa.float32()]
    assert pq.read_metadata(out / "empty.parquet").num_rows == 0


def test_an_output_has_no_margin_where_there_is_one_segment(assign, config, data, files, blobs, out):
    files(data, {"a.parquet": blobs(5)})
    assign(model=make_plain_model(config().features, [(0.0, 0.0)], ["all"]))
    written = pq.read_table(out / "a.parquet")
    assert written.column("cluster_margin").null_count == 5
    assert written.column("cluster_label").to_pylist() == ["all"] * 5


# --- inputs that are refused -----------------------------------------------------------------------------------------


def test_assign_dataset_refuses_a_column_asked_for_that_a_file_lacks(assign, data, files, blobs):
    files(data, {"a.parquet": blobs(20), "b.parquet": blobs(20).drop_columns("id")})
    with pytest.raises(SchemaMismatchError, match=r"output\.columns names 'id'; the file has 'x'") as caught:
        assign(output={"columns": ["id"]})
    assert any("b.parquet" in note for note in caught.value.__notes__)


@pytest.mark.parametrize("name", CLUSTER_COLUMNS)
def test_assign_dataset_refuses_an_input_that_has_a_cluster_column(assign, data, files, blobs, out, tree, name):
    files(data, {"a.parquet": blobs(20).append_column(name, pa.array(range(20)))})
    with pytest.raises(SchemaMismatchError, match=f"already has a column '{name}'") as caught:
        assign()
    assert any("a.parquet" in note for note in caught.value.__notes__)
    assert not out.exists() or tree(out) == []
    assign(output={"columns": ["id"]})
    assert pq.read_schema(out / "a.parquet").names == ["id", *CLUSTER_COLUMNS]


def test_assign_dataset_says_which_input_vanished_instead_of_blaming_the_output(
    config, data, files, blobs, run_of, out
):
    files(data, {"a.parquet": blobs(10)})
    run = run_of(config())
    job = make_assign_job(run, make_plain_model(run.config.features), out)
    (data / "a.parquet").unlink()
    with pytest.raises(CorruptFileError, match=r"a\.parquet.*no such file"):
        assign_dataset(run, job)


# --- disks that fail -------------------------------------------------------------------------------------------------


def test_assign_dataset_tells_when_the_output_cannot_be_written(assign, data, files, blobs, out):
    files(data, {"a.parquet": blobs(10)})
    out.write_text("a file where the folder should be")
    with pytest.raises(OutputError, match=r"a\.parquet can't be written: (Not a directory|File exists)") as caught:
        assign()
    assert "nothing was published" in caught.value.__notes__[-1]


def test_assign_dataset_on_a_full_disk_says_so_and_leaves_no_partial_file(assign, data, files, blobs, out, tree):
    files(data, {"a.parquet": blobs(500), "b.parquet": blobs(20_000)})
    assign(engine={"workers": 1})  # imports what it needs: a limit must not cut off bytecode
    for name in ("a.parquet", "b.parquet"):
        (out / name).unlink()
    with (
        limit_file_size(100_000),
        pytest.raises(OutputError, match=r"b\.parquet can't be written: File too large") as caught,
    ):
        assign(engine={"workers": 1})
    assert any("Free space" in note for note in caught.value.__notes__)
    assert tree(out) == ["a.parquet"]
