"""Segments against all rows: original units for the reader, standard deviations for the choice of what to tell."""

from dataclasses import dataclass

import numpy as np

from kmstream.arrays import FloatArray
from kmstream.config import FeaturesConfig
from kmstream.features import Scaling, encoded_names, to_original_units
from kmstream.separation import NOISE
from kmstream.summary import ClusterSummary


@dataclass(frozen=True)
class Contrast:
    """Segments against all rows.

    Attributes
    ----------
    names : tuple of str
        Of the columns: numeric features, then "feature=value" per category, as `encoded_names` gives them.
    n_numeric : int
    means : ndarray of shape (n_clusters, n_features)
        Original units; a category is a share of rows. Of a segment without rows anything, NaN too.
    average : ndarray of shape (n_features,)
        The same of all rows.
    z : ndarray of shape (n_clusters, n_features)
        Mean of the segment less that of all rows, in standard deviations of all rows, in scaled units.
    shares : ndarray of shape (n_clusters,)
        Of all rows.
    """

    names: tuple[str, ...]
    n_numeric: int
    means: FloatArray
    average: FloatArray
    z: FloatArray
    shares: FloatArray


def contrast_segments(summary: ClusterSummary, features: FeaturesConfig, scaling: Scaling) -> Contrast:
    """Set the segments of a model against all of its rows.

    Parameters
    ----------
    summary : ClusterSummary
        Of the rows the model was fitted on, in scaled units.
    features : FeaturesConfig
    scaling : Scaling

    Examples
    --------
    >>> summary = ClusterSummary(
    ...     np.array([30, 10]), np.array([[-1.0], [3.0]]), np.zeros((2, 1)), np.zeros(2), np.zeros((2, 1))
    ... )
    >>> scaling = Scaling(np.array([50.0]), np.array([10.0]), np.array([50.0]), np.zeros((1, 0)))
    >>> contrast = contrast_segments(summary, FeaturesConfig(numeric=("age",)), scaling)
    >>> contrast.means.ravel(), contrast.average, contrast.z.ravel().round(2)
    (array([40., 80.]), array([50.]), array([-0.58,  1.73]))
    """
    shares = summary.shares
    average = shares @ summary.mean
    sd = np.sqrt(summary.m2.sum(axis=0) / (summary.n_rows or 1) + shares @ (summary.mean - average) ** 2)
    varies = sd > NOISE * np.abs(average)
    z = np.where(varies, (summary.mean - average) / np.where(varies, sd, 1.0), 0.0)
    original = to_original_units(np.vstack([summary.mean, average]), features, scaling)
    return Contrast(encoded_names(features, scaling), len(features.numeric), original[:-1], original[-1], z, shares)
