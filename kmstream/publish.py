"""The end of a refresh: save the candidate as a version, then publish or hold it."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from kmstream.assignments import mark_complete, remove_old_versions
from kmstream.provenance import describe_run
from kmstream.quality import calinski_harabasz, davies_bouldin
from kmstream.refit import Judged, Refit
from kmstream.report import RunFacts
from kmstream.report.workspace import add_staged
from kmstream.reporting import tell_drift, tell_facts, tell_result, write_card, write_report_files
from kmstream.results import RefreshResult
from kmstream.resume import forget_progress
from kmstream.segment_profile import tell_separation
from kmstream.storage import explain_write_errors, move, remove_tree
from kmstream.store import ModelVersion
from kmstream.who_moved import keep_file

TOLD_OF_LABELS = (
    *("rows", "share", "description"),
    *("matched_distance", "matched_margin", "overlap", "label_by_overlap"),
)


def publish_refit(refit: Refit, judged: Judged) -> RefreshResult:
    """Save a candidate as a version, and publish it if the gate lets it pass.

    The order makes a crash harmless: first the version, then its assignments, the history's line, and CURRENT last.
    """
    run, store, name = refit.run, refit.run.store, refit.version
    version, drift = _make_version(refit, judged), _make_drift(refit, judged)
    facts = RunFacts(
        kind="refresh",
        version=name,
        run_id=name,
        status=judged.status,
        parent=version.parent,
        gate=[asdict(check) for check in judged.gate],
        passes=version.passes,
        **tell_facts(run, judged.assigned, version.provenance),
    )

    def write_more(folder: Path) -> None:
        reference, sample = refit.reference, judged.sample
        write_report_files(folder, store.output, drift, sample, facts, shown_in=version, reference=reference)
        write_card(folder, version, drift, facts)

    try:
        with store.finishing(name, run.clock.now, is_new=True):
            store.save(version, write_more)
            keep_file(judged.moves, store.path(name))  # no part of the model: it may be removed
            with explain_write_errors(store.assignments(name)):
                move(refit.folder, store.assignments(name))
            _publish(refit, judged)
    except Exception:
        if store.current != name:
            remove_tree(store.assignments(name))
            store.remove(name)
            add_staged(store.output)  # drops its snapshot
        raise
    return _make_result(refit, judged, drift, version.quality)


def _make_version(refit: Refit, judged: Judged) -> ModelVersion:
    run, current, model, assigned = refit.run, refit.before.version, refit.model, judged.assigned
    references = refit.before.references
    return ModelVersion(
        name=run.config.name,
        version=refit.version,
        created=run.clock.now.isoformat(),
        baseline=references.model.baseline if references else refit.version,
        parent=current.version if current else None,
        model=model,
        summary=assigned.summary,
        bins=assigned.values.bins,
        sample=judged.sample.rows,
        retired=_list_retired(refit),
        parameters=run.config.model.model_dump(mode="json"),
        provenance=describe_run(run.config, run.dataset, run.only),
        passes=tuple(done.to_json() for done in refit.fit.passes),
        gate=judged.gate,
        quality=_measure_quality(refit, judged),
        labels=_list_labels(refit, judged),
    )


def _list_labels(refit: Refit, judged: Judged) -> tuple[dict[str, Any], ...]:
    """Give the registry's line of each segment."""
    current = refit.before.version
    born = {line["cluster_label"]: line["born"] for line in current.labels} if current else {}
    told = {segment["cluster_label"]: segment for segment in judged.report.segments}
    return tuple(
        {"cluster_id": i, "cluster_label": label, "event": judged.life.status[label]}
        | {"born": born.get(label, refit.version)}
        | {key: told[label].get(key) for key in TOLD_OF_LABELS}
        for i, label in enumerate(refit.model.labels)
    )


def _list_retired(refit: Refit) -> tuple[Mapping[str, Any], ...]:
    """Give the registry's line of each name that was used once, those that end now last."""
    current = refit.before.version
    if current is None:
        return ()
    ended = (
        {key: line.get(key) for key in ("cluster_label", "born", "description")} | {"version": refit.version}
        for line in current.labels
        if line["cluster_label"] in refit.match.retired
    )
    return (*current.retired, *ended)


def _measure_quality(refit: Refit, judged: Judged) -> dict[str, Any]:
    """Give the indices of the segmentation: silhouettes are of the sample, all else of every row."""
    summary = judged.assigned.summary
    quality = {
        "inertia_per_row": summary.inertia_per_row,
        **judged.sample.quality,
        "davies_bouldin": davies_bouldin(summary),
        "calinski_harabasz": calinski_harabasz(summary),
    }
    return quality | ({"truth": judged.assigned.truth.compare(refit.truth)} if refit.truth else {})


def _make_drift(refit: Refit, judged: Judged) -> dict[str, Any]:
    """Give what drift.json holds."""
    run, model = refit.run, refit.model
    folder = run.store.path(refit.version)
    drift = tell_drift(run, judged.report, refit.reference, refit.version, judged.moves, folder)
    matched_by = refit.match.by if refit.before.model else None
    profile = tell_separation(judged.assigned.summary, model.labels, model.features, model.scaling)
    return drift | {"matched_by": matched_by, "profile": profile}


def _publish(refit: Refit, judged: Judged) -> None:
    """Write what became of the candidate into the history, and let CURRENT follow."""
    store, config, now = refit.run.store, refit.run.config, refit.run.clock.now
    facts: dict[str, Any] = {"rows": refit.run.dataset.rows, "inertia_per_row": judged.assigned.summary.inertia_per_row}
    current = refit.version
    if judged.status == "held":
        failed = [asdict(check) for check in judged.gate if not check.ok]
        store.log("held", now, version=refit.version, **facts, failed=failed)
        current = store.current or refit.version
    else:
        mark_complete(store.assignments(refit.version))
        previous, severity = refit.before.version, judged.report.severity
        facts |= {"previous": previous.version if previous else None, "severity": severity}
        store.log("published", now, version=refit.version, **facts)
        store.set_current(refit.version)
    forget_progress(store.assignments(refit.version))
    remove_old_versions(store.output / "assignments", config.output.keep_versions, current)


def _make_result(refit: Refit, judged: Judged, drift: Mapping[str, Any], quality: Mapping[str, Any]) -> RefreshResult:
    assigned, store, status_of = judged.assigned, refit.run.store, judged.life.status
    overlap = {segment["cluster_label"]: segment.get("overlap") for segment in drift["segments"]}
    labels = tuple(
        {
            "cluster_id": i,
            "cluster_label": label,
            "rows": int(assigned.counts[i]),
            "share": float(assigned.summary.shares[i]),
            "event": status_of[label],
            "overlap": overlap.get(label),
        }
        for i, label in enumerate(refit.model.labels)
    )
    return RefreshResult(
        status=judged.status,
        n_clusters=len(labels),
        inertia_per_row=assigned.summary.inertia_per_row,
        labels=labels,
        retired=tuple({"cluster_label": name, "event": status_of[name]} for name in refit.match.retired),
        gate=judged.gate,
        quality=quality,
        report=str(store.path(refit.version) / "report.html"),
        **tell_result(refit.run, assigned, drift, refit.version),
    )
