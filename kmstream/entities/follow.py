"""One range of keys, followed through all snapshots: who is in each, in which segment, and who moved."""

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from kmstream.arrays import IntArray
from kmstream.entities.held import Held, add_up, choose_segments, sort
from kmstream.entities.snapshots import Range, Search, Snapshot, read_rows
from kmstream.entities.spill import Spill

_COPIES = 7  # memory of sorting and joining at their peak, in sizes of what is held between two batches
_WINDOW_BYTES = 1 << 24  # rows that wait to be added up, at most; or half as much as has been added up already
_SAMPLED = 4096  # keys among which the middle of a range is looked for


class TooWideError(Exception):
    """A range holds more entities than fit the memory; `middle` cuts it in two that both hold some."""

    def __init__(self, middle: pa.Scalar) -> None:
        super().__init__(middle)
        self.middle = middle


@dataclass(frozen=True)
class Found:
    """What one range of keys adds to the answer; `batches` are the step and number of what was spilled."""

    counts: IntArray
    batches: list[tuple[int, int]]
    n_entities_moved: int


def follow(search: Search, keys: Range, spill: Spill) -> Found:
    """Follow the entities of a range through all snapshots.

    Raises
    ------
    TooWideError
    """
    counts, batches = np.zeros((len(search.labels), len(search.labels)), np.int64), []
    known = Held.nothing(search.sorted_type, np.bool_)
    for number, step in enumerate(search.steps):
        current = _find_segments(search, step, keys, known)
        known, seen_again, moves = _compare(search, step, known, current)
        counts += seen_again
        if moves.num_rows:
            batches.append((number, spill.write(moves)))
    return Found(counts, batches, int(np.count_nonzero(known.number)))


def _find_segments(search: Search, step: Snapshot, keys: Range, known: Held) -> Held:
    """Find the entities of a snapshot and their labels, as far as the key lies in the range."""
    window = min(search.limit // _COPIES // 4, _WINDOW_BYTES)
    counted, waiting = Held.nothing(search.sorted_type, np.int64), []
    for rows in read_rows(search, step, keys):
        waiting.append(rows)
        if sum(part.nbytes for part in waiting) > max(window, counted.nbytes // 2):
            counted, waiting = add_up([counted, *waiting], len(step.labels)), []
            _check_room(known, counted, search.limit)
    counted = add_up([counted, *waiting], len(step.labels))
    _check_room(known, counted, search.limit)
    places = np.array([search.labels.index(label) for label in step.labels], np.int32)
    chosen = choose_segments(replace(counted, code=places[counted.code]), known)
    return replace(chosen, number=np.zeros(len(chosen.keys), np.bool_))


def _check_room(known: Held, counted: Held, limit: int) -> None:
    """Refuse a range that takes more than the limit, unless it holds a single entity."""
    if _COPIES * (known.nbytes + counted.nbytes) > limit:
        sampled = [keys[:: len(keys) // _SAMPLED + 1] for keys in (known.keys, counted.keys)]
        found = pa.chunked_array(sampled).unique().sort()
        if len(found) > 1:
            raise TooWideError(found[len(found) // 2])


def _compare(search: Search, step: Snapshot, known: Held, current: Held) -> tuple[Held, IntArray, pa.RecordBatch]:
    """Compare the entities of a snapshot with what was known of them.

    Returns
    -------
    latest : Held
        What is known now.
    counts : ndarray of shape (n_labels, n_labels)
    moves : pyarrow.RecordBatch
        In the order of keys; like the counts, empty if the snapshot is only read.
    """
    n_labels = len(search.labels)
    both, first = sort([known, current])
    again = np.flatnonzero(~first)  # each right behind what was known of the entity
    was, now = both.code[again - 1], both.code[again]
    moved = (was != now) & step.told
    both.number[again] = both.number[again - 1] | moved
    counts = np.bincount(was.astype(np.int64) * n_labels + now, minlength=n_labels**2) * step.told
    when = np.full(np.count_nonzero(moved), search.whens.index(step.when), np.int32)
    columns = [both.keys.take(pa.array(again[moved])), *map(pa.array, (was[moved], now[moved], when))]
    moves = pa.RecordBatch.from_arrays(columns, schema=search.spill_schema)
    last = np.append(first[1:], True)[: len(first)]  # of each key: what is known now
    return both.take(np.flatnonzero(last)), counts.reshape(n_labels, n_labels), moves
