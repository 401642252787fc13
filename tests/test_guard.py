"""May this version be published, may this drift retrain."""

import math
from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest
from builders import make_config

from kmstream.guard import MAX_INERTIA_RATIO, check_refit, decide_retrain

NOW = datetime(2026, 3, 8, 12, tzinfo=UTC)
LABELS = ("a", "b")


def check(*, shares=(0.5, 0.5), inertia=1.0, current=1.0, overlap=None, least_share=0.1, least_overlap=0.3):
    config = make_config(model={"min_cluster_share": least_share}, labels={"min_overlap": least_overlap})
    checks = check_refit(config, np.array(shares), LABELS, inertia, current, overlap or {})
    return {one.check: one for one in checks}


@pytest.mark.parametrize(("share", "ok"), [(0.0, False), (0.0999, False), (0.1, True), (0.2, True)])
def test_check_refit_asks_for_the_least_share(share, ok):
    found = check(shares=(1 - share, share))["smallest_segment_share"]
    assert (found.ok, found.observed, found.limit, found.label) == (ok, share, 0.1, "b")


@pytest.mark.parametrize(
    ("inertia", "current", "ok"),
    [
        (0.5, 1.0, True),
        (1.0, 1.0, True),
        (MAX_INERTIA_RATIO, 1.0, True),
        (math.nextafter(MAX_INERTIA_RATIO, 2.0), 1.0, False),
        (3.0, 2.0, False),
        (0.0, 0.0, True),
        (1e-9, 0.0, False),
    ],
)
def test_check_refit_asks_for_no_worse_inertia_than_the_current_model(inertia, current, ok):
    found = check(inertia=inertia, current=current)["inertia_against_current"]
    assert (found.ok, found.limit) == (ok, MAX_INERTIA_RATIO)
    if current:
        assert found.observed == inertia / current


@pytest.mark.parametrize(("overlap", "ok"), [(0.0, False), (0.2999, False), (0.3, True), (1.0, True)])
def test_check_refit_asks_for_the_least_overlap(overlap, ok):
    found = check(overlap={"a": 0.9, "b": overlap, "c": math.nan})["smallest_overlap"]
    assert (found.ok, found.observed, found.limit) == (ok, min(overlap, 0.9), 0.3)
    assert found.label == ("b" if overlap < 0.9 else "a")


def test_check_refit_of_a_first_version_looks_at_its_sizes_alone():
    assert check(current=None).keys() == {"smallest_segment_share"}


def test_check_refit_passes_over_segments_that_had_no_rows():
    assert "smallest_overlap" not in check(overlap={"a": math.nan})


def asked(*ago):
    return [{"event": "retrain-requested", "time": (NOW - one).isoformat()} for one in ago]


def decide(severity="alert", history=(), **retrain):
    return decide_retrain(make_config(retrain=retrain), severity, list(history), NOW)


@pytest.mark.parametrize(
    ("on", "severity", "requested"),
    [
        ("alert", "alert", True),
        ("alert", "warn", False),
        ("alert", "ok", False),
        ("warn", "alert", True),
        ("warn", "warn", True),
        ("warn", "ok", False),
        ("never", "alert", False),
    ],
)
def test_decide_retrain_asks_from_the_chosen_severity_on(on, severity, requested):
    found, why = decide(severity, on=on)
    assert found is requested
    assert on in why
    assert on == "never" or severity in why


@pytest.mark.parametrize(
    ("ago", "requested"),
    [(timedelta(0), False), (timedelta(hours=23, minutes=59), False), (timedelta(hours=24), True)],
)
def test_decide_retrain_waits_for_the_cooldown(ago, requested):
    found, why = decide(history=asked(timedelta(days=3), ago), cooldown="24h")
    assert found is requested
    assert requested or "retrain.cooldown is 24 h" in why


def test_decide_retrain_without_a_cooldown_asks_again_at_once():
    assert decide(history=asked(timedelta(0)), cooldown="0s")[0]


@pytest.mark.parametrize(
    ("oldest", "requested"), [(timedelta(days=6, hours=23), False), (timedelta(days=7), True), (timedelta(30), True)]
)
def test_decide_retrain_counts_the_requests_of_seven_days(oldest, requested):
    history = asked(oldest, timedelta(days=4), timedelta(days=2))
    found, why = decide(history=history, max_per_week=3)
    assert found is requested
    assert requested or why == "3 requests in seven days, retrain.max_per_week is 3"


def test_decide_retrain_with_none_allowed_never_asks():
    assert not decide(max_per_week=0)[0]


def test_decide_retrain_counts_nothing_but_requests():
    others = [{"event": event, "time": NOW.isoformat()} for event in ("drift", "published", "held", "renamed")]
    assert decide(history=others * 9)[0]


def test_decide_retrain_reads_times_of_other_zones():
    zone = timezone(timedelta(hours=5))
    history = [{"event": "retrain-requested", "time": (NOW - timedelta(hours=23)).astimezone(zone).isoformat()}]
    found, why = decide(history=history)
    assert not found
    assert "the last request was at 2026-03-07 13:00 UTC" in why
