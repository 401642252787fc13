"""The files that are written: a temporary one in which moves wait until all are found, and the table of them."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from kmstream.entities.snapshots import Search
from kmstream.storage import explain_write_errors, sync_file

_GROUP_ROWS = 1 << 17  # per row group of the table


class Spill:
    """A file beside the target, in which moves wait as they are found: range by range, not in the order of the target.

    Parameters
    ----------
    target : Path
        Its folder is made if need be.
    search : Search

    Raises
    ------
    OutputError
        Here and later, if the file can't be written.
    """

    def __init__(self, target: Path, search: Search) -> None:
        self._target, self._path = target, target.with_name(f".{target.name}.moves.tmp")
        with explain_write_errors(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            self._file = pa.OSFile(str(self._path), "wb")
        self._writer = pa.ipc.new_file(self._file, search.spill_schema)

    def write(self, moves: pa.RecordBatch) -> int:
        """Write a batch of moves.

        Returns
        -------
        int
            The number by which it can be read.
        """
        number: int = self._writer.stats.num_record_batches
        with explain_write_errors(self._target):
            self._writer.write_batch(moves)
        return number

    def read(self, numbers: Iterable[int]) -> Iterator[pa.RecordBatch]:
        """Read batches by their numbers; nothing can be written any more."""
        with explain_write_errors(self._target):
            self._writer.close()
        self._file.close()
        with pa.OSFile(str(self._path)) as file, pa.ipc.open_file(file) as reader:
            yield from map(reader.get_batch, numbers)

    def close(self) -> None:
        """Remove the file."""
        self._file.close()
        self._path.unlink(missing_ok=True)


def write_moves(moves: Iterator[pa.RecordBatch], search: Search, target: Path) -> None:
    """Write all moves, in row groups that do not depend on the ranges in which they were found.

    Raises
    ------
    OutputError
        If the target can't be written; what was there before stays.
    """
    names = pa.dictionary(pa.int32(), pa.string())
    schema = pa.schema([("key", search.key_type), ("from", names), ("to", names), ("when", names)])
    labels, whens = pa.array(search.labels, pa.string()), pa.array(search.whens, pa.string())
    temporary = target.with_name(f".{target.name}.tmp")
    try:
        with explain_write_errors(target):
            with pq.ParquetWriter(temporary, schema, compression="zstd", use_dictionary=["from", "to", "when"]) as file:
                for group in _regroup(moves, search.spill_schema):
                    keys, *codes = (pa.concat_arrays(column.chunks) for column in group.columns)
                    columns = map(pa.DictionaryArray.from_arrays, codes, (labels, labels, whens))
                    file.write_table(pa.Table.from_arrays([keys.cast(search.key_type), *columns], schema=schema))
            sync_file(temporary)
            temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def _regroup(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.Table]:
    """Cut the moves into pieces of the same length, the last one shorter."""
    held = schema.empty_table()
    for batch in batches:
        held = pa.concat_tables([held, pa.Table.from_batches([batch])])
        while held.num_rows >= _GROUP_ROWS:
            yield held.slice(0, _GROUP_ROWS)
            held = held.slice(_GROUP_ROWS)
    if held.num_rows:
        yield held
