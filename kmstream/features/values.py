"""The feature columns and weights of a batch as numbers and strings, and which of them can be used."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from kmstream.arrays import FloatArray
from kmstream.columns import to_float64, to_strings
from kmstream.config import FeaturesConfig
from kmstream.errors import InvalidFeatureError
from kmstream.weights import Weighting, find_weights


@dataclass(frozen=True)
class FeatureValues:
    """The feature columns of a batch, before scaling.

    Attributes
    ----------
    numeric : tuple of ndarray of shape (n_rows,), float64
        After log1p; NaN where the value can't be used. Not to be written to: it may be the file's own buffer.
    texts : dict of str to pyarrow.Array
        Categorical features as strings, null where missing.
    unusable : dict of str to ndarray of shape (n_rows,)
        Per reason ("monetary: missing") the rows it holds for; only reasons that occur.
    """

    numeric: tuple[FloatArray, ...]
    texts: dict[str, pa.Array]
    unusable: dict[str, NDArray[np.bool_]]


def take_values(batch: pa.Table, features: FeaturesConfig) -> FeatureValues:
    """Take the features out of a batch: as numbers, log1p applied, and as strings.

    Parameters
    ----------
    batch : pyarrow.Table
        Holds every feature column, in a type that `is_numeric` or `is_categorical` accepts.
    features : FeaturesConfig
    """
    numeric: list[FloatArray] = []
    texts: dict[str, pa.Array] = {}
    unusable: dict[str, NDArray[np.bool_]] = {}
    for name in features.numeric:
        values = to_float64(batch.column(name))
        if not np.isfinite(np.vdot(values, values)):  # the cheap look; squares of huge values may overflow
            finite = np.isfinite(values)
            if not finite.all():
                unusable[f"{name}: missing"] = ~finite
                values = np.where(finite, values, np.nan)
        if name in features.log1p:
            undefined = values <= -1.0
            if undefined.any():
                unusable[f"{name}: log1p of a value <= -1"] = undefined
                values = np.where(undefined, np.nan, values)
            values = np.log1p(values)
        numeric.append(values)
    for name in features.categorical:
        texts[name] = to_strings(batch.column(name))
        if texts[name].null_count:
            unusable[f"{name}: missing"] = np.asarray(texts[name].is_null())
    return FeatureValues(tuple(numeric), texts, unusable)


def take_columns(batch: pa.Table, features: FeaturesConfig, rows: NDArray[np.int64]) -> pa.Table:
    """Take rows of the feature columns in original units, as float64 and string whatever their types in the file."""
    chosen = batch.take(pa.array(rows))
    numeric = {name: pa.array(to_float64(chosen.column(name)), from_pandas=True) for name in features.numeric}
    return pa.table(numeric | {name: to_strings(chosen.column(name)) for name in features.categorical})


def take_weights(batch: pa.Table, features: FeaturesConfig, weighting: Weighting | None) -> FloatArray | None:
    """Take how many rows each row counts for; None where each counts once.

    A row without a weight is an error under `on_missing = "error"`; else it is assigned, and counts nothing.
    """
    if weighting is None:
        return None
    weights, unusable = find_weights(batch, weighting)
    if features.on_missing == "error":
        for reason, rows in unusable.items():
            error = InvalidFeatureError(f"{reason} in {int(rows.sum())} of {batch.num_rows} rows")
            error.first_row = int(rows.argmax())
            error.cure = "Name another column, or set features.on_missing to skip: such rows then count nothing."
            raise error
    return weights


def apply_missing_policy(
    unusable: Mapping[str, NDArray[np.bool_]], n_rows: int, features: FeaturesConfig
) -> tuple[NDArray[np.bool_], dict[str, int]]:
    """Decide which rows stay: all of them, those without an unusable value (skip), or none (error).

    Returns
    -------
    keep : ndarray of shape (n_rows,), bool
    skipped : dict of str to int
        Rows that don't stay, by the first reason that holds for them.

    Raises
    ------
    InvalidFeatureError
        Under `on_missing = "error"`, if any value is unusable.
    """
    keep = np.ones(n_rows, dtype=np.bool_)
    skipped: dict[str, int] = {}
    for reason, rows in unusable.items():
        if features.on_missing == "error":
            name, _, what = reason.rpartition(": ")
            observed = "is missing" if what == "missing" else "is <= -1, which has no log1p,"
            error = InvalidFeatureError(
                f"feature {name!r} {observed} in {int(rows.sum())} of {n_rows} rows; k-means needs finite numbers"
            )
            error.first_row = int(rows.argmax())
            raise error
        if features.on_missing == "skip":
            if count := int((rows & keep).sum()):
                skipped[reason] = count
            keep &= ~rows
    return keep, skipped
