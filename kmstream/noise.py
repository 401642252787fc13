"""What chance alone does to the measures of drift: a window that looks different may only be small.

Each function gives the level that a measure of unchanged rows exceeds in one of five thousand windows; a value counts
as drift only beyond it. Where even an alert would lie within it, the window has too few rows to be judged by that
measure.
"""

import numpy as np
from scipy.special import chdtri
from scipy.stats import binom, norm
from scipy.stats import t as student

from kmstream.arrays import Counts, FloatArray
from kmstream.summary import ClusterSummary, distance_bin_ends

CHANCE = 0.0002  # of unchanged windows, beyond the level
STANDARD_ERRORS = 3.0  # a shift within this many is taken for noise


def psi_noise(reference_rows: Counts, current_rows: Counts, n_tests: int = 1) -> float:
    """Give the PSI that chance makes: times the rows it is about chi-square distributed, a degree less than bins.

    With several tests it is the largest of theirs.

    Examples
    --------
    >>> round(psi_noise(np.array([5000, 5000]), np.array([50, 50])), 3)
    0.14
    """
    n_bins = np.count_nonzero(reference_rows + current_rows)
    rows = _join_windows(reference_rows.sum(), current_rows.sum())
    return float(chdtri(n_bins - 1, CHANCE / n_tests) / rows) if n_bins > 1 and rows else 0.0


def share_noise(reference_rows: Counts, current_rows: Counts) -> FloatArray:
    """Give the change of each share that chance makes; with many segments one of them goes farther.

    Examples
    --------
    >>> share_noise(np.array([5000, 5000]), np.array([50, 50])).round(3)
    array([0.197, 0.197])
    """
    n_r, n_c = reference_rows.sum(), current_rows.sum()
    if not n_r or not n_c:
        return np.zeros(len(reference_rows))
    shares = (reference_rows + current_rows) / (n_r + n_c)
    n_rows = max(1, round(_join_windows(n_r, n_c)))
    tail = CHANCE / 2 / len(shares)
    grown = binom.isf(tail, n_rows, shares) / n_rows - shares
    shrunk = shares - binom.ppf(tail, n_rows, shares) / n_rows
    noise: FloatArray = np.maximum(grown, shrunk)
    return noise


def shift_noise(reference_rows: Counts, current_rows: Counts) -> FloatArray:
    """Give the shift of each centroid that chance makes, in radii: three standard errors of a single one.

    With many segments one of them goes farther; and of few rows the spread is hardly known, so the quantile of that
    chance is Student's.

    Examples
    --------
    >>> shift_noise(np.array([10**6] * 3), np.array([5, 20, 10**6])).round(3)
    array([3.958, 0.879, 0.005])
    """
    n_r, n_c = (np.maximum(rows, 1) for rows in (reference_rows, current_rows))
    freedom = np.maximum(np.minimum(n_r, n_c) - 1, 1)
    tail = norm.sf(STANDARD_ERRORS) / len(n_r)
    noise: FloatArray = student.isf(tail, freedom) * np.sqrt(1.0 / n_r + 1.0 / n_c)
    return noise


def ratio_noise(reference: ClusterSummary, current: ClusterSummary, scale: float = 1.0) -> float:
    """Give the ratio of inertias per row that chance makes, from the spread of the squared distances.

    `scale` is how many rows a row of the summaries stands for.
    """
    variances = []
    for side in (reference, current):
        counts = side.distance_counts.sum(axis=0)
        if not counts.sum():
            return 1.0
        squares = np.square(_bin_middles())
        mean = counts @ squares / counts.sum()
        spread = counts @ np.square(squares - mean) / counts.sum()
        variances.append(spread / mean**2 / (counts.sum() * scale))
    return 1.0 + float(norm.isf(CHANCE / 2) * np.sqrt(sum(variances)))


def outlier_noise(expected: float, n_rows: float) -> float:
    """Give the share beyond a limit that chance makes, where `expected` is beyond it when nothing changed."""
    n_rows = round(n_rows)
    return float(binom.isf(CHANCE, n_rows, expected) / n_rows) if n_rows else expected


def _join_windows(n_r: float, n_c: float) -> float:
    """Give the rows of two windows as those of one: what both together say of a difference."""
    return n_r * n_c / (n_r + n_c) if n_r + n_c else 0.0


def _bin_middles() -> FloatArray:
    ends = distance_bin_ends().astype(np.float64)
    middles: FloatArray = np.sqrt(ends * np.concatenate([ends[:1], ends[:-1]]))
    return middles
