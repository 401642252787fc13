import os
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kmstream.engine import single_threaded
from kmstream.errors import TooFewRowsError
from kmstream.features import to_original_units
from kmstream.fit import fit_centroids
from kmstream.matrices import Matrices
from kmstream.scan import make_scaling, scan_dataset


def fit(run, known=None, scaling=None):
    with single_threaded():
        scan = scan_dataset(run, statistics=True)
        scaling = scaling or make_scaling(run.config.features, scan)
        matrices = Matrices.of(run, run.config.features, scaling)
        return fit_centroids(run, matrices, scan, known), scaling


def centers(run):
    """The centroids in original units, in the order of the first column."""
    found, scaling = fit(run)
    original = to_original_units(found.centroids, run.config.features, scaling)
    return original[np.lexsort(original.T[::-1].round(3))]


def fuzzy(n_rows, seed=0):
    """Rows without clear clusters, where every rounding shows."""
    rng = np.random.default_rng(seed)
    return pa.table({"x": rng.normal(size=n_rows), "y": rng.gamma(2.0, size=n_rows)})


def write_in_groups(folder, table, sizes):
    """One file whose row groups have these sizes, over and over."""
    folder.mkdir(parents=True, exist_ok=True)
    first, at = 0, 0
    with pq.ParquetWriter(folder / "a.parquet", table.schema) as writer:
        while first < table.num_rows:
            size = sizes[at % len(sizes)]
            writer.write_table(table.slice(first, size), row_group_size=size)
            first, at = first + size, at + 1


MODEL = {"n_clusters": 6, "sample_rows": 3000, "n_init": 2, "batch_size": 1000}


def test_fit_centroids_finds_clear_clusters(config, data, files, blobs, run_of):
    files(data, {"a.parquet": blobs(2000), "b.parquet": blobs(2000, seed=1)})
    np.testing.assert_allclose(centers(run_of(config())), [[0, 0], [0, 10], [10, 0]], atol=0.15)


def test_fit_centroids_ends_at_the_means_of_the_rows(config, data, files, blobs, run_of):
    table = blobs(3000)
    files(data, {"a.parquet": table})
    found, scaling = fit(run_of(config()))
    truth = table.column("truth").to_numpy()
    points = np.stack([table.column("x").to_numpy(), table.column("y").to_numpy()], axis=1)
    means = np.stack([points[truth == i].mean(axis=0) for i in range(3)])
    original = to_original_units(found.centroids, config().features, scaling)
    order = [int(np.square(original - mean).sum(axis=1).argmin()) for mean in means]
    np.testing.assert_allclose(original[order], means, atol=1e-6)
    assert found.rows[order].tolist() == np.bincount(truth).tolist()


@pytest.mark.parametrize("algorithm", ["minibatch", "lloyd"])
def test_fit_centroids_tells_its_passes(config, data, files, blobs, run_of, algorithm):
    files(data, {"a.parquet": blobs(1000)})
    model = {"algorithm": algorithm, "tol": 0.0, "max_epochs": 2, "lloyd_passes": 3}
    found, _ = fit(run_of(config(model=model)))
    names = [done.name for done in found.passes]
    assert names == ["start", *(["mini-batch"] * 2 if algorithm == "minibatch" else []), "exact", "exact", "exact"]
    exact = [done.inertia_per_row for done in found.passes if done.name == "exact"]
    assert exact == sorted(exact, reverse=True)
    assert {done.rows for done in found.passes} == {1000}


def test_fit_centroids_stops_exact_passes_below_tol(config, data, files, blobs, run_of):
    files(data, {"a.parquet": blobs(1000)})
    found, _ = fit(run_of(config(model={"algorithm": "lloyd", "lloyd_passes": 50})))
    assert len(found.passes) < 10
    assert found.passes[-1].largest_move < 1e-4


def test_fit_centroids_is_bit_identical_for_any_number_of_workers(config, data, files, run_of):
    files(data, {f"{i}.parquet": fuzzy(4000 + 7 * i, i) for i in range(5)})
    fits = [fit(run_of(config(engine={"workers": n}, model=MODEL)))[0] for n in (1, 2, 4)]
    for other in fits[1:]:
        assert np.array_equal(fits[0].centroids, other.centroids)
        assert np.array_equal(fits[0].rows, other.rows)


@pytest.mark.slow
@settings(max_examples=8, deadline=None)
@given(
    sizes=st.lists(st.integers(50, 9000), min_size=1, max_size=4),
    chunk_rows=st.sampled_from([4096, 8192, 32768, 131072]),
)
def test_fit_centroids_is_bit_identical_for_any_row_groups_and_chunk_rows(
    tmp_path_factory, config_in, run_of, sizes, chunk_rows
):
    base = tmp_path_factory.mktemp("layout")
    config = config_in(base, model=MODEL)
    table = fuzzy(20_000)
    found = []
    for layout, chunk in (([20_000], 131_072), (sizes, chunk_rows)):
        write_in_groups(base / "data", table, layout)
        found.append(fit(run_of(config, chunk_rows=chunk))[0].centroids)
    assert np.array_equal(*found)


@pytest.mark.slow
def test_fit_centroids_is_bit_identical_on_machines_with_other_numbers_of_cores(tmp_path, files, config_in):
    """OpenMP takes its number of threads from the machine; here the environment plays the machine."""
    files(tmp_path / "data", {"a.parquet": fuzzy(30_000)})
    program = f"""
import hashlib
from pathlib import Path
from kmstream.config import parse_config
from kmstream.dataset import open_dataset
from kmstream.engine import Silent, single_threaded
from kmstream.fit import fit_centroids
from kmstream.matrices import Matrices
from kmstream.provenance import Clock
from kmstream.run import Run
from kmstream.store import Store
from kmstream.scan import make_scaling, scan_dataset
config = parse_config(
    {{"name": "a", "dataset": {{"path": "data"}}, "features": {{"numeric": ["x", "y"]}}, "engine": {{"workers": 2}},
      "model": {{"n_clusters": 12, "sample_rows": 20000, "n_init": 4}}}}, base_dir=Path({str(tmp_path)!r}))
run = Run(config, Store(config.output.path), open_dataset(config), Clock(), Silent(), 4096)
with single_threaded():
    scan = scan_dataset(run, statistics=True)
    matrices = Matrices.of(run, config.features, make_scaling(config.features, scan))
    found = fit_centroids(run, matrices, scan, None)
print(hashlib.sha256(found.centroids.tobytes()).hexdigest(), [done.inertia_per_row for done in found.passes])
"""
    digests = {
        subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            text=True,
            check=True,
            env=os.environ | {"OMP_NUM_THREADS": str(n), "OPENBLAS_NUM_THREADS": str(n)},
        ).stdout
        for n in (1, 4, 4)
    }
    assert len(digests) == 1


def test_fit_centroids_is_the_same_for_rows_cut_into_other_files_of_whole_tiles(config, data, files, blobs, run_of):
    files(data, {"a.parquet": blobs(3000)})
    one = centers(run_of(config()))
    (data / "a.parquet").unlink()
    files(data, {f"{i}.parquet": blobs(3000).slice(1000 * i, 1000) for i in range(3)})
    np.testing.assert_allclose(centers(run_of(config())), one, atol=1e-9)


def test_fit_centroids_starts_from_known_centroids_where_they_still_hold(config, data, files, blobs, run_of):
    files(data, {"a.parquet": blobs(3000)})
    first, scaling = fit(run_of(config()))
    known = first.centroids[[2, 0, 1]]
    again, _ = fit(run_of(config(model={"random_state": 7})), known, scaling)
    np.testing.assert_allclose(again.centroids, known, atol=0.02)


def test_fit_centroids_leaves_known_centroids_where_a_cluster_has_moved_far(config, data, files, blobs, run_of):
    files(data, {"a.parquet": blobs(3000)})
    first, scaling = fit(run_of(config()))
    far = ((0.0, 0.0), (10.0, 0.0), (60.0, 60.0))
    files(data, {"a.parquet": blobs(3000, centers=far)})
    again, _ = fit(run_of(config()), first.centroids, scaling)
    original = to_original_units(again.centroids, config().features, scaling)
    np.testing.assert_allclose(original[np.argsort(original[:, 0])], far, atol=0.2)


def test_fit_centroids_leaves_known_centroids_that_are_stuck(config, data, files, blobs, run_of):
    """Two known centroids share one cluster, the third lies between the two others: Lloyd alone never gets out."""
    far = ((0.0, 0.0), (100.0, 0.0), (100.0, 30.0))
    files(data, {"a.parquet": blobs(3000, centers=far)})
    _, scaling = fit(run_of(config()))
    stuck = (np.array([[-1.0, 0.0], [1.0, 0.0], [100.0, 15.0]]) - scaling.center) / scaling.scale
    again, _ = fit(run_of(config()), stuck, scaling)
    original = to_original_units(again.centroids, config().features, scaling)
    np.testing.assert_allclose(original[np.lexsort(original.T.round(0)[::-1])], far, atol=0.3)


def test_fit_centroids_searches_anew_for_another_number_of_clusters(config, data, files, blobs, run_of):
    files(data, {"a.parquet": blobs(3000)})
    first, scaling = fit(run_of(config()))
    again, _ = fit(run_of(config(model={"n_clusters": 2})), first.centroids, scaling)
    assert again.centroids.shape == (2, 2)


def test_fit_centroids_with_clip_gives_no_segment_to_one_outlier(config, data, files, blobs, run_of):
    wild = pa.concat_tables(
        [blobs(3000), pa.table({"id": [0], "x": [1e5], "y": [1e5], "truth": [0]}, schema=blobs(0).schema)]
    )
    files(data, {"a.parquet": wild})
    robust = {"scaling": "robust"}
    free, _ = fit(run_of(config(features=robust)))
    bound, _ = fit(run_of(config(features=robust | {"clip": 3.0})))
    assert free.rows.min() == 1
    assert bound.rows.min() > 400
    assert np.abs(bound.centroids).max() <= 3.0


@pytest.mark.parametrize("algorithm", ["minibatch", "lloyd"])
def test_fit_centroids_ends_at_the_weighted_means_of_the_rows(config, data, files, blobs, run_of, algorithm):
    table = blobs(3000)
    weights, truth = np.random.default_rng(1).gamma(1.0, size=3000), table.column("truth").to_numpy()
    files(data, {"a.parquet": table.append_column("w", pa.array(weights))})
    run = run_of(config(features={"weight": "w"}, model={"algorithm": algorithm, "lloyd_passes": 4}))
    found, scaling = fit(run)
    points = np.stack([table.column("x").to_numpy(), table.column("y").to_numpy()], axis=1)
    means = np.stack([np.average(points[truth == i], axis=0, weights=weights[truth == i]) for i in range(3)])
    original = to_original_units(found.centroids, run.config.features, scaling)
    order = [int(np.square(original - mean).sum(axis=1).argmin()) for mean in means]
    np.testing.assert_allclose(original[order], means, atol=1e-6)
    np.testing.assert_allclose(found.rows[order], np.bincount(truth, weights), rtol=1e-12)
    scaled = (points - means[truth]) / scaling.scale
    inertia = np.average(np.square(scaled).sum(axis=1), weights=weights)
    np.testing.assert_allclose(found.passes[-1].inertia_per_row, inertia, rtol=1e-5)


def test_fit_centroids_with_few_weights_needs_no_weight_of_1_per_cluster(config, data, files, blobs, run_of):
    files(data, {"a.parquet": blobs(300).append_column("w", pa.array(np.full(300, 1e-6)))})
    found, _ = fit(run_of(config(features={"weight": "w"})))
    np.testing.assert_allclose(found.rows.sum(), 3e-4)
    assert np.isfinite([done.inertia_per_row for done in found.passes if done.name == "exact"]).all()


def test_fit_centroids_sees_the_sample_s_rows_at_least_before_the_stream_ends_early(config, data, files, blobs, run_of):
    files(data, {f"{i}.parquet": blobs(3000, seed=i) for i in range(4)})
    for sample_rows, expected in ((1000, 3200), (6000, 6400)):
        model = {"sample_rows": sample_rows, "batch_size": 50, "max_epochs": 1, "tol": 1.0}
        found, _ = fit(run_of(config(model=model)))
        (stream,) = [done for done in found.passes if done.name == "mini-batch"]
        assert stream.rows == expected
        assert {done.rows for done in found.passes if done.name == "exact"} == {12_000}


def test_fit_centroids_leaves_skipped_rows_out(config, data, files, blobs, run_of):
    table = blobs(3000)
    files(data, {"a.parquet": table})
    clean, _ = fit(run_of(config()))
    holes = pa.table({"id": [0] * 3, "x": [None, 5e6, np.nan], "y": [7e6, np.inf, 0.0], "truth": [0] * 3}, table.schema)
    files(data, {"b.parquet": holes})
    skipped, _ = fit(run_of(config(features={"on_missing": "skip"})))
    assert skipped.rows.sum() == 3000
    assert sorted(skipped.rows) == sorted(clean.rows)


def test_fit_centroids_clusters_categories(config, data, files, run_of):
    table = pa.table({"x": np.zeros(300), "kind": ["cat", "dog", "emu"] * 100})
    files(data, {"a.parquet": table})
    found, scaling = fit(run_of(config(features={"numeric": ["x"], "categorical": ["kind"]})))
    assert scaling.categories == (("cat", "dog", "emu"),)
    assert sorted(found.centroids[:, 1:].tolist()) == [[0, 0, 1], [0, 1, 0], [1, 0, 0]]
    assert found.rows.tolist() == [100, 100, 100]


def test_fit_centroids_clusters_hive_values(config, data, files, run_of):
    rows = pa.table({"x": np.zeros(50)})
    files(data, {f"level={level}/a.parquet": rows for level in ("01", "50", "99")})
    levels = centers(run_of(config(features={"numeric": ["x", "level"]})))[:, 1]
    np.testing.assert_allclose(levels, [1.0, 50.0, 99.0], rtol=1e-5)


def test_fit_centroids_refuses_a_dataset_without_rows(config, data, files, blobs, run_of):
    files(data, {"a.parquet": blobs(0)})
    with pytest.raises(TooFewRowsError, match=r"\b0\b.* rows"):
        fit(run_of(config()))


@pytest.mark.parametrize("algorithm", ["minibatch", "lloyd"])
def test_fit_centroids_refuses_fewer_rows_than_clusters(config, data, files, blobs, run_of, algorithm):
    files(data, {"a.parquet": blobs(2)})
    with pytest.raises(TooFewRowsError, match="2 usable rows; expected at least n_clusters=3"):
        fit(run_of(config(model={"algorithm": algorithm})))


def test_fit_centroids_refuses_fewer_distinct_rows_than_clusters(config, data, files, run_of):
    files(data, {"a.parquet": pa.table({"x": [1.0, 2.0] * 50, "y": [0.0] * 100})})
    with pytest.raises(TooFewRowsError, match="only 2 distinct rows among 100"):
        fit(run_of(config()))


@pytest.mark.parametrize("batch_size", [3, 7, 10_000])
def test_fit_centroids_never_gives_nan(config, data, files, run_of, batch_size):
    table = pa.table({"x": [0.0] * 500 + [1.0, 2.0], "y": [5.0] * 502})
    files(data, {"a.parquet": table})
    found, _ = fit(run_of(config(model={"batch_size": batch_size})))
    assert np.isfinite(found.centroids).all()
    assert sorted(found.rows.tolist()) == [1, 1, 500]
