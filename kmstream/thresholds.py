"""Thresholds that a segmentation learns from itself: how far windows of its reference differ where nothing is wrong.

A window is a run of neighbouring partitions with about as many rows as the window to judge: months differ from each
other by more than chance, and neighbours are alike, so rows drawn one by one would promise too little. Each is compared
with the whole by the measures of `drift`, over the rows of the sample; chance does not count, as it does not for a
score.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from scipy.stats import t as student

from kmstream.arrays import FloatArray, IntArray
from kmstream.clustering import ClusterModel, assign_rows
from kmstream.config import DriftConfig, Threshold
from kmstream.drift import OUTLIER_QUANTILE, DriftReport, Observed, compare
from kmstream.drift_figures import MEASURES
from kmstream.features import Encoded, Rows, count_categories, encode, encoded_names
from kmstream.summary import PARTITION, DeviationSums, thin_positions
from kmstream.value_counts import count_bins

LEAST_WINDOWS = 5  # that have no row in common; fewer tell nothing
MAX_WINDOWS = 100
MAX_ROWS = 100_000  # of the sample
MAX_WINDOW_ROWS = 20_000
CHANCE = 0.005  # of an unchanged window, to be beyond the learnt warning of a measure
FLOOR, CEILING = 0.5, 3.0  # times the configured ones: too small to matter, too large to be overlooked
_UNCHANGED = dict.fromkeys(MEASURES, 0.0) | {"inertia_ratio": 1.0, "outlier_share": 1.0 - OUTLIER_QUANTILE}
_POWER = dict.fromkeys(MEASURES, 1) | {"share_psi": 2, "feature_psi": 2}  # they grow with the square of a change
_NONE = Threshold(warn=0.0, alert=0.0)  # everything beyond chance is at or above it


@dataclass(frozen=True)
class Thresholds:
    """What a window is judged by, and where that comes from, in words."""

    limits: DriftConfig
    source: str


def learn_thresholds(
    configured: DriftConfig, sample: pa.Table, model: ClusterModel, far: FloatArray, *, share: float
) -> Thresholds:
    """Learn from a reference what its windows are like.

    Parameters
    ----------
    configured : DriftConfig
        What holds where nothing can be learnt; an alert keeps the proportion to its warning.
    sample : pyarrow.Table
        Rows of the reference in dataset order: its feature columns, and `PARTITION`.
    model : ClusterModel
        Of the reference.
    far : ndarray of shape (n_clusters,)
        The distance beyond which a row is an outlier.
    share : float
        Rows of the window to judge, over those of the reference; beyond a fifth it is judged as if it were one.
    """
    if PARTITION not in sample.column_names:
        return Thresholds(configured, "configuration (the reference was made by a kmstream that kept no partitions)")
    sample = sample.take(thin_positions(sample.num_rows, MAX_ROWS))
    partitions = sample.column(PARTITION).to_numpy()
    windows, n_apart = _choose_windows(partitions, share)
    n_partitions = len(np.unique(partitions))
    if n_apart < LEAST_WINDOWS:
        n = "1 partition" if n_partitions == 1 else f"{n_partitions} partitions"
        return Thresholds(configured, f"configuration (the reference has {n}; to learn takes {LEAST_WINDOWS})")
    encoded = encode(sample, model.features, model.scaling)
    whole = _observe(encoded, np.arange(len(partitions)), model, far)
    blank = configured.model_copy(update=dict.fromkeys(MEASURES, _NONE))
    names = encoded_names(model.features, model.scaling)
    categorical = count_categories(model.features, model.scaling)
    changes, chances = [], []
    for rows, part in windows:
        report = compare(whole, _observe(encoded, rows, model, far), blank, names, categorical)
        changes.append(np.array(_find_changes(report)) / (1.0 - part))  # it is part of the whole
        chances.append(_find_chances(report))
    levels = _foresee(np.array(changes), n_apart)
    limits = {
        measure: _limit(getattr(configured, measure), level ** _POWER[measure], chance, _UNCHANGED[measure])
        for measure, level, chance in zip(MEASURES, levels, np.median(chances, axis=0), strict=True)
    }
    return Thresholds(configured.model_copy(update=limits), f"how {n_partitions} partitions of the reference differ")


def _choose_windows(partitions: IntArray, share: float) -> tuple[list[tuple[IntArray, float]], int]:
    """Give the rows of each window and its share of all, and how many windows there are that have no row in common.

    A window is as many neighbours as have `share` of the rows on average, going on with the first after the last; of
    one that has more rows than wanted some are drawn.
    """
    starts = np.flatnonzero(np.diff(partitions, prepend=-1))
    n_partitions = len(starts)
    together = max(1, min(round(share * n_partitions), n_partitions // LEAST_WINDOWS))
    ends = np.append(starts[1:], len(partitions))
    ends = np.concatenate([ends, ends + len(partitions)])
    wanted = max(1, round(share * len(partitions)))
    rng = np.random.default_rng(0)
    windows = []
    for i in np.unique(np.linspace(0, n_partitions - 1, min(n_partitions, MAX_WINDOWS)).round().astype(int)):
        rows = np.arange(starts[i], ends[i + together - 1]) % len(partitions)
        size = min(wanted, len(rows), MAX_WINDOW_ROWS)
        chosen = rows if size == len(rows) else np.sort(rng.choice(rows, size, replace=False))
        windows.append((chosen, len(rows) / len(partitions)))
    return windows, n_partitions // together


def _observe(encoded: Encoded, rows: IntArray, model: ClusterModel, far: FloatArray) -> Observed:
    part = Rows(encoded.rows.X[rows], encoded.rows.keep[rows])
    found, sums = assign_rows(part, DeviationSums.empty(model.centroids))
    beyond = part.keep & (found.distances > far[found.cluster_ids])
    return Observed(
        labels=model.labels,
        summary=sums.summary,
        original=sums.summary.mean,
        bins=count_bins([values[rows] for values in encoded.numeric], model.scaling.edges),
        outliers=np.bincount(found.cluster_ids[beyond], minlength=len(model.labels)),
    )


def _find_changes(report: DriftReport) -> list[float]:
    """Give the largest change of each measure in a window, as far as it is beyond chance."""
    largest = dict.fromkeys(MEASURES, 0.0)
    for reason in report.reasons:
        change = max(0.0, reason.value - _UNCHANGED[reason.measure]) ** (1 / _POWER[reason.measure])
        largest[reason.measure] = max(largest[reason.measure], change)
    return list(largest.values())


def _find_chances(report: DriftReport) -> list[float]:
    """Give the change of each measure that chance makes in a window: what lies below was not seen."""
    noise = {measure: level - _UNCHANGED[measure] for measure, level in report.totals["noise"].items()}
    noise["share_change"] = max(segment["share_noise"] for segment in report.segments)
    noise["centroid_shift"] = max(segment["shift_noise"] for segment in report.segments)
    noise["feature_psi"] = max(feature["psi_noise"] for feature in report.features)
    return [noise[measure] for measure in MEASURES]


def _foresee(changes: FloatArray, n_apart: int) -> FloatArray:
    """Give the change that the next window exceeds by `CHANCE`: a prediction bound, after Student.

    Parameters
    ----------
    changes : ndarray of shape (n_windows, n_measures)
    n_apart : int
        Windows that know nothing of each other.
    """
    spread = changes.std(axis=0, ddof=1) * np.sqrt(1.0 + 1.0 / n_apart)
    bound: FloatArray = changes.mean(axis=0) + student.isf(CHANCE, n_apart - 1) * spread
    return bound


def _limit(configured: Threshold, change: float, chance: float, unchanged: float) -> Threshold:
    """Give the learnt limits; not below the configured ones by more than chance let the windows see."""
    warn, alert = (max(0.0, limit - unchanged) for limit in (configured.warn, configured.alert))
    times = float(np.clip(max(change, min(chance, warn)) / warn, FLOOR, CEILING)) if warn else 1.0
    return Threshold(warn=unchanged + times * warn, alert=unchanged + times * alert)
