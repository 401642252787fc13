"""The `models/` folder of one segmentation: save, load, publish, history, lock."""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from kmstream.assignments import COMMIT, PROGRESS, SUCCESS, is_version, remove_leftovers, unmark_complete
from kmstream.errors import ConfigError, ModelNotFoundError
from kmstream.storage import (
    Place,
    exists,
    is_folder,
    is_local,
    list_files,
    move,
    new_folder,
    open_place,
    read_text,
    remove_file,
    remove_tree,
    replace_file,
)
from kmstream.store.history import (
    BECAME_CURRENT,
    HISTORY,
    append_line,
    find_frozen_labels,
    find_names_of_today,
    find_status,
    read_lines,
)
from kmstream.store.lock import hold_lock
from kmstream.store.unfinished import UNFINISHED, Note, find_end, read_note, write_note
from kmstream.store.version import (
    CHECKSUMS,
    ModelVersion,
    load_version,
    rename_labels,
    rename_lines,
    write_checksums,
    write_version,
)


class Store:
    """The `models/` folder of one segmentation."""

    def __init__(self, output: str | Path) -> None:
        self.output = open_place(os.fspath(output))
        self.models = self.output / "models"
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
        was = [line["version"] for line in self.history() if line["event"] in BECAME_CURRENT]
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
            found = (path.partition("/")[0] for path in self._files if path.endswith(f"/{CHECKSUMS}"))
        return sorted(filter(is_version, found))

    def next_version(self) -> str:
        """Name the version after the newest."""
        told = (str(line.get("version", "")) for line in self.history())  # also of one that could not be published
        numbers = [int(name[1:]) for name in (*self.versions(), *told) if is_version(name)]
        return f"v{max(numbers, default=0) + 1:06d}"

    @contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Hold the lock of the segmentation of this name, and first finish what a run left that was cut off.

        Raises
        ------
        LockHeldError
        """
        with hold_lock(self.models, name):
            self._files = None
            self._finish_what_was_cut_off()
            yield

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
        write_note(self.models, Note(version, time.isoformat(), is_new, was_complete))
        try:
            yield
        except Exception:
            if is_new:  # the caller takes it back
                remove_file(self.models / UNFINISHED)
            raise
        remove_file(self.models / UNFINISHED)

    def _finish_what_was_cut_off(self) -> None:
        if is_local(self.models):
            for path in self.models.glob(".*.tmp"):  # never seen by anyone
                remove_tree(path) if path.is_dir() else remove_file(path)
            remove_tree(self.scratch)
        self._finish_noted()
        if is_local(self.models):
            remove_leftovers(self.output / "assignments")
            for folder in (self.output / "assignments").glob(".v*.refresh"):
                if folder != self.unfinished_assignments(self.next_version()):
                    remove_tree(folder)  # nobody will go on from it

    def _finish_noted(self) -> None:
        note = read_note(self.models)
        if note is None:
            return
        version, assignments = note.version, self.assignments(note.version)
        end = find_end(note, self.history(), self.versions())
        if end == "publish":
            self.set_current(version)
            remove_file(assignments / PROGRESS)
        elif end == "remove":
            self.remove(version)
            if is_folder(assignments):
                unmark_complete(assignments)
                move(assignments, self.unfinished_assignments(version))
        elif end == "unmark":
            unmark_complete(assignments)
        remove_file(self.models / UNFINISHED)

    def save(self, version: ModelVersion, write_more: Callable[[Path], None]) -> None:
        """Write a version's folder, with its checksums; it is there whole or not at all.

        Parameters
        ----------
        version : ModelVersion
        write_more : callable
            Given a folder; adds drift.json, report.html and MODEL_CARD.md.
        """
        with new_folder(self.path(version.version), last=CHECKSUMS) as folder:
            write_version(folder, version)
            write_more(folder)
            write_checksums(folder)
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
        there = self.versions()
        if chosen not in there:
            error = ModelNotFoundError(f"there is no version {chosen!r}; there are: {', '.join(there) or 'none'}")
            error.add_note(f"in {self.models}")
            raise error
        found = load_version(self.path(chosen))
        called = self.renamed_since(found.version)
        return rename_labels(found, called) if called else found

    def renamed_since(self, version: str) -> dict[str, str]:
        """Give what people call segments now, by the names a version was made with; no file of it changes."""
        return find_names_of_today(self.history()).get(version, {})

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
            If this run has lost its lock, or another one has published meanwhile.
        """
        replace_file(self.models / "CURRENT", f"{version}\n")

    def log(self, event: str, time: datetime, **facts: object) -> None:
        """Append a line to the history."""
        append_line(self.models / HISTORY, {"time": time.isoformat(), "event": event, **facts})

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
            if line["event"] == "renamed":
                used |= {line["old"], line["new"]}
        return used

    def frozen_labels(self) -> set[str] | None:
        """Give the names that a refit must keep, as they are called now; None if names are free."""
        return find_frozen_labels(self.history())

    def status(self, version: str) -> str:
        """Tell what became of a version: published, held, promoted, or rolled-back to the one before it."""
        return find_status(self.history(), version)
