"""The first pass: exact moments of every feature, the categories, and a row sample that represents every partition."""

from collections import Counter
from dataclasses import dataclass
from functools import partial
from typing import Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from kmstream.config import FeaturesConfig
from kmstream.dataset import Dataset, Span, locate, read_batches
from kmstream.errors import TooFewRowsError
from kmstream.features import (
    TILE_ROWS,
    Scaling,
    apply_missing_policy,
    take_columns,
    take_values,
    take_weights,
)
from kmstream.run import Run
from kmstream.scaling import learn_scaling, refuse_many_categories
from kmstream.summary import PARTITION, ColumnSummary, sample_positions
from kmstream.weights import Weighting


@dataclass(frozen=True)
class Scan:
    """What the first pass found.

    Attributes
    ----------
    sample : pyarrow.Table
        Sampled rows that can be used: the feature columns as they are in the files, and the place of the partition.
    weights : ndarray of shape (n_sample,)
        How many rows each of them counts for.
    columns : ColumnSummary
        Of the numeric features, over all rows that can be used; of no rows where only the sample was wanted.
    categories : dict of str to Counter
        Rows per value of each categorical feature.
    """

    sample: pa.Table
    weights: NDArray[np.float64]
    columns: ColumnSummary
    categories: dict[str, Counter[str]]

    @classmethod
    def nothing(cls, features: FeaturesConfig) -> Self:
        """Give the scan of no rows."""
        numeric = {name: pa.array([], pa.float64()) for name in features.numeric}
        texts = {name: pa.array([], pa.string()) for name in features.categorical}
        sample = pa.table(numeric | texts | {PARTITION: pa.array([], pa.int32())})
        columns = ColumnSummary.empty(len(features.numeric))
        return cls(sample, np.empty(0), columns, {name: Counter() for name in features.categorical})

    def merge(self, other: Self) -> Self:
        """Join two scans, of consecutive spans."""
        categories = {name: counts + other.categories[name] for name, counts in self.categories.items()}
        sample = pa.concat_tables([self.sample, other.sample])
        weights = np.concatenate([self.weights, other.weights])
        return type(self)(sample, weights, self.columns.merge(other.columns), categories)


@dataclass(frozen=True)
class SampledSpan:
    """A span, the positions in it of the rows that belong to the sample, and the place of its partition."""

    span: Span
    positions: NDArray[np.int64]
    partition: int

    @property
    def rows(self) -> int:
        """Of the span: what a pass over it counts."""
        return self.span.rows


def sample_spans(run: Run) -> list[SampledSpan]:
    """Draw the row sample: the spans of the run's dataset, and what each holds of it, which may be nothing."""
    dataset, model = run.dataset, run.config.model
    positions = sample_positions(dataset.rows, model.sample_rows, model.random_state)
    borders = np.cumsum([0, *(span.rows for span in dataset.spans)])
    cuts = np.searchsorted(positions, borders)
    places = {partition.path: place for place, partition in enumerate(dataset.partitions)}
    return [
        SampledSpan(span, positions[cuts[i] : cuts[i + 1]] - borders[i], places[span.partition.path])
        for i, span in enumerate(dataset.spans)
    ]


def scan_dataset(run: Run, *, statistics: bool) -> Scan:
    """Read the feature columns once.

    Parameters
    ----------
    statistics : bool
        Whether moments and categories are wanted; without them only spans that hold sampled rows are read.
    """
    config = run.config
    work = [sampled for sampled in sample_spans(run) if statistics or len(sampled.positions)]
    function = partial(_scan_span, run.source, config.features, run.chunk_rows, run.weighting, statistics)
    return run.fold("scan", function, work, Scan.nothing(config.features), Scan.merge)


def scan_for_fit(run: Run, known: Scaling | None) -> tuple[Scan, Scaling]:
    """Read what a fit begins with: a row sample, and the scaling.

    Parameters
    ----------
    run : Run
    known : Scaling or None
        The frozen scaling to go on with; None: one is learnt, from every row.

    Raises
    ------
    TooFewRowsError
        If no row can be used.
    """
    scan = scan_dataset(run, statistics=known is None)
    _refuse_no_rows(run, scan)
    return scan, make_scaling(run.config.features, scan) if known is None else known


def _refuse_no_rows(run: Run, scan: Scan) -> None:
    """Refuse to fit a model to nothing."""
    if not scan.sample.num_rows:
        n_files, n_rows = len(run.dataset.partitions), run.dataset.rows
        if not n_rows:
            error = TooFewRowsError(f"the dataset has no rows: 0 in {n_files} files of {run.config.dataset.path}")
            error.add_note("Look at what writes them; kmstream needs rows to fit a model to.")
            raise error
        error = TooFewRowsError(f"none of the {n_rows} rows in {n_files} files can be used; each lacks a feature")
        error.add_note("Set features.on_missing to mean or median, or leave out the column that is empty.")
        raise error
    if not scan.weights.any():
        n_files, n_rows = len(run.dataset.partitions), scan.sample.num_rows
        error = TooFewRowsError(f"none of {n_rows} sampled rows in {n_files} files has a weight above 0")
        error.add_note("Look at the columns of features.weight and dataset.time, and at model.half_life.")
        raise error


def make_scaling(features: FeaturesConfig, scan: Scan) -> Scaling:
    """Freeze the scaling from a scan with statistics."""
    sample = take_values(scan.sample, features).numeric
    return learn_scaling(features, scan.columns, sample, scan.weights, scan.categories)


def _scan_span(
    dataset: Dataset,
    features: FeaturesConfig,
    chunk_rows: int,
    weighting: Weighting | None,
    statistics: bool,  # noqa: FBT001 - bound by partial
    work: SampledSpan,
) -> Scan:
    span, positions = work.span, work.positions
    total = Scan.nothing(features)
    columns, categories, samples, sample_weights = total.columns, total.categories, [total.sample], [total.weights]
    needed = list(dict.fromkeys([*dataset.features.columns, *(weighting.columns if weighting else ())]))
    for first_row, batch in read_batches(dataset, span, chunk_rows, needed):
        offset = first_row - span.first_row
        here = positions[(positions >= offset) & (positions < offset + batch.num_rows)] - offset
        with locate(span.partition, first_row, batch.num_rows):
            values = take_values(batch, features)
            keep, _ = apply_missing_policy(values.unusable, batch.num_rows, features)
            weights = take_weights(batch, features, weighting)
        chosen = here[keep[here]]
        place = pa.array(np.full(len(chosen), work.partition, np.int32))
        samples.append(take_columns(batch, features, chosen).append_column(PARTITION, place))
        sample_weights.append(np.ones(len(chosen)) if weights is None else weights[chosen])
        if statistics:
            counted = weights if keep.all() else keep.astype(np.int64) if weights is None else keep * weights
            columns = columns.add(values.numeric, counted, TILE_ROWS)
            for name, texts in values.texts.items():
                counts = keep if weights is None else keep & (weights > 0)
                categories[name].update(_count_values(texts.filter(pa.array(counts))))
                refuse_many_categories(name, len(categories[name]))  # before they fill the memory
    return Scan(pa.concat_tables(samples), np.concatenate(sample_weights), columns, categories)


def _count_values(texts: pa.Array) -> dict[str, int]:
    counted = texts.drop_null().value_counts()
    return dict(zip(counted.field("values").to_pylist(), counted.field("counts").to_pylist(), strict=True))
