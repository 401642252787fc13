"""Which entities moved in a run: the assignment files in the order of time, handed to `entities`."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kmstream.assignments import Entry, read_manifest
from kmstream.config import Config
from kmstream.entities import Moves, Snapshot, find_moves
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

    Partitions are taken for snapshots, in the order of their paths. One that had been assigned earlier, and has changed
    since, is compared with what it was.

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
    snapshots = list(_list_snapshots(run, earlier))
    last = max(i for i, snapshot in enumerate(snapshots) if snapshot.told)
    limit = config.engine.memory_limit // 2  # what is being read comes on top
    target = run.folder / f".{MOVED}"
    with watch.stage("entities"):
        return find_moves(snapshots[: last + 1], config.dataset.key, target, memory_limit_bytes=limit)


def _list_snapshots(run: Assignments, earlier: Assignments | None) -> Iterator[Snapshot]:
    known: dict[str, Snapshot] = {}
    if earlier is not None:
        for path in earlier.entries:
            entry = run.entries.get(path)
            is_same = entry is not None and entry.fingerprint == earlier.entries[path].fingerprint
            if not is_same and (earlier.folder / path).is_file():
                known[path] = Snapshot(path, earlier.folder / path, earlier.labels, told=False)
    for path in sorted({*run.entries, *known}):
        before = known.get(path)
        if path in run.entries:
            yield Snapshot(path, run.folder / path, run.labels, before)
        elif before is not None:
            yield before


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
