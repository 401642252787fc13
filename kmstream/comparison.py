"""Compare what a pass counted with the version before: the drift, and what became of each segment."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from kmstream.arrays import Counts, FloatArray
from kmstream.assign import Assigned
from kmstream.clustering import ClusterModel, find_nearest
from kmstream.config import Config, DriftConfig
from kmstream.drift import OUTLIER_QUANTILE, DriftReport, Observed, add_facts, add_migration, compare
from kmstream.features import count_categories, encode, encoded_names, to_original_units
from kmstream.labels import LabelMatch, match_by_overlap
from kmstream.life_cycle import KEPT_OVERLAP, LifeCycle
from kmstream.quality import adjusted_rand_index, sample_silhouettes
from kmstream.store import ModelVersion, Store
from kmstream.thresholds import Thresholds, learn_thresholds


@dataclass(frozen=True)
class References:
    """What a run is compared with: the data the current model was fitted on, and those of its baseline."""

    model: ModelVersion
    baseline: ModelVersion

    def chosen(self, config: Config) -> ModelVersion:
        """Give the one that decides about the severity."""
        return self.model if config.drift.reference == "model" else self.baseline


def load_references(store: Store, current: ModelVersion) -> References:
    """Load the current version's baseline beside it."""
    return References(current, current if current.baseline == current.version else store.load(current.baseline))


def find_outlier_distances(reference: ModelVersion | None, model: ClusterModel) -> FloatArray:
    """Give the reference's 99 % distance of each segment by its name; inf where the reference has none.

    Returns
    -------
    ndarray of shape (n_clusters,)
    """
    if reference is None:
        return np.full(len(model.labels), np.inf)
    known = dict(zip(reference.model.labels, reference.summary.distance_quantile(OUTLIER_QUANTILE), strict=True))
    return np.array([known.get(label, np.inf) for label in model.labels])


def observe_version(version: ModelVersion) -> Observed:
    """Look at a version as the reference of a comparison."""
    return _observe(version.model, version.summary, version.bins, None)


def observe_assigned(model: ClusterModel, assigned: Assigned) -> Observed:
    """Look at rows just assigned as the current side of a comparison."""
    found = _observe(model, assigned.summary, assigned.values.bins, assigned.outliers)
    return replace(found, n_rows=int(assigned.counts.sum()))


def measure_drift(config: Config, references: References | None, current: Observed, model: ClusterModel) -> DriftReport:
    """Compare with the reference that the config names, and beside it with the baseline."""
    names = encoded_names(model.features, model.scaling)
    categorical = count_categories(model.features, model.scaling)
    if references is None:
        return compare(None, current, config.drift, names)
    reference = references.chosen(config)
    chosen = choose_thresholds(config.drift, reference, current.summary.n_rows)
    report = compare(observe_version(reference), current, chosen.limits, names, categorical)

    def measure_against(version: ModelVersion) -> dict[str, Any]:
        # Outliers were counted beyond the distances of the reference's segments, not of another version's.
        side = current if version.version == reference.version else replace(current, outliers=None)
        found = compare(observe_version(version), side, chosen.limits, names, categorical)
        return found.totals | {"version": version.version, "severity": found.severity}

    return replace(
        report,
        thresholds_from=chosen.source,
        against_baseline=measure_against(references.baseline),
        against_model=measure_against(references.model),
    )


def choose_thresholds(drift: DriftConfig, reference: ModelVersion, n_rows: float) -> Thresholds:
    """Give what a window of so many rows is judged by."""
    if drift.thresholds == "configured":
        return Thresholds(drift, "configuration")
    if reference.model.features.weight:
        return Thresholds(drift, "configuration (rows have weights, which the sample does not tell)")
    summary = reference.summary
    far, share = summary.distance_quantile(OUTLIER_QUANTILE), n_rows / (summary.n_rows or 1)
    return learn_thresholds(drift, reference.sample, reference.model, far, share=share)


def describe_all(report: DriftReport, version: ModelVersion) -> DriftReport:
    """Add the description of each segment of a version."""
    return add_facts(
        report, {line["cluster_label"]: {"description": line.get("description")} for line in version.labels}
    )


def tell_life_cycle(
    report: DriftReport,
    life: LifeCycle,
    match: LabelMatch,
    migration: Counts,
    counted: Counts,
    labels_from: Sequence[str],
) -> DriftReport:
    """Add what became of each segment of the current version, and what speaks for the name that each has now.

    `migration` is the table of all rows; `counted` that of those which tell what became of the old segments.
    """
    evidence, told = find_evidence(match, counted, labels_from), {}
    for label, status in life.status.items():
        overlap = life.overlap.get(label, float("nan"))
        kept = {"overlap": _or_none(overlap), "flagged": overlap < KEPT_OVERLAP}
        told[label] = {"status": status} | kept | evidence.get(label, {})
    ari = adjusted_rand_index(migration)
    return add_migration(add_facts(report, told), migration, labels_from, match.labels, ari)


def find_evidence(match: LabelMatch, migration: Counts, labels_from: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Give what speaks for the name of each segment, and whether the rows would have chosen another one.

    Returns
    -------
    dict of str to dict
        Per label of the match: matched_distance and matched_margin (None where it continues no segment), and
        label_by_overlap, the known label that the assignment of most shared rows gives it (None: a new name).
    """
    by_overlap = match_by_overlap(migration, labels_from, min_overlap=0.0, rows=migration.sum(axis=0))
    return {
        label: {
            "matched_distance": _or_none(match.distances[i]),
            "matched_margin": _or_none(match.margins[i]),
            "label_by_overlap": by_overlap.labels[i] if by_overlap.matched[i] else None,
        }
        for i, label in enumerate(match.labels)
    }


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


@dataclass(frozen=True)
class LabelledSample:
    """Sampled rows with their segments.

    Attributes
    ----------
    rows : pyarrow.Table
        Feature columns as they are in the files, and cluster_label.
    silhouette : float or None
        Mean of all rows; None where it is not defined.
    silhouette_by_label : dict of str to float or None
        Mean of each segment, in the order of cluster_id.
    """

    rows: pa.Table
    silhouette: float | None
    silhouette_by_label: dict[str, float | None]

    @property
    def quality(self) -> dict[str, Any]:
        """The silhouettes, as a version keeps them."""
        return {"silhouette": self.silhouette, "silhouette_by_cluster": list(self.silhouette_by_label.values())}


def label_sample(sample: pa.Table, model: ClusterModel) -> LabelledSample:
    """Give sampled rows their segments and silhouettes.

    Rows with a missing value that is filled are among them, as they are in the segments.
    """
    features = model.features
    if features.on_missing == "error":
        features = features.model_copy(update={"on_missing": "skip"})
    encoded = encode(sample, features, model.scaling)
    sample, X = sample.filter(pa.array(encoded.rows.keep)), encoded.rows.kept().X
    ids = find_nearest(X, model.centroids).cluster_ids
    labels = pa.array([model.labels[i] for i in ids], pa.string())
    overall, each = sample_silhouettes(X, ids, len(model.labels))
    by_label = {label: _or_none(one) for label, one in zip(model.labels, each, strict=True)}
    return LabelledSample(sample.append_column("cluster_label", labels), overall, by_label)


def _observe(model: ClusterModel, summary: Any, bins: Any, outliers: Any) -> Observed:  # noqa: ANN401
    return Observed(
        model.labels, summary, to_original_units(summary.mean, model.features, model.scaling), bins, outliers
    )
