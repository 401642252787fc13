"""The names of segments: listed, suggested, changed, written into assignments, frozen."""

import hashlib
import json
import shutil
import signal
import subprocess
import sys

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from kmstream.append import read_footer
from kmstream.assignments import read_manifest
from kmstream.cli import app
from kmstream.errors import ConfigError, CorruptFileError, DatasetNotFoundError, OutputError
from kmstream.names import apply_renames, freeze_labels, list_labels, rename_segment, suggest_labels
from kmstream.pipeline import refresh, score
from kmstream.versions import promote, rollback

NAMES = {"segment-01", "segment-02", "segment-03"}  # of v000001


@pytest.fixture
def folder(store):
    """Give the assignments of v000001."""
    return store.assignments("v000001")


@pytest.fixture
def four(published, config_in, files, blobs):
    """Add a partition with a fourth segment; give a configuration that asks for it."""
    centers = ((0.0, 0.0), (10.0, 0.0), (0.0, 10.0), (25.0, 25.0))
    files(published / "data", {"m3.parquet": blobs(400, seed=3, centers=centers, weights=(1, 1, 1, 1))})
    return config_in(published, model={"n_clusters": 4})


def digests(folder):
    """Hash every file below a folder; lock files are no output."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.endswith("lock")
    }


def names_in(folder):
    return {
        label
        for path in folder.glob("*.parquet")
        for label in pq.read_table(path).column("cluster_label").unique().to_pylist()
    }


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


# --- written into assignments -----------------------------------------------------------------------------------------


def test_apply_renames_makes_the_assignments_say_them_and_changes_nothing_else(config_here, store, folder):
    before = {path.name: pq.read_table(path) for path in folder.glob("*.parquet")}
    models = digests(store.path("v000001"))
    assert apply_renames(config_here)["files"] == 0
    rename_segment(config_here, "segment-02", "vip")
    assert names_in(folder) == {"segment-01", "segment-02", "segment-03"}
    done = apply_renames(config_here)
    assert (done["version"], done["files"]) == ("v000001", 2)
    assert names_in(folder) == {"segment-01", "vip", "segment-03"} == set(done["labels"])
    for name, table in before.items():
        after = pq.read_table(folder / name)
        assert after.drop(["cluster_label"]).equals(table.drop(["cluster_label"]))
        renamed = ["vip" if label == "segment-02" else label for label in table.column("cluster_label").to_pylist()]
        assert after.column("cluster_label").to_pylist() == renamed
    entries = read_manifest(folder)
    assert {tuple(entry.rows_per_cluster) for entry in entries.values()} == {tuple(done["labels"])}
    assert (folder / "_SUCCESS").exists()
    assert digests(store.path("v000001")) == models
    assert apply_renames(config_here)["files"] == 0


def test_apply_renames_goes_on_where_it_was_cut_off(config_here, store, folder):
    rename_segment(config_here, "segment-02", "vip")
    (folder / "m2.parquet").chmod(0o644)
    whole = (folder / "m2.parquet").read_bytes()
    (folder / "m2.parquet").write_bytes(whole[:-4])  # damaged: its footer can't be read
    with pytest.raises(CorruptFileError, match=r"m2\.parquet"):
        apply_renames(config_here)
    assert not (folder / "_SUCCESS").exists()
    (folder / "m2.parquet").write_bytes(whole)
    assert apply_renames(config_here)["files"] == 1  # m1 is done
    assert names_in(folder) == {"segment-01", "vip", "segment-03"}
    assert (folder / "_SUCCESS").exists()


def test_apply_renames_says_what_to_do_about_a_file_that_is_cut_off(config_here, published, folder):
    rename_segment(config_here, "segment-02", "vip")
    path = folder / "m2.parquet"
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(CorruptFileError) as caught:
        apply_renames(config_here)
    assert str(path) in str(caught.value)
    assert caught.value.__notes__ == [
        "It was left as it is: remove it, and run `kmstream refresh`, which writes all assignment files again."
    ]
    path.unlink()
    refit = refresh(config_here)
    assert names_in(published / "out/assignments" / refit.version) == NAMES - {"segment-02"} | {"vip"}


@pytest.mark.parametrize("last", ["_manifest.json", "_SUCCESS"])
def test_apply_renames_that_can_not_write_its_last_files_goes_on_the_next_time(config_here, published, folder, last):
    rename_segment(config_here, "segment-02", "vip")
    (folder / f".{last}.tmp").mkdir()  # in the way of it
    with pytest.raises(OutputError, match=f"{last} can't be written"):
        apply_renames(config_here)
    assert not (folder / "_SUCCESS").exists()
    (folder / f".{last}.tmp").rmdir()
    assert apply_renames(config_here)["files"] == 0
    assert_renamed(folder, published / "data")


KILLED = """
import resource, signal, sys
from pathlib import Path
from kmstream.config import load_config
from kmstream.names import apply_renames
config = load_config(Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # ends the process where it writes a longer file
apply_renames(config)
"""


@pytest.mark.slow
def test_apply_renames_that_is_killed_while_it_writes_goes_on_the_next_time(
    config_here, published, store, folder, files, blobs
):
    files(published / "data", {"m3.parquet": blobs(4000, seed=3)})
    score(config_here)
    rename_segment(config_here, "segment-02", "vip")
    before = {path.name: path.read_bytes() for path in folder.glob("*.parquet")}
    write_config(published)
    limit = len(before["m3.parquet"]) // 2
    assert limit > 2 * len(before["m1.parquet"])
    command = [sys.executable, "-B", "-c", KILLED, published / "kmstream.toml", str(limit)]
    assert subprocess.run(command, check=False).returncode == -signal.SIGXFSZ
    assert not (folder / "_SUCCESS").exists()
    assert names_in(folder) == {*NAMES, "vip"}
    assert (folder / "m3.parquet").read_bytes() == before["m3.parquet"]
    assert apply_renames(config_here)["files"] == 1  # m1 and m2 are done
    assert_renamed(folder, published / "data")
    for name, content in before.items():
        start = read_footer(published / "data" / name).start  # up to there it is a copy
        assert (folder / name).read_bytes()[:start] == content[:start]
    assert score(config_here).partitions == 0


def assert_renamed(folder, data):
    """All files and the manifest say vip, all else is what it was, and nothing is left of what was cut off."""
    names = sorted(path.name for path in data.iterdir())
    assert sorted(path.name for path in folder.iterdir()) == ["_SUCCESS", "_manifest.json", *names]
    for name in names:
        found = pq.read_table(folder / name)
        assert set(found.column("cluster_label").to_pylist()) == {"segment-01", "vip", "segment-03"}
        assert found.select(["id", "x", "y", "truth"]).equals(pq.read_table(data / name))
    assert {tuple(sorted(entry.rows_per_cluster)) for entry in read_manifest(folder).values()} == {
        ("segment-01", "segment-03", "vip")
    }


def write_config(base):
    lines = ['name = "blobs"', 'dataset.path = "data"', 'features.numeric = ["x", "y"]', "model.n_clusters = 3"]
    (base / "kmstream.toml").write_text("\n".join([*lines, "engine.workers = 1"]))


@pytest.mark.parametrize("how", ["removed by hand", "manifest removed", "older than keep_versions"])
def test_apply_renames_says_that_there_are_no_assignments(config_here, published, config_in, folder, how):
    if how == "removed by hand":
        shutil.rmtree(folder)
    elif how == "manifest removed":
        (folder / "_manifest.json").unlink()
    else:
        refresh(config_in(published, model={"random_state": 1}, output={"keep_versions": 1}))
        rollback(config_here)
        assert not folder.exists()
    rename_segment(config_here, "segment-02", "vip")
    before = digests(published / "out")
    with pytest.raises(DatasetNotFoundError, match="no assignments of v000001 that could say new names") as caught:
        apply_renames(config_here)
    assert str(folder) in caught.value.__notes__[0]
    assert "kmstream score" in caught.value.__notes__[1]
    assert digests(published / "out") == before
    assert score(config_here).partitions == 2  # as the error says
    assert names_in(folder) == {"segment-01", "vip", "segment-03"}
    assert apply_renames(config_here)["files"] == 0


def test_labels_apply_without_assignments_exits_with_3(published, folder):
    write_config(published)
    shutil.rmtree(folder)
    result = CliRunner().invoke(app, ["-c", str(published / "kmstream.toml"), "labels", "apply"])
    assert (result.exit_code, result.stdout) == (3, "")
    first, *others = result.stderr.splitlines()
    assert first == "DatasetNotFoundError: there are no assignments of v000001 that could say new names"
    assert len(others) == 2


# --- frozen -----------------------------------------------------------------------------------------------------------


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
