"""The thresholds of a run as tests: each figure with the verdict that drift.json gives it."""

import pytest
from report_content import REFRESH_RUN, make_feature, make_reason, make_score, make_segment

from kmstream.report.drift_tests import judge_gate, judge_measure

LIMITS = {"warn": 0.1, "alert": 0.25}


def make_drift(psi=0.05, *, severity=None, **changes):
    """drift.json of a run with a PSI of its shares, and the reason that a severity has."""
    reasons = [make_reason("share_psi", psi, LIMITS[severity], severity, "the mix changed")] if severity else []
    totals = make_score()["totals"] | {"share_psi": psi}
    thresholds = dict.fromkeys(("share_psi", "centroid_shift", "share_change", "feature_psi"), LIMITS)
    return make_score(totals=totals, reasons=reasons, thresholds=thresholds) | changes


@pytest.mark.parametrize(
    ("drift", "status", "text"),
    [
        (make_drift(0.05), "SUCCESS", "0.05 (warning from 0.1, alert from 0.25)."),
        (make_drift(0.1, severity="warn"), "WARNING", "The mix changed (warn from 0.1)."),
        (make_drift(0.4, severity="alert"), "FAIL", "The mix changed (alert from 0.25)."),
        (make_drift(0.2), "SUCCESS", "0.2 is beyond the warning from 0.1, but chance alone makes as much"),
        (make_drift(0.4, too_few_rows=["share_psi"]), "SUCCESS", "0.4, of too few rows to judge"),
        (make_drift(0.4, totals={"rows": 0, "share_psi": 0.4}), "SUCCESS", "There are no rows to judge by."),
    ],
    ids=["ok", "warn", "alert", "noise", "too few rows", "no rows"],
)
def test_judge_measure_gives_the_verdict_of_the_run(drift, status, text):
    (test,) = judge_measure(drift, "share_psi")
    assert (test.status, test.name) == (status, "PSI of the shares")
    assert test.text.startswith(text)
    assert test.config["value"] == drift["totals"]["share_psi"]


def test_judge_measure_looks_at_each_segment_and_feature():
    drift = make_drift(
        segments=[make_segment("a", 9, 0.6, 0.68, shift=0.3), make_segment("b", 6, 0.4, 0.6, shift=None)],
        reasons=[
            make_reason("centroid_shift", 0.3, 0.25, "alert", "the centroid of 'a' moved", label="a", feature="x"),
            make_reason("share_change", 0.2, 0.1, "warn", "'b' shrank", label="b"),
        ],
        features=[make_feature("x", 0.01)],
    )
    told = {
        test.name: (test.status, test.text.replace("\u00a0", " "))
        for measure in ("centroid_shift", "share_change", "feature_psi")
        for test in judge_measure(drift, measure)
    }
    assert told == {
        "Shift of the centroid of 'a', in radii": ("FAIL", "The centroid of 'a' moved (alert from 0.25)."),
        "Change of the share of 'a'": ("SUCCESS", "8.0 points (warning from 10.0 points, alert from 25.0 points)."),
        "Change of the share of 'b'": ("WARNING", "'b' shrank (warn from 10.0 points)."),
        "PSI of the feature 'x'": ("SUCCESS", "0.01 (warning from 0.1, alert from 0.25)."),
    }


@pytest.mark.parametrize("thresholds", [None, {}], ids=["first version", "made before there were any"])
def test_judge_measure_tests_nothing_without_thresholds(thresholds):
    assert list(judge_measure(make_drift(0.4, thresholds=thresholds), "share_psi")) == []


def test_judge_gate_fails_what_holds_a_refit():
    assert [(test.name, test.status, test.text) for test in judge_gate(REFRESH_RUN)] == [
        ("Gate: smallest segment share of 'segment-02'", "SUCCESS", "0.0812, the limit is 0.001."),
        ("Gate: inertia", "FAIL", "1.02, the limit is 1.001."),
    ]
