"""Start centroids: the best that can be found on a sample."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kmstream.errors import TooFewRowsError

Matrix = NDArray[np.float32]
FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

_SEARCH_ITERATIONS = 100


@dataclass(frozen=True)
class SampleFit:
    """Centroids settled on a sample.

    Attributes
    ----------
    centroids : ndarray of shape (n_clusters, n_features)
    rows : ndarray of shape (n_clusters,)
        Sampled rows of each.
    inertia : float
        Of the sample, total.
    """

    centroids: FloatArray
    rows: IntArray
    inertia: float


def search_centroids(
    X: Matrix, n_clusters: int, *, n_init: int, seed: int, apply: Callable[..., Iterable[SampleFit]] = map
) -> SampleFit:
    """Search for the best start centroids on the sample: k-means++ and Lloyd, `n_init` times, the lowest inertia wins.

    Parameters
    ----------
    X : ndarray of shape (n_sample, n_features)
    n_clusters, n_init, seed : int
    apply : callable
        `map`, or that of a pool of threads; each restart is seeded by itself, so it changes nothing.

    Raises
    ------
    TooFewRowsError
        If the sample has fewer distinct rows than n_clusters.

    References
    ----------
    D. Arthur, S. Vassilvitskii (2007), k-means++: the advantages of careful seeding, SODA, 1027-1035.
    """
    check_distinct_rows(X, n_clusters)
    seeds = np.random.SeedSequence(seed).generate_state(n_init)
    return min(apply(lambda one: _fit_lloyd(X, n_clusters, "k-means++", int(one)), seeds), key=lambda fit: fit.inertia)


def polish_centroids(X: Matrix, centroids: FloatArray) -> SampleFit:
    """Run Lloyd on the sample from given centroids to its fixed point."""
    return _fit_lloyd(X, len(centroids), centroids.astype(np.float32), 0)


def check_distinct_rows(X: Matrix, n_clusters: int) -> None:
    """Refuse to look for more segments than there are distinct rows.

    Raises
    ------
    TooFewRowsError
    """
    if len(X) < n_clusters:
        msg = f"{len(X)} usable rows; expected at least n_clusters={n_clusters}"
        raise TooFewRowsError(msg)
    seen: set[bytes] = set()
    for row in X:  # ends at the first n_clusters distinct rows, almost always at once
        seen.add((row + 0.0).tobytes())
        if len(seen) == n_clusters:
            return
    msg = f"only {len(seen)} distinct rows among {len(X)} sampled; expected at least n_clusters={n_clusters}"
    raise TooFewRowsError(msg)


def _fit_lloyd(X: Matrix, n_clusters: int, init: str | Matrix, seed: int) -> SampleFit:
    from sklearn.cluster import KMeans

    fit = KMeans(n_clusters, init=init, n_init=1, max_iter=_SEARCH_ITERATIONS, random_state=seed, copy_x=True).fit(X)
    rows = np.bincount(fit.labels_, minlength=n_clusters)
    return SampleFit(fit.cluster_centers_.astype(np.float64), rows, float(fit.inertia_))
