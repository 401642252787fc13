"""What a run will cost, by arithmetic on footers alone: rows, bytes, passes, memory, outputs.

`chunk_rows` comes from here, so a run keeps the memory it was promised::

    bytes per row = columns decoded + float64 and float32 matrix + distances to every centroid + the cluster columns
    chunk_rows    = (memory_limit - sample) / (workers x batches per worker x bytes per row), a power of two
"""

from dataclasses import dataclass

from kmstream.config import Config
from kmstream.dataset import SPAN_ROWS, Dataset
from kmstream.engine import count_workers
from kmstream.errors import MemoryLimitError
from kmstream.features import TILE_ROWS

MAX_CHUNK_ROWS = 1 << 17
BATCHES_PER_WORKER = 3  # being decoded, being computed on, being written
_LEAST_COLUMN_BYTES = 8  # per value, decoded; what footers say is encoded and can be far less
_CLUSTER_COLUMN_BYTES = 4 * 4
_SAMPLE_COPIES = 4  # as read, float64, float32, and what the search makes of it


@dataclass(frozen=True)
class Plan:
    """What a refresh of a dataset will do.

    Attributes
    ----------
    passes : dict of str to int
        How often the rows are read, at most, by stage.
    bytes_to_read : int
        From files, over all passes, at most.
    bytes_per_row : int
        Of memory that one row of a batch takes in one worker.
    sample_bytes : int
        Memory of the sample.
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
    sample_bytes: int
    chunk_rows: int
    passes: dict[str, int]
    bytes_to_read: int
    peak_bytes: int
    output: str


def make_plan(config: Config, dataset: Dataset) -> Plan:
    """Foretell a run.

    Parameters
    ----------
    config : Config
    dataset : Dataset

    Raises
    ------
    MemoryLimitError
        If `engine.memory_limit` is too small for one batch of 4,096 rows per worker.
    """
    workers, limit = count_workers(config.engine), config.engine.memory_limit
    n_columns = len(config.features.columns)
    widest = max((p.decoded_bytes / p.rows for p in dataset.partitions if p.rows), default=0.0)
    bytes_per_row = int(
        max(widest, _LEAST_COLUMN_BYTES * n_columns)
        + n_columns * (8 + 4)
        + 4 * config.model.n_clusters
        + _CLUSTER_COLUMN_BYTES
    )
    sample_bytes = min(config.model.sample_rows, dataset.rows) * n_columns * 8 * _SAMPLE_COPIES
    per_chunk_row = workers * BATCHES_PER_WORKER * bytes_per_row
    affordable = (limit - sample_bytes) // per_chunk_row
    if affordable < TILE_ROWS:
        need = sample_bytes + TILE_ROWS * per_chunk_row
        error = MemoryLimitError(
            f"engine.memory_limit is {limit / 2**20:.0f} MiB; expected at least {need / 2**20:.0f} MiB: "
            f"{sample_bytes / 2**20:.0f} MiB for the sample and {TILE_ROWS} rows x {bytes_per_row} bytes x "
            f"{BATCHES_PER_WORKER} batches x {workers} workers"
        )
        error.add_note("Raise engine.memory_limit, or lower engine.workers, model.sample_rows or output.columns.")
        raise error
    chunk_rows = min(1 << int(affordable).bit_length() - 1, MAX_CHUNK_ROWS)
    epochs = config.model.max_epochs if config.model.algorithm == "minibatch" else 0
    passes = {"scan": 1, "mini-batch": epochs, "exact": config.model.lloyd_passes, "assign": 1}
    feature_bytes = sum(p.feature_bytes for p in dataset.partitions)
    return Plan(
        partitions=len(dataset.partitions),
        rows=dataset.rows,
        bytes=sum(p.bytes for p in dataset.partitions),
        n_features_read=n_columns,
        workers=workers,
        memory_limit_bytes=limit,
        bytes_per_row=bytes_per_row,
        sample_bytes=sample_bytes,
        chunk_rows=chunk_rows,
        passes=passes,
        bytes_to_read=feature_bytes * (sum(passes.values()) - 1) + sum(p.bytes for p in dataset.partitions),
        peak_bytes=sample_bytes + min(chunk_rows, dataset.rows, SPAN_ROWS) * per_chunk_row,
        output=config.output.path,
    )
