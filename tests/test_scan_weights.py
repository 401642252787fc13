"""The first pass over rows that have weights, or are forgotten."""

from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest

from kmstream.errors import InvalidFeatureError
from kmstream.features import encode
from kmstream.scan import make_scaling, scan_dataset
from kmstream.weights import Weighting

TODAY = datetime(2024, 4, 30)  # noqa: DTZ001 - files hold times without a zone, too


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
    assert caught.value.__notes__ == [
        "in a.parquet, rows 0-99; first such row 70",
        "Name another column, or set features.on_missing to skip: such rows then count nothing.",
    ]


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
    table = pa.table({"x": [1.0, 2.0], "y": [3.0, 4.0]})
    files(data, {"w=3/a.parquet": table, "w=0.5/a.parquet": table})
    found = scan(run_of(config(features={"weight": "w"}, model={"n_clusters": 2})))
    assert found.columns.n.tolist() == [7.0, 7.0]
    assert sorted(found.weights.tolist()) == [0.5, 0.5, 3.0, 3.0]


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
