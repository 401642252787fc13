"""What an orchestrator is told of a run, from its result alone."""

import json
from dataclasses import replace
from typing import Any

import pytest

from kmstream.errors import OutputError
from kmstream.events import events_of_refresh, events_of_score, is_transient, markdown_of_score, verdict_of_score
from kmstream.gate import Check
from kmstream.results import RefreshResult, ScoreResult

SHARED = {
    "name": "demo",
    "version": "v000002",
    "rows": 10,
    "severity": "alert",
    "report": "/out/report.html",
    "assignments": "/out/assignments/v000002",
    "seconds": {"total": 1.0},
    "peak_rss_bytes": 1,
}


def make_refresh(**changes: Any) -> RefreshResult:
    labels = tuple(
        {"cluster_id": i, "cluster_label": label, "rows": rows, "share": rows / 10, "event": event}
        for i, (label, rows, event) in enumerate([("a|b", 6, "kept"), ("b", 3, "split"), ("c", 1, "emerged")])
    )
    result = RefreshResult(
        **SHARED,
        status="published",
        rows_skipped=0,
        n_clusters=3,
        inertia_per_row=1.5,
        reasons=(),
        labels=labels,
        retired=({"cluster_label": "d", "event": "merged"},),
        quality={},
        gate=(Check("smallest_segment_share", True, 0.1, 0.01, "c"),),  # noqa: FBT003
    )
    return replace(result, **changes)


def make_score(**changes: Any) -> ScoreResult:
    reason = {"measure": "share_psi", "label": None, "feature": None, "value": 0.3, "threshold": 0.25}
    result = ScoreResult(
        **SHARED,
        run_id="r1",
        partitions=1,
        rows_skipped=2,
        reasons=tuple(reason | {"severity": "alert", "text": f"reason {i}"} for i in range(12)),
        cleared=False,
        labels=(
            {"cluster_label": "a|b", "rows": 8, "share": 1.0, "reference_share": 0.5, "centroid_shift_radii": None},
        ),
        retrain={"requested": False, "why": "retrain.on is never"},
    )
    return replace(result, **changes)


def names(events: list[tuple[str, dict[str, Any]]]) -> list[str]:
    for _, payload in events:
        json.dumps(payload, allow_nan=False)
    return [name.removeprefix("kmstream.") for name, _ in events]


def test_events_of_refresh_tell_what_became_of_each_segment():
    events = events_of_refresh(make_refresh())
    assert names(events) == ["model.published", "segment.split", "segment.emerged", "segment.merged"]
    assert events[2][1] == {"version": "v000002", "cluster_label": "c", "rows": 1, "share": 0.1}
    assert events[3][1] == {"version": "v000002", "cluster_label": "d"}


def test_events_of_refresh_tell_no_segments_of_a_first_or_a_held_version():
    new = tuple(line | {"event": "emerged"} for line in make_refresh().labels)
    assert names(events_of_refresh(make_refresh(labels=new, retired=()))) == ["model.published"]
    assert names(events_of_refresh(make_refresh(status="held"))) == ["model.held"]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ["drift.detected"]),
        ({"severity": "warn", "retrain": {"requested": True, "why": "so"}}, ["drift.detected", "retrain.requested"]),
        ({"severity": "ok", "reasons": ()}, []),
        ({"severity": "ok", "reasons": (), "cleared": True}, ["drift.cleared"]),
        ({"partitions": 0, "severity": "ok", "reasons": ()}, []),
    ],
)
def test_events_of_score_tell_of_drift_and_of_its_end(changes, expected):
    assert names(events_of_score(make_score(**changes))) == expected


def test_payload_of_drift_stays_small():
    assert len(events_of_score(make_score())[0][1]["reasons"]) == 10


def test_markdown_of_score_escapes_names_and_counts_what_it_leaves_out():
    text = markdown_of_score(make_score())
    assert r"| a\|b | 8 | 50.0" in text
    assert "and 2 more" in text
    assert "2 rows skipped, without a segment" in text
    assert "New fit not asked for" in text


def test_is_transient_asks_what_the_system_said_of_a_write():
    def failed(cause: OSError) -> OutputError:
        error = OutputError("out can't be written")
        error.__cause__ = cause
        return error

    assert is_transient(failed(TimeoutError(110, "timed out")))
    assert not is_transient(failed(PermissionError(13, "denied")))
    assert not is_transient(failed(OSError(28, "No space left on device")))
    assert not is_transient(OutputError("nobody knows why"))


def test_a_score_of_no_rows_is_told_as_such():
    lines = tuple(line | {"rows": 0} for line in make_score().labels)
    told = verdict_of_score(make_score(labels=lines, rows=0, severity="ok", reasons=()))
    assert told == "No row with a segment in 1 partition: nothing was judged against v000002."


def test_a_request_that_waits_is_told_again_where_nothing_is_new():
    waits = {"requested": True, "why": "asked for", "run_id": "r0", "severity": "alert"}
    again = make_score(partitions=0, run_id="", severity="ok", reasons=(), retrain=waits)
    told = events_of_score(again)
    assert names(told) == ["drift.detected", "retrain.requested"]
    assert {payload["run_id"] for _, payload in told} == {"r0"}
    assert verdict_of_score(again).endswith("A new fit is still asked for: asked for.")
