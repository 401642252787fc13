"""Scores of new, changed and removed partitions, and runs that go on where one was cut off."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from kmstream.engine import Silent
from kmstream.errors import ModelNotFoundError, OutputError
from kmstream.pipeline import refresh, score
from kmstream.store import Store


@pytest.fixture
def year(config, data, files, blobs):
    """Three months, assigned by their first version."""
    files(data, {f"m{i}.parquet": blobs(400, seed=i) for i in (1, 2, 3)})
    refresh(config())
    return config


def listed(config, version="v000001"):
    folder = Store(config().output.path).assignments(version)
    manifest = json.loads((folder / "_manifest.json").read_text())["partitions"]
    assert sorted(manifest) == sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.parquet"))
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


@pytest.mark.slow
def test_killed_runs_leave_what_undisturbed_ones_leave():
    """At 12 random moments; the script does it a hundred times."""
    script = Path(__file__).parent / "benchmarks/kill.py"
    done = subprocess.run(
        [sys.executable, script, "--kills", "12", "--files", "40"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["problems"] == []
