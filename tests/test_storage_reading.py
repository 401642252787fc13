"""Ranges of an object as a file: the same bytes as of any file, by few requests."""

import io
import os

import fsspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kmstream.storage import RangedFile, replace_bytes

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
    replace_bytes(bucket / "large", content)
    s3.proxy.clear()
    file = RangedFile(bucket.fs, (bucket / "large").path, len(content))
    assert file.read() == content
    assert sorted(one.range for one in s3.proxy.requests) == ["bytes=0-8388607", "bytes=8388608-8389607"]
    replace_bytes(bucket / "small", content[:1000])
    s3.proxy.clear()
    small = RangedFile(bucket.fs, (bucket / "small").path, 1000)
    assert [small.seek(900), small.read(100), small.seek(0), small.read(5)] == [900, content[900:1000], 0, content[:5]]
    assert s3.proxy.counts() == {"GET": 1}
