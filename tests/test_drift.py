"""Two summaries and thresholds become a report."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from builders import make_blobs, make_rows, no_deviations, observe_rows
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.spatial.distance import jensenshannon
from scipy.stats import chi2_contingency
from scipy.stats.contingency import association

from kmstream.clustering import assign_rows
from kmstream.config import DriftConfig, Threshold
from kmstream.drift import Observed, add_facts, add_migration, compare
from kmstream.measures import psi, share_chi2, share_js

MEASURES = ["share_psi", "share_change", "centroid_shift", "inertia_ratio", "outlier_share", "feature_psi"]
FAR = Threshold(warn=1e9, alert=1e9)
DEFAULTS = DriftConfig()


def only(**limits):
    """Thresholds that nothing reaches but those given."""
    return DriftConfig(**dict.fromkeys(MEASURES, FAR) | {key: Threshold(**one) for key, one in limits.items()})


# A case small enough to do by hand: a feature x, centroids a = 1 and b = 11.
CENTROIDS = [[1.0], [11.0]]
ROWS_R = [[0.0], [2.0], [10.0], [10.0], [10.0], [14.0]]  # a: n=2, mean 1, sse 2;  b: n=4, mean 11, sse 12
ROWS_C = [[3.0], [3.0], [11.0], [13.0]]  #                 a: n=2, mean 3, sse 8;  b: n=2, mean 12, sse 4
BINS_R, BINS_C = [[5, 1]], [[1, 3]]


def small_case(thresholds=DEFAULTS, *, times=1, **keys):
    bins_r, bins_c = np.array(BINS_R) * times, np.array(BINS_C) * times
    reference = observe_rows(ROWS_R * times, CENTROIDS, ("a", "b"), bins=bins_r)
    current = observe_rows(ROWS_C * times, CENTROIDS, ("a", "b"), bins=bins_c, **{"outliers": [times, 0]} | keys)
    return compare(reference, current, thresholds, ["x"])


def by_label(report):
    return {segment["cluster_label"]: segment for segment in report.segments}


counts = hnp.arrays(np.int64, 5, elements=st.integers(0, 10_000))


@given(counts, counts)
def test_psi_is_never_negative_and_the_same_both_ways(one, two):
    assert psi(one, two) >= 0
    assert psi(one, two) == pytest.approx(psi(two, one), rel=1e-9, abs=1e-12)


@given(counts)
def test_psi_of_equal_counts_is_0(one):
    assert psi(one, one) == 0.0


def test_psi_is_what_the_formula_says():
    p_r, p_c = (np.array([2.5, 4.5]) / 7, np.array([0.5, 2.5]) / 3)
    by_hand = (p_c[0] - p_r[0]) * math.log(p_c[0] / p_r[0]) + (p_c[1] - p_r[1]) * math.log(p_c[1] / p_r[1])
    assert psi(np.array([2, 4]), np.array([0, 2])) == pytest.approx(by_hand, rel=1e-14)


@given(counts, counts)
def test_share_js_agrees_with_scipy(one, two):
    if one.sum() and two.sum():
        expected = jensenshannon(one / one.sum(), two / two.sum(), base=2)
        assert share_js(one, two) == pytest.approx(0.0 if math.isnan(expected) else expected, abs=1e-7)
    assert 0.0 <= share_js(one, two) <= 1.0


def test_share_js_is_0_for_equal_shares_and_1_for_none_in_common():
    assert share_js(np.array([10, 30]), np.array([1, 3])) == pytest.approx(0.0, abs=1e-7)
    assert share_js(np.array([5, 0, 5]), np.array([0, 9, 0])) == pytest.approx(1.0)


@given(counts, counts)
def test_share_chi2_agrees_with_scipy(one, two):
    statistic, p_value, v = share_chi2(one, two)
    table = np.stack([one, two])
    table = table[:, table.any(axis=0)]
    if table.shape[1] > 1 and one.sum() and two.sum():
        expected = chi2_contingency(table, correction=False)
        assert statistic == pytest.approx(expected.statistic)
        assert p_value == pytest.approx(expected.pvalue)
        assert v == pytest.approx(association(table, method="cramer"))
        assert 0.0 <= v <= 1.0 + 1e-12
    else:
        assert (statistic, p_value, v) == (0.0, 1.0, 0.0)


def test_compare_computes_sizes_as_by_hand():
    totals = small_case().totals
    assert (totals["rows"], totals["reference_rows"]) == (4, 6)
    assert totals["share_change"] == pytest.approx(1 / 6)
    p_r, p_c = np.array([2.5, 4.5]) / 7, np.array([2.5, 2.5]) / 5
    assert totals["share_psi"] == pytest.approx(((p_c - p_r) * np.log(p_c / p_r)).sum())
    assert totals["share_js"] == pytest.approx(jensenshannon([1 / 3, 2 / 3], [1 / 2, 1 / 2], base=2))
    assert totals["share_chi2_p"] == pytest.approx(chi2_contingency([[2, 4], [2, 2]], correction=False).pvalue)
    segments = by_label(small_case())
    assert (segments["a"]["rows"], segments["a"]["share"], segments["a"]["reference_share"]) == (2, 0.5, 1 / 3)


def test_compare_computes_shift_radii_and_standard_errors_as_by_hand():
    segments = by_label(small_case())
    a, b = segments["a"], segments["b"]
    assert (a["centroid_shift"], b["centroid_shift"]) == (2.0, 1.0)
    assert a["centroid_shift_radii"] == pytest.approx(2.0)  # radius sqrt(2/2) = 1
    assert b["centroid_shift_radii"] == pytest.approx(1 / math.sqrt(12 / 4))
    assert a["standard_errors"] == pytest.approx(2.0 / math.sqrt(2 / 2 * (1 / 2 + 1 / 2)))
    assert b["standard_errors"] == pytest.approx(1.0 / math.sqrt(12 / 4 * (1 / 2 + 1 / 4)))
    assert small_case().totals["centroid_shift_radii"] == pytest.approx(2.0)


def test_compare_computes_inertia_ratios_as_by_hand():
    report = small_case()
    assert report.totals["inertia_ratio"] == pytest.approx((12 / 4) / (14 / 6))
    assert by_label(report)["a"]["inertia_ratio"] == pytest.approx((8 / 2) / (2 / 2))
    assert by_label(report)["b"]["inertia_ratio"] == pytest.approx((4 / 2) / (12 / 4))


def test_compare_computes_outlier_shares_as_by_hand():
    report = small_case()
    assert report.totals["outlier_share"] == 0.25
    assert [segment["outlier_share"] for segment in report.segments] == [0.5, 0.0]


def test_compare_computes_mix_and_within_effects_as_by_hand():
    (x,) = small_case().features
    assert (x["mean_from"], x["mean_to"]) == (pytest.approx(46 / 6), pytest.approx(7.5))
    assert x["mix_effect"] == pytest.approx((1 / 2 - 1 / 3) * 1 + (1 / 2 - 2 / 3) * 11)
    assert x["within_effect"] == pytest.approx(1 / 2 * 2 + 1 / 2 * 1)
    assert x["psi"] == pytest.approx(psi(np.array([5, 1]), np.array([1, 3])))


def test_compare_tells_what_moved_most_in_original_units_and_standard_deviations():
    a = by_label(small_case())["a"]
    sd = np.std(np.ravel(ROWS_R))
    assert a["moved_most"] == [{"feature": "x", "from": 10.0, "to": 30.0, "in_sd": pytest.approx(2 / sd)}]
    assert a["centroid"] == {"x": 30.0}


def test_compare_tells_the_three_features_that_moved_most():
    centroid = [[0.0] * 5]
    reference = observe_rows([[-1.0] * 5, [1.0] * 5], centroid, ("a",))
    moved = np.array([0.1, -0.4, 0.0, 0.3, 0.2])
    current = observe_rows(moved + np.outer([-1.0, 1.0], np.ones(5)), centroid, ("a",))
    (segment,) = compare(reference, current, DEFAULTS, list("vwxyz")).segments
    assert [(one["feature"], round(one["in_sd"], 6)) for one in segment["moved_most"]] == [
        ("w", -0.4),
        ("y", 0.3),
        ("z", 0.2),
    ]


@given(st.integers(0, 999), st.integers(1, 4), st.integers(1, 4), st.integers(0, 2))
def test_compare_mix_and_within_effects_add_up_to_the_difference_of_means(seed, k_r, k_c, n_shared):
    rng = np.random.default_rng(seed)
    labels_r = tuple(f"r{i}" for i in range(k_r))
    labels_c = (*labels_r[:n_shared], *(f"c{i}" for i in range(k_c)))
    sizes = ((0.0, 1.0, 50), (0.5, 2.0, 30), (0.0, 1.0, k_r), (0.0, 1.0, len(labels_c)))
    # Multiples of 2**-10: what float32 takes the differences of stays exact.
    X_r, X_c, at_r, at_c = (np.round(rng.normal(mean, sd, (n, 3)) * 1024) / 1024 for mean, sd, n in sizes)
    reference, current = observe_rows(X_r, at_r, labels_r), observe_rows(X_c, at_c, labels_c)
    report = compare(reference, current, DEFAULTS, ["x", "y", "z"])
    for j, one in enumerate(report.features):
        moved = X_c[:, j].mean() - X_r[:, j].mean()
        assert one["mean_to"] - one["mean_from"] == pytest.approx(moved, abs=1e-12)
        assert one["mix_effect"] + one["within_effect"] == pytest.approx(moved, abs=1e-12)


def test_compare_lays_the_effect_of_a_new_or_ended_segment_to_the_mix():
    old = observe_rows([[1.0], [3.0]], [[2.0]], ("old",))
    new = observe_rows([[11.0], [13.0]], [[12.0]], ("new",))
    (x,) = compare(old, new, DEFAULTS, ["x"]).features
    assert (x["mix_effect"], x["within_effect"]) == (10.0, 0.0)


def test_compare_takes_the_largest_share_change_of_those_that_shrank_too():
    centroids, labels = [[0.0], [5.0], [9.0]], ("a", "b", "c")
    reference = observe_rows([[0.0]] * 6 + [[5.0]] * 2 + [[9.0]] * 2, centroids, labels)
    current = observe_rows([[0.0]] * 2 + [[5.0]] * 4 + [[9.0]] * 4, centroids, labels)
    assert compare(reference, current, DEFAULTS, ["x"]).totals["share_change"] == pytest.approx(0.4)


def test_compare_finds_no_drift_in_the_same_rows():
    X, _ = make_blobs([[0.0, 0.0], [5.0, 0.0]], 500, spread=1.0)
    limits = observe_rows(X, [[0.0, 0.0], [5.0, 0.0]], ("a", "b")).summary.distance_quantile(0.99)
    distances = np.linalg.norm(X[:, None] - np.array([[0.0, 0.0], [5.0, 0.0]]), axis=2)
    ids = distances.argmin(axis=1)
    outliers = np.bincount(ids[distances.min(axis=1) > limits[ids]], minlength=2)
    side = observe_rows(X, [[0.0, 0.0], [5.0, 0.0]], ("a", "b"), outliers=outliers)
    report = compare(side, side, DEFAULTS, ["x", "y"])
    assert (report.severity, report.reasons) == ("ok", ())
    totals = report.totals
    assert (totals["share_psi"], totals["share_js"], totals["share_cramers_v"], totals["inertia_ratio"]) == (0, 0, 0, 1)
    assert (totals["share_chi2_p"], totals["share_change"], totals["feature_psi"]) == (pytest.approx(1), 0, 0)
    assert totals["centroid_shift_radii"] == 0
    assert totals["outlier_share"] == pytest.approx(0.01, abs=0.005)
    assert all(segment["moved_most"] == [] for segment in report.segments)


def value_of(report, measure):
    return max(
        report.totals["centroid_shift_radii" if measure == "centroid_shift" else measure],
        0.0,
    )


@pytest.mark.parametrize("measure", MEASURES)
def test_compare_is_as_severe_as_the_threshold_a_measure_reaches(measure):
    value = value_of(small_case(times=100), measure)
    assert value > 0
    above, below = math.nextafter(value, math.inf), math.nextafter(value, 0)

    def judge(warn, alert):
        return small_case(only(**{measure: {"warn": warn, "alert": alert}}), times=100)

    assert judge(above, above).severity == "ok"
    assert judge(above, above).reasons == ()
    for warn, alert, severity, limit in (
        (value, above, "warn", value),
        (below, above, "warn", below),
        (value, value, "alert", value),
        (below, below, "alert", below),
    ):
        report = judge(warn, alert)
        assert report.severity == severity
        reason = report.reasons[0]
        assert (reason.measure, reason.severity, reason.threshold) == (measure, severity, limit)
        assert reason.value == value
        assert reason.text


def test_compare_says_where_a_window_has_too_few_rows_instead_of_alarming():
    few, many = small_case(times=1), small_case(times=100)
    assert few.totals["share_psi"] == pytest.approx(many.totals["share_psi"], abs=0.2)
    assert (few.severity, few.reasons) == ("ok", ())
    assert set(few.too_few_rows) == {"share_psi", "share_change", "inertia_ratio", "outlier_share", "feature_psi"}
    assert many.severity == "alert"
    assert not {"share_psi", "feature_psi"} & set(many.too_few_rows)
    assert few.to_json(name="n", reference="v1", current="v2")["too_few_rows"] == few.too_few_rows


@pytest.mark.parametrize("measure", ["share_psi", "share_change", "inertia_ratio", "outlier_share", "feature_psi"])
def test_compare_takes_for_noise_what_chance_does(measure):
    """Beyond the threshold in both windows; beyond chance only in the larger one."""
    tiny = {measure: {"warn": 1e-6, "alert": 1e9}}
    assert small_case(only(**tiny), times=1).reasons == ()
    assert {reason.measure for reason in small_case(only(**tiny), times=100).reasons} == {measure}


def test_compare_names_the_segment_and_feature_of_a_reason():
    report = small_case(only(**{measure: {"warn": 1e-3, "alert": 1e9} for measure in MEASURES}), times=100)
    found = {(reason.measure, reason.label, reason.feature) for reason in report.reasons}
    assert found == {
        ("share_psi", None, None),
        ("inertia_ratio", None, None),
        ("outlier_share", None, None),
        ("share_change", "a", None),
        ("share_change", "b", None),
        ("centroid_shift", "a", "x"),
        ("centroid_shift", "b", "x"),
        ("feature_psi", None, "x"),
    }
    texts = {reason.label: reason.text for reason in report.reasons if reason.measure == "share_change"}
    assert "'a' grew" in texts["a"]
    assert "'b' shrank" in texts["b"]


def test_compare_puts_the_gravest_reason_first():
    report = small_case(
        only(
            share_psi={"warn": 0.01, "alert": 1e9},
            share_change={"warn": 0.16, "alert": 1e9},
            outlier_share={"warn": 0.1, "alert": 0.2},
        ),
        times=100,
    )
    assert [reason.measure for reason in report.reasons] == [
        "outlier_share",
        "share_psi",
        "share_change",
        "share_change",
    ]
    assert report.severity == "alert"


@pytest.mark.parametrize(("moved_to", "n_errors", "is_reason"), [(3.9, 2.9, False), (4.5, 3.5, True)])
def test_compare_takes_a_shift_within_three_standard_errors_for_noise(moved_to, n_errors, is_reason):
    reference = observe_rows([[0.0], [2.0]] * 1000, [[1.0]], ("a",))
    step = (moved_to - 1.0) / np.sqrt(1000)
    current = observe_rows([[1.0 + step]] * 2000, [[1.0]], ("a",))
    report = compare(reference, current, only(centroid_shift={"warn": 0.01, "alert": 9.0}), ["x"])
    assert report.segments[0]["standard_errors"] == pytest.approx(n_errors, abs=0.01)
    assert bool(report.reasons) == is_reason


def test_compare_tells_shift_of_a_segment_without_a_radius_in_scaled_units():
    reference = observe_rows([[1.0], [1.0]], [[1.0]], ("a",))
    current = observe_rows([[1.5], [1.5]], [[1.0]], ("a",))
    report = compare(reference, current, only(centroid_shift={"warn": 0.1, "alert": 9.0}), ["x"])
    (segment,) = report.segments
    assert (segment["centroid_shift_radii"], segment["standard_errors"]) == (0.5, None)
    assert [reason.measure for reason in report.reasons] == ["centroid_shift"]


def test_compare_tells_emerged_and_retired_segments():
    reference = observe_rows(ROWS_R, CENTROIDS, ("a", "old"))
    current = observe_rows(ROWS_C, CENTROIDS, ("a", "new"))
    segments = by_label(compare(reference, current, DEFAULTS, ["x"]))
    assert {label: one["status"] for label, one in segments.items()} == {
        "a": "kept",
        "new": "emerged",
        "old": "retired",
    }
    assert (segments["new"]["rows"], segments["new"]["share"], segments["new"]["reference_share"]) == (2, 0.5, 0.0)
    assert (segments["old"]["rows"], segments["old"]["share"], segments["old"]["reference_share"]) == (0, 0.0, 4 / 6)
    assert segments["new"]["centroid"] == {"x": 120.0}
    assert segments["old"]["centroid"] == {"x": 110.0}  # where it was
    for label in ("new", "old"):
        assert segments[label]["centroid_shift"] is segments[label]["standard_errors"] is None
        assert segments[label]["moved_most"] == []


def test_compare_does_not_depend_on_the_order_of_clusters():
    report = small_case()
    reference = observe_rows(ROWS_R, CENTROIDS[::-1], ("b", "a"), bins=BINS_R)
    current = observe_rows(ROWS_C, CENTROIDS, ("a", "b"), bins=BINS_C, outliers=[1, 0])
    other = compare(reference, current, DEFAULTS, ["x"])
    assert by_label(other) == by_label(report)
    assert other.totals == report.totals


def test_compare_of_a_segment_that_got_no_rows_is_still_kept():
    reference = observe_rows(ROWS_R, CENTROIDS, ("a", "b"))
    current = observe_rows([[0.0], [2.0]], CENTROIDS, ("a", "b"))
    b = by_label(compare(reference, current, DEFAULTS, ["x"]))["b"]
    assert (b["status"], b["rows"], b["centroid_shift"], b["outlier_share"]) == ("kept", 0, None, None)


def test_compare_of_one_segment_and_one_row():
    reference = observe_rows([[0.0], [2.0]], [[1.0]], ("a",))
    current = observe_rows([[1.0]], [[1.0]], ("a",))
    report = compare(reference, current, DEFAULTS, ["x"])
    assert (report.totals["share_psi"], report.totals["share_chi2_p"], report.totals["inertia_ratio"]) == (0, 1, 0)
    assert report.severity == "ok"


def test_compare_with_a_window_without_rows_says_nothing_of_drift():
    reference = observe_rows(ROWS_R, CENTROIDS, ("a", "b"), bins=BINS_R)
    nothing = observe_rows(np.empty((0, 1)), CENTROIDS, ("a", "b"), bins=[[0, 0]])
    report = compare(reference, nothing, DEFAULTS, ["x"])
    json.dumps(report.to_json(name="n", reference="v1", current="run"), allow_nan=False)
    assert not [reason.text for reason in report.reasons]


def test_compare_with_a_reference_of_equal_rows_holds_no_infinite_ratio():
    reference = observe_rows([[1.0]] * 9, [[1.0]], ("a",))
    current = observe_rows([[0.0], [2.0]] * 9, [[1.0]], ("a",), outliers=[18])
    report = compare(reference, current, DEFAULTS, ["x"])
    json.dumps(report.to_json(name="n", reference="v1", current="run"), allow_nan=False)
    assert report.severity == "alert"


@pytest.mark.parametrize("n_rows", [10, 100, 1000])
def test_compare_finds_no_feature_drift_in_a_smaller_window_of_equal_shares(n_rows):
    bins = np.array([[0, 0, 0, 0, 0, 0, 0, 4, 3, 3, 0]])  # a feature with many equal values: most bins hold nothing
    reference = observe_rows([[0.0], [2.0]], [[1.0]], ("a",), bins=bins * 10_000)
    current = observe_rows([[0.0], [2.0]], [[1.0]], ("a",), bins=bins * (n_rows // 10))
    report = compare(reference, current, DEFAULTS, ["x"])
    assert report.severity == "ok", report.totals["feature_psi"]


def test_compare_measures_drift_of_a_category_by_its_share_of_rows():
    reference = observe_rows([[0.0, 1.0]] * 10 + [[0.0, 0.0]] * 30, [[0.0, 0.0]], ("a",), bins=[[10, 0]])
    current = observe_rows([[0.0, 1.0]] * 15 + [[0.0, 0.0]] * 5, [[0.0, 0.0]], ("a",), bins=[[10, 0]])
    report = compare(reference, current, DEFAULTS, ["x", "c=red"])
    assert report.features[1]["psi"] == pytest.approx(psi(np.array([10, 30]), np.array([15, 5])))


TOTALS = {"rows", "share_psi", "share_js", "share_chi2_p", "inertia_ratio", "outlier_share"}
SEGMENT = {
    *("cluster_label", "status", "rows", "share", "reference_share", "centroid_shift", "centroid_shift_radii"),
    *("standard_errors", "inertia_ratio", "outlier_share", "centroid", "moved_most"),
}


def check_keys(content):
    assert content.keys() >= {
        *("schema_version", "name", "reference", "current", "severity", "reasons", "against_baseline", "totals"),
        *("segments", "features", "migration", "ari"),
    }
    assert all(segment.keys() >= SEGMENT for segment in content["segments"])
    keys = {"feature", "psi", "mean_from", "mean_to", "mix_effect", "within_effect"}
    assert all(one.keys() >= keys for one in content["features"])


def test_to_json_holds_what_drift_json_promises():
    report = small_case(only(**{measure: {"warn": 1e-3, "alert": 1e9} for measure in MEASURES}), times=50)
    report = replace(report, against_baseline=report.totals)
    report = add_facts(report, {"b": {"status": "split", "overlap": 0.5}})
    report = add_migration(report, np.array([[2, 0], [1, 1]]), ("a", "b"), ("a", "b"), 0.25)
    content = json.loads(json.dumps(report.to_json(name="shop", reference="v1", current="v2"), allow_nan=False))
    check_keys(content)
    assert content["totals"].keys() >= TOTALS
    assert (content["schema_version"], content["name"]) == (1, "shop")
    assert (content["reference"], content["current"]) == ("v1", "v2")
    assert (content["severity"], content["ari"]) == ("warn", 0.25)
    keys = {"measure", "label", "feature", "value", "threshold", "severity"}
    assert all(reason.keys() >= keys for reason in content["reasons"])
    assert content["migration"] == {"labels_from": ["a", "b"], "labels_to": ["a", "b"], "rows": [[2, 0], [1, 1]]}
    assert {segment["cluster_label"]: segment["status"] for segment in content["segments"]} == {
        "a": "kept",
        "b": "split",
    }
    assert all(one.keys() == {"feature", "from", "to", "in_sd"} for s in content["segments"] for one in s["moved_most"])


def first_report():
    return compare(None, observe_rows(ROWS_R, CENTROIDS, ("a", "b"), bins=BINS_R), DEFAULTS, ["x"])


def test_compare_of_a_first_version_only_describes_it():
    report = first_report()
    assert (report.severity, report.reasons, report.totals["rows"]) == ("ok", (), 6)
    a = by_label(report)["a"]
    assert (a["status"], a["rows"], a["share"], a["centroid"]) == ("emerged", 2, 1 / 3, {"x": 10.0})
    assert a["reference_share"] is a["centroid_shift"] is a["inertia_ratio"] is a["outlier_share"] is None
    assert (report.features[0]["mean_to"], report.features[0]["mean_from"]) == (pytest.approx(46 / 6), None)
    content = json.loads(json.dumps(report.to_json(name="n", reference=None, current="v000001"), allow_nan=False))
    check_keys(content)
    assert content["reference"] is None


def test_compare_of_a_first_version_has_the_totals_of_any_other():
    assert first_report().totals.keys() >= TOTALS


@pytest.mark.parametrize("size", [1.0, 1e-4, 1e4])
def test_compare_tells_the_same_of_weights_however_large_they_are(size):
    """Rows that are half forgotten may weigh less than one row in all."""
    here, there = ((np.array(rows), np.linspace(1.0, 2.0, len(rows))) for rows in (ROWS_R, ROWS_C))
    found = []
    for factor in (1.0, size):
        sides = []
        for rows, weights in (here, there):
            total = assign_rows(make_rows(rows, weights=weights * factor), no_deviations(CENTROIDS, weighted=True))[1]
            outliers = np.array([weights[0] * factor, 0.0])
            summary = total.summary
            sides.append(Observed(("a", "b"), summary, summary.mean * 10.0, np.ones((1, 2)) * factor, outliers))
        found.append(compare(*sides, DEFAULTS, ["x"]))
    one, two = found
    keys = ("share", "reference_share", "centroid_shift", "centroid_shift_radii", "inertia_ratio", "outlier_share")
    for before, after in zip(one.segments, two.segments, strict=True):
        assert {key: after[key] for key in keys} == pytest.approx({key: before[key] for key in keys})
        assert after["rows"] == pytest.approx(before["rows"] * size)
        for a, b in zip(before["moved_most"], after["moved_most"], strict=True):
            assert b == a | {"in_sd": pytest.approx(a["in_sd"])}
    for key in ("share_js", "share_change", "centroid_shift_radii", "inertia_ratio", "outlier_share"):
        assert two.totals[key] == pytest.approx(one.totals[key])
    assert 0.0 < two.totals["outlier_share"] <= 1.0


@pytest.mark.parametrize(("one", "two"), [((3000, 5000, 2000), (2500, 5200, 2300)), ((9000, 1000), (6000, 4000))])
def test_psi_and_js_are_evidently_s_where_it_counts_the_same_categories(one, two):
    import pandas as pd
    from evidently.legacy.calculations.stattests import jensenshannon_stat_test, psi_stat_test
    from evidently.legacy.core import ColumnType

    sides = [pd.Series(np.repeat(np.array(list("abc"))[: len(rows)], rows)) for rows in (one, two)]

    def theirs(test):
        return test(*sides, ColumnType.Categorical, 0.1).drift_score

    counts_of = (np.array(one), np.array(two))
    assert psi(*counts_of) == pytest.approx(theirs(psi_stat_test), rel=1e-3)  # ours adds half a row to each count
    assert share_js(*counts_of) * math.sqrt(math.log(2)) == pytest.approx(theirs(jensenshannon_stat_test), rel=1e-9)
