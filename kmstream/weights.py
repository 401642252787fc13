"""How many rows a row counts for: a weight column, and forgetting by age."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from kmstream.arrays import FloatArray
from kmstream.columns import take_seconds, to_float64
from kmstream.errors import InvalidFeatureError


@dataclass(frozen=True)
class Weighting:
    """Where the weights of rows come from.

    Attributes
    ----------
    column : str
        Holds the weight of each row; "" for none.
    time : str
        Column, or folder names joined by "/", that tells how old a row is; "" for none.
    half_life : float
        Seconds after which a row counts half.
    newest : float
        The time, in seconds since 1970, at which a row counts in full.
    """

    column: str = ""
    time: str = ""
    half_life: float = 0.0
    newest: float = 0.0

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns, in the file or its folder names, that weights are made of."""
        return tuple(name for name in (self.column, *self.time.split("/")) if name)


def find_weights(batch: pa.Table, weighting: Weighting) -> tuple[FloatArray, dict[str, NDArray[np.bool_]]]:
    """Find how many rows each row counts for.

    Parameters
    ----------
    batch : pyarrow.Table
        Holds the columns of the weighting.
    weighting : Weighting

    Returns
    -------
    weights : ndarray of shape (n_rows,)
        0 where unusable.
    unusable : dict of str to ndarray of shape (n_rows,)
        Per reason ("features.weight 'revenue' is missing or infinite") the rows it holds for; only those that occur.

    Raises
    ------
    InvalidFeatureError
        If a weight is negative. Its `first_row` is the row in the batch.
    """
    weights = np.ones(batch.num_rows)
    unusable: dict[str, NDArray[np.bool_]] = {}
    if weighting.column:
        given = to_float64(batch.column(weighting.column))
        known = np.isfinite(given)
        unusable[f"features.weight {weighting.column!r} is missing or infinite"] = ~known
        weights = np.where(known, given, 0.0)
        _refuse_negative(weights, weighting.column)
    if weighting.time:
        seconds = take_seconds(batch, weighting.time)
        known = np.isfinite(seconds)
        unusable[f"dataset.time {weighting.time!r} is missing or no date"] = ~known
        age = np.where(known, weighting.newest - seconds, 0.0)
        weights = np.where(known, weights * np.exp2(-age / weighting.half_life), 0.0)
    return weights, {reason: rows for reason, rows in unusable.items() if rows.any()}


def _refuse_negative(weights: FloatArray, column: str) -> None:
    negative = weights < 0
    if negative.any():
        error = InvalidFeatureError(f"features.weight {column!r} is {weights.min():g}; expected no weight below 0")
        error.first_row = int(negative.argmax())
        error.cure = "Clean the column, or name another one as features.weight."
        raise error
