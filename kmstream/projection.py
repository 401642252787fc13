"""A map of rows in scaled units: the plane on which most of their differences can be seen (principal components)."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kmstream.arrays import FloatArray, IntArray

MAP_ROWS = 2000  # drawn one by one; the axes are of all sampled rows
FRAME = (0.005, 0.995)  # quantiles: what lies beyond would squeeze all else
_MARGIN = 0.06  # of the frame, on either side
STRONG = 0.6  # of an axis' largest loading: features that are named beside it
_MAX_STRONG = 3
_ALIKE = 9  # decimals of a loading: what differs less has the same size, on any machine


@dataclass(frozen=True)
class Projection:
    """Axes on which rows differ most.

    Attributes
    ----------
    center : ndarray of shape (n_features,)
        Mean of the rows, in scaled units.
    axes : ndarray of shape (n_axes, n_features)
        Unit vectors, at right angles to each other; the loading farthest from zero is positive.
    explained : ndarray of shape (n_axes,)
        Share of the variance of all features that lies along each.
    """

    center: FloatArray
    axes: FloatArray
    explained: FloatArray

    def project(self, X: NDArray[np.floating]) -> FloatArray:
        """Give the places of rows of shape (n_rows, n_features) on the axes, in scaled units: (n_rows, n_axes)."""
        return np.asarray((X - self.center) @ self.axes.T)


def find_projection(X: NDArray[np.floating], n_axes: int = 2) -> Projection | None:
    """Find the axes on which rows differ most (principal components).

    The same rows give the same axes: the sign, which is arbitrary, is chosen by the largest loading.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_features)
        Scaled units.
    n_axes : int
        At most; there are never more than features.

    Returns
    -------
    Projection or None
        None where the rows don't differ.

    References
    ----------
    K. Pearson (1901), On lines and planes of closest fit to systems of points in space, Philos. Mag. 2, 559-572.

    Examples
    --------
    >>> found = find_projection(np.array([[0.0, 1.0], [-2.0, 1.0], [-4.0, 1.0]]))
    >>> found.axes.round(3).tolist(), found.explained.round(3).tolist()
    ([[1.0, 0.0], [0.0, 1.0]], [1.0, 0.0])
    >>> found.project(np.array([[0.0, 3.0]])).tolist()
    [[2.0, 2.0]]
    """
    if not len(X):
        return None
    center = X.mean(axis=0, dtype=np.float64)
    apart = X - center
    variances, axes = np.linalg.eigh(apart.T @ apart)
    if not variances.sum() > 0:
        return None
    axes, variances = axes.T[::-1][:n_axes], variances[::-1]
    largest = np.abs(axes).round(_ALIKE).argmax(axis=1)
    axes = axes * np.where(axes[np.arange(len(axes)), largest] < 0, -1.0, 1.0)[:, None] + 0.0  # no negative zeros
    return Projection(center, axes, np.maximum(variances[:n_axes], 0.0) / variances.sum())


def tell_map(
    X: NDArray[np.float32],
    ids: IntArray,
    labels: Sequence[str],
    now: FloatArray,
    names: Sequence[str],
    then: Mapping[str, FloatArray],
) -> dict[str, Any] | None:
    """Lay rows and centroids on the two axes on which the rows differ most.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_features)
        Scaled units.
    ids : ndarray of shape (n_rows,)
        Places in `labels`.
    labels : sequence of str
    now : ndarray of shape (n_labels, n_features)
    names : sequence of str
        Of the features.
    then : mapping of str to ndarray of shape (n_features,)

    Returns
    -------
    dict or None
        axes, one or two, each with explained (share of variance) and strongest (features); frame, the lowest and the
        highest place to be shown on each; rows, by label the places on each axis; centroids, each with cluster_label,
        now and then (None for a segment that began or ended). None where the rows don't differ.

    Examples
    --------
    >>> X, now = np.array([[-1.0], [1.0], [9.0]], np.float32), np.array([[0.0], [9.0]])
    >>> told = tell_map(X, np.array([0, 0, 1]), ["near", "far"], now, ["age"], {"far": np.array([7.0])})
    >>> told["axes"], told["rows"]
    ([{'explained': 1.0, 'strongest': ['age']}], {'near': [[-4.0, -2.0]], 'far': [[6.0]]})
    >>> told["centroids"][1]
    {'cluster_label': 'far', 'now': [6.0], 'then': [4.0]}
    """
    projection = find_projection(X)
    if projection is None:
        return None
    places = projection.project(X)
    step = math.ceil(len(places) / MAP_ROWS)
    drawn, drawn_ids = places[::step], ids[::step]
    centroids_now = dict(zip(labels, projection.project(now), strict=True))
    centroids_then = {label: projection.project(mean[None, :])[0] for label, mean in then.items()}
    sides = {"now": centroids_now, "then": centroids_then}
    return {
        "axes": [
            {"explained": float(explained), "strongest": _name_strongest(axis, names)}
            for axis, explained in zip(projection.axes, projection.explained, strict=True)
        ],
        "frame": _find_frame(places, [*centroids_now.values(), *centroids_then.values()]),
        "rows": {label: [keep_digits(axis) for axis in drawn[drawn_ids == i].T] for i, label in enumerate(labels)},
        "centroids": [
            {"cluster_label": label}
            | {key: keep_digits(centroids[label]) if label in centroids else None for key, centroids in sides.items()}
            for label in dict.fromkeys([*centroids_now, *centroids_then])
        ],
    }


def _find_frame(places: FloatArray, centroids: Sequence[FloatArray]) -> list[list[float]]:
    """Give the lowest and the highest place to be shown on each axis: nearly all rows, every centroid, and a margin."""
    ends = np.vstack([np.quantile(places, FRAME, axis=0), *centroids])
    low, high = ends.min(axis=0), ends.max(axis=0)
    margin = _MARGIN * (high - low)
    return [keep_digits(axis) for axis in np.column_stack([low - margin, high + margin])]


def _name_strongest(axis: FloatArray, names: Sequence[str]) -> list[str]:
    sizes = np.abs(axis).round(_ALIKE)
    order = np.argsort(-sizes, kind="stable")[:_MAX_STRONG]
    return [names[j] for j in order if sizes[j] >= STRONG * sizes.max()]


def keep_digits(values: FloatArray) -> list[float]:
    """Keep the digits of each value that a plot can show.

    Examples
    --------
    >>> keep_digits(np.array([3.14159265, 1234567.0]))
    [3.1416, 1234600.0]
    """
    return [float(f"{value:.5g}") for value in values.tolist()]
