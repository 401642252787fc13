"""Rows that are forgotten: one of the age `model.half_life` counts half."""

import json
from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pytest
from builders import make_passes

from kmstream.errors import ConfigError
from kmstream.pipeline import refresh, score
from kmstream.store import Store

NEWEST = date(2024, 4, 30)


def dated(table, ages):
    """Add the times at which rows are so many times four days old, in every form that there is, and what they weigh."""
    days = [NEWEST - timedelta(days=4 * int(age)) for age in ages]
    columns = {
        "timestamp": pa.array(days).cast(pa.timestamp("us")),
        "zone": pa.array(days).cast(pa.timestamp("ns", "UTC")),
        "date": pa.array(days),
        "text": pa.array([day.isoformat() for day in days]).dictionary_encode(),
        "w": pa.array(0.5 ** np.asarray(ages, dtype=float)),
    }
    for name, column in columns.items():
        table = table.append_column(name, column)
    return table


@pytest.mark.parametrize("statistics", [True, False], ids=["footer", "column"])
@pytest.mark.parametrize("time", ["timestamp", "zone", "date", "text", "day", "year/month/dd"])
def test_passes_that_forget_have_the_bits_of_passes_with_those_weights(
    tmp_path, config_in, files, blobs, run_of, time, statistics
):
    """At ages of whole half-lives the weights are exact: 1, 1/2, 1/4."""
    for age in range(4):
        day = NEWEST - timedelta(days=4 * age)
        table = dated(blobs(200, seed=age), np.full(200, age))
        place = f"year={day.year}/month={day.month:02d}/dd={day.day}" if "/" in time else f"day={day}"
        files(tmp_path / "data", {f"{place}/a.parquet": table}, write_statistics=statistics)
    forget = {"dataset": {"time": time}, "model": {"half_life": "4d"}}
    found = [
        make_passes(run_of(config_in(tmp_path, **sections)), tmp_path)
        for sections in (forget, {"features": {"weight": "w"}}, {})
    ]
    assert found[0].bits() == found[1].bits()
    assert found[0].bits() != found[2].bits()
    assert found[0].assigned.summary.n_rows == 200 * 1.875


def test_passes_that_forget_multiply_with_the_weights(tmp_path, config_in, files, blobs, run_of):
    table = dated(blobs(500), np.arange(500) % 5)
    files(tmp_path / "data", {"a.parquet": table.append_column("v", pa.array(3.0 * np.asarray(table["w"])))
                              .append_column("three", pa.array(np.full(500, 3.0)))})  # fmt: skip
    sections = {"dataset": {"time": "date"}, "model": {"half_life": "4d"}, "features": {"weight": "three"}}
    found = [
        make_passes(run_of(config_in(tmp_path, **one)), tmp_path) for one in (sections, {"features": {"weight": "v"}})
    ]
    assert found[0].bits() == found[1].bits()


def test_refresh_that_forgets_follows_the_rows_of_today(config, data, files, blobs):
    """Half a year ago the second segment lay elsewhere; the centroid is where it lies now."""
    then, now = ((0.0, 0.0), (10.0, 0.0), (0.0, 10.0)), ((0.0, 0.0), (13.0, 0.0), (0.0, 10.0))
    tables = [
        dated(blobs(500, seed=1, centers=then), np.full(500, 45)),
        dated(blobs(500, seed=2, centers=now), np.zeros(500)),
    ]
    files(data, {f"{i}.parquet": table for i, table in enumerate(tables)})
    refresh(config(dataset={"time": "date"}, model={"half_life": "4d"}))
    model = Store(config().output.path).load().model
    assert (model.centroids * model.scaling.scale + model.scaling.center).max(axis=0)[0] == pytest.approx(13.0, abs=0.3)
    assert json.loads((Store(config().output.path).path("v000001") / "model.json").read_text())["parameters"][
        "half_life"
    ]


def test_score_of_an_old_window_counts_its_newest_row_in_full(config, data, files, blobs):
    """Only shares are compared: a window is not drift for being old."""
    files(data, {"a.parquet": dated(blobs(600), np.arange(600) % 3)})
    made = config(dataset={"time": "timestamp"}, model={"half_life": "4d"})
    refresh(made)
    files(data, {"b.parquet": dated(blobs(600), 300 + np.arange(600) % 3)})  # the same rows, 1200 days before
    result = score(made)
    assert (result.rows, result.severity) == (600, "ok")
    (report,) = (Store(made.output.path).output / "reports").iterdir()
    totals = json.loads((report / "drift.json").read_text())["totals"]
    assert totals["rows"] == pytest.approx(200 * 1.75)


@pytest.mark.parametrize("time", ["day/", "/", "year//month"])
def test_a_time_without_a_name_is_refused(config, time):
    with pytest.raises(ConfigError, match=r"dataset\.time"):
        config(dataset={"time": time}, model={"half_life": "3d"})
