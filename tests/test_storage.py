"""The laws of `storage`: the same words do the same on a disk, in fsspec's memory and on a real S3 server."""

import io
import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import boto3
import fsspec
import pytest
from botocore.exceptions import ClientError
from hypothesis import given, settings
from hypothesis import strategies as st
from s3_server import S3Server

from kmstream.errors import ConfigError, OutputError, StorageError
from kmstream.storage import (
    Place,
    RangedFile,
    append_to_copy,
    checkout,
    exists,
    is_folder,
    is_local,
    list_files,
    move,
    move_files,
    new_folder,
    open_filesystem,
    open_place,
    put_if,
    read_blocks,
    read_bytes,
    read_tagged,
    read_text,
    remove_file,
    remove_files,
    remove_tree,
    replace_bytes,
    replace_file,
    upload,
)

LEAST_PART = 5 << 20  # of a multipart upload of S3
S3 = pytest.param("s3", marks=pytest.mark.server)


@pytest.fixture
def in_memory(memory: str) -> Place:
    return open_place(memory)


@pytest.fixture
def bucket(s3: S3Server) -> Place:
    """Give an empty folder of an S3 server."""
    return open_place(s3.new_prefix())


@pytest.fixture(params=["local", "memory", S3])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return request.getfixturevalue({"local": "tmp_path", "memory": "in_memory", "s3": "bucket"}[request.param])


@pytest.fixture(params=["memory", S3])
def store(request: pytest.FixtureRequest) -> Place:
    return request.getfixturevalue({"memory": "in_memory", "s3": "bucket"}[request.param])


def fill(folder: Place, *paths: str, text: str = "") -> None:
    """Write files, each with its own path in it, or a text."""
    for path in paths:
        replace_file(folder / path, text or path)


def tell(folder: Place) -> dict[str, str]:
    """Every file below a folder, with what is in it."""
    return {path: read_text(folder / path) for path in sorted(list_files(folder))}


def test_a_file_is_read_as_it_was_written_and_replaced_whole(root):
    assert not exists(root / "deep/file")
    with pytest.raises(FileNotFoundError):
        read_text(root / "deep/file")
    replace_file(root / "deep/file", "é\n")
    replace_bytes(root / "deep/empty", b"")
    assert (read_text(root / "deep/file"), read_bytes(root / "deep/file")) == ("é\n", "é\n".encode())
    assert read_bytes(root / "deep/empty") == b""
    assert exists(root / "deep/file")
    assert exists(root / "deep/empty")
    assert not exists(root / "deep")
    replace_bytes(root / "deep/file", memoryview(b"short"))
    assert tell(root) == {"deep/empty": "", "deep/file": "short"}


def test_a_folder_lists_its_own_files_at_any_depth_and_no_neighbours(root):
    fill(root, "a/1", "a/b/c/2", "a/.hidden", "ab/3", "a.4")
    assert list_files(root / "a") == {"1", "b/c/2", ".hidden"}
    assert list_files(root / "a/b") == {"c/2"}
    assert list_files(root / "nothing") == set()
    assert [is_folder(root / name) for name in ("a", "a/b", "nothing", "a.4")] == [True, True, False, False]


def test_removing_takes_what_is_there_and_nothing_else(root):
    fill(root, "a/1", "a/2", "a/b/3", "ab/4", "c")
    remove_file(root / "c")
    remove_file(root / "c")
    remove_files(root / "a", ["1", "b/3", "never"])
    assert list_files(root) == {"a/2", "ab/4"}
    remove_files(root / "a", [])
    remove_files(root / "a", ["never"])
    remove_tree(root / "a")
    remove_tree(root / "a")
    assert tell(root) == {"ab/4": "ab/4"}


def test_a_file_or_folder_moves_and_can_stay_where_it_is(root):
    fill(root, "a/1", "a/b/2", "one")
    move(root / "one", root / "two")
    move(root / "a", root / "c")
    move(root / "c", root / "c")
    assert tell(root) == {"c/1": "a/1", "c/b/2": "a/b/2", "two": "one"}


def test_any_name_is_taken_as_it_is_written(root):
    """Also those that would be globs, or mean something in a URL."""
    odd = ["year=1/a b+c.parquet", "é%20#1?.parquet", "a[1].parquet", "a*.parquet"]
    fill(root, *(f"from/{name}" for name in odd), "from/a1.parquet", "from/ab.parquet")
    move_files(root / "from", root / "to", odd)
    assert tell(root / "to") == {name: f"from/{name}" for name in sorted(odd)}
    fill(root, "to/a1.parquet", "to/ab.parquet")
    remove_files(root / "to", odd)
    assert list_files(root / "to") == {"a1.parquet", "ab.parquet"}
    assert list_files(root / "from") == {"a1.parquet", "ab.parquet"}


def test_files_move_to_the_same_place_below_another_folder_and_can_be_moved_again(root):
    fill(root, "from/1", "from/a/2", "from/3", "to/1")
    for _ in range(2):  # the second time after all is done, as after a crash
        move_files(root / "from", root / "to", ["1", "a/2", "never"])
        assert tell(root) == {"from/3": "from/3", "to/1": "from/1", "to/a/2": "from/a/2"}


@pytest.mark.parametrize("n_copied", [0, 1, 2])
@pytest.mark.parametrize("n_removed", [0, 1])
def test_a_move_that_was_cut_off_is_done_by_the_next_one(store, n_copied, n_removed):
    names = ["1", "2"]
    fill(store, *(f"to/{name}" for name in names[:n_copied]), text="new")
    fill(store, *(f"from/{name}" for name in names[min(n_removed, n_copied) :]), text="new")
    move(store / "from", store / "to")
    assert tell(store) == {"to/1": "new", "to/2": "new"}


def test_places_of_two_outputs_are_not_moved_between(store, tmp_path):
    fill(store, "a")
    with pytest.raises(ValueError, match="are not of one output"):
        move(store / "a", tmp_path / "a")


def test_a_new_folder_is_there_when_the_block_ends_and_replaces_what_was(root):
    fill(root, "new/old", "new/last", "newer/1")
    with new_folder(root / "new", last="last") as folder:
        (folder / "first").write_text("1")
        (folder / "last").write_text("2")
        assert list_files(root / "new") == {"old", "last"}
    assert tell(root) == {"new/first": "1", "new/last": "2", "newer/1": "newer/1"}


def test_nothing_of_a_new_folder_is_there_when_the_block_fails(root):
    def begin(name: str) -> None:
        with new_folder(root / name) as folder:
            (folder / "2").write_text("2")
            raise ZeroDivisionError

    fill(root, "kept/1")
    for name in ("kept", "new"):
        with pytest.raises(ZeroDivisionError):
            begin(name)
    assert tell(root) == {"kept/1": "kept/1"}


def test_a_folder_or_file_is_checked_out_with_all_that_is_in_it(root):
    fill(root, "a/1", "a/b/2", "ab/3")
    with checkout(root / "a") as folder:
        assert tell(folder) == {"1": "a/1", "b/2": "a/b/2"}
    with checkout(root / "a/1") as file:
        assert (file.name, file.read_text()) == ("1", "a/1")
    assert folder.exists() == file.exists() == is_local(root)


def test_an_upload_takes_the_file_to_its_place(root, tmp_path):
    (tmp_path / "sub").mkdir()
    file = tmp_path / "sub" / "file"
    file.write_bytes(b"content")
    upload(file, root / "there")
    assert not file.exists()
    assert read_bytes(root / "there") == b"content"


def test_an_object_is_put_only_if_it_is_the_one_that_was_read(store):
    place = store / "object"
    assert read_tagged(place) is None
    first = put_if(place, b"one", None)
    assert first is not None
    assert put_if(place, b"two", None) is None
    found = read_tagged(place)
    assert (found.content, found.tag) == (b"one", first)
    assert 0 <= found.age < 60
    assert put_if(place, b"three", first) is not None
    assert read_bytes(place) == b"three"


def test_a_scheme_that_nobody_knows_says_what_to_install(root):
    for opened in (open_place, open_filesystem):
        with pytest.raises(ConfigError, match=r"nope://bucket/x can't be opened: .*nope") as refused:
            opened("nope://bucket/x")
        assert "s3://bucket/folder" in refused.value.__notes__[0]
        with pytest.raises(ConfigError, match=r"gs://bucket/x can't be opened: .*gcsfs"):
            opened("gs://bucket/x")


def test_what_cannot_be_written_on_a_disk_says_where(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"below can't be written: (Not a directory|File exists)"):
        replace_file(tmp_path / "file" / "below", "")


# Only on S3


def put(bucket: Place, name: str, content: bytes) -> str:
    replace_bytes(bucket / name, content)
    return (bucket / name).path


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
    source = put(bucket, "year=1/old é+ [1]%20.parquet", old)
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
    source, files = put(in_memory, "old", bytes(LEAST_PART)), in_memory.fs
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
    source = put(bucket, "old", bytes(LEAST_PART))
    (tmp_path / "file").write_bytes(bytes(LEAST_PART * 2))
    s3.proxy.fail("PUT-part", how="denied", times=None)
    to_copy = partial(append_to_copy, bucket.fs, source, LEAST_PART)
    with pytest.raises(StorageError, match="new: access denied"):
        (to_copy if copies else upload)(tmp_path / "file", bucket / "new")
    assert not exists(bucket / "new")
    client = boto3.client("s3")
    assert "Uploads" not in client.list_multipart_uploads(Bucket=s3.bucket)
    client.close()


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


@pytest.mark.server
@pytest.mark.parametrize("how", ["503", "500", "reset", "cut"])
@pytest.mark.usefixtures("hasty")
def test_reading_goes_on_after_what_fails_once(s3, bucket, how):
    content = os.urandom(200_000)
    put(bucket, "a/object", content)
    for read in (read_bytes, lambda place: read_tagged(place).content, check_out_bytes, read_ranged):
        with s3.proxy.fail("GET", "*/object", how=how) as fault:
            assert read(bucket / "a/object") == content
        assert fault.struck == 1
    with s3.proxy.fail("LIST", how="503" if how == "cut" else how):
        assert list_files(bucket) == {"a/object"}


def check_out_bytes(place: Place) -> bytes:
    with checkout(place) as file:
        return file.read_bytes()


def read_ranged(place: Any) -> bytes:
    return RangedFile(place.fs, place.path, 200_000).read()


@pytest.mark.server
@pytest.mark.parametrize("how", ["denied", "expired"])
def test_a_refusal_says_what_to_do(s3, bucket, how):
    s3.proxy.fail(how=how, times=None)
    for act in (list_files, read_bytes, read_tagged, remove_tree, exists, lambda place: replace_file(place, "")):
        with pytest.raises(StorageError, match=r"^s3://.*object: access denied") as refused:
            act(bucket / "object")
        assert refused.value.__notes__[0].startswith("Mend the credentials")


@pytest.mark.server
def test_a_bucket_that_is_not_there_is_named(s3):
    place = open_place("s3://no-such-bucket/folder/object")
    for act in (read_bytes, read_tagged, lambda place: replace_file(place, "")):
        with pytest.raises(StorageError, match=r"no-such-bucket.*bucket does not exist") as refused:
            act(place)
        assert refused.value.__notes__[0].startswith("Make the bucket")
    with pytest.raises(ClientError):
        boto3.client("s3").head_bucket(Bucket="no-such-bucket")


@pytest.mark.server
def test_a_file_is_listed_read_and_moved_by_few_requests(s3, bucket):
    fill(bucket, *(f"a/{n}" for n in range(30)))
    s3.proxy.clear()
    assert len(list_files(bucket / "a")) == 30
    assert s3.proxy.counts() == {"LIST": 1}
    s3.proxy.clear()
    assert read_text(bucket / "a/1") == "a/1"
    assert s3.proxy.counts() == {"GET": 1}
    s3.proxy.clear()
    move(bucket / "a", bucket / "b")
    assert s3.proxy.counts() == {"LIST": 1, "HEAD": 30, "COPY": 30, "DELETE-many": 1}
    s3.proxy.clear()
    remove_tree(bucket / "b")
    assert s3.proxy.counts() == {"LIST": 1, "DELETE-many": 1}


@pytest.mark.server
@pytest.mark.slow
def test_more_files_than_one_request_takes_are_removed(s3, bucket):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: fill(bucket, f"a/{n}"), range(1001)))
    s3.proxy.clear()
    remove_tree(bucket / "a")
    assert s3.proxy.counts() == {"LIST": 2, "DELETE-many": 2}
    assert list_files(bucket) == set()


@pytest.mark.server
def test_the_last_file_of_a_new_folder_comes_last(s3, bucket):
    with new_folder(bucket / "new", last="c") as folder:
        for name in "abcdefgh":
            (folder / name).write_text(name)
    puts = [one.key.rpartition("/")[2] for one in s3.proxy.requests if one.kind == "PUT"]
    assert sorted(puts) == list("abcdefgh")
    assert puts[-1] == "c"


# Ranges of an object as a file

SIZES = (0, 1, 1000, (1 << 20) + 4321)
CONTENT = os.urandom(max(SIZES))
MOVES = st.lists(
    st.one_of(
        st.tuples(st.just("read"), st.none() | st.integers(-1, 1 << 21)),
        st.tuples(st.just("start"), st.integers(0, 1 << 21)),
        st.tuples(st.just("on"), st.integers(0, 1 << 20)),
        st.tuples(st.just("end"), st.integers(-(1 << 20), 1000)),
    ),
    max_size=12,
)


@given(size=st.sampled_from(SIZES), moves=MOVES)
@settings(max_examples=60)
def test_a_ranged_file_gives_the_bytes_that_any_file_would(size, moves):
    files = fsspec.filesystem("memory")
    files.pipe_file("/ranged", CONTENT[:size])
    found, expected = RangedFile(files, "/ranged", size), io.BytesIO(CONTENT[:size])
    for move_by, number in moves:
        if move_by == "read":
            assert found.read(number) == expected.read(number)
        elif move_by == "end":
            assert found.seek(max(-size, number), io.SEEK_END) == expected.seek(max(-size, number), io.SEEK_END)
        else:
            whence = io.SEEK_SET if move_by == "start" else io.SEEK_CUR
            assert found.seek(number, whence) == expected.seek(number, whence)
        assert found.tell() == expected.tell()
    files.rm_file("/ranged")


@pytest.mark.server
def test_a_long_range_comes_in_pieces_side_by_side_and_a_small_file_at_once(s3, bucket):
    content = os.urandom((8 << 20) + 1000)
    path = put(bucket, "large", content)
    s3.proxy.clear()
    file = RangedFile(bucket.fs, path, len(content))
    assert file.read() == content
    assert sorted(one.range for one in s3.proxy.requests) == ["bytes=0-8388607", "bytes=8388608-8389607"]
    path = put(bucket, "small", content[:1000])
    s3.proxy.clear()
    small = RangedFile(bucket.fs, path, 1000)
    assert [small.seek(900), small.read(100), small.seek(0), small.read(5)] == [900, content[900:1000], 0, content[:5]]
    assert s3.proxy.counts() == {"GET": 1}
