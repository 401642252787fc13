import shutil
from pathlib import Path

import pytest
from builders import strict

from kmstream.errors import ConfigError, ModelNotFoundError
from kmstream.names import rename_segment
from kmstream.pipeline import refresh, score
from kmstream.store import Store
from kmstream.versions import (
    describe_version,
    diff_versions,
    find_report,
    list_versions,
    previous_version,
    promote,
    rollback,
)


@pytest.fixture(scope="session")
def _two_versions_once(tmp_path_factory, _published_once, config_in, blobs, files):
    """v000001, and v000002 with a fourth segment."""
    base = tmp_path_factory.mktemp("two")
    shutil.copytree(_published_once, base, dirs_exist_ok=True)
    centers = ((0.0, 0.0), (10.0, 0.0), (0.0, 10.0), (25.0, 25.0))
    files(base / "data", {"m3.parquet": blobs(400, seed=3, centers=centers, weights=(1, 1, 1, 1))})
    assert refresh(config_in(base, model={"n_clusters": 4})).status == "published"
    return base


@pytest.fixture
def two(_two_versions_once, tmp_path, config_in):
    shutil.copytree(_two_versions_once, tmp_path, dirs_exist_ok=True)
    return config_in(tmp_path, model={"n_clusters": 4})


def test_list_versions_tells_which_one_is_current(two):
    lines = strict(list_versions(two))
    assert [(line["version"], line["status"], line["current"]) for line in lines] == [
        ("v000001", "published", False),
        ("v000002", "published", True),
    ]
    assert [(line["n_clusters"], line["baseline"], line["parent"]) for line in lines] == [
        (3, "v000001", None),
        (4, "v000001", "v000001"),
    ]


def test_describe_version_is_plain_json(two):
    found = strict(describe_version(two, "v000002"))
    assert [line["cluster_label"] for line in found["labels"] if line["event"] == "emerged"] == ["segment-04"]
    assert sum(line["rows"] for line in found["labels"]) == found["rows"] == 1200
    assert {check["check"] for check in found["gate"]} >= {"smallest_segment_share", "inertia_against_current"}
    with pytest.raises(ModelNotFoundError, match="no version 'v9'"):
        describe_version(two, "v9")


def test_diff_versions_sets_segments_side_by_side_in_original_units(two):
    found = strict(diff_versions(two, "v000001", "v000002"))
    status = {line["cluster_label"]: line["status"] for line in found["segments"]}
    assert status == {"segment-01": "kept", "segment-02": "kept", "segment-03": "kept", "segment-04": "new"}
    new = next(line for line in found["segments"] if line["status"] == "new")
    assert new["share_from"] is None
    assert new["centroid_to"]["x"] == pytest.approx(25.0, abs=0.5)
    assert found["migration"]["labels_to"] == list(Store(two.output.path).load().model.labels)
    back = diff_versions(two, "v000002", "v000001")["migration"]  # counted from the assignments of both
    pairs = {
        (old, new): n
        for old, row in zip(back["labels_from"], back["rows"], strict=True)
        for new, n in zip(back["labels_to"], row, strict=True)
        if n
    }
    assert set(pairs) == {("segment-01", "segment-01"), ("segment-02", "segment-02"), ("segment-03", "segment-03")}
    assert sum(pairs.values()) == 800  # of the files that both have assigned


def test_rollback_and_promote_move_current_and_are_remembered(two):
    store = Store(two.output.path)
    assert rollback(two)["version"] == "v000001"
    assert store.current == "v000001"
    with pytest.raises(ModelNotFoundError, match="no version was current before v000001"):
        rollback(two)
    assert promote(two, "v000002")["previous"] == "v000001"
    assert rollback(two)["version"] == "v000001"
    assert [line["event"] for line in store.history()[2:]] == ["rolled-back", "promoted", "rolled-back"]


def test_list_versions_tells_what_people_did(two):
    def status():
        return {line["version"]: (line["status"], line["current"]) for line in list_versions(two)}

    rollback(two)
    assert status() == {"v000001": ("published", True), "v000002": ("rolled-back", False)}
    promote(two, "v000002")
    assert status() == {"v000001": ("published", False), "v000002": ("promoted", True)}


def test_promote_refuses_the_current_an_unknown_and_no_version(two):
    for version in ("v000009", "", "."):
        with pytest.raises(ModelNotFoundError, match="no version"):
            promote(two, version)
    with pytest.raises(ConfigError, match="v000002 is the current version already"):
        promote(two, "v000002")
    assert Store(two.output.path).current == "v000002"


def test_previous_version_knows_a_version_published_twice_and_one_that_never_was():
    """A crash between the history's line and CURRENT leaves a line of a version that was not published."""
    steps = [{"event": "published", "version": version} for version in ("v000001", "v000002", "v000002")]
    assert previous_version(steps, "v000002") == "v000001"
    assert previous_version(steps, "v000001") is None


def test_list_versions_marks_a_damaged_version_and_lists_the_rest(two):
    (Store(two.output.path).path("v000001") / "model.json").write_text("{}")
    assert [(line["version"], line["status"]) for line in list_versions(two)] == [
        ("v000001", "damaged"),
        ("v000002", "published"),
    ]


def test_list_versions_passes_over_copies_of_versions(two):
    models = Store(two.output.path).models
    shutil.copytree(models / "v000001", models / "v000001.bak")
    assert [line["version"] for line in list_versions(two)] == ["v000001", "v000002"]
    assert Store(two.output.path).next_version() == "v000003"


def test_promote_refuses_a_version_that_is_not_whole(two):
    (Store(two.output.path).path("v000001") / "model.json").unlink()
    with pytest.raises(ValueError, match=r"model\.json .*sha256"):
        promote(two, "v000001")
    assert Store(two.output.path).current == "v000002"


def test_promote_takes_a_held_version_and_completes_its_assignments(config_here, published, config_in, store):
    held = refresh(config_in(published, model={"n_clusters": 4, "min_cluster_share": 0.5}))
    assert held.status == "held"
    promote(config_here, held.version)
    assert store.current == held.version
    assert (store.assignments(held.version) / "_SUCCESS").exists()
    assert store.status(held.version) == "promoted"


def test_score_after_rollback_uses_the_older_model(two):
    rollback(two)
    result = score(two.model_copy(update={"model": two.model.model_copy(update={"n_clusters": 3})}))
    assert (result.version, result.partitions, result.rows) == ("v000001", 1, 400)


def test_diff_versions_calls_segments_what_they_are_called_today(two):
    rename_segment(two, "segment-02", "vip")
    found = diff_versions(two, "v000001", "v000002")
    assert "vip" in found["migration"]["labels_from"]
    assert "vip" in found["migration"]["labels_to"]
    assert "segment-02" not in str(found)


def test_refresh_after_rollback_gives_no_name_that_a_later_version_gave_to_another_segment(two, blobs, files):
    rollback(two)
    elsewhere = ((0.0, 0.0), (10.0, 0.0), (0.0, 10.0), (-40.0, -40.0))
    data = blobs(400, seed=3, centers=elsewhere, weights=(1, 1, 1, 1))
    files(Path(two.dataset.path), {"m3.parquet": data})
    refit = refresh(two)
    assert [line["cluster_label"] for line in refit.labels if line["event"] == "emerged"] == ["segment-05"]


def test_find_report_gives_the_newest_or_the_one_asked_for(two):
    assert find_report(two).parent.name == "v000002"
    assert find_report(two, "v000001").parent.name == "v000001"
    with pytest.raises(ModelNotFoundError, match="no report of 'v7'"):
        find_report(two, "v7")
    (Store(two.output.path).path("v000001") / "report.html").unlink()
    with pytest.raises(ModelNotFoundError):
        find_report(two, "v000001")
