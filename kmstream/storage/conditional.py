"""One object, put only if it is still what was read: how writers on several machines don't overwrite each other.

S3 has preconditions for both cases (If-None-Match: new; If-Match: unchanged). Of other stores fsspec gives the first.
"""

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from kmstream.storage.failures import REFUSED, S3, explain_storage_errors, find_code

if TYPE_CHECKING:
    from upath import UPath

_GONE = {"NoSuchKey", "404"}  # what was to be replaced
_BUSY = {"ConditionalRequestConflict", "409"}  # somebody writes at this moment; it may be our own try before
_PAUSES = (0.1, 0.3, 1.0, 3.0)  # seconds
_READS = 4


@dataclass(frozen=True)
class Tagged:
    """An object as it was read.

    Attributes
    ----------
    content : bytes
    tag : str
        Changes when the object does; empty where the store tells none.
    age : float
        Seconds since it was put, at least, by the clock of the store; S3 tells only whole ones.
    """

    content: bytes
    tag: str
    age: float


def read_tagged(place: "UPath") -> Tagged | None:
    """Read a small object with the tag for `put_if`; None if there is none."""
    with explain_storage_errors(place):
        try:
            if place.protocol in S3:
                from fsspec.asyn import sync

                return sync(place.fs.loop, _get, place)  # type: ignore[no-any-return]
            modified = place.fs.modified(place.path)
            age = (datetime.now(UTC) - modified.astimezone(UTC)).total_seconds()
            return Tagged(place.fs.cat_file(place.path), "", age)
        except FileNotFoundError as error:
            if find_code(error) == "NoSuchBucket":
                raise
            return None


def look(place: "UPath") -> dict[str, Any] | None:
    """Ask S3 what it knows of an object: ETag, Metadata and more; None if there is none."""
    with explain_storage_errors(place):
        try:
            return dict(place.fs.call_s3("head_object", **name_object(place)))
        except FileNotFoundError:
            return None


def find_tag(place: "UPath") -> str | None:
    """Give the tag of an object, empty where the store tells none; None if there is none."""
    if place.protocol in S3:
        there = look(place)
        return None if there is None else str(there["ETag"])
    with explain_storage_errors(place):
        return "" if place.fs.exists(place.path) else None


def name_object(place: "UPath") -> dict[str, str]:
    """Give the words that every request of S3 names an object by."""
    bucket, key, _ = place.fs.split_path(place.path)
    return {"Bucket": bucket, "Key": key}


def make_condition(tag: str | None) -> dict[str, str]:
    """Give what S3 is told with a put: that an object still has this tag, or that there is none."""
    return {"IfNoneMatch": "*"} if tag is None else {"IfMatch": tag.strip('"')}  # Ceph wants no quotes


def put_if(place: "UPath", content: bytes, tag: str | None) -> str | None:
    """Put an object if it is still the one that was read.

    Parameters
    ----------
    place : UPath
    content : bytes
        Unlike anybody else's: an answer that was lost on its way is told from somebody else's put by it.
    tag : str or None
        That of the object that was read; None if there was none.

    Returns
    -------
    str or None
        The new tag; None if somebody else was first, and nothing was put.
    """
    with explain_storage_errors(place):
        if place.protocol not in S3:
            return _put_if_new(place, content, is_new=tag is None)
        request = name_object(place) | make_condition(tag)
        for pause in _PAUSES:
            try:
                answer = place.fs.call_s3("put_object", **request, Body=content)
            except OSError as error:
                code = find_code(error)
                if code not in REFUSED | _GONE:
                    raise
            else:
                return str(answer["ETag"])
            there = read_tagged(place)  # the first try may have been done, and its answer lost
            if there is not None and there.content == content:
                return there.tag
            if code not in _BUSY:
                break
            time.sleep(pause)
        return None


def _put_if_new(place: "UPath", content: bytes, *, is_new: bool) -> str | None:
    try:
        place.fs.pipe_file(place.path, content, mode="create" if is_new else "overwrite")
    except FileExistsError:
        return None
    return ""


async def _get(place: "UPath") -> Tagged:
    from s3fs.core import S3_RETRYABLE_ERRORS

    for tries_left in reversed(range(_READS)):
        answer = await place.fs._call_s3("get_object", **name_object(place))
        try:
            content = await answer["Body"].read()
            break
        except S3_RETRYABLE_ERRORS:  # the connection broke in the middle
            if not tries_left:
                raise
        finally:
            answer["Body"].close()
    now = parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])
    age = (now - answer["LastModified"]).total_seconds() - 1.0  # each is cut to its second
    return Tagged(content, str(answer["ETag"]), max(0.0, age))
