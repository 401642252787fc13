"""The cluster columns of a batch of rows."""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from kmstream.clustering import Nearest

CLUSTER_SCHEMA = pa.schema(
    [
        pa.field("cluster_id", pa.int32()),
        pa.field("cluster_label", pa.dictionary(pa.int32(), pa.string())),
        pa.field("cluster_distance", pa.float32()),
        pa.field("cluster_margin", pa.float32()),
    ]
)


def make_cluster_columns(nearest: Nearest, keep: NDArray[np.bool_], labels: pa.Array) -> pa.Table:
    """Make the cluster columns of a batch; rows that are not kept get nulls.

    Parameters
    ----------
    nearest : Nearest
    keep : ndarray of shape (n_rows,)
    labels : pyarrow.Array of string
        cluster_label by cluster_id.

    Returns
    -------
    pyarrow.Table of n_rows
        With CLUSTER_SCHEMA.
    """
    unassigned = None if keep.all() else ~keep
    single = np.isinf(nearest.margins).any()  # one cluster has no second nearest
    ids = pa.array(nearest.cluster_ids, pa.int32(), mask=unassigned)
    columns = [
        ids,
        pa.DictionaryArray.from_arrays(ids, labels),
        pa.array(nearest.distances, pa.float32(), mask=unassigned),
        pa.array(nearest.margins, pa.float32(), mask=~keep | np.isinf(nearest.margins) if single else unassigned),
    ]
    return pa.Table.from_arrays(columns, schema=CLUSTER_SCHEMA)
