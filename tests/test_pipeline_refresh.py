"""`plan` and `refresh`: a new version, its names, the gate."""

import json
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from builders import break_column, labels_of, leftovers, names_in, strict, written

from kmstream.errors import (
    InvalidFeatureError,
    ModelNotFoundError,
)
from kmstream.pipeline import plan, refresh, score
from kmstream.store import Store


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


@pytest.mark.slow
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


@pytest.mark.slow
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


def test_refresh_goes_on_when_missing_values_come_and_the_policy_follows(published, config_in, store, files, blobs):
    """The error of `on_missing = "error"` says: set it to skip. That must then be enough."""
    table = blobs(400, seed=3)
    files(published / "data", {"m3.parquet": table.set_column(1, "x", pa.array([None] * 4 + [1.0] * 396))})
    with pytest.raises(InvalidFeatureError, match="'x' is missing in 4 of 400"):
        refresh(config_in(published))
    result = refresh(config_in(published, features={"on_missing": "skip"}))
    assert (result.rows, result.rows_skipped) == (1200, 4)


@pytest.mark.parametrize("verb", [refresh, score])
def test_files_without_a_byte_are_told(published, config_in, files, blobs, verb):
    files(published / "data", {"m3.parquet": blobs(100)})
    for name in ("m4.parquet", ".hidden.parquet", "notes.txt"):
        (published / "data" / name).touch()
    assert verb(config_in(published)).empty == ("m4.parquet",)


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


@pytest.mark.slow
def test_refresh_removes_old_assignments_and_no_models(published, config_in, store):
    for seed in (1, 2):
        refresh(config_in(published, output={"keep_versions": 2}, model={"random_state": seed}))
    assert names_in(published / "out/assignments") == ["v000002", "v000003"]
    assert store.versions() == ["v000001", "v000002", "v000003"]
    assert store.load("v000001").version == "v000001"


def test_categories_alone_can_be_fitted_scored_and_refitted(config, data, files):
    table = pa.table({"kind": ["cat"] * 50 + ["dog"] * 30 + ["emu"] * 20})
    files(data, {"a.parquet": table})
    only_kinds = config(features={"numeric": [], "categorical": ["kind"]})
    assert refresh(only_kinds).inertia_per_row == 0.0
    files(data, {"b.parquet": table})
    assert score(only_kinds).severity == "ok"
    assert labels_of(refresh(only_kinds)) == dict.fromkeys(("segment-01", "segment-02", "segment-03"), "kept")


@pytest.mark.slow
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


def test_refresh_with_clip_is_judged_by_what_it_fits(published, config_in, files, blobs):
    """One row far away makes the plain inertia of every fit that does not serve it alone worse."""
    far = pa.Table.from_pylist([blobs(1).to_pylist()[0] | {"x": 1e6}], schema=blobs(1).schema)
    files(published / "data", {"m3.parquet": pa.concat_tables([blobs(400, seed=3), far])})
    refit = refresh(config_in(published, features={"clip": 3.0}))
    (check,) = (check for check in refit.gate if check.check == "inertia_against_current")
    assert check.observed < 1.5
