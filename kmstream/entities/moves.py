"""The whole search: one range of keys after the other, then the moves of all in one file."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from kmstream.arrays import IntArray
from kmstream.entities.follow import Found, TooWideError, follow
from kmstream.entities.snapshots import Range, Search, Snapshot, find_common_type
from kmstream.entities.spill import Spill, write_moves


@dataclass(frozen=True)
class Moves:
    """What became of the entities that were seen more than once.

    Attributes
    ----------
    labels : tuple of str
        Of all snapshots, in the order in which they first appear.
    counts : ndarray of shape (n_labels, n_labels)
        How often an entity was seen again, by its earlier label and its label now; on the diagonal those that stayed.
    n_entities_moved : int
        Entities with at least one move.
    file : Path
        Parquet, a row per move: key, from, to, when; in the order of the snapshots, then of the keys.
    n_passes : int
        Ranges of keys that were held one after the other.
    n_left_out : int
        Earlier files that could not be compared with, so that they are in no snapshot.
    """

    labels: tuple[str, ...]
    counts: IntArray
    n_entities_moved: int
    file: Path
    n_passes: int
    n_left_out: int = 0

    @property
    def n_compared(self) -> int:
        """How often an entity was seen again, moved or not."""
        return int(self.counts.sum())

    @property
    def n_moves(self) -> int:
        """Rows of the file."""
        return self.n_compared - int(np.trace(self.counts))


def find_moves(snapshots: Sequence[Snapshot], key: str, target: Path, *, memory_limit_bytes: int) -> Moves:
    """Find the entities that changed their segment, and write them to a file.

    An entity's segment in a snapshot is that of most of its rows there; of two with as many the one it was in before,
    else that of the smaller cluster_id. It is compared, by name, with its segment in the last snapshot that held it.
    Rows without key or cluster_id are left out.

    Parameters
    ----------
    snapshots : sequence of Snapshot
        In the order of time.
    key : str
        Column that tells entities apart: whole numbers, text, bytes, dates, timestamps or decimals. Where files hold it
        in several types, they are compared in one that can hold all.
    target : Path
        Appears when it is whole; it has no rows if nobody moved.
    memory_limit_bytes : int
        For all that is held of entities. The pages that are being read, and what the allocators keep of them, come on
        top: some 50 MiB.

    Raises
    ------
    SchemaMismatchError
        If a file lacks the key, or has it in a type that can't be a key.
    CorruptFileError
        If a file can't be read to its end, lacks the column cluster_id, or has a cluster_id without a name.
    OutputError
        If the target can't be written; nothing is left of it then.

    Examples
    --------
    >>> import tempfile
    >>> import pyarrow as pa, pyarrow.parquet as pq
    >>> folder = Path(tempfile.mkdtemp())
    >>> for month, ids in {"may": [0, 0, 1], "june": [0, 1, 1]}.items():
    ...     rows = pa.table({"customer": ["ann", "bob", "cyd"], "cluster_id": pa.array(ids, pa.int32())})
    ...     pq.write_table(rows, folder / month)
    >>> months = [Snapshot(month, (folder / month,), ("new", "loyal")) for month in ("may", "june")]
    >>> moves = find_moves(months, "customer", folder / "moves.parquet", memory_limit_bytes=2**30)
    >>> moves.counts.tolist()
    [[1, 1], [0, 1]]
    >>> pq.read_table(moves.file).to_pylist()
    [{'key': 'bob', 'from': 'new', 'to': 'loyal', 'when': 'june'}]
    """
    steps = tuple(step for snapshot in snapshots for step in _unfold(snapshot))
    search = Search(steps, key, find_common_type(steps, key), memory_limit_bytes)
    done: list[Found] = []
    with closing(Spill(target, search)) as spill:
        ranges = [Range()]
        while ranges:
            keys = ranges.pop()
            try:
                done.append(follow(search, keys, spill))
            except TooWideError as error:
                ranges += [Range(error.middle, keys.end), Range(keys.begin, error.middle)]  # the lower one next
        batches = sorted((batch for found in done for batch in found.batches), key=lambda batch: batch[0])
        write_moves(spill.read(number for _, number in batches), search, target)
    counts = np.sum([found.counts for found in done], axis=0)
    return Moves(search.labels, counts, sum(found.n_entities_moved for found in done), target, len(done))


def _unfold(snapshot: Snapshot) -> Iterator[Snapshot]:
    """Give what a snapshot is compared with first, only to be read, then the snapshot."""
    if snapshot.before is not None:
        yield from (replace(step, told=False) for step in _unfold(snapshot.before))
    yield snapshot
