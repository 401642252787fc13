"""What a run shows for itself: drift.json, its page, the model card, and what its result has in common with others."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from kmstream.assign import Assigned
from kmstream.assignments import find_rewritten
from kmstream.comparison import LabelledSample
from kmstream.config import Config
from kmstream.dataset import Dataset
from kmstream.drift import DriftReport
from kmstream.drift_history import read_drift_history
from kmstream.entities import Moves
from kmstream.provenance import peak_rss_bytes
from kmstream.report import ModelFacts, RunFacts, write_model_card, write_report
from kmstream.run import Run
from kmstream.sample_views import tell_views
from kmstream.separation import analyse_variance
from kmstream.storage import Place
from kmstream.store import ModelVersion
from kmstream.who_moved import tell_entities

HISTORY_RUNS = 50  # that the page draws


def tell_drift(
    run: Run, report: DriftReport, reference: ModelVersion | None, current: str, moves: Moves | None, folder: Place
) -> dict[str, Any]:
    """Give what drift.json holds of every run.

    Parameters
    ----------
    run : Run
    report : DriftReport
    reference : ModelVersion or None
        What the run was compared with.
    current : str
        The version that a refresh makes, or the run_id of a score.
    moves : Moves or None
    folder : Place
        Where the report will lie.
    """
    drift = report.to_json(name=run.config.name, reference=reference.version if reference else None, current=current)
    entities = tell_entities(moves, run.config.dataset.key, folder)
    return drift | {"entities": entities, "partitions": tell_partitions(run.dataset)}


def tell_result(run: Run, assigned: Assigned, drift: Mapping[str, Any], version: str) -> dict[str, Any]:
    """Give what the results of a refresh and a score have in common; `version` is the one that assigned the rows."""
    return {
        "name": run.config.name,
        "version": version,
        "rows": run.dataset.rows,
        "rows_skipped": sum(assigned.values.skipped.values()),
        "severity": drift["severity"],
        "reasons": tuple(drift["reasons"]),
        "rewritten": find_rewritten(run.config, assigned.entries),
        "empty": run.dataset.empty,
        "entities": drift["entities"],
        "too_few_rows": tuple(drift["too_few_rows"]),
        "assignments": str(run.store.assignments(version)),
        "seconds": run.clock.seconds,
        "peak_rss_bytes": peak_rss_bytes(),
    }


def tell_facts(run: Run, assigned: Assigned, provenance: Mapping[str, Any]) -> dict[str, Any]:
    """Give what the pages of a refresh and a score have in common: arguments of `RunFacts`."""
    return {
        "name": run.config.name,
        "created": run.clock.now.isoformat(),
        "rows": run.dataset.rows,
        "rows_skipped": dict(assigned.values.skipped),
        "partitions": len(run.dataset.partitions),
        "seconds": run.clock.seconds,
        "provenance": short_provenance(provenance),
        "history": tell_history(run.config),
    }


def tell_partitions(dataset: Dataset) -> dict[str, Any]:
    """Say which partitions a run was about: how many, the first and the last in their order."""
    paths = [partition.path for partition in dataset.partitions]
    return {"n": len(paths), "first": paths[0], "last": paths[-1]} if paths else {"n": 0, "first": None, "last": None}


def tell_history(config: Config) -> list[dict[str, Any]]:
    """Give the shares in the last runs, oldest first, by the names of today; a version that is held is none of them."""
    runs = read_drift_history(config, last=HISTORY_RUNS).runs
    shown = [run for run in runs if run["time"] and run["status"] != "held"]
    return [{key: run[key] for key in ("time", "kind", "shares")} for run in shown]


def _look_at_sample(
    sample: LabelledSample, drift: Mapping[str, Any], shown_in: ModelVersion, reference: ModelVersion | None
) -> dict[str, Any]:
    """Tell what sampled rows show, in the scaling of a version: `sample` of the page's facts."""
    then = {}
    if reference is not None:
        there = zip(reference.model.labels, reference.summary.rows, reference.summary.mean, strict=True)
        then = {label: mean for label, rows, mean in there if rows}
    eta_squared = analyse_variance(shown_in.summary).eta_squared
    views = tell_views(sample.rows, drift["segments"], shown_in.model, eta_squared=eta_squared, then=then)
    return views | {"silhouette": {"overall": sample.silhouette, "segments": sample.silhouette_by_label}}


def write_report_files(
    folder: Path,
    output: Place,
    drift: Mapping[str, Any],
    sample: LabelledSample,
    facts: RunFacts,
    *,
    shown_in: ModelVersion,
    reference: ModelVersion | None,
) -> None:
    """Write drift.json and the page of a run into a folder, and stage its snapshot in the output.

    Parameters
    ----------
    folder : pathlib.Path
    output : Place
    drift : mapping
    sample : LabelledSample
        Of the rows of the run.
    facts : RunFacts
    shown_in : ModelVersion
        Its scaling, and what separates its segments, choose how the sample is shown.
    reference : ModelVersion or None
        What the run was compared with.
    """
    (folder / "drift.json").write_text(json.dumps(drift, indent=1) + "\n", encoding="utf-8")
    write_report(
        folder / "report.html",
        drift,
        reference_sample=reference.sample if reference else None,
        current_sample=sample.rows,
        run=replace(facts, sample=_look_at_sample(sample, drift, shown_in, reference)),
        output=output,
    )


def write_card(folder: Path, version: ModelVersion, drift: Mapping[str, Any], facts: RunFacts) -> None:
    """Write the model card of a version."""
    features = version.model.features
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
        gate=facts.gate,
        provenance=facts.provenance,
    )
    write_model_card(folder / "MODEL_CARD.md", card, drift)


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
