"""What chance alone does to the measures of drift: a window that looks different may only be small.

Each function gives the level that a measure of unchanged rows exceeds in one of a thousand windows; a value counts as
drift only beyond it. Where even an alert would lie within it, the window has too few rows to be judged by that measure.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2, norm
from scipy.stats import t as student

from kmstream.summary import ClusterSummary, distance_bin_ends

FloatArray = NDArray[np.float64]
Counts = NDArray[Any]  # int64, or float64 where rows have weights

CHANCE = 0.001  # of unchanged windows, beyond the level
STANDARD_ERRORS = 3.0  # a shift within this many is taken for noise


def psi_noise(reference_rows: Counts, current_rows: Counts, n_tests: int = 1) -> float:
    """Give the PSI that chance makes: times the rows it is about chi-square distributed, a degree less than bins.

    With several tests it is the largest of theirs.

    Examples
    --------
    >>> round(psi_noise(np.array([5000, 5000]), np.array([50, 50])), 3)
    0.109
    """
    n_bins = np.count_nonzero(reference_rows + current_rows)
    rows = _pairs(reference_rows.sum(), current_rows.sum())
    return float(chi2.isf(CHANCE / n_tests, n_bins - 1) / rows) if n_bins > 1 and rows else 0.0


def share_noise(reference_rows: Counts, current_rows: Counts) -> FloatArray:
    """Give the change of each share that chance makes; with many segments one of them goes farther.

    Examples
    --------
    >>> share_noise(np.array([5000, 5000]), np.array([50, 50])).round(3)
    array([0.18, 0.18])
    """
    n_r, n_c = reference_rows.sum(), current_rows.sum()
    rows = _pairs(n_r, n_c)
    if not rows:
        return np.zeros(len(reference_rows))
    shares = (reference_rows + current_rows) / (n_r + n_c)
    noise: FloatArray = _deviates(len(shares)) * np.sqrt(shares * (1.0 - shares) / rows) + 0.5 / n_c
    return noise


def shift_noise(reference_rows: Counts, current_rows: Counts) -> FloatArray:
    """Give the shift of each centroid that chance makes, in radii: three standard errors, more of a few rows.

    Of few rows the spread is hardly known: instead of three standard errors it is Student's quantile of that chance.

    Examples
    --------
    >>> shift_noise(np.array([10**6] * 3), np.array([5, 20, 10**6])).round(3)
    array([2.961, 0.771, 0.004])
    """
    n_r, n_c = (np.maximum(rows, 1) for rows in (reference_rows, current_rows))
    freedom = np.maximum(np.minimum(n_r, n_c) - 1, 1)
    noise: FloatArray = student.isf(norm.sf(STANDARD_ERRORS), freedom) * np.sqrt(1.0 / n_r + 1.0 / n_c)
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
        variances.append(spread / mean**2 / (counts.sum() * scale) if mean else 0.0)
    return 1.0 + _deviates(1) * float(np.sqrt(sum(variances)))


def outlier_noise(expected: float, n_rows: float) -> float:
    """Give the share beyond a limit that chance makes, where `expected` is beyond it when nothing changed."""
    if not n_rows:
        return expected
    return expected + _deviates(1) * float(np.sqrt(expected * (1.0 - expected) / n_rows)) + 1.0 / n_rows


def _pairs(n_r: float, n_c: float) -> float:
    """Give the rows of two windows as those of one: what both together say of a difference."""
    return n_r * n_c / (n_r + n_c) if n_r and n_c else 0.0


def _deviates(n_tests: int) -> float:
    """Give the standard errors that the largest of so many differences exceeds by chance."""
    return float(norm.isf(CHANCE / 2 / n_tests))


def _bin_middles() -> FloatArray:
    ends = distance_bin_ends().astype(np.float64)
    middles: FloatArray = np.sqrt(ends * np.concatenate([ends[:1], ends[:-1]]))
    return middles
