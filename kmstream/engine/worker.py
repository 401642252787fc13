"""What runs inside a worker of a Dask cluster: one task, alone on its thread, for a run that still wants it."""

import asyncio
import pickle
import platform
import threading
import time
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import cache
from importlib.metadata import version
from typing import Any

from threadpoolctl import ThreadpoolController

from kmstream.clustering import load_kernels
from kmstream.errors import ClusterError, CorruptFileError
from kmstream.storage import guard_process

_SHARED = ("numpy", "pyarrow", "scikit-learn", "distributed", "fsspec")
_AT_WORK = {"running", "paused", "closing_gracefully"}  # of a worker that its scheduler still counts on

_lock = threading.Lock()
_running: Counter[str] = Counter()  # tasks under way in this process, by run
_abandoned: set[str] = set()  # runs that want nothing more
_WANTED = {"executing", "long-running"}  # states of a task; it is "cancelled" when its client is gone
_limits = ExitStack()  # holds BLAS to one thread while any task is under way
_here = threading.local()  # which run, and which worker, the task of this thread belongs to


def run_task(run_id: str, expected: Mapping[str, str], function: bytes, item: bytes) -> bytes:
    """Apply a function to an item; both are unpickled after their versions are known to be right.

    Returns
    -------
    bytes
        The result, for `unpack_result`: pickled and compressed, as most of what is counted by distance are zeros.

    Raises
    ------
    ClusterError
        If this worker has other versions than the run, or no memory left.
    """
    from distributed import get_worker

    worker = get_worker()
    guard_process(check_wanted)
    _refuse_other_versions(expected, worker.address)
    with _under_way(run_id, worker):
        check_wanted()
        try:
            result = pickle.loads(function)(pickle.loads(item))
            return zlib.compress(pickle.dumps(result), level=1)
        except ImportError as cause:
            missing = ClusterError(f"the Dask worker {worker.address} lacks a library: {cause}")
            missing.add_note("Install on every worker what the machine has that starts the run.")
            raise missing from cause
        except MemoryError as cause:
            error = ClusterError(f"the Dask worker {worker.address} has no memory left: {cause or 'MemoryError'}")
            error.add_note("Give the workers more memory or fewer threads, or lower engine.memory_limit; run again.")
            raise error from cause
        except (OSError, CorruptFileError) as error:
            error.add_note(f"On the Dask worker {worker.address}; it must see the same files as the others.")
            raise


def unpack_result(packed: bytes) -> Any:  # noqa: ANN401 - whatever the function gave
    """Give the result of a task."""
    return pickle.loads(zlib.decompress(packed))


def check_wanted() -> None:
    """End a task that nobody waits for any more; does nothing where no task of a cluster runs.

    Called between spans, and before a file gets its name: a worker that is closing leaves at the next of them, and its
    task is done by another.

    Raises
    ------
    ClusterError
        If the run has ended.
    """
    run_id = getattr(_here, "run_id", None)
    if run_id is None:
        return
    task = _here.worker.state.tasks.get(_here.key)
    if run_id in _abandoned or task is None or task.state not in _WANTED:
        msg = "the run has ended"
        raise ClusterError(msg)
    if _here.worker.status.name not in _AT_WORK:
        from distributed import Reschedule

        raise Reschedule


async def abandon(run_id: str, seconds: float) -> int:
    """End a run on this worker, and wait, so long at most, until none of its tasks is under way; give how many are."""
    _abandoned.add(run_id)
    end = time.monotonic() + seconds
    while _running[run_id] and time.monotonic() < end:
        await asyncio.sleep(0.02)
    return _running[run_id]


@cache
def find_versions() -> dict[str, str]:
    """Give the versions that client and workers must share: of what numbers, files and pickles depend on."""
    import kmstream

    python = ".".join(platform.python_version_tuple()[:2])
    return {"Python": python, "kmstream": kmstream.__version__} | {name: version(name) for name in _SHARED}


def _refuse_other_versions(expected: Mapping[str, str], address: str) -> None:
    found = find_versions()
    wrong = [f"{name} {found.get(name)} (here {wanted})" for name, wanted in expected.items()
             if found.get(name) != wanted]  # fmt: skip
    if wrong:
        error = ClusterError(f"the Dask worker {address} has {', '.join(wrong)}")
        error.add_note("Install the same versions on every worker as on the machine that starts the run.")
        raise error


@cache
def _find_libraries() -> ThreadpoolController:
    load_kernels()
    return ThreadpoolController()  # takes milliseconds


@contextmanager
def _under_way(run_id: str, worker: Any) -> Iterator[None]:  # noqa: ANN401 - distributed is imported late
    """Count a task, and hold BLAS and OpenMP to one thread.

    BLAS is held for the whole process, by the first task that comes to the last one that goes; OpenMP for each thread.
    """
    libraries = _find_libraries()
    with _lock:
        if not _running.total():
            _limits.enter_context(libraries.limit(limits=1, user_api="blas"))
        _running[run_id] += 1
    _here.run_id, _here.worker, _here.key = run_id, worker, worker.get_current_task()
    try:
        with libraries.limit(limits=1, user_api="openmp"):
            yield
    finally:
        _here.run_id = None
        with _lock:
            _running[run_id] -= 1
            if not _running.total():
                _limits.close()
