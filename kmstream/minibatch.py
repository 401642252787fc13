"""The mini-batch stream: scikit-learn's `partial_fit` over every row, in steps of one size."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from kmstream.arrays import FloatArray, Matrix
from kmstream.features import Rows
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
        len(centroids), init=centroids, reassignment_ratio=0.0, compute_labels=False, random_state=seed
    )
    return model.partial_fit(centroids, sample_weight=start.rows)


def stream_minibatches(
    model: "MiniBatchKMeans", stream: Iterable[Rows], *, batch_size: int, still: FloatArray, at_least: float = 0.0
) -> tuple[int, bool]:
    """Run `partial_fit` over a stream, in steps of exactly `batch_size` rows.

    Parameters
    ----------
    model : MiniBatchKMeans
        From `start_minibatch`; moved in place.
    stream : iterable of Rows
        All of them kept. Cut again across their ends, so their sizes don't matter; the last step takes what is left.
    still : ndarray of shape (n_clusters,)
        Ends early once no centroid has moved farther than this in 64 steps (scaled units).
    at_least : float
        Rows before it may end early.

    Returns
    -------
    n_rows : int
        Rows used, fewer than all if it ended early.
    settled : bool
        Whether it ended early.

    References
    ----------
    D. Sculley (2010), Web-scale k-means clustering, WWW, 1177-1178.
    """
    n_rows, before = 0, model.cluster_centers_.copy()
    for step, (X, weights) in enumerate(_exact_batches(stream, batch_size), start=1):
        if weights is None or weights.any():  # rows of no weight move nothing, and scikit-learn refuses them
            model.partial_fit(X, sample_weight=weights)
        n_rows += len(X)
        if step % _CHECK_EVERY == 0:
            moves = np.linalg.norm(model.cluster_centers_ - before, axis=1)
            if n_rows >= at_least and (moves <= still).all():
                return n_rows, True
            before = model.cluster_centers_.copy()
    return n_rows, False


def find_still(start: SampleFit, radii: FloatArray, tol: float) -> FloatArray:
    """Give how far a centroid may move by chance: three standard errors of the sampled mean that it started from.

    Beyond that, what the stream still does is noise, which the exact pass after it averages out anyway.

    Parameters
    ----------
    start : SampleFit
    radii : ndarray of shape (n_clusters,)
        Root mean squared distance of the sampled rows of each to their centroid.
    tol : float
        A move that counts as none in any case (scaled units).
    """
    return np.maximum(tol, 3.0 * radii / np.sqrt(np.where(start.rows > 0, start.rows, np.inf)))


def _exact_batches(stream: Iterable[Rows], batch_size: int) -> Iterator[tuple[Matrix, FloatArray | None]]:
    held: list[Rows] = []
    n_held = 0
    for rows in stream:
        taken = 0
        while n_held + len(rows.X) - taken >= batch_size:
            end = taken + batch_size - n_held
            yield _join([*held, rows.take(slice(taken, end))])
            held, n_held, taken = [], 0, end
        if taken < len(rows.X):
            held.append(rows.take(slice(taken, None)))
            n_held += len(rows.X) - taken
    if n_held:
        yield _join(held)


def _join(pieces: list[Rows]) -> tuple[Matrix, FloatArray | None]:
    X = np.concatenate([piece.X for piece in pieces])
    weights = [piece.weights for piece in pieces if piece.weights is not None]
    return X, np.concatenate(weights).astype(np.float32) if weights else None
