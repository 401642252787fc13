"""Entities that changed their segment: small histories by hand, and random ones against plain Python."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from snapshots import LABELS, LOST, LOYAL, NEW, PLENTY, find, rows_of, write_history, write_snapshot

from kmstream.entities import spill


def test_find_moves_tells_each_move_once_in_the_order_of_snapshots_then_keys(tmp_path):
    history = write_history(
        tmp_path,
        {"dan": NEW, "cyd": NEW, "bob": NEW, "ann": NEW},
        {"dan": LOYAL, "cyd": NEW, "bob": LOYAL, "ann": NEW},
        {"ann": LOYAL, "bob": NEW, "cyd": NEW, "dan": LOST},
    )
    moves = find(tmp_path, history)
    assert rows_of(moves) == [
        ("bob", "new", "loyal", "m1"),
        ("dan", "new", "loyal", "m1"),
        ("ann", "new", "loyal", "m2"),
        ("bob", "loyal", "new", "m2"),
        ("dan", "loyal", "lost", "m2"),
    ]
    assert moves.labels == LABELS
    assert moves.counts.tolist() == [[3, 3, 0], [1, 0, 1], [0, 0, 0]]
    assert (moves.n_compared, moves.n_moves, moves.n_entities_moved, moves.n_passes) == (8, 5, 3, 1)


def test_find_moves_compares_with_the_last_snapshot_that_held_the_entity(tmp_path):
    moves = find(tmp_path, write_history(tmp_path, {"ann": NEW, "bob": NEW}, {}, {"ann": LOST, "cyd": NEW}))
    assert rows_of(moves) == [("ann", "new", "lost", "m2")]
    assert moves.n_compared == 1


def test_find_moves_takes_the_segment_of_most_rows_and_of_equals_the_one_before(tmp_path):
    before = write_snapshot(tmp_path / "a", ["ann", "bob", "cyd"], [LOST, LOST, LOST])
    first = write_snapshot(tmp_path / "c", ["dan", "dan", "eve", "eve"], [LOST, LOYAL, LOST, LOYAL])
    then = write_snapshot(tmp_path / "d", ["dan", "eve"], [LOYAL, LOST])
    assert rows_of(find(tmp_path, [first, then])) == [("eve", "loyal", "lost", "d")]  # the first, where none was before
    now = write_snapshot(
        tmp_path / "b",
        ["ann", "bob", "cyd", "ann", "bob", "cyd", "ann", "bob", "bob", "cyd"],
        [LOST, LOST, LOST, NEW, LOYAL, LOYAL, NEW, LOST, LOYAL, LOST],
    )
    assert rows_of(find(tmp_path, [before, now])) == [("ann", "lost", "new", "b")]


def test_find_moves_leaves_out_rows_without_key_or_segment(tmp_path):
    before = write_snapshot(tmp_path / "a", ["ann", None, "bob", "cyd"], [NEW, NEW, None, NEW])
    now = write_snapshot(
        tmp_path / "b", ["ann", None, "bob", "cyd", "cyd", "cyd"], [None, LOST, LOST, LOST, None, None]
    )
    moves = find(tmp_path, [before, now])
    assert rows_of(moves) == [("cyd", "new", "lost", "b")]
    assert moves.n_compared == 1


def test_find_moves_compares_segments_by_name(tmp_path):
    before = write_snapshot(tmp_path / "a", ["ann", "bob", "cyd"], [0, 1, 1], labels=("new", "loyal"))
    now = write_snapshot(tmp_path / "b", ["ann", "bob", "cyd"], [1, 2, 0], labels=("loyal", "new", "vip"))
    moves = find(tmp_path, [before, now])
    assert moves.labels == ("new", "loyal", "vip")
    assert moves.counts.tolist() == [[1, 0, 0], [0, 1, 1], [0, 0, 0]]
    assert rows_of(moves) == [("bob", "loyal", "vip", "b")]


def test_find_moves_compares_a_partition_written_anew_with_what_it_held(tmp_path):
    first = write_snapshot(tmp_path / "a", ["ann", "bob", "cyd"], [NEW, NEW, NEW], told=False)
    old = write_snapshot(tmp_path / "old", ["ann", "dan"], [LOYAL, LOYAL], when="b")
    now = write_snapshot(tmp_path / "b", ["ann", "bob"], [LOST, LOST], before=old)
    later = write_snapshot(tmp_path / "c", ["ann", "dan"], [LOST, NEW])
    assert rows_of(find(tmp_path, [first, now, later])) == [
        ("ann", "loyal", "lost", "b"),  # not from new
        ("bob", "new", "lost", "b"),  # it was not in the old file
        ("dan", "loyal", "new", "c"),  # it is no longer in the new one
    ]


def test_find_moves_reads_all_that_a_partition_ever_held(tmp_path):
    oldest = write_snapshot(tmp_path / "1", ["ann", "bob"], [NEW, LOST], when="b")
    old = write_snapshot(tmp_path / "2", ["ann"], [LOYAL], when="b", before=oldest)
    now = write_snapshot(tmp_path / "3", ["ann", "bob"], [LOST, NEW], when="b", before=old)
    assert rows_of(find(tmp_path, [now])) == [("ann", "loyal", "lost", "b"), ("bob", "lost", "new", "b")]


def test_find_moves_tells_nothing_of_snapshots_that_are_only_read(tmp_path):
    months = write_history(tmp_path, {"ann": NEW, "bob": NEW}, {"ann": LOYAL, "bob": NEW}, told=False)
    last = write_snapshot(tmp_path / "z", ["ann", "bob"], [LOYAL, NEW])
    moves = find(tmp_path, [*months, last])
    assert rows_of(moves) == []
    assert (moves.n_compared, moves.n_entities_moved) == (2, 0)


@pytest.mark.parametrize("n_snapshots", [0, 1, 3])
def test_find_moves_of_nothing_is_a_file_without_rows(tmp_path, n_snapshots):
    moves = find(tmp_path, write_history(tmp_path, *[{}] * n_snapshots))
    found = pq.read_table(moves.file)
    names = pa.dictionary(pa.int32(), pa.string())
    assert found.schema.remove_metadata() == pa.schema(
        [("key", pa.string()), ("from", names), ("to", names), ("when", names)]
    )
    assert (found.num_rows, moves.n_compared, moves.n_moves) == (0, 0, 0)


def test_find_moves_fills_row_groups_across_snapshots_and_ranges(tmp_path, monkeypatch):
    monkeypatch.setattr(spill, "_GROUP_ROWS", 7)
    months = [dict.fromkeys(map(str, range(100, 120)), month % 3) for month in range(4)]
    history = write_history(tmp_path, *months)
    contents = set()
    for limit in (PLENTY, 4000, 1000):
        moves = find(tmp_path, history, limit=limit)
        metadata = pq.read_metadata(moves.file)
        assert [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)] == [7] * 8 + [4]
        assert [row[3] for row in rows_of(moves)] == ["m1"] * 20 + ["m2"] * 20 + ["m3"] * 20
        contents.add(moves.file.read_bytes())
    assert len(contents) == 1


# --- any history, in any memory --------------------------------------------------------------------------------------

ROWS = st.lists(st.tuples(st.none() | st.integers(-6, 12), st.none() | st.integers(0, 2)), max_size=30)

STEPS = st.lists(
    st.tuples(ROWS, st.permutations(("new", "loyal", "lost", "vip")), st.booleans(), st.none() | ROWS), max_size=5
)


def follow_plainly(steps):
    """What find_moves does, row by row."""
    latest, counts, moved, moves = {}, Counter(), set(), []
    for number, (rows, labels, told, before) in enumerate(steps):
        for held, tell in ((before, False), (rows, told)):
            votes = {}
            for key, cluster in held or ():
                if key is not None and cluster is not None:
                    votes.setdefault(key, Counter())[cluster] += 1
            for key in sorted(votes):
                best = [cluster for cluster in sorted(votes[key]) if votes[key][cluster] == max(votes[key].values())]
                stays = [cluster for cluster in best if labels[cluster] == latest.get(key)]
                label = labels[(stays or best)[0]]
                if tell and key in latest:
                    counts[latest[key], label] += 1
                    if latest[key] != label:
                        moves.append((key, latest[key], label, f"m{number}"))
                        moved.add(key)
                latest[key] = label
    return counts, moved, moves


@settings(max_examples=25)
@given(steps=STEPS, as_text=st.booleans())
def test_find_moves_is_what_plain_python_finds_whatever_the_memory(tmp_path_factory, steps, as_text):
    folder = tmp_path_factory.mktemp("history")

    def write(name, rows, labels, **parts):
        keys = pa.array([key for key, _ in rows], pa.int64())
        keys = pc.cast(pc.add(keys, 50), pa.string()) if as_text else keys
        return write_snapshot(folder / name, keys, [c for _, c in rows], labels=tuple(labels), group_rows=7, **parts)

    history = []
    for i, (rows, labels, told, before) in enumerate(steps):
        old = None if before is None else write(f"old{i}", before, labels, when=f"m{i}")
        history.append(write(f"m{i}", rows, labels, before=old, told=told))
    counts, moved, expected = follow_plainly(steps)
    if as_text:
        expected = [(str(key + 50), *rest) for key, *rest in expected]  # all of two digits: text sorts like numbers
    n_keys = len({key for rows, _, _, old in steps for key, _ in rows + (old or []) if key is not None})
    contents = set()
    for limit in (PLENTY, 700, 1):
        moves = find(folder, history, limit=limit)
        assert rows_of(moves) == expected
        places = {label: place for place, label in enumerate(moves.labels)}
        assert {(places[was], places[now]): n for (was, now), n in counts.items()} == {
            tuple(cell): moves.counts[tuple(cell)] for cell in np.argwhere(moves.counts).tolist()
        }
        assert moves.n_entities_moved == len(moved)
        assert 1 <= moves.n_passes <= max(n_keys, 1)
        contents.add(moves.file.read_bytes())
    assert len(contents) == 1


def test_find_moves_takes_more_passes_in_less_memory(tmp_path):
    rng = np.random.default_rng(0)
    history = write_history(tmp_path, *({f"c{i}": int(rng.integers(3)) for i in range(1000)} for _ in range(3)))
    found = {limit: find(tmp_path, history, limit=limit).n_passes for limit in (PLENTY, 200_000, 100_000)}
    assert found == {PLENTY: 1, 200_000: 2, 100_000: 4}


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's peak of resident memory")
def test_find_moves_stays_within_its_memory(tmp_path):
    rng = np.random.default_rng(0)
    for month in range(3):
        write_snapshot(tmp_path / f"m{month}", pa.array(rng.permutation(1_000_000)), rng.integers(0, 3, 1_000_000))
    write_snapshot(tmp_path / "tiny", pa.array(range(100)), [NEW] * 100)
    write_snapshot(tmp_path / "moved", pa.array(range(100)), [LOST] * 100)
    code = f"""
from pathlib import Path
from kmstream.entities import Snapshot, find_moves
folder = Path({str(tmp_path)!r})
def peak(names, limit):
    Path("/proc/self/clear_refs").write_text("5")
    months = [Snapshot(name, (folder / name,), {LABELS!r}) for name in names]
    moves = find_moves(months, "id", folder / "moves", memory_limit_bytes=limit)
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024, moves.n_passes
loaded, _ = peak(["tiny", "moved"], 2**20)
held, n_passes = peak(["m0", "m1", "m2"], 64 << 20)
print(held - loaded, n_passes)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    held, n_passes = map(int, done.stdout.split())
    assert n_passes == 4
    assert held < (64 + 50) << 20  # it takes some 200 MiB in a single pass
