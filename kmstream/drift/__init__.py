"""Two sides and thresholds become a drift report: how sizes, centroids, spread and features moved.

Every figure is exact over all rows, in the scaled units of the baseline unless its name says otherwise.

Read in this order: `sides` (what is compared), `drift` (the whole of it), `segments` and `features` (the figures of
each), `report`.
"""

from kmstream.drift.drift import compare
from kmstream.drift.report import DriftReport, add_facts, add_migration
from kmstream.drift.sides import OUTLIER_QUANTILE, Observed

__all__ = ["OUTLIER_QUANTILE", "DriftReport", "Observed", "add_facts", "add_migration", "compare"]
