"""How many rows a row counts for: a column of weights, and forgetting by age."""

import math
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from builders import make_config as make_least_config
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from kmstream.dataset import open_dataset
from kmstream.errors import InvalidFeatureError, SchemaMismatchError
from kmstream.features import encode
from kmstream.run import find_weighting
from kmstream.scan import make_scaling, scan_dataset
from kmstream.weights import Weighting, find_weights, is_time, parse_time, take_seconds

NAN, DAY = math.nan, 86_400.0
TODAY = datetime(2024, 4, 30)  # noqa: DTZ001 - files hold times without a zone, too
SECONDS = 19_843 * DAY  # of TODAY, since 1970


def weigh(weighting, **columns):
    return find_weights(pa.table(columns), weighting)


# --- a column of weights ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "column",
    [
        pa.array([1, None, 0], pa.int8()),
        pa.array([1, None, 0], pa.uint64()),
        pa.array([1, None, 0], pa.float16()),
        pa.array([1, None, 0], pa.float32()),
        pa.array([1.0, None, 0.0]),
        pa.array([1.0, NAN, -0.0]),
        pa.array([1.0, math.inf, 0.0]),
        pa.array([1.0, -math.inf, 0.0]),
        pa.array([Decimal("1.00"), None, Decimal("0.00")]),
        pa.array([True, None, False]),
        pa.array([1, None, 0]).dictionary_encode(),
        pa.array(["1", None, "0"]),  # in a folder name
    ],
    ids=lambda column: str(column.type),
)
@pytest.mark.parametrize("chunked", [False, True])
def test_find_weights_reads_every_type_and_takes_what_is_missing_for_no_row(column, chunked):
    if chunked:
        column = pa.chunked_array([column.slice(0, 1), column.slice(1)])
    weights, unusable = weigh(Weighting("w"), w=column)
    assert (weights.dtype, weights.tolist()) == (np.float64, [1.0, 0.0, 0.0])
    assert {reason: rows.tolist() for reason, rows in unusable.items()} == {
        "features.weight 'w' is missing or infinite": [False, True, False]
    }


def test_find_weights_takes_a_null_column_for_all_missing():
    weights, unusable = weigh(Weighting("w"), w=pa.nulls(2))
    assert (weights.tolist(), next(iter(unusable.values())).tolist()) == ([0.0, 0.0], [True, True])


def test_find_weights_tells_the_first_negative_weight():
    with pytest.raises(
        InvalidFeatureError, match=r"features\.weight 'w' is -2\.5; expected no weight below 0"
    ) as caught:
        weigh(Weighting("w"), w=[1.0, None, -0.5, -2.5])
    assert caught.value.first_row == 2


def test_find_weights_changes_nothing_in_the_batch():
    batch = pa.table({"w": [1.0, NAN, 3.0]})
    find_weights(batch, Weighting("w"))[0][:] = 7.0
    np.testing.assert_array_equal(batch.column("w").to_numpy(), [1.0, NAN, 3.0])


def test_find_weights_of_no_rows_is_empty():
    weights, unusable = weigh(Weighting("w", "t", DAY, 0.0), w=pa.array([], pa.int8()), t=pa.array([], pa.string()))
    assert (weights.tolist(), unusable) == ([], {})


# --- forgetting by age -----------------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 40), min_size=1, max_size=20), st.integers(1, 1000))
def test_find_weights_counts_half_at_the_age_of_one_half_life(ages, days):
    times = [TODAY - timedelta(days=days) * age for age in ages]
    weights, unusable = weigh(Weighting("", "t", days * DAY, SECONDS), t=pa.array(times, pa.timestamp("us")))
    assert weights.tolist() == [0.5**age for age in ages]  # exact
    assert unusable == {}


def test_find_weights_multiplies_the_weight_with_that_of_the_age():
    times = pa.array([TODAY, TODAY - timedelta(days=7), TODAY - timedelta(days=14), TODAY, None, TODAY])
    weighting = Weighting("w", "t", 7 * DAY, SECONDS)
    weights, unusable = weigh(weighting, t=times, w=[3.0, 3.0, 3.0, 0.0, 3.0, None])
    assert weights.tolist() == [3.0, 1.5, 0.75, 0.0, 0.0, 0.0]
    assert {reason: rows.tolist() for reason, rows in unusable.items()} == {
        "features.weight 'w' is missing or infinite": [False] * 5 + [True],
        "dataset.time 't' is missing or no date": [False] * 4 + [True, False],
    }


def test_find_weights_of_rows_that_are_long_forgotten_is_0():
    times = pa.array([TODAY, datetime(1, 1, 1)])  # noqa: DTZ001
    assert weigh(Weighting("", "t", 60.0, SECONDS), t=times)[0].tolist() == [1.0, 0.0]


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
@pytest.mark.parametrize("chunked", [False, True])
def test_take_seconds_reads_every_type(column, chunked):
    if chunked:
        column = pa.chunked_array([column.slice(0, 1), column.slice(1)])
    assert is_time(column.type)
    np.testing.assert_array_equal(take_seconds(pa.table({"t": column}), "t"), [SECONDS, NAN, SECONDS - DAY])


def test_take_seconds_keeps_the_time_of_day_of_a_timestamp_and_its_zone():
    noon = datetime(2024, 4, 30, 12, 0, 0, 250_000)  # noqa: DTZ001
    assert take_seconds(pa.table({"t": pa.array([noon])}), "t").tolist() == [SECONDS + DAY / 2 + 0.25]
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
    assert is_time(pa.string())


def test_take_seconds_of_a_null_column_is_missing():
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


# --- settings and schemas --------------------------------------------------------------------------------------------


def test_half_life_without_dataset_time_is_refused():
    with pytest.raises(ValidationError, match=r"model\.half_life needs dataset\.time"):
        make_least_config(model={"half_life": "30d"})
    config = make_least_config(model={"half_life": "30d"}, dataset={"path": "/data", "time": "day"})
    assert config.model.half_life == timedelta(days=30)


def test_half_life_that_is_negative_is_refused():
    with pytest.raises(ValidationError, match="should not be negative"):
        make_least_config(model={"half_life": timedelta(days=-1)}, dataset={"path": "/data", "time": "day"})


SMALL = pa.table({"x": [1.0, 2.0], "y": [3.0, 4.0], "w": [1, 2], "t": ["2024-04", "2024-03"]})


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (None, r"column 'w' of features\.weight is missing"),
        (pa.array(["1", "2"]), r"column 'w' of features\.weight has type string; expected numbers"),
        (pa.array([1, 2], pa.timestamp("us")), r"column 'w' of features\.weight has type timestamp"),
        (pa.array([[1.0], [2.0]]), r"column 'w' of features\.weight has type list"),
    ],
)
def test_open_dataset_refuses_a_file_without_usable_weights(config, data, files, column, message):
    bad = SMALL.drop_columns("w") if column is None else SMALL.set_column(2, "w", column)
    files(data, {"a.parquet": SMALL, "b.parquet": bad})
    assert open_dataset(config()).rows == 4
    with pytest.raises(SchemaMismatchError, match=message) as caught:
        open_dataset(config(features={"weight": "w"}))
    assert caught.value.__notes__[0] == "in b.parquet"


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (None, r"column 't' of dataset\.time is missing"),
        (pa.array([1, 2]), r"column 't' of dataset\.time has type int64; expected timestamps, dates, or text such as"),
        (pa.array([1.0, 2.0]), r"column 't' of dataset\.time has type double"),
        (pa.array([1, 2], pa.time32("s")), r"column 't' of dataset\.time has type time32"),
    ],
)
def test_open_dataset_refuses_a_file_without_usable_times(config, data, files, column, message):
    bad = SMALL.drop_columns("t") if column is None else SMALL.set_column(3, "t", column)
    files(data, {"a.parquet": SMALL, "b.parquet": bad})
    open_dataset(config(dataset={"time": "t"}))  # nobody asks how old rows are
    with pytest.raises(SchemaMismatchError, match=message) as caught:
        open_dataset(config(dataset={"time": "t"}, model={"half_life": "30d"}))
    assert caught.value.__notes__[0] == "in b.parquet"


def test_open_dataset_refuses_a_file_without_one_of_several_times(config, data, files):
    dated = SMALL.append_column("year", pa.array([2024, 2024])).append_column("month", pa.array([4.0, 3.0]))
    files(data, {"a.parquet": dated})
    forget = {"model": {"half_life": "30d"}}
    with pytest.raises(SchemaMismatchError, match=r"column 'day' of dataset\.time is missing"):
        open_dataset(config(dataset={"time": "year/day"}, **forget))
    with pytest.raises(
        SchemaMismatchError, match=r"column 'month' .* has type double; expected years, months and days"
    ):
        open_dataset(config(dataset={"time": "year/month"}, **forget))


@pytest.mark.parametrize("value", ["April", "2024-13", "__HIVE_DEFAULT_PARTITION__"])
def test_open_dataset_refuses_a_folder_whose_name_is_no_time(config, data, files, value):
    files(data, {"month=2024-04/a.parquet": SMALL, f"month={value}/a.parquet": SMALL})
    with pytest.raises(SchemaMismatchError, match=rf"dataset\.time 'month' is '{value}' in the folder name") as caught:
        open_dataset(config(dataset={"time": "month"}, model={"half_life": "30d"}))
    assert caught.value.__notes__[0] == f"in month={value}/a.parquet"


def test_open_dataset_refuses_a_folder_whose_name_is_no_weight(config, data, files):
    files(data, {"v=2/a.parquet": SMALL, "v=much/a.parquet": SMALL})
    with pytest.raises(
        SchemaMismatchError, match=r"features\.weight 'v' is 'much' in the folder name; expected numbers"
    ):
        open_dataset(config(features={"weight": "v"}))


@pytest.mark.parametrize("section", [{"features": {"weight": "w"}}, {"dataset": {"time": "w"}}])
def test_open_dataset_refuses_a_weight_or_time_column_that_is_there_twice(config, data, files, section):
    columns = [
        pa.array([1.0, 2.0]),
        pa.array([1.0, 2.0]),
        *[pa.array(["2024", "2023"] if "dataset" in section else [1, 2])] * 2,
    ]
    files(data, {"a.parquet": pa.Table.from_arrays(columns, names=["x", "y", "w", "w"])})
    model = {"half_life": "30d"} if "dataset" in section else {}
    with pytest.raises(SchemaMismatchError, match=r"'w'.* 2 times"):
        open_dataset(config(**section, model=model))


# --- rows of a dataset -----------------------------------------------------------------------------------------------


def scan(run):
    return scan_dataset(run, statistics=True)


def test_a_negative_weight_is_refused_with_its_file_and_row_whatever_the_policy(config, data, files, blobs, run_of):
    weights = np.ones(5000)
    weights[4321] = -2.0
    good = blobs(100).append_column("w", pa.array(np.ones(100)))
    files(data, {"a.parquet": good, "b.parquet": blobs(5000).append_column("w", pa.array(weights))})
    for policy in ("error", "skip", "mean"):
        with pytest.raises(
            InvalidFeatureError, match=r"features\.weight 'w' is -2; expected no weight below 0"
        ) as caught:
            scan(run_of(config(features={"weight": "w", "on_missing": policy})))
        assert caught.value.__notes__[0] == "in b.parquet, rows 4096-4999; first such row 4321"
        assert caught.value.__notes__[1] == "Clean the column, or name another one as features.weight."


def test_a_missing_weight_is_an_error_that_names_file_and_row(config, data, files, blobs, run_of):
    weights = pa.array([1.0] * 70 + [None] + [1.0] * 29)
    files(data, {"a.parquet": blobs(100).append_column("w", weights)})
    with pytest.raises(InvalidFeatureError, match=r"weight 'w' is missing or infinite in 1 of 100 rows") as caught:
        scan(run_of(config(features={"weight": "w"})))
    assert caught.value.__notes__[0] == "in a.parquet, rows 0-99; first such row 70"


@pytest.mark.parametrize("policy", ["skip", "mean", "median"])
def test_a_row_without_a_weight_is_assigned_and_counts_nothing(config, data, files, blobs, run_of, policy):
    table = blobs(100).append_column("w", pa.array([None] * 10 + [2.0] * 90))
    files(data, {"a.parquet": table})
    weighted = config(features={"weight": "w", "on_missing": policy})
    found = scan(run_of(weighted))
    x = table.column("x").to_numpy()[10:]
    assert found.columns.n.tolist() == [180.0, 180.0]
    np.testing.assert_allclose(found.columns.mean[0], x.mean(), rtol=1e-12)
    np.testing.assert_allclose(found.columns.low[0], x.min())
    encoded = encode(table, weighted.features, make_scaling(weighted.features, found), Weighting("w"))
    assert (encoded.rows.keep.all(), encoded.skipped) == (True, {})
    assert encoded.rows.weights.tolist() == [0.0] * 10 + [2.0] * 90


def test_hive_values_can_be_weights(config, data, files, run_of):
    files(data, {"w=3/a.parquet": SMALL.drop_columns("w"), "w=0.5/a.parquet": SMALL.drop_columns("w")})
    found = scan(run_of(config(features={"weight": "w"}, model={"n_clusters": 2})))
    assert found.columns.n.tolist() == [7.0, 7.0]
    assert sorted(found.weights.tolist()) == [0.5, 0.5, 3.0, 3.0]


# --- the newest time -------------------------------------------------------------------------------------------------

DAYS = [TODAY - timedelta(days=days) for days in (5, 0, 9)]
TIMES = {
    "timestamp[us]": pa.array(DAYS, pa.timestamp("us")),
    "timestamp[ns]": pa.array(DAYS, pa.timestamp("ns")),
    "timestamp[ms, UTC]": pa.array(DAYS, pa.timestamp("ms", "UTC")),
    "date": pa.array([day.date() for day in DAYS]),
    "text": pa.array([day.date().isoformat() for day in DAYS]),
    "dictionary": pa.array([day.date().isoformat() for day in DAYS]).dictionary_encode(),
    "months": pa.array(["2024-4", "2024-10", "2024-9"]),  # as text, the last is the greatest
    "not all are times": pa.array(["unknown", "2024-04-30", "2024-04-20"]),
    "nulls beside": pa.array([DAYS[0], None, DAYS[1]]),
}


def weighting_of(made):
    return find_weighting(made, open_dataset(made), 4096)


@pytest.mark.parametrize("statistics", [True, False], ids=["footer", "column"])
@pytest.mark.parametrize("name", TIMES)
def test_find_weighting_finds_the_newest_time(config, data, files, statistics, name):
    numbers = {"x": [1.0, 2.0, 3.0], "y": [3.0, 4.0, 5.0]}
    old = pa.table(numbers | {"t": TIMES[name].slice(0, 1).take(pa.array([0, 0, 0]))})
    files(data, {"a.parquet": old, "b.parquet": pa.table(numbers | {"t": TIMES[name]}), "c.parquet": old},
          write_statistics=statistics, row_group_size=2)  # fmt: skip
    made = config(dataset={"time": "t"}, model={"half_life": "7d"})
    expected = SECONDS if name != "months" else parse_time("2024-10")
    assert weighting_of(made) == Weighting("", "t", 7 * DAY, expected)
    if not statistics:
        assert {partition.newest for partition in open_dataset(made).partitions} == {None}


def test_find_weighting_reads_no_page_where_footers_tell(config, data, files):
    files(data, {"a.parquet": SMALL.set_column(3, "t", TIMES["date"].slice(0, 2))})
    path = data / "a.parquet"
    good = path.read_bytes()
    footer = int.from_bytes(good[-8:-4], "little") + 8
    path.write_bytes(good[:4] + b"\xff" * (len(good) - footer - 4) + good[-footer:])
    assert weighting_of(config(dataset={"time": "t"}, model={"half_life": "7d"})).newest == SECONDS


def test_find_weighting_takes_the_newest_of_hive_folders(config, data, files):
    bare = SMALL.drop_columns("t")
    files(
        data,
        {f"year={year}/month={month}/a.parquet": bare for year, month in ((2023, "12"), (2024, "2"), (2024, "10"))},
    )
    made = config(dataset={"time": "year/month"}, model={"half_life": "7d"})
    assert weighting_of(made).newest == parse_time("2024-10")
    assert weighting_of(made).columns == ("year", "month")
    year = config(dataset={"time": "year"}, model={"half_life": "7d"})
    assert weighting_of(year).newest == parse_time("2024")


def test_find_weighting_takes_a_year_of_the_folder_and_a_month_of_the_file(config, data, files):
    for month in (3, 11):
        files(data, {f"year=2024/{month}.parquet": SMALL.append_column("month", pa.array([month, 1]))})
    assert weighting_of(config(dataset={"time": "year/month"}, model={"half_life": "7d"})).newest == parse_time(
        "2024-11"
    )


@pytest.mark.parametrize("unknown", ["a", "z"], ids=["first", "last"])
def test_find_weighting_passes_over_folders_without_a_time(config, data, files, unknown):
    bare = SMALL.drop_columns("t")
    null = "__HIVE_DEFAULT_PARTITION__"
    files(data, {"m/year=2024/month=04/a.parquet": bare, f"{unknown}/year=2024/month={null}/a.parquet": bare})
    made = config(dataset={"time": "year/month"}, model={"half_life": "7d"})
    assert weighting_of(made).newest == parse_time("2024-04")


def test_find_weighting_passes_over_files_without_rows_and_without_times(config, data, files):
    dated = SMALL.set_column(3, "t", TIMES["date"].slice(0, 2))
    files(data, {"a.parquet": dated.slice(0, 0), "b.parquet": dated})
    files(data, {"c.parquet": dated.set_column(3, "t", pa.nulls(2, pa.date32()))})
    with pq.ParquetWriter(data / "d.parquet", dated.schema):
        pass
    made = config(dataset={"time": "t"}, model={"half_life": "7d"})
    assert weighting_of(made).newest == SECONDS


def test_find_weighting_of_rows_that_all_lack_a_time_is_finite(config, data, files):
    files(data, {"a.parquet": SMALL.set_column(3, "t", pa.nulls(2, pa.date32()))})
    assert weighting_of(config(dataset={"time": "t"}, model={"half_life": "7d"})).newest == 0.0


def test_open_dataset_takes_a_time_that_no_calendar_has(config, data, files):
    files(data, {"a.parquet": SMALL.set_column(3, "t", pa.array([0, 2**61], pa.timestamp("us")))})
    dataset = open_dataset(config(dataset={"time": "t"}, model={"half_life": "7d"}))
    assert dataset.partitions[0].newest is None or dataset.partitions[0].newest > 1e12


def test_find_weighting_is_none_where_every_row_counts_once(config, data, files):
    files(data, {"a.parquet": SMALL})
    assert weighting_of(config(dataset={"time": "t"})) is None
    assert weighting_of(config(features={"weight": "w"})) == Weighting("w")
    both = weighting_of(config(features={"weight": "w"}, dataset={"time": "t"}, model={"half_life": "7d"}))
    assert both == Weighting("w", "t", 7 * DAY, parse_time("2024-04"))


@pytest.mark.parametrize("time", ["timestamp", "date", "text", "year/month/day", "day"])
@pytest.mark.parametrize("statistics", [True, False], ids=["footer", "column"])
def test_scan_dataset_counts_a_row_half_at_the_age_of_one_half_life(config, data, files, run_of, time, statistics):
    days = [TODAY - timedelta(days=3 * age) for age in range(4)]
    for age, day in enumerate(days):
        table = pa.table({
            "x": [1.0 + age, 7.0], "y": [age * age, 0.0], "timestamp": [day, None], "date": [day.date(), None],
            "text": [day.date().isoformat(), None],
        })  # fmt: skip
        table = table if time in table.column_names else table.slice(0, 1)  # a folder's name holds for all of its rows
        place = f"year={day.year}/month={day.month:02d}/day={day.day}" if "/" in time else f"day={day.date()}"
        files(data, {f"{place}/a.parquet": table}, write_statistics=statistics)
    made = config(dataset={"time": time}, features={"on_missing": "skip"}, model={"half_life": "3d", "n_clusters": 2})
    columns = scan(run_of(made)).columns
    weights, x = [1.0, 0.5, 0.25, 0.125], [1.0, 2.0, 3.0, 4.0]
    assert columns.n.tolist() == [1.875, 1.875]
    np.testing.assert_allclose(
        columns.mean, [np.average(x, weights=weights), np.average([0, 1, 4, 9], weights=weights)]
    )
