"""The footers of Parquet files, read by threads that mostly wait: what is known of a partition before its rows."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from functools import partial
from itertools import chain

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from fsspec import AbstractFileSystem

from kmstream.columns import parse_time
from kmstream.config import Config, FeaturesConfig
from kmstream.dataset.listing import File, Listing, make_denied
from kmstream.dataset.partitions import Dataset, Partition
from kmstream.dataset.read import MOST_AHEAD_BYTES, STORE_BUFFER_BYTES, first_line, open_file, open_partition
from kmstream.dataset.schema import CLUSTER_COLUMNS, check_schema, check_weight_columns, find_key_type, hive_values
from kmstream.engine import MAX_TASKS, map_in_order, uses_cluster
from kmstream.errors import CorruptFileError, StorageError
from kmstream.storage import explain_storage_errors

_THREADS, _STORE_THREADS = 8, 32  # a store answers later, and many at once
_MANY_FILES = 256  # a task of a cluster reads the footers of so many, at least
_PAGE_BYTES = 1 << 20  # writers end a page there
_PAGES_HELD = 3  # per column: a page, the same compressed, a dictionary


def find_partitions(
    listing: Listing, paths: Sequence[str], features: FeaturesConfig, config: Config
) -> tuple[Partition, ...]:
    """Read the footers of listed files, and check their schemas; of very many files by the workers of a cluster.

    Raises
    ------
    CorruptFileError
        For the first file, in the order of the paths, whose footer can't be read.
    SchemaMismatchError
        For the first that lacks a column, has it in a type that can't be used, or can't take the cluster columns.
    """
    files = [(path, listing.files[path]) for path in paths]
    make = partial(_make_partition, listing.filesystem, features, config)
    if len(files) > _MANY_FILES and uses_cluster(config.engine):
        size = max(_MANY_FILES, -(-len(files) // MAX_TASKS))
        groups = [files[first : first + size] for first in range(0, len(files), size)]
        return tuple(chain.from_iterable(map_in_order(partial(_make_group, make), groups, config.engine)))
    with ThreadPoolExecutor(_count_threads(listing.filesystem)) as pool:
        return tuple(pool.map(make, files))


def read_footers(dataset: Dataset) -> Iterator[tuple[Partition, pq.FileMetaData, pa.Schema]]:
    """Read the footers of a dataset's partitions again, in their order."""

    def read(partition: Partition) -> tuple[Partition, pq.FileMetaData, pa.Schema]:
        with open_partition(dataset, partition) as file:
            return partition, file.metadata, file.schema_arrow

    with ThreadPoolExecutor(_count_threads(dataset.filesystem)) as pool:
        yield from pool.map(read, dataset.partitions)


def _count_threads(filesystem: AbstractFileSystem | None) -> int:
    return _THREADS if filesystem is None else _STORE_THREADS


def _make_group(make: Callable[[tuple[str, File]], Partition], files: Sequence[tuple[str, File]]) -> list[Partition]:
    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(make, files))


def _make_partition(
    filesystem: AbstractFileSystem | None, features: FeaturesConfig, config: Config, file: tuple[str, File]
) -> Partition:
    path, found = file
    metadata, schema = _read_footer(filesystem, path, found)
    hive = hive_values(path, schema.names)
    time = config.dataset.time if config.model.half_life else ""
    check_schema(schema, hive, features, None if config.output.columns == "all" else config.output.columns, path)
    check_weight_columns(schema, hive, features.weight, time, path)
    sizes = _measure(metadata, {*features.columns, features.weight, *time.split("/")})
    fetched = 0  # what is held of the file itself, besides its pages
    if filesystem is not None:
        streamed = sizes.longest_group > MOST_AHEAD_BYTES
        fetched = STORE_BUFFER_BYTES * len(sizes.largest_chunks) if streamed else sizes.longest_group
    return Partition(
        path=path,
        uri=found.uri,
        rows=metadata.num_rows,
        bytes=found.size,
        fingerprint=found.fingerprint,
        hive=hive,
        row_groups=tuple(metadata.row_group(g).num_rows for g in range(metadata.num_row_groups)),
        decoded_bytes=sizes.decoded,
        feature_bytes=sizes.on_disk,
        group_bytes=sizes.longest_group,
        reader_bytes=sum(min(size, _PAGE_BYTES) for size in sizes.largest_chunks) * _PAGES_HELD + fetched,
        newest=_find_newest(metadata, hive, time) if time else None,
        key_type=find_key_type(schema, config.dataset.key, path) if config.dataset.key else None,
        is_labelled=any(name in CLUSTER_COLUMNS for name in (*schema.names, *hive)),
    )


def _read_footer(filesystem: AbstractFileSystem | None, path: str, found: File) -> tuple[pq.FileMetaData, pa.Schema]:
    """Read one footer, and say which file it is if that fails."""
    try:
        with explain_storage_errors(found.uri), open_file(filesystem, found.uri, found.size) as file:
            return file.metadata, file.schema_arrow
    except StorageError:
        raise
    except (pa.ArrowException, OSError) as cause:
        if isinstance(cause, PermissionError):
            raise make_denied(found.uri) from cause
        if isinstance(cause, OSError) and cause.errno is not None:
            raise
        error = CorruptFileError(f"{path} is not a readable Parquet file: {first_line(cause)}")
        error.add_note(f"in {found.uri}")
        error.add_note("Write the file again, or move it out of dataset.path.")
        raise error from cause


@dataclass(frozen=True)
class _Sizes:
    """Bytes: of all columns decoded; of the columns that passes read, as they lie in the file.

    `largest_chunks` has the largest column chunk of each of these columns, uncompressed.
    """

    decoded: int
    on_disk: int
    longest_group: int
    largest_chunks: tuple[int, ...]


def _measure(metadata: pq.FileMetaData, names: set[str]) -> _Sizes:
    decoded, groups = 0, [0]
    largest: dict[str, int] = {}
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        groups.append(0)
        for column in map(group.column, range(group.num_columns)):
            name, size = column.path_in_schema, column.total_uncompressed_size
            decoded += max(size, int(column.num_values * _value_bytes(column)))
            if name in names:
                groups[-1] += column.total_compressed_size
                largest[name] = max(largest.get(name, 0), size)
    return _Sizes(decoded, sum(groups), max(groups), tuple(largest.values()))


def _value_bytes(column: pq.ColumnChunkMetaData) -> float:
    """Estimate what a value takes decoded; a dictionary makes repeated text look far smaller than it is."""
    widths = {"BOOLEAN": 1.0, "INT32": 4.0, "FLOAT": 4.0, "INT64": 8.0, "DOUBLE": 8.0, "INT96": 8.0}
    if column.physical_type != "BYTE_ARRAY":
        return widths.get(column.physical_type, 0.0)
    statistics = column.statistics
    if statistics is None or not statistics.has_min_max:
        return 16.0
    return 4.0 + (len(statistics.min_raw) + len(statistics.max_raw)) / 2


def _find_newest(metadata: pq.FileMetaData, hive: Mapping[str, str], time: str) -> float | None:
    """Find the newest time of a file without reading its rows, from its folder's name or its footer."""
    names = time.split("/")
    if all(name in hive for name in names):
        return parse_time("-".join(hive[name] for name in names))
    if len(names) > 1:
        return None
    newest = -np.inf
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        for column in (group.column(i) for i in range(group.num_columns)):
            if column.path_in_schema != time or not group.num_rows:
                continue
            try:
                latest = column.statistics.max if column.is_stats_set and column.statistics.has_min_max else None
            except (OverflowError, ValueError):  # a time that no calendar has
                return None
            if not isinstance(latest, date):  # what comes last as text need not be the latest
                return None
            newest = max(newest, parse_time(latest))
    return float(newest)
