"""What goes wrong with an output's files is tried again where that helps, and told where it doesn't."""

import os

import boto3
import pytest
from botocore.exceptions import ClientError
from builders import limit_file_size

from kmstream.errors import ConfigError, OutputError, StorageError
from kmstream.storage import (
    RangedFile,
    checkout,
    exists,
    list_files,
    open_filesystem,
    open_place,
    read_bytes,
    read_tagged,
    remove_tree,
    replace_bytes,
    replace_file,
)


def test_a_scheme_that_nobody_knows_says_what_to_install():
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


def test_replace_file_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, tree):
    replace_file(tmp_path / "CURRENT", "old")
    with limit_file_size(1000), pytest.raises(OutputError, match="CURRENT can't be written"):
        replace_file(tmp_path / "CURRENT", "n" * 5000)
    assert (tmp_path / "CURRENT").read_text() == "old"
    assert tree(tmp_path) == ["CURRENT"]


@pytest.mark.server
@pytest.mark.parametrize("how", ["503", "500", "reset", "cut"])
@pytest.mark.usefixtures("hasty")
def test_reading_goes_on_after_what_fails_once(s3, bucket, how):
    content = os.urandom(200_000)
    replace_bytes(bucket / "a/object", content)
    for read in (read_bytes, lambda place: read_tagged(place).content, check_out_bytes, read_ranged):
        with s3.proxy.fail("GET", "*/object", how=how) as fault:
            assert read(bucket / "a/object") == content
        assert fault.struck == 1
    with s3.proxy.fail("LIST", how="503" if how == "cut" else how):
        assert list_files(bucket) == {"a/object"}


def check_out_bytes(place):
    with checkout(place) as file:
        return file.read_bytes()


def read_ranged(place):
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
