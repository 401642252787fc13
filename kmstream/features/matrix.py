"""Rows in scaled units, as K-means sees them, and the way back to original units."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from kmstream.arrays import FloatArray
from kmstream.config import FeaturesConfig
from kmstream.features.values import apply_missing_policy, take_values, take_weights
from kmstream.weights import Weighting

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

    def take(self, which: slice | NDArray[np.bool_] | NDArray[np.int64]) -> "Rows":
        """Give some of the rows."""
        return Rows(self.X[which], self.keep[which], None if self.weights is None else self.weights[which])

    @property
    def kept_at(self) -> slice | NDArray[np.bool_]:
        """An index of the rows that are kept; where all are, it copies nothing."""
        return slice(None) if self.keep.all() else self.keep

    @property
    def kept_weights(self) -> FloatArray | None:
        """How many rows each row that is kept counts for; None where each counts once."""
        return None if self.weights is None else self.weights[self.kept_at]

    def kept(self) -> "Rows":
        """Give the rows that are kept, and no others."""
        return self.take(self.kept_at)


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
        codes = pc.index_in(texts, value_set=pa.array(categories, pa.string()))
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
                np.multiply(scaled, inverse[j], out=X[tile, j])
            else:
                X[tile, j] = np.clip(scaled * inverse[j], -_FARTHEST, _FARTHEST)


def _bound(values: FloatArray, center: float, inverse: float) -> float:
    """No scaled value is farther from zero than this; NaN if one is missing, inf if that can't be told cheaply."""
    length = float(np.sqrt(np.vdot(values, values)))
    return (length + abs(center)) * inverse


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


def clip(rows: Rows, features: FeaturesConfig) -> Rows:
    """Bound scaled values while fitting, so that one outlier can't own a segment."""
    if not features.clip:
        return rows
    return Rows(np.clip(rows.X, -features.clip, features.clip), rows.keep, rows.weights)


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
