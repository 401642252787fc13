"""The folder of a version's assignments: its manifest, what is pending, what is removed, where it may not lie."""

import json

import pytest

from kmstream.assignments import (
    Entry,
    find_pending,
    mark_complete,
    read_manifest,
    refuse_overlap,
    remove_old_versions,
    unfinished_folder,
    write_manifest,
)
from kmstream.dataset import open_dataset
from kmstream.errors import ConfigError


def make_entry(**parts):
    content = {"fingerprint": "1-2", "rows": 2, "output": "a.parquet", "rows_per_cluster": {"big": 2}, "skipped": {}}
    return Entry(**content | parts)


def test_write_manifest_tells_what_was_assigned(config, tmp_path):
    entries = {
        "b.parquet": make_entry(rows=30, output="b.parquet"),
        "a.parquet": make_entry(
            skipped={"x: missing": 1}, unseen={"kind": 3}, rewritten="it is encrypted", dataset="d"
        ),
    }
    write_manifest(tmp_path, entries, config(), "v000007")
    content = json.loads((tmp_path / "_manifest.json").read_text())
    assert list(content["partitions"]) == ["a.parquet", "b.parquet"]
    assert content.pop("partitions")["a.parquet"] == vars(entries["a.parquet"])
    assert content == {"schema_version": 1, "name": "blobs", "version": "v000007", "rows": 32, "rows_skipped": 1}
    assert read_manifest(tmp_path) == entries
    assert read_manifest(tmp_path / "elsewhere") == {}


def test_find_pending_gives_new_and_changed_partitions(config, data, files, blobs):
    files(data, {"a.parquet": blobs(30), "b.parquet": blobs(30)})
    entries = {p.path: make_entry(fingerprint=p.fingerprint) for p in open_dataset(config()).partitions}
    assert find_pending(open_dataset(config()), entries) == ()
    files(data, {"b.parquet": blobs(31), "c.parquet": blobs(30)})
    assert [p.path for p in find_pending(open_dataset(config()), entries)] == ["b.parquet", "c.parquet"]


def test_unfinished_folder_vanishes_after_an_error_and_stays_for_the_next_run_after_an_interruption(tmp_path):
    place = tmp_path / "deep/v000001"

    def fail(error):
        with unfinished_folder(place) as folder:
            (folder / "new.parquet").write_text("x")
            raise error

    with pytest.raises(ValueError, match="x"):
        fail(ValueError("x"))
    assert not place.exists()
    with pytest.raises(KeyboardInterrupt):
        fail(KeyboardInterrupt())
    with unfinished_folder(place) as folder:
        assert [path.name for path in folder.iterdir()] == ["new.parquet"]


def test_remove_old_versions_keeps_the_newest_and_the_current(tmp_path):
    for number in range(1, 6):
        (tmp_path / f"v{number:06d}").mkdir()
        mark_complete(tmp_path / f"v{number:06d}")
    assert remove_old_versions(tmp_path, 2, "v000002") == ["v000001", "v000003"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["v000002", "v000004", "v000005"]
    assert remove_old_versions(tmp_path, 9, "v000002") == []


@pytest.mark.parametrize("dataset", ["data", "data/", "data/**/*.parquet", "data/*/*.parquet"])
def test_refuse_overlap_refuses_output_that_the_next_run_would_read(config, data, tmp_path, dataset):
    data.mkdir()
    for output in (data, data / "out", data / "deep/out"):
        with pytest.raises(ConfigError, match="lies inside dataset"):
            refuse_overlap(config(dataset={"path": dataset}).dataset.path, output)
    refuse_overlap(config(dataset={"path": dataset}).dataset.path, tmp_path / "data-out")


def test_refuse_overlap_sees_through_links(config, data, tmp_path):
    data.mkdir()
    (tmp_path / "link").symlink_to(data)
    with pytest.raises(ConfigError, match="lies inside dataset"):
        refuse_overlap(config().dataset.path, tmp_path / "link/out")
