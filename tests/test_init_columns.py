"""`kmstream init`: which columns become features, and why the others don't."""

import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kmstream.init_config import survey_dataset
from kmstream.init_config.judge import Column

N = 400
RNG = np.random.default_rng(0)
SPEND = np.round(RNG.lognormal(4, 1.5, N), 2)


def judged(folder: Path, tables: list[dict[str, Any]]) -> dict[str, Column]:
    """What is said of each column of these files, beside a feature that keeps the dataset usable."""
    folder.mkdir(exist_ok=True)
    for i, columns in enumerate(tables):
        n_rows = len(next(iter(columns.values())))
        table = pa.table(columns | {"usable": np.random.default_rng(i).normal(size=n_rows)})
        pq.write_table(table, folder / f"{i}.parquet")
    return {column.name: column for column in survey_dataset(str(folder), folder.parent).columns}


def judge(folder: Path, name: str, values: Any) -> Column:
    return judged(folder, [{name: values}])[name]


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("customer_id", RNG.integers(0, 50, N)),
        ("CustomerID", RNG.integers(0, 50, N)),
        ("customerid", RNG.integers(0, 50, N)),
        ("order_key", RNG.integers(0, 50, N)),
        ("InvoiceNo", RNG.integers(0, 50, N)),
        ("kunde_nr", RNG.integers(0, 50, N)),
        ("tailnum", [f"N{i}" for i in range(N)]),
        ("user_id_2", RNG.integers(0, 50, N)),
        ("flight", RNG.integers(1, 8500, N)),
        ("pos", np.arange(N)),
        ("shuffled", RNG.permutation(N)),
        ("hashed", RNG.integers(0, 2**62, N)),
        ("rising", np.cumsum(RNG.integers(1, 1000, N))),
    ],
)
def test_an_identifier_is_left_out(tmp_path, name, values):
    column = judge(tmp_path / "data", name, values)
    assert column.use == "left out"
    assert column.why.startswith("an identifier")


@pytest.mark.parametrize(
    "name", ["amount_paid", "valid", "recency_days", "casino", "orders_last_month", "air_time", "keys_held"]
)
def test_a_name_that_only_sounds_like_an_identifier_or_a_date_is_a_feature(tmp_path, name):
    assert judge(tmp_path / "data", name, RNG.integers(2, 695, N)).use == "numeric"


def test_whole_amounts_are_features_even_if_nearly_all_differ(tmp_path):
    assert judge(tmp_path / "data", "spent", RNG.lognormal(9, 1, N).astype(np.int64)).use == "numeric"


@pytest.mark.parametrize(
    ("name", "values", "why"),
    [
        ("seen", [datetime.datetime(2026, 1, 1, i % 24, tzinfo=datetime.UTC) for i in range(N)], "a date or time"),
        ("birthday", [datetime.date(2026, 1, 1 + i % 28) for i in range(N)], "a date or time"),
        ("month", RNG.integers(1, 13, N), "part of a date (month)"),
        ("dep_hour", RNG.integers(0, 24, N), "part of a date (hour)"),
        ("created_at", RNG.integers(1_600_000_000, 1_700_000_000, N), "a moment, counted since 1970"),
        ("event_time", RNG.integers(1_600_000_000_000, 1_700_000_000_000, N), "a moment, counted since 1970"),
        ("order_date", 20260100 + RNG.integers(1, 29, N), "a date, written as year, month and day"),
        (
            "dep_time",
            RNG.integers(0, 24, N) * 100 + RNG.integers(0, 60, N),
            "a time of day, written as hours and minutes",
        ),
        ("constant", np.ones(N), "always the same"),
        ("empty", pa.nulls(N), "always missing"),
        ("nan", np.full(N, np.nan), "always missing"),
        ("sparse", [1.5 * i if i % 4 == 0 else None for i in range(N)], "missing in 75% of the rows"),
        ("text", [f"{i}" for i in range(N)], "text with 400 different values in the rows read"),
        ("lists", [[i] for i in range(N)], "nested"),
        ("blob", [b"x"] * N, "neither numbers nor text"),
        ("__index_level_0__", np.arange(N), "the row index that pandas wrote"),
    ],
)
def test_a_column_that_is_no_feature_is_left_out_with_the_reason(tmp_path, name, values, why):
    column = judge(tmp_path / "data", name, values)
    assert (column.use, column.why) == ("left out", why)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("colour", ["red", "blue"] * (N // 2)),
        ("colour", pa.array(["red", "blue"] * (N // 2)).dictionary_encode()),
        ("Region", RNG.integers(1, 4, N)),
        ("active", [True, False] * (N // 2)),
        ("clicked", RNG.integers(0, 2, N)),
    ],
)
def test_few_categories_are_offered_in_a_comment(tmp_path, name, values):
    assert judge(tmp_path / "data", name, values).use == "offered"


@pytest.mark.parametrize(
    "values",
    [
        RNG.normal(size=N).astype(np.float32),
        RNG.integers(0, 30, N).astype(np.int8),
        [Decimal(i * i) / 8 for i in range(N)],
        pa.array(RNG.normal(size=20).repeat(20)).dictionary_encode(),
        [None if i % 9 == 0 else i / 7 for i in range(N)],
    ],
    ids=["float32", "int8", "decimal", "dictionary", "nulls"],
)
def test_numbers_of_any_type_are_features(tmp_path, values):
    assert judge(tmp_path / "data", "value", values).use == "numeric"


def test_files_that_differ_leave_a_column_out(tmp_path):
    columns = judged(
        tmp_path / "data",
        [
            {
                "mixed": RNG.normal(size=N),
                "new": RNG.normal(size=N),
                "wider": RNG.integers(0, 99, N),
                "late": pa.nulls(N),
            },
            {"mixed": ["a"] * N, "wider": RNG.normal(size=N), "late": RNG.normal(size=N)},
        ],
    )
    assert columns["mixed"].why == "not the same kind in every file"
    assert columns["new"].why == "only in 1 of 2 files"
    assert columns["wider"].use == columns["late"].use == "numeric"


def test_always_the_same_is_said_only_where_the_footers_agree(tmp_path):
    tables = [{"late": np.r_[np.zeros(15_000), value]} for value in (0.0, 3.0)]
    assert judged(tmp_path / "a", tables[:1])["late"].why == "always the same"
    assert judged(tmp_path / "b", tables)["late"].why == "the same in 100.0% of the rows read"


def test_log1p_is_for_skewed_numbers_that_are_never_negative(tmp_path):
    columns = judged(
        tmp_path / "data",
        [
            {
                "skewed": SPEND,
                "symmetric": RNG.normal(50, 5, N),
                "with_returns": np.r_[-20.0, SPEND[1:]],
            }
        ],
    )
    assert [name for name, column in columns.items() if column.log1p] == ["skewed"]


def test_a_negative_number_in_rows_not_read_is_seen_in_the_footers(tmp_path):
    folder = tmp_path / "data"
    columns = judged(folder, [{"spend": SPEND}, {"spend": np.r_[SPEND, -1.0]}, {"spend": SPEND}])
    assert columns["spend"].use == "numeric"
    assert not columns["spend"].log1p


@pytest.mark.parametrize(
    ("first", "last"),
    [
        ({"order_id": range(60)}, {"order_id": range(60, 120)}),
        ({"customer_id": np.arange(60.0)}, {"customer_id": np.arange(60.0)}),
        ({"visits": range(60)}, {"visits": range(60)}),
    ],
    ids=["never comes again", "can't be a key", "no identifier by its name"],
)
def test_only_an_identifier_that_comes_again_could_be_the_key(tmp_path, first, last):
    assert not any(column.is_key for column in judged(tmp_path / "data", [first, last]).values())
