"""How many rows a row counts for."""

import math
from datetime import datetime, timedelta
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from builders import make_config
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from kmstream.errors import InvalidFeatureError
from kmstream.weights import Weighting, find_weights

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
    assert caught.value.cure == "Clean the column, or name another one as features.weight."


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


def test_half_life_is_a_time_span_of_at_least_0():
    dataset = {"path": "/data", "time": "day"}
    assert make_config(model={"half_life": "30d"}, dataset=dataset).model.half_life == timedelta(days=30)
    with pytest.raises(ValidationError, match="should not be negative"):
        make_config(model={"half_life": timedelta(days=-1)}, dataset=dataset)
