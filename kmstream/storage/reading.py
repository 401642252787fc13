"""An object of a store as a file that Arrow reads ranges of: one request for each range, and none to open it.

Arrow reads a footer, then the columns; of a small file one request brings both.
"""

import io
from typing import TYPE_CHECKING

from kmstream.storage.failures import find_code

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

_SMALL = 1 << 20
_PIECE = 8 << 20  # a longer range is fetched in pieces of this, side by side


class RangedFile(io.RawIOBase):
    """Reads of a file of a store, whose size is known; what is not small is neither read ahead nor kept.

    Parameters
    ----------
    filesystem : AbstractFileSystem
    path : str
    size : int
        Bytes, as the listing told.
    """

    def __init__(self, filesystem: "AbstractFileSystem", path: str, size: int) -> None:
        self._filesystem, self._path, self._size, self._position = filesystem, path, size, 0
        self._whole: bytes | None = None

    def readable(self) -> bool:
        """Tell that it can be read."""
        return True

    def seekable(self) -> bool:
        """Tell that any range can be read."""
        return True

    def tell(self) -> int:
        """Give the position of the next read."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Choose where the next read begins."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = start + offset
        return self._position

    def read(self, size: int | None = -1) -> bytes:
        """Fetch the next bytes."""
        end = self._size if size is None or size < 0 else min(self._size, self._position + size)
        start, self._position = self._position, max(end, self._position)
        if self._size <= _SMALL:
            if self._whole is None:
                self._whole = self._fetch(0, self._size)
            return self._whole[start:end]
        return self._fetch(start, end)

    def _fetch(self, start: int, end: int) -> bytes:
        starts = list(range(start, end, _PIECE))
        ends = [min(end, one + _PIECE) for one in starts]
        fs = self._filesystem
        try:
            if len(starts) > 1:
                pieces = fs.cat_ranges([self._path] * len(starts), starts, ends, on_error="raise")
            else:
                pieces = [fs.cat_file(self._path, start=one, end=stop) for one, stop in zip(starts, ends, strict=True)]
        except OSError as error:
            if find_code(error) not in {"InvalidRange", "416"}:
                raise
            pieces = []
        found = b"".join(pieces)
        if len(found) < end - start:
            raise OSError(f"{self._path} has fewer than {end} bytes: it was replaced by another one")
        return found
