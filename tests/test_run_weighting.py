"""The newest time of a dataset, at which a row counts in full."""

from datetime import datetime, timedelta

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kmstream.columns import parse_time
from kmstream.dataset import open_dataset
from kmstream.run import find_weighting
from kmstream.weights import Weighting

DAY = 86_400.0
TODAY = datetime(2024, 4, 30)  # noqa: DTZ001 - files hold times without a zone, too
SECONDS = 19_843 * DAY  # of TODAY, since 1970
SMALL = pa.table({"x": [1.0, 2.0], "y": [3.0, 4.0], "w": [1, 2], "t": ["2024-04", "2024-03"]})
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
