"""How well the segments hold together."""

import numpy as np
from numpy.typing import NDArray

SILHOUETTE_ROWS = 4000  # the cost grows with the square


def sample_silhouette(X: NDArray[np.float32], cluster_ids: NDArray[np.integer]) -> float | None:
    """Mean silhouette of sampled rows: 1 = tight and apart, 0 = overlapping; None with fewer than two clusters.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_features)
        In random or dataset order; every n-th row is taken if there are more than 4,000.
    cluster_ids : ndarray of shape (n_rows,)

    References
    ----------
    P. J. Rousseeuw (1987), Silhouettes, J. Comput. Appl. Math. 20, 53-65.

    Examples
    --------
    >>> round(sample_silhouette(np.array([[0.0], [0.1], [5.0], [5.1]], np.float32), np.array([0, 0, 1, 1])), 2)
    0.98
    """
    from sklearn.metrics import silhouette_score

    step = -(-len(X) // SILHOUETTE_ROWS) or 1
    rows, ids = X[::step], cluster_ids[::step]
    if not 1 < len(np.unique(ids)) < len(ids):
        return None
    return float(silhouette_score(rows, ids))
