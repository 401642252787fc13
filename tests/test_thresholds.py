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
from kmstream.config import DriftConfig, Threshold, parse_config
from kmstream.drift_figures import MEASURES
from kmstream.measures import psi
from kmstream.pipeline import refresh, score
from kmstream.summary import PARTITION
from kmstream.thresholds import CEILING, FLOOR, learn_thresholds

CONFIGURED = DriftConfig(thresholds="auto")
MODEL = ClusterModel(make_features(("x",)), make_scaling(1), np.array([[0.0], [10.0]]), ("low", "high"))
FAR = np.array([3.0, 3.0])
SWING = [0.24, 0.36, 0.26, 0.34, 0.25, 0.35, 0.27, 0.33, 0.24, 0.36]  # of the second segment
WIDE = CONFIGURED.model_copy(update={"share_change": Threshold(warn=0.15, alert=0.3)})


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


def make_partitions(*partitions):
    """Partitions of these rows."""
    places = np.repeat(np.arange(len(partitions), dtype=np.int32), [len(rows) for rows in partitions])
    return pa.table({"x": np.concatenate(partitions), PARTITION: places})


def learn(sample, share=0.1, configured=CONFIGURED):
    return learn_thresholds(configured, sample, MODEL, FAR, share=share)


def bound(changes, n_apart=10):
    """Student's prediction bound: what the next window exceeds once in two hundred."""
    changes = np.array(changes)
    return changes.mean() + student.isf(0.005, n_apart - 1) * changes.std(ddof=1) * np.sqrt(1 + 1 / n_apart)


def test_partitions_that_differ_by_chance_alone_leave_half_of_what_is_configured():
    limits = learn(make_sample([0.3] * 10, 10_000)).limits
    assert limits.share_psi.warn == pytest.approx(FLOOR * 0.1)
    assert limits.share_change.warn == pytest.approx(FLOOR * 0.05)
    assert limits.centroid_shift.alert == pytest.approx(FLOOR * 0.5)
    assert limits.inertia_ratio.warn == pytest.approx(1 + FLOOR * 0.2)
    assert limits.outlier_share.warn == pytest.approx(0.01 + FLOOR * 0.01)


@pytest.mark.parametrize(("n_each", "share"), [(60, 0.1), (10_000, 0.0006)])
def test_windows_of_too_few_sampled_rows_lower_nothing(n_each, share):
    limits = learn(make_sample([0.3] * 10, n_each), share).limits
    for measure in MEASURES:
        assert getattr(limits, measure) == getattr(CONFIGURED, measure)


def test_a_share_that_swings_between_partitions_raises_its_threshold_and_no_other():
    limits = learn(make_sample(SWING, 4000)).limits
    assert 0.07 < limits.share_change.warn < 0.15  # the swing is 0.06 either way
    assert limits.share_change.alert == pytest.approx(2 * limits.share_change.warn)  # as configured
    assert limits.inertia_ratio.warn == pytest.approx(1 + FLOOR * 0.2)


@pytest.mark.parametrize(
    ("shares", "together", "n_apart"),
    [
        (SWING, 1, 10),
        ([0.45, *[0.25] * 8, 0.45, 0.45], 2, 5),  # the last one and the first are neighbours too
    ],
)
def test_a_threshold_is_what_the_next_window_exceeds_once_in_two_hundred(shares, together, n_apart):
    """Changes are from the mean of all, which a window is part of."""
    part = together / len(shares)
    changes = [abs(np.mean(np.roll(shares, -i)[:together]) - np.mean(shares)) / (1 - part) for i in range(len(shares))]
    limits = learn(make_sample(shares, 4000), part, WIDE).limits
    assert limits.share_change.warn == pytest.approx(bound(changes, n_apart))


def test_a_psi_is_learnt_from_its_root_as_it_grows_with_the_square_of_a_change():
    whole = np.array([28_000, 12_000])
    changes = [np.sqrt(psi(whole, np.array(rows))) / 0.9 for rows in [(3400, 600), (2200, 1800)] * 5]
    limits = learn(make_sample([0.15, 0.45] * 5, 4000)).limits
    assert limits.share_psi.warn == pytest.approx(bound(changes) ** 2)


def test_the_inertia_is_learnt_from_the_partitions_that_lie_farther_out():
    squares = [0.9, 1.1] * 5  # distance of each row to its centroid; their mean is 1
    sample = make_partitions(*(np.repeat([0.0, 10.0], 200) + np.tile([-1.0, 1.0], 200) * one**0.5 for one in squares))
    assert learn(sample).limits.inertia_ratio.warn == pytest.approx(1 + bound([0.0, 0.1 / 0.9] * 5), rel=1e-4)


def test_outliers_are_learnt_from_the_rows_beyond_the_distance_of_their_segment():
    even, odd = np.full(4000, 3.0), np.repeat([3.0, 4.0], [3920, 80])
    limits = learn(make_partitions(*[even, odd] * 5)).limits
    assert limits.outlier_share.warn == pytest.approx(0.01 + bound([0.0, 0.01 / 0.9] * 5))


def test_a_categorical_feature_is_learnt_from_all_of_its_categories():
    model = ClusterModel(
        make_features(("x",), categorical=("c",)),
        make_scaling(1, categories=(("a", "b", "d"),)),
        np.array([[0.0, 0.4, 0.4, 0.2]]),
        ("all",),
    )
    one, other = (np.repeat(["a", "b", "d"], n) for n in ((550, 250, 200), (250, 550, 200)))
    sample = make_partitions(*[np.zeros(1000)] * 10).append_column("c", pa.array(np.concatenate([one, other] * 5)))
    limits = learn_thresholds(CONFIGURED, sample, model, np.ones(1), share=0.1).limits
    change = psi(np.array([4000, 4000, 2000]), np.array([550, 250, 200]))
    assert limits.feature_psi.warn == pytest.approx(change / 0.9**2)


def test_of_a_partition_larger_than_the_window_the_same_rows_are_drawn_every_time_and_none_twice():
    sample = make_sample([0.2, 0.4] * 5, 1000)
    nearly, whole = learn(sample, 0.099).limits, learn(sample, 0.1).limits
    assert nearly == learn(sample, 0.099).limits
    assert nearly.share_change.warn == pytest.approx(whole.share_change.warn, rel=0.1)


def test_a_first_partition_without_sampled_rows_changes_nothing():
    sample = make_sample([0.15, 0.4] * 5, 1000)
    later = sample.set_column(1, PARTITION, pa.array(sample.column(PARTITION).to_numpy() + 1))
    assert learn(later, configured=WIDE) == learn(sample, configured=WIDE)


def test_a_threshold_configured_at_no_change_stays_there():
    configured = CONFIGURED.model_copy(update={"share_change": Threshold(warn=0.0, alert=0.1)})
    assert learn(make_sample(SWING, 400), configured=configured).limits.share_change == configured.share_change


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
    assert found.source == "configuration (the reference was made by a kmstream that kept no partitions)"


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
