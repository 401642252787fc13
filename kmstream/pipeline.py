"""The verbs: everything kmstream does, each from its first read to its last write.

    plan      footers only: rows, bytes, passes, memory
    choose_k  scan -> fits of each k to the sample -> measures, a recommendation, a page
    refresh   scan -> fit -> match -> assign -> compare -> gate -> publish    a new model version
    retrain   refresh, if a score asked for it and nothing speaks against it
    score     assign -> compare                                               new or changed partitions

What a run takes over from the version before it is in `predecessor`; what people do afterwards with versions (promote,
roll back) and names in `versions` and `names`. The command line, the flows and the demo only call these.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime

from kmstream.assignments import Entry, refuse_overlap, unfinished_folder
from kmstream.choose import DEFAULT_KS, check_ks, compare_ks, read_classes, report_choice
from kmstream.clustering import ClusterModel
from kmstream.commit import commit_score, finish_scores, hold_output
from kmstream.comparison import label_sample, load_references
from kmstream.config import Config
from kmstream.dataset import open_dataset
from kmstream.engine import Progress, Silent, single_threaded
from kmstream.fit import fit_centroids
from kmstream.matrices import open_matrices
from kmstream.plan import Plan, make_plan
from kmstream.predecessor import check_same_features, find_scaling_version, load_current, name_segments, take_over
from kmstream.provenance import Clock, describe_run
from kmstream.publish import publish_refit
from kmstream.refit import Judged, Refit, ask_gate, compare_refit
from kmstream.relabel import apply_labels
from kmstream.results import ChoiceResult, RefreshResult, RetrainResult, ScoreResult
from kmstream.resume import assign_resumably
from kmstream.retraining import may_retrain
from kmstream.run import Run, start_run
from kmstream.scan import scan_for_fit
from kmstream.scoring import finish_score, make_score_job, report_nothing_new
from kmstream.storage import remove_tree
from kmstream.store import Store
from kmstream.truth import check_truth
from kmstream.who_moved import Assignments, find_earlier, follow_entities
from kmstream.window import Window, find_window

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
    store, clock, ks = Store(config.output.path), Clock(now), check_ks(ks)
    refuse_overlap(config.dataset.path, store.output)
    kept = find_scaling_version(config, store)
    dataset = open_dataset(config, only)
    check_truth(dataset, truth)
    run = start_run(config, store, dataset, clock, progress, only)
    with single_threaded():
        with clock.stage("scan"):
            scan, scaling = scan_for_fit(run, kept.model.scaling if kept else None)
            classified = read_classes(run, scaling, truth) if truth else None
        with clock.stage("fit"):
            choice = compare_ks(run, scan, scaling, ks, classified)
    return report_choice(run, choice, kept.version if kept else "new", classified)


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
    with _hold(config) as (store, _):
        return _refresh(config, store, Clock(now), progress, only, baseline=baseline, truth=truth)


def _refresh(
    config: Config,
    store: Store,
    clock: Clock,
    progress: Progress,
    only: Sequence[str] = (),
    *,
    baseline: bool = False,
    truth: str | None = None,
) -> RefreshResult:
    """Do it: scan -> fit -> match -> assign -> compare -> gate -> publish; the lock is held."""
    current = load_current(config, store, is_space_kept=not baseline)
    dataset = open_dataset(config, only)
    check_truth(dataset, truth)
    run = start_run(config, store, dataset, clock, progress, only)
    with clock.stage("scan"):
        scan, scaling = scan_for_fit(run, current.model.scaling if current and not baseline else None)
    before = take_over(run, current, scaling)
    with open_matrices(run, scaling, store.scratch) as matrices:
        with clock.stage("fit"):
            fit = fit_centroids(run, matrices, scan, before.centroids)
        match = name_segments(run, before, scaling, fit)
        model = ClusterModel(config.features, scaling, fit.centroids, match.labels)
        refit = Refit(run, store.next_version(), before, model, match, fit, truth)
        with unfinished_folder(refit.folder):
            with clock.stage("assign"):
                assigned, n_resumed = assign_resumably(run, refit.make_job(matrices))
            mine = Assignments(refit.folder, model.labels, assigned.entries)
            moves = follow_entities(run, mine, find_earlier(store, current, mine))
            sample = label_sample(scan.sample, model)
            report, life = compare_refit(refit, assigned)
            gate = ask_gate(refit, assigned, life, sample.silhouette)
            result = publish_refit(refit, Judged(assigned, moves, sample, report, life, gate))
    finish_scores(store)  # of the version before
    return replace(result, resumed=n_resumed)


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
    with _hold(config) as (store, _):
        may, why = may_retrain(config, store.history())
        if may and (objection := _find_objection(config, store)):
            store.log("retrain-declined", Clock(now).now, why=objection)
            may, why = False, objection
        result = _refresh(config, store, Clock(now), progress) if may else None
    return RetrainResult(config.name, result is not None, why, result)


def _find_objection(config: Config, store: Store) -> str:
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
    """Assign the partitions that are new or changed since the current version assigned them, and report their drift.

    The assignments of partitions that are gone go too. After any error the manifest lists none of the new ones.

    Parameters
    ----------
    config, only, progress, now
        Those of `refresh`.
    since : str, optional
        A version: the partitions that are new or changed since it assigned them, also those assigned already.
    """
    clock = Clock(now)
    with _hold(config) as (store, finished):
        current = store.load_current(config.name)
        check_same_features(config, current)
        n_renamed = apply_labels(config, store, current)
        window = find_window(config, store, current, only, since)
        is_new = bool(window.dataset.partitions)
        entries: Mapping[str, Entry] = {}
        if is_new:
            result, entries = _score_window(start_run(config, store, window.dataset, clock, progress, only), window)
        else:
            result = report_nothing_new(config, store, clock, window)
            if window.is_whole:
                remove_tree(window.staging)  # of a score that was cut off; what was new then is gone
        result = replace(result, renamed=n_renamed)
        if is_new or window.removed:
            commit_score(config, store, clock.now, window, result, entries)
    return result if is_new else finished or result


def _score_window(run: Run, window: Window) -> tuple[ScoreResult, Mapping[str, Entry]]:
    """Do it: assign -> compare; nothing is visible yet."""
    references = load_references(run.store, window.version)
    job = make_score_job(run, window, references)
    with unfinished_folder(window.staging):
        with run.clock.stage("assign"):
            assigned, n_resumed = assign_resumably(run, job)
        mine = Assignments(window.staging, job.model.labels, assigned.entries)
        moves = follow_entities(run, mine, window.earlier, window.kept.keys() - mine.entries.keys())
        result = finish_score(run, window, references, job.model, assigned, moves)
    return replace(result, resumed=n_resumed), assigned.entries


@contextmanager
def _hold(config: Config) -> Iterator[tuple[Store, ScoreResult | None]]:
    """Hold the output for a run over the dataset, which must not lie around it; see `hold_output`."""
    refuse_overlap(config.dataset.path, Store(config.output.path).output)
    with hold_output(config) as held, single_threaded():
        yield held
