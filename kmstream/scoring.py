"""The end of a score: the window's drift, its report, whether it asks for a new fit, and all of it made visible."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from kmstream.assign import Assigned
from kmstream.assignments import COMMIT, MANIFEST, Entry, find_rewritten, mark_complete, remove_files, write_manifest
from kmstream.clustering import ClusterModel
from kmstream.config import Config
from kmstream.entities import Moves
from kmstream.provenance import Stopwatch, describe_run, peak_rss_bytes
from kmstream.report import RunFacts
from kmstream.report.workspace import add_staged
from kmstream.reporting import (
    References,
    describe_all,
    label_sample,
    measure_drift,
    observe_assigned,
    short_provenance,
    tell_history,
    tell_partitions,
    tell_silhouettes,
    write_score_report,
)
from kmstream.results import ScoreResult
from kmstream.retraining import decide_retrain, find_request, is_drifting
from kmstream.run import Run
from kmstream.scan import scan_dataset
from kmstream.storage import (
    Place,
    exists,
    explain_write_errors,
    is_folder,
    move,
    move_files,
    new_folder,
    read_text,
    remove_file,
    remove_tree,
    replace_file,
)
from kmstream.store import Store
from kmstream.who_moved import keep_file, tell_entities

UNFINISHED_PAGE = ".unfinished"


def report_nothing_new(
    config: Config,
    store: Store,
    version: str,
    watch: Stopwatch,
    now: datetime,
    *,
    n_removed: int,
    empty: tuple[str, ...],
) -> ScoreResult:
    """Say that every partition has been assigned already, and whether a request for a new fit still waits."""
    history = store.history()
    again, why = decide_retrain(config, "ok", history, now)
    request = find_request(history) if again else None
    waiting = {key: request[key] for key in ("run_id", "severity") if key in request} if request else {}
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
        removed=n_removed,
        empty=empty,
        retrain={"requested": again, "why": why if again else "no new or changed partitions"} | waiting,
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
    moves: Moves | None,
    *,
    n_removed: int,
    n_resumed: int,
) -> ScoreResult:
    """Compare the window with the reference, write its report, decide about retraining."""
    config, version = run.config, references.model.version
    run_id, reports = _free_run_id(store, now), store.output / "reports"
    with watch.stage("compare"):
        drift_report = measure_drift(config, references, observe_assigned(model, assigned), model)
        drift_report = describe_all(drift_report, references.model)
        reference = references.chosen(config)
        drift = drift_report.to_json(name=config.name, reference=reference.version, current=run_id)
        drift["entities"] = tell_entities(moves, config.dataset.key, reports / run_id)
        drift["partitions"] = tell_partitions(run.dataset)
        sample, silhouettes = label_sample(scan_dataset(run, statistics=False).sample, model)
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
        sample=tell_silhouettes(silhouettes, model.labels),
        history=tell_history(config),
    )
    with watch.stage("report"), new_folder(reports / UNFINISHED_PAGE) as folder:
        write_score_report(folder, store.output, drift, reference, sample, facts)
        keep_file(moves, folder)
    history = store.history()
    is_judged = assigned.summary.n_rows > 0 and "share_psi" not in drift_report.too_few_rows
    cleared = drift_report.severity == "ok" and is_judged and is_drifting(history)
    requested, why = decide_retrain(config, drift_report.severity, [] if cleared else history, now)
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
        cleared=cleared,
        labels=tuple(_describe(segment, n_rows) for segment in drift["segments"]),
        removed=n_removed,
        resumed=n_resumed,
        rewritten=find_rewritten(config, assigned.entries),
        empty=run.dataset.empty,
        entities=drift["entities"],
        too_few_rows=tuple(drift["too_few_rows"]),
        retrain={"requested": requested, "why": why},
        report=str(reports / run_id / "report.html"),
        assignments=str(store.assignments(version)),
        seconds=watch.seconds,
        peak_rss_bytes=peak_rss_bytes(),
    )


def commit_score(
    config: Config,
    store: Store,
    staging: Place,
    now: datetime,
    result: ScoreResult,
    known: Mapping[str, Entry],
    assigned: Mapping[str, Entry],
    removed: Sequence[str],
) -> None:
    """Make a score's files, its page, the manifest and the history's lines visible, together.

    What is to be done is noted first: what a crash or an error leaves undone, the next run does, by `finish_scores`.

    Parameters
    ----------
    config : Config
    store : Store
    staging : Place
        The folder with the new files.
    now : datetime
    result : ScoreResult
    known, assigned : mapping of str to Entry
        Partitions that stay as they are, and those of this run.
    removed : sequence of str
        Partitions whose files are to go, as their input has.
    """
    facts = {"version": result.version, "run_id": result.run_id}
    told = facts | {"severity": result.severity, "rows": result.rows, "cleared": result.cleared}
    lines = [("drift", told)] if result.run_id else []
    if result.retrain["requested"] and result.run_id and find_request(store.history()) is None:
        lines.append(("retrain-requested", facts | {"severity": result.severity, "why": result.retrain["why"]}))
    note = {"result": result.to_json(), "time": now.isoformat(), "lines": lines}
    write_manifest(staging, {**known, **assigned}, config, result.version)
    replace_file(staging / COMMIT, json.dumps(note | {"files": list(assigned), "removed": list(removed)}))
    _commit(store, staging)
    add_staged(store.output)


def finish_scores(store: Store) -> ScoreResult | None:
    """Finish what a score had decided before it was cut off, and give its result; remove what nobody goes on from.

    What visible runs have staged for the workspace is added to it.
    """
    finished = None
    for staging in (store.output / "assignments").glob(".v*.score"):
        if exists(staging / COMMIT):
            finished = _commit(store, staging)
        elif staging.name != f".{store.current}.score":
            remove_tree(staging)
    remove_tree(store.output / "reports" / UNFINISHED_PAGE)
    add_staged(store.output)
    return finished


def _commit(store: Store, staging: Place) -> ScoreResult:
    """Do what is noted; each step can be done again."""
    note = json.loads(read_text(staging / COMMIT))
    result = ScoreResult(**note["result"])
    page, folder = store.output / "reports" / UNFINISHED_PAGE, store.assignments(result.version)
    with explain_write_errors(folder):
        if is_folder(page):
            move(page, page.with_name(result.run_id))
        remove_files(folder, note["removed"])
        move_files(staging, folder, note["files"])
        move_files(staging, folder, [MANIFEST])
    mark_complete(folder)
    logged = {(line["event"], line.get("run_id")) for line in store.history()}
    for event, facts in note["lines"]:
        if (event, result.run_id) not in logged:
            store.log(event, datetime.fromisoformat(note["time"]), **facts)
    remove_file(staging / COMMIT)  # first: without it the rest is only what nobody goes on from
    remove_tree(staging)
    return result


def _describe(segment: dict[str, Any], n_rows: Mapping[str, int]) -> dict[str, Any]:
    """Take what people are shown first; rows are counted whatever they weigh, shares are of their weights."""
    taken = {key: segment[key] for key in ("cluster_label", "share", "reference_share", "centroid_shift_radii")}
    return taken | {"rows": n_rows.get(segment["cluster_label"], 0)}


def _free_run_id(store: Store, now: datetime) -> str:
    stem = f"{now:%Y%m%dT%H%M%SZ}"
    taken = {path.name for path in (store.output / "reports").glob(f"{stem}*")}
    return next(one for one in (stem, *(f"{stem}-{n}" for n in range(2, len(taken) + 3))) if one not in taken)
