"""The end of a score: the window's drift, its report, and whether it asks for a new fit."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from kmstream.assign import Assigned, AssignJob
from kmstream.clustering import ClusterModel
from kmstream.commit import UNFINISHED_PAGE
from kmstream.comparison import (
    References,
    describe_all,
    find_outlier_distances,
    label_sample,
    measure_drift,
    observe_assigned,
)
from kmstream.config import Config
from kmstream.drift import DriftReport
from kmstream.entities import Moves
from kmstream.matrices import Matrices
from kmstream.provenance import Clock, describe_run, peak_rss_bytes
from kmstream.report import RunFacts
from kmstream.reporting import tell_drift, tell_facts, tell_result, write_report_files
from kmstream.results import ScoreResult
from kmstream.retraining import decide_retrain, find_request, is_drifting
from kmstream.run import Run
from kmstream.scan import scan_dataset
from kmstream.storage import new_folder
from kmstream.store import Store
from kmstream.who_moved import keep_file
from kmstream.window import Window


def make_score_job(run: Run, window: Window, references: References) -> AssignJob:
    """Make the pass that assigns a window by the current model, with the policy for missing values of this run."""
    model = replace(window.version.model, features=run.config.features)
    matrices = Matrices.of(run, model.features, model.scaling)
    limits = find_outlier_distances(references.chosen(run.config), model)
    return AssignJob.of(run, matrices, model, window.staging, window.version.version, limits)


def report_nothing_new(config: Config, store: Store, clock: Clock, window: Window) -> ScoreResult:
    """Say that every partition has been assigned already, and whether a request for a new fit still waits."""
    history = store.history()
    again, why = decide_retrain(config, "ok", history, clock.now)
    request = find_request(history) if again else None
    waiting = {key: request[key] for key in ("run_id", "severity") if key in request} if request else {}
    return ScoreResult(
        name=config.name,
        version=window.version.version,
        run_id="",
        partitions=0,
        rows=0,
        rows_skipped=0,
        severity="ok",
        reasons=(),
        cleared=False,
        labels=(),
        removed=len(window.removed),
        empty=window.dataset.empty,
        retrain={"requested": again, "why": why if again else "no new or changed partitions"} | waiting,
        report=None,
        assignments=str(window.folder),
        seconds=clock.seconds,
        peak_rss_bytes=peak_rss_bytes(),
    )


def finish_score(
    run: Run, window: Window, references: References, model: ClusterModel, assigned: Assigned, moves: Moves | None
) -> ScoreResult:
    """Compare a window with the reference, write its report, decide about retraining; nothing is visible yet.

    Parameters
    ----------
    run : Run
        Over the partitions of the window.
    window : Window
    references : References
    model : ClusterModel
        The current one, with the policy for missing values of this run.
    assigned : Assigned
    moves : Moves or None
    """
    config, version = run.config, window.version.version
    run_id, reports = _find_free_run_id(run), run.store.output / "reports"
    reference = references.chosen(config)
    with run.clock.stage("compare"):
        report = measure_drift(config, references, observe_assigned(model, assigned), model)
        report = describe_all(report, references.model)
        drift = tell_drift(run, report, reference, run_id, moves, reports / run_id)
        sample = label_sample(scan_dataset(run, statistics=False).sample, model)
    shared = tell_facts(run, assigned, describe_run(config, run.dataset, ()))
    facts = RunFacts(kind="score", version=version, run_id=run_id, status="scored", **shared)
    with run.clock.stage("report"), new_folder(reports / UNFINISHED_PAGE) as folder:
        write_report_files(folder, run.store.output, drift, sample, facts, shown_in=reference, reference=reference)
        keep_file(moves, folder)
    cleared, retrain = _decide(run, report, assigned)
    n_rows = dict(zip(model.labels, assigned.counts.tolist(), strict=True))
    return ScoreResult(
        run_id=run_id,
        partitions=len(run.dataset.partitions),
        cleared=cleared,
        labels=tuple(_describe(segment, n_rows) for segment in drift["segments"]),
        removed=len(window.removed),
        retrain=retrain,
        report=str(reports / run_id / "report.html"),
        **tell_result(run, assigned, drift, version),
    )


def _decide(run: Run, report: DriftReport, assigned: Assigned) -> tuple[bool, dict[str, Any]]:
    """Decide whether the drift of earlier runs is over, and whether that of this one asks for a new fit."""
    history = run.store.history()
    is_judged = assigned.summary.n_rows > 0 and "share_psi" not in report.too_few_rows
    cleared = report.severity == "ok" and is_judged and is_drifting(history)
    requested, why = decide_retrain(run.config, report.severity, [] if cleared else history, run.clock.now)
    return cleared, {"requested": requested, "why": why}


def _describe(segment: dict[str, Any], n_rows: Mapping[str, int]) -> dict[str, Any]:
    """Take what people are shown first; rows are counted whatever they weigh, shares are of their weights."""
    taken = {key: segment[key] for key in ("cluster_label", "share", "reference_share", "centroid_shift_radii")}
    return taken | {"rows": n_rows.get(segment["cluster_label"], 0)}


def _find_free_run_id(run: Run) -> str:
    """Name a run by its time; of two within a second the later one has a number."""
    stem = f"{run.clock.now:%Y%m%dT%H%M%SZ}"
    taken = {path.name for path in (run.store.output / "reports").glob(f"{stem}*")}
    return next(one for one in (stem, *(f"{stem}-{n}" for n in range(2, len(taken) + 3))) if one not in taken)
