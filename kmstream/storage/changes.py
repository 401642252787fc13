"""Files and folders of an output written, moved and removed, by the same few words wherever they lie.

Locally a file appears by a rename after a flush to the disk. On an object store a put is all or nothing, folders are
only names, and nothing can be renamed, only copied by the store.
"""

import os
import shutil
import tempfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from kmstream.errors import LockHeldError, StorageError
from kmstream.storage.conditional import find_tag, put_if
from kmstream.storage.failures import S3, check_guards, explain_write_errors
from kmstream.storage.places import Place, find_objects, is_local, list_files

if TYPE_CHECKING:
    from upath import UPath

_MOST_REMOVED = 1000  # objects, by one request


def replace_file(place: Place, text: str) -> None:
    """Write a small file so that it is there whole or not at all, also after a power cut."""
    replace_bytes(place, text.encode())


def replace_bytes(place: Place, content: bytes | memoryview) -> None:
    """Write a small file, like `replace_file`.

    Raises
    ------
    OutputError, StorageError
        If it can't be written.
    LockHeldError
        If this run has lost its lock, or another one has written the object at the same time.
    """
    if not is_local(place):
        _replace_object(place, bytes(content))
        return
    with explain_write_errors(place):
        place.parent.mkdir(parents=True, exist_ok=True)
        temporary = place.with_name(f".{place.name}.tmp")
        try:
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(place)
        finally:
            temporary.unlink(missing_ok=True)


def _replace_object(place: "UPath", content: bytes) -> None:
    tag = find_tag(place)  # before the lock is looked at: what others write from now on has another one
    with explain_write_errors(place):
        if put_if(place, content, tag) is None:
            error = LockHeldError(f"{place} was written by another run at the same time")
            error.add_note("Look at `kmstream models list`, and run again.")
            raise error


def sync_file(path: Path) -> None:
    """Wait until the disk has what was written to a file: a rename may reach it before the bytes do."""
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def remove_file(place: Place) -> None:
    """Remove a file, if there is one."""
    if is_local(place):
        place.unlink(missing_ok=True)
        return
    with explain_write_errors(place), suppress(FileNotFoundError):
        place.fs.rm_file(place.path)


def remove_files(folder: Place, paths: Collection[str]) -> None:
    """Remove files below a folder, those of them that are there."""
    if is_local(folder):
        for path in paths:
            if (folder / path).is_file():
                (folder / path).unlink()
    elif paths:
        with explain_write_errors(folder):
            _remove_objects(folder, [f"{folder.path}/{path}" for path in paths])


def remove_tree(folder: Place) -> None:
    """Remove a folder with all that is in it, if there is one; what can't be removed stays."""
    if is_local(folder):
        shutil.rmtree(folder, ignore_errors=True)
        return
    with explain_write_errors(folder):
        _remove_objects(folder, find_objects(folder))


def move(source: Place, target: Place) -> None:
    """Move a file or folder within an output; on an object store, where each file is copied, can be done again.

    Moving to where it is does nothing.
    """
    if source == target:
        return
    if is_local(source) and is_local(target):
        source.replace(target)
        return
    source, target = _both_stored(source, target)
    with explain_write_errors(target):
        root = source.path.rstrip("/")
        paths = find_objects(source) or [root]  # of a file, itself
        _move_objects(target, paths, [target.path.rstrip("/") + path[len(root) :] for path in paths])


def move_files(source: Place, target: Place, paths: Sequence[str]) -> None:
    """Move those of some files that are there to the same place below another folder; can be done again."""
    there = list_files(source)
    chosen = [path for path in paths if path in there]
    if is_local(source) and is_local(target):
        for path in chosen:
            (target / path).parent.mkdir(parents=True, exist_ok=True)
            (source / path).replace(target / path)
        return
    source, target = _both_stored(source, target)
    with explain_write_errors(target):
        _move_objects(target, *([f"{root.path}/{path}" for path in chosen] for root in (source, target)))


def _both_stored(source: Place, target: Place) -> "tuple[UPath, UPath]":
    if is_local(source) or is_local(target):
        msg = f"{source} and {target} are not of one output"
        raise ValueError(msg)
    return source, target


def _move_objects(target: "UPath", paths: list[str], targets: list[str]) -> None:
    if paths:
        target.fs.copy(paths, targets)
        _remove_objects(target, paths)


def _remove_objects(folder: "UPath", paths: list[str]) -> None:
    """Remove those of some objects that are there; fsspec's `rm` would take some names for globs."""
    fs = folder.fs
    if folder.protocol not in S3:
        for path in paths:
            with suppress(FileNotFoundError):
                fs.rm_file(path)
        return
    for first in range(0, len(paths), _MOST_REMOVED):
        check_guards(folder)
        places = [fs.split_path(path) for path in paths[first : first + _MOST_REMOVED]]
        named = {"Objects": [{"Key": key} for _, key, _ in places], "Quiet": True}
        answer = fs.call_s3("delete_objects", Bucket=places[0][0], Delete=named)
        for one in answer.get("Errors", ()):
            error = StorageError(f"{one['Key']} can't be removed: {one.get('Message') or one['Code']}")
            error.add_note("Mend the permissions of the bucket, and run again.")
            raise error


@contextmanager
def new_folder(target: Place, last: str = "") -> Iterator[Path]:
    """Give an empty folder of this machine, whose files appear at the target when the block ends without an error.

    Parameters
    ----------
    target : Place
        What is there is replaced.
    last : str
        The file by which readers of an object store know that all others are there.
    """
    if is_local(target):
        with _new_folder_on_disk(target) as folder:
            yield folder
        return
    with tempfile.TemporaryDirectory(prefix="kmstream-") as temporary:
        folder = Path(temporary)
        yield folder
        remove_tree(target)
        names = sorted(path.name for path in folder.iterdir() if path.name != last)
        with explain_write_errors(target):
            target.fs.put([str(folder / name) for name in names], [f"{target.path}/{name}" for name in names])
            if last:
                target.fs.put_file(str(folder / last), f"{target.path}/{last}")


@contextmanager
def _new_folder_on_disk(target: Path) -> Iterator[Path]:
    temporary = target.with_name(f".{target.name}.tmp")
    with explain_write_errors(target):
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        try:
            yield temporary
            for path in temporary.iterdir():
                sync_file(path)
            shutil.rmtree(target, ignore_errors=True)
            temporary.replace(target)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
