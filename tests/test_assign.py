"""The assign pass: every row with its nearest centroid, and the sums that it leaves behind."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from builders import make_assign_job, make_plain_model
from hypothesis import given, settings
from hypothesis import strategies as st

from kmstream.assign import assign_dataset
from kmstream.dataset import CLUSTER_COLUMNS
from kmstream.errors import InvalidFeatureError


def nearest_by_hand(x, y):
    distances = np.hypot(np.subtract.outer(x, [0, 10, 0]), np.subtract.outer(y, [0, 0, 10]))
    return distances.argmin(axis=1), np.sort(distances, axis=1)


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


@settings(max_examples=10)
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
    model = make_plain_model(config.features)
    found = assign_dataset(run, make_assign_job(run, model, base / "out"))
    for path, table in tables.items():
        assert pq.read_table(base / "out" / path).select(table.column_names).equals(table)
    assert found.summary.n_rows == sum(sizes)
    assert [found.entries[path].rows for path in tables] == sizes


def test_assign_dataset_leaves_the_same_sums_for_any_workers_and_chunks(config, data, files, blobs, run_of, tmp_path):
    files(data, {f"{i}.parquet": blobs(5000 + i, seed=i) for i in range(3)})
    found = []
    for workers, chunk_rows in ((1, 4096), (4, 16_384)):
        run = run_of(config(engine={"workers": workers}), chunk_rows=chunk_rows)
        job = make_assign_job(run, make_plain_model(run.config.features), tmp_path / "out")
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


# --- migration from the current model --------------------------------------------------------------------------------


def test_assign_dataset_counts_the_migration_of_weights(assign, config, data, files):
    files(data, {"a.parquet": pa.table({"x": [0.0, 0.0, 10.0], "y": [0.0, 10.0, 0.0], "w": [1.5, 2.5, 4.0]})})
    features = {"features": {"weight": "w"}}
    current = make_plain_model(config(**features).features, [(0.0, 10.0), (5.0, 0.0)], ("one", "two"))
    found = assign(current=current, **features)
    assert found.migration.tolist() == [[0, 0, 2.5], [1.5, 4.0, 0]]
    assert (found.current_sse, found.fit_sse) == (5.5 * 25, 0.0)


def test_assign_dataset_counts_the_migration_from_the_current_model(assign, config, data, files, blobs):
    files(data, {"a.parquet": blobs(500), "b.parquet": blobs(500, seed=1)})
    current = make_plain_model(config().features, [(0.0, 10.0), (5.0, 0.0)], ("one", "two"))
    found = assign(current=current)
    assert found.migration.shape == (2, 3)
    assert found.migration.sum() == 1000
    assert found.migration[1].tolist() == [found.summary.rows[0], found.summary.rows[1], 0]
    assert found.current_sse > found.summary.sse.sum()


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
    model = make_plain_model(config(features=features).features, [(0.0, 1.0, 0.0), (0.0, 0.0, 1.0)], ("zero", "one"))
    found = assign(features=features, model=model)
    assert found.values.unseen == {"kind": 1}
    assert pq.read_table(out / "a.parquet").column("cluster_label").to_pylist() == ["zero", "one", "zero", "one"]
