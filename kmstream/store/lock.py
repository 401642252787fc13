"""The lock of a segmentation: on a disk one of the system, on an object store a lease."""

from collections.abc import Iterator
from contextlib import contextmanager

import filelock

from kmstream.errors import LockHeldError
from kmstream.storage import Place, explain_storage_errors, explain_write_errors, hold_lease, is_local

LOCK = ".lock"


@contextmanager
def hold_lock(models: Place, name: str) -> Iterator[None]:
    """Hold the lock of the segmentation of this name; it is freed when the process ends, however it ends.

    On a disk by the system and at once, on an object store when nobody renews it.

    Raises
    ------
    LockHeldError
    """
    if not is_local(models):
        with explain_storage_errors(models.parent), hold_lease(models / LOCK, name):
            yield
        return
    with explain_write_errors(models):
        models.mkdir(parents=True, exist_ok=True)
    held = filelock.FileLock(models / LOCK, blocking=False)
    try:
        with explain_write_errors(models / LOCK):
            held.acquire()
    except filelock.Timeout:
        error = LockHeldError(f"another run of {name!r} holds the lock")
        error.add_note(f"on {models / LOCK}")
        error.add_note("Wait until it ends; the lock frees itself when its process does.")
        raise error from None
    try:
        yield
    finally:
        held.release()
