"""The files that are read: assignments by key, in one type of key, as far as the key lies in a range."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, reduce

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from kmstream.dataset import (
    find_key_type,
    first_line,
    make_key_error,
    open_parquet,
    sortable_type,
    widen_key_type,
)
from kmstream.entities.held import Held
from kmstream.errors import CorruptFileError, StorageError
from kmstream.storage import Place

_BATCH_ROWS, _BATCH_ROW_BYTES = 1 << 16, 512  # rows read at a time, at most; the part of the limit for each of them


@dataclass(frozen=True)
class Snapshot:
    """Assignment files of one time.

    Attributes
    ----------
    when : str
        What the time is called: a partition, or the folder of several.
    paths : tuple of Place
        Each holds the key column and `cluster_id`, which is null where a row could not be assigned.
    labels : tuple of str
        Names by cluster_id.
    before : Snapshot, optional
        What the files held before they were written anew. It counts as a snapshot right before this one that is only
        read: who is in it is compared with it, who is not with their latest earlier state.
    told : bool
        False where it is only read, so that later snapshots have something to be compared with.
    """

    when: str
    paths: tuple[Place, ...]
    labels: tuple[str, ...]
    before: "Snapshot | None" = None
    told: bool = True


@dataclass(frozen=True)
class Search:
    """What is the same for all ranges of keys.

    Attributes
    ----------
    steps : sequence of Snapshot
        One after the other, also those before others.
    key : str
    key_type : pyarrow.DataType
        Holds the keys of all steps.
    limit : int
        Bytes for all that is held of entities.
    """

    steps: Sequence[Snapshot]
    key: str
    key_type: pa.DataType
    limit: int

    @cached_property
    def sorted_type(self) -> pa.DataType:
        """Type in which keys are sorted."""
        return sortable_type(self.key_type)

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """Each name of a segment once."""
        return tuple(dict.fromkeys(label for step in self.steps for label in step.labels))

    @cached_property
    def whens(self) -> tuple[str, ...]:
        """Each partition once."""
        return tuple(dict.fromkeys(step.when for step in self.steps))

    @cached_property
    def spill_schema(self) -> pa.Schema:
        """Columns of moves as they are found: a key, two positions in `labels`, one in `whens`."""
        return pa.schema([("key", self.sorted_type), *((name, pa.int32()) for name in ("from", "to", "when"))])


@dataclass(frozen=True)
class Range:
    """Keys from `begin` up to but without `end`; None where there is no border."""

    begin: pa.Scalar | None = None
    end: pa.Scalar | None = None


def find_common_type(steps: Sequence[Snapshot], key: str) -> pa.DataType:
    """Find a type that holds the keys of all files.

    Raises
    ------
    CorruptFileError
        For the first file that can't be opened, or holds no assignments.
    SchemaMismatchError
        For the first file in which the column can't be a key.
    """
    common = pa.null()
    for path in (path for step in steps for path in step.paths):
        common = widen_key_type(common, read_key_type(path, key), key, str(path))
    return pa.string() if pa.types.is_null(common) else common


def read_key_type(path: Place, key: str) -> pa.DataType:
    """Read the type of the key from the footer of an assignment file.

    Raises
    ------
    CorruptFileError
        If it can't be opened, or holds no assignments.
    SchemaMismatchError
        If the column is missing, or can't be a key.
    FileNotFoundError
        If there is none.
    """
    with _open(path) as file:
        schema = file.schema_arrow
    if schema.names.count("cluster_id") != 1:
        there = f"{schema.names.count('cluster_id')} columns cluster_id; expected one"
        raise _make_corrupt(f"this is not an assignment file: it has {there}", path)
    return find_key_type(schema, key, str(path))


def read_rows(search: Search, step: Snapshot, wanted: Range) -> Iterator[Held]:
    """Read the rows of a snapshot whose key lies in a range, a batch at a time; each counts as one.

    Raises
    ------
    CorruptFileError
        If the file can't be read to its end, or has a cluster_id without a name.
    SchemaMismatchError
        If it holds keys that the common type can't.
    """
    batch_rows = min(max(search.limit // _BATCH_ROW_BYTES, 1), _BATCH_ROWS)
    for path in step.paths:
        with _open(path) as file:
            for batch in file.iter_batches(batch_rows, columns=[search.key, "cluster_id"], use_threads=False):
                keys, ids = _cast(batch.column(search.key), search, path), batch.column("cluster_id")
                tests = [keys.is_valid(), ids.is_valid()]
                tests += [pc.greater_equal(keys, wanted.begin)] if wanted.begin is not None else []
                tests += [pc.less(keys, wanted.end)] if wanted.end is not None else []
                keep = reduce(pc.and_, tests)
                keys, code = keys.filter(keep), ids.filter(keep).to_numpy()
                if len(code) and not 0 <= code.min() <= code.max() < len(step.labels):
                    found = f"cluster_id {code.min()} to {code.max()}"
                    raise _make_corrupt(f"{found}; {len(step.labels)} have a name", path)
                yield Held(keys, code, np.ones(len(code), np.int64))


def _cast(keys: pa.Array, search: Search, path: Place) -> pa.Array:
    kind = search.sorted_type
    try:
        return (keys.storage if isinstance(keys, pa.ExtensionArray) else keys).cast(kind)
    except pa.ArrowInvalid as cause:
        raise make_key_error(search.key, f"holds values that {kind} can't: {first_line(cause)}", str(path)) from cause


@contextmanager
def _open(path: Place) -> Iterator[pq.ParquetFile]:
    """Open an assignment file, and explain what goes wrong while it is open."""
    try:
        with open_parquet(path) as file:
            yield file
    except (pa.ArrowException, OSError) as cause:
        if isinstance(cause, StorageError) or (isinstance(cause, OSError) and cause.errno is not None):
            raise  # the storage failed, not the file
        raise _make_corrupt(f"the file can't be read: {first_line(cause)}", path) from cause


def _make_corrupt(problem: str, path: Place) -> CorruptFileError:
    error = CorruptFileError(f"assignments of {path.name}: {problem}")
    error.add_note(f"in {path}")
    error.add_note("Something else wrote to it. Remove it, and run `kmstream refresh`, which writes all of them again.")
    return error
