"""Two summaries and thresholds become a report."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from builders import make_blobs, make_rows, no_deviations, observe_rows
from scipy.spatial.distance import jensenshannon
from scipy.stats import chi2_contingency

from kmstream.clustering import assign_rows
from kmstream.config import DriftConfig, Threshold
from kmstream.drift import Observed, add_facts, add_migration, compare
from kmstream.measures import psi

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


def test_compare_measures_a_move_by_a_spread_below_one():
    """Tenths of everything in the small case: the move is as many standard deviations as before."""
    rows_r, rows_c = ([[x / 10 for x in row] for row in rows] for rows in (ROWS_R, ROWS_C))
    sides = (observe_rows(rows, [[0.1], [1.1]], ("a", "b"), bins=np.array(BINS_R)) for rows in (rows_r, rows_c))
    a = by_label(compare(*sides, DEFAULTS, ["x"]))["a"]
    assert a["moved_most"][0]["in_sd"] == pytest.approx(2 / np.std(np.ravel(ROWS_R)))
    assert a["centroid_shift_radii"] == pytest.approx(2.0)


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


def test_compare_tells_features_that_moved_alike_in_the_order_of_the_columns():
    names, moved = [f"x{j}" for j in range(40)], np.repeat([0.25, 0.5], 20)
    sides = (observe_rows([at - 1.0, at + 1.0], [np.zeros(40)], ("a",)) for at in (np.zeros(40), moved))
    (segment,) = compare(*sides, DEFAULTS, names).segments
    assert [one["feature"] for one in segment["moved_most"]] == names[20:23]


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


def test_compare_tells_shift_of_a_segment_without_a_radius_in_scaled_units():
    reference = observe_rows([[1.0], [1.0]], [[1.0]], ("a",))
    current = observe_rows([[1.5], [1.5]], [[1.0]], ("a",))
    report = compare(reference, current, only(centroid_shift={"warn": 0.1, "alert": 9.0}), ["x"])
    (segment,) = report.segments
    assert (segment["centroid_shift_radii"], segment["standard_errors"]) == (0.5, None)
    assert segment["moved_most"] == [{"feature": "x", "from": 10.0, "to": 15.0, "in_sd": 0.5}]
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


def test_compare_with_a_window_of_missing_values_alone_tells_that_they_are_missing_and_nothing_else():
    reference = observe_rows(ROWS_R * 100, CENTROIDS, ("a", "b"), bins=[[600, 0]])
    nothing = observe_rows(np.empty((0, 1)), CENTROIDS, ("a", "b"), bins=[[0, 400]], outliers=[0, 0])
    report = compare(reference, nothing, DEFAULTS, ["x"])
    assert [(reason.measure, reason.feature, reason.severity) for reason in report.reasons] == [
        ("feature_psi", "x", "alert")
    ]
    assert report.too_few_rows == tuple(measure for measure in MEASURES if measure != "feature_psi")


def test_compare_with_a_reference_of_equal_rows_holds_no_infinite_ratio():
    reference = observe_rows([[1.0]] * 9, [[1.0]], ("a",))
    current = observe_rows([[0.0], [2.0]] * 9, [[1.0]], ("a",), outliers=[18])
    report = compare(reference, current, DEFAULTS, ["x"])
    json.dumps(report.to_json(name="n", reference="v1", current="run"), allow_nan=False)
    assert report.severity == "alert"


@pytest.mark.parametrize(("weight", "n_rows", "counts_as"), [(0.01, 4, 4), (3.0, 4, 12), (1.0, None, 4)])
def test_compare_takes_weights_for_rows_but_for_no_fewer_than_there_are(weight, n_rows, counts_as):
    """Chance makes of four rows what it makes of four rows, however little they weigh."""

    def noise(factor, n_rows):
        sides = []
        for rows, bins in ((ROWS_R, BINS_R), (ROWS_C, BINS_C)):
            weights = np.full(len(rows), factor)
            sums = assign_rows(make_rows(rows, weights=weights), no_deviations(CENTROIDS, weighted=True))[1]
            side = Observed(("a", "b"), sums.summary, sums.summary.mean, np.array(bins) * factor)
            sides.append(replace(side, n_rows=n_rows))
        report = compare(*sides, DEFAULTS, ["x"])
        levels = [
            report.totals["noise"],
            *({key: one[key] for key in one if "noise" in key} for one in report.segments),
        ]
        return [*levels, {"psi": report.features[0]["psi_noise"]}]

    for found, expected in zip(noise(weight, n_rows), noise(counts_as / 4, None), strict=True):
        assert found == pytest.approx(expected, rel=1e-6)


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
    assert content["thresholds"] == {measure: {"warn": 1e-3, "alert": 1e9} for measure in MEASURES}
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
    assert (report.severity, report.reasons, report.thresholds) == ("ok", (), None)
    unknown = ("reference_share", "centroid_shift", "centroid_shift_radii", "standard_errors", "inertia_ratio")
    assert by_label(report)["a"] == {
        **{"cluster_label": "a", "status": "emerged", "rows": 2, "share": 1 / 3, "centroid": {"x": 10.0}},
        **dict.fromkeys((*unknown, "outlier_share")),
        "moved_most": [],
    }
    assert report.features == (
        {"feature": "x", "mean_to": pytest.approx(46 / 6)}
        | dict.fromkeys(("psi", "mean_from", "mix_effect", "within_effect")),
    )
    content = json.loads(json.dumps(report.to_json(name="n", reference=None, current="v000001"), allow_nan=False))
    check_keys(content)
    assert content["reference"] is None


def test_compare_of_a_first_version_has_the_totals_of_any_other_and_knows_its_rows_alone():
    totals = first_report().totals
    assert totals == dict.fromkeys(small_case().totals.keys() - {"noise"}) | {"rows": 6}


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
