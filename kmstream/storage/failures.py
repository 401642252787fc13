"""What goes wrong with an output's files, told in words of ours; and no writing where the lock has been lost."""

import errno
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from kmstream.errors import KmstreamError, OutputError, StorageError, StorageRefusedError

S3 = {"s3", "s3a"}
REFUSED = {"PreconditionFailed", "412", "ConditionalRequestConflict", "409"}  # a condition does not hold
_CLIENTS = {"botocore", "aiobotocore", "aiohttp", "fsspec", "s3fs", "gcsfs", "adlfs", "azure", "google"}
_guards: dict[object, tuple[str, Callable[[], None]]] = {}  # by holder: the folder whose lock it has, and its check


@contextmanager
def guard_writes(folder: object, check: Callable[[], None]) -> Iterator[None]:
    """Let this process write, move or remove nothing below a folder any more once `check` raises.

    Where it holds the lock of a folder twice, since it has lost one and not ended yet, both are asked.
    """
    holder = object()
    _guards[holder] = f"{str(folder).rstrip('/')}/", check
    try:
        yield
    finally:
        del _guards[holder]


def guard_process(check: Callable[[], None]) -> None:
    """Let this process write nothing to any object store while `check` raises."""
    _guards["process"] = "", check


def check_guards(place: object) -> None:
    """Make sure that this process may still write there: for requests that come one after the other."""
    if isinstance(place, Path):
        return
    for folder, check in tuple(_guards.values()):
        if f"{place}/".startswith(folder):
            check()


@contextmanager
def explain_write_errors(place: object) -> Iterator[None]:
    """Turn a failed write into an error that says where and what to do.

    Raises
    ------
    OutputError
        On this machine's disks.
    StorageError
        On an object store.
    LockHeldError
        Before anything is written, if a lock that covers the place has been lost.
    """
    check_guards(place)
    try:
        with explain_storage_errors(place):
            yield
    except OSError as cause:
        if isinstance(cause, KmstreamError) or cause.errno is None:
            raise
        where = place if isinstance(place, Path) else f"{place}, or its temporary file in {tempfile.gettempdir()},"
        error = OutputError(f"{where} can't be written: {os.strerror(cause.errno)}")
        folder = "output.path" if isinstance(place, Path) else "that folder (TMPDIR chooses another one)"
        error.add_note(f"Free space or mend the permissions of {folder}, and run again: nothing was published.")
        raise error from cause


@contextmanager
def explain_storage_errors(place: object) -> Iterator[None]:
    """Turn what an object store's client raises into an error that says where and what to do.

    A file that isn't there stays a `FileNotFoundError`.

    Raises
    ------
    StorageError
    """
    try:
        yield
    except Exception as cause:
        error = _name_error(cause, place)
        if error is None:
            raise
        raise error from cause


def _name_error(cause: BaseException, place: object) -> StorageError | None:
    """Say what an object store's client means by an error; None if it is no error of a store."""
    if isinstance(cause, KmstreamError) or not (_is_of_client(cause) or _is_of_client(cause.__cause__)):
        return None
    said = str(cause).strip().partition("\n")[0] or type(cause).__name__
    if isinstance(cause, FileNotFoundError):
        if find_code(cause) != "NoSuchBucket":
            return None
        refused = StorageRefusedError(f"{place}: {said}")
        refused.add_note("Make the bucket, or mend its name in kmstream.toml.")
        return refused
    # To a HEAD with a token that has expired S3 answers 400, without a word.
    if isinstance(cause, PermissionError) or "redential" in said or find_code(cause) == "400":
        refused = StorageRefusedError(f"{place}: access denied: {said}")
        refused.add_note("Mend the credentials (AWS_… variables, profile, role) or the permissions, and run again.")
        return refused
    waited = isinstance(cause, TimeoutError) or getattr(cause, "errno", None) == errno.EBUSY
    error = StorageError(f"{place}: the store {'is busy or does not answer' if waited else 'failed'}: {said}")
    if "endpoint" in said:
        error.add_note("Look at AWS_ENDPOINT_URL and the network, and run again: what was not finished is not visible.")
    else:
        error.add_note("It was tried several times. Run again when it answers: what was not finished is not visible.")
    return error


def find_code(error: BaseException) -> str:
    """Give the name that S3 has for an error; empty where it is none of S3."""
    response = getattr(error.__cause__, "response", None) or {}
    return str(response.get("Error", {}).get("Code", ""))


def _is_of_client(cause: BaseException | None) -> bool:
    """Whether the client of a store raised it; what s3fs makes of such an error has it as its cause."""
    return type(cause).__module__.partition(".")[0] in _CLIENTS
