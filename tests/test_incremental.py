"""Scores of new, changed and removed partitions, and runs that go on where one was cut off."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from kmstream.assignments import remove_old_versions
from kmstream.engine import Silent
from kmstream.errors import ModelNotFoundError, OutputError
from kmstream.pipeline import refresh, score
from kmstream.store import Store
from kmstream.versions import rollback


@pytest.fixture
def year(config, data, files, blobs):
    """Three months, assigned by their first version."""
    files(data, {f"m{i}.parquet": blobs(400, seed=i) for i in (1, 2, 3)})
    refresh(config())
    return config


def listed(config, version="v000001"):
    folder = Store(config().output.path).assignments(version)
    manifest = json.loads((folder / "_manifest.json").read_text())["partitions"]
    assert sorted(manifest) == sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*.parquet") if path.is_file()
    )
    return manifest


# --- new, changed, removed -------------------------------------------------------------------------------------------


def test_score_of_a_changed_partition_replaces_what_it_said(year, data, files, blobs):
    before = listed(year)
    files(data, {"m2.parquet": blobs(50, seed=9)})
    result = score(year())
    assert (result.partitions, result.rows, result.removed) == (1, 50, 0)
    after = listed(year)
    assert after["m2.parquet"]["rows"] == 50
    assert {path: after[path] for path in ("m1.parquet", "m3.parquet")} == {
        path: before[path] for path in ("m1.parquet", "m3.parquet")
    }


def test_no_later_write_changes_a_file_that_was_linked(year, data, files, blobs, tmp_path):
    """Outputs are replaced, never written to: backups by hard links stay what they were."""
    os.link(Path(year().output.path) / "assignments/v000001/m2.parquet", tmp_path / "backup.parquet")
    before = (tmp_path / "backup.parquet").read_bytes()
    files(data, {"m2.parquet": blobs(50, seed=9)})
    score(year())
    refresh(year())
    assert (tmp_path / "backup.parquet").read_bytes() == before


def test_score_drops_the_assignments_of_a_partition_that_is_gone(year, data, files, blobs):
    (data / "m2.parquet").unlink()
    files(data, {"m4.parquet": blobs(30, seed=9)})
    result = score(year())
    assert (result.partitions, result.rows, result.removed) == (1, 30, 1)
    assert sorted(listed(year)) == ["m1.parquet", "m3.parquet", "m4.parquet"]


def test_score_drops_what_is_gone_also_where_nothing_is_new(year, data):
    (data / "m2.parquet").unlink()
    result = score(year())
    assert (result.partitions, result.removed, result.report) == (0, 1, None)
    assert sorted(listed(year)) == ["m1.parquet", "m3.parquet"]
    assert score(year()).removed == 0


def test_score_drops_nothing_that_only_does_not_match(year, data):
    (data / "m2.parquet").unlink()
    assert score(year(), only=["m1*"]).removed == 0
    assert score(year(), only=["m[12]*"]).removed == 1


def test_score_of_another_dataset_drops_nothing(year, tmp_path, files, blobs):
    files(tmp_path / "elsewhere", {"other.parquet": blobs(30)})
    result = score(year(dataset={"path": "elsewhere"}))
    assert (result.partitions, result.removed) == (1, 0)
    assert len(listed(year)) == 4


def test_score_since_a_version_looks_again_at_what_came_after_it(year, data, files, blobs):
    files(data, {"m4.parquet": blobs(70, seed=4)})
    refresh(year())
    assert score(year()).partitions == 0
    result = score(year(), since="v000001")
    assert (result.version, result.partitions, result.rows) == ("v000002", 1, 70)
    assert len(listed(year, "v000002")) == 4


@pytest.mark.parametrize("version", ["v000009", "v1", "../v000001"])
def test_score_since_a_version_without_assignments_names_those_there_are(year, version):
    with pytest.raises(ModelNotFoundError, match="there are those of v000001") as caught:
        score(year(), since=version)
    assert "keep_versions" in caught.value.__notes__[0]


# --- runs that were cut off ------------------------------------------------------------------------------------------


class CutOff(Silent):
    """Interrupts a run when so many rows are assigned."""

    def __init__(self, rows):
        self.left, self.stage = rows, ""

    def start(self, stage, rows):
        self.stage = stage

    def advance(self, rows):
        self.left -= rows if self.stage == "assign" else 0
        if self.left < 0:
            raise KeyboardInterrupt


@pytest.fixture
def cut_off(year, data, files, blobs):
    """A score of ten files that was interrupted after some of them."""
    files(data, {f"n{i}.parquet": blobs(300, seed=i) for i in range(10)})
    with pytest.raises(KeyboardInterrupt):
        score(year(engine={"workers": 1}), progress=CutOff(2000))
    return year


def test_a_run_goes_on_where_one_was_cut_off_and_writes_no_file_again(cut_off):
    staging = Path(cut_off().output.path) / "assignments/.v000001.score"
    with np.load(staging / ".progress.npz") as packed:
        n_done = json.loads(packed["told"].tobytes())["n_partitions"]
    assert n_done
    inodes = {path.name: path.stat().st_ino for path in sorted(staging.glob("*.parquet"))[:n_done]}
    result = score(cut_off())
    assert (result.resumed, result.partitions, result.rows) == (n_done, 10, 3000)
    folder = Store(cut_off().output.path).assignments("v000001")
    assert {name: (folder / name).stat().st_ino for name in inodes} == inodes
    assert len(listed(cut_off)) == 13
    assert not staging.exists()


@pytest.mark.slow
@pytest.mark.parametrize("change", ["input", "columns", "missing output", "torn sums", "other manifest"])
def test_a_run_starts_anew_where_anything_has_changed(cut_off, data, files, blobs, change):
    staging = Path(cut_off().output.path) / "assignments/.v000001.score"
    made = cut_off()
    match change:
        case "input":
            files(data, {"n0.parquet": blobs(300, seed=77)})
        case "columns":
            made = cut_off(output={"columns": ["id"]})
        case "missing output":
            (staging / "n0.parquet").unlink()
        case "torn sums":
            progress = staging / ".progress.npz"
            progress.write_bytes(progress.read_bytes()[:-30])
        case "other manifest":
            manifest = staging / "_manifest.json"
            manifest.write_text('{"partitions": {}}')
    result = score(made)
    assert (result.resumed, result.partitions) == (0, 10)
    table = pq.read_table(Path(made.output.path) / "assignments/v000001/n0.parquet")
    assert table.num_rows == 300


def test_files_of_a_run_that_was_cut_off_leave_nothing_in_another_one(cut_off, data):
    for i in range(10):
        (data / f"n{i}.parquet").unlink()
    (data / "m1.parquet").rename(data / "m4.parquet")
    assert score(cut_off()).resumed == 0
    assert sorted(listed(cut_off)) == ["m2.parquet", "m3.parquet", "m4.parquet"]


def test_a_refresh_goes_on_and_publishes_what_it_would_have(cut_off, tree):
    with pytest.raises(KeyboardInterrupt):
        refresh(cut_off(engine={"workers": 1}), progress=CutOff(2500))
    result = refresh(cut_off())
    assert result.resumed > 0
    assert result.version == "v000002"
    assert sum(line["rows"] for line in result.labels) == 3 * 400 + 10 * 300
    hidden = [name for name in tree(Path(cut_off().output.path)) if "/." in name and not name.endswith(".lock")]
    assert hidden == []  # nor the score's, whose version is no longer current


def test_a_run_that_fails_leaves_nothing_to_go_on_from(year, data, files, blobs, tree):
    files(data, {f"n{i}.parquet": blobs(300, seed=i) for i in range(3)})
    before = tree(Path(year().output.path))

    class Fail(CutOff):
        def advance(self, rows):
            raise OutputError("full")

    for verb in (score, refresh):
        with pytest.raises(OutputError):
            verb(year(), progress=Fail(0))
        assert tree(Path(year().output.path)) == before


# --- instants that are hard to hit -----------------------------------------------------------------------------------


class Killed(BaseException):
    """Ends a run like a signal would: nothing that an error would clean up is cleaned up."""


def end_in(monkeypatch, target, error):
    """Let a function fail, once."""

    def fail(*_, **__):
        monkeypatch.undo()
        raise error

    monkeypatch.setattr(target, fail)


def test_scores_of_two_datasets_drop_nothing_of_each_other(year, tmp_path, files, blobs):
    files(tmp_path / "elsewhere", {"other.parquet": blobs(30)})
    for _ in range(2):
        assert score(year(dataset={"path": "elsewhere"})).removed == 0
        assert score(year()).removed == 0
    assert len(listed(year)) == 4


def test_a_file_without_a_byte_keeps_its_assignments(year, data):
    (data / "m2.parquet").write_bytes(b"")
    result = score(year())
    assert (result.removed, result.empty) == (0, ("m2.parquet",))
    assert len(listed(year)) == 3


@pytest.mark.slow
@pytest.mark.parametrize("step", ["kmstream.scoring.mark_complete", "kmstream.scoring.move_files"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), Killed()], ids=["error", "killed"])
def test_what_a_score_has_decided_is_told_by_the_next_run(year, data, files, blobs, monkeypatch, step, error):
    files(data, {"n.parquet": blobs(900, seed=3, weights=(0.0, 0.1, 0.9))})
    (data / "m1.parquet").unlink()
    end_in(monkeypatch, step, error)
    with pytest.raises((OSError, Killed)):
        score(year())
    result = score(year())
    assert (result.partitions, result.removed, result.severity) == (1, 1, "alert")
    assert Path(result.report).is_file()
    events = [line["event"] for line in Store(year().output.path).history()]
    assert events == ["published", "drift", "retrain-requested"]
    assert sorted(listed(year)) == ["m2.parquet", "m3.parquet", "n.parquet"]
    assert score(year()).partitions == 0


def test_files_of_a_score_that_was_cut_off_do_not_come_back_without_their_inputs(cut_off, data):
    for i in range(10):
        (data / f"n{i}.parquet").unlink()
    (data / "m1.parquet").unlink()
    assert (score(cut_off()).partitions, score(cut_off()).removed) == (0, 0)
    assert sorted(listed(cut_off)) == ["m2.parquet", "m3.parquet"]
    assert not (Path(cut_off().output.path) / "assignments/.v000001.score").exists()


def test_sums_are_not_taken_for_those_of_other_files(cut_off, data, monkeypatch):
    """The manifest may know more files than the sums, if a kill came between the two."""
    staging = Path(cut_off().output.path) / "assignments/.v000001.score"
    sums = (staging / ".progress.npz").read_bytes()
    with pytest.raises(KeyboardInterrupt):
        score(cut_off(engine={"workers": 1}), progress=CutOff(2600))
    (staging / ".progress.npz").write_bytes(sums)
    (data / "n0.parquet").unlink()
    result = score(cut_off())
    assert (result.resumed, result.partitions, result.rows) == (0, 9, 2700)
    assert sum(line["rows"] for line in result.labels) == 2700


@pytest.mark.parametrize("error", [None, Killed()], ids=["undisturbed", "killed"])
def test_a_file_can_become_a_folder_of_that_name_and_back(year, data, files, blobs, monkeypatch, error):
    for new, old in (("m1.parquet/part-0.parquet", "m1.parquet"), ("m1.parquet", "m1.parquet/part-0.parquet")):
        (data / old).unlink()
        if new == "m1.parquet":
            (data / "m1.parquet").rmdir()
        files(data, {new: blobs(40)})
        if error:
            end_in(monkeypatch, "kmstream.scoring.mark_complete", error)
            with pytest.raises(Killed):
                score(year())
        assert (score(year()).rows, score(year()).partitions) == (40, 0)
        assert sorted(listed(year)) == [new, "m2.parquet", "m3.parquet"]


def test_a_version_that_can_not_be_made_current_leaves_nothing(year, tree, monkeypatch):
    store = Store(year().output.path)
    before = tree(store.output)
    end_in(monkeypatch, "kmstream.store.store.Store.set_current", OSError(28, "No space left on device"))
    with pytest.raises(OSError, match="No space"):
        refresh(year())
    assert tree(store.output) == before
    assert refresh(year()).version == "v000003"  # the history knows v000002


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), Killed()], ids=["error", "killed"])
def test_a_rollback_that_is_in_the_history_is_done_by_the_next_command(year, monkeypatch, error):
    refresh(year())
    end_in(monkeypatch, "kmstream.store.store.Store.set_current", error)
    with pytest.raises((OSError, Killed)):
        rollback(year())
    store = Store(year().output.path)
    assert store.current == "v000002"
    assert score(year()).version == store.current == "v000001"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("step", "version"),
    [
        ("kmstream.publish.write_version_files", None),
        ("kmstream.publish._publish", None),
        ("kmstream.publish.mark_complete", None),
        ("kmstream.store.store.Store.log", None),
        ("kmstream.store.store.Store.set_current", "v000002"),
        ("kmstream.publish.forget_progress", "v000002"),
    ],
)
def test_a_refresh_that_is_killed_while_it_publishes_is_taken_back_or_finished(year, monkeypatch, step, version):
    end_in(monkeypatch, step, Killed())
    with pytest.raises(Killed):
        refresh(year())
    store = Store(year().output.path)
    if version:
        assert score(year()).version == store.current == version
        return
    result = refresh(year())
    assert (result.version, result.resumed, store.versions()) == ("v000002", 3, ["v000001", "v000002"])
    assert [line["event"] for line in store.history()] == ["published", "published"]
    assert listed(year, "v000002")


def test_an_old_version_that_was_being_removed_is_gone_whole(year, monkeypatch):
    refresh(year())
    end_in(monkeypatch, "shutil.rmtree", Killed())
    with pytest.raises(Killed):
        remove_old_versions(Path(year().output.path) / "assignments", 1, "v000002")
    assert score(year()).version == "v000002"
    assert sorted(path.name for path in (Path(year().output.path) / "assignments").iterdir()) == ["v000002"]


@pytest.mark.slow
def test_killed_runs_leave_what_undisturbed_ones_leave():
    """At 12 random moments; the script does it a hundred times."""
    script = Path(__file__).parent / "benchmarks/kill.py"
    done = subprocess.run(
        [sys.executable, script, "--kills", "12", "--files", "40"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["problems"] == []
