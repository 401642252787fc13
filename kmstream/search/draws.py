"""What is drawn at random: the rows of a core, and the centroids that a start begins with."""

import numpy as np

from kmstream.arrays import Matrix
from kmstream.search.settled import WeightedRows, sum_by


def draw_core(rows: WeightedRows, size: int, rng: np.random.Generator) -> WeightedRows:
    """Draw rows that stand for all (a lightweight coreset): half by weight, half by what they add to the variance.

    The draw is systematic, so no row comes twice; what is rare and far off is in it for sure.

    Parameters
    ----------
    rows : WeightedRows
    size : int
        Rows to draw, about; all where there are no more.
    rng : Generator

    Returns
    -------
    WeightedRows
        Their weights stand for those of all rows, in expectation.
    """
    if rows.n_rows <= size:
        return rows
    mass = rows.weights
    mean = (sum_by(np.zeros(rows.n_rows, np.int64), 1, rows)[0, :-1] / mass.sum()).astype(np.float32)
    spread = mass * np.maximum(rows.squares - 2.0 * (rows.X @ mean) + mean @ mean, 0.0)
    chance = mass / mass.sum() + (spread / spread.sum() if spread.any() else 0.0)
    for _ in range(3):  # what is certain leaves the others more room
        sure = chance >= 1.0
        chance = np.where(sure, 1.0, chance * ((size - sure.sum()) / max(chance[~sure].sum(), 1e-300)))
    chance = np.minimum(chance, 1.0)
    total = np.cumsum(chance)
    taken = np.unique(np.searchsorted(total, np.arange(rng.random(), total[-1])).clip(max=rows.n_rows - 1))
    return WeightedRows(rows.points[taken], mass[taken] / chance[taken], rows.squares[taken])


def seed_centroids(rows: WeightedRows, n_clusters: int, rng: np.random.Generator) -> Matrix:
    """Draw centroids by k-means++, each the best of a few draws.

    Returns
    -------
    ndarray of shape (n_clusters, n_features), float32
        Rows, no two of them alike if there are so many.
    """
    n_draws = 2 + int(np.log(n_clusters))
    centroids = np.empty((n_clusters, rows.X.shape[1]), np.float32)
    near = np.ones(rows.n_rows)
    for i in range(n_clusters):
        total = np.cumsum(rows.weights * near if near.any() else rows.weights)
        drawn = np.searchsorted(total, rng.random(n_draws if i else 1) * total[-1], side="right")
        drawn = rows.X[drawn.clip(max=rows.n_rows - 1)]
        apart = (-2.0 * drawn) @ rows.X.T + np.square(drawn).sum(axis=1)[:, None] + rows.squares
        best = (np.minimum(apart, near) @ rows.weights).argmin() if i else 0
        centroids[i] = drawn[best]
        exact = np.square(rows.X - centroids[i]).sum(axis=1)  # 0 on the row itself: it is not drawn again
        near = np.minimum(near, exact) if i else exact
    return centroids
