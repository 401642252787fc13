"""What drives a drift report: which figures count, in which order, and the sentence for each."""

import math

import pytest

from kmstream.config import DriftConfig, Threshold
from kmstream.drift_figures import MEASURES
from kmstream.reasons import find_reasons, find_too_few, plain_number, worst

NEVER = Threshold(warn=1e9, alert=1e9)

TOTALS = {
    "share_psi": 0.31,
    "inertia_ratio": 1.62,
    "outlier_share": 0.064,
    "noise": {"share_psi": 0.01, "inertia_ratio": 1.05, "outlier_share": 0.015},
}
GOLD = {
    "cluster_label": "gold",
    "reference_share": 0.2,
    "share": 0.325,
    "share_noise": 0.01,
    "centroid_shift_radii": 0.62,
    "standard_errors": 9.0,
    "shift_noise": 0.05,
    "moved_most": [{"feature": "age", "from": 30.0, "to": 41.5}, {"feature": "spend", "from": 9.0, "to": 8.0}],
}
SPEND = {"feature": "spend", "psi": 0.44, "psi_noise": 0.02}

VALUES = {
    "share_psi": 0.31,
    "share_change": 0.125,
    "centroid_shift": 0.62,
    "inertia_ratio": 1.62,
    "outlier_share": 0.064,
    "feature_psi": 0.44,
}


def only(**limits):
    """Thresholds that nothing reaches but those given, each as warn and alert."""
    found = {measure: Threshold(warn=warn, alert=alert) for measure, (warn, alert) in limits.items()}
    return DriftConfig(**dict.fromkeys(MEASURES, NEVER) | found)


def find(thresholds=None, *, totals=None, segment=None, feature=None):
    """The reasons where these figures differ from those above."""
    sides = (TOTALS | (totals or {}), [GOLD | (segment or {})], [SPEND | (feature or {})])
    return find_reasons(*sides, thresholds or DriftConfig())


@pytest.mark.parametrize("measure", MEASURES)
def test_find_reasons_is_as_severe_as_the_threshold_that_a_measure_reaches(measure):
    value = VALUES[measure]
    above, below = math.nextafter(value, math.inf), math.nextafter(value, 0)
    assert find(only(**{measure: (above, above)})) == ()
    for limits, severity, limit in (
        ((value, above), "warn", value),
        ((below, above), "warn", below),
        ((value, value), "alert", value),
        ((below, below), "alert", below),
    ):
        (reason,) = find(only(**{measure: limits}))
        assert (reason.measure, reason.severity, reason.threshold) == (measure, severity, limit)
        assert reason.value == pytest.approx(value)


def test_find_reasons_tells_each_with_its_segment_feature_and_figures():
    found = {(one.measure, one.label, one.feature): one.text for one in find(only(**dict.fromkeys(MEASURES, (0, 0))))}
    assert found == {
        ("share_psi", None, None): "the mix of the segments changed: the PSI of their shares is 0.31",
        ("inertia_ratio", None, None): (
            "rows lie farther from their centroids: inertia per row is 1.62 times the reference"
        ),
        ("outlier_share", None, None): "6.4 % of the rows lie farther out than 99 % of the reference rows did",
        ("share_change", "gold", None): "'gold' grew from 20.0 % to 32.5 % of the rows",
        ("centroid_shift", "gold", "age"): (
            "the centroid of 'gold' moved by 0.62 of its radius; its age rose from 30 to 41.5"
        ),
        ("feature_psi", None, "spend"): "the distribution of spend changed: PSI 0.44",
    }


@pytest.mark.parametrize(
    ("then", "now", "text"),
    [
        (0.3, 0.1, "'gold' shrank from 30.0 % to 10.0 % of the rows"),
        (0.0, 0.1, "'gold' is new and holds 10.0 % of the rows"),
        (0.3, 0.0, "'gold' holds no row now; it held 30.0 % of the rows"),
    ],
)
def test_find_reasons_tells_what_became_of_a_share(then, now, text):
    (reason,) = find(only(share_change=(0.05, 0.5)), segment={"reference_share": then, "share": now})
    assert (reason.text, reason.value) == (text, pytest.approx(abs(now - then)))


def test_find_reasons_tells_a_shift_downwards():
    moved = {"moved_most": [{"feature": "age", "from": 30.0, "to": 29.5}]}
    (reason,) = find(only(centroid_shift=(0.05, 0.5)), segment=moved)
    assert reason.text.endswith("its age fell from 30 to 29.5")


@pytest.mark.parametrize(
    ("figures", "told"),
    [
        ({"missing_from": 0.0, "missing_to": 0.25}, "; missing values rose from 0.0 % to 25.0 %"),
        ({"missing_from": 0.25, "missing_to": 0.0}, "; missing values fell from 25.0 % to 0.0 %"),
        ({"missing_from": 0.0, "missing_to": 0.01}, "; missing values rose from 0.0 % to 1.0 %"),
        ({"missing_from": 0.0, "missing_to": 0.0099}, ""),
        ({"missing_from": 0.25, "missing_to": 0.25}, ""),
        (
            {"unseen_from": 0.1, "unseen_to": 0.4},
            "; categories unknown at the baseline, or none, rose from 10.0 % to 40.0 %",
        ),
        ({"missing_from": 0.0, "missing_to": None}, ""),
        ({"missing_from": None, "missing_to": 0.5}, ""),
    ],
)
def test_find_reasons_says_of_a_feature_that_values_are_missing_or_unknown(figures, told):
    (reason,) = find(only(feature_psi=(0.05, 0.5)), feature=figures)
    assert reason.text == f"the distribution of spend changed: PSI 0.44{told}"


@pytest.mark.parametrize(
    ("measure", "figures"),
    [
        ("share_psi", {"totals": {"noise": TOTALS["noise"] | {"share_psi": 0.31}}}),
        ("inertia_ratio", {"totals": {"noise": TOTALS["noise"] | {"inertia_ratio": 1.62}}}),
        ("outlier_share", {"totals": {"noise": TOTALS["noise"] | {"outlier_share": 0.064}}}),
        ("share_change", {"segment": {"share_noise": 0.125}}),
        ("centroid_shift", {"segment": {"shift_noise": 0.62}}),
        ("feature_psi", {"feature": {"psi_noise": 0.44}}),
    ],
)
def test_find_reasons_passes_over_what_chance_alone_may_reach(measure, figures):
    tiny = only(**{measure: (1e-9, 1e9)})
    assert [reason.measure for reason in find(tiny)] == [measure]
    assert find(tiny, **figures) == ()


@pytest.mark.parametrize(("errors", "counts"), [(2.9, False), (3.0, False), (3.1, True), (None, True)])
def test_find_reasons_takes_a_shift_within_three_standard_errors_for_noise(errors, counts):
    """A segment of equal rows has no standard error, and chance does not move it."""
    segment = {"standard_errors": errors} | ({"shift_noise": 99.0} if errors is None else {})
    assert bool(find(only(centroid_shift=(0.05, 0.5)), segment=segment)) == counts


def test_find_reasons_passes_over_what_has_no_value():
    unknown = {"inertia_ratio": None, "outlier_share": None}
    found = find(only(inertia_ratio=(0, 0), outlier_share=(0, 0), centroid_shift=(0, 0)), totals=unknown,
                 segment={"moved_most": [], "centroid_shift_radii": None, "standard_errors": None})  # fmt: skip
    assert found == ()


def test_find_reasons_puts_alerts_first_and_each_by_how_far_it_is_beyond():
    limits = only(
        share_psi=(0.1, 1.0),  # 3.1 times
        share_change=(0.1, 1.0),  # 1.25 times
        inertia_ratio=(1.0, 1.5),  # 1.08 times its alert
        feature_psi=(0.1, 0.2),  # 2.2 times its alert
        outlier_share=(0.0, 1.0),  # nothing to be beyond of
    )
    assert [one.measure for one in find(limits)] == [
        *("feature_psi", "inertia_ratio"),
        *("share_psi", "share_change", "outlier_share"),
    ]
    limits = only(share_change=(0.1, 1.0), inertia_ratio=(0.0, 9.0))  # 1.25 times; 1.62, its value where the limit is 0
    assert [one.measure for one in find(limits)] == ["inertia_ratio", "share_change"]


def test_worst_is_the_severity_of_the_strongest_reason():
    found = find(only(share_psi=(0.1, 1.0), feature_psi=(0.1, 0.2)))
    assert (worst(found), worst(found[1:]), worst(())) == ("alert", "warn", "ok")


@pytest.mark.parametrize(
    ("level", "too_few"),
    [
        (0.0, ()),
        (math.nextafter(0.2, 0), ()),
        (0.2, ("share_psi", "inertia_ratio", "outlier_share", "share_change", "feature_psi")),
    ],
)
def test_find_too_few_names_what_chance_alone_may_take_to_an_alert(level, too_few):
    totals = {"noise": dict.fromkeys(("share_psi", "inertia_ratio", "outlier_share"), level)}
    segments = [GOLD | {"share_noise": 0.0}, GOLD | {"share_noise": level}]
    limits = only(**dict.fromkeys(MEASURES, (0.1, 0.2)))
    assert find_too_few(totals, segments, [SPEND | {"psi_noise": level}], limits) == too_few


def test_number_is_short_and_has_the_thousands_apart():
    shown = [plain_number(value) for value in (None, 0.0, 0.00012345, 99.94, 999.49, 999.5, -1234.5, 1e7)]
    assert shown == ["none", "0", "0.000123", "99.9", "999", "1,000", "-1,234", "10,000,000"]
