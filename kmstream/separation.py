"""How far apart the segments are, feature by feature: analysis of variance, and Welch's test of each pair.

All of it is exact over every row, whatever their number: the rows, means and sums of squared deviations of each segment
are enough.

Segments were made of these very features, so they differ by construction, and a small p is no discovery (Y. T. Chen,
D. M. Witten (2023), Selective inference for k-means clustering, J. Mach. Learn. Res. 24); on many rows it is tiny
besides. What to read is the size of an effect: eta squared over all segments, Cohen's d of a pair. Eta squared and not
omega squared, which corrects for chance as if the groups were given: here it describes the rows as they are, and adds
up to what the whole segmentation explains.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import fdtrc, stdtr

from kmstream.arrays import FloatArray, IntArray
from kmstream.summary import ClusterSummary

NOISE = 1e-9  # of a number, what its rounding may leave


@dataclass(frozen=True)
class Separation:
    """How far all segments that have rows are apart, feature by feature.

    Attributes
    ----------
    eta_squared : ndarray of shape (n_features,)
        Share of the feature's variance that lies between segments: 0 = they are alike in it, 1 = it tells each row's
        segment. NaN where the feature does not vary, or with one segment.
    f, p : ndarray of shape (n_features,)
        Of the one-way analysis of variance; inf and 0 where rows differ within no segment, NaN where it has no meaning.
    df_between, df_within : float
        Degrees of freedom of F; a row of weight 2 is two rows.
    explained : float
        Share of the variance of all scaled features together: the mean of eta_squared, weighted by variance.
    """

    eta_squared: FloatArray
    f: FloatArray
    p: FloatArray
    df_between: float
    df_within: float
    explained: float


@dataclass(frozen=True)
class Pairs:
    """How far two segments are apart, for each pair of those that have rows.

    Attributes
    ----------
    one, two : ndarray of shape (n_pairs,)
        Cluster ids, one < two.
    cohens_d : ndarray of shape (n_pairs, n_features)
        Mean of one less that of two, in standard deviations within the two; infinite where rows differ within neither.
    t, df, p : ndarray of shape (n_pairs, n_features)
        Of Welch's test, which does not take variances for equal. NaN for a segment of one row, or without any spread.
    p_adjusted : ndarray of shape (n_pairs, n_features)
        By Holm, over all tests of all pairs and features.
    """

    one: IntArray
    two: IntArray
    cohens_d: FloatArray
    t: FloatArray
    df: FloatArray
    p: FloatArray
    p_adjusted: FloatArray


def analyse_variance(summary: ClusterSummary) -> Separation:
    """Compare the variance between segments with that within, for each feature by itself.

    References
    ----------
    R. A. Fisher (1925), Statistical Methods for Research Workers, chapter 7.

    Examples
    --------
    Rows 1 2 3, and 5 6 7:

    >>> nothing = np.zeros(2)
    >>> rows, mean, m2 = np.array([3, 3]), np.array([[2.0], [6.0]]), np.array([[2.0], [2.0]])
    >>> found = analyse_variance(ClusterSummary(rows, mean, m2, nothing, nothing))
    >>> found.eta_squared.round(3).tolist(), found.f.tolist(), found.p.round(4).tolist(), found.df_within
    ([0.857], [24.0], [0.008], 4.0)
    """
    there = summary.rows > 0
    rows, mean = summary.rows[there].astype(np.float64), summary.mean[there]
    n_rows = rows.sum()
    center = rows @ mean / (n_rows or 1)
    noise = n_rows * np.square(NOISE * np.abs(mean).max(axis=0, initial=0.0))
    between = _without_noise(rows @ np.square(mean - center), noise)
    within = _without_noise(summary.m2[there].sum(axis=0), noise)
    df_between, df_within = float(len(rows) - 1), float(n_rows - len(rows))
    total = between + within
    if df_between < 1:
        total = np.zeros_like(total)  # one segment separates nothing
    eta_squared = _divide(between, total)
    f = _divide(between / max(df_between, 1.0), within / df_within) if df_within > 0 else np.full(total.shape, np.nan)
    f = np.where(total > 0, f, np.nan)
    explained = float(between.sum() / total.sum()) if total.sum() > 0 else float("nan")
    return Separation(
        eta_squared,
        f,
        np.asarray(fdtrc(df_between, df_within, f)),
        max(df_between, 0.0),
        max(df_within, 0.0),
        explained,
    )


def compare_pairs(summary: ClusterSummary) -> Pairs:
    """Test each pair of segments in each feature by itself.

    References
    ----------
    B. L. Welch (1947), The generalization of 'Student's' problem when several different population variances are
    involved, Biometrika 34, 28-35.
    J. Cohen (1988), Statistical Power Analysis for the Behavioral Sciences, 2nd ed., chapter 2.

    Examples
    --------
    Rows 1 2 3, and 5 6 7:

    >>> nothing = np.zeros(2)
    >>> rows, mean, m2 = np.array([3, 3]), np.array([[2.0], [6.0]]), np.array([[2.0], [2.0]])
    >>> found = compare_pairs(ClusterSummary(rows, mean, m2, nothing, nothing))
    >>> [round(figures.item(), 3) for figures in (found.cohens_d, found.t, found.df, found.p)]
    [-4.0, -4.899, 4.0, 0.008]
    """
    there = np.flatnonzero(summary.rows > 0)
    first, second = np.triu_indices(len(there), 1)
    one, two = there[first], there[second]
    n = summary.rows.astype(np.float64)[:, None]
    noise = np.square(NOISE * np.abs(summary.mean))
    squares = _without_noise(summary.m2, n * noise)
    difference = summary.mean[one] - summary.mean[two]
    difference = np.where(np.square(difference) > np.maximum(noise[one], noise[two]), difference, 0.0)
    freedom = n[one] + n[two] - 2
    # What has no value is NaN before it is divided, so a divisor of 0 does no harm.
    pooled = np.where(freedom > 0, squares[one] + squares[two], np.nan) / freedom
    error = np.where(n > 1, squares, np.nan) / ((n - 1) * n)  # square of the mean's standard error
    both = error[one] + error[two]
    both = np.where(both > 0, both, np.nan)
    share, t = error[one] / both, difference / np.sqrt(both)
    df = 1 / (np.square(share) / (n[one] - 1) + np.square(1 - share) / (n[two] - 1))
    p = np.asarray(2 * stdtr(df, -np.abs(t)))
    return Pairs(one, two, _divide(difference, np.sqrt(pooled)), t, df, p, adjust_holm(p))


def adjust_holm(p: FloatArray) -> FloatArray:
    """Raise each p so that to reject those below 0.05 is wrong anywhere with at most that probability.

    Whatever the tests have to do with each other, as those of pairs with a segment in common do. NaN stays, and is no
    test.

    References
    ----------
    S. Holm (1979), A simple sequentially rejective multiple test procedure, Scand. J. Stat. 6, 65-70.

    Examples
    --------
    >>> adjust_holm(np.array([0.01, 0.04, 0.03, np.nan])).tolist()
    [0.03, 0.06, 0.06, nan]
    """
    adjusted = np.full(p.shape, np.nan)
    is_test = ~np.isnan(p)
    values = p[is_test]
    order = np.argsort(values)
    raised = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1))
    values[order] = np.minimum(raised, 1.0)
    adjusted[is_test] = values
    return adjusted


def _without_noise(squares: FloatArray, noise: FloatArray) -> FloatArray:
    return np.where(squares > noise, squares, 0.0)


def _divide(one: FloatArray, two: FloatArray) -> FloatArray:
    """Divide; infinite by zero, and NaN where both are zero."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(one / two)
