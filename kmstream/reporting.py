"""From what a pass counted to drift.json, the page and the card."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from kmstream.assign import Assigned
from kmstream.clustering import ClusterModel, find_nearest
from kmstream.config import Config, DriftConfig
from kmstream.dataset import Dataset
from kmstream.drift import OUTLIER_QUANTILE, DriftReport, Observed, add_facts, add_migration, compare
from kmstream.drift_history import read_drift_history
from kmstream.features import count_categories, encode, encoded_names, to_original_units
from kmstream.labels import LabelMatch, match_by_overlap
from kmstream.life_cycle import KEPT_OVERLAP, LifeCycle
from kmstream.quality import adjusted_rand_index, sample_silhouettes
from kmstream.report import ModelFacts, RunFacts, write_model_card, write_report
from kmstream.sample_views import tell_views
from kmstream.separation import analyse_variance
from kmstream.storage import Place
from kmstream.store import ModelVersion, Store
from kmstream.summary import Counts
from kmstream.thresholds import Thresholds, learn_thresholds

HISTORY_RUNS = 50  # that the page draws


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


def tell_partitions(dataset: Dataset) -> dict[str, Any]:
    """Say which partitions a run was about: how many, the first and the last in their order."""
    paths = [partition.path for partition in dataset.partitions]
    return {"n": len(paths), "first": paths[0], "last": paths[-1]} if paths else {"n": 0, "first": None, "last": None}


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


def label_sample(sample: pa.Table, model: ClusterModel) -> tuple[pa.Table, dict[str, Any]]:
    """Give sampled rows their cluster_label, and their silhouettes: the mean of all, and by cluster_id.

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
    by_cluster = [_or_none(value) for value in each]
    return sample.append_column("cluster_label", labels), {"silhouette": overall, "silhouette_by_cluster": by_cluster}


def tell_silhouettes(silhouettes: Mapping[str, Any], labels: Sequence[str]) -> dict[str, Any]:
    """Give the silhouettes of `label_sample`, or of a version, as a page has them: by name."""
    each = zip(labels, silhouettes.get("silhouette_by_cluster") or (), strict=False)
    return {"silhouette": {"overall": silhouettes.get("silhouette"), "segments": dict(each)}}


def tell_history(config: Config) -> list[dict[str, Any]]:
    """Give the shares in the last runs, oldest first, by the names of today; a version that is held is none of them."""
    runs = read_drift_history(config, last=HISTORY_RUNS).runs
    shown = [run for run in runs if run["time"] and run["status"] != "held"]
    return [{key: run[key] for key in ("time", "kind", "shares")} for run in shown]


def look_at_sample(
    sample: pa.Table, drift: Mapping[str, Any], version: ModelVersion, reference: ModelVersion | None
) -> dict[str, Any]:
    """Tell what sampled rows show, in the scaling of a version."""
    then = {}
    if reference is not None:
        there = zip(reference.model.labels, reference.summary.rows, reference.summary.mean, strict=True)
        then = {label: mean for label, rows, mean in there if rows}
    eta_squared = analyse_variance(version.summary).eta_squared
    return tell_views(sample, drift["segments"], version.model, eta_squared=eta_squared, then=then)


def write_version_files(
    folder: Path,
    output: Place,
    version: ModelVersion,
    drift: Mapping[str, Any],
    reference: ModelVersion | None,
    facts: RunFacts,
) -> None:
    """Write drift.json, the report and the model card of a version, and stage its snapshot in the output folder."""
    features = version.model.features
    seen = look_at_sample(version.sample, drift, version, reference)
    facts = replace(facts, sample=seen | tell_silhouettes(version.quality, version.model.labels))
    (folder / "drift.json").write_text(json.dumps(drift, indent=1) + "\n", encoding="utf-8")
    write_report(
        folder / "report.html",
        drift,
        reference_sample=reference.sample if reference else None,
        current_sample=version.sample,
        run=facts,
        output=output,
    )
    card = ModelFacts(
        name=version.name,
        version=version.version,
        created=version.created,
        status=facts.status,
        numeric=features.numeric,
        categorical=features.categorical,
        log1p=features.log1p,
        scaling=features.scaling,
        on_missing=features.on_missing,
        clip=features.clip,
        parameters=version.parameters,
        dataset=version.provenance["dataset"],
        partitions=facts.partitions,
        rows=facts.rows,
        rows_skipped=facts.rows_skipped,
        inertia_per_row=version.summary.inertia_per_row,
        quality=version.quality,
        gate=[asdict(check) for check in version.gate],
        provenance=facts.provenance,
    )
    write_model_card(folder / "MODEL_CARD.md", card, drift)


def write_score_report(
    folder: Path, output: Place, drift: Mapping[str, Any], reference: ModelVersion, sample: pa.Table, facts: RunFacts
) -> None:
    """Write what a score run shows into a folder, and stage its snapshot in the output."""
    (folder / "drift.json").write_text(json.dumps(drift, indent=1) + "\n", encoding="utf-8")
    facts = replace(facts, sample=look_at_sample(sample, drift, reference, reference) | dict(facts.sample))
    page = folder / "report.html"
    write_report(page, drift, reference_sample=reference.sample, current_sample=sample, run=facts, output=output)


def short_provenance(provenance: Mapping[str, Any]) -> dict[str, str | int | float]:
    """Give what a page has room for."""
    libraries = {f"{name} version": version for name, version in provenance["libraries"].items()}
    only = {"only": " ".join(provenance["only"])} if provenance["only"] else {}
    return {
        "dataset": provenance["dataset"],
        **only,
        "config sha256": provenance["config_sha256"],
        "python version": provenance["python"],
        **libraries,
    }


def _observe(model: ClusterModel, summary: Any, bins: Any, outliers: Any) -> Observed:  # noqa: ANN401
    return Observed(
        model.labels, summary, to_original_units(summary.mean, model.features, model.scaling), bins, outliers
    )
