"""The end of a score: the window's drift, its report, and whether it asks for a new fit."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from kmstream.assign import Assigned
from kmstream.clustering import ClusterModel
from kmstream.config import Config
from kmstream.guard import decide_retrain
from kmstream.provenance import Stopwatch, describe_run, peak_rss_bytes
from kmstream.report import RunFacts
from kmstream.reporting import (
    References,
    label_sample,
    measure_drift,
    observe_assigned,
    short_provenance,
    write_score_report,
)
from kmstream.results import ScoreResult
from kmstream.run import Run
from kmstream.scan import scan_dataset
from kmstream.store import Store


def report_nothing_new(config: Config, store: Store, version: str, watch: Stopwatch) -> ScoreResult:
    """Say that every partition has been assigned already."""
    return ScoreResult(
        name=config.name,
        version=version,
        run_id="",
        partitions=0,
        rows=0,
        rows_skipped=0,
        severity="ok",
        reasons=(),
        cleared=False,
        labels=(),
        retrain={"requested": False, "why": "no new or changed partitions"},
        report=None,
        assignments=str(store.assignments(version)),
        seconds=watch.seconds,
        peak_rss_bytes=peak_rss_bytes(),
    )


def finish_score(
    run: Run,
    store: Store,
    watch: Stopwatch,
    now: datetime,
    references: References,
    model: ClusterModel,
    assigned: Assigned,
) -> ScoreResult:
    """Compare the window with the reference, write its report, decide about retraining."""
    config, version = run.config, references.model.version
    run_id = _free_run_id(store, now)
    with watch.stage("compare"):
        drift_report = measure_drift(config, references, observe_assigned(model, assigned), model)
        reference = references.chosen(config)
        drift = drift_report.to_json(name=config.name, reference=reference.version, current=run_id)
        sample, _ = label_sample(scan_dataset(run, statistics=False).sample, model)
    provenance = describe_run(config, run.dataset, ())
    facts = RunFacts(
        kind="score",
        name=config.name,
        version=version,
        run_id=run_id,
        status="scored",
        created=now.isoformat(),
        rows=run.dataset.rows,
        rows_skipped=dict(assigned.values.skipped),
        partitions=len(run.dataset.partitions),
        seconds=watch.seconds,
        provenance=short_provenance(provenance),
    )
    folder = store.output / "reports" / run_id
    with watch.stage("report"):
        write_score_report(folder, drift, reference, sample, facts)
    history = store.history()
    severities = [line["severity"] for line in history if line["event"] == "drift"]
    requested, why = decide_retrain(config, drift_report.severity, history, now)
    n_rows = dict(zip(model.labels, assigned.counts.tolist(), strict=True))
    return ScoreResult(
        name=config.name,
        version=version,
        run_id=run_id,
        partitions=len(run.dataset.partitions),
        rows=run.dataset.rows,
        rows_skipped=sum(assigned.values.skipped.values()),
        severity=drift_report.severity,
        reasons=tuple(drift["reasons"]),
        cleared=drift_report.severity == "ok" and severities[-1:] not in ([], ["ok"]) and assigned.summary.n_rows > 0,
        labels=tuple(_describe(segment, n_rows) for segment in drift["segments"]),
        retrain={"requested": requested, "why": why},
        report=str(folder / "report.html"),
        assignments=str(store.assignments(version)),
        seconds=watch.seconds,
        peak_rss_bytes=peak_rss_bytes(),
    )


def record_score(store: Store, now: datetime, result: ScoreResult) -> None:
    """Write what was found, and what is asked for, into the history: last, so that a run that fails is done again."""
    facts = {"version": result.version, "run_id": result.run_id}
    store.log("drift", now, **facts, severity=result.severity, rows=result.rows)
    if result.retrain["requested"]:
        store.log("retrain-requested", now, **facts, why=result.retrain["why"])


def _describe(segment: dict[str, Any], n_rows: Mapping[str, int]) -> dict[str, Any]:
    """Take what people are shown first; rows are counted whatever they weigh, shares are of their weights."""
    taken = {key: segment[key] for key in ("cluster_label", "share", "reference_share", "centroid_shift_radii")}
    return taken | {"rows": n_rows.get(segment["cluster_label"], 0)}


def _free_run_id(store: Store, now: datetime) -> str:
    stem = f"{now:%Y%m%dT%H%M%SZ}"
    taken = {path.name for path in (store.output / "reports").glob(f"{stem}*")}
    return next(one for one in (stem, *(f"{stem}-{n}" for n in range(2, len(taken) + 3))) if one not in taken)
