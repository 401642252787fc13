"""A model version as the files of one folder: numbers in Parquet, the rest in JSON, never pickle."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from kmstream.clustering import ClusterModel
from kmstream.config import FeaturesConfig
from kmstream.errors import ChecksumMismatchError
from kmstream.features import Scaling, encoded_names
from kmstream.gate import Check
from kmstream.summary import ClusterSummary

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class ModelVersion:
    """A fitted model with what later runs compare against.

    Attributes
    ----------
    version : str
        "v000003".
    created : str
        ISO 8601.
    baseline, parent : str or None
        The version whose scaling this one has, and the one whose names it continued.
    model : ClusterModel
    summary : ClusterSummary
        Of the rows it was fitted on.
    bins : ndarray of shape (n_numeric, n_bins + 1)
        Rows per bin of feature drift, of the same rows.
    sample : pyarrow.Table
        Sampled rows: feature columns in original units, and cluster_label.
    retired : tuple of dict
        Labels that were used once and are not given again: cluster_label, born, version (that retired it).
    parameters, provenance : dict
        For people: the [model] section, and where the version comes from.
    passes : tuple of dict
        History of the fit.
    gate : tuple of Check
    quality : mapping
        Indices of the segmentation; silhouettes by cluster_id.
    labels : tuple of dict
        Per segment: cluster_id, cluster_label, event, born (version), rows, share, description, and what speaks for
        its name: matched_distance, matched_margin, overlap, label_by_overlap.
    """

    name: str
    version: str
    created: str
    baseline: str
    parent: str | None
    model: ClusterModel
    summary: ClusterSummary
    bins: np.ndarray
    sample: pa.Table
    retired: tuple[Mapping[str, Any], ...]
    parameters: Mapping[str, Any]
    provenance: Mapping[str, Any]
    passes: tuple[Mapping[str, Any], ...]
    gate: tuple[Check, ...]
    quality: Mapping[str, Any]
    labels: tuple[Mapping[str, Any], ...]


def rename_labels(found: ModelVersion, called: Mapping[str, str]) -> ModelVersion:
    """Give a version whose segments and retired names are called what `called` says; others stay."""
    index = found.sample.schema.get_field_index("cluster_label")
    column = [called.get(label, label) for label in found.sample.column(index).to_pylist()]
    return replace(
        found,
        model=replace(found.model, labels=tuple(called.get(label, label) for label in found.model.labels)),
        retired=rename_lines(found.retired, called),
        labels=rename_lines(found.labels, called),
        gate=tuple(replace(check, label=called.get(check.label, check.label)) for check in found.gate),
        sample=found.sample.set_column(index, "cluster_label", pa.array(column, pa.string())),
    )


def rename_lines(lines: Iterable[Mapping[str, Any]], called: Mapping[str, str]) -> tuple[dict[str, Any], ...]:
    """Give lines of a registry with the names that `called` says."""

    def renamed(label: str | None) -> str | None:
        return None if label is None else called.get(label, label)

    keys = ("cluster_label", "label_by_overlap")
    return tuple({**line, **{key: renamed(line[key]) for key in keys if key in line}} for line in lines)


def write_version(folder: Path, version: ModelVersion) -> None:
    """Write the numbers and the JSON of a version into an empty folder."""
    model = version.model
    names = encoded_names(model.features, model.scaling)
    columns = {
        "cluster_id": pa.array(range(len(model.labels)), pa.int32()),
        "cluster_label": pa.array(model.labels, pa.string()),
    }
    centroids = {f"feature:{name}": pa.array(model.centroids[:, j]) for j, name in enumerate(names)}
    pq.write_table(pa.table(columns | centroids), folder / "centroids.parquet")
    summary = version.summary
    counted = {
        "rows": pa.array(summary.rows),
        "sse": pa.array(summary.sse),
        "mean": pa.array(list(summary.mean)),
        "m2": pa.array(list(summary.m2)),
        "distance_counts": pa.array(list(summary.distance_counts)),
    }
    pq.write_table(pa.table(columns | counted), folder / "summary.parquet")
    pq.write_table(version.sample, folder / "sample.parquet", compression="zstd")
    content = {
        "schema_version": SCHEMA_VERSION,
        "name": version.name,
        "version": version.version,
        "created": version.created,
        "baseline": version.baseline,
        "parent": version.parent,
        "n_clusters": len(model.labels),
        "inertia_per_row": summary.inertia_per_row,
        "features": model.features.model_dump(mode="json"),
        "encoded_features": names,
        "scaling": {
            "center": model.scaling.center.tolist(),
            "scale": model.scaling.scale.tolist(),
            "fill": model.scaling.fill.tolist(),
            "edges": model.scaling.edges.tolist(),
            "categories": model.scaling.categories,
        },
        "bins": version.bins.tolist(),
        "parameters": version.parameters,
        "passes": version.passes,
        "gate": [asdict(check) for check in version.gate],
        "quality": version.quality,
    }
    (folder / "model.json").write_text(to_json_text(content), encoding="utf-8")
    registry = {"labels": version.labels, "retired": version.retired}
    (folder / "labels.json").write_text(to_json_text(registry), encoding="utf-8")
    (folder / "provenance.json").write_text(to_json_text(version.provenance), encoding="utf-8")


def read_version(folder: Path) -> ModelVersion:
    """Read what `write_version` wrote."""
    content, registry, provenance = (
        json.loads((folder / name).read_text(encoding="utf-8"))
        for name in ("model.json", "labels.json", "provenance.json")
    )
    centroids = pq.read_table(folder / "centroids.parquet")
    counted = pq.read_table(folder / "summary.parquet")
    scaling = content["scaling"]
    n_clusters, n_numeric = content["n_clusters"], len(scaling["center"])
    model = ClusterModel(
        features=FeaturesConfig.model_validate(content["features"]),
        scaling=Scaling(
            center=np.array(scaling["center"], dtype=np.float64),
            scale=np.array(scaling["scale"], dtype=np.float64),
            fill=np.array(scaling["fill"], dtype=np.float64),
            edges=_stack(scaling["edges"], n_numeric).astype(np.float64),
            categories=tuple(map(tuple, scaling["categories"])),
        ),
        centroids=np.column_stack([column.to_numpy() for column in centroids.columns[2:]]),
        labels=tuple(centroids.column("cluster_label").to_pylist()),
    )
    rows = counted.column("rows").to_numpy()  # whole numbers, or sums of weights
    summary = ClusterSummary(
        rows=rows,
        mean=np.stack(counted.column("mean").to_pylist()).astype(np.float64).reshape(n_clusters, -1),
        m2=np.stack(counted.column("m2").to_pylist()).astype(np.float64).reshape(n_clusters, -1),
        sse=counted.column("sse").to_numpy(),
        distance_counts=np.stack(counted.column("distance_counts").to_pylist()).astype(rows.dtype),
    )
    return ModelVersion(
        name=content["name"],
        version=content["version"],
        created=content["created"],
        baseline=content["baseline"],
        parent=content["parent"],
        model=model,
        summary=summary,
        bins=_stack(content["bins"], n_numeric).astype(rows.dtype),
        sample=pq.read_table(folder / "sample.parquet"),
        retired=tuple(registry["retired"]),
        parameters=content["parameters"],
        provenance=provenance,
        passes=tuple(content["passes"]),
        gate=tuple(Check(**check) for check in content["gate"]),
        quality=content["quality"],
        labels=tuple(registry["labels"]),
    )


def check_version(folder: Path, place: object = None) -> None:
    """Refuse a folder with a file that is not the one that was published.

    Parameters
    ----------
    folder : pathlib.Path
    place : optional
        Where people find it, if not there.

    Raises
    ------
    ChecksumMismatchError
    """
    place = place or folder
    try:
        checksums = json.loads((folder / "checksums.json").read_text(encoding="utf-8")).items()
    except (OSError, ValueError) as cause:
        error = ChecksumMismatchError(f"checksums.json of {folder.name} can't be read: {cause}")
        error.add_note(f"in {place}; restore the file from a backup, or roll back to a version that is whole.")
        raise error from cause
    for name, expected in checksums:
        path = folder / name
        observed = sha256_of(path) if path.is_file() else "no such file"
        if observed != expected:
            error = ChecksumMismatchError(
                f"{name} of {folder.name} has sha256 {observed[:12]}; expected {expected[:12]}"
            )
            error.add_note(f"in {place}")
            error.add_note("Restore the file from a backup, or `kmstream models rollback` to a version that is whole.")
            raise error


def _stack(rows: list[list[float]], n: int) -> np.ndarray:
    return np.array(rows).reshape(n, -1) if n else np.empty((0, 0))


def sha256_of(path: Path) -> str:
    """Digest a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def to_json_text(content: object) -> str:
    """Write JSON as every file of a version has it."""
    return json.dumps(content, indent=1) + "\n"
