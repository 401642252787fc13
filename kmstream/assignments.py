"""Rows with their cluster columns on disk: one file per partition, a manifest, a mark of completeness.

A file is written under a temporary name beside its place and renamed, so what has the right name is whole. The manifest
is replaced after the files; what it does not list has not been assigned.
"""

import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from kmstream.clustering import Nearest
from kmstream.dataset import CLUSTER_COLUMNS, Dataset, Partition, split_glob
from kmstream.errors import ConfigError, OutputError

MANIFEST, SUCCESS = "_manifest.json", "_SUCCESS"


@dataclass(frozen=True)
class Entry:
    """What the manifest holds of one assigned partition.

    `skipped` are rows without a segment by reason, `unseen` those with a category unknown at the baseline by feature.
    """

    fingerprint: str
    rows: int
    output: str
    rows_per_cluster: dict[str, int]
    skipped: dict[str, int]
    unseen: dict[str, int] = field(default_factory=dict)


class PartitionWriter:
    """Writes the rows of one partition, in order, each with its cluster columns; make one with `write_partition`."""

    def __init__(
        self,
        path: Path,
        writer: pq.ParquetWriter,
        schema: pa.Schema,
        columns: Sequence[str] | None,
        labels: Sequence[str],
    ) -> None:
        self._path, self._writer, self._schema, self._columns = path, writer, schema, columns
        self._labels = pa.array(labels, pa.string())

    def write(self, batch: pa.Table, nearest: Nearest, keep: np.ndarray) -> None:
        """Append a batch; rows that are not kept get nulls."""
        unassigned = ~keep
        ids = pa.array(nearest.cluster_ids, pa.int32(), mask=unassigned)
        columns = [
            ids,
            pa.DictionaryArray.from_arrays(ids, self._labels),
            pa.array(nearest.distances, pa.float32(), mask=unassigned),
            pa.array(nearest.margins, pa.float32(), mask=unassigned | np.isinf(nearest.margins)),
        ]
        if self._columns is None:
            carried = batch.columns[: len(self._schema) - len(CLUSTER_COLUMNS)]
        else:
            carried = [batch.column(name) for name in self._columns]
        with explain_write_errors(self._path):
            self._writer.write_table(pa.Table.from_arrays([*carried, *columns], schema=self._schema))


@contextmanager
def write_partition(
    path: Path,
    source: pq.ParquetFile,
    columns: Sequence[str] | None,
    labels: Sequence[str],
    metadata: Mapping[str, str],
) -> Iterator[PartitionWriter]:
    """Open the output of one partition; it appears under its name when the block ends without an error.

    Parameters
    ----------
    path : Path
    source : pyarrow.parquet.ParquetFile
        The input: its schema, key-value metadata and codecs are kept.
    columns : sequence of str, optional
        Columns to carry; all by default.
    labels : sequence of str
        cluster_label by cluster_id.
    metadata : mapping of str to str
        Added to the key-value metadata.

    Raises
    ------
    OutputError
        If the file can't be written; nothing is left of it then.
    """
    schema = output_schema(source.schema_arrow, columns, metadata)
    temporary = path.with_name(f".{path.name}.tmp")
    with explain_write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        writer = pq.ParquetWriter(temporary, schema, **_codecs(source, schema))
    try:
        yield PartitionWriter(path, writer, schema, columns, labels)
        with explain_write_errors(path):
            writer.close()
            temporary.replace(path)
    finally:
        with suppress(OSError):  # only after an error, which is on its way already
            writer.close()
        temporary.unlink(missing_ok=True)


def output_schema(schema: pa.Schema, columns: Sequence[str] | None, metadata: Mapping[str, str]) -> pa.Schema:
    """Give the schema of an output file: the carried columns, then the cluster columns.

    The file has been checked to hold the carried columns, and none with the name of a cluster column.
    """
    names = schema.names if columns is None else list(columns)
    added = [
        pa.field("cluster_id", pa.int32()),
        pa.field("cluster_label", pa.dictionary(pa.int32(), pa.string())),
        pa.field("cluster_distance", pa.float32()),
        pa.field("cluster_margin", pa.float32()),
    ]
    carried = list(schema) if columns is None else [schema.field(name) for name in names]
    keys = (schema.metadata or {}) | {key.encode(): value.encode() for key, value in metadata.items()}
    return pa.schema([*carried, *added], metadata=keys)


@contextmanager
def explain_write_errors(path: Path) -> Iterator[None]:
    """Turn a failed write into an error that says where and what to do.

    Raises
    ------
    OutputError
    """
    try:
        yield
    except OSError as cause:
        if isinstance(cause, OutputError) or cause.errno is None:
            raise
        error = OutputError(f"{path} can't be written: {os.strerror(cause.errno)}")
        error.add_note("Free space or mend the permissions of output.path, and run again: nothing was published.")
        raise error from cause


def read_manifest(folder: Path) -> dict[str, Entry]:
    """Read which partitions have been assigned; empty if none."""
    try:
        text = (folder / MANIFEST).read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    return {path: Entry(**entry) for path, entry in json.loads(text)["partitions"].items()}


def write_manifest(folder: Path, entries: Mapping[str, Entry], *, name: str, version: str) -> None:
    """Replace the manifest, atomically."""
    content = {
        "schema_version": 1,
        "name": name,
        "version": version,
        "rows": sum(entry.rows for entry in entries.values()),
        "rows_skipped": sum(sum(entry.skipped.values()) for entry in entries.values()),
        "partitions": {path: asdict(entries[path]) for path in sorted(entries)},
    }
    replace_file(folder / MANIFEST, json.dumps(content, indent=1) + "\n")


def mark_complete(folder: Path) -> None:
    """Write `_SUCCESS`: every partition of the run is there, and its version is published."""
    replace_file(folder / SUCCESS, "")


def unmark_complete(folder: Path) -> None:
    """Take `_SUCCESS` back: the version could not be published."""
    (folder / SUCCESS).unlink(missing_ok=True)


def replace_file(path: Path, text: str) -> None:
    """Write a small file so that it is there whole or not at all, also after a power cut."""
    with explain_write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.tmp")
        try:
            with temporary.open("w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def find_pending(dataset: Dataset, entries: Mapping[str, Entry]) -> tuple[Partition, ...]:
    """Give the partitions that have not been assigned, or have changed since."""
    return tuple(p for p in dataset.partitions if p.path not in entries or entries[p.path].fingerprint != p.fingerprint)


@contextmanager
def fresh_folder(folder: Path) -> Iterator[Path]:
    """Give an empty folder for a new version's files; if the block fails, nothing of it is left."""
    with explain_write_errors(folder):
        shutil.rmtree(folder, ignore_errors=True)  # of a run that was killed before it could publish
        folder.mkdir(parents=True)
    try:
        yield folder
    except BaseException:
        if not (folder / SUCCESS).exists():  # else it is published, and only what came after that failed
            shutil.rmtree(folder, ignore_errors=True)
        raise


def move_files(source: Path, target: Path) -> None:
    """Move every file to the same place below another folder, and remove what is left of the first."""
    with explain_write_errors(target):
        for path in sorted(path for path in source.rglob("*") if path.is_file()):
            place = target / path.relative_to(source)
            place.parent.mkdir(parents=True, exist_ok=True)
            path.replace(place)
        shutil.rmtree(source)


def remove_old_versions(folder: Path, keep_versions: int, current: str) -> list[str]:
    """Remove assignments of all but the newest versions; those of the current one always stay.

    Returns
    -------
    list of str
        The versions removed.
    """
    versions = sorted(path.name for path in folder.iterdir() if is_version(path.name))
    removed = [version for version in versions[:-keep_versions] if version != current]
    for version in removed:
        shutil.rmtree(folder / version, ignore_errors=True)  # tried again after the next refresh
    return removed


def is_version(name: str) -> bool:
    """Whether a folder is one of a version, and not somebody's copy of it.

    Examples
    --------
    >>> is_version("v000012"), is_version("v000012.bak")
    (True, False)
    """
    return re.fullmatch(r"v\d{6,}", name) is not None


def refuse_overlap(dataset_path: str, output: Path) -> None:
    """Refuse an output folder inside the dataset's, where the next run would read it as input.

    Raises
    ------
    ConfigError
    """
    if output.exists() and not output.is_dir():
        error = ConfigError(f"output.path {output} is a file; expected a folder, or nothing yet")
        error.add_note("Choose another output.path, or move the file away.")
        raise error
    folder, _ = split_glob(dataset_path)
    if "://" not in folder and Path(folder).is_dir():
        source = Path(folder).resolve()
        if output.resolve() == source or source in output.resolve().parents:
            error = ConfigError(f"output.path {output} lies inside dataset.path {dataset_path}")
            error.add_note("The next run would read its own output; choose a folder outside.")
            raise error


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
