"""Columns become a matrix: log1p, one-hot, missing values, scaling, and the way back to original units.

A numeric value goes through `log1p` (if named) and then ``(value - center) / scale``; a categorical value becomes one
column per category known at the baseline (1 where it is that category), unscaled. `Scaling` holds every number that was
learnt from data, and is frozen at the baseline so that centroids of all versions live in one space.

Read in this order: `values` (columns become numbers and strings), `matrix` (those become rows in scaled units).
"""

from kmstream.features.matrix import (
    MAX_CATEGORIES,
    TILE_ROWS,
    Encoded,
    Rows,
    Scaling,
    clip,
    count_categories,
    encode,
    encoded_names,
    to_original_units,
    to_scaled_units,
)
from kmstream.features.values import FeatureValues, apply_missing_policy, take_columns, take_values, take_weights

__all__ = [
    "MAX_CATEGORIES",
    "TILE_ROWS",
    "Encoded",
    "FeatureValues",
    "Rows",
    "Scaling",
    "apply_missing_policy",
    "clip",
    "count_categories",
    "encode",
    "encoded_names",
    "take_columns",
    "take_values",
    "take_weights",
    "to_original_units",
    "to_scaled_units",
]
