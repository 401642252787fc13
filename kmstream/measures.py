"""How far two sides differ: PSI, Jensen-Shannon distance and chi-square test of their counts, ratio of inertias."""

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import jensenshannon
from scipy.stats import chi2_contingency


def psi(reference_rows: NDArray[np.number], current_rows: NDArray[np.number]) -> float:
    """Measure the population stability index of two rows of counts, each count smoothed by half a row.

    Examples
    --------
    >>> psi(np.array([50, 50]), np.array([50, 50]))
    0.0
    >>> round(psi(np.array([5000, 5000]), np.array([7000, 3000])), 3)
    0.169
    """
    half = 0.5 * len(reference_rows)
    p_r = (reference_rows + 0.5) / (reference_rows.sum() + half)
    p_c = (current_rows + 0.5) / (current_rows.sum() + half)
    return max(0.0, float(((p_c - p_r) * np.log(p_c / p_r)).sum()))


def share_js(reference_rows: NDArray[np.number], current_rows: NDArray[np.number]) -> float:
    """Measure the Jensen-Shannon distance of two rows of counts, base 2: 0 = equal, 1 = nothing in common.

    Examples
    --------
    >>> share_js(np.array([1, 0]), np.array([0, 1]))
    1.0
    """
    if not reference_rows.sum() or not current_rows.sum():
        return 0.0
    with np.errstate(invalid="ignore"):  # rounding may take what is under its root below 0
        distance = float(jensenshannon(reference_rows.astype(np.float64), current_rows.astype(np.float64), base=2))
    return 0.0 if np.isnan(distance) else distance


def share_chi2(reference_rows: NDArray[np.number], current_rows: NDArray[np.number]) -> tuple[float, float]:
    """Test two rows of counts for equal shares.

    Returns
    -------
    p, cramers_v : float
        V is the size of the effect (0..1); p alone is always small on large data.

    Examples
    --------
    >>> p, cramers_v = share_chi2(np.array([50, 50]), np.array([70, 30]))
    >>> round(p, 4), round(cramers_v, 3)
    (0.0039, 0.204)
    """
    table = np.stack([reference_rows, current_rows])
    table = table[:, table.sum(axis=0) > 0]
    if table.shape[1] < 2 or not table.sum(axis=1).all():
        return 1.0, 0.0
    found = chi2_contingency(table, correction=False)
    return float(found.pvalue), float(np.sqrt(found.statistic / table.sum()))


def inertia_ratio(sse_r: float, n_r: float, sse_c: float, n_c: float) -> float | None:
    """Give the inertia per row over that of the reference; None without rows, or where it would be infinite.

    Examples
    --------
    >>> inertia_ratio(10.0, 5, 12.0, 4), inertia_ratio(0.0, 5, 12.0, 4), inertia_ratio(0.0, 5, 0.0, 4)
    (1.5, None, 1.0)
    """
    if not n_c or not n_r:
        return None
    if sse_r == 0:
        return 1.0 if sse_c == 0 else None
    return float((sse_c / n_c) / (sse_r / n_r))
