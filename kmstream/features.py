"""Columns become a matrix: log1p, one-hot, missing values, scaling, and the way back to original units.

A numeric value goes through `log1p` (if named) and then ``(value - center) / scale``; a categorical value becomes one
column per category known at the baseline (1 where it is that category), unscaled. `Scaling` holds every number that was
learnt from data, and is frozen at the baseline so that centroids of all versions live in one space.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from kmstream.config import FeaturesConfig
from kmstream.errors import InvalidFeatureError
from kmstream.weights import Weighting, find_weights

FloatArray = NDArray[np.float64]
TILE_ROWS = 4096  # rows scaled, measured and summed at once: fits the cache, and fixes the order of every sum
MAX_CATEGORIES = 100
_SCALED_AT_ONCE = 1 << 14  # rows
_FARTHEST = 1e15  # scaled units; the square of what lies beyond would not be a float32


@dataclass(frozen=True)
class Scaling:
    """What turns feature columns into a matrix, learnt once at the baseline.

    Attributes
    ----------
    center, scale, fill : ndarray of shape (n_numeric,)
        Per numeric feature, after log1p: what is subtracted, what is divided by, and what a missing value becomes
        under `on_missing = mean | median`.
    edges : ndarray of shape (n_numeric, n_bins - 1)
        Inner edges of the bins in which feature drift is counted: quantiles of the baseline sample, after log1p.
    categories : tuple of tuple of str
        Per categorical feature, the values that have a column of their own, sorted.
    """

    center: FloatArray
    scale: FloatArray
    fill: FloatArray
    edges: FloatArray
    categories: tuple[tuple[str, ...], ...] = ()

    @property
    def n_features(self) -> int:
        """Columns of the matrix: numeric features plus one per known category."""
        return len(self.center) + sum(map(len, self.categories))


@dataclass(frozen=True)
class Rows:
    """Rows as K-means sees them.

    Attributes
    ----------
    X : ndarray of shape (n_rows, n_features), float32
        Scaled units; finite also in rows that are not kept.
    keep : ndarray of shape (n_rows,), bool
        False for a row that can't be assigned.
    weights : ndarray of shape (n_rows,), float64, or None
        How many rows each counts for; None where each counts once.
    """

    X: NDArray[np.float32]
    keep: NDArray[np.bool_]
    weights: FloatArray | None = None

    def select(self, tile: slice) -> tuple[NDArray[np.bool_] | None, FloatArray | None]:
        """Give which rows of a tile are kept (None: all of them), and the weights of those."""
        kept = self.keep[tile]
        if kept.all():
            return None, None if self.weights is None else self.weights[tile]
        return kept, None if self.weights is None else self.weights[tile][kept]

    def kept(self) -> "Rows":
        """Give the rows that are kept, and no others."""
        if self.keep.all():
            return self
        weights = None if self.weights is None else self.weights[self.keep]
        return Rows(self.X[self.keep], self.keep[self.keep], weights)


@dataclass(frozen=True)
class Encoded:
    """One batch, ready to be clustered.

    Attributes
    ----------
    rows : Rows
    skipped : dict of str to int
        Rows not kept by reason; the first reason of a row counts, so they add up.
    numeric : tuple of ndarray of shape (n_rows,), float64
        The numeric features before scaling, after log1p; NaN where missing.
    unseen : dict of str to int
        Rows per categorical feature with a value unknown at the baseline.
    """

    rows: Rows
    skipped: dict[str, int]
    numeric: tuple[FloatArray, ...]
    unseen: dict[str, int]


def encoded_names(features: FeaturesConfig, scaling: Scaling) -> tuple[str, ...]:
    """Name the columns of the matrix: a numeric feature by its name, a category as "feature=value"."""
    one_hot = (
        f"{name}={value}"
        for name, values in zip(features.categorical, scaling.categories, strict=True)
        for value in values
    )
    return (*features.numeric, *one_hot)


def count_categories(features: FeaturesConfig, scaling: Scaling) -> dict[str, int]:
    """Count the columns of the matrix that each categorical feature has: its categories."""
    return dict(zip(features.categorical, map(len, scaling.categories), strict=True))


def is_numeric(kind: pa.DataType) -> bool:
    """Whether a column of this Arrow type can be a numeric feature; a `null` column is all missing."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_decimal(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_null(kind)
    )


def is_categorical(kind: pa.DataType) -> bool:
    """Whether a column of this Arrow type can be a categorical feature."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    text = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    return bool(text or pa.types.is_integer(kind) or pa.types.is_boolean(kind) or pa.types.is_null(kind))


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


def encode(batch: pa.Table, features: FeaturesConfig, scaling: Scaling, weighting: Weighting | None = None) -> Encoded:
    """Turn a batch of rows into a matrix in scaled units; files and single records go the same way.

    Parameters
    ----------
    batch : pyarrow.Table
        Holds every feature column.
    features : FeaturesConfig
    scaling : Scaling
    weighting : Weighting, optional
        How many rows each counts for; once each by default.

    Raises
    ------
    InvalidFeatureError
        Under `on_missing = "error"`, if a value is missing or has no log1p, and whenever a weight can't be used. Its
        `first_row` is the row in the batch.
    """
    n_rows, n_numeric = batch.num_rows, len(features.numeric)
    values = take_values(batch, features)
    weights = take_weights(batch, features, weighting)
    keep, skipped = apply_missing_policy(values.unusable, n_rows, features)
    X = np.zeros((n_rows, scaling.n_features), dtype=np.float32)
    _scale_numeric(values.numeric, scaling, X)
    unseen: dict[str, int] = {}
    first_column = n_numeric
    for name, categories in zip(features.categorical, scaling.categories, strict=True):
        texts = values.texts[name]
        codes = pc.index_in(texts, value_set=pa.array(categories, pa.string()), skip_nulls=True)
        X[np.flatnonzero(codes.is_valid()), first_column + np.asarray(codes.drop_null())] = 1.0
        if n_unseen := codes.null_count - texts.null_count:
            unseen[name] = n_unseen
        first_column += len(categories)
    return Encoded(Rows(X, keep, weights), skipped, values.numeric, unseen)


def _scale_numeric(numeric: tuple[FloatArray, ...], scaling: Scaling, X: NDArray[np.float32]) -> None:
    """Fill the first columns of X, tile by tile: what is written stays in the cache until its row is whole."""
    inverse = 1.0 / scaling.scale
    bounds = [_bound(values, *numbers) for values, *numbers in zip(numeric, scaling.center, inverse, strict=True)]
    buffer = np.empty(_SCALED_AT_ONCE)
    for start in range(0, len(X), _SCALED_AT_ONCE):
        tile = slice(start, min(start + _SCALED_AT_ONCE, len(X)))
        scaled = buffer[: tile.stop - tile.start]
        for j, values in enumerate(numeric):
            part = values[tile]
            if np.isnan(bounds[j]):
                part = np.where(np.isnan(part), scaling.fill[j], part)
            np.subtract(part, scaling.center[j], out=scaled)
            if bounds[j] < _FARTHEST:
                np.multiply(scaled, inverse[j], out=X[tile, j], casting="same_kind")
            else:
                X[tile, j] = np.clip(scaled * inverse[j], -_FARTHEST, _FARTHEST)


def _bound(values: FloatArray, center: float, inverse: float) -> float:
    """No scaled value is farther from zero than this; NaN if one is missing, inf if that can't be told cheaply."""
    length = float(np.sqrt(np.vdot(values, values)))
    return (length + abs(center)) * inverse


def clip(rows: Rows, features: FeaturesConfig) -> Rows:
    """Bound scaled values while fitting, so that one outlier can't own a segment."""
    if not features.clip:
        return rows
    return Rows(np.clip(rows.X, -features.clip, features.clip), rows.keep, rows.weights)


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


def to_original_units(X: NDArray[np.floating], features: FeaturesConfig, scaling: Scaling) -> FloatArray:
    """Undo scaling and log1p, so that people see centroids in the units of their columns.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_features)
        Scaled units. A one-hot column is a share of rows and stays as it is.

    Returns
    -------
    ndarray of shape (n_rows, n_features)
    """
    n_numeric = len(features.numeric)
    original = np.array(X, dtype=np.float64)
    original[:, :n_numeric] = original[:, :n_numeric] * scaling.scale + scaling.center
    for column, name in enumerate(features.numeric):
        if name in features.log1p:
            original[:, column] = np.expm1(original[:, column])
    return original


def to_scaled_units(original: FloatArray, features: FeaturesConfig, scaling: Scaling) -> FloatArray:
    """Inverse of `to_original_units`: takes centroids of one baseline into the space of another."""
    n_numeric = len(features.numeric)
    X = np.array(original, dtype=np.float64)
    for column, name in enumerate(features.numeric):
        if name in features.log1p:
            X[:, column] = np.log1p(X[:, column])
    X[:, :n_numeric] = (X[:, :n_numeric] - scaling.center) / scaling.scale
    return X


def to_float64(column: pa.ChunkedArray | pa.Array) -> FloatArray:
    """Give a numeric column as float64, NaN where null; booleans are 0 and 1, text is a number in a folder name."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        column, kind = pc.cast(column, kind.value_type), kind.value_type
    if pa.types.is_null(kind):
        return np.full(len(column), np.nan)
    if pa.types.is_boolean(kind):
        column = pc.cast(column, pa.int8())
    return np.asarray(pc.cast(column, pa.float64(), safe=False).to_numpy(zero_copy_only=False))


def to_strings(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    """Give a categorical column as one array of strings."""
    if isinstance(column, pa.ChunkedArray):
        column = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    return pc.cast(column, pa.string())
