"""The verdict of a run in words, and the order in which people read drift.json."""

from dataclasses import replace

import pytest
from report_content import REFRESH_RUN, SCORE_RUN, make_first, make_reason, make_refresh, make_score

from kmstream.report.verdict import find_flags, find_verdict, living_segments, ranked
from kmstream.wording import by_size

HELD_RUN = replace(REFRESH_RUN, status="held")


@pytest.mark.parametrize(
    ("drift", "run", "level", "sentence"),
    [
        (make_score(), SCORE_RUN, "alert", "The new rows differ from those of v000003."),
        (make_score(severity="warn"), SCORE_RUN, "warn", "The new rows begin to differ from those of v000003."),
        (make_refresh(), REFRESH_RUN, "ok", "v000004 is published. Its rows look like those of v000003."),
        (
            make_refresh(too_few_rows=["share_psi", "outlier_share"]),
            REFRESH_RUN,
            "ok",
            "v000004 is published. Its rows look like those of v000003 as far as 12,945 rows tell: "
            "too few to judge by the PSI of the shares and outliers.",
        ),
        (
            make_refresh(totals={"rows": 0}),
            SCORE_RUN,
            "warn",
            "No row could be compared with v000003: nothing was judged.",
        ),
        (
            make_first(),
            replace(REFRESH_RUN, version="v000001"),
            "first",
            "v000001 is the first version: 3 segments in 12,960 rows. The next run will be compared with it.",
        ),
        (
            make_first(),
            replace(REFRESH_RUN, parent="v000003"),
            "first",
            "v000004 is a new baseline after v000003: 3 segments in 12,960 rows. "
            "The next run will be compared with it.",
        ),
        (
            make_score(),
            HELD_RUN,
            "held",
            "v000004 is held: 1 of 2 checks failed. The version in use has not changed; a person may promote this one.",
        ),
    ],
    ids=["alert", "warn", "ok", "too few rows", "no rows", "first", "baseline", "held"],
)
def test_find_verdict_says_in_a_sentence_what_a_run_found(drift, run, level, sentence):
    verdict = find_verdict(drift, run)
    assert (verdict.level, verdict.sentence) == (level, sentence)


def test_find_verdict_tells_first_what_the_gate_refused_then_drift():
    told = [
        (reason.severity, reason.text.replace("\u00a0", " ")) for reason in find_verdict(make_score(), HELD_RUN).reasons
    ]
    assert told == [
        ("alert", "Inertia is 1.02, the limit is 1.001."),
        ("alert", "The centroid of 'segment-02' moved by 0.62 of its radius (alert from 0.5)."),
        ("warn", "'segment-02' grew from 18.0% to 27.0% of the rows (warn from 5.0 points)."),
        ("warn", "3.1% of the rows lie far out (warn from 2.0 %)."),
    ]


def test_find_verdict_names_what_a_held_version_would_end_and_begin():
    check = {"check": "frozen_names_missing_or_added", "ok": False, "observed": 2, "limit": 0}
    (reason,) = find_verdict(make_refresh(), replace(HELD_RUN, gate=[check])).reasons
    assert reason.text == "Names are frozen, but segment-03 is gone, segment-04 is new."


def test_a_measure_that_is_not_known_here_is_told_in_its_own_words():
    drift = make_score(severity="warn", reasons=[make_reason("novelty", 3, 2, "warn", "something else moved")])
    assert [reason.text for reason in find_verdict(drift, SCORE_RUN).reasons] == ["Something else moved (warn from 2)."]


def test_ranked_puts_alerts_first_and_what_is_farthest_beyond_its_threshold():
    reasons = [
        make_reason("a", 0.9, 0.1, "warn", "a"),
        make_reason("b", 0.2, 0.1, "alert", "b"),
        make_reason("c", 0.9, 0.3, "alert", "c"),
        make_reason("d", 0.9, 0.0, "alert", "d"),
    ]
    assert [reason["measure"] for reason in ranked(reasons)] == ["c", "b", "d", "a"]


def test_find_flags_takes_the_alert_where_there_is_a_warning_too():
    reasons = [make_reason("share_change", 0.2, 0.1, severity, "", label="x") for severity in ("alert", "warn")]
    assert find_flags({"reasons": reasons}, "label") == {("share_change", "x"): "alert"}
    assert find_flags({"reasons": reasons[::-1]}, "label") == {("share_change", "x"): "alert"}


def test_living_segments_are_those_that_the_model_has_now():
    drift = make_refresh()
    assert [one["cluster_label"] for one in by_size(drift["segments"])] == [f"segment-0{i}" for i in (1, 4, 2, 3)]
    assert [one["cluster_label"] for one in living_segments(drift)] == [f"segment-0{i}" for i in (1, 4, 2)]
    drift["migration"] = None
    assert [one["cluster_label"] for one in living_segments(drift)] == [f"segment-0{i}" for i in (1, 4, 2)]
