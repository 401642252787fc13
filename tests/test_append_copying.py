"""Bytes copied from one open file to another."""

import os

import numpy as np
import pytest

from kmstream.append.copying import COPY_BYTES, copy_bytes
from kmstream.errors import CorruptFileError


@pytest.mark.parametrize("flags", [0, os.O_APPEND], ids=["by the kernel", "by reading and writing"])
def test_copy_bytes_copies_the_first_bytes(tmp_path, flags):
    raw = np.random.default_rng(0).bytes(COPY_BYTES * 2 + 17)
    (tmp_path / "source").write_bytes(raw)
    for size in (0, 1, COPY_BYTES + 1, len(raw)):
        source = os.open(tmp_path / "source", os.O_RDONLY)
        target = os.open(tmp_path / f"target-{size}", os.O_WRONLY | os.O_CREAT | flags)  # the kernel refuses O_APPEND
        copy_bytes(source, target, size)
        os.write(target, b"end")
        os.close(source), os.close(target)
        assert (tmp_path / f"target-{size}").read_bytes() == raw[:size] + b"end"


def test_copy_bytes_says_where_a_source_ends_too_early(tmp_path):
    (tmp_path / "source").write_bytes(b"abc")
    with (
        (tmp_path / "source").open("rb") as source,
        (tmp_path / "target").open("wb") as target,
        pytest.raises(CorruptFileError, match="ends at byte 3; expected at least 5"),
    ):
        copy_bytes(source.fileno(), target.fileno(), 5)


def test_copy_bytes_tells_a_source_that_can_not_be_read_from_a_full_disk(tmp_path):
    (tmp_path / "bytes").write_bytes(b"abc")
    with (
        (tmp_path / "bytes").open("ab") as unreadable,
        (tmp_path / "target").open("wb") as target,
        pytest.raises(CorruptFileError, match="can't be read at byte 0: Bad file"),
    ):
        copy_bytes(unreadable.fileno(), target.fileno(), 3)
