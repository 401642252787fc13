"""Which entities moved in a run: the assignment files in the order of time, handed to `entities`."""

import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa

from kmstream.assignments import Entry, read_manifest
from kmstream.dataset import widen_key_type
from kmstream.entities import Moves, Snapshot, find_moves, read_key_type
from kmstream.errors import SchemaMismatchError
from kmstream.run import Run
from kmstream.storage import Place, is_local, upload
from kmstream.store import ModelVersion, Store

MOVED = "moved.parquet"  # beside the report of a run


@dataclass(frozen=True)
class Assignments:
    """Assignment files below a folder, and the names in them by cluster_id."""

    folder: Place
    labels: tuple[str, ...]
    entries: Mapping[str, Entry]


def find_earlier(store: Store, current: ModelVersion | None, mine: Assignments) -> Assignments | None:
    """Give what the current version had assigned of the partitions of a refit."""
    if current is None:
        return None
    folder = store.assignments(current.version)
    entries = {path: entry for path, entry in read_manifest(folder).items() if path in mine.entries}
    return Assignments(folder, current.model.labels, entries)


def follow_entities(
    run: Run, mine: Assignments, earlier: Assignments | None, unchanged: Collection[str] = ()
) -> Moves | None:
    """Find which entities were in another segment than the time before, at the partitions that a run assigned.

    Partitions are taken for snapshots, in the order of their paths; those of one hive folder for one. A partition that
    had been assigned earlier, and has changed since, is compared with what it was. Earlier files that are gone, lack
    the key, or hold it in a type that has nothing in common with this run's, are left out and counted.

    Parameters
    ----------
    run : Run
    mine : Assignments
        Those of the run; their folder gets the table of moves if it is on this machine's disks, else the scratch folder
        of the store.
    earlier : Assignments or None
        Of what the run did not assign itself, its entities come from there.
    unchanged : collection of str
        Earlier partitions that are still as they were, with the names of the run: they still belong to their folder.

    Returns
    -------
    Moves or None
        None where `dataset.key` is not set.

    Raises
    ------
    KmstreamError
        What `find_moves` raises.
    """
    key = run.config.dataset.key
    if not key:
        return None
    limit = run.config.engine.memory_limit // 2  # what is being read comes on top
    target = (mine.folder if is_local(mine.folder) else run.store.scratch) / f".{MOVED}"
    with run.clock.stage("entities"):
        known, n_left_out = _choose_earlier(mine, earlier, key) if earlier else (set(), 0)
        snapshots = list(_list_snapshots(mine, earlier, known, unchanged))
        last = max(i for i, snapshot in enumerate(snapshots) if snapshot.told)
        moves = find_moves(snapshots[: last + 1], key, target, memory_limit_bytes=limit)
    return replace(moves, n_left_out=n_left_out)


def _choose_earlier(mine: Assignments, earlier: Assignments, key: str) -> tuple[set[str], int]:
    """Choose the earlier files to compare with, and count those that would be, and can't."""
    common, known, n_left_out = pa.null(), set(), 0
    for path in sorted(mine.entries):
        common = widen_key_type(common, read_key_type(mine.folder / path, key), key, path)
    for path, entry in sorted(earlier.entries.items()):
        if path in mine.entries and mine.entries[path].fingerprint == entry.fingerprint:
            continue
        try:
            common = widen_key_type(common, read_key_type(earlier.folder / path, key), key, path)
        except (FileNotFoundError, SchemaMismatchError):  # removed; older than the key, or than its type
            n_left_out += 1
        else:
            known.add(path)
    return known, n_left_out


def _list_snapshots(
    mine: Assignments, earlier: Assignments | None, known: Collection[str], unchanged: Collection[str]
) -> Iterator[Snapshot]:
    times: dict[str, list[str]] = {}
    for path in sorted({*mine.entries, *known}, key=_by_number):
        times.setdefault(_name_time(path), []).append(path)
    for when, paths in times.items():
        old = tuple(earlier.folder / path for path in paths if path in known) if earlier else ()
        new = tuple(mine.folder / path for path in paths if path in mine.entries)
        before = Snapshot(when, old, earlier.labels, told=False) if earlier and old else None
        if new:
            still = (earlier.folder / path for path in paths if path in known and path in unchanged) if earlier else ()
            yield Snapshot(when, (*new, *still), mine.labels, before)
        elif before is not None:
            yield before


def _by_number(path: str) -> list[tuple[int, str]]:
    """Order folders like month=9, month=10 by their numbers.

    Examples
    --------
    >>> sorted(["month=10/a", "month=9/a", "2024-03.parquet"], key=_by_number)
    ['2024-03.parquet', 'month=9/a', 'month=10/a']
    """
    parts = re.split(r"(\d+)", path)
    return [(int(part), part) if part.isdigit() else (0, part) for part in parts]


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


def tell_entities(moves: Moves | None, key: str, folder: Place) -> dict[str, Any] | None:
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
        "earlier_files_left_out": moves.n_left_out,
        "file": str(folder / MOVED),
    }


def keep_file(moves: Moves | None, folder: Place) -> None:
    """Put the table of moves into the folder of the report."""
    if moves is not None:
        upload(moves.file, folder / MOVED)
        if not is_local(folder):
            with suppress(OSError):  # the scratch folder, if nothing else is in it
                moves.file.parent.rmdir()
