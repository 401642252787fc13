"""A run as evidently's snapshot: our exact figures, their thresholds as tests, and what makes runs comparable."""

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from builders import look_at_rows, make_blobs
from evidently.core.report import Snapshot
from report_content import (
    REFRESH_RUN,
    SCORE_RUN,
    make_history,
    make_reason,
    make_refresh,
    make_sample,
    make_score,
)

from kmstream.report.snapshot import SAMPLE_ROWS, build_snapshot, thin


def make_snapshot(drift, run, *, samples=(None, None)):
    return build_snapshot(drift, reference_sample=samples[0], current_sample=samples[1], run=run)


def values_of(snapshot):
    metrics = json.loads(snapshot.json())["metrics"]
    return {metric["metric_name"].rpartition("metrics.")[2]: metric["value"] for metric in metrics}


def test_snapshot_carries_the_exact_figures():
    samples = make_sample(300, 1), make_sample(300, 3)
    values = values_of(make_snapshot(make_refresh(), REFRESH_RUN, samples=samples))
    assert values["SegmentShare()"]["segment-04"] == 0.3
    assert values["Migration()"] == 0.4567
    assert values["FeaturePSI()"]["monetary"] == pytest.approx(0.33)
    assert values["FitHistory()"]["exact 1"] == 2.154321
    assert any(name.startswith("ValueDrift(column=monetary") for name in values)


def test_snapshot_carries_life_cycle_map_and_silhouettes():
    X, ids = make_blobs([[-4.0, 0.0], [4.0, 1.0]], 200)
    seen = look_at_rows({"x": X[:, 0], "y": X[:, 1]}, np.array(["segment-01", "segment-02"])[ids])
    silhouette = {"overall": 0.41, "segments": {"segment-01": 0.5, "segment-02": 0.3, "segment-03": None}}
    drift = make_refresh()
    drift["segments"][0] |= {"overlap": 0.62}
    values = values_of(
        make_snapshot(drift, replace(REFRESH_RUN, sample=seen | {"silhouette": silhouette}, history=make_history(3)))
    )
    assert values["LifeCycle()"] == {"kept": 1, "split": 1, "merged": 0, "emerged": 1, "retired": 1}
    assert values["SegmentOverlap()"] == {"segment-01": 0.62}
    assert values["SegmentSilhouette()"] == {"segment-01": 0.5, "segment-02": 0.3}
    assert values["SegmentMap()"] == pytest.approx(1.0)
    assert values["FeatureDistributions()"] == 400
    assert values["ShareHistory()"] == 4


def test_metrics_are_the_same_series_in_every_run():
    score, refresh = (
        {metric["metric_name"]: metric["id"] for metric in make_snapshot(drift, run).dict()["metrics"]}
        for drift, run in ((make_score(), SCORE_RUN), (make_refresh(), REFRESH_RUN))
    )
    assert {name: refresh[name] for name in score} == score


def test_metrics_keep_their_names_in_stored_snapshots():
    results = make_snapshot(make_refresh(), REFRESH_RUN).metric_results.values()
    names = {result.metric_value_location.metric.params["type"] for result in results}
    assert names == {
        *(f"evidently:metric_v2:kmstream.report.metrics.{name}" for name in (
            "DriftSeverity", "DriftTotals", "SegmentRows", "SegmentShare", "SegmentShift", "FeaturePSI", "Migration",
            "FitHistory",
        )),
        "evidently:metric_v2:kmstream.report.sample_metrics.LifeCycle",
    }  # fmt: skip


def test_thresholds_are_tests_in_evidentlys_own_json_and_in_no_identity():
    limits = {"share_psi": {"warn": 0.1, "alert": 0.25}}
    reason = make_reason("share_psi", 0.3141, 0.25, "alert", "the mix changed")
    alert, ok = (
        make_snapshot(make_score(thresholds=limits, reasons=reasons), REFRESH_RUN) for reasons in ([reason], [])
    )
    statuses = [[test["status"].value for test in snapshot.dict()["tests"]] for snapshot in (alert, ok)]
    assert statuses == [["SUCCESS", "FAIL", "FAIL"], ["SUCCESS", "FAIL", "SUCCESS"]]  # the gate first
    ids = [[metric["id"] for metric in snapshot.dict()["metrics"]] for snapshot in (alert, ok)]
    assert ids[0] == ids[1]
    told = json.loads(alert.json())["tests"][-1]
    assert (told["name"], told["description"]) == ("PSI of the shares", "The mix changed (alert from 0.25).")
    assert told["test_config"] == {"label": None, "value": 0.3141, "warn": 0.1, "alert": 0.25}


def test_snapshot_can_be_stored_and_loaded():
    snapshot = make_snapshot(make_score(thresholds={"share_psi": {"warn": 0.1, "alert": 0.25}}), REFRESH_RUN)
    loaded = Snapshot.loads(snapshot.dumps())
    assert loaded.dict() == snapshot.dict()
    assert len(loaded.dict()["tests"]) == 3


def test_thin_takes_the_same_rows_every_time():
    sample = pa.table({"x": np.arange(100_000)})
    rows = thin(sample)["x"].to_numpy()
    assert len(rows) == SAMPLE_ROWS
    assert (np.diff(rows) > 0).all()
    assert thin(sample)["x"].to_numpy().tolist() == rows.tolist()
