"""How the features that separate the segments best are distributed in the sampled rows of each."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from kmstream.clustering import ClusterModel
from kmstream.features import take_values
from kmstream.projection import FRAME, shorten_all
from kmstream.segment_profile import measure_sample

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

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
        no more than 5 % of a segment; and quantiles, by label those of `profile.QUANTILES` or None. A category has
        categories, the most frequent ones, and None for all others together.
    """
    features, shown = model.features, labels[:MAX_SEGMENTS]
    best = _find_best(model, eta_squared)
    numeric = [name for name in features.numeric if name in best]
    chosen = features.model_copy(
        update={
            "numeric": tuple(numeric),
            "categorical": tuple(name for name in features.categorical if name in best),
            "log1p": tuple(name for name in features.log1p if name in best),
        }
    )
    taken, quantiles = take_values(sample, chosen), measure_sample(sample, shown, chosen).quantiles
    told: dict[str, dict[str, Any]] = {}
    for j, (name, values) in enumerate(zip(numeric, taken.numeric, strict=True)):
        is_log = name in features.log1p
        known = ~np.isnan(values) & (ids >= 0) & (ids < len(shown))
        if not known.any():
            continue
        ends = np.log1p(quantiles[:, j]) if is_log else quantiles[:, j]
        # Few rows are all within; and a small segment may lie apart from all others.
        low = min(np.quantile(values[known], FRAME[0], method="lower"), np.nanmin(ends))
        high = max(np.quantile(values[known], FRAME[1], method="higher"), np.nanmax(ends))
        edges = find_edges(values[known], low, high, is_log=is_log)
        counts = [np.histogram(values[known & (ids == i)], edges)[0].tolist() for i in range(len(shown))]
        beyond = [int(np.count_nonzero(known & (ids == i))) - sum(inside) for i, inside in enumerate(counts)]
        told[name] = {
            "kind": "log1p" if is_log else "numeric",
            "edges": _round_edges(np.expm1(edges) if is_log else edges),
            "counts": dict(zip(shown, counts, strict=True)),
            "beyond": dict(zip(shown, beyond, strict=True)),
            "quantiles": {
                label: None if np.isnan(found[j]).any() else shorten_all(found[j])
                for label, found in zip(shown, quantiles, strict=True)
            },
        }
    for name, texts in taken.texts.items():
        if (found := _count_categories(texts, ids, shown))["categories"]:
            told[name] = {"kind": "category"} | found
    return [{"feature": name} | told[name] for name in best if name in told]


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
    among = np.asarray(texts.is_valid()) & (ids >= 0) & (ids < len(shown))
    codes = texts.dictionary_encode()
    values, code_of = codes.dictionary.to_pylist(), np.asarray(pc.fill_null(codes.indices, 0))[among]
    table = np.zeros((len(shown), max(len(values), 1)), np.int64)
    np.add.at(table, (ids[among], code_of), 1)
    totals = table.sum(axis=0)
    order = sorted((j for j in range(len(values)) if totals[j]), key=lambda j: (-totals[j], values[j]))
    kept, rest = order[:MAX_CATEGORIES], order[MAX_CATEGORIES:]
    counts = table[:, kept]
    if len(rest):
        counts = np.column_stack([counts, table[:, rest].sum(axis=1)])
    return {
        "categories": [values[j] for j in kept] + [None] * bool(len(rest)),
        "counts": dict(zip(shown, counts.tolist(), strict=True)),
    }


def _round_edges(edges: FloatArray) -> list[float]:
    """Drop the digits that nobody could see: less than a thousandth of the narrowest bin."""
    decimals = 3 - math.floor(math.log10(np.diff(edges).min()))
    return np.round(edges, decimals).tolist()  # type: ignore[no-any-return]
