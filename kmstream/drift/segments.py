"""What drift.json tells of each segment."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from kmstream.arrays import FloatArray
from kmstream.drift.sides import Aligned
from kmstream.measures import inertia_ratio

_MAX_MOVED = 3  # features that are told of a segment that moved


def describe_segment(side: Aligned, i: int, feature_names: Sequence[str]) -> dict[str, Any]:
    """Tell what a segment is where there is nothing to compare it with."""
    compared = ("reference_share", "centroid_shift", "centroid_shift_radii", "standard_errors", "inertia_ratio")
    return {
        "cluster_label": side.labels[i],
        "status": "emerged",
        "rows": side.rows[i].item(),
        "share": float(side.shares[i]),
        **dict.fromkeys((*compared, "outlier_share")),
        "centroid": _by_feature(feature_names, side.original[i]),
        "moved_most": [],
    }


def compare_segment(
    r: Aligned, c: Aligned, i: int, feature_names: Sequence[str], reference_sd: FloatArray
) -> dict[str, Any]:
    """Tell how a segment changed; where one side has no rows of it, its share alone did.

    Parameters
    ----------
    r, c : Aligned
        Reference and current.
    i : int
        The place of its label in both.
    feature_names : sequence of str
    reference_sd : ndarray of shape (n_features,)
        Standard deviation of all rows of the reference.
    """
    label, n_r, n_c = r.labels[i], r.rows[i].item(), c.rows[i].item()
    segment = describe_segment(c, i, feature_names) | {
        "status": "retired" if label not in c.side.labels else "kept" if label in r.side.labels else "emerged",
        "reference_share": float(r.shares[i]),
        "outlier_share": float(c.outliers[i] / n_c) if n_c and c.outliers is not None else None,
    }
    if not n_c:
        segment["centroid"] = _by_feature(feature_names, r.original[i])  # where it was
    if not n_r or not n_c:
        return segment
    moved = c.mean[i] - r.mean[i]
    shift, radius = float(np.linalg.norm(moved)), float(np.sqrt(r.sse[i] / n_r))
    standard_error = radius * np.sqrt(1 / n_c + 1 / n_r)
    in_sd = moved / np.where(reference_sd > 0, reference_sd, 1.0)
    return segment | {
        "centroid_shift": shift,
        # A segment of equal rows has no radius; its shift is then told in scaled units.
        "centroid_shift_radii": shift / radius if radius > 0 else shift,
        "standard_errors": float(shift / standard_error) if standard_error > 0 else None,
        "inertia_ratio": inertia_ratio(r.sse[i], n_r, c.sse[i], n_c),
        "moved_most": [
            {
                "feature": feature_names[j],
                "from": float(r.original[i, j]),
                "to": float(c.original[i, j]),
                "in_sd": float(in_sd[j]),
            }
            for j in np.argsort(-np.abs(in_sd), kind="stable")[:_MAX_MOVED]
            if in_sd[j] != 0
        ],
    }


def _by_feature(feature_names: Sequence[str], values: FloatArray) -> dict[str, float]:
    return {name: float(value) for name, value in zip(feature_names, values, strict=True)}
