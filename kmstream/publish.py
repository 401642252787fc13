"""The end of a refresh: compare, gate, save the version, publish or hold it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa

from kmstream.assign import Assigned
from kmstream.assignments import mark_complete, remove_old_versions
from kmstream.clustering import ClusterModel
from kmstream.descriptions import describe_segments, profile_segments
from kmstream.drift import DriftReport, add_facts
from kmstream.entities import Moves
from kmstream.fit import Fit
from kmstream.gate import Check, Measured, check_refit
from kmstream.labels import LabelMatch
from kmstream.life_cycle import LifeCycle, choose_rows, classify_life_cycle
from kmstream.provenance import Stopwatch, describe_run, peak_rss_bytes
from kmstream.quality import calinski_harabasz, davies_bouldin
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
    tell_life_cycle,
    tell_partitions,
    write_version_files,
)
from kmstream.results import RefreshResult
from kmstream.resume import forget_progress
from kmstream.run import Run
from kmstream.segment_profile import tell_separation
from kmstream.storage import explain_write_errors, move, remove_tree
from kmstream.store import ModelVersion, Store
from kmstream.who_moved import keep_file, tell_entities

TOLD_OF_LABELS = (
    *("rows", "share", "description"),
    *("matched_distance", "matched_margin", "overlap", "label_by_overlap"),
)


@dataclass(frozen=True)
class Refit:
    """A fitted candidate, before it is judged.

    Attributes
    ----------
    version : str
        The name it will have.
    current : ModelVersion or None
        The version it would replace.
    before : ClusterModel or None
        That version's model, where these rows could be assigned to it.
    references : References or None
        None where there is nothing in the same space to compare with.
    truth : str or None
        The column that the segments are compared with.
    """

    run: Run
    store: Store
    watch: Stopwatch
    now: datetime
    only: tuple[str, ...]
    version: str
    current: ModelVersion | None
    before: ClusterModel | None
    references: References | None
    model: ClusterModel
    match: LabelMatch
    fit: Fit
    truth: str | None = None


@dataclass(frozen=True)
class Verdict:
    """What the comparison and the gate say of a candidate."""

    report: DriftReport
    status_of: Mapping[str, str]
    gate: tuple[Check, ...]

    @property
    def status(self) -> str:
        """Published or held."""
        return "published" if all(check.ok for check in self.gate) else "held"


def finish_refit(refit: Refit, sample: pa.Table, assigned: Assigned, moves: Moves | None) -> RefreshResult:
    """Judge a candidate, save it as a version, and publish it if the gate lets it pass.

    The order makes a crash harmless: first the assignments, then the version, the history's line, and CURRENT last.
    """
    sample, silhouettes = label_sample(sample, refit.model)
    verdict = _judge(refit, assigned, silhouettes["silhouette"])
    version = _make_version(refit, verdict, sample, assigned, silhouettes)
    reference = _reference(refit)
    drift = verdict.report.to_json(
        name=version.name, reference=reference.version if reference else None, current=refit.version
    )
    store = refit.store
    drift["matched_by"] = refit.match.by if refit.before is not None else None
    drift["entities"] = tell_entities(moves, refit.run.config.dataset.key, store.path(refit.version))
    drift["partitions"] = tell_partitions(refit.run.dataset)
    model = refit.model
    drift["profile"] = tell_separation(assigned.summary, model.labels, model.features, model.scaling)
    facts = _make_facts(refit, verdict, version, assigned)

    try:
        with store.finishing(refit.version, refit.now, is_new=True):
            store.save(
                version, lambda folder: write_version_files(folder, store.output, version, drift, reference, facts)
            )
            keep_file(moves, store.path(refit.version))  # no part of the model: it may be removed
            with explain_write_errors(store.assignments(refit.version)):
                move(store.unfinished_assignments(refit.version), store.assignments(refit.version))
            _publish(refit, verdict, assigned)
    except Exception:
        if store.current != refit.version:
            remove_tree(store.assignments(refit.version))
            store.remove(refit.version)
            add_staged(store.output)  # drops its snapshot
        raise
    return _make_result(refit, verdict, drift, assigned, version.quality)


def _judge(refit: Refit, assigned: Assigned, silhouette: float | None) -> Verdict:
    config, model, before = refit.run.config, refit.model, refit.before
    report = measure_drift(config, refit.references, observe_assigned(model, assigned), model)
    ended = dict.fromkeys(refit.match.retired, "retired")
    life = LifeCycle(dict.fromkeys(model.labels, "emerged") | ended, {})
    if before is not None and refit.current is not None:
        counted = choose_rows(assigned.migration, assigned.members, refit.current.summary.rows)
        life = classify_life_cycle(counted, before.labels, model.labels)
        report = tell_life_cycle(report, life, refit.match, assigned.migration, counted, before.labels)
    n_rows = assigned.summary.n_rows or 1
    candidate = Measured(model.labels, assigned.summary.shares, assigned.fit_sse / n_rows, silhouette)
    current = None
    if before is not None and refit.current is not None:
        # Distances in two spaces can't be compared: a new baseline is judged by its segments alone.
        same = refit.references is not None
        inertia_before = assigned.current_sse / n_rows if same else None
        silhouette_before = refit.current.quality.get("silhouette") if same else None
        current = Measured(before.labels, refit.current.summary.shares, inertia_before, silhouette_before)
    gate = check_refit(config, candidate, current, life.overlap, refit.store.frozen_labels())
    if refit.current is not None:  # also those that end
        report = describe_all(report, refit.current)
    words = describe_segments(profile_segments(assigned.summary, model.features, model.scaling))
    report = add_facts(report, {label: {"description": text} for label, text in zip(model.labels, words, strict=True)})
    return Verdict(report, life.status, tuple(gate))


def _make_version(
    refit: Refit, verdict: Verdict, sample: pa.Table, assigned: Assigned, silhouettes: Mapping[str, Any]
) -> ModelVersion:
    config, current, model = refit.run.config, refit.current, refit.model
    born = {line["cluster_label"]: line["born"] for line in current.labels} if current else {}
    told = {segment["cluster_label"]: segment for segment in verdict.report.segments}
    labels = tuple(
        {"cluster_id": i, "cluster_label": label, "event": verdict.status_of[label]}
        | {"born": born.get(label, refit.version)}
        | {key: told[label].get(key) for key in TOLD_OF_LABELS}
        for i, label in enumerate(model.labels)
    )
    retired = (
        {key: line.get(key) for key in ("cluster_label", "born", "description")} | {"version": refit.version}
        for line in (current.labels if current else ())
        if line["cluster_label"] in refit.match.retired
    )
    return ModelVersion(
        name=config.name,
        version=refit.version,
        created=refit.now.isoformat(),
        baseline=refit.references.model.baseline if refit.references else refit.version,
        parent=current.version if current else None,
        model=model,
        summary=assigned.summary,
        bins=assigned.values.bins,
        sample=sample,
        retired=(*(current.retired if current else ()), *retired),
        parameters=config.model.model_dump(mode="json"),
        provenance=describe_run(config, refit.run.dataset, refit.only),
        passes=tuple(done.to_json() for done in refit.fit.passes),
        gate=verdict.gate,
        quality=_measure_quality(refit, assigned, silhouettes),
        labels=labels,
    )


def _measure_quality(refit: Refit, assigned: Assigned, silhouettes: Mapping[str, Any]) -> dict[str, Any]:
    """Give the indices of the segmentation: silhouettes are of the sample, all else of every row."""
    summary = assigned.summary
    quality = {
        "inertia_per_row": summary.inertia_per_row,
        **silhouettes,
        "davies_bouldin": davies_bouldin(summary),
        "calinski_harabasz": calinski_harabasz(summary),
    }
    return quality | ({"truth": assigned.truth.compare(refit.truth)} if refit.truth else {})


def _make_facts(refit: Refit, verdict: Verdict, version: ModelVersion, assigned: Assigned) -> RunFacts:
    return RunFacts(
        kind="refresh",
        name=version.name,
        version=version.version,
        run_id=version.version,
        status="published" if verdict.status == "published" else "held",
        created=version.created,
        parent=version.parent,
        rows=refit.run.dataset.rows,
        rows_skipped=dict(assigned.values.skipped),
        partitions=len(refit.run.dataset.partitions),
        gate=[asdict(check) for check in verdict.gate],
        passes=version.passes,
        seconds=refit.watch.seconds,
        provenance=short_provenance(version.provenance),
        history=tell_history(refit.run.config),
    )


def _publish(refit: Refit, verdict: Verdict, assigned: Assigned) -> None:
    store, config = refit.store, refit.run.config
    facts = {"rows": refit.run.dataset.rows, "inertia_per_row": assigned.summary.inertia_per_row}
    if verdict.status == "held":
        failed = [asdict(check) for check in verdict.gate if not check.ok]
        store.log("held", refit.now, version=refit.version, **facts, failed=failed)
        forget_progress(store.assignments(refit.version))
        remove_old_versions(store.output / "assignments", config.output.keep_versions, store.current or refit.version)
        return
    mark_complete(store.assignments(refit.version))
    previous = refit.current.version if refit.current else None
    store.log(
        "published", refit.now, version=refit.version, previous=previous, **facts, severity=verdict.report.severity
    )
    store.set_current(refit.version)
    forget_progress(store.assignments(refit.version))
    remove_old_versions(store.output / "assignments", config.output.keep_versions, refit.version)


def _make_result(
    refit: Refit, verdict: Verdict, drift: Mapping[str, Any], assigned: Assigned, quality: Mapping[str, Any]
) -> RefreshResult:
    summary, store = assigned.summary, refit.store
    overlap = {segment["cluster_label"]: segment.get("overlap") for segment in drift["segments"]}
    labels = tuple(
        {
            "cluster_id": i,
            "cluster_label": label,
            "rows": int(assigned.counts[i]),
            "share": float(summary.shares[i]),
            "event": verdict.status_of[label],
            "overlap": overlap.get(label),
        }
        for i, label in enumerate(refit.model.labels)
    )
    return RefreshResult(
        name=refit.run.config.name,
        version=refit.version,
        status=verdict.status,
        rows=refit.run.dataset.rows,
        rows_skipped=sum(assigned.values.skipped.values()),
        n_clusters=len(labels),
        inertia_per_row=summary.inertia_per_row,
        severity=drift["severity"],
        reasons=tuple(drift["reasons"]),
        labels=labels,
        retired=tuple({"cluster_label": name, "event": verdict.status_of[name]} for name in refit.match.retired),
        gate=verdict.gate,
        quality=quality,
        entities=drift["entities"],
        too_few_rows=tuple(drift["too_few_rows"]),
        report=str(store.path(refit.version) / "report.html"),
        assignments=str(store.assignments(refit.version)),
        seconds=refit.watch.seconds,
        peak_rss_bytes=peak_rss_bytes(),
    )


def _reference(refit: Refit) -> ModelVersion | None:
    return refit.references.chosen(refit.run.config) if refit.references else None
