"""The comparison of two sides: what changed, what chance alone may do to each figure, what is beyond a threshold."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kmstream.arrays import FloatArray
from kmstream.config import DriftConfig
from kmstream.drift.features import Counted, compare_features, count_values, describe_features
from kmstream.drift.report import DriftReport
from kmstream.drift.segments import compare_segment, describe_segment
from kmstream.drift.sides import OUTLIER_QUANTILE, Aligned, Observed, align
from kmstream.drift_figures import MEASURES
from kmstream.measures import inertia_ratio, psi, share_chi2, share_js
from kmstream.noise import outlier_noise, psi_noise, ratio_noise, share_noise, shift_noise
from kmstream.reasons import find_reasons, find_too_few, worst
from kmstream.summary import ClusterSummary


def compare(
    reference: Observed | None,
    current: Observed,
    thresholds: DriftConfig,
    feature_names: Sequence[str],
    categorical: Mapping[str, int] | None = None,
) -> DriftReport:
    """Compare the current rows with the reference.

    Parameters
    ----------
    reference : Observed or None
        None for a first version: there is nothing to drift from.
    current : Observed
        In the same scaled space as the reference.
    thresholds : DriftConfig
    feature_names : sequence of str
        Names of the n_features columns.
    categorical : mapping of str to int, optional
        How many of the columns, the last ones, are of which categorical feature.
    """
    if reference is None:
        return _describe_first(current, feature_names)
    labels = [*current.labels, *(label for label in reference.labels if label not in current.labels)]
    r, c = align(reference, labels), align(current, labels)
    sd = _find_sd(reference.summary)
    segments = [compare_segment(r, c, i, feature_names, sd) for i in range(len(labels))]
    counted = count_values(r, c, categorical or {})
    features = compare_features(r, c, feature_names, counted, categorical or {})
    totals = _compare_totals(r, c, segments, features)
    _add_noise(totals, segments, features, r, c, counted)
    reasons = find_reasons(totals, segments, features, thresholds)
    too_few = find_too_few(totals, segments, features, thresholds)
    if not c.rows.any():  # nothing is known of the segments then, only of what is missing
        reasons = tuple(reason for reason in reasons if reason.measure == "feature_psi")
        too_few = MEASURES
    alarming = {reason.measure for reason in reasons}
    return DriftReport(
        severity=worst(reasons),
        reasons=reasons,
        totals=totals,
        segments=tuple(segments),
        features=tuple(features),
        too_few_rows=tuple(measure for measure in too_few if measure not in alarming),
        thresholds={measure: getattr(thresholds, measure).model_dump() for measure in MEASURES},
    )


def _describe_first(current: Observed, feature_names: Sequence[str]) -> DriftReport:
    """Tell of a first version what it is, with the totals of any other, but for its rows unknown."""
    side = align(current, current.labels)
    segments = tuple(describe_segment(side, i, feature_names) for i in range(len(current.labels)))
    totals = dict.fromkeys(_compare_totals(side, side, (), ())) | {"rows": current.summary.n_rows}
    return DriftReport("ok", (), totals, segments, tuple(describe_features(current, feature_names)))


def _find_sd(summary: ClusterSummary) -> FloatArray:
    """Give the standard deviation of each feature over all rows."""
    apart = summary.mean - summary.shares @ summary.mean
    sd: FloatArray = np.sqrt((summary.m2.sum(axis=0) + summary.rows @ np.square(apart)) / (summary.n_rows or 1))
    return sd


def _compare_totals(
    r: Aligned, c: Aligned, segments: Sequence[Mapping[str, Any]], features: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    shifts = [s["centroid_shift_radii"] for s in segments if s["centroid_shift_radii"] is not None]
    p_value, cramers_v = share_chi2(r.rows, c.rows)
    return {
        "rows": c.side.summary.n_rows,
        "reference_rows": r.side.summary.n_rows,
        "share_psi": psi(r.rows, c.rows),
        "share_js": share_js(r.rows, c.rows),
        "share_chi2_p": p_value,
        "share_cramers_v": cramers_v,
        "share_change": float(np.abs(c.shares - r.shares).max()),
        "centroid_shift_radii": max(shifts, default=None),
        "inertia_ratio": inertia_ratio(r.sse.sum(), r.rows.sum(), c.sse.sum(), c.rows.sum()),
        "outlier_share": None if c.outliers is None else float(c.outliers.sum() / (c.rows.sum() or 1)),
        "feature_psi": max((f["psi"] for f in features), default=0.0),
    }


def _add_noise(
    totals: dict[str, Any],
    segments: Sequence[dict[str, Any]],
    features: Sequence[dict[str, Any]],
    r: Aligned,
    c: Aligned,
    counted: Counted,
) -> None:
    """Add to each figure the level that chance alone may take it to in windows of these sizes.

    Weights are taken for rows, but weights that add up to less than the rows are scaled up to them.
    """
    weight, n_rows = c.rows.sum().item(), c.side.n_rows
    scale = max(1.0, n_rows / weight) if n_rows and weight else 1.0
    r_rows, c_rows = r.rows * scale, c.rows * scale
    totals["noise"] = {
        "share_psi": psi_noise(r_rows, c_rows),
        "inertia_ratio": ratio_noise(r.side.summary, c.side.summary, scale),
        "outlier_share": outlier_noise(1.0 - OUTLIER_QUANTILE, c_rows.sum()),
    }
    levels = zip(share_noise(r_rows, c_rows), shift_noise(r_rows, c_rows), strict=True)
    for segment, (share_level, shift_level) in zip(segments, levels, strict=True):
        segment |= {"share_noise": float(share_level), "shift_noise": float(shift_level)}
    for feature, (one, other) in zip(features, counted, strict=True):
        feature["psi_noise"] = psi_noise(one * scale, other * scale, n_tests=len(features))
