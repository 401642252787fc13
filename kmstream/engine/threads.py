"""Work on the threads of this process."""

import os
import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from threadpoolctl import threadpool_limits

from kmstream.clustering import load_kernels
from kmstream.config import EngineConfig

Item = TypeVar("Item")
Result = TypeVar("Result")


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


def map_on_threads(
    function: Callable[[Item], Result], items: Iterable[Item], config: EngineConfig
) -> Generator[Result]:
    """Do what `map_in_order` does, on threads of this process whatever clusters there are."""
    window = 2 * count_workers(config)
    with worker_threads(config) as pool:
        under_way: deque[Future[Result]] = deque()
        try:
            for item in items:
                under_way.append(pool.submit(function, item))
                if len(under_way) >= window:
                    yield under_way.popleft().result()
            while under_way:
                yield under_way.popleft().result()
        finally:
            for future in under_way:
                future.cancel()


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
