"""What a run will cost, by arithmetic on footers alone: rows, bytes, passes, memory, outputs.

`chunk_rows` comes from here, so a run keeps the memory it was promised::

    bytes per row = 2 x columns decoded + 2 x scaled row + nearest centroid        two batches are alive at a time
    per worker    = page buffers of the reader + cluster columns of a span + sums by cluster
    appended      = cluster columns of the largest row group that is longer than a span
    chunk_rows    = (memory_limit - sample - appended - workers x per worker) / (workers x bytes per row), a power of 2

With `engine.workers = 0` there are as many workers as cores, or as the limit has room for: they change no result.
"""

from dataclasses import dataclass

import numpy as np

from kmstream.config import Config
from kmstream.dataset import SPAN_ROWS, Dataset
from kmstream.engine import count_workers
from kmstream.errors import MemoryLimitError
from kmstream.features import MAX_CATEGORIES, TILE_ROWS
from kmstream.scratch import scratch_bytes
from kmstream.summary import N_DISTANCE_BINS

MAX_CHUNK_ROWS = 1 << 16  # larger batches gain nothing
_BATCHES = 2  # being read, being worked on
_NUMBER_BYTES, _TEXT_BYTES = 8, 32  # a value, decoded
_ROW_BYTES = 64  # nearest centroid, distance, margin, masks
_CLUSTER_COLUMNS_BYTES = 2 * 20  # per row: the columns of a span, and what they are encoded to
_SAMPLE_COPIES = 3  # as a scaled matrix; besides the table that it came from


@dataclass(frozen=True)
class Plan:
    """What a refresh of a dataset will do.

    Attributes
    ----------
    passes : dict of str to int
        How often the rows are read, at most, by stage.
    bytes_to_read : int
        From the files of the dataset, over all passes, at most; what scratch copies spare is taken off.
    scratch_bytes : int
        Disk space of the scratch copy while the run is under way.
    bytes_per_row : int
        Of memory that one row of a batch takes in one worker.
    worker_bytes : int
        Of memory that each worker takes besides.
    sample_bytes : int
        Memory of the sample.
    appended_bytes : int
        Memory of the cluster columns that wait until their row group is complete, in files of more than one span.
    peak_bytes : int
        The working memory foretold; the interpreter and its libraries come on top.
    """

    partitions: int
    rows: int
    bytes: int
    n_features_read: int
    workers: int
    memory_limit_bytes: int
    bytes_per_row: int
    worker_bytes: int
    sample_bytes: int
    appended_bytes: int
    chunk_rows: int
    passes: dict[str, int]
    bytes_to_read: int
    scratch_bytes: int
    peak_bytes: int
    output: str

    @property
    def batch_bytes(self) -> int:
        """Of the memory limit, what is left for batches."""
        fixed = self.sample_bytes + self.appended_bytes + self.workers * self.worker_bytes
        return self.memory_limit_bytes - fixed


def make_plan(config: Config, dataset: Dataset) -> Plan:
    """Foretell a run.

    Raises
    ------
    MemoryLimitError
        If `engine.memory_limit` is too small for one batch of 4,096 rows.
    """
    need = _sum_up(config, dataset)
    workers, affordable = _find_workers(config, need)
    if affordable < TILE_ROWS:
        raise _explain_limit(config, need, workers)
    chunk_rows = min(1 << affordable.bit_length() - 1, MAX_CHUNK_ROWS)
    n_bytes = sum(p.bytes for p in dataset.partitions)
    passes, on_scratch, read_of_features = _count_passes(config, dataset, need.n_columns)
    return Plan(
        partitions=len(dataset.partitions),
        rows=dataset.rows,
        bytes=n_bytes,
        n_features_read=len(config.features.columns),
        workers=workers,
        memory_limit_bytes=config.engine.memory_limit,
        bytes_per_row=need.row_bytes,
        worker_bytes=need.worker_bytes,
        sample_bytes=need.sample_bytes,
        appended_bytes=need.appended_bytes,
        chunk_rows=chunk_rows,
        passes=passes,
        bytes_to_read=read_of_features + n_bytes,
        scratch_bytes=on_scratch,
        peak_bytes=need.total(workers, min(chunk_rows, dataset.rows)),
        output=config.output.path,
    )


@dataclass(frozen=True)
class _Need:
    """Memory that a run takes, in bytes; `n_columns` is the width of a scaled row."""

    n_columns: int
    row_bytes: int
    worker_bytes: int
    sample_bytes: int
    appended_bytes: int

    def total(self, workers: int, chunk_rows: int) -> int:
        """All of it, for batches of so many rows."""
        return self.sample_bytes + self.appended_bytes + workers * (self.worker_bytes + chunk_rows * self.row_bytes)


def _sum_up(config: Config, dataset: Dataset) -> _Need:
    features = config.features
    n_columns = len(features.numeric) + MAX_CATEGORIES * len(features.categorical)  # a category known is a column
    decoded = _NUMBER_BYTES * len(features.numeric) + _TEXT_BYTES * len(features.categorical)
    return _Need(
        n_columns,
        row_bytes=int(_BATCHES * (max(decoded, _carried(config, dataset)) + 4 * n_columns) + _ROW_BYTES),
        worker_bytes=_worker_bytes(config, dataset, n_columns),
        sample_bytes=min(config.model.sample_rows, dataset.rows) * (decoded + 4 * n_columns * _SAMPLE_COPIES),
        appended_bytes=_appended_bytes(config, dataset),
    )


def _find_workers(config: Config, need: _Need) -> tuple[int, int]:
    """Give the number of workers, and the rows per batch that the limit has room for with so many."""
    for workers in range(count_workers(config.engine), 0, -1):
        free = config.engine.memory_limit - need.total(workers, chunk_rows=0)
        affordable = free // (workers * need.row_bytes)
        if affordable >= TILE_ROWS or config.engine.workers:
            break
    return workers, affordable


def _explain_limit(config: Config, need: _Need, workers: int) -> MemoryLimitError:
    appended = f", {_mebibytes(need.appended_bytes)} for cluster columns of long row groups"
    error = MemoryLimitError(
        f"engine.memory_limit is {np.floor(config.engine.memory_limit / 2**20 * 10) / 10:g} MiB; "
        f"expected at least {_mebibytes(need.total(workers, TILE_ROWS))}: "
        f"{_mebibytes(need.sample_bytes)} for the sample{appended if need.appended_bytes else ''}, "
        f"and for each worker ({workers}) {_mebibytes(need.worker_bytes)} for page buffers and sums "
        f"and {TILE_ROWS} rows x {need.row_bytes} bytes"
    )
    error.add_note("Raise engine.memory_limit, or lower engine.workers, model.sample_rows or output.columns.")
    return error


def _mebibytes(n_bytes: int) -> str:
    """Round up, so that what is said to be enough is."""
    return f"{np.ceil(n_bytes / 2**20 * 10) / 10:g} MiB"


def _count_passes(config: Config, dataset: Dataset, n_columns: int) -> tuple[dict[str, int], int, int]:
    """Give the passes by stage, the bytes of the scratch copy, and the bytes of features that are read for them."""
    epochs = config.model.max_epochs if config.model.algorithm == "minibatch" else 0
    passes = {"scan": 1, "mini-batch": epochs, "exact": config.model.lloyd_passes, "assign": 1}
    weighted = bool(config.features.weight or config.model.half_life)
    on_scratch, copied = scratch_bytes(config, dataset, n_features=n_columns, weighted=weighted)
    n_passes = sum(passes.values())
    n_read = n_passes - copied * (n_passes - 2)  # the scan, and the pass that makes the copy
    return passes, on_scratch, int(sum(p.feature_bytes for p in dataset.partitions) * n_read)


def max_appended_rows(config: Config) -> int:
    """Rows of the longest row group whose cluster columns may wait in memory: they take a quarter of it."""
    return config.engine.memory_limit // 4 // _CLUSTER_COLUMNS_BYTES


def _appended_bytes(config: Config, dataset: Dataset) -> int:
    """Memory of cluster columns that wait for the end of a row group; those within one span wait in its worker."""
    if config.output.columns != "all":  # all are written again
        return 0
    longest = (p.longest_group for p in dataset.partitions if p.rows > SPAN_ROWS)
    return _CLUSTER_COLUMNS_BYTES * max(
        (n_rows for n_rows in longest if n_rows <= max_appended_rows(config)), default=0
    )


def _carried(config: Config, dataset: Dataset) -> float:
    """Bytes per row of what is read to be written again: nothing, where the cluster columns are appended to a copy."""
    copied = config.output.columns == "all"
    limit = max_appended_rows(config)
    rewritten = (p for p in dataset.partitions if not copied or (p.rows > SPAN_ROWS and p.longest_group > limit))
    return max((p.decoded_bytes / p.rows for p in rewritten if p.rows), default=0.0)


def _worker_bytes(config: Config, dataset: Dataset, n_columns: int) -> int:
    """Memory of a worker that does not grow with its batches."""
    largest = max((p.rows for p in dataset.partitions), default=0)
    spans_waiting = 1 if largest <= SPAN_ROWS else 3  # those of a large file are written by the main thread, in order
    columns = _CLUSTER_COLUMNS_BYTES * min(largest, SPAN_ROWS) * spans_waiting
    sums = 3 * config.model.n_clusters * (8 * N_DISTANCE_BINS + 2 * 8 * n_columns)
    return max((p.reader_bytes for p in dataset.partitions), default=0) + columns + sums
