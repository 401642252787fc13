"""`score`: new and changed partitions, by the current model."""

import json
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from builders import leftovers, names_in, strict, written

from kmstream.pipeline import refresh, score
from kmstream.store import Store
from kmstream.versions import promote


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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_score_against_the_baseline_reports_the_model_too(published, config_in, store, files, blobs):
    files(published / "data", {"m3.parquet": blobs(400, seed=3)})
    refresh(config_in(published))
    files(published / "data", {"m4.parquet": blobs(400, seed=4)})
    result = score(config_in(published, drift={"reference": "baseline"}))
    drift = json.loads(Path(result.report).with_name("drift.json").read_text())
    assert drift["reference"] == drift["against_baseline"]["version"] == "v000001"
    assert drift["against_model"]["version"] == "v000002"


@pytest.mark.slow
def test_score_against_a_baseline_of_other_segments_shows_those_of_today(published, config_in, store, files, blobs):
    more = ((0.0, 0.0), (10.0, 0.0), (0.0, 10.0), (30.0, 30.0))
    files(published / "data", {"m3.parquet": blobs(800, seed=3, centers=more, weights=(1, 1, 1, 1))})
    of_four = config_in(published, model={"n_clusters": 4}, drift={"reference": "baseline"})
    refresh(of_four)
    if store.current == "v000001":
        promote(of_four, "v000002")
    files(published / "data", {"m4.parquet": blobs(400, seed=4, centers=more, weights=(1, 1, 1, 1))})
    result = score(of_four)
    today = store.load().model.labels
    assert {line["cluster_label"] for line in result.labels} >= set(today)
    page = Path(result.report).read_text()
    assert all(label in page for label in today)
