"""Run one function over many pieces of work: on threads here, or on the workers of a Dask cluster.

Results come back in the order of the pieces whatever finishes first, and only a bounded window of pieces is under way,
so memory does not grow with the dataset.
"""

import os
import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from threadpoolctl import threadpool_limits

from kmstream.clustering import load_kernels
from kmstream.config import EngineConfig
from kmstream.errors import ConfigError

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


def count_workers(config: EngineConfig) -> int:
    """Give the number of threads a run uses: `engine.workers`, or every core this process may run on."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return config.workers or usable


def single_threaded() -> AbstractContextManager[Any]:
    """Hold BLAS and OpenMP to one thread: a product or sum split over threads may round differently each time."""
    load_kernels()
    return threadpool_limits(1)  # type: ignore[no-any-return]


def worker_threads(config: EngineConfig) -> ThreadPoolExecutor:
    """Make a pool whose threads are single-threaded themselves; OpenMP counts for each calling thread."""
    return ThreadPoolExecutor(count_workers(config), initializer=single_threaded)


def map_in_order(function: Callable[[Item], Result], items: Iterable[Item], config: EngineConfig) -> Generator[Result]:
    """Apply a function to every item, in parallel, and yield the results in the order of the items.

    Parameters
    ----------
    function : callable
        Reads its own data; with `engine.dask_address` it must pickle, and so must what it returns.
    items : iterable
    config : EngineConfig

    Raises
    ------
    Exception
        Whatever the function raised for the first item that failed; nothing new is started after it.
    """
    if config.dask_address:
        with _dask_submit(config.dask_address) as (submit, n_workers):
            yield from _in_order(submit, function, items, 2 * n_workers)
    else:
        with worker_threads(config) as pool:
            yield from _in_order(pool.submit, function, items, 2 * count_workers(config))


def read_ahead(items: Iterable[Item], depth: int = 2) -> Generator[Item]:
    """Make the next items in a thread of their own while the last one is being used; at most `depth` wait.

    Raises
    ------
    Exception
        Whatever making an item raised, where that item would have come.
    """
    ready: queue.Queue[Item | _End] = queue.Queue(depth)
    abandoned = threading.Event()

    def put(item: Item | _End) -> bool:
        while not abandoned.is_set():
            with suppress(queue.Full):
                ready.put(item, timeout=0.1)
                return True
        return False

    def fill() -> None:
        try:
            with single_threaded():
                for item in items:
                    if not put(item):
                        return
            put(_End(None))
        except BaseException as error:  # noqa: BLE001 - it is raised again, in the thread that waits for the item
            put(_End(error))

    maker = threading.Thread(target=fill, name="read-ahead")
    maker.start()
    try:
        while not isinstance(item := ready.get(), _End):
            yield item
        if item.error is not None:
            raise item.error
    finally:
        abandoned.set()
        maker.join()


@dataclass(frozen=True)
class _End:
    """What comes after the last item: nothing, or the error that ended it."""

    error: BaseException | None


def _in_order(
    submit: Callable[..., Any], function: Callable[[Item], Result], items: Iterable[Item], window: int
) -> Iterator[Result]:
    under_way: deque[Future[Result]] = deque()
    try:
        for item in items:
            under_way.append(submit(function, item))
            if len(under_way) >= window:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()
    finally:
        for future in under_way:
            future.cancel()


@contextmanager
def _dask_submit(address: str) -> Iterator[tuple[Callable[..., Any], int]]:
    from distributed import Client

    try:
        client = Client(address)  # type: ignore[no-untyped-call]
    except OSError as cause:
        error = ConfigError(f"no Dask scheduler answers at engine.dask_address {address}: {cause}")
        error.add_note("Start it, or leave engine.dask_address empty to run on this machine's threads.")
        raise error from cause
    with client:
        n_workers = sum(client.nthreads().values())  # type: ignore[no-untyped-call]
        if not n_workers:
            error = ConfigError(f"the Dask scheduler at engine.dask_address {address} has no workers")
            error.add_note("Start at least one worker that reads the dataset and writes the output at the same paths.")
            raise error
        yield lambda function, item: client.submit(_run_alone, function, item, pure=False), n_workers


def _run_alone(function: Callable[[Item], Result], item: Item) -> Result:
    with single_threaded():
        return function(item)
