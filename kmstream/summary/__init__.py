"""What one pass over the rows leaves behind: small arrays that merge like a sum.

Means and squared deviations merge pairwise (T. F. Chan, G. H. Golub, R. J. LeVeque (1983), Algorithms for computing the
sample variance, The American Statistician 37, 242-247), in float64, so that no pass needs a second one.

Read in this order: `columns` (each feature by itself), `clusters` (the rows of each cluster), `sampling` (which rows
stand for all of them).
"""

from kmstream.summary.clusters import (
    N_DISTANCE_BINS,
    ClusterSummary,
    DeviationSums,
    add_distances,
    distance_bin_ends,
)
from kmstream.summary.columns import ColumnSummary, merge_moments
from kmstream.summary.sampling import PARTITION, sample_positions, thin_positions

__all__ = [
    "N_DISTANCE_BINS",
    "PARTITION",
    "ClusterSummary",
    "ColumnSummary",
    "DeviationSums",
    "add_distances",
    "distance_bin_ends",
    "merge_moments",
    "sample_positions",
    "thin_positions",
]
