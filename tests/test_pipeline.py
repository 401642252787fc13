import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kmstream.errors import (
    ConfigError,
    CorruptFileError,
    InvalidFeatureError,
    LockHeldError,
    ModelNotFoundError,
    OutputError,
    SchemaMismatchError,
    TooFewRowsError,
)
from kmstream.pipeline import plan, refresh, score
from kmstream.store import Store
from kmstream.versions import promote


@pytest.fixture
def config_here(published, config_in):
    return config_in(published)


@pytest.fixture
def store(published):
    return Store(published / "out")


def strict(result):
    """What `--json` prints: no NaN, no infinity, no numpy."""
    return json.loads(json.dumps(result.to_json(), allow_nan=False))


def labels_of(result):
    return {line["cluster_label"]: line["event"] for line in result.labels}


def written(store, name, version=None):
    return pq.read_table(store.assignments(version or store.current) / name)


def leftovers(tree, folder):
    return [name for name in tree(folder) if ".tmp" in name]


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def break_column(path, name):
    """Overwrite the pages of one column; the footer and the other columns stay whole."""
    metadata = pq.read_metadata(path)
    content = bytearray(path.read_bytes())
    column = metadata.row_group(0).column(metadata.schema.names.index(name))
    start = min(filter(None, (column.dictionary_page_offset, column.data_page_offset)))
    content[start : start + column.total_compressed_size] = b"\xff" * column.total_compressed_size
    path.write_bytes(content)


# --- the first refresh -----------------------------------------------------------------------------------------------


def test_plan_reads_footers_only(config, data, files, blobs):
    files(data, {"a.parquet": blobs(100)})
    break_column(data / "a.parquet", "x")
    assert plan(config()).rows == 100


def test_refresh_names_segments_by_size_and_publishes(published, store, tree):
    files = ["m1.parquet", "m2.parquet"]
    truth = Counter(v for name in files for v in pq.read_table(published / "data" / name).column("truth").to_pylist())
    assigned = pa.concat_tables([written(store, name) for name in files])
    pairs = Counter(zip(assigned["truth"].to_pylist(), assigned["cluster_label"].to_pylist(), strict=True))
    assert pairs == {(i, f"segment-0{i + 1}"): n for i, n in truth.items()}
    assert store.current == "v000001"
    assert tree(store.assignments("v000001")) == ["_SUCCESS", "_manifest.json", *files]
    assert [line["event"] for line in store.history()] == ["published"]
    assert tree(published / "out")[:1] == ["assignments"]
    assert not leftovers(tree, published)


def test_refresh_twice_in_two_empty_folders_gives_identical_centroids(tmp_path, config_in, files):
    rng = np.random.default_rng(0)
    table = pa.table({"x": rng.normal(size=6000), "y": rng.gamma(2.0, size=6000)})
    found = []
    for name in ("one", "two"):
        files(tmp_path / name / "data", {"a.parquet": table.slice(0, 2500), "b.parquet": table.slice(2500)})
        refresh(config_in(tmp_path / name, model={"n_clusters": 5, "min_cluster_share": 0.0}))
        found.append(tmp_path / name / "out/models/v000001")
    for name in ("centroids.parquet", "summary.parquet", "sample.parquet"):
        assert (found[0] / name).read_bytes() == (found[1] / name).read_bytes()


def test_refresh_tells_what_it_did_in_plain_json(config, data, files):
    table = pa.table({"x": [0.0] * 50 + [9.0] * 30 + [None] * 5, "y": [0.0] * 80 + [1.0] * 5})
    files(data, {"a.parquet": table})
    result = strict(refresh(config(model={"n_clusters": 2}, features={"on_missing": "skip"})))
    assert (result["version"], result["status"], result["rows"], result["rows_skipped"]) == (
        "v000001",
        "published",
        85,
        5,
    )
    assert {line["cluster_label"]: line["rows"] for line in result["labels"]} == {"segment-01": 50, "segment-02": 30}
    assert result["inertia_per_row"] == pytest.approx(0.0, abs=1e-9)
    assert set(result["seconds"]) == {"scan", "fit", "assign", "total"}
    assert Path(result["report"]).is_file()
    assert (Path(result["assignments"]) / "a.parquet").is_file()
    assert result["peak_rss_bytes"] > 2**20


def test_refresh_remembers_the_configuration_as_it_was_given(config, data, files, blobs):
    """Also where the run takes as many workers as the machine has cores: its digest is the same on all of them."""
    files(data, {"a.parquet": blobs(300)})
    made = config(engine={"workers": 0})
    refresh(made)
    assert Store(made.output.path).load().provenance["config"] == made.model_dump(mode="json")


def test_refresh_only_fits_the_partitions_asked_for_and_remembers_them(config, data, files, blobs):
    files(data, {"old/a.parquet": blobs(200), "new/b.parquet": blobs(300)})
    result = refresh(config(), only=["old"])
    store = Store(config().output.path)
    assert result.rows == 200
    assert store.load().provenance["only"] == ["old"]
    assert list(store.load().provenance["partitions"]) == ["old/a.parquet"]
    assert score(config()).rows == 300


# --- refits ----------------------------------------------------------------------------------------------------------


def test_refresh_with_another_seed_keeps_every_name(published, config_in, store):
    before = {name: written(store, name)["cluster_label"].to_pylist() for name in ("m1.parquet", "m2.parquet")}
    result = refresh(config_in(published, model={"random_state": 99}))
    assert labels_of(result) == dict.fromkeys(("segment-01", "segment-02", "segment-03"), "kept")
    assert store.read_json("v000002", "drift.json")["ari"] >= 0.99
    assert {name: written(store, name)["cluster_label"].to_pylist() for name in before} == before
    assert result.severity == "ok"


def test_refresh_keeps_the_scaling_of_the_baseline(published, config_here, store, files, blobs):
    files(published / "data", {"m3.parquet": blobs(2000, seed=5, centers=((0.0, 0.0), (12.0, 0.0), (0.0, 10.0)))})
    refresh(config_here)
    first, second = store.load("v000001"), store.load("v000002")
    for name in ("center", "scale", "fill", "edges"):
        assert np.array_equal(getattr(first.model.scaling, name), getattr(second.model.scaling, name))
    assert (second.baseline, second.parent) == ("v000001", "v000001")
    assert second.summary.n_rows == 2800


def test_refresh_gives_a_new_segment_a_new_name_and_retires_one_that_is_gone(config, data, files, blobs, tree):
    files(data, {"a.parquet": blobs(600)})
    refresh(config())
    moved = ((0.0, 0.0), (10.0, 0.0), (60.0, 60.0))
    files(data, {"a.parquet": blobs(600, centers=moved)})
    result = refresh(config())
    assert labels_of(result) == {"segment-01": "kept", "segment-02": "kept", "segment-04": "emerged"}
    assert [line["cluster_label"] for line in result.retired] == ["segment-03"]
    assert Store(config().output.path).load().retired[0]["version"] == "v000002"
    files(data, {"a.parquet": blobs(600)})
    again = refresh(config())
    assert labels_of(again)["segment-05"] == "emerged"
    assert "segment-03" not in labels_of(again)


def test_refresh_is_judged_against_the_model_or_the_baseline_as_asked(published, config_in, store, files, blobs):
    for seed, shift in ((5, 0.0), (6, 3.0)):
        moved = ((0.0, 0.0), (10.0 + shift, 0.0), (0.0, 10.0))
        files(published / "data", {f"m{i}.parquet": blobs(3000, seed=seed + i, centers=moved) for i in (1, 2)})
        refresh(config_in(published))
    files(published / "data", {"m3.parquet": blobs(3000, seed=3, centers=moved)})
    drift = {}
    for reference in ("model", "baseline"):
        result = score(config_in(published, drift={"reference": reference}))
        drift[reference] = json.loads((Path(result.report).parent / "drift.json").read_text())
        os.utime(published / "data/m3.parquet", ns=(0, hash(reference) % 10**15))
    assert drift["model"]["reference"] == "v000003"
    assert drift["baseline"]["reference"] == "v000001"
    assert drift["model"]["severity"] == "ok"
    assert drift["baseline"]["severity"] == "alert"
    assert drift["model"]["against_baseline"]["version"] == "v000001"
    assert drift["model"]["against_baseline"]["severity"] == "alert"


def test_refresh_refuses_changed_features_and_names_the_way_out(published, config_in, store):
    for features in ({"numeric": ["x"]}, {"log1p": ["x"]}, {"scaling": "robust"}, {"categorical": ["id"]}):
        with pytest.raises(ConfigError, match=r"features\.\w+ is .*v000001 has") as caught:
            refresh(config_in(published, features=features))
        assert "--baseline" in caught.value.__notes__[-1]
    assert store.versions() == ["v000001"]


def test_refresh_goes_on_when_missing_values_come_and_the_policy_follows(published, config_in, store, files, blobs):
    """The error of `on_missing = "error"` says: set it to skip. That must then be enough."""
    table = blobs(400, seed=3)
    files(published / "data", {"m3.parquet": table.set_column(1, "x", pa.array([None] * 4 + [1.0] * 396))})
    with pytest.raises(InvalidFeatureError, match="'x' is missing in 4 of 400"):
        refresh(config_in(published))
    result = refresh(config_in(published, features={"on_missing": "skip"}))
    assert (result.rows, result.rows_skipped) == (1200, 4)


# --- a new baseline --------------------------------------------------------------------------------------------------


def test_refresh_baseline_learns_a_new_scaling_and_keeps_the_names(published, config_here, store, files, blobs):
    wider = ((0.0, 0.0), (14.0, 0.0), (0.0, 14.0))
    files(published / "data", {f"m{i}.parquet": blobs(400, seed=i, centers=wider) for i in (1, 2)})
    result = refresh(config_here, baseline=True)
    assert labels_of(result) == dict.fromkeys(("segment-01", "segment-02", "segment-03"), "kept")
    second = store.load("v000002")
    assert (second.baseline, second.parent) == ("v000002", "v000001")
    assert not np.array_equal(second.model.scaling.scale, store.load("v000001").model.scaling.scale)
    strict(result)


@pytest.mark.parametrize("output", [{}, {"columns": ["id"]}])
def test_refresh_baseline_keeps_the_names_where_the_features_change(published, config_in, store, output):
    features = {"numeric": ["y", "truth"], "scaling": "minmax"}
    result = refresh(config_in(published, features=features, output=output), baseline=True)
    assert labels_of(result) == dict.fromkeys(("segment-01", "segment-02", "segment-03"), "kept")
    assert store.read_json("v000002", "drift.json")["ari"] >= 0.99
    if not output:
        table = written(store, "m1.parquet")
        assert set(zip(table["truth"].to_pylist(), table["cluster_label"].to_pylist(), strict=True)) == {
            (0, "segment-01"),
            (1, "segment-02"),
            (2, "segment-03"),
        }


def test_refresh_baseline_can_leave_a_hive_feature_behind(config, data, files, blobs):
    files(data, {f"level={i}/a.parquet": blobs(200, seed=i) for i in range(2)})
    refresh(config(features={"numeric": ["x", "y", "level"]}))
    result = refresh(config(), baseline=True)
    assert len(labels_of(result)) == 3


def test_refresh_baseline_can_leave_a_column_behind_that_is_gone(published, config_in, files, blobs):
    files(published / "data", {f"m{i}.parquet": blobs(400, seed=i).drop_columns("y") for i in (1, 2)})
    result = refresh(config_in(published, features={"numeric": ["x", "truth"]}), baseline=True)
    assert result.version == "v000002"


@pytest.mark.parametrize("verb", [refresh, score])
def test_other_weights_than_the_model_has_are_refused(published, config_in, verb):
    """Shares of weights and shares of rows differ, and all of it would be told as drift."""
    with pytest.raises(ConfigError, match=r"features\.weight is 'id'; v000001 has ''") as caught:
        verb(config_in(published, features={"weight": "id"}))
    assert "--baseline" in caught.value.__notes__[-1]


@pytest.mark.parametrize("verb", [refresh, score])
def test_files_without_a_byte_are_told(published, config_in, files, blobs, verb):
    files(published / "data", {"m3.parquet": blobs(100)})
    for name in ("m4.parquet", ".hidden.parquet", "notes.txt"):
        (published / "data" / name).touch()
    assert verb(config_in(published)).empty == ("m4.parquet",)


def test_refresh_baseline_keeps_the_names_where_the_weight_is_gone(published, config_in, files, blobs):
    refresh(config_in(published, features={"weight": "id"}), baseline=True)
    files(published / "data", {f"m{i}.parquet": blobs(400, seed=i).drop_columns("id") for i in (1, 2)})
    result = refresh(config_in(published), baseline=True)
    assert labels_of(result) == dict.fromkeys(("segment-01", "segment-02", "segment-03"), "kept")


# --- the gate --------------------------------------------------------------------------------------------------------


def test_refresh_holds_a_version_with_a_tiny_segment(config, data, files, blobs):
    files(data, {"a.parquet": blobs(600, weights=(0.5, 0.49, 0.01))})
    result = refresh(config(model={"min_cluster_share": 0.05}))
    store = Store(config().output.path)
    assert result.status == "held"
    failed = [check for check in strict(result)["gate"] if not check["ok"]]
    assert [check["check"] for check in failed] == ["smallest_segment_share"]
    assert failed[0]["observed"] < failed[0]["limit"] == 0.05
    assert store.current is None
    assert store.versions() == ["v000001"]
    assert not (store.assignments("v000001") / "_SUCCESS").exists()
    assert [line["event"] for line in store.history()] == ["held"]
    with pytest.raises(ModelNotFoundError):
        score(config())


def test_refresh_holds_a_version_of_worse_inertia_and_leaves_current(published, config_in, store, tree):
    before = {
        path: (published / "out" / path).stat().st_mtime_ns for path in tree(published / "out") if "v000001/" in path
    }
    result = refresh(config_in(published, model={"n_clusters": 2}))
    assert result.status == "held"
    assert "inertia_against_current" in {check["check"] for check in strict(result)["gate"] if not check["ok"]}
    assert store.current == "v000001"
    assert store.status("v000002") == "held"
    assert not (store.assignments("v000002") / "_SUCCESS").exists()
    assert {path: (published / "out" / path).stat().st_mtime_ns for path in before} == before


def test_refresh_held_against_a_perfect_model_is_still_plain_json(config, data, files):
    files(data, {"a.parquet": pa.table({"x": [0.0, 4.0, 8.0] * 100, "y": [0.0] * 300})})
    refresh(config())
    result = refresh(config(model={"n_clusters": 2}))
    assert result.status == "held"
    strict(result)
    for path in Path(config().output.path).rglob("*.json*"):
        for line in path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]:
            json.loads(line, parse_constant=lambda word, path=path: pytest.fail(f"{word} in {path.name}"))


def test_refresh_removes_old_assignments_and_no_models(published, config_in, store):
    for seed in (1, 2):
        refresh(config_in(published, output={"keep_versions": 2}, model={"random_state": seed}))
    assert names_in(published / "out/assignments") == ["v000002", "v000003"]
    assert store.versions() == ["v000001", "v000002", "v000003"]
    assert store.load("v000001").version == "v000001"


# --- score -----------------------------------------------------------------------------------------------------------


def test_score_needs_a_model(config, data, files, blobs):
    files(data, {"a.parquet": blobs(20)})
    with pytest.raises(ModelNotFoundError, match="no model has been published"):
        score(config())


def test_score_with_nothing_new_does_nothing_and_says_so(config_here, published, tree):
    before = {name: (published / "out" / name).stat().st_mtime_ns for name in tree(published / "out")}
    result = score(config_here)
    assert (result.partitions, result.rows, result.report) == (0, 0, None)
    assert strict(result)["retrain"] == {"requested": False, "why": "no new or changed partitions"}
    assert {name: (published / "out" / name).stat().st_mtime_ns for name in tree(published / "out")} == before


def test_score_assigns_only_new_and_changed_partitions(config_here, published, store, files, blobs, now):
    kept = (store.assignments("v000001") / "m1.parquet").stat().st_mtime_ns
    files(published / "data", {"m2.parquet": blobs(300, seed=7), "m3.parquet": blobs(200, seed=8)})
    result = score(config_here, now=now)
    assert (result.partitions, result.rows, result.severity) == (2, 500, "ok")
    assert (store.assignments("v000001") / "m1.parquet").stat().st_mtime_ns == kept
    assert written(store, "m2.parquet").num_rows == 300
    manifest = json.loads((store.assignments("v000001") / "_manifest.json").read_text())
    assert {path: line["rows"] for path, line in manifest["partitions"].items()} == {
        "m1.parquet": 400,
        "m2.parquet": 300,
        "m3.parquet": 200,
    }
    assert score(config_here, now=now).partitions == 0
    assert store.versions() == ["v000001"]


def test_score_measures_the_drift_of_the_new_rows_alone(config_here, published, store, files, blobs, now, tree):
    files(published / "data", {"m3.parquet": blobs(300, seed=3, weights=(0.1, 0.8, 0.1))})
    result = score(config_here, now=now)
    assert result.severity == "alert"
    assert {reason["measure"] for reason in result.reasons} >= {"share_psi", "share_change"}
    assert result.retrain["requested"]
    drift = json.loads((Path(result.report).parent / "drift.json").read_text())
    assert drift["totals"]["rows"] == 300
    assert (drift["reference"], drift["current"]) == ("v000001", result.run_id)
    assert [line["event"] for line in store.history()] == ["published", "drift", "retrain-requested"]
    strict(result)
    files(published / "data", {"m4.parquet": blobs(300, seed=4, weights=(0.1, 0.8, 0.1))})
    soon = score(config_here, now=now + timedelta(hours=1))
    assert (soon.severity, soon.retrain["requested"]) == ("alert", False)
    assert "cooldown" in soon.retrain["why"]
    files(published / "data", {"m5.parquet": blobs(600, seed=5)})
    quiet = score(config_here, now=now + timedelta(days=2))
    assert (quiet.severity, quiet.cleared) == ("ok", True)
    assert names_in(published / "out/reports") == sorted([result.run_id, soon.run_id, quiet.run_id])
    assert not leftovers(tree, published)


def test_score_twice_in_a_second_keeps_both_reports(config_here, published, files, blobs, now):
    runs = []
    for name in ("m3.parquet", "m4.parquet"):
        files(published / "data", {name: blobs(50, seed=3)})
        runs.append(score(config_here, now=now).run_id)
    assert len(set(runs)) == 2
    assert names_in(published / "out/reports") == sorted(runs)


def test_score_only_limits_the_partitions(config_here, published, files, blobs):
    files(published / "data", {"m3.parquet": blobs(30), "m4.parquet": blobs(40)})
    assert score(config_here, only=["m4*"]).rows == 40
    assert score(config_here).rows == 30


def test_score_counts_a_partition_in_which_every_row_is_skipped(published, config_in, store, files):
    config = config_in(published, features={"on_missing": "skip"})
    files(published / "data", {"m3.parquet": pa.table({"x": pa.nulls(30), "y": [1.0] * 30})})
    result = score(config)
    assert (result.partitions, result.rows, result.rows_skipped) == (1, 30, 30)
    assert written(store, "m3.parquet")["cluster_id"].null_count == 30
    strict(result)
    assert score(config).partitions == 0


def test_score_takes_a_new_partition_without_rows(config_here, published, store, files, blobs):
    files(published / "data", {"m3.parquet": blobs(0)})
    result = score(config_here)
    assert (result.partitions, result.rows) == (1, 0)
    strict(result)
    assert score(config_here).partitions == 0


def test_score_that_fails_leaves_the_manifest_and_goes_on_next_time(config_here, published, store, files, blobs, tree):
    good = blobs(300, seed=3)
    files(published / "data", {"m3.parquet": good, "m4.parquet": good})
    break_column(published / "data/m4.parquet", "x")
    manifest = (store.assignments("v000001") / "_manifest.json").read_bytes()
    with pytest.raises(CorruptFileError, match=r"m4\.parquet can't be read"):
        score(config_here)
    assert (store.assignments("v000001") / "_manifest.json").read_bytes() == manifest
    assert not leftovers(tree, published)
    files(published / "data", {"m4.parquet": good})
    assert score(config_here).partitions == 2


# --- features of every kind ------------------------------------------------------------------------------------------


def test_categories_alone_can_be_fitted_scored_and_refitted(config, data, files):
    table = pa.table({"kind": ["cat"] * 50 + ["dog"] * 30 + ["emu"] * 20})
    files(data, {"a.parquet": table})
    only_kinds = config(features={"numeric": [], "categorical": ["kind"]})
    assert refresh(only_kinds).inertia_per_row == 0.0
    files(data, {"b.parquet": table})
    assert score(only_kinds).severity == "ok"
    assert labels_of(refresh(only_kinds)) == dict.fromkeys(("segment-01", "segment-02", "segment-03"), "kept")


def test_hive_folders_can_be_features_from_end_to_end(config, data, files):
    rows = pa.table({"x": [0.0, 1.0] * 50})
    files(
        data, {f"kind={kind}/level={level}/a.parquet": rows for kind, level in (("a", "01"), ("b", "50"), ("c", "99"))}
    )
    hive = config(features={"numeric": ["x", "level"], "categorical": ["kind"]})
    refresh(hive)
    files(data, {"kind=new/level=50/a.parquet": rows})
    assert score(hive).partitions == 1
    store = Store(hive.output.path)
    path = store.assignments("v000001") / "kind=a/level=01/a.parquet"
    assert pq.read_schema(path).names == ["x", "cluster_id", "cluster_label", "cluster_distance", "cluster_margin"]
    assert store.load().model.scaling.categories == (("a", "b", "c"),)
    assert len(labels_of(refresh(hive))) == 3


# --- failing and interrupted runs ------------------------------------------------------------------------------------


def failing_job(config, data, files, blobs, how):
    """A dataset and a configuration that can't be refreshed, and the error that says so."""
    good = {"a.parquet": blobs(300), "b.parquet": blobs(300, seed=1)}
    files(data, good)
    if how == "no such path":
        return config(dataset={"path": "nowhere"}), FileNotFoundError, "does not exist"
    if how == "corrupt footer":
        (data / "b.parquet").write_bytes(b"PAR1 and nothing good PAR1")
        return config(), CorruptFileError, r"b\.parquet"
    if how == "corrupt pages":
        break_column(data / "b.parquet", "x")
        return config(engine={"workers": 1}), CorruptFileError, r"b\.parquet can't be read"
    if how == "corrupt pages to write again":
        break_column(data / "b.parquet", "id")  # no feature: found by the last pass
        return config(output={"columns": ["id"]}), CorruptFileError, r"b\.parquet can't be read"
    if how == "missing column":
        files(data, {"b.parquet": good["b.parquet"].drop_columns("x")})
        return config(), SchemaMismatchError, "'x' is missing"
    if how == "text column":
        files(data, {"b.parquet": good["b.parquet"].set_column(1, "x", pa.array(["1"] * 300))})
        return config(), SchemaMismatchError, "'x' has type string"
    if how == "missing values":
        files(data, {"b.parquet": good["b.parquet"].set_column(1, "x", pa.array([float("nan")] * 300))})
        return config(), InvalidFeatureError, "'x' is missing in 300 of 300"
    if how == "all rows missing":
        files(data, {name: table.set_column(1, "x", pa.nulls(300)) for name, table in good.items()})
        return config(features={"on_missing": "skip"}), TooFewRowsError, "600"
    if how == "too few rows":
        (data / "b.parquet").unlink()
        files(data, {"a.parquet": blobs(2)})
        return config(), TooFewRowsError, "n_clusters=3"
    files(data, {"b.parquet": good["b.parquet"].append_column("cluster_id", pa.array(range(300)))})
    return config(), SchemaMismatchError, "already has a column 'cluster_id'"


@pytest.mark.parametrize(
    "how",
    [
        "no such path",
        "corrupt footer",
        "corrupt pages",
        "corrupt pages to write again",
        "missing column",
        "text column",
        "missing values",
        "all rows missing",
        "too few rows",
        "cluster column",
    ],
)
def test_refresh_that_fails_publishes_nothing_and_leaves_nothing(config, data, files, blobs, tree, how):
    job, error, text = failing_job(config, data, files, blobs, how)
    with pytest.raises(error, match=text) as caught:
        refresh(job)
    assert getattr(caught.value, "exit_code", None) == 3
    assert caught.value.__notes__
    store = Store(job.output.path)
    assert store.current is None
    assert [name for name in tree(store.output) if name not in {"models", "models/.lock", "assignments"}] == []
    files(data, {"a.parquet": blobs(300), "b.parquet": blobs(300, seed=1)})
    again = refresh(config())
    assert (again.version, again.status, again.rows) == ("v000001", "published", 600)


def test_refresh_refuses_columns_that_cannot_be_written_before_it_fits(config, data, files, blobs):
    files(data, {"a.parquet": blobs(300)})
    stages = []

    class Watch:
        def start(self, stage, rows):
            stages.append(stage)

        def advance(self, rows):
            pass

    with pytest.raises(SchemaMismatchError, match="'nope'"):
        refresh(config(output={"columns": ["nope"]}), progress=Watch())
    assert stages == []


@pytest.mark.parametrize("stage", ["scan", "exact pass", "assign"])
@pytest.mark.slow
def test_refresh_interrupted_by_ctrl_c_leaves_only_what_the_next_run_goes_on_from(
    published, config_in, store, files, blobs, tree, stage
):
    files(published / "data", {f"n{i}.parquet": blobs(3000, seed=i) for i in range(6)})
    before = tree(published / "out")
    program = f"""
import os, signal
from pathlib import Path
from kmstream.config import parse_config
from kmstream.pipeline import refresh
class Interrupt:
    def start(self, stage, rows):
        self.stage, self.rows = stage, 0
    def advance(self, rows):
        self.rows += rows
        if self.stage == {stage!r} and self.rows > 3000:
            os.kill(os.getpid(), signal.SIGINT)
config = parse_config({{"name": "blobs", "dataset": {{"path": "data"}}, "features": {{"numeric": ["x", "y"]}},
                        "model": {{"n_clusters": 3, "sample_rows": 2000}}, "engine": {{"workers": 2}}}},
                      base_dir=Path({str(published)!r}))
refresh(config, progress=Interrupt())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "KeyboardInterrupt" in done.stderr
    left = set(tree(published / "out")) - set(before)
    assert all(name.startswith("assignments/.v000002.refresh") for name in left)
    assert (stage == "assign") == bool(left)
    result = refresh(config_in(published))
    assert result.version == "v000002"
    assert (result.resumed > 0) == bool(left)
    assert not [name for name in tree(published / "out") if "/." in name and not name.endswith(".lock")]


def test_refresh_that_fails_after_publishing_keeps_the_published_assignments(config, data, files, blobs):
    """Whatever CURRENT names is whole, also when the line in the history can't be written any more."""
    files(data, {"a.parquet": blobs(300)})
    store = Store(config().output.path)
    (store.models / "history.jsonl").mkdir(parents=True)
    with pytest.raises(OSError, match=r"history\.jsonl"):
        refresh(config())
    assert store.current is None or (store.assignments(store.current) / "a.parquet").is_file()


def test_refresh_refuses_to_run_beside_another_run(config_here, store):
    with store.lock("blobs"):
        for verb in (refresh, score):
            with pytest.raises(LockHeldError):
                verb(config_here)


@pytest.mark.parametrize("path", ["data/out", "data"])
def test_refresh_refuses_output_inside_the_dataset(config, data, files, blobs, tree, path):
    files(data, {"a.parquet": blobs(300)})
    with pytest.raises(ConfigError, match="lies inside dataset"):
        refresh(config(output={"path": path}))
    assert tree(data) == ["a.parquet"]


def test_refresh_tells_that_the_output_cannot_be_written(config, data, files, blobs, tmp_path):
    files(data, {"a.parquet": blobs(300)})
    (tmp_path / "out").mkdir()
    (tmp_path / "out/models").write_text("a file")
    with pytest.raises(OutputError, match="can't be written"):
        refresh(config())


def test_refresh_refuses_an_output_that_is_a_file(config, data, files, blobs, tmp_path):
    files(data, {"a.parquet": blobs(300)})
    (tmp_path / "out").write_text("a file")
    with pytest.raises(ConfigError, match="is a file; expected a folder"):
        refresh(config())


def test_refresh_and_score_refuse_the_folder_of_another_segmentation(config_here):
    other = config_here.model_copy(update={"name": "other"})
    for verb in (refresh, score):
        with pytest.raises(ConfigError, match=r"name is 'other'; .* holds the segmentation 'blobs'"):
            verb(other)


def test_refresh_refuses_to_start_anew_where_only_current_is_lost(config_here, store):
    (store.models / "CURRENT").unlink()
    for verb in (refresh, score):
        with pytest.raises(ModelNotFoundError, match="CURRENT is missing, though v000001") as caught:
            verb(config_here)
        assert "models promote v000001" in caught.value.__notes__[-1]
    promote(config_here, "v000001")
    assert score(config_here).partitions == 0


def test_refresh_refuses_a_fill_value_that_the_baseline_has_not(published, config_in):
    with pytest.raises(ConfigError, match="on_missing is 'median'; v000001 has 'error'"):
        refresh(config_in(published, features={"on_missing": "median"}))


def test_refresh_with_clip_is_judged_by_what_it_fits(published, config_in, files, blobs):
    """One row far away makes the plain inertia of every fit that does not serve it alone worse."""
    far = pa.Table.from_pylist([blobs(1).to_pylist()[0] | {"x": 1e6}], schema=blobs(1).schema)
    files(published / "data", {"m3.parquet": pa.concat_tables([blobs(400, seed=3), far])})
    refit = refresh(config_in(published, features={"clip": 3.0}))
    (check,) = (check for check in refit.gate if check.check == "inertia_against_current")
    assert check.observed < 1.5


def test_score_of_a_window_in_which_a_feature_is_lost_is_drift_and_clears_none(published, config_in, files, blobs):
    skip = config_in(published, features={"on_missing": "skip"})
    table = blobs(400, seed=3)
    files(published / "data", {"m3.parquet": table.set_column(1, "x", pa.nulls(400, pa.float64()))})
    result = score(skip)
    assert (result.rows, result.rows_skipped, result.severity, result.cleared) == (400, 400, "alert", False)


def test_score_counts_unseen_categories_in_the_manifest(config, data, files):
    files(data, {"a.parquet": pa.table({"x": [0.0, 1.0] * 50, "kind": ["a", "b"] * 50})})
    job = config(features={"numeric": ["x"], "categorical": ["kind"]}, model={"n_clusters": 2})
    refresh(job)
    files(data, {"b.parquet": pa.table({"x": [0.0, 1.0], "kind": ["a", "new"]})})
    score(job)
    manifest = json.loads((Store(job.output.path).assignments("v000001") / "_manifest.json").read_text())
    assert manifest["partitions"]["b.parquet"]["unseen"] == {"kind": 1}


def test_score_against_the_baseline_reports_the_model_too(published, config_in, store, files, blobs):
    files(published / "data", {"m3.parquet": blobs(400, seed=3)})
    refresh(config_in(published))
    files(published / "data", {"m4.parquet": blobs(400, seed=4)})
    result = score(config_in(published, drift={"reference": "baseline"}))
    drift = json.loads(Path(result.report).with_name("drift.json").read_text())
    assert drift["reference"] == drift["against_baseline"]["version"] == "v000001"
    assert drift["against_model"]["version"] == "v000002"


def test_refresh_refuses_too_many_categories(config, data, files):
    files(data, {f"{i}.parquet": pa.table({"kind": [f"{i}-{j}" for j in range(60)]}) for i in range(3)})
    with pytest.raises(InvalidFeatureError, match="'kind' has 180 values; at most 100"):
        refresh(config(features={"numeric": [], "categorical": ["kind"]}))


@pytest.mark.slow
def test_refresh_on_a_full_disk_publishes_nothing_and_leaves_nothing(published, config_in, files, blobs, tree):
    """A real file system of 14 MB that holds two versions, but not the assignments."""
    disk = published / "disk"
    disk.mkdir()
    if (
        shutil.which("mount") is None
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=14m", "tmpfs", disk], capture_output=True, check=False
        ).returncode
    ):
        pytest.skip("mounting a small file system is not permitted here")
    try:
        config = config_in(published, output={"path": "disk/out"})
        assert refresh(config).status == "published"
        before = tree(disk)
        files(published / "data", {f"n{i}.parquet": blobs(100_000, seed=i) for i in range(4)})
        with pytest.raises(OutputError, match=r"\.parquet can't be written: No space left on device"):
            refresh(config)
        assert tree(disk) == before
        assert Store(config.output.path).load().version == "v000001"
        with pytest.raises(OutputError, match="No space left on device"):
            score(config)
        assert not leftovers(tree, disk)
        assert Store(config.output.path).load().version == "v000001"
    finally:
        subprocess.run(["umount", disk], check=True)
