"""A fitted candidate: what the assign pass needs of it, and what the comparison and the gate say of it."""

from dataclasses import dataclass, replace
from typing import Literal

from kmstream.assign import Assigned, AssignJob
from kmstream.clustering import ClusterModel
from kmstream.comparison import (
    LabelledSample,
    describe_all,
    find_outlier_distances,
    measure_drift,
    observe_assigned,
    tell_life_cycle,
)
from kmstream.descriptions import contrast_segments, describe_segments
from kmstream.drift import DriftReport, add_facts
from kmstream.entities import Moves
from kmstream.fit import Fit
from kmstream.gate import Check, Measured, check_refit
from kmstream.labels import LabelMatch
from kmstream.life_cycle import LifeCycle, choose_rows, classify_life_cycle
from kmstream.matrices import Matrices
from kmstream.predecessor import Predecessor
from kmstream.run import Run
from kmstream.storage import Place
from kmstream.store import ModelVersion


@dataclass(frozen=True)
class Refit:
    """A fitted candidate.

    Attributes
    ----------
    version : str
        The name it will have.
    before : Predecessor
        What it goes on from.
    model : ClusterModel
    match : LabelMatch
        Where its names come from.
    fit : Fit
    truth : str or None
        The column that the segments are compared with.
    """

    run: Run
    version: str
    before: Predecessor
    model: ClusterModel
    match: LabelMatch
    fit: Fit
    truth: str | None = None

    @property
    def folder(self) -> Place:
        """Where its assignments are until it is saved."""
        return self.run.store.unfinished_assignments(self.version)

    @property
    def reference(self) -> ModelVersion | None:
        """The version that its drift is measured against."""
        references = self.before.references
        return references.chosen(self.run.config) if references is not None else None

    def make_job(self, matrices: Matrices) -> AssignJob:
        """Make the pass that assigns all rows to it, and counts them under the model before."""
        before = self.before
        limits = find_outlier_distances(self.reference, self.model)
        job = AssignJob.of(self.run, matrices, self.model, self.folder, self.version, limits)
        reach = find_outlier_distances(before.version, before.model) if before.model is not None else None
        return replace(job, current=before.model, reach=reach, truth=self.truth)


@dataclass(frozen=True)
class Judged:
    """What became of the rows under a candidate, and whether it may be published.

    Attributes
    ----------
    assigned : Assigned
    moves : Moves or None
        Who is in another segment; None without `dataset.key`.
    sample : LabelledSample
    report : DriftReport
    life : LifeCycle
        What became of the segments of the version before.
    gate : tuple of Check
    """

    assigned: Assigned
    moves: Moves | None
    sample: LabelledSample
    report: DriftReport
    life: LifeCycle
    gate: tuple[Check, ...]

    @property
    def status(self) -> Literal["published", "held"]:
        """What the gate says."""
        return "published" if all(check.ok for check in self.gate) else "held"


def compare_refit(refit: Refit, assigned: Assigned) -> tuple[DriftReport, LifeCycle]:
    """Measure the drift of the rows since the version before, and tell what became of its segments."""
    model, before = refit.model, refit.before
    report = measure_drift(refit.run.config, before.references, observe_assigned(model, assigned), model)
    if before.version is not None and before.model is not None:
        counted = choose_rows(assigned.migration, assigned.members, before.version.summary.rows)
        life = classify_life_cycle(counted, before.labels, model.labels)
        report = tell_life_cycle(report, life, refit.match, assigned.migration, counted, before.labels)
    else:
        life = LifeCycle(dict.fromkeys(model.labels, "emerged") | dict.fromkeys(refit.match.retired, "retired"), {})
    if before.version is not None:
        report = describe_all(report, before.version)  # also those that end
    words = describe_segments(contrast_segments(assigned.summary, model.features, model.scaling))
    told = {label: {"description": text} for label, text in zip(model.labels, words, strict=True)}
    return add_facts(report, told), life


def ask_gate(refit: Refit, assigned: Assigned, life: LifeCycle, silhouette: float | None) -> tuple[Check, ...]:
    """Check whether a candidate may replace the version before; `silhouette` is that of its sample."""
    model, before, n_rows = refit.model, refit.before, assigned.summary.n_rows or 1
    candidate = Measured(model.labels, assigned.summary.shares, assigned.fit_sse / n_rows, silhouette)
    current = None
    if before.version is not None and before.model is not None:
        # Distances in two spaces can't be compared: a new baseline is judged by its segments alone.
        is_same_space = before.references is not None
        inertia_before = assigned.current_sse / n_rows if is_same_space else None
        silhouette_before = before.version.quality.get("silhouette") if is_same_space else None
        current = Measured(before.labels, before.version.summary.shares, inertia_before, silhouette_before)
    return tuple(check_refit(refit.run.config, candidate, current, life.overlap, refit.run.store.frozen_labels()))
