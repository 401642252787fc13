"""New objects: uploaded whole, or made by the store itself from the first bytes of another one and a few new ones."""

import hashlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kmstream.storage.conditional import look, make_condition, name_object
from kmstream.storage.failures import REFUSED, S3, check_guards, explain_write_errors, find_code
from kmstream.storage.places import Place, is_local

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem
    from upath import UPath

_LEAST_PART, _MOST_PART = 5 << 20, 5 << 30  # bytes of a part of a multipart upload; only the last may be smaller
_BLOCK = 8 << 20
_MOST_PARTS = 9_000  # S3 takes 10,000
_TRIES = 3
_CONTENT = "kmstream-content"  # in the metadata of an object: a digest of what it was made of


def upload(file: Path, target: Place, *, is_new: bool = False) -> None:
    """Move a file of this machine to its place; large ones in parts, visible when the last is there.

    Parameters
    ----------
    file : pathlib.Path
    target : Place
    is_new : bool
        Whether the caller has seen to it that there is none. A request of a run that has lost its lock, which comes
        late, then can't replace the file.
    """
    with explain_write_errors(target):
        if is_local(target):
            file.replace(target)
            return
        if target.protocol in S3:
            _put_object(target, _Content(file), is_new=is_new)
        else:
            target.fs.put_file(str(file), target.path)
        file.unlink()


def append_to_copy(filesystem: "AbstractFileSystem", source: str, size: int, tail: Path, target: Place) -> bool:
    """Make an object of the first bytes of another one and those of a file, without the first ever leaving the store.

    Parameters
    ----------
    filesystem : AbstractFileSystem
        Of the source.
    source : str
        Its path there.
    size : int
        Bytes of it to copy.
    tail : pathlib.Path
        What comes after them.
    target : Place

    Returns
    -------
    bool
        False if it can't be done: another store than the target's, not S3, or too few bytes for a part of their own.
    """
    if is_local(target) or target.protocol not in S3 or size < _LEAST_PART or not _same_store(filesystem, target.fs):
        return False
    with explain_write_errors(target):
        _put_object(target, _Content(tail, source, size), is_new=True)
    return True


def read_blocks(filesystem: "AbstractFileSystem", source: str, size: int) -> Iterator[bytes]:
    """Read the first bytes of a file of any store, a few megabytes at a time."""
    for start in range(0, size, _BLOCK):
        yield filesystem.cat_file(source, start=start, end=min(size, start + _BLOCK))


def _same_store(one: "AbstractFileSystem", other: "AbstractFileSystem") -> bool:
    return type(one) is type(other) and getattr(one, "endpoint_url", None) == getattr(other, "endpoint_url", None)


@dataclass(frozen=True)
class _Content:
    """What an object is made of: the first bytes of another one of the same store, if any, then those of a file.

    Attributes
    ----------
    tail : pathlib.Path
    source : str
        Path of the other object.
    n_copied : int
        Bytes of it.
    """

    tail: Path
    source: str = ""
    n_copied: int = 0

    @property
    def n_new(self) -> int:
        """Bytes of the file."""
        return self.tail.stat().st_size

    def digest(self) -> str:
        """Tell it from any other content."""
        with self.tail.open("rb") as file:
            found = hashlib.file_digest(file, "sha256")
        found.update(f"{self.source} {self.n_copied}".encode())
        return found.hexdigest()


def _put_object(target: "UPath", content: _Content, *, is_new: bool) -> None:
    metadata = {_CONTENT: content.digest()}
    condition = make_condition(None) if is_new else {}
    for tries_left in reversed(range(_TRIES)):
        check_guards(target)
        try:
            if content.n_copied or content.n_new > _BLOCK:
                _put_in_parts(target, content, metadata, condition)
            else:
                request = name_object(target) | condition
                target.fs.call_s3("put_object", **request, Metadata=metadata, Body=content.tail.read_bytes())
        except OSError as error:
            if not tries_left or find_code(error) not in REFUSED:
                raise
        else:
            return
        # Of a try whose answer was lost, of another worker with the same task, or of a run that has lost its lock.
        there = look(target)
        if there is not None and there.get("Metadata", {}).get(_CONTENT) == metadata[_CONTENT]:
            return
        condition = make_condition(there["ETag"] if there else None)


def _put_in_parts(target: "UPath", content: _Content, metadata: dict[str, str], condition: dict[str, str]) -> None:
    """Do it part by part, each of which is held in memory."""
    fs, place = target.fs, name_object(target)
    place["UploadId"] = fs.call_s3("create_multipart_upload", **place, Metadata=metadata)["UploadId"]
    try:
        spans = enumerate(_cut(content.n_copied), start=1)
        parts = [_copy_part(fs, place, number, content.source, span) for number, span in spans]
        parts += _upload_parts(fs, place, len(parts) + 1, content.tail)
        try:
            fs.call_s3("complete_multipart_upload", **place, **condition, MultipartUpload={"Parts": parts})
        except FileNotFoundError:  # no such upload: it was completed, and the answer lost
            if fs.info(target.path, refresh=True)["size"] != content.n_copied + content.n_new:
                raise
    except BaseException:
        with suppress(Exception):  # what is left of an upload is invisible; the store's own rule removes it
            fs.call_s3("abort_multipart_upload", **place)
        raise


def _cut(size: int) -> list[tuple[int, int]]:
    """Cut bytes into as few parts as may be, none of them too small.

    Examples
    --------
    >>> _cut(0), _cut(6 << 20)
    ([], [(0, 6291456)])
    >>> [end - start for start, end in _cut((5 << 30) + 1)]
    [2684354561, 2684354560]
    """
    n_parts = -(-size // _MOST_PART)
    borders = [-(-size * i // max(1, n_parts)) for i in range(n_parts + 1)]
    return list(pairwise(borders))


def _copy_part(fs: Any, place: dict[str, str], number: int, source: str, span: tuple[int, int]) -> dict[str, Any]:  # noqa: ANN401
    bucket, key, _ = fs.split_path(source)
    answer = fs.call_s3(
        "upload_part_copy",
        **place,
        PartNumber=number,
        CopySource={"Bucket": bucket, "Key": key},
        CopySourceRange=f"bytes={span[0]}-{span[1] - 1}",
    )
    return {"PartNumber": number, "ETag": answer["CopyPartResult"]["ETag"]}


def _upload_parts(fs: Any, place: dict[str, str], first: int, tail: Path) -> list[dict[str, Any]]:  # noqa: ANN401
    parts: list[dict[str, Any]] = []
    length = max(_BLOCK, -(-tail.stat().st_size // _MOST_PARTS))
    with tail.open("rb") as file:
        while piece := file.read(length):
            number = first + len(parts)
            answer = fs.call_s3("upload_part", **place, PartNumber=number, Body=piece)
            parts.append({"PartNumber": number, "ETag": answer["ETag"]})
    return parts
