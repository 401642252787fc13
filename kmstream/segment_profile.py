"""The profile of a model version: which features separate its segments, and what each segment looks like in each.

Means, spreads and tests are exact over every row. Quantiles and missing values are those of the version's sample, and
say so.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from kmstream.arrays import FloatArray, IntArray
from kmstream.columns import to_float64
from kmstream.config import FeaturesConfig
from kmstream.features import Scaling, encoded_names, take_values, to_original_units
from kmstream.separation import Pairs, analyse_variance, compare_pairs
from kmstream.summary import ClusterSummary

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
CLOSEST_PAIRS = 10  # that drift.json and the page tell of


@dataclass(frozen=True)
class SampleFigures:
    """What the sampled rows of each segment tell; each row counts once, whatever its weight.

    Attributes
    ----------
    rows : ndarray of shape (n_clusters,)
    missing : ndarray of shape (n_clusters, n_columns)
        Share of rows without a usable value, per numeric and then per categorical feature; NaN without rows.
    quantiles : ndarray of shape (n_clusters, n_numeric, len(QUANTILES))
        Of the usable values, in original units; NaN without any.
    """

    rows: IntArray
    missing: FloatArray
    quantiles: FloatArray


def measure_sample(sample: pa.Table, labels: Sequence[str], features: FeaturesConfig) -> SampleFigures:
    """Find quantiles and missing values in the sampled rows of each segment.

    Parameters
    ----------
    sample : pyarrow.Table
        The feature columns in original units, and cluster_label.
    labels : sequence of str
        The segments.
    features : FeaturesConfig

    Examples
    --------
    >>> sample = pa.table({"age": [20.0, 30.0, None, 60.0], "cluster_label": ["a", "a", "a", "b"]})
    >>> found = measure_sample(sample, ["a", "b"], FeaturesConfig(numeric=("age",)))
    >>> found.rows.tolist(), found.missing.round(2).ravel().tolist(), found.quantiles[:, 0, 2].tolist()
    ([3, 1], [0.33, 0.0], [25.0, 60.0])
    """
    taken = take_values(sample, features)
    usable = [~np.isnan(column) for column in taken.numeric]
    usable += [np.asarray(texts.is_valid()) for texts in taken.texts.values()]
    values = [to_float64(sample.column(name)) for name in features.numeric]
    names = np.array(sample.column("cluster_label").to_pylist(), dtype=object)
    rows = np.zeros(len(labels), np.int64)
    missing = np.full((len(labels), len(usable)), np.nan)
    quantiles = np.full((len(labels), len(values), len(QUANTILES)), np.nan)
    for i, label in enumerate(labels):
        here = names == label
        rows[i] = np.count_nonzero(here)
        for j, good in enumerate(usable if rows[i] else ()):
            missing[i, j] = 1 - np.count_nonzero(good & here) / rows[i]
            if j < len(values) and missing[i, j] < 1:
                quantiles[i, j] = np.quantile(values[j][good & here], QUANTILES)
    return SampleFigures(rows, missing, quantiles)


def tell_separation(
    summary: ClusterSummary, labels: Sequence[str], features: FeaturesConfig, scaling: Scaling
) -> dict[str, Any]:
    """Tell which features separate the segments, and which segments are hardest to tell apart, as drift.json has it.

    Parameters
    ----------
    summary : ClusterSummary
        Of the rows the model was fitted on, in scaled units.
    labels : sequence of str
        Per cluster.
    features : FeaturesConfig
    scaling : Scaling

    Returns
    -------
    dict
        explained, df_between, df_within; features, the one that separates best first, each with its kind ("numeric",
        "log1p" or "category", a value of a categorical feature, its mean being a share of rows), eta_squared, f, p, the
        segments with the lowest and the highest mean (original units) and cohens_d of these two; closest, the ten
        pairs hardest to tell apart, each with the feature that does it best. None for what has no value, and for what
        is infinite because rows differ within no segment.

    Examples
    --------
    >>> nothing = np.zeros(2)
    >>> summary = ClusterSummary(
    ...     np.array([30, 10]), np.array([[-1.0], [3.0]]), np.array([[60.0], [20.0]]), nothing, nothing
    ... )
    >>> scaling = Scaling(np.array([50.0]), np.array([10.0]), np.array([50.0]), np.zeros((1, 0)))
    >>> told = tell_separation(summary, ["young", "old"], FeaturesConfig(numeric=("age",)), scaling)
    >>> feature = told["features"][0]
    >>> feature["feature"], round(feature["eta_squared"], 2), feature["highest"]
    ('age', 0.6, {'cluster_label': 'old', 'mean': 80.0})
    """
    return _tell_separation(_look(summary, labels, features, scaling))


def tell_profile(
    summary: ClusterSummary,
    sample: pa.Table,
    labels: Sequence[str],
    features: FeaturesConfig,
    scaling: Scaling,
) -> dict[str, Any]:
    """Tell all of it: what `tell_separation` does, every pair in every feature, and the figures of each segment.

    A mean is in original units; under log1p it is the mean of the logs taken back, as that of a centroid. A spread is
    `sd` in original units. Under log1p it is `sd_factor` instead: the logs lie one standard deviation off where value
    + 1 is that many times, or that part of, the mean + 1. Of a category the mean is its share of the rows.

    Parameters
    ----------
    summary, labels, features, scaling
        Those of `tell_separation`.
    sample : pyarrow.Table
        That of `measure_sample`.

    Returns
    -------
    dict
        What `tell_separation` gives; sample_rows; segments, each with cluster_id, cluster_label, rows, share,
        sample_rows and, by feature, mean, sd, sd_factor, quantiles and missing_share; pairs, each with cluster_label,
        other_label, feature, higher (the one with the higher mean), cohens_d (positive where that is the first), t, df,
        p and p_adjusted.
    """
    seen, found = _look(summary, labels, features, scaling), measure_sample(sample, labels, features)
    spreads, factors = _find_spreads(seen, scaling)
    n_numeric = len(features.numeric)
    column_of = [*range(n_numeric)]  # of the sample, for each column of the matrix
    column_of += [n_numeric + at for at, values in enumerate(scaling.categories) for _ in values]

    def tell_figures(i: int, j: int) -> dict[str, Any]:
        quantiles = found.quantiles[i, j].tolist() if j < n_numeric else [math.nan] * len(QUANTILES)
        return {
            "mean": _plain(seen.means[i, j]) if summary.rows[i] > 0 else None,
            "sd": _plain(spreads[i, j]),
            "sd_factor": _plain(factors[i, j]),
            "quantiles": {f"{q:g}": _plain(value) for q, value in zip(QUANTILES, quantiles, strict=True)},
            "missing_share": _plain(found.missing[i, column_of[j]]),
        }

    return _tell_separation(seen) | {
        "sample_rows": int(found.rows.sum()),
        "segments": [
            {
                "cluster_id": i,
                "cluster_label": label,
                "rows": summary.rows[i].item(),
                "share": float(summary.shares[i]),
                "sample_rows": int(found.rows[i]),
                "features": {name: tell_figures(i, j) for j, name in enumerate(seen.names)},
            }
            for i, label in enumerate(labels)
        ],
        "pairs": [_tell_pair(seen, at, j) for at, j in np.ndindex(seen.pairs.p.shape)],
    }


@dataclass(frozen=True)
class _Seen:
    """A model as people see it.

    Attributes
    ----------
    summary : ClusterSummary
    labels : sequence of str
        Per cluster.
    names, kinds : sequence of str
        Per column of the matrix.
    means : ndarray of shape (n_clusters, n_features)
        Original units.
    pairs : Pairs
    """

    summary: ClusterSummary
    labels: Sequence[str]
    names: Sequence[str]
    kinds: Sequence[str]
    means: FloatArray
    pairs: Pairs


def _look(summary: ClusterSummary, labels: Sequence[str], features: FeaturesConfig, scaling: Scaling) -> _Seen:
    names, means = encoded_names(features, scaling), to_original_units(summary.mean, features, scaling)
    kinds = ["log1p" if name in features.log1p else "numeric" for name in features.numeric]
    kinds += ["category"] * (len(names) - len(kinds))
    return _Seen(summary, labels, names, kinds, means, compare_pairs(summary))


def _tell_separation(seen: _Seen) -> dict[str, Any]:
    separation = analyse_variance(seen.summary)
    best_first = np.argsort(-np.nan_to_num(separation.eta_squared, nan=-1.0), kind="stable").tolist()
    told = []
    for j in best_first:
        figures = {key: _plain(getattr(separation, key)[j]) for key in ("eta_squared", "f", "p")}
        ends = (
            dict.fromkeys(("lowest", "highest", "cohens_d")) if figures["eta_squared"] is None else _tell_ends(seen, j)
        )
        told.append({"feature": seen.names[j], "kind": seen.kinds[j]} | figures | ends)
    return {
        "explained": _plain(separation.explained),
        "df_between": separation.df_between,
        "df_within": separation.df_within,
        "features": told,
        "closest": [_tell_pair(seen, at, j) for at, j in _find_closest(seen.pairs)],
    }


def _tell_ends(seen: _Seen, j: int) -> dict[str, Any]:
    """Tell which segments have the lowest and the highest mean of a column that varies, and how far they are apart."""
    pairs, there = seen.pairs, np.flatnonzero(seen.summary.rows > 0)
    low, *_, high = there[np.argsort(seen.summary.mean[there, j], kind="stable")].tolist()
    (at,) = np.flatnonzero((pairs.one == min(low, high)) & (pairs.two == max(low, high)))
    lowest, highest = ({"cluster_label": seen.labels[i], "mean": _plain(seen.means[i, j])} for i in (low, high))
    return {"lowest": lowest, "highest": highest, "cohens_d": _plain(abs(pairs.cohens_d[at, j]))}


def _tell_pair(seen: _Seen, at: int, j: int) -> dict[str, Any]:
    pairs = seen.pairs
    figures = {key: _plain(getattr(pairs, key)[at, j]) for key in ("cohens_d", "t", "df", "p", "p_adjusted")}
    one, two, d = seen.labels[pairs.one[at]], seen.labels[pairs.two[at]], pairs.cohens_d[at, j]
    higher = one if d > 0 else two if d < 0 else None
    return {"cluster_label": one, "other_label": two, "feature": seen.names[j], "higher": higher} | figures


def _find_closest(pairs: Pairs) -> list[tuple[int, int]]:
    """Find the pairs hardest to tell apart, and the column that does it best: by their largest |d|, NaN left out."""
    distances = np.where(np.isnan(pairs.cohens_d), -1.0, np.abs(pairs.cohens_d))
    best = distances.argmax(axis=1)
    largest = distances[np.arange(len(best)), best]
    order = np.argsort(largest, kind="stable").tolist()
    return [(at, int(best[at])) for at in order if largest[at] >= 0][:CLOSEST_PAIRS]


def _find_spreads(seen: _Seen, scaling: Scaling) -> tuple[FloatArray, FloatArray]:
    """Give the standard deviations (divided by n - 1) before scaling: as they are, and those of logs as factors.

    Both of shape (n_clusters, n_features); NaN in one of the two, and where rows are 1 or fewer.
    """
    rows = seen.summary.rows[:, None]
    spreads = np.sqrt(seen.summary.m2 / np.where(rows > 1, rows - 1, np.nan))
    spreads[:, : len(scaling.scale)] *= scaling.scale
    is_log = np.array(seen.kinds) == "log1p"
    with np.errstate(over="ignore"):
        return np.where(is_log, np.nan, spreads), np.where(is_log, np.exp(spreads), np.nan)


def _plain(value: float) -> float | None:
    """Give a number as JSON knows it."""
    return float(value) if math.isfinite(value) else None
