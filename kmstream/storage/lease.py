"""The lock of an output on an object store: an object that its holder renews, and that others may take when it doesn't.

Nothing tells a store that a process has died, so the lock is a lease: whoever holds it puts it anew every few seconds.
Its age is told by the clock of the store alone. Each put has the tag of the one before as its condition, so of two who
take an old lease one gets it, and whoever has lost it learns of it before anything is published.
"""

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from kmstream.errors import LockHeldError, StorageError
from kmstream.storage.conditional import put_if, read_tagged
from kmstream.storage.failures import guard_writes

if TYPE_CHECKING:
    from upath import UPath

LEASE_SECONDS = 60.0
_RENEWALS = 4  # in the time of a lease: three may fail


@contextmanager
def hold_lease(place: "UPath", name: str) -> Iterator[None]:
    """Hold the lease of a segmentation.

    Once it is lost, this process writes nothing more below the output whose `models/.lock` this is: what it would
    replace or remove may be that of the run that has the lease now.

    Raises
    ------
    LockHeldError
        If another run holds it, or has taken it meanwhile.
    StorageError
        If the store does not answer.
    """
    found, seconds = read_tagged(place), LEASE_SECONDS
    if found is not None:
        told = json.loads(found.content or b"{}")
        left = float(told.get("seconds", 0.0)) - found.age
        if left > 0:
            raise _make_error(place, name, told, left)
    mine = {"host": socket.gethostname(), "pid": os.getpid(), "seconds": seconds}
    begin = _now()
    tag = put_if(place, _write(mine), None if found is None else found.tag)
    if tag is None:
        raise _make_error(place, name, {}, seconds)
    lease = _Lease(place, name, mine, tag, begin)
    lease.start()
    try:
        with guard_writes(place.parent.parent, lease.check):
            yield
    finally:
        lease.stop()


class _Lease(threading.Thread):
    """Renews the lease until it is stopped, or lost."""

    def __init__(self, place: "UPath", name: str, mine: dict[str, Any], tag: str, begin: float) -> None:
        super().__init__(name="kmstream-lease", daemon=True)
        self._place, self._called, self._mine, self._tag, self._put_at = place, name, mine, tag, begin
        self._seconds: float = mine["seconds"]
        self._ended, self._is_lost = threading.Event(), False

    def run(self) -> None:
        while not self._ended.wait(self._seconds / _RENEWALS):
            begin = _now()
            try:
                tag = put_if(self._place, _write(self._mine), self._tag)
            except StorageError:
                continue  # the next one may pass; until then `check` counts the seconds
            if tag is None:
                self._is_lost = True
                return
            self._tag, self._put_at = tag, begin

    def check(self) -> None:
        """Make sure that the lease is still ours.

        Raises
        ------
        LockHeldError
        """
        if self._is_lost or _now() - self._put_at > self._seconds:
            error = LockHeldError(f"this run of {self._called!r} has lost its lock; another one may have taken it")
            error.add_note(f"{self._place} could not be renewed for {self._seconds:.0f} seconds, or was replaced.")
            error.add_note("Nothing more was published. Run again when the store answers.")
            raise error

    def stop(self) -> None:
        """Give the lease back."""
        self._ended.set()
        self.join()
        if not self._is_lost:
            with suppress(StorageError):  # it ends by itself, and the run has ended as it has
                put_if(self._place, _write({"seconds": 0.0}), self._tag)


def _now() -> float:
    """Give seconds that go on while the machine sleeps, where the system counts them."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


def _write(told: dict[str, object]) -> bytes:
    return json.dumps(told | {"token": os.urandom(16).hex()}).encode()  # as no other writer has it


def _make_error(place: object, name: str, told: dict[str, object], left: float) -> LockHeldError:
    who = f", process {told['pid']} on {told['host']}" if "host" in told else ""
    error = LockHeldError(f"another run of {name!r} holds the lock{who}")
    error.add_note(f"on {place}")
    error.add_note(f"Wait until it ends; if it has died, its lock ends within {left:.0f} seconds.")
    return error
