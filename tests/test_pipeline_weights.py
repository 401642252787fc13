"""A row of weight 3 is as good as three rows, and one of weight 0 as none, from the first pass to drift.json."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from builders import make_passes
from hypothesis import given, settings
from hypothesis import strategies as st

from kmstream.clustering import ClusterModel
from kmstream.errors import TooFewRowsError
from kmstream.life_cycle import classify_life_cycle
from kmstream.pipeline import refresh, score
from kmstream.quality import adjusted_rand_index
from kmstream.store import Store

FEATURES = {
    "numeric": ["x", "y", "z"],
    "categorical": ["kind"],
    "log1p": ["z"],
    "on_missing": "mean",
    "scaling": "standard",
}
WHOLE = {"features": FEATURES | {"weight": "w"}}  # of the weighted rows


def make_table(blobs, n_rows=400, *, seed=0, **keys):
    """Clear blobs, also in the skewed column with holes; categories, and whole weights from 0 to 4."""
    table, rng = blobs(n_rows, seed=seed, **keys), np.random.default_rng(seed + 100)
    z = np.exp(2.0 * table["truth"].to_numpy() + rng.normal(0.0, 0.2, n_rows))
    z[rng.integers(0, n_rows, n_rows // 50)] = np.nan
    for name, values in {"z": z, "kind": rng.choice(["a", "b", "c"], n_rows), "w": rng.integers(0, 5, n_rows)}.items():
        table = table.append_column(name, pa.array(values))
    return table


def repeat(table):
    """Each row as often as it counts."""
    return table.take(np.repeat(np.arange(table.num_rows), table.column("w").to_numpy()))


def close(one, two, *, rtol=1e-6, atol=1e-9):
    """Whether two trees of JSON hold the same, numbers up to rounding."""
    if isinstance(one, dict):
        assert one.keys() == two.keys()
        for key in one:
            close(one[key], two[key], rtol=rtol, atol=atol)
    elif isinstance(one, list):
        assert len(one) == len(two)
        for a, b in zip(one, two, strict=True):
            close(a, b, rtol=rtol, atol=atol)
    elif isinstance(one, float | int) and not isinstance(one, bool):
        np.testing.assert_allclose(one, two, rtol=rtol, atol=atol)
    else:
        assert one == two


def sorted_by_place(centroids):
    return np.lexsort(np.round(centroids.T[::-1], 3))


def compare_versions(one, two):
    """All that a version holds in numbers; clusters are matched by their labels."""
    for name in ("center", "scale", "fill"):
        np.testing.assert_allclose(getattr(one.model.scaling, name), getattr(two.model.scaling, name), rtol=1e-9)
    assert np.array_equal(one.model.scaling.edges, two.model.scaling.edges)
    assert one.model.scaling.categories == two.model.scaling.categories
    at = [two.model.labels.index(label) for label in one.model.labels]
    np.testing.assert_allclose(one.model.centroids, two.model.centroids[at], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(one.summary.rows, two.summary.rows[at])
    np.testing.assert_allclose(one.summary.mean, two.summary.mean[at], rtol=1e-6, atol=1e-7)
    for name in ("m2", "sse"):
        np.testing.assert_allclose(getattr(one.summary, name), getattr(two.summary, name)[at], rtol=1e-6, atol=1e-6)
    differ = np.abs(one.summary.distance_counts - two.summary.distance_counts[at]).sum()
    assert (
        differ <= 0.01 * one.summary.n_rows
    )  # centroids apart by rounding may move a distance over the end of its bin
    np.testing.assert_allclose(one.summary.distance_quantile(0.99), two.summary.distance_quantile(0.99)[at], rtol=0.016)
    assert np.array_equal(one.bins, two.bins)


def compare_drift(one, two):
    """Drift, and the table of who went where; the share beyond a limit may differ by a row or two at its very edge."""
    for side in (one, two):
        side["totals"].pop("outlier_share")
        for segment in side["segments"]:
            segment.pop("outlier_share")
        side["segments"].sort(key=lambda segment: segment["cluster_label"])
        side["reasons"].sort(key=lambda reason: (reason["measure"], str(reason)))
        if table := side["migration"]:
            order = np.argsort(table["labels_to"])
            table["rows"] = np.array(table["rows"])[np.argsort(table["labels_from"])][:, order].tolist()
            table["labels_from"], table["labels_to"] = sorted(table["labels_from"]), sorted(table["labels_to"])
        for against in ("against_baseline", "against_model"):
            side.pop(against)
    close(one, two, rtol=1e-5, atol=1e-7)


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["lloyd", "minibatch"])
def test_refresh_of_weighted_rows_is_that_of_the_rows_repeated(tmp_path, config_in, files, blobs, algorithm):
    moved = ((0.0, 0.0), (11.0, 1.0), (0.0, 10.0))
    then = {"a.parquet": make_table(blobs), "b.parquet": make_table(blobs, 150, seed=1)}
    later = {
        "a.parquet": make_table(blobs, seed=2, centers=moved, weights=(0.2, 0.3, 0.5)),
        "b.parquet": then["b.parquet"],
    }
    model = {"algorithm": algorithm, "lloyd_passes": 4}
    stores, results = [], []
    for name, sections in (("weighted", WHOLE), ("repeated", {"features": FEATURES})):
        made = config_in(tmp_path / name, model=model, **sections)
        found = []
        for tables in (then, later):
            rows = tables if name == "weighted" else {path: repeat(table) for path, table in tables.items()}
            files(tmp_path / name / "data", rows)
            found.append(refresh(made))
        stores.append(Store(made.output.path))
        results.append(found)
    for version in ("v000001", "v000002"):
        one, two = (store.load(version) for store in stores)
        compare_versions(one, two)
        compare_drift(*(store.read_json(version, "drift.json") for store in stores))
        exact = [
            [done["inertia_per_row"] for done in each.passes if done["pass"] == "exact"][-1] for each in (one, two)
        ]
        np.testing.assert_allclose(*exact, rtol=1e-6)
        checks = [{check.check: [check.ok, float(check.observed)] for check in each.gate} for each in (one, two)]
        for each in checks:
            each.pop("silhouette_drop", None)  # is of sampled rows, each of which counts once
        close(*checks)
    for one, two in zip(*results, strict=True):
        assert (one.status, one.severity) == (two.status, two.severity)
        np.testing.assert_allclose(one.inertia_per_row, two.inertia_per_row, rtol=1e-6)
        shares = [{line["cluster_label"]: line["share"] for line in each.labels} for each in (one, two)]
        close(*shares, rtol=1e-12)
        assert one.rows == 550  # rows of the files, whatever they weigh
    assert results[0][1].severity != "ok"
    moved_rows = stores[0].read_json("v000002", "drift.json")["migration"]["rows"]
    assert np.sum(moved_rows) == sum(table.column("w").to_numpy().sum() for table in later.values())


@pytest.mark.slow
def test_score_of_weighted_rows_is_that_of_the_rows_repeated(tmp_path, config_in, files, blobs):
    drift = []
    window = make_table(blobs, 300, seed=3, weights=(0.1, 0.8, 0.1))
    for name, sections in (("weighted", WHOLE), ("repeated", {"features": FEATURES})):
        made = config_in(tmp_path / name, **sections)
        turn = repeat if name == "repeated" else lambda table: table
        files(tmp_path / name / "data", {"a.parquet": turn(make_table(blobs))})
        refresh(made)
        files(tmp_path / name / "data", {"b.parquet": turn(window)})
        result = score(made)
        (report,) = (tmp_path / name / "out/reports").iterdir()
        drift.append(json.loads((report / "drift.json").read_text()))
        drift[-1].pop("current")
        manifest = json.loads((tmp_path / name / "out/assignments/v000001/_manifest.json").read_text())
        rows = 300 if name == "weighted" else int(window.column("w").to_numpy().sum())
        assert result.rows == manifest["partitions"]["b.parquet"]["rows"] == rows
        assert sum(one["rows"] for one in result.labels) == rows
        assert sum(manifest["partitions"]["b.parquet"]["rows_per_cluster"].values()) == rows
    compare_drift(*drift)


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["lloyd", "minibatch"])
@settings(max_examples=6)
@given(
    seed=st.integers(0, 999), scaling=st.sampled_from(["standard", "robust", "minmax"]), bound=st.sampled_from([0, 2])
)
def test_passes_over_weighted_rows_are_those_over_the_rows_repeated(
    tmp_path_factory, config_in, files, blobs, run_of, algorithm, seed, scaling, bound
):
    base, table = tmp_path_factory.mktemp("times"), make_table(blobs, 150, seed=seed)
    features = FEATURES | {"categorical": [], "scaling": scaling, "clip": bound}
    found = []
    for name, rows, weight in (("weighted", table, {"weight": "w"}), ("repeated", repeat(table), {})):
        files(base / name / "data", {"a.parquet": rows.slice(0, 50), "b.parquet": rows.slice(50)})
        made = config_in(base / name, features=features | weight, model={"algorithm": algorithm, "lloyd_passes": 5})
        first = make_passes(run_of(made), base / name)
        current = ClusterModel(made.features, first.scaling, np.eye(2, 3), ("one", "two"))
        found.append((first, make_passes(run_of(made), base / name, current=current)))
    (first, one), (_, two) = found
    for name in ("n", "missing", "low", "high", "mean", "m2"):
        np.testing.assert_allclose(getattr(one.scan.columns, name), getattr(two.scan.columns, name), rtol=1e-9)
    for name in ("center", "scale", "fill", "edges"):
        np.testing.assert_allclose(getattr(one.scaling, name), getattr(two.scaling, name), rtol=1e-9)
    a, b = (sorted_by_place(each.fit.centroids) for each in (one, two))
    np.testing.assert_allclose(one.fit.centroids[a], two.fit.centroids[b], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(one.fit.rows[a], two.fit.rows[b])
    np.testing.assert_allclose(one.fit.passes[-1].inertia_per_row, two.fit.passes[-1].inertia_per_row, rtol=1e-6)
    for name in ("rows", "mean", "m2", "sse"):
        here, there = getattr(one.assigned.summary, name)[a], getattr(two.assigned.summary, name)[b]
        np.testing.assert_allclose(here, there, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(one.assigned.migration[:, a], two.assigned.migration[:, b])
    for name in ("fit_sse", "current_sse"):
        np.testing.assert_allclose(getattr(one.assigned, name), getattr(two.assigned, name), rtol=1e-6)
    assert np.array_equal(one.assigned.values.bins, two.assigned.values.bins)
    assert first.assigned.counts.sum() == 150  # every row is assigned


def test_rows_of_no_weight_change_nothing(tmp_path, config_in, files, blobs, run_of):
    """Rows far off, that would have a segment of their own; they are assigned."""
    table = blobs(300).append_column("w", pa.array(np.full(300, 2.0)))
    wild = blobs(300, seed=1, centers=((-70.0, 90.0),), weights=(1.0,)).append_column("w", pa.array(np.zeros(300)))
    found = []
    for name, rows in (("without", table), ("with", pa.concat_tables([table, wild]))):
        files(tmp_path / name / "data", {"a.parquet": rows})
        found.append(make_passes(run_of(config_in(tmp_path / name, features={"weight": "w"})), tmp_path / name))
    one, two = found
    a, b = (sorted_by_place(each.fit.centroids) for each in found)
    np.testing.assert_allclose(one.scaling.scale, two.scaling.scale, rtol=1e-9)
    assert np.array_equal(one.scaling.edges, two.scaling.edges)
    np.testing.assert_allclose(one.fit.centroids[a], two.fit.centroids[b], rtol=1e-9)
    np.testing.assert_allclose(one.assigned.summary.sse[a], two.assigned.summary.sse[b], rtol=1e-6)
    assert np.array_equal(one.assigned.values.bins, two.assigned.values.bins)
    assert pq.read_table(tmp_path / "with/assigned/a.parquet")["cluster_id"].null_count == 0
    assert two.assigned.counts.sum() == 600


def test_a_category_of_no_weight_gets_no_column(config, data, files, run_of, tmp_path):
    table = pa.table({"x": [0.0, 1.0] * 30, "kind": ["a", "b", "never"] * 20, "w": [1.0, 1.0, 0.0] * 20})
    files(data, {"a.parquet": table})
    made = config(features={"numeric": ["x"], "categorical": ["kind"], "weight": "w"}, model={"n_clusters": 2})
    assert make_passes(run_of(made), tmp_path).scaling.categories == (("a", "b"),)


@pytest.mark.parametrize("policy", ["error", "skip"])
def test_refresh_refuses_rows_that_all_weigh_nothing(config, data, files, blobs, policy):
    files(data, {"a.parquet": blobs(100).append_column("w", pa.array(np.zeros(100)))})
    with pytest.raises(TooFewRowsError, match="weight"):
        refresh(config(features={"weight": "w", "on_missing": policy}))
    files(data, {"a.parquet": blobs(100).append_column("w", pa.array(np.ones(100)))})
    refresh(config(features={"weight": "w"}))
    files(data, {"a.parquet": blobs(100).append_column("w", pa.array(np.zeros(100)))})
    with pytest.raises(TooFewRowsError, match="weight"):  # the scaling is known then
        refresh(config(features={"weight": "w", "on_missing": policy}))


@pytest.mark.slow
def test_refresh_of_weights_far_below_1_says_the_same_as_of_large_ones(tmp_path, config_in, files, blobs):
    """Forgotten rows may weigh less than one row in all."""
    shift = ((0.5, 0.0), (10.0, 0.0), (0.0, 10.0))
    found = []
    for name, size in (("large", 1.0), ("small", 2.0**-14)):
        made = config_in(tmp_path / name, features={"weight": "w"})
        for keys in ({}, {"seed": 1, "centers": shift, "weights": (0.6, 0.3, 0.1)}):
            table = blobs(600, **keys)
            weights = (1.0 + np.arange(600) % 3) * size
            files(tmp_path / name / "data", {"a.parquet": table.append_column("w", pa.array(weights))})
            result = refresh(made)
        found.append((result, Store(made.output.path)))
    (large, one), (small, two) = found
    assert (small.status, [line["event"] for line in small.labels]) == (
        large.status,
        [line["event"] for line in large.labels],
    )
    close([line["share"] for line in small.labels], [line["share"] for line in large.labels])
    close(small.inertia_per_row, large.inertia_per_row)
    reports = [store.read_json("v000002", "drift.json") for store in (one, two)]
    for here, there in zip(*(report["segments"] for report in reports), strict=True):
        for key in ("share", "reference_share", "centroid_shift", "centroid_shift_radii", "inertia_ratio", "overlap"):
            assert (here[key] is None) == (there[key] is None), key
            if here[key] is not None:
                close(here[key], there[key])
        close(there["rows"], here["rows"] * 2.0**-14)
        assert there["outlier_share"] == pytest.approx(here["outlier_share"], abs=0.01)
        close(
            [(one["feature"], one["in_sd"]) for one in here["moved_most"]],
            [(one["feature"], one["in_sd"]) for one in there["moved_most"]],
        )
    assert reports[1]["totals"]["outlier_share"] == pytest.approx(reports[0]["totals"]["outlier_share"], abs=0.01)


@pytest.mark.parametrize("size", [1.0, 2.0**-14, 2.0**14])
def test_what_became_of_segments_is_told_by_shares_of_weight(size):
    life = classify_life_cycle(np.array([[90, 10, 0], [40, 0, 40], [0, 0, 5]]) * size, ["a", "b", "c"], ["a", "n", "m"])
    assert life.status == {"a": "kept", "b": "split", "c": "retired", "n": "emerged", "m": "emerged"}
    assert life.overlap == {"a": pytest.approx(0.9)}


@pytest.mark.parametrize("size", [2.0**-14, 0.01, 0.3, 2.0**14])
@pytest.mark.parametrize("table", [[[300, 100], [100, 300]], [[50, 50], [50, 50]], [[400, 0], [0, 7]]])
def test_adjusted_rand_index_of_weights_is_about_that_of_rows(table, size):
    rows = np.array(table)
    assert adjusted_rand_index(rows * size) == pytest.approx(adjusted_rand_index(rows), abs=0.02)


def test_a_version_of_weighted_rows_is_read_as_it_was_written(tmp_path, config_in, files, blobs, run_of):
    made = config_in(tmp_path, features={"weight": "w"})
    table = blobs(300).append_column("w", pa.array(np.random.default_rng(0).random(300)))
    files(tmp_path / "data", {"a.parquet": table})
    refresh(made)
    version = Store(made.output.path).load()
    assigned = make_passes(run_of(made), tmp_path).assigned
    assert version.summary.rows.tobytes() == assigned.summary.rows.tobytes()
    assert np.array_equal(version.summary.distance_counts, assigned.summary.distance_counts)
    assert np.array_equal(version.bins, assigned.values.bins)


@pytest.mark.slow
def test_names_go_on_by_overlap_of_weights_where_features_change(tmp_path, config_in, files):
    """The first segment goes on where most of its weight goes, not where most of its rows go."""
    x, y = np.repeat([0.0, 9.0], 40), np.repeat([0.0, 9.0, 9.0, 0.0], [30, 10, 15, 25])
    found = []
    for name, heavy in (("light", 1.0), ("heavy", 100.0)):
        table = pa.table({"x": x, "y": y, "w": np.repeat([1.0, heavy, 1.0], [30, 10, 40])})
        files(tmp_path / name / "data", {"a.parquet": table})
        features = {"weight": "w", "scaling": "none"}
        keys = {"model": {"n_clusters": 2, "min_cluster_share": 0.0}, "labels": {"min_overlap": 0.0}}
        refresh(config_in(tmp_path / name, features=features | {"numeric": ["x"]}, **keys))
        result = refresh(config_in(tmp_path / name, features=features | {"numeric": ["y"]}, **keys), baseline=True)
        store = Store(result.assignments.rpartition("/assignments")[0])
        label = dict.fromkeys(("then", "now"))
        for when, version in (("then", "v000001"), ("now", "v000002")):
            labels = pq.read_table(store.assignments(version) / "a.parquet")["cluster_label"].to_pylist()
            label[when] = labels[0], labels[35]  # of a row that stays, and of one that goes over
        found.append((label["then"][0] == label["now"][0], label["then"][1] == label["now"][1]))
    assert found == [(True, False), (False, True)]
