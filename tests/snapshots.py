"""Assignment files of several months, and who moved between them."""

import pyarrow as pa
import pyarrow.parquet as pq

from kmstream.entities import Snapshot, find_moves

PLENTY = 2**30  # bytes
LABELS = ("new", "loyal", "lost")
NEW, LOYAL, LOST = range(3)


def write_snapshot(path, keys, ids, kind=None, *, when=None, labels=LABELS, group_rows=None, **parts):
    """One file of rows with these keys and segments."""
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
