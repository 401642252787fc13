"""Files that can't be read or written: find_moves says which, and leaves nothing half done."""

import errno
import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from builders import limit_file_size
from snapshots import LABELS, LOST, NEW, PLENTY, find, write_history, write_snapshot

from kmstream.entities import Snapshot, find_moves
from kmstream.errors import CorruptFileError, OutputError


@pytest.mark.parametrize("cluster_id", [-1, 3])
def test_find_moves_refuses_a_cluster_without_a_name(tmp_path, cluster_id):
    snapshot = write_snapshot(tmp_path / "a", ["ann"], [cluster_id])
    with pytest.raises(CorruptFileError, match="3 have a name") as caught:
        find(tmp_path, [snapshot])
    assert caught.value.__notes__[0] == f"in {tmp_path / 'a'}"


@pytest.mark.parametrize("n_columns", [0, 2])
def test_find_moves_refuses_a_file_that_is_not_an_assignment_file(tmp_path, n_columns):
    path = tmp_path / "a"
    pq.write_table(pa.table([["ann"], *[[0]] * n_columns], names=["id", *["cluster_id"] * n_columns]), path)
    expected = f"assignments of a: this is not an assignment file: it has {n_columns} columns cluster_id; expected one"
    with pytest.raises(CorruptFileError, match=expected) as caught:
        find(tmp_path, [Snapshot("a", (path,), LABELS)])
    assert caught.value.__notes__[0] == f"in {path}"
    assert list(tmp_path.iterdir()) == [path]


def test_find_moves_leaves_nothing_of_files_that_can_not_be_read(tmp_path):
    target = tmp_path / "out" / "moves.parquet"
    history = write_history(tmp_path, {str(i): NEW for i in range(5000)}, {str(i): LOST for i in range(5000)})
    last = write_snapshot(tmp_path / "last", [str(i) for i in range(5000)], [NEW] * 5000)
    whole = last.paths[0].read_bytes()
    last.paths[0].write_bytes(b"PAR1" + bytes(len(whole) // 2) + whole[len(whole) // 2 + 4 :])
    with pytest.raises(CorruptFileError, match="assignments of last: the file can't be read"):
        find_moves([*history, last], "id", target, memory_limit_bytes=PLENTY)
    assert list(target.parent.iterdir()) == []
    last.paths[0].write_bytes(b"nothing")
    with pytest.raises(CorruptFileError, match="assignments of last") as caught:
        find_moves([*history, last], "id", target, memory_limit_bytes=PLENTY)
    assert "kmstream refresh" in caught.value.__notes__[-1]
    last.paths[0].unlink()
    with pytest.raises(FileNotFoundError):
        find_moves([*history, last], "id", target, memory_limit_bytes=PLENTY)
    assert list(target.parent.iterdir()) == []


def test_find_moves_leaves_an_earlier_file_as_it_was_until_the_new_one_is_whole(tmp_path):
    history = write_history(tmp_path, {"ann": NEW}, {"ann": LOST})
    target = find(tmp_path, history).file
    content = target.read_bytes()
    history[1].paths[0].write_bytes(b"nothing")
    with pytest.raises(CorruptFileError):
        find(tmp_path, history)
    assert target.read_bytes() == content


def test_find_moves_says_what_can_not_be_written(tmp_path):
    history = write_history(tmp_path, {"ann": NEW}, {"ann": LOST})
    target = tmp_path / "moves.parquet"
    target.mkdir()
    with pytest.raises(OutputError, match=f"{target} can't be written"):
        find(tmp_path, history)
    assert {path.name for path in tmp_path.iterdir()} == {"m0", "m1", "moves.parquet"}
    with pytest.raises(OutputError, match="can't be written"):
        find_moves(history, "id", tmp_path / "m0" / "moves.parquet", memory_limit_bytes=PLENTY)


def test_find_moves_leaves_nothing_on_a_full_disk(tmp_path):
    keys = [f"{number * 7919:08}" for number in range(20_000)]
    history = write_history(tmp_path, dict.fromkeys(keys, NEW), dict.fromkeys(keys, LOST))
    target = tmp_path / "out" / "moves.parquet"
    with limit_file_size(50_000), pytest.raises(OutputError) as caught:
        find_moves(history, "id", target, memory_limit_bytes=PLENTY)
    assert str(caught.value) == f"{target} can't be written: {os.strerror(errno.EFBIG)}"
    assert list(target.parent.iterdir()) == []
