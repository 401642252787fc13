"""What plots of sampled rows show, as plain figures of bounded size."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kmstream.arrays import FloatArray
from kmstream.clustering import ClusterModel
from kmstream.distributions import tell_distributions
from kmstream.features import encode, encoded_names, to_scaled_units
from kmstream.projection import tell_map
from kmstream.summary import thin_positions

MAX_ROWS = 20_000  # that are looked at: time and memory stay small, whatever the sample


def tell_views(
    sample: pa.Table,
    segments: Sequence[Mapping[str, Any]],
    model: ClusterModel,
    *,
    eta_squared: FloatArray,
    then: Mapping[str, FloatArray],
) -> dict[str, Any]:
    """Tell what the sampled rows of a run show.

    Parameters
    ----------
    sample : pyarrow.Table
        Sampled rows of now: the feature columns in original units, and cluster_label. Its values are all usable
        where the features ask for that.
    segments : sequence of mapping
        Those of drift.json: cluster_label, rows, centroid (original units).
    model : ClusterModel
        Its features and scaling are used, not its centroids.
    eta_squared : ndarray of shape (n_features,)
        How well each column of the matrix separates the segments; NaN where it does not vary.
    then : mapping of str to ndarray of shape (n_features,)
        The centroid of each segment in the reference, in scaled units of this model; empty without a reference.

    Returns
    -------
    dict
        sample_rows (those looked at); n_segments (those with rows); map, see `tell_map`, or None where rows don't
        differ; distributions, see `tell_distributions`.
    """
    sample = sample.take(thin_positions(sample.num_rows, MAX_ROWS))
    there = sorted((s for s in segments if s["rows"]), key=lambda s: -s["rows"])
    labels = [str(s["cluster_label"]) for s in there]
    names = encoded_names(model.features, model.scaling)
    original = np.array([[s["centroid"][name] for name in names] for s in there])
    now = to_scaled_units(original.reshape(len(there), len(names)), model.features, model.scaling)
    ids = np.asarray(
        pc.fill_null(pc.index_in(sample.column("cluster_label"), value_set=pa.array(labels, pa.string())), -1)
    )
    rows = encode(sample, model.features, model.scaling).rows
    known = rows.keep & (ids >= 0)
    return {
        "sample_rows": sample.num_rows,
        "n_segments": len(labels),
        "map": tell_map(rows.X[known], ids[known], labels, now, names, then),
        "distributions": tell_distributions(sample, ids, labels, model, eta_squared),
    }
