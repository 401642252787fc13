"""Work on a Dask cluster: spans are read, and files written, by its workers; only small results travel.

What is submitted are a few kilobytes for each task: the function with its centroids, and the places of its spans. What
comes back waits on the workers until its turn, is gathered a few at a time in the order of the items, and released.
Dask does a task again whose worker died, so a function may be called twice for an item; it counts once, as what is
gathered is one result for each item. A worker that was given up and is still alive may then write the same file as its
successor: both write the same bytes under a temporary name of their own and rename, so either may come last.

The scheduler needs no kmstream: what it unpickles are bytes, and `pickle.loads`, which makes them a call on the worker.
"""

import asyncio
import pickle
import time
import uuid
from collections import deque
from collections.abc import Callable, Coroutine, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import islice, takewhile
from typing import Any, TypeVar

from kmstream.config import EngineConfig
from kmstream.engine.client import lost_errors, open_client
from kmstream.engine.worker import abandon, find_versions, run_task, unpack_result
from kmstream.errors import ClusterError, KmstreamError

Item = TypeVar("Item")
Result = TypeVar("Result")

_WINDOW = 8  # tasks under way for each thread: how far the others may be ahead of the slowest
_GATHERED = 16  # results fetched at once, at most: a message costs more time than what is in it
_LOOK_SECONDS = 5.0  # between two looks at the workers: some may have come or gone
_PATIENCE_SECONDS = 60.0  # without any worker, before a run gives up; a nanny needs a few, a new machine more
_END_SECONDS = 30.0  # to wait for tasks under way when a run ends early; they look up after each span


def map_on_cluster(
    function: Callable[[Item], Result], items: Iterable[Item], config: EngineConfig
) -> Generator[Result]:
    """Do what `map_in_order` does, on the workers of a cluster.

    When it ends early, by an error or Ctrl-C, tasks that wait are cancelled; those under way end at their next span,
    and are waited for, `_END_SECONDS` at most.

    Raises
    ------
    ClusterError
        If the scheduler or its workers can't do the work; what has been gathered so far is right.
    """
    waiting, under_way = deque(items), deque[Any]()
    if not waiting:
        return
    with open_client(config.dask_address) as client:
        tasks = _Tasks(client, function)
        try:
            while waiting or under_way:
                while waiting and len(under_way) < tasks.window:
                    under_way.append(tasks.submit(waiting.popleft()))
                for result in tasks.gather(under_way):
                    under_way.popleft()
                    yield result
        finally:
            if under_way:
                tasks.end(under_way)


class _Call:
    """Pickles to a call: what unpickles it has its result."""

    def __init__(self, *arguments: object) -> None:
        self.arguments = arguments

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return run_task, self.arguments


class _Tasks:
    """The tasks of one pass."""

    def __init__(self, client: Any, function: Callable[[Any], Any]) -> None:  # noqa: ANN401
        import cloudpickle

        self._dump = cloudpickle.dumps
        self._client, self._function = client, self._dump(function)
        self._address = client.scheduler.address
        self._run_id, self._n_submitted = uuid.uuid4().hex, 0
        self._looked = self._worked = time.monotonic()
        self.window = _WINDOW
        with self._explain():
            self._look()
            if not self._n_workers:
                error = ClusterError(f"the Dask scheduler {self._address} has no workers")
                error.add_note("Start at least one that reads the dataset and writes the output at the same paths.")
                raise error

    def submit(self, item: object) -> Any:  # noqa: ANN401
        """Start work on an item."""
        call = pickle.dumps(_Call(self._run_id, find_versions(), self._function, self._dump(item)))
        self._n_submitted += 1
        key = f"kmstream-{self._run_id}-{self._n_submitted}"
        with self._explain():
            return self._client.submit(pickle.loads, call, key=key, pure=False)

    def gather(self, futures: Iterable[Any]) -> list[Any]:
        """Wait for the first task, and fetch its result with those of the next that are done too: a few, at once.

        Raises
        ------
        Exception
            What the function raised for the first.
        ClusterError
        """
        first, *others = islice(futures, _GATHERED)

        async def fetch() -> tuple[BaseException | None, list[bytes]]:
            failure = await first.exception()
            if failure is not None:
                return failure, []
            done = takewhile(lambda future: future.status == "finished", others)
            return None, await self._client.gather([first, *done])

        with self._explain():
            failure, packed = self._wait(fetch())
        if failure is not None:
            raise self._tell(failure)
        return [unpack_result(one) for one in packed]

    def _wait(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Wait as long as any worker works: it may be at the task, or at one whose result was lost with another."""
        pending = asyncio.run_coroutine_threadsafe(work, self._client.loop.asyncio_loop)
        try:
            while True:
                if time.monotonic() - self._looked > _LOOK_SECONDS:
                    self._look()
                if time.monotonic() - self._worked > _PATIENCE_SECONDS:
                    for_so_long = f"for {_PATIENCE_SECONDS:.0f} seconds"
                    error = ClusterError(f"the Dask scheduler {self._address} has had no worker at work {for_so_long}")
                    error.add_note("They died, left, or are paused for want of memory. Start some, and run again.")
                    raise error
                try:
                    return pending.result(timeout=_LOOK_SECONDS)
                except TimeoutError:
                    if pending.done():
                        return pending.result()
        finally:
            pending.cancel()

    def end(self, futures: Sequence[Any]) -> None:
        """Leave no task behind that still reads or writes, but on a worker that does not answer."""
        with suppress(*lost_errors()):
            if self._client.status != "running":  # the scheduler is gone, and with it the tasks
                return
            self._client.cancel(futures, force=True)

            async def stop() -> None:
                await self._client.run(abandon, self._run_id, _END_SECONDS, on_error="ignore")

            self._client.sync(stop, callback_timeout=_END_SECONDS + 1)

    def _look(self) -> None:
        """See how many threads there are, and whether any of them works."""
        workers = self._client.scheduler_info(n_workers=-1)["workers"].values()
        self._n_workers, self._looked = len(workers), time.monotonic()
        self.window = _WINDOW * max(1, sum(worker["nthreads"] for worker in workers))
        if any(_works(worker) for worker in workers):
            self._worked = self._looked

    @contextmanager
    def _explain(self) -> Iterator[None]:
        """Say in our words that the connection to the scheduler was lost."""
        try:
            yield
        except KmstreamError:
            raise
        except lost_errors() as cause:
            why = getattr(cause, "reason", "") or str(cause).strip().partition("\n")[0]
            error = ClusterError(f"the Dask scheduler {self._address} was lost in mid-run: {why}")
            error.add_note("It was stopped, restarted, or can't be reached; nothing was published. Run again.")
            raise error from cause

    def _tell(self, failure: BaseException) -> BaseException:
        """Say in our words why Dask could not run a task; what the function raised stays as it is."""
        from distributed import KilledWorker

        if isinstance(failure, KilledWorker):
            error = ClusterError(
                f"{failure.allowed_failures + 1} Dask workers died at the same task; "
                f"the last was {failure.last_worker.address}"
            )
            error.add_note("Out of memory, most likely: their logs say. Give them more memory or fewer threads, or")
            error.add_note("lower engine.memory_limit, and run again. Nothing was published.")
        elif isinstance(failure, ImportError | AttributeError) and "kmstream" in str(failure):
            error = ClusterError(f"a Dask worker can't run kmstream {find_versions()['kmstream']}: {failure}")
            error.add_note("Install the same versions on every worker as on the machine that starts the run.")
        else:
            return failure
        error.__cause__ = failure
        return error


def _works(worker: dict[str, Any]) -> bool:
    """Whether a worker takes tasks, or is at one."""
    return worker["status"] == "running" or bool(worker["metrics"].get("task_counts", {}).get("executing"))
