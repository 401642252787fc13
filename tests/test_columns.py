"""Arrow columns as numbers, texts and times."""

import math
import time
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmstream.columns import is_categorical, is_numeric, is_time, parse_time, take_seconds, to_float64, to_strings

NAN, DAY = math.nan, 86_400.0
TODAY = datetime(2024, 4, 30)  # noqa: DTZ001 - files hold times without a zone, too
SECONDS = 19_843 * DAY  # of TODAY, since 1970
SECONDS_IN_NS = int(SECONDS) * 10**9


def chunked(column):
    """A column as a file has it, in two pieces."""
    return pa.chunked_array([column.slice(0, 1), column.slice(1)])


NUMBERS = [
    *(pa.array([3, None, 0], kind()) for kind in (pa.int8, pa.int16, pa.int32, pa.int64)),
    *(pa.array([3, None, 0], kind()) for kind in (pa.uint8, pa.uint16, pa.uint32, pa.uint64)),
    pa.array([np.float16(3), None, np.float16(0)], pa.float16()),
    *(pa.array([3, None, 0], kind()) for kind in (pa.float32, pa.float64)),
    *(
        pa.array([Decimal("3.00"), None, Decimal("0.00")], kind)
        for kind in (pa.decimal128(12, 2), pa.decimal256(60, 2))
    ),
]


@pytest.mark.parametrize("column", NUMBERS, ids=lambda column: str(column.type))
@pytest.mark.parametrize("encoded", [False, True], ids=["plain", "dictionary"])
def test_to_float64_reads_every_numeric_type(column, encoded):
    column = chunked(column.dictionary_encode() if encoded else column)
    assert is_numeric(column.type)
    found = to_float64(column)
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, [3.0, NAN, 0.0])


@pytest.mark.parametrize(
    ("column", "numbers"),
    [
        (pa.array([True, None, False]), [1.0, NAN, 0.0]),
        (pa.array([True, None, False]).dictionary_encode(), [1.0, NAN, 0.0]),
        (pa.nulls(2), [NAN, NAN]),
        (pa.DictionaryArray.from_arrays(pa.array([0, 1, None]), pa.array([5, None])), [5.0, NAN, NAN]),
    ],
    ids=["boolean", "boolean dictionary", "null", "null in a dictionary"],
)
def test_to_float64_takes_booleans_for_0_and_1_and_any_null_for_missing(column, numbers):
    assert is_numeric(column.type)
    np.testing.assert_array_equal(to_float64(chunked(column)), numbers)


@pytest.mark.parametrize(
    ("column", "numbers"),
    [
        (pa.array([2**63, 2**64 - 2048], pa.uint64()), [2.0**63, 2.0**64 - 2048]),
        (pa.array([2**53 + 1, -(2**53)], pa.int64()), [2.0**53, -(2.0**53)]),  # the nearest there is
        (pa.array([Decimal("123456789.123456789")]), [123456789.123456789]),
        (pa.array(["0.5", None]), [0.5, NAN]),  # in a folder name
    ],
    ids=["uint64", "int64", "decimal", "text"],
)
def test_to_float64_keeps_the_digits_that_a_float64_has(column, numbers):
    np.testing.assert_array_equal(to_float64(chunked(column)), numbers)


@pytest.mark.parametrize("kind", [pa.string(), pa.timestamp("s"), pa.date32(), pa.list_(pa.int8()), pa.binary()])
def test_is_numeric_refuses_what_is_no_number(kind):
    assert not is_numeric(kind)
    assert not is_numeric(pa.dictionary(pa.int8(), kind))


@pytest.mark.parametrize("kind", [pa.float64(), pa.timestamp("s"), pa.decimal128(5, 2), pa.list_(pa.string())])
def test_is_categorical_refuses_what_has_no_few_exact_values(kind):
    assert not is_categorical(kind)
    assert not is_categorical(pa.dictionary(pa.int8(), kind))


@pytest.mark.parametrize(
    ("column", "texts"),
    [
        (pa.array(["b", None, "a"]), ["b", None, "a"]),
        (pa.array(["b", None, "a"], pa.large_string()), ["b", None, "a"]),
        (pa.array(["b", None, "a"], pa.string_view()), ["b", None, "a"]),
        (pa.array(["b", None, "a"]).dictionary_encode(), ["b", None, "a"]),
        (pa.array([10, None, -1], pa.int16()), ["10", None, "-1"]),
        (pa.array([10, None, 1]).dictionary_encode(), ["10", None, "1"]),
        (pa.array([True, None, False]), ["true", None, "false"]),
        (pa.nulls(3), [None, None, None]),
    ],
    ids=lambda value: str(value.type) if isinstance(value, pa.Array) else "",
)
def test_to_strings_reads_every_categorical_type(column, texts):
    assert is_categorical(column.type)
    found = to_strings(chunked(column))
    assert (found.to_pylist(), found.type) == (texts, pa.string())


def test_to_strings_joins_chunks_with_dictionaries_of_their_own():
    chunks = [pa.array(["a", "b"]).dictionary_encode(), pa.array(["c", None, "a"]).dictionary_encode()]
    assert to_strings(pa.chunked_array(chunks)).to_pylist() == ["a", "b", "c", None, "a"]
    assert to_strings(pa.chunked_array([], pa.string())).to_pylist() == []


# --- times -----------------------------------------------------------------------------------------------------------

WHEN = [TODAY, None, TODAY - timedelta(days=1)]
TEXTS = ["2024-04-30", None, "2024-04-29"]


@pytest.mark.parametrize(
    "column",
    [
        *(pa.array(WHEN, pa.timestamp(unit)) for unit in ("s", "ms", "us", "ns")),
        pa.array(WHEN, pa.timestamp("us", "UTC")),
        pa.array([None if one is None else one.date() for one in WHEN]),
        pa.array([None if one is None else one.date() for one in WHEN], pa.date64()),
        pa.array(WHEN).dictionary_encode(),
        pa.array(TEXTS),
        pa.array(TEXTS, pa.large_string()),
        pa.array(TEXTS, pa.string_view()),
        pa.array(TEXTS).dictionary_encode(),
        pa.array(["2024-04-30 23:59:59", None, "2024-04-29T00:00:00Z"]),
    ],
    ids=lambda column: str(column.type),
)
def test_take_seconds_reads_every_type(column):
    assert is_time(column.type)
    np.testing.assert_array_equal(take_seconds(pa.table({"t": chunked(column)}), "t"), [SECONDS, NAN, SECONDS - DAY])


def test_take_seconds_keeps_the_time_of_day_of_a_timestamp_and_its_zone():
    noon = datetime(2024, 4, 30, 12, 0, 0, 250_000)  # noqa: DTZ001
    assert take_seconds(pa.table({"t": pa.array([noon])}), "t").tolist() == [SECONDS + DAY / 2 + 0.25]
    exact = pa.array([SECONDS_IN_NS + 1_999], pa.timestamp("ns"))  # Arrow refuses to drop digits unless told to
    assert take_seconds(pa.table({"t": exact}), "t").tolist() == [SECONDS + 1e-6]
    tokyo = pa.array([datetime(2024, 4, 30, tzinfo=UTC)], pa.timestamp("ms", "Asia/Tokyo"))
    assert take_seconds(pa.table({"t": tokyo}), "t").tolist() == [SECONDS]


@pytest.mark.parametrize(
    "columns",
    [
        {"year": ["2024", "2024", None], "month": ["04", None, "04"], "day": ["30", "30", "30"]},
        {"year": [2024, 2024, None], "month": [4, None, 4], "day": [30, 30, 30]},
        {"year": pa.array(["2024", "2024", None]).dictionary_encode(), "month": ["4", "99", "4"], "day": [30, 30, 30]},
    ],
    ids=["text", "numbers", "mixed"],
)
def test_take_seconds_joins_year_month_and_day(columns):
    np.testing.assert_array_equal(take_seconds(pa.table(columns), "year/month/day"), [SECONDS, NAN, NAN])
    np.testing.assert_array_equal(take_seconds(pa.table(columns), "year/month"), [SECONDS - 29 * DAY, NAN, NAN])


@pytest.mark.parametrize("kind", [pa.int64(), pa.float64(), pa.time32("s"), pa.bool_(), pa.list_(pa.date32())])
def test_is_time_refuses_what_tells_no_day(kind):
    assert not is_time(kind)
    assert not is_time(pa.dictionary(pa.int8(), kind))


def test_take_seconds_of_a_null_column_is_missing():
    assert is_time(pa.null())
    assert np.isnan(take_seconds(pa.table({"t": pa.nulls(2)}), "t")).tolist() == [True, True]


@given(st.dates(date(1, 1, 1), date(9999, 12, 31)))
def test_parse_time_reads_days_months_and_years(day):
    midnight = datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()
    assert parse_time(day.isoformat()) == parse_time(day) == midnight
    assert parse_time(f"{day.year}-{day.month}-{day.day}") == midnight
    assert parse_time(f"{day.year:04d}-{day.month:02d}") == parse_time(day.replace(day=1))
    assert parse_time(str(day.year)) == parse_time(date(day.year, 1, 1))


@given(st.text(max_size=15))
def test_parse_time_of_any_text_is_a_time_or_nan(text):
    seconds = parse_time(text)
    assert np.isnan(seconds) or parse_time(date.min) <= seconds <= parse_time(date.max)


@pytest.mark.parametrize("text", ["", "April", "2024-13", "2024-02-30", "0", "9999999999", "20240430", "-2024", "Q1"])
def test_parse_time_of_what_is_no_time_is_nan(text):
    assert np.isnan(parse_time(text))


def test_parse_time_takes_a_time_without_a_zone_for_utc():
    assert parse_time(TODAY) == parse_time(TODAY.replace(tzinfo=UTC)) == SECONDS
    assert parse_time(TODAY.replace(hour=9, tzinfo=timezone(timedelta(hours=9)))) == SECONDS


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="the zone of a process can't be set here")
def test_parse_time_takes_no_zone_from_the_machine(monkeypatch):
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        assert parse_time(TODAY) == SECONDS
    finally:
        monkeypatch.undo()
        time.tzset()
