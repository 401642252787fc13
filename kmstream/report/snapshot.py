"""A run as a snapshot of evidently: our exact figures beside its own look at samples of the features."""

import json
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

os.environ.setdefault("DO_NOT_TRACK", "1")  # evidently reads it when it is imported

from evidently import DataDefinition, Dataset, Report
from evidently.core.metric_types import Metric
from evidently.core.report import Snapshot
from evidently.presets import DataDriftPreset

from kmstream.report import metrics, sample_metrics
from kmstream.report.calculation import DATASET
from kmstream.report.facts import RunFacts
from kmstream.summary import PARTITION
from kmstream.wording import as_plot_text

SAMPLE_ROWS = 5_000  # evidently holds all rows in pandas and draws them: enough for a distribution
MAX_FEATURES = 20  # evidently takes 0.1 s and 20 kB for each
LABEL_COLUMN = "cluster_label"


def build_snapshot(
    drift: Mapping[str, Any],
    *,
    reference_sample: pa.Table | None,
    current_sample: pa.Table | None,
    run: RunFacts,
) -> Snapshot:
    """Run evidently's Report over our figures and, if there are two samples, over the distributions of the features.

    Parameters are those of `write_report`.

    Returns
    -------
    evidently.core.report.Snapshot
    """
    parts: list[Any] = [*_choose_metrics(drift, run)]
    figures = _dataset(pd.DataFrame({"drift": [_as_json(drift)], "run": [_as_json(asdict(run))]}))
    current, reference = figures, None
    if reference_sample is not None and current_sample is not None:
        frames = comparable_frames(current_sample, reference_sample)
        if features := most_changed(drift, frames[0].columns):
            current, reference = (_dataset(frame[features]) for frame in frames)
            parts.append(DataDriftPreset())
    with warnings.catch_warnings():
        # numpy and scipy on a constant column, pandas on evidently's own use of it
        warnings.simplefilter("ignore", RuntimeWarning)
        warnings.simplefilter("ignore", FutureWarning)
        return Report(parts).run(
            current,
            reference,
            additional_data={DATASET: figures},
            timestamp=_timestamp(run.created),
            name=f"{run.kind} {run.run_id}" + (f" by {run.version}" if run.kind == "score" else f", {run.status}"),
            metadata={"name": run.name, "version": run.version, "run_id": run.run_id, "status": run.status},
            tags=[run.kind, drift["severity"], run.status],
        )


def _choose_metrics(drift: Mapping[str, Any], run: RunFacts) -> Iterator[Metric]:
    """Give the metrics of ours that a run has figures for."""
    yield from (metrics.DriftSeverity(), metrics.DriftTotals(), metrics.SegmentRows(), metrics.SegmentShare())
    if drift["reference"] is not None:
        yield from (metrics.SegmentShift(), metrics.FeaturePSI())
    if drift["ari"] is not None:
        yield metrics.Migration()
    if drift.get("entities"):
        yield metrics.EntityMoves()
    if run.passes:
        yield metrics.FitHistory()
    if run.history:
        yield sample_metrics.ShareHistory()
    if run.kind == "refresh":
        yield sample_metrics.LifeCycle()
    if any(segment.get("overlap") is not None for segment in drift["segments"]):
        yield sample_metrics.SegmentOverlap()
    if run.sample.get("map"):
        yield sample_metrics.SegmentMap()
    if run.sample.get("distributions"):
        yield sample_metrics.FeatureDistributions()
    if (run.sample.get("silhouette") or {}).get("overall") is not None:
        yield sample_metrics.SegmentSilhouette()


def comparable_frames(current: pa.Table, reference: pa.Table) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Take the columns that both samples have and that hold at least one value in each, at most `SAMPLE_ROWS` rows.

    Numbers become float64 (infinities missing), everything else text: a column that is text in one of the samples is
    text in both.

    Examples
    --------
    >>> a, b = pa.table({"x": [1, 2], "y": ["a", None], "z": [None, None]}), pa.table({"x": [1.5], "y": [0], "z": [1]})
    >>> [(frame.columns.to_list(), frame.dtypes.astype(str).to_list()) for frame in comparable_frames(a, b)]
    [(['x', 'y'], ['float64', 'object']), (['x', 'y'], ['float64', 'object'])]
    """
    frames: tuple[dict[str, Any], dict[str, Any]] = ({}, {})
    samples = [thin(current), thin(reference)]
    for name in current.column_names:
        if name in (LABEL_COLUMN, PARTITION) or name not in reference.column_names:
            continue
        pair = [_decoded(sample.column(name)) for sample in samples]
        convert = _numbers if all(_is_number(column.type) for column in pair) else _texts
        converted = [convert(column) for column in pair]
        if all(values.notna().any() for values in converted):
            for frame, values in zip(frames, converted, strict=True):
                frame[name] = values
    return pd.DataFrame(frames[0]), pd.DataFrame(frames[1])


def most_changed(drift: Mapping[str, Any], columns: Iterable[str]) -> list[str]:
    """Choose the `MAX_FEATURES` columns whose PSI over all rows is largest, for a category that of its largest value.

    Examples
    --------
    >>> features = [{"feature": "age", "psi": 0.1}, {"feature": "country=FR", "psi": 0.3}]
    >>> most_changed({"features": features}, ["age", "country"])
    ['country', 'age']
    """

    def largest(column: str) -> float:
        own = (one for one in drift["features"] if one["feature"] == column or one["feature"].startswith(f"{column}="))
        return max((one["psi"] or 0.0 for one in own), default=0.0)

    return sorted(columns, key=largest, reverse=True)[:MAX_FEATURES]


def thin(sample: pa.Table) -> pa.Table:
    """Take `SAMPLE_ROWS` rows in their order, the same ones every time."""
    if sample.num_rows <= SAMPLE_ROWS:
        return sample
    rows = np.random.default_rng(0).choice(sample.num_rows, SAMPLE_ROWS, replace=False)
    return sample.take(pa.array(np.sort(rows)))


def _decoded(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column


def _is_number(kind: pa.DataType) -> bool:
    return any(is_kind(kind) for is_kind in (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal))


def _numbers(column: pa.ChunkedArray) -> "pd.Series[float]":
    values = pc.cast(column, pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return pd.Series(np.where(np.isfinite(values), values, np.nan))


def _texts(column: pa.ChunkedArray) -> "pd.Series[str]":
    # Plotly takes some tags in a category for markup.
    values = [None if value is None else as_plot_text(str(value), 60) for value in column.to_pylist()]
    return pd.Series(values, dtype=object)


def _dataset(frame: pd.DataFrame) -> Dataset:
    is_number = [pd.api.types.is_numeric_dtype(kind) for kind in frame.dtypes]
    names = frame.columns.to_list()
    definition = DataDefinition(
        numerical_columns=[name for name, yes in zip(names, is_number, strict=True) if yes],
        categorical_columns=[name for name, yes in zip(names, is_number, strict=True) if not yes],
    )
    return Dataset.from_pandas(frame, data_definition=definition)


def _as_json(content: Mapping[str, Any]) -> str:
    def plain(value: object) -> object:
        if isinstance(value, Mapping):
            return dict(value)
        return value.item() if isinstance(value, np.generic) else str(value)

    return json.dumps(content, default=plain)


def _timestamp(created: str) -> datetime | None:
    try:
        return datetime.fromisoformat(created)
    except ValueError:
        return None
