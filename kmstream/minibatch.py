"""The mini-batch stream: scikit-learn's `partial_fit` over every row, in steps of one size."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from kmstream.clustering import Matrix, largest_move
from kmstream.search import SampleFit

if TYPE_CHECKING:
    from sklearn.cluster import MiniBatchKMeans

_CHECK_EVERY = 64  # steps between two looks at whether the centroids still move


def start_minibatch(start: SampleFit, *, seed: int) -> "MiniBatchKMeans":
    """Make the estimator whose `partial_fit` the stream goes through.

    The start centroids are its first step, each with the weight of the sampled rows it stands for. Without that the
    first batch would replace them by the means of a handful of its rows.
    """
    from sklearn.cluster import MiniBatchKMeans

    centroids = start.centroids.astype(np.float32)
    # reassignment_ratio=0: the default throws small clusters away at random, at every step.
    model = MiniBatchKMeans(
        len(centroids), init=centroids, n_init=1, reassignment_ratio=0.0, compute_labels=False, random_state=seed
    )
    return model.partial_fit(centroids, sample_weight=start.rows.astype(np.float32))


def stream_minibatches(model: "MiniBatchKMeans", matrices: Iterable[Matrix], *, batch_size: int, tol: float) -> int:
    """Run `partial_fit` over a stream, in steps of exactly `batch_size` rows.

    Parameters
    ----------
    model : MiniBatchKMeans
        From `start_minibatch`; moved in place.
    matrices : iterable of ndarray of shape (any, n_features)
        Cut again across their ends, so their sizes don't matter; the last step takes what is left.
    tol : float
        Ends early once no centroid moved farther than this in 64 steps (scaled units).

    Returns
    -------
    int
        Rows used, fewer than all if it ended early.

    References
    ----------
    D. Sculley (2010), Web-scale k-means clustering, WWW, 1177-1178.
    """
    n_rows, before = 0, model.cluster_centers_.copy()
    for step, X in enumerate(_exact_batches(matrices, batch_size), start=1):
        model.partial_fit(X)
        n_rows += len(X)
        if step % _CHECK_EVERY == 0:
            if largest_move(before, model.cluster_centers_) < tol:
                break
            before = model.cluster_centers_.copy()
    return n_rows


def _exact_batches(matrices: Iterable[Matrix], batch_size: int) -> Iterator[Matrix]:
    held: list[Matrix] = []
    n_held = 0
    for matrix in matrices:
        rest = matrix
        while n_held + len(rest) >= batch_size:
            take = batch_size - n_held
            yield np.concatenate([*held, rest[:take]])
            held, n_held, rest = [], 0, rest[take:]
        if len(rest):
            held.append(rest)
            n_held += len(rest)
    if n_held:
        yield np.concatenate(held)
