"""Which partitions a score is about: new, changed and removed ones."""

import os
from pathlib import Path

import pytest
from builders import listed

from kmstream.errors import ModelNotFoundError
from kmstream.pipeline import refresh, score


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


@pytest.mark.slow
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


@pytest.mark.slow
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
