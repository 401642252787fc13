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
from kmstream.storage import Place, checkout, read_text
from kmstream.summary import ClusterSummary

SCHEMA_VERSION = 1
CHECKSUMS = (
    "checksums.json"  # written last: on an object store, where files come one by one, a version is there with it
)
_ABOUT = ("name", "version", "created", "baseline", "parent")  # fields that model.json holds as they are
_SUMMARY = ("rows", "sse", "mean", "m2", "distance_counts")  # columns of summary.parquet
_SCALING = ("center", "scale", "fill", "edges")


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
    model, summary = version.model, version.summary
    names = encoded_names(model.features, model.scaling)
    clusters = {
        "cluster_id": pa.array(range(len(model.labels)), pa.int32()),
        "cluster_label": pa.array(model.labels, pa.string()),
    }
    centroids = {f"feature:{name}": pa.array(model.centroids[:, j]) for j, name in enumerate(names)}
    pq.write_table(pa.table(clusters | centroids), folder / "centroids.parquet")
    counted = {name: pa.array(list(getattr(summary, name))) for name in _SUMMARY}
    pq.write_table(pa.table(clusters | counted), folder / "summary.parquet")
    pq.write_table(version.sample, folder / "sample.parquet", compression="zstd")
    content = {
        "schema_version": SCHEMA_VERSION,
        **{name: getattr(version, name) for name in _ABOUT},
        "n_clusters": len(model.labels),
        "inertia_per_row": summary.inertia_per_row,
        "features": model.features.model_dump(mode="json"),
        "encoded_features": names,
        "scaling": {
            **{name: getattr(model.scaling, name).tolist() for name in _SCALING},
            "categories": model.scaling.categories,
        },
        "bins": version.bins.tolist(),
        "parameters": version.parameters,
        "passes": version.passes,
        "gate": [asdict(check) for check in version.gate],
        "quality": version.quality,
    }
    _write_json(folder / "model.json", content)
    _write_json(folder / "labels.json", {"labels": version.labels, "retired": version.retired})
    _write_json(folder / "provenance.json", version.provenance)


def write_checksums(folder: Path) -> None:
    """Write the sha256 of each file of a version; nothing is added to it afterwards."""
    _write_json(folder / CHECKSUMS, {path.name: _sha256_of(path) for path in sorted(folder.iterdir())})


def load_version(place: Place) -> ModelVersion:
    """Read a version, once every file is known to be the one that was published.

    Raises
    ------
    ChecksumMismatchError
    """
    with checkout(place, _list_checked(place)) as folder:  # not what runs have put beside them
        _check_files(folder, place)
        return _read_version(folder)


def _read_version(folder: Path) -> ModelVersion:
    content, registry, provenance = (
        json.loads((folder / name).read_text(encoding="utf-8"))
        for name in ("model.json", "labels.json", "provenance.json")
    )
    centroids = pq.read_table(folder / "centroids.parquet")
    counted = pq.read_table(folder / "summary.parquet")
    summary = ClusterSummary(**{name: np.array(counted.column(name).to_pylist()) for name in _SUMMARY})
    scaling = content["scaling"]
    n_numeric = len(scaling["center"])
    numbers = {name: np.array(scaling[name], dtype=np.float64) for name in _SCALING}
    numbers["edges"] = numbers["edges"].reshape(n_numeric, -1 if n_numeric else 0)
    model = ClusterModel(
        features=FeaturesConfig.model_validate(content["features"]),
        scaling=Scaling(**numbers, categories=tuple(map(tuple, scaling["categories"]))),
        centroids=np.column_stack([column.to_numpy() for column in centroids.columns[2:]]),
        labels=tuple(centroids.column("cluster_label").to_pylist()),
    )
    return ModelVersion(
        **{name: content[name] for name in _ABOUT},
        model=model,
        summary=summary,
        bins=np.array(content["bins"], dtype=summary.rows.dtype).reshape(n_numeric, -1 if n_numeric else 0),
        sample=pq.read_table(folder / "sample.parquet"),
        retired=tuple(registry["retired"]),
        provenance=provenance,
        passes=tuple(content["passes"]),
        parameters=content["parameters"],
        quality=content["quality"],
        gate=tuple(Check(**check) for check in content["gate"]),
        labels=tuple(registry["labels"]),
    )


def _list_checked(place: Place) -> set[str]:
    try:
        return {CHECKSUMS, *json.loads(read_text(place / CHECKSUMS))}
    except (FileNotFoundError, ValueError):  # `_check_files` says so
        return {CHECKSUMS}


def _check_files(folder: Path, place: Place) -> None:
    """Refuse a folder with a file that is not the one that was published; `place` is where people find it."""
    try:
        checksums = json.loads((folder / CHECKSUMS).read_text(encoding="utf-8")).items()
    except (OSError, ValueError) as cause:
        error = ChecksumMismatchError(f"{CHECKSUMS} of {folder.name} can't be read: {cause}")
        error.add_note(f"in {place}; restore the file from a backup, or roll back to a version that is whole.")
        raise error from cause
    for name, expected in checksums:
        path = folder / name
        observed = _sha256_of(path) if path.is_file() else "no such file"
        if observed != expected:
            error = ChecksumMismatchError(
                f"{name} of {folder.name} has sha256 {observed[:12]}; expected {expected[:12]}"
            )
            error.add_note(f"in {place}")
            error.add_note("Restore the file from a backup, or `kmstream models rollback` to a version that is whole.")
            raise error


def _sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
