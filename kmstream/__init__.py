"""kmstream keeps a segmentation alive.

One named K-means clustering of a Parquet dataset larger than memory, refitted and re-scored on a
schedule, whose segments keep their names from one model to the next, and whose drift is measured.
"""

__version__ = "0.1.0"
