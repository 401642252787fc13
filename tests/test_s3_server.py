"""The S3 server of the tests is what it claims to be: what it does, counts and breaks, seen by a client."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import (
    ClientError,
    ConnectionClosedError,
    ReadTimeoutError,
    ResponseStreamingError,
)
from s3_server import BUCKET, RADOSGW, S3Server, s3_server

pytestmark = pytest.mark.server
PART = b"a" * (5 << 20)  # the least that S3 takes, but for the last part


@pytest.fixture(scope="module")
def started() -> Iterator[S3Server]:
    with s3_server() as server:
        yield server


@pytest.fixture
def server(started: S3Server) -> S3Server:
    started.proxy.clear()
    return started


@pytest.fixture
def client(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    patience = 3.0 if RADOSGW else 0.5  # Ceph makes its pools when they are first used
    config = Config(retries={"total_max_attempts": 1}, read_timeout=patience)

    client = boto3.client("s3", config=config)
    yield client
    client.close()


@pytest.fixture
def folder(server: S3Server) -> str:
    return server.new_prefix().removeprefix(f"s3://{BUCKET}/")


def put(client: Any, key: str, body: bytes = b"content", **options: str) -> str:
    return client.put_object(Bucket=BUCKET, Key=key, Body=body, **options)["ETag"]


def get(client: Any, key: str, **options: str) -> bytes:
    with closing(client.get_object(Bucket=BUCKET, Key=key, **options)["Body"]) as body:
        return body.read()


def refusal(call: Any, *arguments: Any, **options: Any) -> tuple[int, str]:
    with pytest.raises(ClientError) as refused:
        call(*arguments, **options)
    answer = refused.value.response
    return answer["ResponseMetadata"]["HTTPStatusCode"], answer["Error"]["Code"]


def upload(client: Any, key: str, source: str, *, copied: str, **conditions: str) -> None:
    """Make an object of a part that is sent and one that the server copies."""
    at = {"Bucket": BUCKET, "Key": key}
    at["UploadId"] = client.create_multipart_upload(**at)["UploadId"]
    sent = client.upload_part(**at, PartNumber=1, Body=PART)
    taken = client.upload_part_copy(**at, PartNumber=2, CopySource=f"{BUCKET}/{source}", CopySourceRange=copied)
    etags = (sent["ETag"], taken["CopyPartResult"]["ETag"])
    parts = [{"PartNumber": number, "ETag": etag} for number, etag in enumerate(etags, 1)]
    client.complete_multipart_upload(**at, MultipartUpload={"Parts": parts}, **conditions)


def test_an_object_comes_back_whole_and_in_ranges_and_is_counted(server, client, folder):
    etag = put(client, f"{folder}/a b+ü", b"0123456789")
    assert get(client, f"{folder}/a b+ü") == b"0123456789"
    assert get(client, f"{folder}/a b+ü", Range="bytes=2-4") == b"234"
    assert client.head_object(Bucket=BUCKET, Key=f"{folder}/a b+ü")["ETag"] == etag
    assert refusal(get, client, f"{folder}/nothing") == (404, "NoSuchKey")
    assert server.proxy.counts() == {"PUT": 1, "GET": 3, "HEAD": 1}
    ranged = server.proxy.requests[2]
    assert (ranged.kind, ranged.bucket, ranged.key, ranged.range) == ("GET", BUCKET, f"{folder}/a b+ü", "bytes=2-4")
    assert (ranged.status, ranged.bytes_in, ranged.bytes_out, ranged.fault) == (206, 0, 3, "")


def test_a_folder_is_listed_in_pages_and_removed_at_once(server, client, folder):
    for name in ("a/1", "a/2", "b/1", "c"):
        put(client, f"{folder}/{name}")
    pages = client.get_paginator("list_objects_v2").paginate(
        Bucket=BUCKET, Prefix=f"{folder}/", Delimiter="/", PaginationConfig={"PageSize": 1}
    )
    found = [
        one.get("Prefix") or one["Key"] for page in pages for kind in ("CommonPrefixes", "Contents")
        for one in page.get(kind, [])
    ]  # fmt: skip
    assert found == [f"{folder}/{name}" for name in ("a/", "b/", "c")]
    names = [{"Key": f"{folder}/a/1"}, {"Key": f"{folder}/never"}]
    assert len(client.delete_objects(Bucket=BUCKET, Delete={"Objects": names})["Deleted"]) == 2
    left = client.list_objects_v2(Bucket=BUCKET, Prefix=f"{folder}/")["Contents"]
    assert [one["Key"] for one in left] == [f"{folder}/{name}" for name in ("a/2", "b/1", "c")]
    assert server.proxy.counts() == {"PUT": 4, "LIST": 4, "DELETE-many": 1}


@pytest.mark.skipif(RADOSGW, reason="Ceph knows conditions only when an object is put, see radosgw")
def test_conditions_hold_for_every_way_to_write(client, folder):
    key, source = f"{folder}/key", f"{folder}/source"
    put(client, source, bytes(range(100)))
    old = put(client, key, b"old", IfNoneMatch="*")
    new = put(client, key, b"new", IfMatch=old)
    copy = {"CopySource": f"{BUCKET}/{source}", "Bucket": BUCKET, "Key": key}
    refused = (412, "PreconditionFailed")
    for condition in ({"IfNoneMatch": "*"}, {"IfMatch": old}):
        assert refusal(put, client, key, **condition) == refused
        assert refusal(upload, client, key, source, copied="bytes=0-9", **condition) == refused
        assert refusal(client.copy_object, **copy, **condition) == refused
    assert refusal(client.delete_object, Bucket=BUCKET, Key=key, IfMatch=old) == refused
    assert refusal(put, client, f"{folder}/nothing", IfMatch=old) == (404, "NoSuchKey")
    assert get(client, key) == b"new"
    upload(client, key, source, copied="bytes=10-19", IfMatch=new)
    assert get(client, key) == PART + bytes(range(10, 20))


def test_of_writers_that_want_a_new_object_one_wins(client, folder):
    def wins(writer: int, key: str) -> bool:
        try:
            put(client, key, b"%d" % writer, IfNoneMatch="*")
        except ClientError:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        for n in range(10):
            assert sum(pool.map(wins, range(4), [f"{folder}/{n}"] * 4)) == 1


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("500", (500, "InternalError")),
        ("503", (503, "SlowDown")),
        ("conflict", (409, "ConditionalRequestConflict")),
        ("denied", (403, "AccessDenied")),
        ("expired", (400, "ExpiredToken")),
    ],
)
def test_a_fault_is_an_error_of_s3_and_nothing_is_done(server, client, folder, how, said):
    fault = server.proxy.fail("PUT", "*/broken", how=how, after=1, times=2)
    put(client, f"{folder}/whole", b"first")
    put(client, f"{folder}/broken", b"first")
    for _ in range(2):
        assert refusal(put, client, f"{folder}/broken", b"second") == said
    assert get(client, f"{folder}/broken") == b"first"
    put(client, f"{folder}/broken", b"third")
    assert [request.status for request in server.proxy.requests if request.fault] == [said[0]] * 2
    assert fault.struck == 2


@pytest.mark.parametrize(
    ("how", "seen", "done"),
    [
        ("reset", ConnectionClosedError, False),
        ("timeout", ReadTimeoutError, False),
        ("cut", ConnectionClosedError, False),
        ("lost", ConnectionClosedError, True),
    ],
)
def test_a_fault_of_the_connection_leaves_the_client_without_an_answer(server, client, folder, how, seen, done):
    put(client, f"{folder}/key", b"before")
    with server.proxy.fail(key=f"{folder}/key", how=how), pytest.raises(seen):
        put(client, f"{folder}/key", b"after!")
    record = server.proxy.wait_for("PUT", n=2)[1]
    assert (record.fault, record.status, record.bytes_in) == (how, 0, 3 if how == "cut" else 6)
    assert get(client, f"{folder}/key") == (b"after!" if done else b"before")


def test_an_answer_is_cut_in_its_middle(server, client, folder):
    put(client, f"{folder}/key", PART)
    server.proxy.fail("GET", how="cut")
    with pytest.raises(ResponseStreamingError, match=f"{len(PART) // 2} bytes read"):
        get(client, f"{folder}/key")
    assert get(client, f"{folder}/key") == PART


def test_a_slow_answer_is_whole_but_comes_in_pieces(server, client, folder):
    put(client, f"{folder}/key", PART)
    server.proxy.fail("GET", how="slow", seconds=0.3)
    start = time.monotonic()
    assert get(client, f"{folder}/key") == PART
    assert time.monotonic() - start >= 0.3


def test_fail_knows_what_can_happen(server):
    with pytest.raises(ValueError, match="no request is of kind 'WRITE'"):
        server.proxy.fail("WRITE")
    with pytest.raises(ValueError, match="fails by 'explode'"):
        server.proxy.fail("PUT", how="explode")
    with pytest.raises(TimeoutError, match="1 LIST"):
        server.proxy.wait_for("LIST", seconds=0.01)


WRITE_AND_LIST = """
import fsspec, sys
with fsspec.open(sys.argv[1] + "/key", "w") as file:
    file.write("content")
files, folder = fsspec.url_to_fs(sys.argv[1])
print(len(files.ls(folder)))
"""


def test_a_process_uses_the_server_by_its_environment_and_the_server_ends_with_the_block():
    with s3_server() as server:
        done = subprocess.run(
            [sys.executable, "-c", WRITE_AND_LIST, server.new_prefix()],
            env=os.environ | server.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.stdout == "1\n", done.stderr
        assert server.proxy.counts()["PUT"] == 1
        ports = [urlsplit(url).port for url in (server.url, server.proxy.upstream)]
    for port in ports:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=5)
