"""The `models/` folder of one segmentation: save, load, publish, history, lock."""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import filelock

from kmstream.assignments import COMMIT, PROGRESS, SUCCESS, is_version, remove_leftovers, unmark_complete
from kmstream.errors import ConfigError, LockHeldError, ModelNotFoundError
from kmstream.storage import (
    Place,
    checkout,
    exists,
    explain_storage_errors,
    explain_write_errors,
    hold_lease,
    is_folder,
    is_local,
    list_files,
    move,
    new_folder,
    open_place,
    put_if,
    read_tagged,
    read_text,
    remove_file,
    remove_tree,
    replace_file,
)
from kmstream.store.history import HISTORY, append_line, read_lines
from kmstream.store.version import (
    ModelVersion,
    check_version,
    read_version,
    rename_labels,
    rename_lines,
    sha256_of,
    to_json_text,
    write_version,
)

if TYPE_CHECKING:
    pass

UNFINISHED = ".unfinished"
LAST_FILE = "checksums.json"  # of a version: on an object store, where files come one by one, it is there with this


class Store:
    """The `models/` folder of one segmentation."""

    def __init__(self, output: str | Path) -> None:
        self.output = open_place(os.fspath(output))
        self.models = self.output / "models"
        self._check_lock: Callable[[], None] = lambda: None
        self._files: set[str] | None = None  # below models/ of an object store, listed once

    def assignments(self, version: str) -> Place:
        """Give the folder of a version's assignments."""
        return self.output / "assignments" / version

    def unfinished_assignments(self, version: str) -> Place:
        """Give the folder where they are while the version is not saved yet.

        On an object store, which renames nothing, it is the folder where they stay: `_SUCCESS` says what is complete.
        """
        folder = self.assignments(version)
        return folder.with_name(f".{version}.refresh") if is_local(folder) else folder

    @property
    def scratch(self) -> Path:
        """Give the folder, on this machine's disks, of what a run needs while it is under way."""
        if is_local(self.models):
            return self.models / ".scratch"
        # A name for each output and user: who holds the lock finds what a killed run of his left there.
        place = (str(self.output), os.environ.get("AWS_ENDPOINT_URL"), os.getuid())
        digest = hashlib.blake2b(repr(place).encode(), digest_size=8).hexdigest()
        return Path(tempfile.gettempdir()) / f"kmstream-{digest}"

    def path(self, version: str) -> Place:
        """Give the folder of a version."""
        return self.models / version

    @property
    def current(self) -> str | None:
        """The published version, or None before the first."""
        try:
            return read_text(self.models / "CURRENT").strip()
        except FileNotFoundError:
            return None

    @property
    def is_finishing(self) -> bool:
        """Whether a run was cut off while its result was being made visible."""
        return exists(self.models / UNFINISHED) or any((self.output / "assignments").glob(f".v*/{COMMIT}"))

    @property
    def has_progress(self) -> bool:
        """Whether a run was cut off that another one can go on from."""
        return any((self.output / "assignments").glob(f"*v*/{PROGRESS}"))

    def refuse_lost_current(self) -> None:
        """Refuse to start anew where a version was published and only CURRENT is gone.

        Raises
        ------
        ModelNotFoundError
        """
        was = [line["version"] for line in self.history() if line["event"] in {"published", "promoted", "rolled-back"}]
        known = [version for version in was if version in self.versions()]
        if self.current is None and known:
            error = ModelNotFoundError(f"models/CURRENT is missing, though {known[-1]} was the current version")
            error.add_note(f"in {self.models}")
            error.add_note(f"Run `kmstream models promote {known[-1]}`, and nothing is lost.")
            raise error

    def versions(self) -> list[str]:
        """List every version, held ones too, oldest first."""
        if is_local(self.models):
            found = (path.name for path in self.models.iterdir() if path.is_dir()) if self.models.is_dir() else ()
        else:
            self._files = list_files(self.models) if self._files is None else self._files
            found = (path.partition("/")[0] for path in self._files if path.endswith(f"/{LAST_FILE}"))
        return sorted(filter(is_version, found))

    def next_version(self) -> str:
        """Name the version after the newest."""
        told = (str(line.get("version", "")) for line in self.history())  # also of one that could not be published
        numbers = [int(name[1:]) for name in (*self.versions(), *told) if is_version(name)]
        return f"v{max(numbers, default=0) + 1:06d}"

    @contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Hold the lock of this segmentation; it is freed when the process ends, however it ends.

        On a disk by the system and at once, on an object store when nobody renews it.

        Raises
        ------
        LockHeldError
        """
        if not is_local(self.models):
            with explain_storage_errors(self.output), hold_lease(self.models / ".lock", name) as check:
                self._check_lock, self._files = check, None
                self._finish_noted()
                yield
            return
        with explain_write_errors(self.models):
            self.models.mkdir(parents=True, exist_ok=True)
        held = filelock.FileLock(self.models / ".lock", blocking=False)
        try:
            with explain_write_errors(self.models / ".lock"):
                held.acquire()
        except filelock.Timeout:
            error = LockHeldError(f"another run of {name!r} holds the lock")
            error.add_note(f"on {self.models / '.lock'}")
            error.add_note("Wait until it ends; the lock frees itself when its process does.")
            raise error from None
        try:
            self._finish_what_was_cut_off()
            yield
        finally:
            held.release()

    @contextmanager
    def finishing(self, version: str, time: datetime, *, is_new: bool) -> Iterator[None]:
        """Note what is about to become of a version, so that after a crash the next run takes it to one of its ends.

        Parameters
        ----------
        version : str
        time : datetime
            Of the history's line: once that is there, the next run goes on to the end; before, it goes back.
        is_new : bool
            Whether going back removes the version.
        """
        was_complete = exists(self.assignments(version) / SUCCESS)
        note = {"version": version, "time": time.isoformat(), "is_new": is_new, "was_complete": was_complete}
        replace_file(self.models / UNFINISHED, json.dumps(note) + "\n")
        try:
            yield
        except Exception:
            if is_new:  # the caller takes it back
                remove_file(self.models / UNFINISHED)
            raise
        remove_file(self.models / UNFINISHED)

    def _finish_what_was_cut_off(self) -> None:
        for path in self.models.glob(".*.tmp"):  # never seen by anyone
            remove_tree(path) if path.is_dir() else remove_file(path)
        remove_tree(self.scratch)
        self._finish_noted()
        remove_leftovers(self.output / "assignments")
        for path in (self.output / "assignments").glob(".v*.refresh"):
            if path != self.unfinished_assignments(self.next_version()):
                remove_tree(path)  # nobody will go on from it

    def _finish_noted(self) -> None:
        try:
            note = json.loads(read_text(self.models / UNFINISHED))
        except FileNotFoundError:
            return
        version = note["version"]
        events = {
            line["event"] for line in self.history() if (line.get("version"), line["time"]) == (version, note["time"])
        }
        if events & {"published", "promoted", "rolled-back"} and version in self.versions():
            self.set_current(version)
            remove_file(self.assignments(version) / PROGRESS)
        elif not events and note["is_new"]:
            self.remove(version)
            if is_folder(self.assignments(version)):
                unmark_complete(self.assignments(version))
                move(self.assignments(version), self.unfinished_assignments(version))
        elif not events and not note["was_complete"]:
            unmark_complete(self.assignments(version))
        remove_file(self.models / UNFINISHED)

    def save(self, version: ModelVersion, write_more: Callable[[Path], None]) -> None:
        """Write a version's folder, with its checksums; it is there whole or not at all.

        Parameters
        ----------
        version : ModelVersion
        write_more : callable
            Given a folder; adds drift.json, report.html and MODEL_CARD.md.
        """
        with new_folder(self.path(version.version), last=LAST_FILE) as folder:
            write_version(folder, version)
            write_more(folder)
            checksums = {path.name: sha256_of(path) for path in sorted(folder.iterdir())}
            (folder / LAST_FILE).write_text(to_json_text(checksums), encoding="utf-8")
        self._files = None

    def remove(self, version: str) -> None:
        """Remove the model of a version that could not be published."""
        remove_tree(self.path(version))
        self._files = None

    def load_current(self, name: str) -> ModelVersion:
        """Load the current version of the segmentation of this name.

        Raises
        ------
        ConfigError
            If the folder holds a segmentation of another name.
        KmstreamError
            What `load` raises.
        """
        found = self.load()
        if found.name != name:
            error = ConfigError(f"name is {name!r}; {self.output} holds the segmentation {found.name!r}")
            error.add_note("Two segmentations can't share a folder: set output.path to another one.")
            raise error
        return found

    def load(self, version: str | None = None) -> ModelVersion:
        """Load a version, the current one by default, checking every file against its checksum.

        Raises
        ------
        ModelNotFoundError
            If there is no such version, or none has been published.
        ChecksumMismatchError
            If a file is not the one that was published.
        """
        chosen = self.current if version is None else version
        if chosen is None:
            self.refuse_lost_current()
            error = ModelNotFoundError(f"no model has been published in {self.output}")
            error.add_note("Run `kmstream refresh` first; a first version that was held can be promoted.")
            raise error
        folder = self.path(chosen)
        if chosen not in self.versions():
            error = ModelNotFoundError(
                f"there is no version {chosen!r}; there are: {', '.join(self.versions()) or 'none'}"
            )
            error.add_note(f"in {self.models}")
            raise error
        with checkout(folder, _list_checked(folder)) as here:  # not what runs have put beside them
            check_version(here, folder)
            found = read_version(here)
        called = self.renamed_since(found.version)
        return rename_labels(found, called) if called else found

    def renamed_since(self, version: str) -> dict[str, str]:
        """Give what people call segments now, by the names a version was made with; no file of it changes.

        The order of the history counts, not its times: clocks may be set back.
        """
        called: dict[str, str] = {}
        is_made = False
        for line in self.history():
            is_made = is_made or (line["event"] in {"published", "held"} and line["version"] == version)
            if line["event"] == "renamed" and is_made:
                called = {name: line["new"] if now == line["old"] else now for name, now in called.items()}
                called.setdefault(line["old"], line["new"])
        return called

    def list_segments(self, version: str) -> tuple[dict[str, Any], ...]:
        """Give the registry's line of each segment of a version, by the names of today."""
        return rename_lines(self.read_json(version, "labels.json")["labels"], self.renamed_since(version))

    def read_json(self, version: str, name: str) -> dict[str, Any]:
        """Read one JSON file of a version."""
        return dict(json.loads(read_text(self.path(version) / name)))

    def set_current(self, version: str) -> None:
        """Publish: from here on every reader sees this version.

        Raises
        ------
        LockHeldError
            If another run has published meanwhile, because this one had lost its lock.
        """
        place = self.models / "CURRENT"
        if is_local(place):
            replace_file(place, f"{version}\n")
            return
        before = read_tagged(place)
        self._check_lock()  # after reading: what others have published since has another tag
        if put_if(place, f"{version}\n".encode(), before.tag if before else None) is None:
            error = LockHeldError("CURRENT was changed by another run at the same time")
            error.add_note(f"in {self.models}; look at `kmstream models list`, and run again.")
            raise error

    def log(self, event: str, time: datetime, **facts: object) -> None:
        """Append a line to the history; one writer at a time, so that none takes another's half line for a cut one."""
        line = json.dumps({"time": time.isoformat(), "event": event, **facts}) + "\n"
        append_line(self.models / HISTORY, line, self._check_lock)

    def history(self) -> list[dict[str, Any]]:
        """Read the history, oldest first; a line cut off by a crash is left out."""
        return read_lines(self.models / HISTORY)

    def used_labels(self) -> set[str]:
        """Give every name any version ever had, also those rolled back, held or renamed since."""
        used: set[str] = set()
        if self.current is None:  # what was only ever held has no readers
            return used
        for version in self.versions():
            registry = self.read_json(version, "labels.json")
            used |= {line["cluster_label"] for line in (*registry["labels"], *registry["retired"])}
        for line in self.history():
            used |= {line["old"], line["new"]} if line["event"] == "renamed" else set()
        return used

    def frozen_labels(self) -> set[str] | None:
        """Give the names that a refit must keep, as they are called now; None if names are free."""
        frozen: set[str] | None = None
        for line in self.history():
            if line["event"] == "thawed":
                frozen = None
            elif line["event"] == "frozen" or (frozen and line["event"] in {"promoted", "rolled-back"}):
                frozen = set(line["labels"])  # a person who promotes other names wants those
            elif line["event"] == "renamed" and frozen and line["old"] in frozen:
                frozen = frozen - {line["old"]} | {line["new"]}
        return frozen

    def status(self, version: str) -> str:
        """Tell what became of a version: published, held, promoted, or rolled-back to the one before it."""
        found = "unknown"
        for line in self.history():
            if line["event"] in {"published", "held", "promoted"} and line["version"] == version:
                found = line["event"]
            elif line["event"] == "rolled-back" and line.get("previous") == version:
                found = "rolled-back"
            elif line["event"] == "rolled-back" and line["version"] == version and found == "rolled-back":
                found = "promoted"
        return found


def _list_checked(folder: Place) -> set[str]:
    try:
        return {LAST_FILE, *json.loads(read_text(folder / LAST_FILE))}
    except (FileNotFoundError, ValueError):  # `check_version` says so
        return {LAST_FILE}
