"""The laws of `storage`: the same words do the same on a disk, in fsspec's memory and on a real S3 server."""

from pathlib import Path

import pytest

from kmstream.storage import (
    Place,
    checkout,
    exists,
    is_folder,
    is_local,
    list_files,
    move,
    move_files,
    new_folder,
    read_bytes,
    read_text,
    remove_file,
    remove_files,
    remove_tree,
    replace_bytes,
    replace_file,
    upload,
)

S3 = pytest.param("s3", marks=pytest.mark.server)


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
def test_more_files_than_one_request_takes_are_removed(s3, bucket):
    fill(bucket, "a/0", "a/1000")
    s3.proxy.clear()
    remove_files(bucket / "a", [f"{n}" for n in range(1001)])
    assert s3.proxy.counts() == {"DELETE-many": 2}
    assert list_files(bucket) == set()


@pytest.mark.slow
@pytest.mark.server
def test_more_files_than_one_answer_holds_are_listed(s3, bucket):
    bucket.fs.pipe({f"{bucket.path}/a/{n}": b"" for n in range(1001)})
    s3.proxy.clear()
    assert len(list_files(bucket / "a")) == 1001
    assert s3.proxy.counts() == {"LIST": 2}


@pytest.mark.server
def test_the_last_file_of_a_new_folder_comes_last(s3, bucket):
    with new_folder(bucket / "new", last="c") as folder:
        for name in "abcdefgh":
            (folder / name).write_text(name)
    puts = [one.key.rpartition("/")[2] for one in s3.proxy.requests if one.kind == "PUT"]
    assert sorted(puts) == list("abcdefgh")
    assert puts[-1] == "c"
