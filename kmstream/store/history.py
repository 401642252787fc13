"""`history.jsonl`: one JSON object a line, never changed, only appended to, also by several at once; and what it tells.

The order of the lines counts, not their times: clocks may be set back.
"""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import filelock

from kmstream.errors import LockHeldError
from kmstream.storage import Place, explain_write_errors, is_local, put_if, read_tagged, read_text

if TYPE_CHECKING:
    from upath import UPath

Line: TypeAlias = Mapping[str, Any]  # with "event" and "time", and what belongs to the event

HISTORY = "history.jsonl"
BECAME_CURRENT = {"published", "promoted", "rolled-back"}  # events of a version that readers see from then on
_TRIES = 20


def read_lines(path: Place) -> list[dict[str, Any]]:
    """Read all lines, oldest first; one that was cut off by a crash is left out."""
    try:
        lines = read_text(path).splitlines()
    except FileNotFoundError:
        return []
    return [content for line in lines if (content := _parse(line)) is not None]


def append_line(path: Place, told: Line) -> None:
    """Append a line; one writer at a time, so that none takes another's half line for a cut one.

    Raises
    ------
    LockHeldError
        If this run has lost the lock of the segmentation, or too many others write at the same time.
    """
    line = json.dumps(told) + "\n"
    if not is_local(path):
        _put_with(path, line.encode())
        return
    turn = filelock.FileLock(path.with_name(".history.lock"))
    with explain_write_errors(path), turn, path.open("a+b", buffering=0) as file:
        if file.tell() and os.pread(file.fileno(), 1, file.tell() - 1) != b"\n":
            line = "\n" + line  # a crash cut the last line off; it stays alone
        file.write(line.encode())
        os.fsync(file.fileno())


def _put_with(path: "UPath", line: bytes) -> None:
    """Put the history anew, with one line more, unless somebody else did so meanwhile: then with both."""
    for _ in range(_TRIES):
        before = read_tagged(path)
        content, tag = (before.content, before.tag) if before else (b"", None)
        with explain_write_errors(path):  # looks at the lock; what others have written since has another tag
            if put_if(path, content + line, tag) is not None:
                return
    error = LockHeldError(f"the history is being written by others: {_TRIES} tries to add a line failed")
    error.add_note(f"in {path}; run again when they have ended.")
    raise error


def _parse(line: str) -> dict[str, Any] | None:
    try:
        return dict(json.loads(line))
    except ValueError:
        return None


def find_status(history: Iterable[Line], version: str) -> str:
    """Tell what became of a version: published, held, promoted, or rolled-back to the one before it.

    Examples
    --------
    >>> held, promoted = {"event": "held", "version": "v2"}, {"event": "promoted", "version": "v2"}
    >>> rolled_back = {"event": "rolled-back", "previous": "v2", "version": "v1"}
    >>> find_status([held], "v2"), find_status([held, promoted], "v2")
    ('held', 'promoted')
    >>> find_status([held, promoted, rolled_back], "v2"), find_status([], "v2")
    ('rolled-back', 'unknown')
    """
    found = "unknown"
    for line in history:
        if line["event"] in {"published", "held", "promoted"} and line["version"] == version:
            found = line["event"]
        elif line["event"] == "rolled-back" and line.get("previous") == version:
            found = "rolled-back"
        elif line["event"] == "rolled-back" and line["version"] == version and found == "rolled-back":
            found = "promoted"
    return found


def find_names_of_today(history: Sequence[Line]) -> dict[str, dict[str, str]]:
    """Give what people call the segments of each run now, by the names that they had in it, where those changed.

    Returns
    -------
    dict of str to dict
        By version for refreshes, held ones too, and by run_id for scores.

    Examples
    --------
    >>> renamed = [{"event": "renamed", "old": "a", "new": "b"}, {"event": "renamed", "old": "b", "new": "c"}]
    >>> find_names_of_today([{"event": "published", "version": "v1"}, *renamed])
    {'v1': {'b': 'c', 'a': 'c'}}
    """
    called: dict[str, str] = {}
    found: dict[str, dict[str, str]] = {}
    for line in reversed(history):
        if line["event"] == "renamed":
            new = str(line["new"])
            called = called | {line["old"]: called.get(new, new)}
        elif line["event"] in {"published", "held"}:
            found[line["version"]] = called
        elif line["event"] == "drift":
            found[str(line.get("run_id"))] = called
    return found


def find_frozen_labels(history: Iterable[Line]) -> set[str] | None:
    """Give the names that a refit must keep, as they are called now; None if names are free.

    Examples
    --------
    >>> frozen, renamed = {"event": "frozen", "labels": ["a", "b"]}, {"event": "renamed", "old": "a", "new": "vip"}
    >>> sorted(find_frozen_labels([frozen, renamed]))
    ['b', 'vip']
    """
    frozen: set[str] | None = None
    for line in history:
        if line["event"] == "thawed":
            frozen = None
        elif line["event"] == "frozen" or (frozen and line["event"] in {"promoted", "rolled-back"}):
            frozen = set(line["labels"])  # a person who promotes other names wants those
        elif line["event"] == "renamed" and frozen and line["old"] in frozen:
            frozen = frozen - {line["old"]} | {line["new"]}
    return frozen


def find_frozen_since(history: Iterable[Line]) -> str | None:
    """Give the time since when names are frozen; None if they are free.

    Examples
    --------
    >>> find_frozen_since([{"event": "frozen", "time": "2026-01-01"}, {"event": "frozen", "time": "2026-02-01"}])
    '2026-01-01'
    >>> find_frozen_since([{"event": "frozen", "time": "2026-01-01"}, {"event": "thawed", "time": "2026-02-01"}])
    """
    since: str | None = None
    for line in history:
        if line["event"] == "frozen":
            since = since or line["time"]
        elif line["event"] == "thawed":
            since = None
    return since
