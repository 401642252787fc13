"""When drift asks for a new fit, and when one may begin by itself."""

import time
from datetime import UTC, datetime, timedelta, timezone

import pytest
from builders import make_config

from kmstream.retraining import decide_retrain, find_pause, find_request, is_drifting, may_retrain

NOW = datetime(2026, 3, 8, 12, tzinfo=UTC)


def line(event, ago=timedelta(0), **facts):
    return {"event": event, "time": (NOW - ago).isoformat(), "version": "v000002", **facts}


def asked(*ago):
    """Requests, each answered by a new version."""
    return [line(event, one) for one in ago for event in ("retrain-requested", "published")]


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


@pytest.mark.parametrize(("answered", "waits"), [(True, ""), (False, " and still waits")])
def test_decide_retrain_says_whether_the_last_request_still_waits(answered, waits):
    history = asked(timedelta(hours=2))[: 2 if answered else 1]
    _, why = decide(history=history, cooldown="90h")
    assert why == f"the last request was at 2026-03-08 10:00 UTC{waits}, retrain.cooldown is 90 h"


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
    assert decide(history=[line(event) for event in ("drift", "published", "promoted", "renamed")] * 9)[0]


def test_decide_retrain_reads_times_of_other_zones():
    zone = timezone(timedelta(hours=5))
    asked_at = (NOW - timedelta(hours=23)).astimezone(zone).isoformat()
    found, why = decide(history=[line("retrain-requested") | {"time": asked_at}, line("published")])
    assert not found
    assert "the last request was at 2026-03-07 13:00 UTC" in why


@pytest.fixture
def tokyo(monkeypatch):
    """Let the machine's own clock be nine hours ahead."""
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("tokyo")
def test_decide_retrain_tells_times_in_utc_wherever_the_machine_is():
    _, why = decide(history=asked(timedelta(hours=1)))
    assert "the last request was at 2026-03-08 11:00 UTC" in why


WAITS = line("retrain-requested", timedelta(hours=5), run_id="20260308T070000Z")


@pytest.mark.parametrize("severity", ["ok", "warn", "alert"])
def test_a_request_that_waits_longer_than_the_cooldown_is_told_again_whatever_the_next_window_looks_like(severity):
    found, why = decide(severity, [WAITS], cooldown="5h")
    assert found
    assert why == "asked for at 2026-03-08 07:00 UTC by 20260308T070000Z, not yet done"
    found, why = decide(severity, [WAITS], cooldown="6h")
    assert not found
    assert "retrain.cooldown is 6 h" in why or f"severity is {severity}" in why


def test_a_request_is_told_again_when_the_week_is_full():
    assert decide("alert", [*asked(timedelta(days=2), timedelta(days=1)), WAITS], max_per_week=3, cooldown="5h")[0]


@pytest.mark.parametrize("answer", ["published", "held", "retrain-declined"])
def test_a_refit_answers_every_request_before_it_and_none_after(answer):
    assert find_request([WAITS, WAITS, line(answer)]) is None
    later = line("retrain-requested", run_id="later")
    assert find_request([WAITS, line(answer), later]) is later


def test_a_request_whose_drift_has_cleared_waits_no_more():
    assert find_request([WAITS, line("drift", severity="ok", cleared=True)]) is None
    assert find_request([WAITS, line("drift", severity="ok", cleared=False)]) is WAITS  # a window of too few rows


@pytest.mark.parametrize("event", ["drift", "promoted", "rolled-back", "renamed", "frozen", "thawed"])
def test_nothing_else_answers_a_request(event):
    assert find_request([WAITS, line(event)]) is WAITS


def test_may_retrain_waits_for_a_request():
    config = make_config()
    assert may_retrain(config, []) == (False, "no request waits for a new fit")
    assert may_retrain(config, [WAITS])[0]
    assert may_retrain(config, [WAITS, line("published")]) == (False, "no request waits for a new fit")
    assert may_retrain(make_config(retrain={"on": "never"}), [WAITS]) == (False, "retrain.on is never")


HELD = [line("held", version=f"v00000{n}") for n in (2, 3, 4)]


def test_three_held_refits_in_a_row_pause_requests_and_refits():
    for history in (HELD, [*HELD, WAITS], [line("held"), *HELD, line("drift", severity="alert")]):
        found, why = decide("alert", history)
        assert not found
        assert "refits were held" in why
        assert not may_retrain(make_config(), history)[0]
    assert decide("alert", HELD[:2])[0]


def test_a_pause_names_the_last_held_versions_and_what_a_person_can_do():
    assert find_pause([line("held", version="v000001"), *HELD]) == (
        "the last 4 refits were held (v000002, v000003, v000004): look at their reports, then promote one "
        "(kmstream models promote V) or go on (kmstream retrain --reset)"
    )


@pytest.mark.parametrize("event", ["published", "promoted", "retrain-resumed"])
def test_a_pause_ends_when_a_person_acts_or_a_version_is_published(event):
    assert find_pause([*HELD, line(event)]) == ""
    assert find_pause([*HELD, line(event), *HELD[:2]]) == ""
    assert find_pause([*HELD, line(event), *HELD])


def test_a_rollback_or_a_rename_ends_no_pause():
    assert find_pause([*HELD, line("rolled-back"), line("renamed")])


def test_is_drifting_goes_on_until_a_window_that_can_be_judged_is_fine():
    alert, small, fine = (
        line("drift", severity=s, cleared=c) for s, c in [("alert", False), ("ok", False), ("ok", True)]
    )
    assert [is_drifting(lines) for lines in ([], [small], [alert], [alert, small], [alert, small, fine])] == [
        False,
        False,
        True,
        True,
        False,
    ]
    assert is_drifting([alert, fine, line("published")]) is False


def test_is_drifting_takes_lines_of_before_by_their_severity():
    """They do not tell whether the drift has cleared."""
    assert is_drifting([line("drift", severity="warn"), line("drift", severity="ok")]) is False
