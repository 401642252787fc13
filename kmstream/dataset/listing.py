"""The Parquet files below a path, and what is not one: by one listing, on this machine's disks or in a store."""

import fnmatch
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow.fs
from fsspec import AbstractFileSystem
from fsspec.utils import glob_translate

from kmstream.errors import DatasetNotFoundError, StorageError
from kmstream.storage import S3, explain_storage_errors, open_filesystem

SUFFIXES = (".parquet", ".parq", ".pq")


@dataclass(frozen=True)
class File:
    """A file of the dataset before its footer is read; `uri` as the file system knows it."""

    uri: str
    size: int
    fingerprint: str


@dataclass(frozen=True)
class Listing:
    """What lies below a path.

    Attributes
    ----------
    filesystem : fsspec.AbstractFileSystem or None
        Of the store it lies in; None for this machine's disks.
    files : dict of str to File
        The Parquet files, by their paths below the root.
    ignored : tuple of str
        Other paths: hidden, empty, or no Parquet by their names.
    """

    filesystem: AbstractFileSystem | None
    files: dict[str, File]
    ignored: tuple[str, ...]


def list_files(path: str) -> Listing:
    """Find the Parquet files of a file, folder, glob or URI.

    Raises
    ------
    DatasetNotFoundError
        If there is no such file or folder, or it may not be read.
    """
    stem, below = split_glob(path)
    filesystem: AbstractFileSystem | None = None
    if "://" in stem:
        filesystem, root = open_filesystem(stem)
        root = root.rstrip("/")
        listed = _list_store(filesystem, root, path, re.split(r"[*?[]", below or "")[0])
    else:
        root = os.path.abspath(stem)  # noqa: PTH100
        listed = _list_folder(root, path)
    if not listed and (below is None or filesystem is None):  # in a store only what a glob begins with is listed
        raise _make_absent(path, is_stored=filesystem is not None)
    if root in listed:  # a file
        return Listing(filesystem, {PurePosixPath(root).name: listed[root]}, ())
    files: dict[str, File] = {}
    ignored: list[str] = []
    for uri, file in listed.items():
        relative = uri[len(root) :].lstrip("/")
        if below is None:
            right = relative.endswith(SUFFIXES)
        else:
            right = re.fullmatch(glob_translate(below), relative) is not None
        if relative and (is_hidden(relative) or not file.size or not right):
            ignored.append(relative)
        elif relative:
            files[relative] = file
    return Listing(filesystem, files, tuple(ignored))


def _make_absent(path: str, *, is_stored: bool) -> DatasetNotFoundError:
    error = DatasetNotFoundError(f"dataset.path does not exist: {path}")
    error.add_note(
        "Look at the names of the bucket and the folder, and at AWS_ENDPOINT_URL."
        if is_stored
        else "Relative paths are relative to the folder of kmstream.toml."
    )
    return error


def _list_folder(root: str, path: str) -> dict[str, File]:
    """List the files below a folder of this machine, and the folder itself; empty if there is none."""
    filesystem = pyarrow.fs.LocalFileSystem()
    here = filesystem.get_file_info(root)
    if here.type == pyarrow.fs.FileType.NotFound:
        return {}
    if here.type == pyarrow.fs.FileType.File:
        return {root: File(root, here.size, make_fingerprint(here))}
    try:
        listed = filesystem.get_file_info(pyarrow.fs.FileSelector(root, recursive=True))
    except PermissionError as cause:
        raise make_denied(path) from cause
    files = (info for info in listed if info.type == pyarrow.fs.FileType.File)
    found = {info.path: File(info.path, info.size, make_fingerprint(info)) for info in files}
    return {f"{root}/": File(root, 0, "")} | found


def _list_store(filesystem: AbstractFileSystem, root: str, path: str, beginning: str) -> dict[str, File]:
    """List what a store has below a path, under names that begin so, by one listing; empty if there is nothing."""
    try:
        with explain_storage_errors(path):
            prefix = {"prefix": beginning} if beginning and {*filesystem.protocol} & S3 else {}
            listed = filesystem.find(root, detail=True, **prefix)
    except FileNotFoundError:
        return {}
    except StorageError as error:
        if isinstance(error.__cause__, FileNotFoundError):  # no such bucket
            return {}
        raise
    return {uri: File(uri, info["size"], make_fingerprint(info)) for uri, info in listed.items()}


def make_fingerprint(info: pyarrow.fs.FileInfo | Mapping[str, Any]) -> str:
    """Give what changes when a file does: its size, and its time or the tag that a store gives to its content.

    Examples
    --------
    >>> info = pyarrow.fs.FileInfo("a.parquet", pyarrow.fs.FileType.File, size=123, mtime_ns=456)
    >>> make_fingerprint(info), make_fingerprint({"size": 123, "ETag": '"9a7f"'})
    ('123-456', '123-9a7f')
    """
    if isinstance(info, pyarrow.fs.FileInfo):
        return f"{info.size}-{info.mtime_ns}"
    tags = (info[key] for key in ("ETag", "etag", "md5Hash", "LastModified", "mtime", "created") if info.get(key))
    tag = next(tags, "")
    if isinstance(tag, datetime):  # a listing of fsspec's memory tells it as a number
        tag = tag.timestamp()
    return f"{info['size']}-{str(tag).strip(chr(34))}"


def make_denied(path: str) -> DatasetNotFoundError:
    """Say that a file or folder may not be read."""
    error = DatasetNotFoundError(f"{path} can't be read: permission denied")
    error.add_note("Give the user who runs kmstream the permission to read it.")
    return error


def is_hidden(path: str) -> bool:
    """Whether a file, or a folder it lies in, is one that programs keep for themselves."""
    return any(part.startswith(("_", ".")) for part in PurePosixPath(path).parts)


def split_glob(path: str) -> tuple[str, str | None]:
    """Split a dataset path into the folder that is there and the glob below it; None where there is no glob.

    `*` stays within a folder, `**` crosses them. What exists as it is written is no glob.

    Examples
    --------
    >>> split_glob("/data/year=*/part-?.parquet")
    ('/data', 'year=*/part-?.parquet')
    """
    magic = re.search(r"[*?\[]", path)
    if magic is None or ("://" not in path and Path(path).exists()):
        return path, None
    stem = path[: magic.start()].rpartition("/")[0]
    return stem, path[len(stem) :].lstrip("/")


def is_chosen(path: str, only: Sequence[str]) -> bool:
    """Whether a partition matches one of some globs, or lies in a folder that does; without globs, each does.

    Examples
    --------
    >>> is_chosen("month=04/a.parquet", ["month=0*"]), is_chosen("month=04/a.parquet", ["b*"])
    (True, False)
    """
    globs = [glob.rstrip("/") for glob in only]
    return not globs or any(fnmatch.fnmatchcase(path, g) or fnmatch.fnmatchcase(path, f"{g}/*") for g in globs)
