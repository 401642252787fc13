"""Two summaries and thresholds become a drift report: how sizes, centroids, spread and features moved.

Every figure is exact over all rows, in the scaled units of the baseline unless its name says otherwise. `compare` is
the whole of it; the functions below it are the measures, one each.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kmstream.config import DriftConfig
from kmstream.measures import psi, share_chi2, share_js
from kmstream.noise import outlier_noise, psi_noise, ratio_noise, share_noise, shift_noise
from kmstream.reasons import Reason, find_reasons, find_too_few, worst
from kmstream.summary import ClusterSummary

FloatArray = NDArray[np.float64]
Counts = NDArray[Any]  # int64, or float64 where rows have weights

OUTLIER_QUANTILE = 0.99
MEASURES = ("share_psi", "share_change", "centroid_shift", "inertia_ratio", "outlier_share", "feature_psi")
_TOTALS = (
    *("rows", "reference_rows", "share_psi", "share_js", "share_chi2_p", "share_cramers_v", "share_change"),
    *("centroid_shift_radii", "inertia_ratio", "outlier_share", "feature_psi"),
)


@dataclass(frozen=True)
class Observed:
    """One side of a comparison: the rows of a window, or those a model was fitted on.

    Attributes
    ----------
    labels : tuple of str
        Per cluster of `summary`.
    summary : ClusterSummary
    original : ndarray of shape (n_clusters, n_features)
        Means of the clusters in original units.
    bins : ndarray of shape (n_numeric, n_bins + 1)
        Rows per frozen bin of each numeric feature; the last column counts missing values.
    outliers : ndarray of shape (n_clusters,), optional
        Rows beyond the reference's 99 % distance of their segment; None where they were not counted.
    n_rows : int, optional
        Rows with a segment, whatever they weigh.
    """

    labels: tuple[str, ...]
    summary: ClusterSummary
    original: FloatArray
    bins: Counts
    outliers: Counts | None = None
    n_rows: int | None = None


@dataclass(frozen=True)
class DriftReport:
    """What `drift.json` holds, but for names and versions.

    `too_few_rows` are the measures by which even an alert could be chance: the window is too small to be judged by.
    `thresholds` are those that it was judged by: ``warn`` and ``alert`` of each measure; None of a first version.
    `thresholds_from` tells where they come from.
    """

    severity: str
    reasons: tuple[Reason, ...]
    totals: dict[str, Any]
    segments: tuple[dict[str, Any], ...]
    features: tuple[dict[str, Any], ...]
    against_baseline: dict[str, Any] | None = None
    against_model: dict[str, Any] | None = None
    migration: dict[str, Any] | None = None
    ari: float | None = None
    too_few_rows: tuple[str, ...] = ()
    thresholds: dict[str, dict[str, float]] | None = None
    thresholds_from: str = "configuration"

    def to_json(self, *, name: str, reference: str | None, current: str) -> dict[str, Any]:
        """Give the content of drift.json; `reference` and `current` say what was compared, a version or a run."""
        head = {"schema_version": 1, "name": name, "reference": reference, "current": current}
        body = {one.name: getattr(self, one.name) for one in fields(self)}
        return head | body | {"reasons": [asdict(reason) for reason in self.reasons]}


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
    r, c = _align(reference, labels), _align(current, labels)
    segments = [_compare_segment(r, c, i, feature_names) for i in range(len(labels))]
    for segment in segments:
        known, there = segment["cluster_label"] in reference.labels, segment["cluster_label"] in current.labels
        segment["status"] = "kept" if known and there else "emerged" if there else "retired"
    counted = _count_values(reference, current, r, c, categorical or {})
    features = _compare_features(r, c, feature_names, counted, categorical or {})
    shifts = [s["centroid_shift_radii"] for s in segments if s["centroid_shift_radii"] is not None]
    _, p_value, cramers_v = share_chi2(r.rows, c.rows)
    values = (
        current.summary.n_rows,
        reference.summary.n_rows,
        psi(r.rows, c.rows),
        share_js(r.rows, c.rows),
        p_value,
        cramers_v,
        float(np.abs(c.shares - r.shares).max()),
        max(shifts, default=None),
        _ratio(c.sse.sum(), c.rows.sum(), r.sse.sum(), r.rows.sum()),
        None if c.outliers is None else float(c.outliers.sum() / (c.rows.sum() or 1)),
        max((f["psi"] for f in features), default=0.0),
    )
    totals: dict[str, Any] = dict(zip(_TOTALS, values, strict=True))
    _add_noise(totals, segments, features, (reference, current), (r, c), counted)
    reasons = find_reasons(totals, segments, features, thresholds)
    if not c.rows.any():  # nothing is known of the segments then, only of what is missing
        reasons = tuple(reason for reason in reasons if reason.measure == "feature_psi")
    too_few = find_too_few(totals, segments, features, thresholds) if c.rows.any() else MEASURES
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


def _add_noise(
    totals: dict[str, Any],
    segments: Sequence[dict[str, Any]],
    features: Sequence[dict[str, Any]],
    sides: tuple[Observed, Observed],
    aligned: tuple["_Aligned", "_Aligned"],
    counted: Sequence[tuple[Counts, Counts]],
) -> None:
    """Add to each figure the level that chance alone may take it to in windows of these sizes.

    Weights are taken for rows, but weights that add up to less than the rows are scaled up to them.
    """
    reference, current = sides
    weight = aligned[1].rows.sum().item()
    scale = max(1.0, current.n_rows / weight) if current.n_rows and weight else 1.0
    r_rows, c_rows = (side.rows * scale for side in aligned)
    totals["noise"] = {
        "share_psi": psi_noise(r_rows, c_rows),
        "inertia_ratio": ratio_noise(reference.summary, current.summary, scale),
        "outlier_share": outlier_noise(1.0 - OUTLIER_QUANTILE, c_rows.sum()),
    }
    levels = zip(share_noise(r_rows, c_rows), shift_noise(r_rows, c_rows), strict=True)
    for segment, (share_level, shift_level) in zip(segments, levels, strict=True):
        segment |= {"share_noise": float(share_level), "shift_noise": float(shift_level)}
    for feature, counts in zip(features, counted, strict=True):
        one, other = (rows * scale for rows in counts)
        feature["psi_noise"] = psi_noise(one, other, n_tests=len(features))


def add_facts(report: DriftReport, told: Mapping[str, Mapping[str, Any]]) -> DriftReport:
    """Add to the segments of a report what else is told of them, by label."""
    segments = tuple({**segment, **told.get(segment["cluster_label"], {})} for segment in report.segments)
    return replace(report, segments=segments)


def add_migration(
    report: DriftReport, migration: Counts, labels_from: Sequence[str], labels_to: Sequence[str], ari: float
) -> DriftReport:
    """Add to a report the table old label x new label, and the agreement of the two."""
    table = {"labels_from": list(labels_from), "labels_to": list(labels_to), "rows": migration.tolist()}
    return replace(report, migration=table, ari=ari)


@dataclass(frozen=True)
class _Aligned:
    """One side with its clusters in the order of the labels of both; zero rows where it has none."""

    labels: Sequence[str]
    rows: Counts
    shares: FloatArray
    mean: FloatArray
    original: FloatArray
    sse: FloatArray
    outliers: Counts | None
    sd: FloatArray


def _align(side: Observed, labels: Sequence[str]) -> _Aligned:
    summary = side.summary
    at = np.array([side.labels.index(label) if label in side.labels else -1 for label in labels])

    def pick(values: NDArray[Any]) -> NDArray[Any]:
        return np.where((at >= 0).reshape(-1, *[1] * (values.ndim - 1)), values[at], 0)

    grand_mean = summary.shares @ summary.mean
    spread = summary.m2.sum(axis=0) + summary.rows @ np.square(summary.mean - grand_mean)
    return _Aligned(
        labels,
        pick(summary.rows),
        pick(summary.shares),
        pick(summary.mean),
        pick(side.original),
        pick(summary.sse),
        None if side.outliers is None else pick(side.outliers),
        np.sqrt(spread / (summary.n_rows or 1)),
    )


def _compare_segment(r: _Aligned, c: _Aligned, i: int, feature_names: Sequence[str]) -> dict[str, Any]:
    n_r, n_c = r.rows[i].item(), c.rows[i].item()
    segment: dict[str, Any] = {
        "cluster_label": r.labels[i],
        "status": "kept",
        "rows": n_c,
        "share": float(c.shares[i]),
        "reference_share": float(r.shares[i]),
        "centroid_shift": None,
        "centroid_shift_radii": None,
        "standard_errors": None,
        "inertia_ratio": None,
        "outlier_share": float(c.outliers[i] / n_c) if n_c and c.outliers is not None else None,
        "centroid": _by_feature(feature_names, c.original[i] if n_c else r.original[i]),
        "moved_most": [],
    }
    if not n_r or not n_c:
        return segment
    shift = float(np.linalg.norm(c.mean[i] - r.mean[i]))
    radius = float(np.sqrt(r.sse[i] / n_r))
    standard_error = radius * np.sqrt(1 / n_c + 1 / n_r)
    in_sd = (c.mean[i] - r.mean[i]) / np.where(r.sd > 0, r.sd, 1.0)
    segment |= {
        "centroid_shift": shift,
        # A segment of equal rows has no radius; its shift is then told in scaled units.
        "centroid_shift_radii": shift / radius if radius > 0 else shift,
        "standard_errors": float(shift / standard_error) if standard_error > 0 else None,
        "inertia_ratio": _ratio(c.sse[i], n_c, r.sse[i], n_r),
        "moved_most": [
            {
                "feature": feature_names[j],
                "from": float(r.original[i, j]),
                "to": float(c.original[i, j]),
                "in_sd": float(in_sd[j]),
            }
            for j in np.argsort(-np.abs(in_sd), kind="stable")[:3]
            if in_sd[j] != 0
        ],
    }
    return segment


def _count_values(
    reference: Observed, current: Observed, r: "_Aligned", c: "_Aligned", categorical: Mapping[str, int]
) -> list[tuple[Counts, Counts]]:
    """Give the rows of both sides by value: bins of a numeric feature, yes and no of a category, then the categories.

    Last of the bins are missing values; last of the categories is what none of them holds.
    """
    counted: list[tuple[Counts, Counts]] = list(zip(reference.bins, current.bins, strict=True))
    rows = [side.rows.sum() for side in (r, c)]
    shares = [(side.shares @ side.mean)[len(current.bins) :] for side in (r, c)]
    for j in range(len(shares[0])):
        one, other = (n * np.array([share[j], 1.0 - share[j]]) for n, share in zip(rows, shares, strict=True))
        counted.append((one, other))
    first = 0
    for n_categories in categorical.values():
        own = [share[first : first + n_categories] for share in shares]
        one, other = (n * np.append(part, max(0.0, 1.0 - part.sum())) for n, part in zip(rows, own, strict=True))
        counted.append((one, other))
        first += n_categories
    return counted


def _compare_features(
    r: "_Aligned",
    c: "_Aligned",
    feature_names: Sequence[str],
    counted: Sequence[tuple[Counts, Counts]],
    categorical: Mapping[str, int],
) -> list[dict[str, Any]]:
    # Where one side has no rows its mean is taken from the other: all of its effect is then one of the mix.
    mean_r = np.where(r.rows[:, None] > 0, r.mean, c.mean)
    mean_c = np.where(c.rows[:, None] > 0, c.mean, mean_r)
    mix = (c.shares - r.shares) @ mean_r
    within = c.shares @ (mean_c - mean_r)
    mean_from, mean_to = r.shares @ mean_r, c.shares @ mean_c
    n_numeric = len(counted) - len(categorical) - sum(categorical.values())
    features = []
    for j, name in enumerate(feature_names):
        one = {"feature": name, "psi": _psi_of_seen(*counted[j])}
        one |= {"mean_from": float(mean_from[j]), "mean_to": float(mean_to[j])}
        one |= {"mix_effect": float(mix[j]), "within_effect": float(within[j])}
        if j < n_numeric:
            one |= dict(zip(("missing_from", "missing_to"), _last_shares(counted[j]), strict=True))
        features.append(one)
    for name, rows in zip(categorical, counted[len(feature_names) :], strict=True):
        nothing = dict.fromkeys(("mean_from", "mean_to", "mix_effect", "within_effect"))
        unseen = dict(zip(("unseen_from", "unseen_to"), _last_shares(rows), strict=True))
        features.append({"feature": name, "psi": _psi_of_seen(*rows), **nothing, **unseen})
    return features


def _psi_of_seen(reference_rows: Counts, current_rows: Counts) -> float:
    """Leave out bins that are empty on both sides: smoothed, they would look like drift of a small window."""
    seen = (reference_rows + current_rows) > 0
    return psi(reference_rows[seen], current_rows[seen]) if current_rows.any() else 0.0


def _last_shares(counted: tuple[Counts, Counts]) -> list[float]:
    """Give the share of the last bin: what is missing, or none of the categories."""
    return [float(rows[-1] / rows.sum()) if rows.sum() else 0.0 for rows in counted]


def _describe_first(current: Observed, feature_names: Sequence[str]) -> DriftReport:
    side = _align(current, current.labels)
    segments = [
        _compare_segment(side, side, i, feature_names)
        | dict.fromkeys(
            (
                "reference_share",
                "centroid_shift",
                "centroid_shift_radii",
                "standard_errors",
                "inertia_ratio",
                "outlier_share",
            )
        )
        | {"status": "emerged", "moved_most": []}
        for i in range(len(current.labels))
    ]
    means = current.summary.shares @ current.summary.mean
    features = [
        {
            "feature": name,
            "psi": None,
            "mean_from": None,
            "mean_to": float(mean),
            "mix_effect": None,
            "within_effect": None,
        }
        for name, mean in zip(feature_names, means, strict=True)
    ]
    totals = dict.fromkeys(_TOTALS) | {"rows": current.summary.n_rows}
    return DriftReport("ok", (), totals, tuple(segments), tuple(features))


def _by_feature(feature_names: Sequence[str], values: FloatArray) -> dict[str, float]:
    return {name: float(value) for name, value in zip(feature_names, values, strict=True)}


def _ratio(sse_c: float, n_c: int, sse_r: float, n_r: int) -> float | None:
    if not n_c or not n_r:
        return None
    if sse_r == 0:
        return 1.0 if sse_c == 0 else None
    return float((sse_c / n_c) / (sse_r / n_r))
