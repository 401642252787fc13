"""Bytes from one open file to another, by the kernel where it can: shared blocks, or a copy that never leaves it."""

import errno
import os
import sys

import pyarrow as pa

from kmstream.errors import CorruptFileError

COPY_BYTES = 1 << 20  # at a time, where the kernel can't copy by itself
# EIO: reading and writing apart tells which of the two files fails
NOT_BY_KERNEL = {errno.EIO, errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM, errno.EBADF}


def copy_bytes(source: int, target: int, size: int) -> None:
    """Copy the first bytes of a file to the end of another one.

    Parameters
    ----------
    source, target : int
        Open files; the target's position moves with what is written, the source's stays.
    size : int
        Bytes.

    Raises
    ------
    CorruptFileError
        If the source is shorter, or can't be read.
    OSError
        If the target can't be written: full, or a limit is reached.
    """
    done = _copy_by_kernel(source, target, size)
    while done < size:
        try:
            piece = os.pread(source, min(COPY_BYTES, size - done), done)
        except OSError as cause:
            raise CorruptFileError(f"the file can't be read at byte {done}: {os.strerror(cause.errno or 0)}") from cause
        if not piece:
            raise CorruptFileError(f"the file ends at byte {done}; expected at least {size}")
        write_bytes(target, piece)
        done += len(piece)


def start_flushing(target: int) -> None:
    """Have the kernel begin to write a file's bytes to the disk, so that a later fsync waits for less."""
    if hasattr(os, "posix_fadvise"):  # a side effect, on Linux: pages that are not dirty any more would be dropped
        os.posix_fadvise(target, 0, 0, os.POSIX_FADV_DONTNEED)


def write_bytes(target: int, data: bytes | memoryview | pa.Buffer) -> None:
    """Write all of some bytes at the position of a file."""
    rest = memoryview(data).cast("B")
    while rest:
        rest = rest[os.write(target, rest) :]


def _copy_by_kernel(source: int, target: int, size: int) -> int:
    """Copy what the kernel and the file systems can, and give the bytes done; the rest is for reading and writing."""
    done = 0
    if sys.platform == "linux":
        try:
            while done < size and (copied := os.copy_file_range(source, target, size - done, offset_src=done)):
                done += copied
        except OSError as error:
            if error.errno not in NOT_BY_KERNEL:
                raise
    return done
