"""Which entities moved in a run: the assignment files in the order of time, handed to `entities`."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from kmstream.assignments import Entry, read_manifest
from kmstream.config import Config
from kmstream.dataset import find_key_type, widen_key_type
from kmstream.entities import Moves, Snapshot, find_moves
from kmstream.errors import SchemaMismatchError
from kmstream.provenance import Stopwatch
from kmstream.store import ModelVersion, Store

MOVED = "moved.parquet"  # beside the report of a run


@dataclass(frozen=True)
class Assignments:
    """Assignment files below a folder, and the names in them by cluster_id."""

    folder: Path
    labels: tuple[str, ...]
    entries: Mapping[str, Entry]


def find_earlier(store: Store, current: ModelVersion | None, run: Assignments) -> Assignments | None:
    """Give what the current version had assigned of the partitions of a refit."""
    if current is None:
        return None
    folder = store.assignments(current.version)
    entries = {path: entry for path, entry in read_manifest(folder).items() if path in run.entries}
    return Assignments(folder, current.model.labels, entries)


def follow_entities(config: Config, watch: Stopwatch, run: Assignments, earlier: Assignments | None) -> Moves | None:
    """Find which entities were in another segment than the time before, at the partitions that a run assigned.

    Partitions are taken for snapshots, in the order of their paths; those of one hive folder for one. A partition that
    had been assigned earlier, and has changed since, is compared with what it was. Earlier files without the key are
    left out.

    Parameters
    ----------
    config : Config
    watch : Stopwatch
    run : Assignments
        Those of the run; its folder gets the table of moves.
    earlier : Assignments or None
        Of what the run did not assign itself, its entities come from there.

    Returns
    -------
    Moves or None
        None where `dataset.key` is not set.

    Raises
    ------
    KmstreamError
        What `find_moves` raises.
    """
    if not config.dataset.key:
        return None
    snapshots = list(_list_snapshots(run, earlier, config.dataset.key))
    last = max(i for i, snapshot in enumerate(snapshots) if snapshot.told)
    limit = config.engine.memory_limit // 2  # what is being read comes on top
    target = run.folder / f".{MOVED}"
    with watch.stage("entities"):
        return find_moves(snapshots[: last + 1], config.dataset.key, target, memory_limit_bytes=limit)


def _list_snapshots(run: Assignments, earlier: Assignments | None, key: str) -> Iterator[Snapshot]:
    known: set[str] = set()
    if earlier is not None:
        kind = find_key_type(pq.read_schema(run.folder / min(run.entries)), key, min(run.entries))
        for path, entry in earlier.entries.items():
            is_same = path in run.entries and run.entries[path].fingerprint == entry.fingerprint
            if not is_same and _holds_key(earlier.folder / path, key, kind):
                known.add(path)
    times: dict[str, list[str]] = {}
    for path in sorted({*run.entries, *known}):
        times.setdefault(_name_time(path), []).append(path)
    for when, paths in times.items():
        old = tuple(earlier.folder / path for path in paths if path in known) if earlier else ()
        new = tuple(run.folder / path for path in paths if path in run.entries)
        before = Snapshot(when, old, earlier.labels, told=False) if earlier and old else None
        if new:
            yield Snapshot(when, new, run.labels, before)
        elif before is not None:
            yield before


def _name_time(path: str) -> str:
    """Give the hive folder of a partition, whose files are of one time, or the partition itself.

    Examples
    --------
    >>> _name_time("year=2024/month=03/part-7.parquet"), _name_time("2024-03.parquet")
    ('year=2024/month=03', '2024-03.parquet')
    """
    folders = PurePosixPath(path).parts[:-1]
    last = max((i for i, folder in enumerate(folders) if "=" in folder), default=None)
    return path if last is None else "/".join(folders[: last + 1])


def _holds_key(path: Path, key: str, kind: pa.DataType) -> bool:
    """Whether an earlier file can be compared with: it may be older than the key, or hold it in another type."""
    try:
        widen_key_type(kind, find_key_type(pq.read_schema(path), key, str(path)), key, str(path))
    except (FileNotFoundError, SchemaMismatchError):
        return False
    return True


def tell_entities(moves: Moves | None, key: str, folder: Path) -> dict[str, Any] | None:
    """Give what drift.json holds of the entities; the table of moves will be in the folder of the report."""
    if moves is None:
        return None
    return {
        "key": key,
        "labels_from": list(moves.labels),
        "labels_to": list(moves.labels),
        "rows": moves.counts.tolist(),
        "compared": moves.n_compared,
        "moves": moves.n_moves,
        "entities_moved": moves.n_entities_moved,
        "file": str(folder / MOVED),
    }


def keep_file(moves: Moves | None, folder: Path) -> None:
    """Put the table of moves into the folder of the report."""
    if moves is not None:
        moves.file.replace(folder / MOVED)
