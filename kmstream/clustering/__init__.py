"""K-means itself: the nearest centroid, the exact pass, what is added up by cluster.

Distances are taken in float32 (the matrix product is what costs), sums in float64. Rows are worked on in tiles of
`TILE_ROWS` counted from the first row of a span, and tiles are added up in order, so no result depends on how the rows
were batched. Callers hold BLAS and OpenMP to one thread (`engine.single_threaded`): parallelism is over spans, and a
product split over threads may round differently.

Read in this order: `nearest` (the nearest centroid of each row), `passes` (what is added up by cluster).
"""

from kmstream.clustering.nearest import ClusterModel, Nearest, find_lowest, find_nearest, find_origin, tiles
from kmstream.clustering.passes import (
    ClusterSums,
    add_rows,
    add_squares,
    assign_rows,
    find_radii,
    largest_move,
    load_kernels,
    make_indicator,
    move_centroids,
    sum_by_cluster,
)

__all__ = [
    "ClusterModel",
    "ClusterSums",
    "Nearest",
    "add_rows",
    "add_squares",
    "assign_rows",
    "find_lowest",
    "find_nearest",
    "find_origin",
    "find_radii",
    "largest_move",
    "load_kernels",
    "make_indicator",
    "move_centroids",
    "sum_by_cluster",
    "tiles",
]
