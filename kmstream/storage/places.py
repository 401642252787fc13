"""Files and folders of an output, by the same few words wherever they lie.

A `Place` is a `pathlib.Path` on this machine's disks, or a `UPath` (the same words over fsspec) on an object store.
What these do differently is here, and nowhere else: locally a file appears by a rename after a flush to the disk; on an
object store a put is all or nothing, folders are only names, and nothing can be renamed, only copied by the store.
"""

import os
import shutil
import tempfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from kmstream.errors import ConfigError, LockHeldError, StorageError
from kmstream.storage.conditional import look, put_if
from kmstream.storage.failures import S3, check_guards, explain_storage_errors, explain_write_errors, find_code

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem
    from typing_extensions import TypeIs
    from upath import UPath

Place: TypeAlias = "Path | UPath"

_MOST_REMOVED = 1000  # objects, by one request


def _options(scheme: str) -> dict[str, Any]:
    """Give the options of a store's client.

    Objects change behind our back, so listings are never remembered. The client tries again after 503, timeouts and
    connections that break, with pauses that grow; as often as AWS's own tools where the environment says how often.
    """
    if scheme not in S3:
        return {"use_listings_cache": False}
    retries = {"mode": "standard", "total_max_attempts": int(os.environ.get("AWS_MAX_ATTEMPTS", "3"))}
    return {"use_listings_cache": False, "config_kwargs": {"retries": retries, "max_pool_connections": 64}}


def open_place(uri: str) -> Place:
    """Give the file or folder of a path or URI; nothing is looked up yet.

    Raises
    ------
    ConfigError
        If the scheme is unknown, or what it needs is not installed.
    """
    if "://" not in uri:
        return Path(uri)
    from fsspec import get_filesystem_class
    from upath import UPath

    try:
        get_filesystem_class(uri.partition("://")[0])
        place = UPath(uri, **_options(uri.partition("://")[0]))
        place.fs  # noqa: B018 - loads what the scheme needs
    except (ImportError, ValueError) as cause:
        raise _unknown_scheme(uri, cause) from cause
    return place  # type: ignore[no-any-return]


def open_filesystem(uri: str) -> "tuple[AbstractFileSystem, str]":
    """Give the file system of a URI, and the path that it knows it by.

    Raises
    ------
    ConfigError
        If the scheme is unknown, or what it needs is not installed.
    """
    from fsspec.core import url_to_fs

    try:
        return url_to_fs(uri, **_options(uri.partition("://")[0]))  # type: ignore[no-any-return]
    except (ImportError, ValueError) as cause:
        raise _unknown_scheme(uri, cause) from cause


def _unknown_scheme(uri: str, cause: Exception) -> ConfigError:
    error = ConfigError(f"{uri} can't be opened: {cause}")
    error.add_note("Expected a path, or a URI like s3://bucket/folder. Install gcsfs for gs://, adlfs for abfs://.")
    return error


def is_local(place: Place) -> "TypeIs[Path]":
    """Whether it lies on this machine's disks."""
    return isinstance(place, Path)


def list_files(folder: Place) -> set[str]:
    """List the files below a folder, at any depth, by their paths below it; one listing. None if there is no folder."""
    if is_local(folder):
        return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    with explain_storage_errors(folder):
        return {path[len(folder.path.rstrip("/")) + 1 :] for path in _find(folder)}


def exists(file: Place) -> bool:
    """Whether there is a file."""
    if is_local(file):
        return file.is_file()
    with explain_storage_errors(file):
        return look(file) is not None if file.protocol in S3 else bool(file.fs.isfile(file.path))


def is_folder(place: Place) -> bool:
    """Whether there is a folder; on an object store one with a file in it."""
    return place.is_dir() if is_local(place) else bool(list_files(place))


def _find(folder: "UPath") -> list[str]:
    """List what a store has below a folder, by one request for each thousand."""
    fs, path = folder.fs, folder.path.rstrip("/")
    if folder.protocol in S3 and "/" in path:  # otherwise s3fs looks for a file of that name where it finds nothing
        parent, _, name = path.rpartition("/")
        return list(fs.find(parent, prefix=f"{name}/"))
    return [one for one in fs.find(path) if one.startswith(f"{path}/")]


def read_bytes(place: Place) -> bytes:
    """Read a small file whole, by one request.

    Raises
    ------
    FileNotFoundError
        If there is none.
    """
    if is_local(place):
        return place.read_bytes()
    with explain_storage_errors(place):
        # With its end unknown s3fs would first ask for the size.
        try:
            return bytes(place.fs.cat_file(place.path, **({"start": 0} if place.protocol in S3 else {})))
        except OSError as error:
            if find_code(error) != "InvalidRange":  # what is empty has none
                raise
            return b""


def read_text(place: Place) -> str:
    """Read a small file of text, like `read_bytes`."""
    return read_bytes(place).decode()


def replace_file(place: Place, text: str) -> None:
    """Write a small file so that it is there whole or not at all, also after a power cut."""
    replace_bytes(place, text.encode())


def replace_bytes(place: Place, content: bytes | memoryview) -> None:
    """Write a small file, like `replace_file`."""
    # First: what others write from now on has another tag.
    there = None if is_local(place) or place.protocol not in S3 else look(place)
    with explain_write_errors(place):
        if not is_local(place):
            if place.protocol not in S3:
                place.fs.pipe_file(place.path, bytes(content))
            elif (
                put_if(place, bytes(content), there["ETag"] if there else None) is None
            ):  # a put that was under way when the lock was lost
                error = LockHeldError(f"{place} was written by another run at the same time")
                error.add_note("Look at `kmstream models list`, and run again.")
                raise error
            return
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
            _remove_objects(folder, folder.fs, [f"{folder.path}/{path}" for path in paths])


def remove_tree(folder: Place) -> None:
    """Remove a folder with all that is in it, if there is one; what can't be removed stays."""
    if is_local(folder):
        shutil.rmtree(folder, ignore_errors=True)
        return
    with explain_write_errors(folder):
        _remove_objects(folder, folder.fs, _find(folder))


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
        root, fs = source.path.rstrip("/"), source.fs
        paths = _find(source) or [root]  # of a file, itself
        _move_objects(target, fs, paths, [target.path.rstrip("/") + path[len(root) :] for path in paths])


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
        _move_objects(target, source.fs, *([f"{root.path}/{path}" for path in chosen] for root in (source, target)))


def _both_stored(source: Place, target: Place) -> "tuple[UPath, UPath]":
    if is_local(source) or is_local(target):
        msg = f"{source} and {target} are not of one output"
        raise ValueError(msg)
    return source, target


def _move_objects(guarded: Place, fs: "AbstractFileSystem", paths: list[str], targets: list[str]) -> None:
    if paths:
        fs.copy(paths, targets)
        _remove_objects(guarded, fs, paths)


def _remove_objects(guarded: Place, fs: "AbstractFileSystem", paths: list[str]) -> None:
    """Remove those of some objects that are there; fsspec's `rm` would take some names for globs."""
    if not S3 & {*fs.protocol}:
        for path in paths:
            with suppress(FileNotFoundError):
                fs.rm_file(path)
        return
    for first in range(0, len(paths), _MOST_REMOVED):
        check_guards(guarded)
        places = [fs.split_path(path) for path in paths[first : first + _MOST_REMOVED]]
        named = {"Objects": [{"Key": key} for _, key, _ in places], "Quiet": True}
        answer = fs.call_s3("delete_objects", Bucket=places[0][0], Delete=named)
        for one in answer.get("Errors", ()):
            error = StorageError(f"{one['Key']} can't be removed: {one.get('Message') or one['Code']}")
            error.add_note("Mend the permissions of the bucket, and run again.")
            raise error


@contextmanager
def checkout(folder: Place, names: Collection[str] | None = None) -> Iterator[Path]:
    """Give a folder, or a file, as one of this machine's disks: itself, or a copy that is gone when the block ends.

    Parameters
    ----------
    folder : Place
    names : collection of str, optional
        The files of it that are needed; all by default.
    """
    if is_local(folder):
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="kmstream-") as temporary:
        here = Path(temporary) / folder.name
        with explain_storage_errors(folder):
            root = folder.path.rstrip("/")
            wanted = None if names is None else {f"{root}/{name}" for name in names}
            found = _find(folder) or [root]
            for path in (paths := [path for path in found if wanted is None or path in wanted]):
                (here / path[len(root) + 1 :]).parent.mkdir(parents=True, exist_ok=True)
            folder.fs.get(paths, [str(here / path[len(root) + 1 :]) if path != root else str(here) for path in paths])
        yield here


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
        return
    with tempfile.TemporaryDirectory(prefix="kmstream-") as temporary_name:
        temporary = Path(temporary_name)
        yield temporary
        remove_tree(target)
        names = sorted(path.name for path in temporary.iterdir() if path.name != last)
        with explain_write_errors(target):
            target.fs.put([str(temporary / name) for name in names], [f"{target.path}/{name}" for name in names])
            if last:
                target.fs.put_file(str(temporary / last), f"{target.path}/{last}")
