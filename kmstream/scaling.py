"""What a baseline freezes: center and scale, fill values, drift bins and categories, from what the scan found."""

from collections.abc import Mapping, Sequence

import numpy as np

from kmstream.arrays import FloatArray
from kmstream.config import FeaturesConfig
from kmstream.errors import InvalidFeatureError, TooFewRowsError
from kmstream.features import MAX_CATEGORIES, Scaling
from kmstream.summary import ColumnSummary

N_BINS = 10  # of feature drift


def learn_scaling(
    features: FeaturesConfig,
    columns: ColumnSummary,
    sample: Sequence[FloatArray],
    weights: FloatArray,
    category_counts: Mapping[str, Mapping[str, int]],
) -> Scaling:
    """Freeze center, scale, fill values, bins and categories from what the scan found.

    Parameters
    ----------
    features : FeaturesConfig
    columns : ColumnSummary
        Exact moments of the numeric features after log1p, over all rows that count.
    sample : sequence of ndarray of shape (n_sample,)
        Sampled values of each numeric feature after log1p, NaN where missing; quantiles come from here.
    weights : ndarray of shape (n_sample,)
        How many rows each of them counts for.
    category_counts : mapping of str to mapping of str to int
        Rows per value of each categorical feature.

    Raises
    ------
    TooFewRowsError
        If a numeric feature has no usable value at all.
    InvalidFeatureError
        If a numeric feature is too large to have a spread, or a categorical one has more than 100 values.
    """
    for name, count, missing in zip(features.numeric, columns.n, columns.missing, strict=True):
        if count == 0:
            msg = f"feature {name!r} has no usable value in {missing} rows; expected at least one number"
            raise TooFewRowsError(msg)
    for name, counts in category_counts.items():
        refuse_many_categories(name, len(counts))
    if sample:
        q = [0.25, 0.5, 0.75, *np.arange(1, N_BINS) / N_BINS]
        low, median, high, *_ = quantiles = _quantiles(sample, weights, q, columns.mean)
        edges = np.ascontiguousarray(quantiles[3:].T)
    else:
        low = median = high = np.empty(0)
        edges = np.empty((0, 0))
    center, scale = {
        "standard": (columns.mean, np.sqrt(columns.variance)),
        "minmax": (columns.low, columns.high - columns.low),
        "robust": (median, high - low),
        "none": (np.zeros_like(columns.mean), np.ones_like(columns.mean)),
    }[features.scaling]
    for name, middle, spread in zip(features.numeric, center, scale, strict=True):
        _refuse_infinite(name, middle, spread)
    # A constant feature, or one whose spread is rounding noise, carries nothing: dividing by 1 keeps it at zero.
    numbers, largest = np.finfo(np.float64), np.maximum(np.abs(columns.low), np.abs(columns.high))
    flat = scale <= np.maximum(10 * numbers.eps * largest, numbers.tiny)
    return Scaling(
        center=center,
        scale=np.where(flat, 1.0, scale),
        fill=median if features.on_missing == "median" else columns.mean.copy(),
        edges=edges,
        categories=tuple(tuple(sorted(category_counts[name])) for name in features.categorical),
    )


def _refuse_infinite(name: str, center: float, scale: float) -> None:
    if not np.isfinite([center, scale]).all():
        error = InvalidFeatureError(f"feature {name!r} holds numbers too large to have a spread ({scale})")
        error.add_note("Clean the column; such numbers often stand for a missing value.")
        raise error


def refuse_many_categories(name: str, n_categories: int) -> None:
    """Refuse a categorical feature with more values than get a column.

    Raises
    ------
    InvalidFeatureError
    """
    if n_categories > MAX_CATEGORIES:
        error = InvalidFeatureError(
            f"categorical feature {name!r} has {n_categories} values; at most {MAX_CATEGORIES} get a column each"
        )
        error.add_note("Group the rare values, or leave the column out of features.categorical.")
        raise error


def _quantiles(
    sample: Sequence[FloatArray], weights: FloatArray, q: list[float], where_empty: FloatArray
) -> FloatArray:
    """Quantiles per feature, missing values left out; shape (len(q), n_numeric)."""
    found = []
    for values, default in zip(sample, where_empty, strict=True):
        usable = ~np.isnan(values) & (weights > 0)
        if not usable.any():
            found.append(np.full(len(q), default))
        else:  # a value that is there, so that a row of weight 2 is the same as two rows
            found.append(np.quantile(values[usable], q, weights=weights[usable], method="inverted_cdf"))
    return np.stack(found, axis=1)
