"""`history.jsonl`: one JSON object a line, never changed, only appended to; also by several at once."""

import json
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import filelock

from kmstream.errors import LockHeldError
from kmstream.storage import Place, explain_write_errors, is_local, put_if, read_tagged, read_text

if TYPE_CHECKING:
    from upath import UPath

HISTORY = "history.jsonl"
_TRIES = 20


def read_lines(path: Place) -> list[dict[str, Any]]:
    """Read all lines, oldest first; one that was cut off by a crash is left out."""
    try:
        lines = read_text(path).splitlines()
    except FileNotFoundError:
        return []
    return [content for line in lines if (content := _parse(line)) is not None]


def append_line(path: Place, line: str, check_lock: Callable[[], None]) -> None:
    """Append a line; one writer at a time, so that none takes another's half line for a cut one.

    Parameters
    ----------
    path : Place
    line : str
        Ends with a line break.
    check_lock : callable
        Raises if this run has lost the lock of the segmentation.
    """
    if not is_local(path):
        _put_with(path, line, check_lock)
        return
    turn = filelock.FileLock(path.with_name(".history.lock"))
    with explain_write_errors(path), turn, path.open("a+b", buffering=0) as file:
        if file.tell() and os.pread(file.fileno(), 1, file.tell() - 1) != b"\n":
            line = "\n" + line  # a crash cut the last line off; it stays alone
        file.write(line.encode())
        os.fsync(file.fileno())


def _put_with(path: "UPath", line: str, check_lock: Callable[[], None]) -> None:
    """Put the history anew, with one line more, unless somebody else did so meanwhile: then with both."""
    for _ in range(_TRIES):
        before = read_tagged(path)
        content, tag = (before.content, before.tag) if before else (b"", None)
        check_lock()  # after reading: what others have written since has another tag
        if put_if(path, content + line.encode(), tag) is not None:
            return
    error = LockHeldError(f"the history is being written by others: {_TRIES} tries to add a line failed")
    error.add_note(f"in {path}; run again when they have ended.")
    raise error


def _parse(line: str) -> dict[str, Any] | None:
    try:
        return dict(json.loads(line))
    except ValueError:
        return None
