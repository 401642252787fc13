"""Runs that go on where one was cut off."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from builders import listed

from kmstream.engine import Silent
from kmstream.errors import OutputError
from kmstream.pipeline import refresh, score
from kmstream.store import Store


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


@pytest.mark.slow
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
