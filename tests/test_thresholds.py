"""Thresholds learnt from how the partitions of a reference differ."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from builders import make_features, make_scaling
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import t as student

from kmstream.clustering import ClusterModel
from kmstream.config import DriftConfig, parse_config
from kmstream.drift import MEASURES
from kmstream.pipeline import refresh, score
from kmstream.summary import PARTITION
from kmstream.thresholds import CEILING, FLOOR, learn_thresholds

CONFIGURED = DriftConfig(thresholds="auto")
MODEL = ClusterModel(make_features(("x",)), make_scaling(1), np.array([[0.0], [10.0]]), ("low", "high"))
FAR = np.array([3.0, 3.0])


def make_sample(shares_of_high, n_each=400, *, spread=1.0, seed=0):
    """Partitions of rows about 0 and 10, with so many of the second."""
    rng = np.random.default_rng(seed)
    values, places = [], []
    for place, share in enumerate(shares_of_high):
        n_high = round(share * n_each)
        values.append(
            rng.permutation(np.repeat([0.0, 10.0], [n_each - n_high, n_high]) + rng.normal(0, spread, n_each))
        )
        places.append(np.full(n_each, place, np.int32))
    return pa.table({"x": np.concatenate(values), PARTITION: np.concatenate(places)})


def learn(sample, share=0.1, configured=CONFIGURED):
    return learn_thresholds(configured, sample, MODEL, FAR, share=share)


def test_partitions_that_differ_by_chance_alone_leave_half_of_what_is_configured():
    limits = learn(make_sample([0.3] * 10, 10_000)).limits
    assert limits.share_psi.warn == pytest.approx(FLOOR * 0.1)
    assert limits.share_change.warn == pytest.approx(FLOOR * 0.05)
    assert limits.centroid_shift.alert == pytest.approx(FLOOR * 0.5)
    assert limits.inertia_ratio.warn == pytest.approx(1 + FLOOR * 0.2)
    assert limits.outlier_share.warn == pytest.approx(0.01 + FLOOR * 0.01)


def test_windows_of_too_few_sampled_rows_lower_nothing():
    limits = learn(make_sample([0.3] * 10, 60)).limits
    for measure in MEASURES:
        assert getattr(limits, measure) == getattr(CONFIGURED, measure)


def test_a_share_that_swings_between_partitions_raises_its_threshold_and_no_other():
    shares = [0.24, 0.36, 0.26, 0.34, 0.25, 0.35, 0.27, 0.33, 0.24, 0.36]
    limits = learn(make_sample(shares, 4000)).limits
    assert 0.07 < limits.share_change.warn < 0.15  # the swing is 0.06 either way
    assert limits.share_change.alert == pytest.approx(2 * limits.share_change.warn)  # as configured
    assert limits.inertia_ratio.warn == pytest.approx(1 + FLOOR * 0.2)


def test_a_threshold_is_what_the_next_window_exceeds_once_in_two_hundred():
    """Student's prediction bound, of changes from the mean 0.3; a partition is a tenth of what it is compared with."""
    shares = [0.24, 0.36, 0.26, 0.34, 0.25, 0.35, 0.27, 0.33, 0.24, 0.36]
    changes = np.abs(np.array(shares) - np.mean(shares)) / 0.9
    bound = changes.mean() + student.isf(0.005, 9) * changes.std(ddof=1) * np.sqrt(1 + 1 / 10)
    assert learn(make_sample(shares, 4000)).limits.share_change.warn == pytest.approx(bound)


def test_neighbours_together_differ_less_where_they_swing_and_as_much_where_they_drift():
    swing = make_sample([0.22, 0.38] * 10, 2000)
    assert learn(swing, 0.1).limits.share_change.warn < learn(swing, 0.05).limits.share_change.warn
    drifting = make_sample(np.linspace(0.22, 0.38, 20), 2000)
    one, two = learn(drifting, 0.05).limits.share_change.warn, learn(drifting, 0.1).limits.share_change.warn
    assert two == pytest.approx(one, rel=0.5)


def test_a_window_larger_than_a_fifth_is_judged_as_a_fifth():
    sample = make_sample([0.25, 0.35] * 5, 1000)
    assert learn(sample, 0.2) == learn(sample, 0.9) == learn(sample, 40.0)


def test_the_bounds_hold_however_partitions_differ():
    wild = learn(make_sample([0.01, 0.99] * 5)).limits
    for measure in MEASURES:
        unchanged = {"inertia_ratio": 1.0, "outlier_share": 0.01}.get(measure, 0.0)
        learnt, configured = getattr(wild, measure), getattr(CONFIGURED, measure)
        times = (learnt.warn - unchanged) / (configured.warn - unchanged)
        assert FLOOR - 1e-9 <= times <= CEILING + 1e-9
        assert (learnt.alert - unchanged) / (configured.alert - unchanged) == pytest.approx(times)
    assert wild.share_change.warn == pytest.approx(CEILING * 0.05)


def test_what_is_configured_holds_where_there_are_too_few_partitions():
    found = learn(make_sample([0.1, 0.3, 0.5, 0.9]))
    assert found.limits == CONFIGURED
    assert found.source == "configuration (the reference has 4 partitions; to learn takes 5)"
    assert "has 1 partition;" in learn(make_sample([0.3])).source
    assert learn(make_sample([0.3] * 5)).source == "how 5 partitions of the reference differ"


def test_what_is_configured_holds_for_a_reference_without_partitions():
    found = learn(make_sample([0.3] * 10).drop_columns([PARTITION]))
    assert found.limits == CONFIGURED
    assert "kept no partitions" in found.source


@settings(max_examples=10)
@given(st.lists(st.integers(1, 40), min_size=5, max_size=12), st.floats(0.001, 2.0))
def test_partitions_of_any_sizes_give_the_same_thresholds_every_time(sizes, share):
    rng = np.random.default_rng(len(sizes))
    sample = pa.table(
        {"x": rng.normal(5, 5, sum(sizes)), PARTITION: np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)}
    )
    found = learn(sample, share)
    assert found == learn(sample, share)
    assert all(getattr(found.limits, measure).warn <= getattr(found.limits, measure).alert for measure in MEASURES)


@pytest.fixture(scope="module")
def swinging(tmp_path_factory):
    """Ten months whose mix swings by 8 points, and three more: one that swings, one beyond that, an even one."""
    folder = tmp_path_factory.mktemp("swinging")
    (folder / "data").mkdir()
    for month, share in enumerate([0.42, 0.58] * 5 + [0.58, 0.8, 0.5]):
        rows = make_sample([share], 1000, seed=month).select(["x"])
        pq.write_table(rows, folder / f"data/m{month:02}.parquet")
    return folder


def run_months(folder, thresholds):
    config = parse_config(
        {
            "name": "swing",
            "dataset": {"path": "data"},
            "features": {"numeric": ["x"], "scaling": "none"},
            "model": {"n_clusters": 2},
            "output": {"path": thresholds},
            "drift": {"thresholds": thresholds},
        },
        base_dir=folder,
    )
    refresh(config, only=[f"m{month:02}.parquet" for month in range(10)])
    scored = [score(config, only=[f"m{month:02}.parquet"]) for month in (10, 11, 12)]
    told = [json.loads((Path(result.report).parent / "drift.json").read_text()) for result in scored]
    return [result.severity for result in scored], told


@pytest.mark.slow
def test_a_month_as_others_were_alarms_nobody_and_one_beyond_them_does(swinging):
    severities, told = run_months(swinging, "auto")
    assert severities == ["ok", "alert", "ok"]
    assert {one["thresholds_from"] for one in told} == {"how 10 partitions of the reference differ"}
    limit = told[0]["thresholds"]["share_change"]["warn"]
    assert 0.08 < limit < 0.15
    reason = next(one for one in told[1]["reasons"] if one["measure"] == "share_change")
    assert reason["threshold"] == pytest.approx(told[1]["thresholds"]["share_change"]["alert"])
    severities, told = run_months(swinging, "configured")
    assert severities == ["warn", "alert", "ok"]
    assert {one["thresholds_from"] for one in told} == {"configuration"}
    assert told[0]["thresholds"]["share_change"] == {"warn": 0.05, "alert": 0.10}
