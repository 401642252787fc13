"""The Parquet files below a path, and what is not one: by one listing, on this machine's disks or in a store."""

import fnmatch
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import pyarrow.fs
from fsspec.utils import glob_translate

from kmstream.dataset.read import make_fingerprint
from kmstream.errors import DatasetNotFoundError, StorageError
from kmstream.storage import S3, explain_storage_errors, open_filesystem

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

SUFFIXES = (".parquet", ".parq", ".pq")


@dataclass(frozen=True)
class File:
    """A file of the dataset before its footer is read; `uri` as the file system knows it."""

    uri: str
    size: int
    fingerprint: str


def list_files(path: str) -> "tuple[pyarrow.fs.FileSystem | AbstractFileSystem, str, dict[str, File], list[str]]":
    """Find the Parquet files of a file, folder, glob or URI, by their paths below the root."""
    stem, below = split_glob(path)
    filesystem: pyarrow.fs.FileSystem | AbstractFileSystem
    if "://" in stem:
        filesystem, root = open_filesystem(stem)
        root = root.rstrip("/")
        listed = _list_store(filesystem, root, path, re.split(r"[*?[]", below or "")[0])
    else:
        filesystem, root = pyarrow.fs.LocalFileSystem(), os.path.abspath(stem)  # noqa: PTH100
        listed = _list_folder(filesystem, root, path)
    if not listed and (below is None or "://" not in stem):  # of a glob in a store only what it begins with is listed
        error = DatasetNotFoundError(f"dataset.path does not exist: {path}")
        error.add_note(
            "Look at the names of the bucket and the folder, and at AWS_ENDPOINT_URL."
            if "://" in stem
            else "Relative paths are relative to the folder of kmstream.toml."
        )
        raise error
    if root in listed:  # a file
        return filesystem, str(PurePosixPath(root).parent), {PurePosixPath(root).name: listed[root]}, []
    found: dict[str, File] = {}
    ignored: list[str] = []
    for uri, file in listed.items():
        relative = uri[len(root) :].lstrip("/")
        hidden = is_hidden(relative)
        if below is None:
            right = relative.endswith(SUFFIXES)
        else:
            right = re.fullmatch(glob_translate(below), relative) is not None
        if relative and (hidden or not file.size or not right):
            ignored.append(relative)
        elif relative:
            found[relative] = file
    return filesystem, root, found, ignored


def _list_folder(filesystem: pyarrow.fs.FileSystem, root: str, path: str) -> dict[str, File]:
    """List the files below a folder of this machine, and the folder itself; empty if there is none."""
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


def _list_store(filesystem: "AbstractFileSystem", root: str, path: str, beginning: str) -> dict[str, File]:
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
