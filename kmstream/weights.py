"""How many rows a row counts for: a weight column, and forgetting by age."""

from dataclasses import dataclass
from datetime import UTC, date, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from kmstream.errors import InvalidFeatureError

FloatArray = NDArray[np.float64]


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
        column = pc.cast(batch.column(weighting.column), pa.float64(), safe=False)
        weights = np.array(column.to_numpy(zero_copy_only=False), dtype=np.float64)
        finite = np.isfinite(weights)
        if not finite.all():
            unusable[f"features.weight {weighting.column!r} is missing or infinite"] = ~finite
            weights[~finite] = 0.0
        if (weights < 0).any():
            error = InvalidFeatureError(
                f"features.weight {weighting.column!r} is {weights.min():g}; expected no weight below 0"
            )
            error.first_row = int((weights < 0).argmax())
            error.cure = "Clean the column, or name another one as features.weight."
            raise error
    if weighting.time:
        seconds = take_seconds(batch, weighting.time)
        known = np.isfinite(seconds)
        if not known.all():
            unusable[f"dataset.time {weighting.time!r} is missing or no date"] = ~known
        age = np.where(known, weighting.newest - seconds, 0.0)
        weights = np.where(known, weights * np.exp2(-age / weighting.half_life), 0.0)
    return weights, unusable


def is_time(kind: pa.DataType) -> bool:
    """Whether a column of this Arrow type can tell how old a row is."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    text = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    return bool(pa.types.is_timestamp(kind) or pa.types.is_date(kind) or pa.types.is_null(kind) or text)


def take_seconds(batch: pa.Table, time: str) -> FloatArray:
    """Give the time of each row in seconds since 1970, NaN where it has none.

    Parameters
    ----------
    batch : pyarrow.Table
    time : str
        A column of timestamps, dates, or strings such as 2024, 2024-04 or 2024-04-30; or the names of several, joined
        by "/", that hold year, month and day.
    """
    names = time.split("/")
    column = batch.column(names[0])
    kind = column.type
    if len(names) == 1 and (pa.types.is_timestamp(kind) or pa.types.is_date(kind)):
        moments = pc.cast(pc.cast(column, pa.timestamp("us", getattr(kind, "tz", None)), safe=False), pa.int64())
        return np.asarray(pc.cast(moments, pa.float64(), safe=False).to_numpy(zero_copy_only=False)) / 1e6
    texts = pc.cast(column, pa.string())
    for name in names[1:]:
        texts = pc.binary_join_element_wise(texts, pc.cast(batch.column(name), pa.string()), "-")
    known: dict[str | None, float] = {}
    listed = texts.to_pylist()
    for text in set(listed):
        known[text] = float("nan") if text is None else parse_time(text)
    return np.array([known[text] for text in listed], dtype=np.float64)


def parse_time(value: str | date) -> float:
    """Read a year, month or day as the seconds since 1970 at which it begins; NaN if it is none.

    Examples
    --------
    >>> parse_time("1970-01-02"), parse_time("1970-2"), parse_time("April")
    (86400.0, 2678400.0, nan)
    """
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
    try:
        parts = [int(part) for part in (value.isoformat() if isinstance(value, date) else value[:10]).split("-")]
        year, month, day, *_ = (*parts, 1, 1)
        return float((date(year, month, day) - date(1970, 1, 1)).days * 86_400)
    except (ValueError, OverflowError):
        return float("nan")
