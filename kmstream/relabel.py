"""New names for the segments in an assignment file: `cluster_label` is written again, all else is as it was.

The cluster columns of a file that were appended to a copy of the input are taken off its end, and appended again with
the new names, so the file is the one that assigning the input would have given; the input isn't needed. A file whose
columns lie between others is written again whole. What has the right name is whole, as everywhere in the output tree;
a file is never changed in place, because other versions may share its bytes.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from kmstream.append import Footer, append_columns, cut_columns, read_footer
from kmstream.assignments import SUCCESS, mark_complete, read_manifest, unmark_complete, write_manifest
from kmstream.config import Config
from kmstream.dataset import CLUSTER_COLUMNS, open_parquet
from kmstream.engine import worker_threads
from kmstream.errors import CorruptFileError, StorageError
from kmstream.outputs import CLUSTER_SCHEMA
from kmstream.storage import Place, checkout, exists, explain_write_errors, is_local, list_files, sync_file, upload
from kmstream.store import ModelVersion, Store

LABELS_KEY = "kmstream.labels"  # in the key-value metadata of an assignment file: the names by cluster_id, as JSON
BATCH_ROWS = 1 << 16
CURE = "It was left as it is: remove it, and run `kmstream refresh`, which writes all assignment files again."


def apply_labels(config: Config, store: Store, current: ModelVersion) -> int:
    """Make the assignments of the current version say the names of today; the caller holds the lock.

    `_SUCCESS` is away meanwhile. If this is cut off, the next time does what is left.

    Returns
    -------
    int
        Files that said other names.

    Raises
    ------
    KmstreamError
        What `relabel_file` raises.
    """
    folder, labels = store.assignments(current.version), current.model.labels
    entries = read_manifest(folder)
    old = {path: entry for path, entry in entries.items() if tuple(entry.rows_per_cluster) != labels}
    if not old:
        if entries and not exists(folder / SUCCESS):  # the last time was cut off right before this
            mark_complete(folder)
        return 0
    unmark_complete(folder)

    files = list_files(folder)

    def apply(path: str) -> bool:
        place = folder / path
        if path not in files or has_labels(place, labels):
            return False
        with checkout(place) as file:
            relabel_file(file, labels)
            if not is_local(place):
                upload(file, place)
        return True

    with worker_threads(config.engine) as pool:
        n_files = sum(pool.map(apply, old))
    renamed = {
        path: replace(entry, rows_per_cluster=dict(zip(labels, entry.rows_per_cluster.values(), strict=True)))
        for path, entry in old.items()
    }
    write_manifest(folder, entries | renamed, config, current.version)
    mark_complete(folder)
    return n_files


def describe_labels(labels: Sequence[str]) -> dict[str, str]:
    """Give the key-value metadata by which `has_labels` knows the names that a file was written with.

    Examples
    --------
    >>> describe_labels(["loyal", "at risk"])
    {'kmstream.labels': '["loyal", "at risk"]'}
    """
    return {LABELS_KEY: json.dumps(list(labels), ensure_ascii=False)}


def has_labels(path: Place, labels: Sequence[str]) -> bool:
    """Whether an assignment file was written with these names; only its footer is read.

    Raises
    ------
    CorruptFileError
        If this is no Parquet file.
    OSError
        If it can't be read.
    """
    ((key, value),) = describe_labels(labels).items()
    with _explain_read_errors(path):
        return read_footer(path).key_values.get(key.encode()) == value.encode()


def relabel_file(path: Path, labels: Sequence[str], metadata: Mapping[str, str] | None = None) -> str:
    """Make an assignment file say other names.

    It is replaced in one step by a file on the disk; after an error it is what it was. Memory is that of the cluster
    columns of one row group; where all columns are written again, that of one row group.

    Parameters
    ----------
    path : pathlib.Path
        On a local disk.
    labels : sequence of str
        cluster_label by cluster_id.
    metadata : mapping of str to str, optional
        Added to the key-value metadata, besides `describe_labels`.

    Returns
    -------
    str
        Why the other columns were written again; empty where they were copied.

    Raises
    ------
    CorruptFileError
        If it is no assignment file, can't be read, or has a cluster_id without a name.
    FileNotFoundError
        If there is none.
    OutputError
        If the new file can't be written.
    """
    with _explain_read_errors(path):
        footer = cut_columns(read_footer(path), CLUSTER_COLUMNS)
    names = pa.array(labels, pa.string())
    added = describe_labels(labels) | dict(metadata or {})
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with explain_write_errors(path), _explain_read_errors(path), open_parquet(path) as file:
            last = file.schema_arrow.names[-len(CLUSTER_COLUMNS) :]
            if last != list(CLUSTER_COLUMNS):
                raise CorruptFileError(f"the last columns are {last}; expected {list(CLUSTER_COLUMNS)}")
            if isinstance(footer, Footer):
                _append_again(file, footer, temporary, names, added)
            else:
                _write_again(file, temporary, names, added)
            sync_file(temporary)
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return "" if isinstance(footer, Footer) else footer


@contextmanager
def _explain_read_errors(path: Place) -> Iterator[None]:
    """Say which file is not as it should be, and what to do; errors of the disk pass."""
    try:
        yield
    except (pa.ArrowException, OSError) as cause:
        if isinstance(cause, StorageError) or (isinstance(cause, OSError) and cause.errno is not None):
            raise
        error = CorruptFileError(f"{path} can't be read: {cause}")
        error.add_note(CURE)
        raise error from cause
    except CorruptFileError as error:
        if str(path) not in "".join([str(error), *getattr(error, "__notes__", ())]):
            error.add_note(f"in {path}")
        error.add_note(CURE)
        raise


def _append_again(
    file: pq.ParquetFile, footer: Footer, target: Path, names: pa.Array, added: Mapping[str, str]
) -> None:
    read = [name for name in CLUSTER_COLUMNS if name != "cluster_label"]
    with append_columns(footer, target, CLUSTER_SCHEMA, added) as output:
        for batch in file.iter_batches(BATCH_ROWS, columns=read, use_threads=False):
            columns = {name: batch.column(name) for name in read}
            columns["cluster_label"] = _name_segments(columns["cluster_id"], names)
            output.write(pa.table([columns[name] for name in CLUSTER_COLUMNS], schema=CLUSTER_SCHEMA))


def _write_again(file: pq.ParquetFile, target: Path, names: pa.Array, added: Mapping[str, str]) -> None:
    """Write all columns again, with the row groups, codecs and dictionaries that they have."""
    old, metadata = file.schema_arrow, file.metadata
    schema = old.with_metadata({**(old.metadata or {}), **{key.encode(): text.encode() for key, text in added.items()}})
    groups, at = range(metadata.num_row_groups), schema.get_field_index("cluster_label")
    chunks = [metadata.row_group(group).column(number) for group in groups for number in range(metadata.num_columns)]
    codecs = {
        chunk.path_in_schema: "NONE" if chunk.compression == "UNCOMPRESSED" else chunk.compression for chunk in chunks
    }
    dictionaries = {chunk.path_in_schema for chunk in chunks if chunk.has_dictionary_page}
    with pq.ParquetWriter(
        target, schema, compression=codecs or "SNAPPY", use_dictionary=sorted({*dictionaries, "cluster_label"})
    ) as writer:
        for group in groups:
            columns = file.read_row_group(group, use_threads=False).columns
            columns[at] = _name_segments(columns[at - 1].combine_chunks(), names)
            writer.write_table(pa.table(columns, schema=schema), row_group_size=max(1, len(columns[at])))


def _name_segments(ids: pa.Array, names: pa.Array) -> pa.DictionaryArray:
    bounds = pc.min_max(ids).as_py()
    if bounds["min"] is not None and not 0 <= bounds["min"] <= bounds["max"] < len(names):
        raise CorruptFileError(f"cluster_id is {bounds['min']} to {bounds['max']}; expected 0 to {len(names) - 1}")
    return pa.DictionaryArray.from_arrays(ids, names)
