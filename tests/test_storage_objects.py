"""Objects of a store: made by it from the bytes of others, uploaded in parts, put only if nobody else did."""

import os
from functools import partial

import boto3
import pytest

from kmstream.errors import StorageError
from kmstream.storage import (
    append_to_copy,
    exists,
    put_if,
    read_blocks,
    read_bytes,
    read_tagged,
    remove_file,
    replace_bytes,
    replace_file,
    upload,
)

LEAST_PART = 5 << 20  # of a multipart upload of S3
S3 = pytest.param("bucket", marks=pytest.mark.server)


def put(place, content):
    """Write an object, and give the path that its file system knows it by."""
    replace_bytes(place, content)
    return place.path


@pytest.mark.server
@pytest.mark.parametrize(
    ("size", "n_copied", "n_new", "n_parts"),
    [
        (LEAST_PART - 1, LEAST_PART - 1, 100, None),
        (LEAST_PART, LEAST_PART, 1, 2),
        (LEAST_PART + 1000, LEAST_PART + 1, 100, 2),
        (LEAST_PART, LEAST_PART, 0, 1),
        (LEAST_PART, LEAST_PART, (8 << 20) + 1, 3),
    ],
)
def test_the_store_copies_the_old_bytes_and_only_new_ones_travel(s3, bucket, tmp_path, size, n_copied, n_new, n_parts):
    old, new = os.urandom(size), os.urandom(n_new)
    source = put(bucket / "year=1/old é+ [1]%20.parquet", old)
    (tmp_path / "tail").write_bytes(new)
    s3.proxy.clear()
    done = append_to_copy(bucket.fs, source, n_copied, tmp_path / "tail", bucket / "new")
    assert done is (n_parts is not None)
    counts, requests = s3.proxy.counts(), s3.proxy.requests
    if not done:
        assert not counts
        return
    assert (counts["PUT-part-copy"], counts["PUT-part"]) == (1, n_parts - 1)
    assert sum(one.bytes_in for one in requests if one.kind == "PUT-part") == n_new
    assert sum(one.bytes_out for one in requests) < 10_000
    assert read_bytes(bucket / "new") == old[:n_copied] + new


@pytest.mark.server
def test_a_copy_is_not_made_by_a_store_that_lacks_the_bytes(bucket, in_memory, tmp_path):
    (tmp_path / "tail").write_bytes(b"new")
    source, files = put(in_memory / "old", bytes(LEAST_PART)), in_memory.fs
    for target in (bucket / "new", in_memory / "new", tmp_path / "new"):
        assert not append_to_copy(files, source, LEAST_PART, tmp_path / "tail", target)
    assert b"".join(read_blocks(files, source, 1000)) == bytes(1000)


@pytest.mark.server
@pytest.mark.parametrize("how", ["503", "500", "reset", "cut", "lost"])
@pytest.mark.parametrize("is_new", [True, False])
@pytest.mark.usefixtures("hasty")
def test_a_large_file_goes_in_parts_whatever_fails_once(s3, bucket, tmp_path, how, is_new):
    content = os.urandom(LEAST_PART * 2)
    (tmp_path / "file").write_bytes(content)
    for kind in ("PUT-part", "COMPLETE"):
        s3.proxy.fail(kind, how=how)
    upload(tmp_path / "file", bucket / "file", is_new=is_new)
    assert s3.proxy.counts()["PUT"] == 0
    assert {one.kind for one in s3.proxy.requests if one.fault} == {"PUT-part", "COMPLETE"}
    assert read_bytes(bucket / "file") == content


@pytest.mark.server
@pytest.mark.parametrize("size", [1000, LEAST_PART * 2])
def test_a_new_file_is_the_callers_whoever_was_before(s3, bucket, tmp_path, size):
    replace_file(bucket / "file", "of a run that has lost its lock")
    for is_new in (True, False):
        content = os.urandom(size)
        (tmp_path / "file").write_bytes(content)
        s3.proxy.clear()
        upload(tmp_path / "file", bucket / "file", is_new=is_new)
        assert read_bytes(bucket / "file") == content
        refused = [one.status for one in s3.proxy.requests if one.conditions]
        assert refused == ([412, 200] if is_new else [])


@pytest.mark.server
@pytest.mark.parametrize("copies", [True, False])
def test_an_upload_that_fails_leaves_nothing_behind(s3, bucket, tmp_path, copies):
    source = put(bucket / "old", bytes(LEAST_PART))
    (tmp_path / "file").write_bytes(bytes(LEAST_PART * 2))
    s3.proxy.fail("PUT-part", how="denied", times=None)
    to_copy = partial(append_to_copy, bucket.fs, source, LEAST_PART)
    with pytest.raises(StorageError, match="new: access denied"):
        (to_copy if copies else upload)(tmp_path / "file", bucket / "new")
    assert not exists(bucket / "new")
    client = boto3.client("s3")
    assert "Uploads" not in client.list_multipart_uploads(Bucket=s3.bucket)
    client.close()


@pytest.mark.parametrize("store", ["in_memory", S3])
def test_an_object_is_put_only_if_it_is_the_one_that_was_read(request, store):
    place = request.getfixturevalue(store) / "object"
    assert read_tagged(place) is None
    first = put_if(place, b"one", None)
    assert first is not None
    assert put_if(place, b"two", None) is None
    found = read_tagged(place)
    assert (found.content, found.tag) == (b"one", first)
    assert 0 <= found.age < 60
    assert put_if(place, b"three", first) is not None
    assert read_bytes(place) == b"three"


@pytest.mark.server
@pytest.mark.parametrize("how", ["503", "500", "conflict", "reset", "lost"])
@pytest.mark.usefixtures("hasty")
def test_a_condition_holds_though_the_first_answer_is_missing(s3, bucket, how):
    place = bucket / "object"
    with s3.proxy.fail("PUT", "*/object", how=how):
        tag = put_if(place, b"one", None)
    assert (read_tagged(place).content, read_tagged(place).tag) == (b"one", tag)
    with s3.proxy.fail("PUT", "*/object", how=how):
        assert put_if(place, b"two", tag) == read_tagged(place).tag
    with s3.proxy.fail("PUT", "*/object", how=how):
        assert put_if(place, b"three", tag) is None
    remove_file(place)
    assert put_if(place, b"four", tag) is None
    assert not exists(place)
