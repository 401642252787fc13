"""Arrow columns as numbers, texts and times, whatever their types in the file."""

from datetime import UTC, date, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kmstream.arrays import FloatArray


def is_numeric(kind: pa.DataType) -> bool:
    """Whether a column of this Arrow type can be a numeric feature; a `null` column is all missing."""
    kind = _value_type(kind)
    return bool(
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_decimal(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_null(kind)
    )


def is_categorical(kind: pa.DataType) -> bool:
    """Whether a column of this Arrow type can be a categorical feature."""
    kind = _value_type(kind)
    return bool(_is_text(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind) or pa.types.is_null(kind))


def is_time(kind: pa.DataType) -> bool:
    """Whether a column of this Arrow type can tell how old a row is."""
    kind = _value_type(kind)
    return bool(_is_text(kind) or pa.types.is_timestamp(kind) or pa.types.is_date(kind) or pa.types.is_null(kind))


def _value_type(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def to_float64(column: pa.ChunkedArray) -> FloatArray:
    """Give a numeric column as float64, NaN where null; booleans are 0 and 1, text is a number in a folder name.

    Not to be written to: it may be the file's own buffer.
    """
    return np.asarray(pc.cast(column, pa.float64(), safe=False).to_numpy())


def to_strings(column: pa.ChunkedArray) -> pa.Array:
    """Give a categorical column as one array of strings, null where missing."""
    return pc.cast(column, pa.string()).combine_chunks()


def take_seconds(batch: pa.Table, time: str) -> FloatArray:
    """Give the time of each row in seconds since 1970, NaN where it has none.

    Parameters
    ----------
    batch : pyarrow.Table
    time : str
        A column of timestamps, dates, or strings such as 2024, 2024-04 or 2024-04-30; or the names of several, joined
        by "/", that hold year, month and day.
    """
    columns = [batch.column(name) for name in time.split("/")]
    kind = columns[0].type
    if len(columns) == 1 and (pa.types.is_timestamp(kind) or pa.types.is_date(kind)):
        moments = pc.cast(columns[0], pa.timestamp("us"), safe=False)
        return to_float64(pc.cast(moments, pa.int64())) / 1e6
    parts = [to_strings(column) for column in columns]
    texts = pc.binary_join_element_wise(*parts, "-").to_pylist()
    seconds = {text: float("nan") if text is None else parse_time(text) for text in set(texts)}
    return np.array([seconds[text] for text in texts])


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
