"""What is about to become of a version, noted before it is done: after a crash the next run finishes it, or goes back.

The history decides. Once the line that was about to be written is there, the next run goes on to the end; before, it
goes back.
"""

import json
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass
from typing import Literal

from kmstream.storage import Place, read_text, replace_file
from kmstream.store.history import BECAME_CURRENT, Line

UNFINISHED = ".unfinished"


@dataclass(frozen=True)
class Note:
    """What a run was about to do.

    Attributes
    ----------
    version : str
    time : str
        ISO 8601, of the line in the history.
    is_new : bool
        Whether going back removes the version.
    was_complete : bool
        Whether its assignments were so before.
    """

    version: str
    time: str
    is_new: bool
    was_complete: bool


def write_note(models: Place, note: Note) -> None:
    """Write it before anything is done."""
    replace_file(models / UNFINISHED, json.dumps(asdict(note)) + "\n")


def read_note(models: Place) -> Note | None:
    """Read what a run left that was cut off; None if there is nothing."""
    try:
        return Note(**json.loads(read_text(models / UNFINISHED)))
    except FileNotFoundError:
        return None


def find_end(
    note: Note, history: Iterable[Line], versions: Collection[str]
) -> Literal["publish", "remove", "unmark", "nothing"]:
    """Decide how what was cut off ends.

    Returns
    -------
    str
        "publish": what is in the history becomes visible. "remove": a new version goes, and its assignments are
        unfinished again. "unmark": the version stays, its assignments are not complete.

    Examples
    --------
    >>> note = Note("v2", "2026-03-01", is_new=True, was_complete=False)
    >>> find_end(note, [], ["v1", "v2"])
    'remove'
    >>> find_end(note, [{"event": "published", "version": "v2", "time": "2026-03-01"}], ["v1", "v2"])
    'publish'
    """
    events = {line["event"] for line in history if (line.get("version"), line["time"]) == (note.version, note.time)}
    if events & BECAME_CURRENT and note.version in versions:
        return "publish"
    if not events and note.is_new:
        return "remove"
    if not events and not note.was_complete:
        return "unmark"
    return "nothing"
