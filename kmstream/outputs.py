"""One output file per partition: its columns as they are, and each row's cluster columns.

The cluster columns are appended to a byte-for-byte copy of the file (`append`). Where that can't be, all columns are
written again, and the manifest says why. A file is written under a temporary name beside its place, flushed to the disk
and renamed, so what has the right name is whole, also after a power cut.

On an object store a file appears whole when its upload ends. Where dataset and output lie on one store, only the
cluster columns travel: the store itself copies the old bytes.
"""

import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq
from numpy.typing import NDArray

from kmstream.append import (
    ARROW_SCHEMA,
    FOREIGN_SCHEMAS,
    ColumnAppender,
    Footer,
    append_columns,
    copy_bytes,
    read_footer,
    read_footer_of,
    write_bytes,
    write_tail,
)
from kmstream.clustering import Nearest
from kmstream.dataset import (
    CLUSTER_COLUMNS,
    SPAN_ROWS,
    Dataset,
    Partition,
    Span,
    check_unchanged,
    open_partition,
    read_batches,
)
from kmstream.errors import CorruptFileError
from kmstream.storage import (
    Place,
    append_to_copy,
    explain_storage_errors,
    explain_write_errors,
    is_local,
    read_blocks,
    sync_file,
    upload,
)

CLUSTER_SCHEMA = pa.schema(
    [
        pa.field("cluster_id", pa.int32()),
        pa.field("cluster_label", pa.dictionary(pa.int32(), pa.string())),
        pa.field("cluster_distance", pa.float32()),
        pa.field("cluster_margin", pa.float32()),
    ]
)


class Output(Protocol):
    """An output file that is being written.

    Attributes
    ----------
    rewritten : str
        Why the old columns are written again; empty where they are copied.
    n_missing : int
        Bytes of the input that belong before what is being written.
    """

    rewritten: str
    n_missing: int

    def write(self, span: Span, columns: pa.Table) -> None:
        """Write the next span's rows with their cluster columns."""


@dataclass(frozen=True)
class OutputPlan:
    """What is the same for all output files of a run; pickles to a cluster's workers.

    Attributes
    ----------
    columns : sequence of str, optional
        Columns to carry; all by default.
    max_group_rows : int
        A file of several spans with a longer row group is written again: its cluster columns would wait in memory.
    metadata : mapping of str to str
        Added to the key-value metadata of each file.
    """

    dataset: Dataset
    folder: Place
    chunk_rows: int
    columns: Sequence[str] | None
    max_group_rows: int
    metadata: Mapping[str, str]


def make_cluster_columns(nearest: Nearest, keep: NDArray[np.bool_], labels: pa.Array) -> pa.Table:
    """Make the cluster columns of a batch; rows that are not kept get nulls.

    Parameters
    ----------
    nearest : Nearest
    keep : ndarray of shape (n_rows,)
    labels : pyarrow.Array of string
        cluster_label by cluster_id.
    """
    unassigned = None if keep.all() else ~keep
    single = np.isinf(nearest.margins).any()  # one cluster has no second nearest
    ids = pa.array(nearest.cluster_ids, pa.int32(), mask=unassigned)
    columns = [
        ids,
        pa.DictionaryArray.from_arrays(ids, labels),
        pa.array(nearest.distances, pa.float32(), mask=unassigned),
        pa.array(nearest.margins, pa.float32(), mask=~keep | np.isinf(nearest.margins) if single else unassigned),
    ]
    return pa.Table.from_arrays(columns, schema=CLUSTER_SCHEMA)


@contextmanager
def open_output(plan: OutputPlan, partition: Partition) -> Iterator[Output]:
    """Open the output of one partition; it appears under its name when the block ends without an error.

    Raises
    ------
    OutputError, StorageError
        If the file can't be written; nothing is left of it then.
    CorruptFileError
        If the input is no longer the file that it was.
    """
    target = plan.folder / partition.path
    try:
        with _temporary_file(target) as temporary, ExitStack() as stack:
            output = _begin(plan, partition, temporary, stack)
            check_unchanged(plan.dataset, partition)
            yield output
            with explain_write_errors(target):
                stack.close()
            check_unchanged(plan.dataset, partition)
            _finish(plan, partition, output, temporary, target)
    except (CorruptFileError, FileNotFoundError) as error:
        check_unchanged(plan.dataset, partition)
        if not getattr(error, "__notes__", ()):
            error.add_note(f"in {partition.uri}")
            error.add_note("Write the file again, or move it out of dataset.path; nothing was published.")
        raise


@contextmanager
def _temporary_file(target: Place) -> Iterator[Path]:
    """Give a name on this machine's disks that no other try has: of two workers one may only be thought to be dead."""
    if is_local(target):
        with explain_write_errors(target):
            target.parent.mkdir(parents=True, exist_ok=True)
        folder, name = target.parent, f".{target.name}.{uuid.uuid4().hex}.tmp"
    else:
        folder, name = Path(tempfile.gettempdir()), f"kmstream-{uuid.uuid4().hex}.parquet"
    temporary = folder / name
    if not is_local(target):
        temporary.touch(mode=0o600)  # the folder is everybody's
    try:
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def _begin(plan: OutputPlan, partition: Partition, temporary: Path, stack: ExitStack) -> Output:
    why = "output.columns names the columns to carry" if plan.columns is not None else ""
    if partition.rows > SPAN_ROWS and partition.longest_group > plan.max_group_rows:
        why = f"a row group has {partition.longest_group} rows; engine.memory_limit has room for {plan.max_group_rows}"
    target = plan.folder / partition.path
    if not why:
        footer = _read_footer(plan.dataset, partition)
        why = footer.why_not_appendable(CLUSTER_COLUMNS) or ""
        if not why:
            both = plan.dataset.is_local and is_local(plan.folder)
            with explain_write_errors(target):
                appended = (append_columns if both else write_tail)(footer, temporary, CLUSTER_SCHEMA, plan.metadata)
                return _Copy(target, stack.enter_context(appended), 0 if both else footer.start)
    source = stack.enter_context(open_partition(plan.dataset, partition))
    schema = _rewritten_schema(source, plan.columns, plan.metadata)
    with explain_write_errors(target):
        writer = stack.enter_context(pq.ParquetWriter(temporary, schema, **_codecs(source, schema)))
    return _Rewrite(target, writer, schema, plan, why)


def _read_footer(dataset: Dataset, partition: Partition) -> Footer:
    if isinstance(dataset.filesystem, pyarrow.fs.FileSystem):
        return read_footer(Path(partition.uri))
    return read_footer_of(dataset.filesystem, partition.uri, partition.bytes)


def _finish(plan: OutputPlan, partition: Partition, output: Output, temporary: Path, target: Place) -> None:
    """Put the file to its place. Where only what comes after the old bytes was written, put both together."""
    if not output.n_missing:
        with explain_write_errors(target):
            if is_local(target):
                sync_file(temporary)
            upload(temporary, target, is_new=True)
        return
    dataset = plan.dataset
    stored = None if isinstance(dataset.filesystem, pyarrow.fs.FileSystem) else dataset.filesystem
    if stored and append_to_copy(stored, partition.uri, output.n_missing, temporary, target):
        check_unchanged(dataset, partition)
        return
    with _temporary_file(target) as whole:
        with explain_write_errors(target), whole.open("wb", buffering=0) as file:
            if stored:
                with explain_storage_errors(partition.path):
                    for block in read_blocks(stored, partition.uri, output.n_missing):
                        write_bytes(file.fileno(), block)
            else:
                with Path(partition.uri).open("rb") as source:
                    copy_bytes(source.fileno(), file.fileno(), output.n_missing)
            with temporary.open("rb") as tail:
                copy_bytes(tail.fileno(), file.fileno(), temporary.stat().st_size)
        check_unchanged(dataset, partition)
        with explain_write_errors(target):
            if is_local(target):
                sync_file(whole)
            upload(whole, target, is_new=True)


class _Copy:
    rewritten = ""

    def __init__(self, path: Place, appender: ColumnAppender, n_missing: int) -> None:
        self._path, self._appender, self.n_missing = path, appender, n_missing

    def write(self, span: Span, columns: pa.Table) -> None:
        with explain_write_errors(self._path):
            self._appender.write(columns)


class _Rewrite:
    n_missing = 0

    def __init__(self, path: Place, writer: pq.ParquetWriter, schema: pa.Schema, plan: OutputPlan, why: str) -> None:
        self._path, self._writer, self._schema, self._plan, self.rewritten = path, writer, schema, plan, why

    def write(self, span: Span, columns: pa.Table) -> None:
        plan, names = self._plan, self._schema.names[: -len(CLUSTER_COLUMNS)]
        whole = plan.columns is None
        for first_row, batch in read_batches(plan.dataset, span, plan.chunk_rows, names, whole=whole, ahead=False):
            here = columns.slice(first_row - span.first_row, batch.num_rows)
            carried = batch.columns[: len(names)] if whole else [batch.column(name) for name in names]
            with explain_write_errors(self._path):
                self._writer.write_table(pa.Table.from_arrays([*carried, *here.columns], schema=self._schema))


def _rewritten_schema(source: pq.ParquetFile, columns: Sequence[str] | None, metadata: Mapping[str, str]) -> pa.Schema:
    """Give the schema of an output file: the carried columns, then the cluster columns.

    A schema that Spark or Avro left in the metadata is left out: they would show its columns, not those of the file.
    The file has been checked to hold the carried columns, and none with the name of a cluster column.
    """
    schema, found = source.schema_arrow, source.metadata.metadata or {}
    names = schema.names if columns is None else list(columns)
    carried = list(schema) if columns is None else [schema.field(name) for name in names]
    kept = {key: value for key, value in found.items() if key not in {ARROW_SCHEMA, *FOREIGN_SCHEMAS}}
    keys = kept | {key.encode(): value.encode() for key, value in metadata.items()}
    return pa.schema([*carried, *CLUSTER_SCHEMA], metadata=keys)


def _codecs(source: pq.ParquetFile, schema: pa.Schema) -> dict[str, object]:
    """Keep each column's codec; a dictionary only where the input has one and values are not floating point."""
    metadata = source.metadata
    carried = set(schema.names[: -len(CLUSTER_COLUMNS)])
    codecs, dictionaries = {}, ["cluster_label"]
    if metadata.num_row_groups:
        group = metadata.row_group(0)
        for column in map(group.column, range(group.num_columns)):
            if column.path_in_schema.partition(".")[0] in carried or column.path_in_schema in carried:
                codecs[column.path_in_schema] = "NONE" if column.compression == "UNCOMPRESSED" else column.compression
                if column.has_dictionary_page and column.physical_type not in {"FLOAT", "DOUBLE"}:
                    dictionaries.append(column.path_in_schema)
    usual = max(set(codecs.values()), key=list(codecs.values()).count, default="SNAPPY")
    codecs |= dict.fromkeys(CLUSTER_COLUMNS, usual)
    writable = {
        name: codec for name, codec in codecs.items() if codec in {"NONE", "SNAPPY", "GZIP", "BROTLI", "LZ4", "ZSTD"}
    }
    return {"compression": writable or "SNAPPY", "use_dictionary": dictionaries}
