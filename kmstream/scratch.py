"""A compact copy of the scaled rows on disk, so that the passes after the first need not decode Parquet again.

It lies in a folder beside the models while a run is under way: per row 4 bytes for each feature, 1 for whether the row
counts, and 8 for its weight if rows have any. A span that does not fit the limit is read from the dataset each time.
"""

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kmstream.append import write_bytes
from kmstream.config import Config
from kmstream.dataset import Dataset, Span
from kmstream.engine import uses_cluster
from kmstream.errors import OutputError
from kmstream.features import Rows
from kmstream.storage import explain_write_errors, replace_file
from kmstream.value_counts import ValueCounts

_OUTPUT_BYTES = 24  # per row: what the cluster columns take on disk, at most


@dataclass(frozen=True)
class Scratch:
    """Where the copies of spans are, and which spans may have one.

    Attributes
    ----------
    folder : Path
    chunk_rows : int
        Rows per batch, written and read alike.
    n_features : int
    weighted : bool
    names : frozenset of str
        Of the spans that fit the limit.
    """

    folder: Path
    chunk_rows: int
    n_features: int
    weighted: bool
    names: frozenset[str]

    def takes(self, span: Span) -> bool:
        """Whether the span fits the limit."""
        return _name(span) in self.names

    def holds(self, span: Span) -> bool:
        """Whether there is a whole copy of the span."""
        return self._counts_path(span).exists()

    def read(self, span: Span) -> Iterator[Rows]:
        """Read a copy, in the batches that were written."""
        with (self.folder / _name(span)).open("rb") as file:
            for first in range(0, span.rows, self.chunk_rows):
                n_rows = min(self.chunk_rows, span.rows - first)
                X, keep = np.empty((n_rows, self.n_features), np.float32), np.empty(n_rows, np.bool_)
                rows = Rows(X, keep, np.empty(n_rows) if self.weighted else None)
                for array in _arrays(rows):
                    n_bytes = file.readinto(array)  # type: ignore[arg-type]
                    if n_bytes != array.nbytes:
                        error = OutputError(f"{file.name} ends too early: {n_bytes} bytes; expected {array.nbytes}")
                        error.add_note("Something else wrote to it. Run again: nothing was published.")
                        raise error
                yield rows

    def read_counts(self, span: Span) -> ValueCounts:
        """Read what was counted of the span's values when the copy was made."""
        found = json.loads(self._counts_path(span).read_text(encoding="utf-8"))
        bins = np.array(found["bins"], np.float64 if self.weighted else np.int64).reshape(found["shape"])
        return ValueCounts(bins, Counter(found["skipped"]), Counter(found["unseen"]))

    def write(self, span: Span, batches: Iterator[tuple[Rows, ValueCounts]]) -> Iterator[Rows]:
        """Pass rows through and leave a copy of them; one that is left half-way does not count.

        If it can't be written to its end, as on a full disk, there is none, and the rows are read from the dataset.

        Parameters
        ----------
        span : Span
        batches : iterator of (Rows, ValueCounts)
            The counts are those of all rows of the span so far.
        """
        counts, whole = None, True
        path = self.folder / _name(span)
        with explain_write_errors(path):
            file = path.open("wb", buffering=0)
        with file:
            for rows, counts in batches:  # noqa: B007 - the last are those of the whole span
                whole = whole and _try_write(file, rows)
                yield rows
        if counts is not None and whole:
            found: dict[str, Any] = {"bins": counts.bins.ravel().tolist(), "shape": counts.bins.shape}
            found |= {"skipped": dict(counts.skipped), "unseen": dict(counts.unseen)}
            with suppress(OutputError):
                replace_file(self._counts_path(span), json.dumps(found))

    def _counts_path(self, span: Span) -> Path:
        return self.folder / f"{_name(span)}.json"


def scratch_bytes(config: Config, dataset: Dataset, *, n_features: int, weighted: bool) -> tuple[int, float]:
    """Foretell the size of a scratch copy, and the share of rows that it holds."""
    row_bytes = bytes_per_row(n_features, weighted=weighted)
    n_rows = sum(span.rows for span in _choose_spans(dataset, _limit(config), row_bytes))
    return n_rows * row_bytes, n_rows / (dataset.rows or 1)


@contextmanager
def open_scratch(
    folder: Path, config: Config, dataset: Dataset, *, chunk_rows: int, n_features: int, weighted: bool
) -> Iterator[Scratch | None]:
    """Make a scratch folder, which is gone when the block ends; None if not even one span fits.

    Parameters
    ----------
    folder : Path
        Where it will be; what a killed run left there is removed.
    config : Config
    dataset : Dataset
        Spans of it are copied in their order, up to `engine.scratch_limit`, and half of the disk space that will be
        left when the outputs are written.
    chunk_rows, n_features : int
    weighted : bool
    """
    shutil.rmtree(folder, ignore_errors=True)
    limit = _limit(config)
    if limit:
        with explain_write_errors(folder):
            folder.parent.mkdir(parents=True, exist_ok=True)
            free = shutil.disk_usage(folder.parent).free
        outputs = sum(partition.bytes for partition in dataset.partitions) + _OUTPUT_BYTES * dataset.rows
        limit = min(limit, max(0, free - outputs) // 2)
    spans = _choose_spans(dataset, limit, bytes_per_row(n_features, weighted=weighted))
    names = frozenset(map(_name, spans))
    if not names:
        yield None
        return
    with explain_write_errors(folder):
        folder.mkdir()
    try:
        yield Scratch(folder, chunk_rows, n_features, weighted, names)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def bytes_per_row(n_features: int, *, weighted: bool) -> int:
    """Bytes that a row takes in a scratch copy."""
    return 4 * n_features + 1 + (8 if weighted else 0)


def _limit(config: Config) -> int:
    """Bytes that may be taken; none on a cluster, whose workers share no disk that is fast enough to be worth it."""
    return 0 if uses_cluster(config.engine) else config.engine.scratch_limit


def _choose_spans(dataset: Dataset, limit: int, row_bytes: int) -> list[Span]:
    """Give the first spans whose copies take no more than a limit."""
    chosen = []
    for span in dataset.spans:
        limit -= span.rows * row_bytes
        if limit < 0:
            break
        chosen.append(span)
    return chosen


def _name(span: Span) -> str:
    return f"{hashlib.blake2b(span.partition.path.encode(), digest_size=12).hexdigest()}-{span.first_row}"


def _try_write(file: FileIO, rows: Rows) -> bool:
    """Write a batch; if that fails, remove the file, so that it takes no space that outputs need."""
    try:
        for array in _arrays(rows):
            write_bytes(file.fileno(), array.data)
    except OSError:
        Path(file.name).unlink(missing_ok=True)
        return False
    return True


def _arrays(rows: Rows) -> list[NDArray[Any]]:
    return [array for array in (rows.X, rows.keep, rows.weights) if array is not None and array.size]
