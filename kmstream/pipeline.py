"""The verbs: everything kmstream does, each from its first read to its last write.

    plan      footers only: rows, bytes, passes, memory
    choose_k  scan -> fits of each k to the sample -> measures, a recommendation, a page
    refresh   scan -> fit -> match -> assign -> compare -> gate -> publish    a new model version
    retrain   refresh, if a score asked for it and nothing speaks against it
    score     assign -> compare                                               new or changed partitions

What a run takes over from the version before it is in `predecessor`; what people do afterwards with versions (promote,
roll back) and names in `versions` and `names`. The command line, the flows and the demo only call these.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

from kmstream.assign import AssignJob
from kmstream.assignments import (
    MANIFEST,
    Entry,
    find_pending,
    find_removed,
    find_rewritten,
    is_version,
    read_manifest,
    refuse_overlap,
    unfinished_folder,
)
from kmstream.choose import (
    DEFAULT_KS,
    assess,
    check_ks,
    find_elbow,
    leave_out,
    make_matrix,
    read_truth,
    recommend,
)
from kmstream.clustering import ClusterModel
from kmstream.config import Config
from kmstream.dataset import open_dataset
from kmstream.engine import Progress, Silent, single_threaded
from kmstream.errors import ModelNotFoundError
from kmstream.fit import fit_centroids
from kmstream.matrices import Matrices, open_matrices
from kmstream.plan import Plan, make_plan
from kmstream.predecessor import (
    check_same_features,
    find_known_centroids,
    find_model_before,
    find_outlier_distances,
    find_scaling_version,
    name_segments,
)
from kmstream.provenance import Stopwatch, describe_run, peak_rss_bytes
from kmstream.publish import Refit, finish_refit
from kmstream.relabel import apply_labels
from kmstream.reporting import load_references
from kmstream.results import ChoiceResult, RefreshResult, RetrainResult, ScoreResult
from kmstream.resume import assign_resumably
from kmstream.retraining import may_retrain
from kmstream.run import make_run
from kmstream.scan import make_scaling, refuse_no_rows, scan_dataset
from kmstream.scoring import commit_score, finish_score, finish_scores, report_nothing_new
from kmstream.storage import is_local, remove_tree, replace_file
from kmstream.store import Store
from kmstream.truth import check_truth
from kmstream.who_moved import Assignments, find_earlier, follow_entities

SILENT = Silent()


def plan(config: Config, *, only: Sequence[str] = ()) -> Plan:
    """Foretell what a refresh would read, hold in memory and write; no data page is read."""
    refuse_overlap(config.dataset.path, Store(config.output.path).output)
    return make_plan(config, open_dataset(config, only))


def choose_k(
    config: Config,
    ks: Sequence[int] = DEFAULT_KS,
    *,
    truth: str | None = None,
    only: Sequence[str] = (),
    progress: Progress = SILENT,
    now: datetime | None = None,
) -> ChoiceResult:
    """Fit several numbers of segments to the row sample, measure each, recommend one; nothing is published.

    Parameters
    ----------
    config : Config
    ks : sequence of int
        What to try, each at least 2; what the sample has too few distinct rows for is left out.
    truth : str, optional
        A column with the true class of each row, to compare with.
    only, progress, now
        Those of `refresh`.

    Raises
    ------
    KmstreamError
        Any of the tree in `errors`; no page has been written then.
    """
    store, watch, now = Store(config.output.path), Stopwatch(), (now or datetime.now(UTC)).astimezone(UTC)
    ks = check_ks(ks)
    refuse_overlap(config.dataset.path, store.output)
    kept = find_scaling_version(config, store)
    dataset = open_dataset(config, only)
    if truth:
        check_truth(dataset, truth)
    run = make_run(config, dataset, progress)
    with single_threaded():
        with watch.stage("scan"):
            scan = scan_dataset(run, statistics=kept is None)
            refuse_no_rows(run, scan)
            scaling = kept.model.scaling if kept else make_scaling(config.features, scan)
            classes = read_truth(run, scaling, truth) if truth else None
        with watch.stage("fit"):
            X = make_matrix(run, scan, scaling)
            ks, note = leave_out(ks, X)
            found = assess(run, X, ks, classes)
    advice = recommend(found, min_share=config.model.min_cluster_share)
    page = store.output / "reports" / "choose-k.html"
    result = ChoiceResult(
        name=config.name,
        rows=dataset.rows,
        sample_rows=len(X),
        scaling=kept.version if kept else "new",
        truth=truth,
        truth_rows=len(classes.X) if classes else None,
        k=tuple(found),
        recommended=advice.k,
        reason=advice.reason,
        elbow=find_elbow(ks, [one.inertia_per_row for one in found]),
        notes=(note,) if note else (),
        report=str(page),
        seconds=watch.seconds,
        peak_rss_bytes=peak_rss_bytes(),
    )
    from kmstream.report.choice import render_choice  # loads plotly, which no other verb needs at once

    replace_file(page, render_choice(result.to_json(), created=now.isoformat()))
    return replace(result, seconds=watch.seconds, peak_rss_bytes=peak_rss_bytes())


def refresh(
    config: Config,
    *,
    baseline: bool = False,
    truth: str | None = None,
    only: Sequence[str] = (),
    progress: Progress = SILENT,
    now: datetime | None = None,
) -> RefreshResult:
    """Fit a new model version to the dataset, carry the names over, assign every row, publish or hold it.

    Parameters
    ----------
    config : Config
    baseline : bool
        Learn the scaling anew; the names still go on.
    truth : str, optional
        A column of true classes to compare the segments with; they have no influence on the fit.
    only : sequence of str
        Globs that limit the partitions.
    progress : Progress
    now : datetime, optional
        The time that is written down; the clock's by default.

    Raises
    ------
    KmstreamError
        Any of the tree in `errors`; nothing has been published then, and CURRENT has not moved.
    """
    store, now = Store(config.output.path), (now or datetime.now(UTC)).astimezone(UTC)
    refuse_overlap(config.dataset.path, store.output)
    with store.lock(config.name), single_threaded():
        finish_scores(store)
        return _refresh(config, store, now, progress, baseline=baseline, truth=truth, only=only)


def retrain(config: Config, *, progress: Progress = SILENT, now: datetime | None = None) -> RetrainResult:
    """Fit a new version by itself if a score asked for one and the guard lets it: all partitions, as `refresh` would.

    The history decides, so that of several calls for one request the first does the work.

    Parameters
    ----------
    config, progress, now
        Those of `refresh`.

    Raises
    ------
    KmstreamError
        Any of the tree in `errors`; the request then still waits.
    """
    store, now = Store(config.output.path), (now or datetime.now(UTC)).astimezone(UTC)
    refuse_overlap(config.dataset.path, store.output)
    with store.lock(config.name), single_threaded():
        finish_scores(store)
        may, why = may_retrain(config, store.history())
        if may and (objection := find_objection(config, store)):
            store.log("retrain-declined", now, why=objection)
            may, why = False, objection
        result = _refresh(config, store, now, progress) if may else None
    return RetrainResult(config.name, result is not None, why, result)


def _refresh(
    config: Config,
    store: Store,
    now: datetime,
    progress: Progress,
    *,
    baseline: bool = False,
    truth: str | None = None,
    only: Sequence[str] = (),
) -> RefreshResult:
    """Do it; the lock is held."""
    watch = Stopwatch()
    store.refuse_lost_current()
    current = store.load_current(config.name) if store.current else None
    kept = current if not baseline else None  # the version whose scaling stays
    if kept:
        check_same_features(config, kept)
    dataset = open_dataset(config, only)
    if truth is not None:
        check_truth(dataset, truth)
    run = make_run(config, dataset, progress)
    with watch.stage("scan"):
        scan = scan_dataset(run, statistics=kept is None)
        refuse_no_rows(run, scan)
        scaling = kept.model.scaling if kept else make_scaling(config.features, scan)
    before = find_model_before(run, current, scaling)
    known = find_known_centroids(before, config.features, scaling)
    references = load_references(store, kept) if kept else None
    version = store.next_version()
    folder = store.unfinished_assignments(version)
    with open_matrices(run, scaling, store.scratch) as matrices:
        with watch.stage("fit"):
            fit = fit_centroids(run, matrices, scan, known)
        match = name_segments(run, store, current, before, known, scaling, fit)
        model = ClusterModel(config.features, scaling, fit.centroids, match.labels)
        limits = find_outlier_distances(references.chosen(config) if references else None, model)
        reach = find_outlier_distances(current, before) if before else None
        job = AssignJob.of(run, matrices, model, folder, version, limits, before, reach, truth)
        with unfinished_folder(folder):
            with watch.stage("assign"):
                assigned, n_resumed = assign_resumably(run, job)
            mine = Assignments(folder, model.labels, assigned.entries)
            moves = follow_entities(config, watch, mine, find_earlier(store, current, mine), store.scratch)
            refit = Refit(
                run, store, watch, now, tuple(only), version, current, before, references, model, match, fit, truth
            )
            result = finish_refit(refit, scan.sample, assigned, moves)
    finish_scores(store)  # of the version before
    return replace(result, resumed=n_resumed, rewritten=find_rewritten(config, assigned.entries), empty=dataset.empty)


def find_objection(config: Config, store: Store) -> str:
    """Tell why a fit to the data as they are would be in vain, or go round in circles; empty if nothing is wrong."""
    dataset = open_dataset(config)
    if dataset.partitions and all(partition.is_labelled for partition in dataset.partitions):
        return "all partitions hold segments already: a fit to rows that its own labels selected would confirm itself"
    refits = [line for line in store.history() if line["event"] in {"published", "held"}]
    if refits and refits[-1]["event"] == "held":
        version = refits[-1]["version"]
        made = store.read_json(version, "provenance.json")
        same = describe_run(config, dataset, ())
        if all(made[key] == same[key] for key in ("partitions", "config_sha256")):
            return f"{version} was fitted to the same data and held; promote it, or wait for other data"
    return ""


def score(
    config: Config,
    *,
    only: Sequence[str] = (),
    since: str | None = None,
    progress: Progress = SILENT,
    now: datetime | None = None,
) -> ScoreResult:
    """Assign the partitions that the current version has not assigned yet, or that changed, and report their drift.

    The assignments of partitions that are gone go too.

    Parameters
    ----------
    config : Config
    only, progress, now
        Those of `refresh`.
    since : str, optional
        A version: the partitions that are new or changed since it assigned them, also those assigned already.

    Raises
    ------
    ModelNotFoundError
        If nothing has been published yet, or the assignments of `since` are not there.
    KmstreamError
        Any other of the tree in `errors`; the manifest then lists none of the new partitions.
    """
    store, watch, now = Store(config.output.path), Stopwatch(), (now or datetime.now(UTC)).astimezone(UTC)
    refuse_overlap(config.dataset.path, store.output)
    with store.lock(config.name), single_threaded():
        finished = finish_scores(store)
        current = store.load_current(config.name)
        check_same_features(config, current)
        n_renamed = apply_labels(config, store, current)
        folder = store.assignments(current.version)
        staging = folder.with_name(f".{current.version}.score")
        dataset = open_dataset(config, only)
        listed = read_manifest(folder)
        removed = find_removed(listed, dataset, only)
        entries = {path: entry for path, entry in listed.items() if path not in removed}
        window = replace(dataset, partitions=find_pending(dataset, read_since(store, since) if since else entries))
        if not window.partitions:
            if not only and since is None:
                remove_tree(staging)  # of a score that was cut off; what was new then is gone
            result = report_nothing_new(
                config, store, current.version, watch, now, n_removed=len(removed), empty=dataset.empty
            )
            result = replace(result, renamed=n_renamed)
            if removed:
                if is_local(staging):
                    staging.mkdir(parents=True, exist_ok=True)
                commit_score(config, store, staging, now, result, entries, {}, removed)
            return finished or result
        run = make_run(config, window, progress)
        references = load_references(store, current)
        model = replace(current.model, features=config.features)
        limits = find_outlier_distances(references.chosen(config), model)
        with unfinished_folder(staging):
            matrices = Matrices(model.features, model.scaling, window, run.chunk_rows, run.weighting)
            job = AssignJob.of(run, matrices, model, staging, current.version, limits)
            with watch.stage("assign"):
                assigned, n_resumed = assign_resumably(run, job)
            unchanged = entries.keys() - assigned.entries.keys()
            mine = Assignments(staging, model.labels, assigned.entries)
            earlier = Assignments(folder, model.labels, listed)
            moves = follow_entities(config, watch, mine, earlier, store.scratch, unchanged)
            result = finish_score(
                run, store, watch, now, references, model, assigned, moves, n_removed=len(removed), n_resumed=n_resumed
            )
        result = replace(result, renamed=n_renamed)
        commit_score(config, store, staging, now, result, entries, assigned.entries, removed)
        return result


def read_since(store: Store, version: str) -> dict[str, Entry]:
    """Read which partitions a version assigned.

    Raises
    ------
    ModelNotFoundError
        If its assignments are not there any more.
    """
    entries = read_manifest(store.assignments(version)) if is_version(version) else {}
    if not entries:
        found = (path.parent.name for path in (store.output / "assignments").glob(f"v*/{MANIFEST}"))
        error = ModelNotFoundError(
            f"there are no assignments of {version!r}; there are those of {', '.join(sorted(found))}"
        )
        error.add_note("Those of older versions are removed: output.keep_versions says how many stay.")
        raise error
    return entries
