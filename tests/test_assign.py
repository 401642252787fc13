import datetime
import decimal
import json
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kmstream.assign import AssignJob, assign_dataset, count_migration
from kmstream.assignments import (
    find_pending,
    mark_complete,
    read_manifest,
    refuse_overlap,
    remove_old_versions,
    unfinished_folder,
    write_manifest,
)
from kmstream.clustering import ClusterModel
from kmstream.dataset import CLUSTER_COLUMNS, open_dataset
from kmstream.errors import ConfigError, CorruptFileError, InvalidFeatureError, OutputError, SchemaMismatchError
from kmstream.features import Scaling
from kmstream.matrices import Matrices


def make_model(features, centroids=((0.0, 0.0), (10.0, 0.0), (0.0, 10.0)), labels=("big", "right", "up")):
    """A model in the units of the columns."""
    n_numeric = len(features.numeric)
    n_categories = len(centroids[0]) - n_numeric
    scaling = Scaling(
        np.zeros(n_numeric),
        np.ones(n_numeric),
        np.zeros(n_numeric),
        np.tile(np.arange(9.0), (n_numeric, 1)),
        (tuple(f"c{i}" for i in range(n_categories)),) if n_categories else (),
    )
    return ClusterModel(features, scaling, np.array(centroids), tuple(labels))


def make_job(run, model, folder, *, limits=None, current=None, version="v000001"):
    matrices = Matrices(model.features, model.scaling, run.dataset, run.chunk_rows, run.weighting)
    limits = np.full(len(model.labels), np.inf) if limits is None else np.array(limits)
    return AssignJob.of(run, matrices, model, folder, version, limits, current)


@pytest.fixture
def out(tmp_path):
    return tmp_path / "assigned"


@pytest.fixture
def assign(config, run_of, out):
    """Assign the dataset with a fixed model; gives what the pass left behind."""

    def run(*, current=None, limits=None, chunk_rows=4096, model=None, **sections):
        made = config(**sections)
        model = model or make_model(made.features)
        job_run = run_of(made, chunk_rows=chunk_rows)
        job = make_job(job_run, model, out, limits=limits, current=current, version="v000007")
        return assign_dataset(job_run, job)

    return run


def nearest_by_hand(x, y):
    distances = np.hypot(np.subtract.outer(x, [0, 10, 0]), np.subtract.outer(y, [0, 0, 10]))
    return distances.argmin(axis=1), np.sort(distances, axis=1)


# --- rows ------------------------------------------------------------------------------------------------------------


def test_assign_dataset_writes_every_row_once_in_order_with_its_nearest_centroid(assign, data, files, blobs, out):
    tables = {"a.parquet": blobs(700), "sub/b.parquet": blobs(300, seed=1), "m=04/c.parquet": blobs(5, seed=2)}
    files(data, tables, row_group_size=123)
    found = assign()
    for path, table in tables.items():
        written = pq.read_table(out / path, partitioning=None)
        assert written.column_names == [*table.column_names, *CLUSTER_COLUMNS]
        assert written.select(table.column_names).equals(table)
        ids, distances = nearest_by_hand(table.column("x").to_numpy(), table.column("y").to_numpy())
        assert written.column("cluster_id").to_pylist() == ids.tolist()
        assert written.column("cluster_label").to_pylist() == [("big", "right", "up")[i] for i in ids]
        np.testing.assert_allclose(written.column("cluster_distance").to_numpy(), distances[:, 0], rtol=1e-4)
        margins = distances[:, 1] - distances[:, 0]
        np.testing.assert_allclose(written.column("cluster_margin").to_numpy(), margins, rtol=1e-3, atol=1e-4)
    assert found.summary.n_rows == 1005


@settings(max_examples=20, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 300), min_size=1, max_size=4),
    group=st.integers(1, 200),
    chunk_rows=st.integers(1, 400),
    workers=st.integers(1, 4),
)
def test_assign_dataset_keeps_all_rows_for_any_layout(
    tmp_path_factory, config_in, run_of, files, blobs, sizes, group, chunk_rows, workers
):
    base = tmp_path_factory.mktemp("layout")
    tables = {f"{i}.parquet": blobs(size, seed=i) for i, size in enumerate(sizes)}
    files(base / "data", tables, row_group_size=group)
    config = config_in(base, engine={"workers": workers})
    run = run_of(config, chunk_rows=chunk_rows)
    model = make_model(config.features)
    found = assign_dataset(run, make_job(run, model, base / "out"))
    for path, table in tables.items():
        assert pq.read_table(base / "out" / path).select(table.column_names).equals(table)
    assert found.summary.n_rows == sum(sizes)
    assert [found.entries[path].rows for path in tables] == sizes


def test_assign_dataset_leaves_the_same_sums_for_any_workers_and_chunks(config, data, files, blobs, run_of, tmp_path):
    files(data, {f"{i}.parquet": blobs(5000 + i, seed=i) for i in range(3)})
    found = []
    for workers, chunk_rows in ((1, 4096), (4, 16_384)):
        run = run_of(config(engine={"workers": workers}), chunk_rows=chunk_rows)
        job = make_job(run, make_model(run.config.features), tmp_path / "out")
        found.append(assign_dataset(run, job).summary)
    for name in ("rows", "mean", "m2", "sse", "distance_counts"):
        assert np.array_equal(getattr(found[0], name), getattr(found[1], name))


def test_assign_dataset_summary_is_exact(assign, data, files, blobs):
    table = blobs(9000)
    files(data, {"a.parquet": table})
    summary = assign().summary
    points = np.stack([table.column("x").to_numpy(), table.column("y").to_numpy()], axis=1)
    ids, distances = nearest_by_hand(*points.T)
    assert summary.rows.tolist() == np.bincount(ids).tolist()
    np.testing.assert_allclose(summary.mean, [points[ids == i].mean(axis=0) for i in range(3)], atol=1e-6)
    np.testing.assert_allclose(summary.sse, [np.square(distances[ids == i, 0]).sum() for i in range(3)], rtol=1e-5)


def test_assign_dataset_counts_rows_beyond_the_limits(assign, data, files):
    x = [0.0, 0.9, 1.1, 9.5, 12.5, 2.0]
    files(data, {"a.parquet": pa.table({"x": x, "y": [0.0] * 6})})
    assert assign(limits=[1.0, 2.0, np.inf]).outliers.tolist() == [2, 1, 0]


def test_assign_dataset_counts_rows_by_their_weights_but_lists_them_as_they_are(assign, data, files, out):
    weights = [0.5, 0.0, None, 2.0, 4.0, 8.0]
    files(data, {"a.parquet": pa.table({"x": [0.0, 0.9, 1.1, 9.5, 12.5, None], "y": [0.0] * 6, "w": weights})})
    found = assign(features={"weight": "w", "on_missing": "skip"}, limits=[0.5, 2.0, np.inf])
    assert found.summary.rows.tolist() == [0.5, 6.0, 0.0]
    assert found.outliers.tolist() == [0.0, 4.0, 0.0]
    assert found.values.bins[0].tolist() == [0, 0.5, 0, 0, 0, 0, 0, 0, 0, 6.0, 8.0]
    assert found.counts.tolist() == [3, 2, 0]
    assert found.entries["a.parquet"].rows_per_cluster == {"big": 3, "right": 2, "up": 0}
    assert found.entries["a.parquet"].skipped == {"x: missing": 1}
    assert pq.read_table(out / "a.parquet")["cluster_id"].to_pylist() == [0, 0, 0, 1, 1, None]


def test_assign_dataset_counts_the_migration_of_weights(assign, config, data, files):
    files(data, {"a.parquet": pa.table({"x": [0.0, 0.0, 10.0], "y": [0.0, 10.0, 0.0], "w": [1.5, 2.5, 4.0]})})
    features = {"features": {"weight": "w"}}
    current = make_model(config(**features).features, [(0.0, 10.0), (5.0, 0.0)], ("one", "two"))
    found = assign(current=current, **features)
    assert found.migration.tolist() == [[0, 0, 2.5], [1.5, 4.0, 0]]
    assert (found.current_sse, found.fit_sse) == (5.5 * 25, 0.0)


def test_assign_dataset_counts_the_migration_from_the_current_model(assign, config, data, files, blobs):
    files(data, {"a.parquet": blobs(500), "b.parquet": blobs(500, seed=1)})
    current = make_model(config().features, [(0.0, 10.0), (5.0, 0.0)], ("one", "two"))
    found = assign(current=current)
    assert found.migration.shape == (2, 3)
    assert found.migration.sum() == 1000
    assert found.migration[1].tolist() == [found.summary.rows[0], found.summary.rows[1], 0]
    assert found.current_sse > found.summary.sse.sum()


# --- columns ---------------------------------------------------------------------------------------------------------

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


@pytest.mark.parametrize("name", COLUMNS)
def test_assign_dataset_keeps_a_column_of_any_type(assign, data, files, out, name):
    files(data, {"a.parquet": pa.table({name: COLUMNS[name], "x": [0.0, 10.0, 0.0], "y": [0.0, 0.0, 10.0]})})
    before = pq.read_table(data / "a.parquet")
    assign(chunk_rows=2)
    after = pq.read_table(out / "a.parquet")
    assert after.schema.field(name).equals(before.schema.field(name), check_metadata=True)
    assert after.column(name).combine_chunks().equals(before.column(name).combine_chunks())
    assert after.column("cluster_id").to_pylist() == [0, 1, 2]


def test_assign_dataset_keeps_all_types_together_and_their_nullability(assign, data, files, out):
    extra = {"x": pa.array([0.0, 10.0, 0.0]), "y": pa.array([0.0, 0.0, 10.0])}
    table = pa.table(COLUMNS | extra)
    strict = table.cast(
        pa.schema(
            [pa.field(f.name, f.type, nullable=f.name not in extra, metadata={"unit": "m"}) for f in table.schema]
        )
    )
    files(data, {"a.parquet": strict.replace_schema_metadata({"who": "me"})}, compression="zstd")
    assign(chunk_rows=1)
    before, after = pq.read_schema(data / "a.parquet"), pq.read_schema(out / "a.parquet")
    assert [after.field(name) for name in before.names] == list(before)
    assert after.field("x").metadata[b"unit"] == b"m"
    assert pq.read_table(out / "a.parquet").select(before.names).equals(pq.read_table(data / "a.parquet"))


def test_assign_dataset_keeps_columns_of_odd_and_equal_names(assign, data, files, out):
    names = ["a.b", "with space", "", "x", "y", "same", "same", "ünï"]
    table = pa.Table.from_arrays([pa.array([float(i)]) for i in range(len(names))], names=names)
    files(data, {"a.parquet": table})
    assign()
    with pq.ParquetFile(out / "a.parquet") as file:
        after = file.read()
    assert after.column_names == [*names, *CLUSTER_COLUMNS]
    assert [column.to_pylist() for column in after.columns[: len(names)]] == [[float(i)] for i in range(len(names))]


@pytest.mark.parametrize("codec", ["NONE", "SNAPPY", "GZIP", "BROTLI", "LZ4", "ZSTD"])
def test_assign_dataset_keeps_the_codec_of_the_input(assign, data, files, blobs, out, codec):
    """Where columns are chosen, all are written again with it; else the old are copied, and the new have none."""
    files(data, {"a.parquet": blobs(50)}, compression=codec)
    names = blobs(0).column_names
    for columns, of_new in (("all", "UNCOMPRESSED"), (names, codec)):
        assign(output={"columns": columns})
        before, after = (pq.read_metadata(folder / "a.parquet").row_group(0) for folder in (data, out))
        assert [after.column(i).compression for i in range(4)] == [before.column(i).compression for i in range(4)]
        assert {after.column(i).compression for i in range(4, 8)} == {of_new if of_new != "NONE" else "UNCOMPRESSED"}


def test_assign_dataset_adds_cluster_columns_of_the_promised_types(assign, data, files, blobs, out):
    files(data, {"a.parquet": blobs(10), "empty.parquet": blobs(0)})
    assign()
    for name in ("a.parquet", "empty.parquet"):
        kinds = [pq.read_schema(out / name).field(column).type for column in CLUSTER_COLUMNS]
        assert kinds == [pa.int32(), pa.dictionary(pa.int32(), pa.string()), pa.float32(), pa.float32()]
    assert pq.read_metadata(out / "empty.parquet").num_rows == 0


def test_assign_dataset_gives_no_margin_where_there_is_one_segment(assign, config, data, files, blobs, out):
    files(data, {"a.parquet": blobs(5)})
    assign(model=make_model(config().features, [(0.0, 0.0)], ["all"]))
    written = pq.read_table(out / "a.parquet")
    assert written.column("cluster_margin").null_count == 5
    assert written.column("cluster_label").to_pylist() == ["all"] * 5


def test_assign_dataset_keeps_metadata_and_adds_version_and_name(assign, data, files, blobs, out):
    files(data, {"a.parquet": blobs(5).replace_schema_metadata({"pandas": "{}", "kmstream.version": "old"})})
    assign()
    metadata = pq.read_schema(out / "a.parquet").metadata
    labels = json.loads(metadata.pop(b"kmstream.labels"))
    assert labels == ["big", "right", "up"]
    assert metadata == {b"pandas": b"{}", b"kmstream.version": b"v000007", b"kmstream.name": b"blobs"}


def test_assign_dataset_carries_the_columns_asked_for(assign, data, files, blobs, out):
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


# --- rows that can't be assigned -------------------------------------------------------------------------------------


def test_assign_dataset_keeps_skipped_rows_with_nulls_and_counts_them_by_reason(assign, data, files, out):
    x = [0.0, None, 10.0, float("nan"), float("inf"), -3.0]
    y = [0.0, None, None, 0.0, 0.0, 0.0]
    table = pa.table({"x": x, "y": y})
    files(data, {"a.parquet": table, "b.parquet": pa.table({"x": pa.nulls(4), "y": [1.0] * 4})})
    found = assign(features={"on_missing": "skip", "log1p": ["x"]}, chunk_rows=2)
    written = pq.read_table(out / "a.parquet")
    for name in CLUSTER_COLUMNS:
        assert [value is None for value in written.column(name).to_pylist()] == [False, True, True, True, True, True]
    assert written.column("x").to_pylist()[:3] == x[:3]
    assert dict(found.values.skipped) == {"x: missing": 7, "y: missing": 1, "x: log1p of a value <= -1": 1}
    assert found.entries["b.parquet"].skipped == {"x: missing": 4}
    assert found.summary.n_rows == 1


@pytest.mark.parametrize("policy", ["mean", "median"])
def test_assign_dataset_fills_missing_values_under_the_other_policies(assign, data, files, out, policy):
    files(data, {"a.parquet": pa.table({"x": [None, 10.0], "y": [10.0, float("nan")]})})
    found = assign(features={"on_missing": policy})
    assert pq.read_table(out / "a.parquet").column("cluster_label").to_pylist() == ["up", "right"]
    assert not found.values.skipped


def test_assign_dataset_names_the_row_that_stops_it_and_leaves_nothing_of_the_file(assign, data, files, out, tree):
    good = pa.table({"x": np.zeros(5000), "y": np.zeros(5000)})
    bad = good.set_column(1, "y", pa.array([0.0] * 4500 + [None] + [0.0] * 499))
    files(data, {"a.parquet": good, "b.parquet": bad})
    with pytest.raises(InvalidFeatureError, match="'y' is missing in 1 of 904 rows") as caught:
        assign(engine={"workers": 1})
    assert caught.value.__notes__[0] == "in b.parquet, rows 4096-4999; first such row 4500"
    assert tree(out) == ["a.parquet"]


def test_assign_dataset_assigns_unseen_categories_and_counts_them(assign, config, data, files, out):
    files(data, {"a.parquet": pa.table({"x": [0.0] * 4, "kind": ["c0", "c1", "new", "c1"]})})
    features = {"numeric": ["x"], "categorical": ["kind"]}
    model = make_model(config(features=features).features, [(0.0, 1.0, 0.0), (0.0, 0.0, 1.0)], ("zero", "one"))
    found = assign(features=features, model=model)
    assert found.values.unseen == {"kind": 1}
    assert pq.read_table(out / "a.parquet").column("cluster_label").to_pylist() == ["zero", "one", "zero", "one"]


# --- failing writes --------------------------------------------------------------------------------------------------


def test_assign_dataset_tells_when_the_output_cannot_be_written(assign, data, files, blobs, out):
    files(data, {"a.parquet": blobs(10)})
    out.write_text("a file where the folder should be")
    with pytest.raises(OutputError, match=r"a\.parquet can't be written: (Not a directory|File exists)") as caught:
        assign()
    assert "nothing was published" in caught.value.__notes__[-1]


def test_assign_dataset_says_which_input_vanished_instead_of_blaming_the_output(
    config, data, files, blobs, run_of, out
):
    files(data, {"a.parquet": blobs(10)})
    run = run_of(config())
    job = make_job(run, make_model(run.config.features), out)
    (data / "a.parquet").unlink()
    with pytest.raises(CorruptFileError, match=r"a\.parquet.*no such file"):
        assign_dataset(run, job)


@pytest.mark.slow
def test_assign_dataset_on_a_full_disk_says_so_and_leaves_no_partial_file(tmp_path, files, blobs, tree):
    """The limit on the size of a file plays the full disk."""
    files(tmp_path / "data", {"a.parquet": blobs(500), "b.parquet": blobs(60_000)})
    program = f"""
import resource
from pathlib import Path
import numpy as np
from kmstream.assign import AssignJob, assign_dataset
from kmstream.clustering import ClusterModel
from kmstream.config import parse_config
from kmstream.dataset import open_dataset
from kmstream.engine import Silent
from kmstream.errors import OutputError
from kmstream.features import Scaling
from kmstream.matrices import Matrices
from kmstream.run import Run
base = Path({str(tmp_path)!r})
config = parse_config({{"name": "a", "dataset": {{"path": "data"}}, "features": {{"numeric": ["x", "y"]}},
                        "engine": {{"workers": 1}}}}, base_dir=base)
run = Run(config, open_dataset(config), 4096, Silent())
two = np.zeros(2)
scaling = Scaling(two, two + 1, two, np.tile(np.arange(9.0), (2, 1)))
model = ClusterModel(config.features, scaling, np.array([[0.0, 0.0], [10.0, 0.0]]), ("a", "b"))
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
try:
    matrices = Matrices(config.features, scaling, run.dataset, 4096)
    assign_dataset(run, AssignJob.of(run, matrices, model, base / "assigned", "v000001", np.full(2, np.inf)))
except OutputError as error:
    print(error, *error.__notes__, sep="\\n")
"""
    done = subprocess.run([sys.executable, "-B", "-c", program], capture_output=True, text=True, check=True)
    assert "b.parquet can't be written: File too large" in done.stdout
    assert "Free space" in done.stdout
    assert tree(tmp_path / "assigned") == ["a.parquet"]


def test_replace_file_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, tree):
    program = f"""
import resource
from pathlib import Path
from kmstream.storage import replace_file
path = Path({str(tmp_path)!r}) / "CURRENT"
replace_file(path, "old")
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    replace_file(path, "n" * 5000)
except OSError as error:
    print(type(error).__name__, error)
"""
    done = subprocess.run([sys.executable, "-B", "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("OutputError")
    assert (tmp_path / "CURRENT").read_text() == "old"
    assert tree(tmp_path) == ["CURRENT"]


# --- manifest and folders --------------------------------------------------------------------------------------------


def test_write_manifest_tells_what_was_assigned(assign, config, data, files, blobs, out):
    files(data, {"a.parquet": blobs(30), "sub/b.parquet": pa.table({"x": [0.0, None], "y": [0.0, 0.0]})})
    found = assign(features={"on_missing": "skip"})
    write_manifest(out, found.entries, config(), "v000007")
    content = json.loads((out / "_manifest.json").read_text())
    assert (content["name"], content["version"], content["rows"], content["rows_skipped"]) == (
        "blobs",
        "v000007",
        32,
        1,
    )
    line = content["partitions"]["sub/b.parquet"]
    assert (out / line.pop("output")).is_file()
    assert line.pop("fingerprint")
    assert line.pop("dataset") == str(data)
    counts = {
        "rows_per_cluster": {"big": 1, "right": 0, "up": 0},
        "skipped": {"x: missing": 1},
        "unseen": {},
        "rewritten": "",
    }
    assert line == {"rows": 2} | counts
    assert read_manifest(out) == found.entries
    assert read_manifest(out / "elsewhere") == {}


def test_find_pending_gives_new_and_changed_partitions(assign, config, data, files, blobs):
    files(data, {"a.parquet": blobs(30), "b.parquet": blobs(30)})
    entries = assign().entries
    assert find_pending(open_dataset(config()), entries) == ()
    files(data, {"b.parquet": blobs(31), "c.parquet": blobs(30)})
    assert [p.path for p in find_pending(open_dataset(config()), entries)] == ["b.parquet", "c.parquet"]


def test_unfinished_folder_vanishes_after_an_error_and_stays_for_the_next_run_after_an_interruption(tmp_path):
    place = tmp_path / "deep/v000001"

    def fail(error):
        with unfinished_folder(place) as folder:
            (folder / "new.parquet").write_text("x")
            raise error

    with pytest.raises(ValueError, match="x"):
        fail(ValueError("x"))
    assert not place.exists()
    with pytest.raises(KeyboardInterrupt):
        fail(KeyboardInterrupt())
    with unfinished_folder(place) as folder:
        assert [path.name for path in folder.iterdir()] == ["new.parquet"]


def test_remove_old_versions_keeps_the_newest_and_the_current(tmp_path):
    for number in range(1, 6):
        (tmp_path / f"v{number:06d}").mkdir()
        mark_complete(tmp_path / f"v{number:06d}")
    assert remove_old_versions(tmp_path, 2, "v000002") == ["v000001", "v000003"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["v000002", "v000004", "v000005"]
    assert remove_old_versions(tmp_path, 9, "v000002") == []


@pytest.mark.parametrize("dataset", ["data", "data/", "data/**/*.parquet", "data/*/*.parquet"])
def test_refuse_overlap_refuses_output_that_the_next_run_would_read(config, data, tmp_path, dataset):
    data.mkdir()
    for output in (data, data / "out", data / "deep/out"):
        with pytest.raises(ConfigError, match="lies inside dataset"):
            refuse_overlap(config(dataset={"path": dataset}).dataset.path, output)
    refuse_overlap(config(dataset={"path": dataset}).dataset.path, tmp_path / "data-out")


def test_refuse_overlap_sees_through_links(config, data, tmp_path):
    data.mkdir()
    (tmp_path / "link").symlink_to(data)
    with pytest.raises(ConfigError, match="lies inside dataset"):
        refuse_overlap(config().dataset.path, tmp_path / "link/out")


# --- migration without writing ---------------------------------------------------------------------------------------


def test_count_migration_counts_rows_that_both_models_can_assign(config, data, files, run_of):
    table = pa.table({"x": [0.0, 10.0, 0.0, None], "y": [0.0, 0.0, 10.0, 0.0], "z": [1.0, -1.0, None, 1.0]})
    files(data, {"a.parquet": table})
    after = config(features={"numeric": ["z"]})
    before = make_model(config().features)
    later = make_model(after.features, [(-1.0,), (1.0,)], ("minus", "plus"))
    assert count_migration(run_of(after), before, later).tolist() == [[0, 1], [1, 0], [0, 0]]
