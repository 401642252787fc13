"""Run one function over many pieces of work: on threads here, or on the workers of a Dask cluster.

Results come back in the order of the pieces whatever finishes first, and only a bounded window of pieces is under way,
so memory does not grow with the dataset. Pieces are grouped by their number alone, at most `MAX_TASKS` groups for a
pass, and a group is merged before it joins the others: the tree of sums, and so every bit, is the same everywhere. (On
processors of one kind, that is: BLAS has other kernels, which round differently, for others.)

Read in this order: this file (which way a run goes), `threads` (here), `client` (the connection to a Dask cluster),
`cluster` (what this process does with its tasks), `worker` (what runs inside its workers). `distributed` is imported
only where a run goes to a cluster.
"""

from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from kmstream.config import EngineConfig
from kmstream.engine.client import find_active_client
from kmstream.engine.cluster import map_on_cluster
from kmstream.engine.threads import count_workers, map_on_threads, read_ahead, single_threaded, worker_threads
from kmstream.engine.worker import check_wanted

__all__ = [
    "MAX_TASKS",
    "Group",
    "HasRows",
    "Progress",
    "Silent",
    "check_wanted",
    "count_workers",
    "find_group_size",
    "group_items",
    "map_in_order",
    "map_on_threads",
    "read_ahead",
    "single_threaded",
    "uses_cluster",
    "worker_threads",
]

MAX_TASKS = 4096  # of one pass: a Dask scheduler takes about a millisecond for each

Item = TypeVar("Item")
Result = TypeVar("Result")


class Progress(Protocol):
    """Who wants to know how far a run is."""

    def start(self, stage: str, rows: int) -> None:
        """Begin a stage of so many rows."""

    def advance(self, rows: int) -> None:
        """Note that so many rows of the stage are done."""


class Silent:
    """Progress that nobody watches."""

    def start(self, stage: str, rows: int) -> None:
        """Ignore the stage."""

    def advance(self, rows: int) -> None:
        """Ignore the rows."""


class HasRows(Protocol):
    """A piece of work that knows how many rows it is."""

    @property
    def rows(self) -> int:
        """Rows of the piece."""


Piece = TypeVar("Piece", bound=HasRows)


@dataclass(frozen=True)
class Group(Generic[Piece]):
    """Consecutive pieces of work that are done by one worker, as one task."""

    pieces: tuple[Piece, ...]

    @property
    def rows(self) -> int:
        """Rows of all of them."""
        return sum(piece.rows for piece in self.pieces)


def find_group_size(n_pieces: int) -> int:
    """Give how many pieces of work make a group, by their number alone: 1 up to `MAX_TASKS`.

    Examples
    --------
    >>> [find_group_size(n) for n in (0, 3, 4096, 4097, 100_000)]
    [1, 1, 1, 2, 25]
    """
    return max(1, -(-n_pieces // MAX_TASKS))


def group_items(pieces: Sequence[Piece], size: int) -> list[Group[Piece]]:
    """Cut pieces of work into groups of one size; the last one holds the rest."""
    return [Group(tuple(pieces[first : first + size])) for first in range(0, len(pieces), size)]


def uses_cluster(config: EngineConfig) -> bool:
    """Whether passes run on a Dask cluster: that of `engine.dask_address`, or of this process's active `Client`."""
    return bool(config.dask_address) or find_active_client() is not None


def map_in_order(function: Callable[[Item], Result], items: Iterable[Item], config: EngineConfig) -> Generator[Result]:
    """Apply a function to every item, in parallel, and yield the results in the order of the items.

    Parameters
    ----------
    function : callable
        Reads its own data; where `uses_cluster`, it must pickle, and so must the items and what it returns. It may be
        called twice for an item, if a worker dies, and then must do the same again.
    items : iterable
    config : EngineConfig

    Raises
    ------
    Exception
        Whatever the function raised for the first item that failed; nothing new is started after it.
    ClusterError
        If the cluster can't do the work.
    """
    way = map_on_cluster if uses_cluster(config) else map_on_threads
    with closing(way(function, items, config)) as results:
        yield from results
