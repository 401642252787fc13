import numpy as np
import pyarrow as pa
import pytest

from kmstream.errors import InvalidFeatureError, TooFewRowsError
from kmstream.scan import make_scaling, scan_dataset, scan_for_fit


def scan(run_of, config, *, statistics=True, chunk_rows=4096):
    return scan_dataset(run_of(config, chunk_rows=chunk_rows), statistics=statistics)


def test_scan_dataset_finds_the_exact_moments_of_all_rows(config, data, files, blobs, run_of):
    table = blobs(50_000)
    files(data, {"a.parquet": table.slice(0, 20_001), "b.parquet": table.slice(20_001)})
    columns = scan(run_of, config()).columns
    values = np.stack([table.column("x").to_numpy(), table.column("y").to_numpy()])
    np.testing.assert_allclose(columns.mean, values.mean(axis=1), rtol=1e-12)
    np.testing.assert_allclose(columns.variance, values.var(axis=1), rtol=1e-12)
    assert columns.n.tolist() == [50_000, 50_000]


def test_scan_dataset_samples_the_same_rows_whatever_the_layout(config, data, files, blobs, run_of):
    table = blobs(30_000)
    files(data, {"a.parquet": table.slice(0, 10_000), "b.parquet": table.slice(10_000)})
    one = scan(run_of, config(engine={"workers": 1}), chunk_rows=4096)
    files(data, {"a.parquet": table.slice(0, 10_000), "b.parquet": table.slice(10_000)}, row_group_size=777)
    two = scan(run_of, config(engine={"workers": 4}), chunk_rows=16_384)
    assert one.sample.equals(two.sample)
    assert one.sample.num_rows == 2000
    assert set(one.sample.column("x").to_pylist()) <= set(table.column("x").to_pylist())
    for name in ("mean", "m2", "low", "high"):
        assert np.array_equal(getattr(one.columns, name), getattr(two.columns, name))


def test_scan_dataset_samples_the_same_rows_with_and_without_statistics(config, data, files, blobs, run_of):
    files(data, {f"{i}.parquet": blobs(100, seed=i) for i in range(40)})
    few = config(model={"sample_rows": 30})
    bare = scan(run_of, few, statistics=False)
    assert bare.sample.equals(scan(run_of, few).sample)
    assert bare.columns.n.tolist() == [0, 0]


def test_scan_dataset_samples_other_rows_for_another_seed(config, data, files, blobs, run_of):
    files(data, {"a.parquet": blobs(5000)})
    samples = [scan(run_of, config(model={"random_state": seed})).sample for seed in (0, 1)]
    assert not samples[0].equals(samples[1])


def test_scan_dataset_leaves_skipped_rows_out_of_everything(config, data, files, run_of):
    table = pa.table({"x": [1.0, 3.0, None, 1000.0], "y": [1.0, 5.0, 1000.0, float("inf")], "c": ["a", "b", "b", "z"]})
    files(data, {"a.parquet": table})
    found = scan(run_of, config(features={"categorical": ["c"], "on_missing": "skip"}, model={"n_clusters": 2}))
    assert found.sample.column("x").to_pylist() == [1.0, 3.0]
    assert found.columns.mean.tolist() == [2.0, 3.0]
    assert found.categories == {"c": {"a": 1, "b": 1}}


def test_scan_dataset_gives_each_sampled_row_its_weight(config, data, files, run_of):
    x = np.random.default_rng(0).normal(size=9000)
    table = pa.table({"x": np.where(np.arange(9000) % 9 == 0, np.nan, x), "y": x, "w": np.square(x)})
    files(data, {"a.parquet": table.slice(0, 5000), "b.parquet": table.slice(5000)})
    for statistics in (True, False):
        made = config(features={"weight": "w", "on_missing": "skip"}, model={"sample_rows": 500})
        found = scan(run_of, made, statistics=statistics)
        np.testing.assert_array_equal(found.weights, np.square(found.sample["x"].to_numpy()))
        assert 400 < len(found.weights) < 500
    assert set(scan(run_of, config(features={"on_missing": "skip"})).weights.tolist()) == {1.0}


def test_scan_dataset_counts_a_skipped_row_for_nothing_whatever_it_weighs(config, data, files, run_of):
    table = pa.table({"x": [1.0, None, 3.0, 9.0], "y": [0.0, 0.0, 4.0, None], "w": [1.0, 10.0, 3.0, 10.0]})
    files(data, {"a.parquet": table})
    found = scan(run_of, config(features={"weight": "w", "on_missing": "skip"}, model={"n_clusters": 2}))
    assert (found.columns.n.tolist(), found.columns.mean.tolist()) == ([4.0, 4.0], [2.5, 3.0])
    assert found.columns.high.tolist() == [3.0, 4.0]


def test_scan_dataset_names_file_and_row_of_a_missing_value(config, data, files, blobs, run_of):
    values = np.arange(5000.0)
    values[4321] = np.nan
    files(data, {"a.parquet": blobs(100), "b.parquet": pa.table({"x": values, "y": values * 0})})
    with pytest.raises(InvalidFeatureError, match="feature 'x' is missing in 1 of 904 rows") as caught:
        scan(run_of, config())
    assert caught.value.__notes__[0] == "in b.parquet, rows 4096-4999; first such row 4321"


@pytest.mark.parametrize("policy", ["skip", "mean", "median"])
def test_scan_dataset_refuses_a_feature_that_is_missing_everywhere(config, data, files, run_of, policy):
    files(data, {"a.parquet": pa.table({"x": pa.nulls(50), "y": np.arange(50.0)})})

    run = run_of(config(features={"on_missing": policy}))
    with pytest.raises(TooFewRowsError, match=r"none of the 50 rows|'x' has no usable value in 50 rows"):
        scan_for_fit(run, None)


@pytest.mark.parametrize("scaling", ["standard", "robust"])
def test_make_scaling_is_finite_where_the_sample_misses_the_few_values_there_are(config, data, files, run_of, scaling):
    x = np.full(5000, np.nan)
    x[17] = 3.0
    files(data, {"a.parquet": pa.table({"x": x, "y": np.arange(5000.0)})})
    sparse = config(features={"on_missing": "median", "scaling": scaling}, model={"sample_rows": 10})
    try:
        found = make_scaling(sparse.features, scan(run_of, sparse))
    except TooFewRowsError:
        return  # saying so is as good
    for values in (found.center, found.scale, found.fill, found.edges):
        assert np.isfinite(values).all()
