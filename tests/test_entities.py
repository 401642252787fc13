"""Entities that changed their segment: small histories by hand, random ones against plain Python, every type of key."""

import decimal
import errno
import os
import subprocess
import sys
import uuid
from collections import Counter
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kmstream.entities import Snapshot, find_moves, spill
from kmstream.errors import CorruptFileError, OutputError, SchemaMismatchError

PLENTY = 2**30
LABELS = ("new", "loyal", "lost")
NEW, LOYAL, LOST = range(3)


def write_snapshot(path, keys, ids, kind=None, *, when=None, labels=LABELS, group_rows=None, **parts):
    keys = keys if isinstance(keys, pa.Array) else pa.array(keys, kind or pa.string())
    rows = pa.table({"other": pa.array(range(len(ids))), "id": keys, "cluster_id": pa.array(ids, pa.int32())})
    pq.write_table(rows, path, row_group_size=group_rows)
    return Snapshot(when or path.name, (path,), labels, **parts)


def write_history(folder, *months, **parts):
    """One snapshot per dict of key to cluster_id."""
    return [write_snapshot(folder / f"m{i}", list(ids), list(ids.values()), **parts) for i, ids in enumerate(months)]


def find(folder, snapshots, *, limit=PLENTY):
    return find_moves(snapshots, "id", folder / "moves.parquet", memory_limit_bytes=limit)


def rows_of(moves):
    return [tuple(row.values()) for row in pq.read_table(moves.file).to_pylist()]


# By hand


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


# Laws

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


@settings(deadline=None, max_examples=30)  # a busy machine must not fail a law
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
    contents, n_keys = (
        set(),
        len({key for rows, _, _, old in steps for key, c in rows + (old or []) if key is not None}),
    )
    for limit in (PLENTY, 1500, 700, 1):
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


# Keys

KEYS = {
    "int8": ([-3, 5], pa.int8()),
    "uint64": ([7, 2**64 - 1], pa.uint64()),
    "string": (["ann", "bób"], pa.string()),
    "large_string": (["ann", "bob"], pa.large_string()),
    "string_view": (["ann", "bob"], pa.string_view()),
    "dictionary": (["ann", "bob"], pa.dictionary(pa.int8(), pa.string())),
    "dictionary of numbers": ([1, 2], pa.dictionary(pa.int8(), pa.int64())),
    "binary": ([b"\x00a", b"\xff"], pa.binary()),
    "large_binary": ([b"a", b"b"], pa.large_binary()),
    "binary_view": ([b"a", b"b"], pa.binary_view()),
    "fixed": ([b"a" * 16, b"b" * 16], pa.binary(16)),
    "uuid": ([uuid.UUID(int=1).bytes, uuid.UUID(int=2).bytes], pa.uuid()),
    "date32": ([date(2024, 1, 1), date(2024, 1, 2)], pa.date32()),
    "date64": ([date(2024, 1, 1), date(2024, 1, 2)], pa.date64()),
    "timestamp": ([datetime(2024, 1, 1), datetime(2024, 1, 2)], pa.timestamp("us")),  # noqa: DTZ001 - as files have it
    "timestamp with zone": (
        [datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 1, 2, tzinfo=UTC)],
        pa.timestamp("ms", "UTC"),
    ),
    "decimal128": ([decimal.Decimal("-1.50"), decimal.Decimal("2.25")], pa.decimal128(9, 2)),
    "decimal256": ([decimal.Decimal(1), decimal.Decimal(10**45)], pa.decimal256(50, 0)),
}
PLAIN = {"dictionary": pa.string(), "dictionary of numbers": pa.int64(), "string_view": pa.string()}
PLAIN |= {"binary_view": pa.binary(), "date64": pa.date32()}  # Parquet has one type of date


@pytest.mark.parametrize("limit", [PLENTY, 1])
@pytest.mark.parametrize("name", KEYS)
def test_find_moves_keeps_the_type_of_the_key(tmp_path, name, limit):
    keys, kind = KEYS[name]
    before = write_snapshot(tmp_path / "a", pa.array([*keys, None], kind), [NEW, NEW, NEW])
    now = write_snapshot(tmp_path / "b", pa.array([None, *reversed(keys)], kind), [LOST, LOST, LOST])
    moves = find(tmp_path, [before, now], limit=limit)
    found = pq.read_table(moves.file)
    expected = PLAIN.get(name, kind)
    assert found.schema.field("key").type == expected
    assert found["key"].combine_chunks() == pa.array(keys, kind).cast(expected)
    assert moves.n_passes == (1 if limit == PLENTY else 2)


@pytest.mark.parametrize(
    ("one", "other", "common"),
    [
        (pa.int32(), pa.int64(), pa.int64()),
        (pa.int64(), pa.int16(), pa.int64()),
        (pa.null(), pa.int16(), pa.int16()),
        (pa.string(), pa.large_string(), pa.large_string()),
        (pa.dictionary(pa.int32(), pa.string()), pa.string(), pa.string()),
        (pa.decimal128(5, 1), pa.decimal128(9, 2), pa.decimal128(9, 2)),
    ],
    ids=str,
)
def test_find_moves_compares_keys_of_several_types_in_one_that_holds_all(tmp_path, one, other, common):
    value = "ann" if pa.types.is_string(common) or pa.types.is_large_string(common) else 3
    first = write_snapshot(tmp_path / "a", [None if pa.types.is_null(one) else value], [NEW], one)
    moves = find(tmp_path, [first, *(write_snapshot(tmp_path / f"b{i}", [value], [i], other) for i in (1, 2))])
    assert pq.read_table(moves.file).schema.field("key").type == common
    assert moves.n_compared == (1 if pa.types.is_null(one) else 2)


# Refusals


@pytest.mark.parametrize(
    "kind",
    [pa.float64(), pa.float32(), pa.bool_(), pa.list_(pa.int64()), pa.struct([("a", pa.int64())]), pa.time32("s")],
    ids=str,
)
def test_find_moves_refuses_a_type_that_tells_no_entities_apart(tmp_path, kind):
    snapshot = write_snapshot(tmp_path / "may.parquet", [None], [NEW], kind)
    with pytest.raises(SchemaMismatchError, match=r"key column 'id' has type .*; expected whole numbers") as caught:
        find(tmp_path, [snapshot])
    assert caught.value.__notes__[0].endswith("/may.parquet")
    assert "dataset.key" in caught.value.__notes__[1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["may.parquet"]


def test_find_moves_refuses_a_file_without_the_key_or_with_two(tmp_path):
    snapshot = write_snapshot(tmp_path / "a", ["ann"], [NEW])
    with pytest.raises(SchemaMismatchError, match="key column 'customer' is missing"):
        find_moves([snapshot], "customer", tmp_path / "moves", memory_limit_bytes=PLENTY)
    twice = pa.table([[1], [2], pa.array([0], pa.int32())], names=["id", "id", "cluster_id"])
    pq.write_table(twice, tmp_path / "a")
    with pytest.raises(SchemaMismatchError, match="is there 2 times; expected once"):
        find(tmp_path, [snapshot])


def test_find_moves_refuses_types_that_have_nothing_in_common(tmp_path):
    snapshots = [
        write_snapshot(tmp_path / "a", [1], [NEW], pa.int64()),
        write_snapshot(tmp_path / "b", ["1"], [NEW], pa.string()),
    ]
    with pytest.raises(SchemaMismatchError, match="has type string; expected int64, as in other files") as caught:
        find(tmp_path, snapshots)
    assert caught.value.__notes__[0] == f"in {tmp_path / 'b'}"


def test_find_moves_refuses_values_that_the_common_type_can_not_hold(tmp_path):
    snapshots = [
        write_snapshot(tmp_path / "a", [1], [NEW], pa.int64()),
        write_snapshot(tmp_path / "b", [2**64 - 1], [NEW], pa.uint64()),
    ]
    with pytest.raises(SchemaMismatchError, match="holds values that int64 can't"):
        find(tmp_path, snapshots)


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
    history = write_history(
        tmp_path, {f"{i * 7919:08}": NEW for i in range(20_000)}, {f"{i * 7919:08}": LOST for i in range(20_000)}
    )
    target = tmp_path / "out" / "moves.parquet"
    code = f"""
import resource, signal
from pathlib import Path
from kmstream.entities import Snapshot, find_moves
from kmstream.errors import OutputError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
months = [Snapshot(str(i), (Path(path),), {LABELS!r}) for i, path in enumerate({[str(m.paths[0]) for m in history]!r})]
try:
    find_moves(months, "id", Path({str(target)!r}), memory_limit_bytes=2**30)
except OutputError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == f"{target} can't be written: {os.strerror(errno.EFBIG)}"
    assert list(target.parent.iterdir()) == []


# Memory


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
