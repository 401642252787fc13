"""New names written into assignments: at once, whole, and gone on with after a crash."""

import shutil
import signal
import subprocess
import sys

import pyarrow.parquet as pq
import pytest
from builders import digests
from typer.testing import CliRunner

from kmstream.append import read_footer
from kmstream.assignments import read_manifest
from kmstream.cli import app
from kmstream.errors import CorruptFileError, DatasetNotFoundError, OutputError
from kmstream.names import apply_renames, rename_segment
from kmstream.pipeline import refresh, score
from kmstream.versions import rollback

NAMES = {"segment-01", "segment-02", "segment-03"}  # of v000001


@pytest.fixture
def folder(store):
    """Give the assignments of v000001."""
    return store.assignments("v000001")


def names_in(folder):
    return {
        label
        for path in folder.glob("*.parquet")
        for label in pq.read_table(path).column("cluster_label").unique().to_pylist()
    }


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


@pytest.mark.slow
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
