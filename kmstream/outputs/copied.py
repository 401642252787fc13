"""An output whose old columns are the bytes of the input, as they are."""

from pathlib import Path

import pyarrow as pa

from kmstream.append import ColumnAppender, Footer, copy_bytes, read_footer, read_footer_of, write_bytes
from kmstream.dataset import Dataset, Partition, Span
from kmstream.storage import Place, explain_storage_errors, explain_write_errors, read_blocks


class Copied:
    """Takes the cluster columns, and appends them.

    Attributes
    ----------
    rewritten : str
        Empty: the old columns are not written again.
    n_missing : int
        Bytes of the input that belong before what is being written: whoever has them puts the two together. 0 where
        they are there already.
    """

    rewritten = ""

    def __init__(self, target: Place, appender: ColumnAppender, n_missing: int) -> None:
        self._target, self._appender, self.n_missing = target, appender, n_missing

    def write(self, span: Span, columns: pa.Table) -> None:
        """Write the cluster columns of the next span."""
        with explain_write_errors(self._target):
            self._appender.write(columns)


def read_partition_footer(dataset: Dataset, partition: Partition) -> Footer:
    """Read the footer of a partition, to append columns to it."""
    if dataset.filesystem is None:
        return read_footer(Path(partition.uri))
    return read_footer_of(dataset.filesystem, partition.uri, partition.bytes)


def join(dataset: Dataset, partition: Partition, n_bytes: int, tail: Path, whole: Path) -> None:
    """Write the first bytes of a partition, then those of a file.

    Raises
    ------
    CorruptFileError
        If the partition is shorter, or can't be read.
    OSError, StorageError
    """
    with whole.open("wb", buffering=0) as file:
        if dataset.filesystem is None:
            with Path(partition.uri).open("rb") as source:
                copy_bytes(source.fileno(), file.fileno(), n_bytes)
        else:
            with explain_storage_errors(partition.path):
                for block in read_blocks(dataset.filesystem, partition.uri, n_bytes):
                    write_bytes(file.fileno(), block)
        with tail.open("rb") as rest:
            copy_bytes(rest.fileno(), file.fileno(), tail.stat().st_size)
