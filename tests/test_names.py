"""The names of segments: listed, suggested, changed, written into assignments, frozen."""

import json

import pyarrow.parquet as pq
import pytest
from builders import digests

from kmstream.errors import ConfigError
from kmstream.names import freeze_labels, list_labels, rename_segment, suggest_labels
from kmstream.pipeline import refresh, score
from kmstream.versions import promote, rollback

NAMES = {"segment-01", "segment-02", "segment-03"}  # of v000001


@pytest.fixture
def four(published, config_in, files, blobs):
    """Add a partition with a fourth segment; give a configuration that asks for it."""
    centers = ((0.0, 0.0), (10.0, 0.0), (0.0, 10.0), (25.0, 25.0))
    files(published / "data", {"m3.parquet": blobs(400, seed=3, centers=centers, weights=(1, 1, 1, 1))})
    return config_in(published, model={"n_clusters": 4})


def sizes_of(config):
    """Give the versions in which each name has a size."""
    return {line["cluster_label"]: [size["version"] for size in line["size_history"]] for line in list_labels(config)}


# --- listed, suggested ------------------------------------------------------------------------------------------------


def test_list_labels_tells_current_and_retired_names(four, config_in, published):
    refresh(four)
    refresh(config_in(published, model={"n_clusters": 3}), only=["m1*", "m2*"])
    lines = {line["cluster_label"]: line for line in list_labels(four)}
    assert lines["segment-04"]["status"] == "retired"
    assert lines["segment-04"]["retired"] == "v000003"
    assert lines["segment-01"]["born"] == "v000001"
    assert sum(line["rows"] for line in lines.values()) == 800
    json.dumps(list_labels(four), allow_nan=False)


@pytest.mark.slow
def test_list_labels_follows_the_size_of_a_segment_under_all_its_names(config_here, published, config_in):
    rename_segment(config_here, "segment-02", "vip")
    refresh(config_in(published, model={"random_state": 1}))
    refresh(config_in(published, model={"min_cluster_share": 0.5}))  # held: nobody has ever used it
    rename_segment(config_here, "vip", "gold")
    line = next(line for line in list_labels(config_here) if line["cluster_label"] == "gold")
    assert [size["version"] for size in line["size_history"]] == ["v000001", "v000002"]
    assert all(size["share"] == pytest.approx(line["share"], abs=0.01) for size in line["size_history"])
    assert line["size_history"][-1]["rows"] == line["rows"]
    assert line["description"].startswith("x far above the average (")


@pytest.mark.slow
def test_list_labels_after_a_rollback_has_the_current_version_last_and_the_names_of_today(four, published, config_in):
    refresh(four)
    rename_segment(four, "segment-02", "vip")
    rollback(four)
    three = config_in(published)
    moved = ["v000002", "v000001"]
    assert sizes_of(three) == {"segment-01": moved, "vip": moved, "segment-03": moved}
    rename_segment(three, "segment-01", "gold")  # also in the version that is no longer the current one
    assert sizes_of(three) == {"gold": moved, "vip": moved, "segment-03": moved}
    for line in list_labels(three):
        assert line["size_history"][-1] == {"version": "v000001", "rows": line["rows"], "share": line["share"]}
    promote(three, "v000002")
    both = ["v000001", "v000002"]
    assert sizes_of(four) == {"gold": both, "vip": both, "segment-03": both, "segment-04": ["v000002"]}


def test_suggest_labels_proposes_names_that_can_be_taken(config_here, published):
    rename_segment(config_here, "segment-01", "very-high-x")
    found = suggest_labels(config_here)
    assert all(line["suggestion"] != "very-high-x" for line in found)
    for line in found:
        rename_segment(config_here, line["cluster_label"], line["suggestion"])
    assert {line["cluster_label"] for line in list_labels(config_here)} == {line["suggestion"] for line in found}
    json.dumps(found, allow_nan=False)


# --- changed ----------------------------------------------------------------------------------------------------------


def test_rename_segment_changes_no_file_of_any_version(config_here, store):
    before = digests(store.path("v000001"))
    assert rename_segment(config_here, "segment-02", "vip", reason="they pay") == {
        "old": "segment-02",
        "new": "vip",
        "version": "v000001",
    }
    assert digests(store.path("v000001")) == before
    assert "vip" in store.load().model.labels
    assert store.history()[-1]["reason"] == "they pay"


def test_rename_segment_is_used_by_scores_and_refits(config_here, published, store, files, blobs):
    rename_segment(config_here, "segment-02", "vip")
    files(published / "data", {"m3.parquet": blobs(400, seed=3)})
    result = score(config_here)
    assert {line["cluster_label"] for line in result.labels} == {"segment-01", "vip", "segment-03"}
    for file in ("m1", "m2", "m3"):  # after a run, all assignments of the version say the new name
        written = pq.read_table(store.assignments("v000001") / f"{file}.parquet").column("cluster_label").to_pylist()
        assert set(written) == {"segment-01", "vip", "segment-03"}
    refit = refresh(config_here)
    assert {line["cluster_label"]: line["event"] for line in refit.labels} == {
        "segment-01": "kept",
        "vip": "kept",
        "segment-03": "kept",
    }


@pytest.mark.parametrize(
    ("new", "problem", "cure"),
    [
        ("", "it is empty", "Choose one of at most 80 visible characters"),
        (" \u00a0", "it is empty", "visible"),
        (" gold", "it begins or ends with a blank", "no blank at its ends"),
        ("gold\t", "it begins or ends with a blank", "no blank at its ends"),
        ("vip", "it is called that already", "Choose another, or leave it"),
        ("segment-01", "it is or was one already", "a name is never used twice"),
        ("segment-02", "it is or was one already", "a name is never used twice"),  # what it was called before
        ("go\nld", "it holds a character that can't be shown", "visible"),
        ("go\u200bld", "it holds a character that can't be shown", "visible"),
        ("go\udcffld", "it holds a character that can't be shown", "visible"),
        ("x" * 81, "it has 81 characters; expected at most 80", "at most 80"),
        ("SEGMENT-03", "it differs from 'segment-03' by upper and lower case only", "tell apart"),
        ("segment-07", "such names are given by themselves", "what the segment is"),
        ("Segment-7", "such names are given by themselves", "what the segment is"),
    ],
)
def test_rename_segment_refuses_a_name_that_would_be_confused_or_can_not_be_shown(
    config_here, store, new, problem, cure
):
    rename_segment(config_here, "segment-02", "vip")
    before = digests(store.output)
    with pytest.raises(ConfigError) as caught:
        rename_segment(config_here, "vip", new)
    assert str(caught.value) == f"{new!r} can't be a new name; {problem}"
    assert len(caught.value.__notes__) == 1
    assert cure in caught.value.__notes__[0]
    assert digests(store.output) == before


@pytest.mark.slow
def test_rename_segment_refuses_the_name_of_a_segment_that_is_retired(four, published, config_in, store):
    refresh(four)
    rename_segment(four, "segment-04", "lost")
    three = config_in(published)
    refresh(three, only=["m1*", "m2*"])
    assert [line["cluster_label"] for line in list_labels(three) if line["status"] == "retired"] == ["lost"]
    before = digests(store.output)
    for new in ("lost", "segment-04"):
        with pytest.raises(ConfigError, match="it is or was one already"):
            rename_segment(three, "segment-01", new)
    with pytest.raises(ConfigError, match="it differs from 'lost' by upper and lower case only"):
        rename_segment(three, "segment-01", "Lost")
    with pytest.raises(ConfigError, match=r"there is no segment 'lost'; there are: segment-0") as caught:
        rename_segment(three, "lost", "found")
    assert "labels list" in caught.value.__notes__[0]
    assert digests(store.output) == before


@pytest.mark.parametrize("new", ["Vip", "x" * 80, "größer 客户 🙂", "a b", "segment-vip", "<b>&amp;"])
def test_rename_segment_takes_any_other_name(config_here, store, new):
    rename_segment(config_here, "segment-02", "vip")
    rename_segment(config_here, "vip", new)  # another case of its own name, too
    assert set(store.load().model.labels) == {"segment-01", new, "segment-03"}


def test_rename_segment_frees_no_name_for_a_new_segment(config_here, four):
    """segment-03 is called vip now: the next new segment is segment-04, so that old reports keep their meaning."""
    rename_segment(config_here, "segment-03", "vip")
    refit = refresh(four)
    assert {line["cluster_label"] for line in refit.labels} == {"segment-01", "segment-02", "vip", "segment-04"}


# --- frozen -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_freeze_labels_holds_a_refit_that_adds_or_ends_a_name(config_here, published, store, config_in, files, blobs):
    freeze_labels(config_here)
    rename_segment(config_here, "segment-02", "vip")
    assert store.frozen_labels() == {"segment-01", "vip", "segment-03"}
    assert refresh(config_here).status == "published"
    centers = ((0.0, 0.0), (10.0, 0.0), (40.0, 40.0))
    files(published / "data", {f"m{i}.parquet": blobs(400, seed=i, centers=centers) for i in (1, 2)})
    result = refresh(config_in(published, labels={"min_overlap": 0.0}))
    assert result.status == "held"
    assert [one.observed for one in result.gate if one.check == "frozen_names_missing_or_added"] == [2]
    freeze_labels(config_here, frozen=False)
    assert store.frozen_labels() is None
    result = refresh(config_in(published, labels={"min_overlap": 0.0}))
    assert "frozen_names_missing_or_added" not in {one.check for one in result.gate}
    assert [line["event"] for line in store.history() if line["event"] in {"frozen", "thawed"}] == ["frozen", "thawed"]


@pytest.mark.slow
def test_frozen_names_become_those_of_a_version_that_a_person_promotes(config_here, four, store):
    freeze_labels(config_here)
    held = refresh(four)
    assert held.status == "held"
    assert [one.check for one in held.gate if not one.ok] == ["frozen_names_missing_or_added"]
    promote(four, held.version)
    assert store.frozen_labels() == {*NAMES, "segment-04"}
    refit = refresh(four)
    assert refit.status == "published"
    assert {line["cluster_label"]: line["event"] for line in refit.labels} == dict.fromkeys(
        [*NAMES, "segment-04"], "kept"
    )
    rename_segment(four, "segment-04", "vip")
    assert store.frozen_labels() == {*NAMES, "vip"}
    freeze_labels(four)  # they are already: no line more
    assert [line["event"] for line in store.history()].count("frozen") == 1


def test_freeze_labels_refuses_a_number_that_no_refit_would_have(config_here, published, config_in, store):
    with pytest.raises(ConfigError, match="n_clusters is 4; v000001 has 3 segments"):
        freeze_labels(config_in(published, model={"n_clusters": 4}))
    assert store.frozen_labels() is None
