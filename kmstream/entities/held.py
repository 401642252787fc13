"""What is held of entities, by key: sorted, added up, and one segment chosen for each."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from kmstream.arrays import IntArray


@dataclass(frozen=True)
class Held:
    """Keys, in ascending order once they are sorted, and what is held for each.

    Of a snapshot's rows: the cluster_id as `code` and the number of rows as `number`, once per key and cluster when
    they are added up. Of entities: the position of the latest label as `code`, whether a move has been told as
    `number`.
    """

    keys: pa.Array
    code: NDArray[np.int32]
    number: NDArray[Any]

    @classmethod
    def nothing(cls, kind: pa.DataType, number: type) -> "Held":
        """Give what is held at the beginning."""
        return cls(pa.array([], kind), np.empty(0, np.int32), np.empty(0, number))

    @property
    def nbytes(self) -> int:
        """Memory it takes."""
        return int(self.keys.nbytes) + self.code.nbytes + self.number.nbytes

    def take(self, places: IntArray) -> "Held":
        """Give some of it, in the order of the places."""
        return Held(self.keys.take(pa.array(places)), self.code[places], self.number[places])


def sort(parts: Sequence[Held]) -> tuple[Held, NDArray[np.bool_]]:
    """Sort by key, what has the same key in the order of the parts; and tell where each key begins."""
    keys = pa.chunked_array([part.keys for part in parts])
    order = pc.sort_indices(keys)
    keys = pa.concat_arrays(keys.take(order).chunks)
    places = order.to_numpy()
    code, number = (np.concatenate([getattr(p, name) for p in parts])[places] for name in ("code", "number"))
    return Held(keys, code, number), _find_starts(keys)


def _find_starts(keys: pa.Array) -> NDArray[np.bool_]:
    """Find where a key differs from the one before it.

    Examples
    --------
    >>> _find_starts(pa.array(["ann", "ann", "bob"])).tolist()
    [True, False, True]
    """
    starts = np.ones(len(keys), np.bool_)
    starts[1:] = pc.not_equal(keys[1:], keys[:-1]).to_numpy(zero_copy_only=False)
    return starts


def add_up(parts: Sequence[Held], n_clusters: int) -> Held:
    """Add up rows of the same key and cluster.

    Examples
    --------
    >>> rows = Held(pa.array(["bob", "ann", "bob", "bob"]), np.array([1, 0, 0, 1], np.int32), np.ones(4, np.int64))
    >>> counted = add_up([rows], 2)
    >>> counted.keys.to_pylist(), counted.code.tolist(), counted.number.tolist()
    (['ann', 'bob', 'bob'], [0, 0, 1], [1, 1, 2])
    """
    rows, first = sort(parts)
    if first.all():
        return rows
    cells = (np.cumsum(first) - 1) * n_clusters + rows.code
    order = np.argsort(cells, kind="stable")
    starts = np.flatnonzero(np.diff(cells[order], prepend=-1))
    return replace(rows.take(order[starts]), number=np.add.reduceat(rows.number[order], starts))


def choose_segments(rows: Held, known: Held) -> Held:
    """Keep the segment of most rows of each key; of those that have as many the one it was in before, else the first.

    Examples
    --------
    >>> counted = Held(pa.array(["ann", "ann", "bob", "bob"]), np.array([0, 2, 0, 1], np.int32), np.array([1, 1, 1, 2]))
    >>> chosen = choose_segments(counted, Held(pa.array(["ann"]), np.array([2], np.int32), np.zeros(1, bool)))
    >>> chosen.keys.to_pylist(), chosen.code.tolist()
    (['ann', 'bob'], [2, 1])
    """
    first = _find_starts(rows.keys)
    if first.all():
        return rows
    entity = np.cumsum(first) - 1
    most = np.maximum.reduceat(rows.number, np.flatnonzero(first))
    winners = np.flatnonzero(rows.number == most[entity])
    if len(winners) > len(most):
        places = pc.index_in(rows.keys.take(pa.array(winners)), value_set=known.keys).fill_null(-1).to_numpy()
        stays = np.append(known.code, -1)[places] == rows.code[winners]
        winners = winners[np.lexsort((~stays, entity[winners]))]
    return rows.take(winners[np.diff(entity[winners], prepend=-1) > 0])
