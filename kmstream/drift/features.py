"""What drift.json tells of each feature: numeric ones, single categories, then the categorical ones as a whole."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kmstream.arrays import Counts
from kmstream.drift.sides import Aligned, Observed
from kmstream.measures import psi

Counted = Sequence[tuple[Counts, Counts]]


def describe_features(side: Observed, feature_names: Sequence[str]) -> list[dict[str, Any]]:
    """Tell the mean of each feature where there is nothing to compare it with."""
    means = side.summary.shares @ side.summary.mean
    return [
        {"feature": name, "psi": None, "mean_from": None, "mean_to": float(mean)}
        | dict.fromkeys(("mix_effect", "within_effect"))
        for name, mean in zip(feature_names, means, strict=True)
    ]


def count_values(r: Aligned, c: Aligned, categorical: Mapping[str, int]) -> Counted:
    """Give the rows of both sides by value, for each line of `compare_features`.

    Bins of a numeric feature, the last being missing values; yes and no of a category; the categories of a categorical
    feature, the last being what none of them holds.
    """
    counted: list[tuple[Counts, Counts]] = list(zip(r.side.bins, c.side.bins, strict=True))
    rows = [side.rows.sum() for side in (r, c)]
    shares = [(side.shares @ side.mean)[len(counted) :] for side in (r, c)]
    for share_r, share_c in zip(*shares, strict=True):
        one, other = (n * np.array([share, 1.0 - share]) for n, share in zip(rows, (share_r, share_c), strict=True))
        counted.append((one, other))
    first = 0
    for n_categories in categorical.values():
        own = [share[first : first + n_categories] for share in shares]
        one, other = (n * np.append(part, max(0.0, 1.0 - part.sum())) for n, part in zip(rows, own, strict=True))
        counted.append((one, other))
        first += n_categories
    return counted


def compare_features(
    r: Aligned, c: Aligned, feature_names: Sequence[str], counted: Counted, categorical: Mapping[str, int]
) -> list[dict[str, Any]]:
    """Tell how each feature changed, and how much of that is the mix of the segments.

    Parameters
    ----------
    r, c : Aligned
        Reference and current.
    feature_names : sequence of str
        Of the columns of the matrix.
    counted : sequence of pairs of ndarray
        What `count_values` gives.
    categorical : mapping of str to int
        How many of the columns, the last ones, are of which categorical feature.
    """
    # Where the reference has no rows its mean is taken from the current side: all of its effect is then one of the mix.
    mean_r = np.where(r.rows[:, None] > 0, r.mean, c.mean)
    mix = (c.shares - r.shares) @ mean_r
    within = c.shares @ (c.mean - mean_r)
    mean_from, mean_to = r.shares @ mean_r, c.shares @ c.mean
    features = []
    for j, name in enumerate(feature_names):
        one = {"feature": name, "psi": _psi_of_seen(*counted[j])}
        one |= {"mean_from": float(mean_from[j]), "mean_to": float(mean_to[j])}
        one |= {"mix_effect": float(mix[j]), "within_effect": float(within[j])}
        if j < len(c.side.bins):
            one |= dict(zip(("missing_from", "missing_to"), map(_last_share, counted[j]), strict=True))
        features.append(one)
    for name, rows in zip(categorical, counted[len(feature_names) :], strict=True):
        nothing = dict.fromkeys(("mean_from", "mean_to", "mix_effect", "within_effect"))
        unseen = dict(zip(("unseen_from", "unseen_to"), map(_last_share, rows), strict=True))
        features.append({"feature": name, "psi": _psi_of_seen(*rows), **nothing, **unseen})
    return features


def _psi_of_seen(reference_rows: Counts, current_rows: Counts) -> float:
    """Leave out bins that are empty on both sides: smoothed, they would look like drift of a small window."""
    seen = (reference_rows + current_rows) > 0
    return psi(reference_rows[seen], current_rows[seen]) if current_rows.any() else 0.0


def _last_share(rows: Counts) -> float:
    """Give the share of the last bin: what is missing, or none of the categories."""
    return float(rows[-1] / rows.sum()) if rows.sum() else 0.0
