"""The first pass: exact moments of every feature, the categories, and a row sample that represents every partition."""

from collections import Counter
from dataclasses import dataclass
from functools import partial
from typing import Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from kmstream.clustering import tiles
from kmstream.config import FeaturesConfig
from kmstream.dataset import Dataset, Span, locate, read_batches
from kmstream.engine import map_in_order
from kmstream.errors import TooFewRowsError
from kmstream.features import (
    Scaling,
    apply_missing_policy,
    learn_scaling,
    take_columns,
    take_values,
)
from kmstream.run import Run
from kmstream.summary import ColumnSummary, sample_positions


@dataclass(frozen=True)
class Scan:
    """What the first pass found.

    Attributes
    ----------
    sample : pyarrow.Table
        Sampled rows that can be used: the feature columns as they are in the files.
    columns : ColumnSummary or None
        Of the numeric features, over all rows that can be used; None where only the sample was read.
    categories : dict of str to Counter
        Rows per value of each categorical feature.
    """

    sample: pa.Table
    columns: ColumnSummary | None
    categories: dict[str, Counter[str]]

    def merge(self, other: Self) -> Self:
        """Join two scans, of consecutive spans."""
        columns = self.columns.merge(other.columns) if self.columns and other.columns else None
        categories = {name: counts + other.categories[name] for name, counts in self.categories.items()}
        return type(self)(pa.concat_tables([self.sample, other.sample]), columns, categories)


def scan_dataset(run: Run, *, statistics: bool) -> Scan:
    """Read the feature columns once.

    Parameters
    ----------
    statistics : bool
        Whether moments and categories are wanted; without them only spans that hold sampled rows are read.

    Raises
    ------
    TooFewRowsError
        If no row can be used.
    """
    config, dataset, spans = run.config, run.dataset, run.dataset.spans
    positions = sample_positions(dataset.rows, config.model.sample_rows, config.model.random_state)
    borders = np.cumsum([0, *(span.rows for span in spans)])
    cuts = np.searchsorted(positions, borders)
    work = [
        (span, positions[cuts[i] : cuts[i + 1]] - borders[i])
        for i, span in enumerate(spans)
        if statistics or cuts[i + 1] > cuts[i]
    ]
    run.progress.start("scan", sum(span.rows for span, _ in work))
    found: Scan | None = None
    function = partial(_scan_span, dataset, config.features, run.chunk_rows, statistics)
    for (span, _), part in zip(work, map_in_order(function, work, config.engine), strict=True):
        found = part if found is None else found.merge(part)
        run.progress.advance(span.rows)
    if found is None or not found.sample.num_rows:
        error = TooFewRowsError(
            f"none of the {dataset.rows} rows in {len(dataset.partitions)} files can be used"
            + ("; a feature is missing in each sampled row" if dataset.rows else "")
        )
        error.add_note("Set features.on_missing to mean or median, or leave out the column that is empty.")
        raise error
    return found


def make_scaling(features: FeaturesConfig, scan: Scan) -> Scaling:
    """Freeze the scaling from a scan with statistics."""
    sample = take_values(scan.sample, features).numeric
    if scan.columns is None:
        msg = "a scaling needs a scan with statistics"
        raise TypeError(msg)
    return learn_scaling(features, scan.columns, sample, scan.categories)


def _scan_span(
    dataset: Dataset,
    features: FeaturesConfig,
    chunk_rows: int,
    statistics: bool,  # noqa: FBT001 - bound by partial
    work: tuple[Span, NDArray[np.int64]],
) -> Scan:
    span, positions = work
    columns: ColumnSummary | None = None
    categories: dict[str, Counter[str]] = {name: Counter() for name in features.categorical}
    samples: list[pa.Table] = []
    for first_row, batch in read_batches(dataset, span, chunk_rows, dataset.features.columns):
        offset = first_row - span.first_row
        here = positions[(positions >= offset) & (positions < offset + batch.num_rows)] - offset
        with locate(span.partition, first_row, batch.num_rows):
            values = take_values(batch, features)
            keep, _ = apply_missing_policy(values.unusable, batch.num_rows, features)
        samples.append(take_columns(batch, features, here[keep[here]]))
        if statistics:
            columns = _fold(columns, np.where(keep, values.numeric, np.nan))
            for name, texts in values.texts.items():
                categories[name].update(_count_values(texts.filter(pa.array(keep))))
    return Scan(pa.concat_tables(samples), columns, categories)


def _fold(columns: ColumnSummary | None, values: NDArray[np.float64]) -> ColumnSummary | None:
    for tile in tiles(values.shape[1]):  # tile by tile, so that batch ends leave no trace in the sums
        part = ColumnSummary.of(values[:, tile])
        columns = part if columns is None else columns.merge(part)
    return columns


def _count_values(texts: pa.Array) -> dict[str, int]:
    counted = texts.drop_null().value_counts()
    return dict(zip(counted.field("values").to_pylist(), counted.field("counts").to_pylist(), strict=True))
