"""Files and folders of an output, found and read by the same few words wherever they lie.

A `Place` is a `pathlib.Path` on this machine's disks, or a `UPath` (the same words over fsspec) on an object store.
What these do differently is in this room; those above ask `is_local` where a step is needed on one of them only.
"""

import os
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from kmstream.errors import ConfigError
from kmstream.storage.conditional import look
from kmstream.storage.failures import S3, explain_storage_errors, find_code

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem
    from typing_extensions import TypeIs
    from upath import UPath

Place: TypeAlias = "Path | UPath"


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


def _options(scheme: str) -> dict[str, Any]:
    """Give the options of a store's client.

    Objects change behind our back, so listings are never remembered. The client tries again after 503, timeouts and
    connections that break, with pauses that grow; as often as AWS's own tools where the environment says how often.
    """
    if scheme not in S3:
        return {"use_listings_cache": False}
    retries = {"mode": "standard", "total_max_attempts": int(os.environ.get("AWS_MAX_ATTEMPTS", "3"))}
    return {"use_listings_cache": False, "config_kwargs": {"retries": retries, "max_pool_connections": 64}}


def _unknown_scheme(uri: str, cause: Exception) -> ConfigError:
    error = ConfigError(f"{uri} can't be opened: {cause}")
    error.add_note("Expected a path, or a URI like s3://bucket/folder. Install gcsfs for gs://, adlfs for abfs://.")
    return error


def is_local(place: Place) -> "TypeIs[Path]":
    """Whether it lies on this machine's disks."""
    return isinstance(place, Path)


def list_files(folder: Place) -> set[str]:
    """List the files below a folder, at any depth, by their paths below it; one listing. None without a folder."""
    if is_local(folder):
        return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    with explain_storage_errors(folder):
        return {path[len(folder.path.rstrip("/")) + 1 :] for path in find_objects(folder)}


def find_objects(folder: "UPath") -> list[str]:
    """List the paths of what a store has below a folder, by one request for each thousand."""
    fs, path = folder.fs, folder.path.rstrip("/")
    if folder.protocol in S3 and "/" in path:  # otherwise s3fs looks for a file of that name where it finds nothing
        parent, _, name = path.rpartition("/")
        return list(fs.find(parent, prefix=f"{name}/"))
    return [one for one in fs.find(path) if one.startswith(f"{path}/")]


def exists(file: Place) -> bool:
    """Whether there is a file."""
    if is_local(file):
        return file.is_file()
    with explain_storage_errors(file):
        return look(file) is not None if file.protocol in S3 else bool(file.fs.isfile(file.path))


def is_folder(place: Place) -> bool:
    """Whether there is a folder; on an object store one with a file in it."""
    return place.is_dir() if is_local(place) else bool(list_files(place))


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
            found = find_objects(folder) or [root]
            for path in (paths := [path for path in found if wanted is None or path in wanted]):
                (here / path[len(root) + 1 :]).parent.mkdir(parents=True, exist_ok=True)
            folder.fs.get(paths, [str(here / path[len(root) + 1 :]) if path != root else str(here) for path in paths])
        yield here
