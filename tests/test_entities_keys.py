"""Keys that tell entities apart, of any type that can, and files that find_moves refuses."""

import decimal
import uuid
from datetime import UTC, date, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from snapshots import LOST, NEW, PLENTY, find, write_snapshot

from kmstream.entities import find_moves
from kmstream.errors import SchemaMismatchError

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
