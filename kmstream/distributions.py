"""How the features that separate the segments best are distributed in the sampled rows of each."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa

from kmstream.arrays import FloatArray, IntArray
from kmstream.clustering import ClusterModel
from kmstream.features import take_values
from kmstream.projection import FRAME, keep_digits
from kmstream.segment_profile import measure_sample

MAX_FEATURES = 6  # whose distributions are shown
MAX_SEGMENTS = 12  # in one distribution: more lines or boxes can't be told apart
MAX_BINS = 30
MAX_CATEGORIES = 8
_NOISE = 1e-6  # what log1p and back may leave of a whole number


def tell_distributions(
    sample: pa.Table, ids: IntArray, labels: Sequence[str], model: ClusterModel, eta_squared: FloatArray
) -> list[dict[str, Any]]:
    """Count the features that separate the segments best, in the sampled rows of the largest segments.

    Parameters
    ----------
    sample : pyarrow.Table
    ids : ndarray of shape (n_rows,)
        Places in `labels`; -1 for none of them.
    labels : sequence of str
        Largest first.
    model : ClusterModel
    eta_squared : ndarray of shape (n_features,)
        Per column of the matrix; a categorical feature is as good as its best category.

    Returns
    -------
    list of dict
        Best first, each with feature, kind ("numeric", "log1p" or "category") and counts, by label the rows. A number
        has edges, the ends of its bins in original units; beyond, by label the rows outside of all bins, at either end
        no more than 5 % of a segment; and quantiles, by label those of `segment_profile.QUANTILES` or None. A category
        has categories, the most frequent ones, and None for all others together.
    """
    features, shown = model.features, labels[:MAX_SEGMENTS]
    best = _find_best(model, eta_squared)
    chosen = features.model_copy(
        update={
            key: tuple(name for name in getattr(features, key) if name in best)
            for key in ("numeric", "categorical", "log1p")
        }
    )
    ids = np.where(ids < len(shown), ids, -1)
    taken, quantiles = take_values(sample, chosen), measure_sample(sample, shown, chosen).quantiles
    told: dict[str, dict[str, Any]] = {}
    for j, (name, values) in enumerate(zip(chosen.numeric, taken.numeric, strict=True)):
        if ((ids >= 0) & ~np.isnan(values)).any():
            told[name] = _count_numbers(values, ids, shown, quantiles[:, j], is_log=name in chosen.log1p)
    for name, texts in taken.texts.items():
        if (found := _count_categories(texts, ids, shown))["categories"]:
            told[name] = found
    return [{"feature": name} | told[name] for name in best if name in told]


def _count_numbers(
    values: FloatArray, ids: IntArray, shown: Sequence[str], quantiles: FloatArray, *, is_log: bool
) -> dict[str, Any]:
    """Count the values of a numeric feature, at least one of them usable.

    Parameters
    ----------
    values : ndarray of shape (n_rows,)
        NaN where there is none; after log1p if `is_log`.
    ids : ndarray of shape (n_rows,)
        Places in `shown`; -1 for none of them.
    shown : sequence of str
    quantiles : ndarray of shape (n_shown, len(QUANTILES))
        Original units.
    is_log : bool
    """
    known = ~np.isnan(values) & (ids >= 0)
    values, ids = values[known], ids[known]
    ends = np.log1p(quantiles) if is_log else quantiles
    # Few rows are all within; and a small segment may lie apart from all others.
    low = min(np.quantile(values, FRAME[0], method="lower"), np.nanmin(ends))
    high = max(np.quantile(values, FRAME[1], method="higher"), np.nanmax(ends))
    edges = find_edges(values, low, high, is_log=is_log)
    of_segment = {label: values[ids == i] for i, label in enumerate(shown)}
    counts = {label: np.histogram(own, edges)[0].tolist() for label, own in of_segment.items()}
    return {
        "kind": "log1p" if is_log else "numeric",
        "edges": _round_edges(np.expm1(edges) if is_log else edges),
        "counts": counts,
        "beyond": {label: len(own) - sum(counts[label]) for label, own in of_segment.items()},
        "quantiles": {
            label: None if np.isnan(found).any() else keep_digits(found)
            for label, found in zip(shown, quantiles, strict=True)
        },
    }


def find_edges(values: FloatArray, low: float, high: float, *, is_log: bool = False) -> FloatArray:
    """Cut a range of values into at most `MAX_BINS` bins of about the same width.

    Where all values are whole numbers each bin begins and ends halfway between two of them, else bins with one number
    more than their neighbours would look like peaks.

    Parameters
    ----------
    values : ndarray of shape (n_rows,)
        Finite, and at least one; after log1p if `is_log`.
    low, high : float
        The range, in the same units.
    is_log : bool

    Returns
    -------
    ndarray of shape (n_bins + 1,)
        Ascending, after log1p if `is_log`.

    Examples
    --------
    >>> find_edges(np.array([1.0, 2.0, 2.0, 3.0]), 1.0, 3.0).tolist()
    [0.5, 1.5, 2.5, 3.5]
    >>> len(find_edges(np.array([0.1, 0.2]), 0.1, 0.2))
    31
    """
    edges = np.linspace(low, high, MAX_BINS + 1)
    original = np.expm1(values) if is_log else values
    if not np.allclose(original, np.rint(original), rtol=1e-12, atol=_NOISE):
        width = (high - low) / MAX_BINS
        can_be_told_apart = np.isfinite(width) and width > _NOISE * max(abs(low), abs(high))
        return edges if can_be_told_apart else np.array([low - 0.5, low + 0.5])
    edges = np.expm1(edges) if is_log else edges
    ends = np.unique(np.append(np.floor(edges[:-1] + _NOISE), np.ceil(edges[-1] - _NOISE)))
    if len(ends) == 1 or ends[1] - ends[0] == 1:
        ends = np.append(ends[0] - 1, ends)
    else:
        ends[0] -= 1
    return np.asarray(np.log1p(ends + 0.5) if is_log else ends + 0.5)


def _find_best(model: ClusterModel, eta_squared: FloatArray) -> list[str]:
    """Find the features that separate the segments best, in that order; those that don't vary are none of them."""
    widths = [1] * len(model.features.numeric) + [len(values) for values in model.scaling.categories]
    names = (*model.features.numeric, *model.features.categorical)
    starts = np.cumsum([0, *widths])
    eta = np.nan_to_num(eta_squared, nan=-1.0)
    best_of = [eta[start:end].max(initial=-1.0) for start, end in pairwise(starts)]
    order = np.argsort(-np.array(best_of), kind="stable")
    return [names[j] for j in order if best_of[j] >= 0][:MAX_FEATURES]


def _count_categories(texts: pa.Array, ids: IntArray, shown: Sequence[str]) -> dict[str, Any]:
    """Count the values of a categorical feature; there are none where no row of a segment that is shown has one."""
    known = np.asarray(texts.is_valid()) & (ids >= 0)
    codes = texts.filter(pa.array(known)).dictionary_encode()
    values = codes.dictionary.to_pylist()
    table = np.zeros((len(shown), len(values)), np.int64)
    np.add.at(table, (ids[known], np.asarray(codes.indices)), 1)
    totals = table.sum(axis=0)
    order = sorted(range(len(values)), key=lambda j: (-totals[j], values[j]))
    kept, rest = order[:MAX_CATEGORIES], order[MAX_CATEGORIES:]
    counts = table[:, kept]
    if rest:
        counts = np.column_stack([counts, table[:, rest].sum(axis=1)])
    return {
        "kind": "category",
        "categories": [values[j] for j in kept] + [None] * bool(rest),
        "counts": dict(zip(shown, counts.tolist(), strict=True)),
    }


def _round_edges(edges: FloatArray) -> list[float]:
    """Drop the digits that nobody could see: less than a thousandth of the narrowest bin."""
    decimals = 3 - math.floor(math.log10(np.diff(edges).min()))
    return np.round(edges, decimals).tolist()  # type: ignore[no-any-return]
