"""Model versions on disk: save, load and check, publish, history, lock.

A version is a folder of numbers (Parquet) and JSON, never pickle, with the sha256 of each file; it is written beside
its place and renamed, and no file in it changes afterwards. `CURRENT` names the published version and is replaced last.
What happened to a version later (published, held, promoted, a segment renamed) is in `history.jsonl`, append-only.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from kmstream.assignments import explain_write_errors, is_version, replace_file
from kmstream.clustering import ClusterModel
from kmstream.config import FeaturesConfig
from kmstream.errors import ChecksumMismatchError, ConfigError, LockHeldError, ModelNotFoundError
from kmstream.features import Scaling, encoded_names
from kmstream.guard import Check
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
    published_labels : tuple of str
        The names the version was made with; its assignments keep them when a person renames a segment.
    labels : tuple of dict
        Per segment: cluster_id, cluster_label, event, born (version), matched_distance.
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
    labels: tuple[Mapping[str, Any], ...]
    published_labels: tuple[str, ...]


class Store:
    """The `models/` folder of one segmentation."""

    def __init__(self, output: str | Path) -> None:
        self.output = Path(output)
        self.models = self.output / "models"

    def assignments(self, version: str) -> Path:
        """Give the folder of a version's assignments."""
        return self.output / "assignments" / version

    def path(self, version: str) -> Path:
        """Give the folder of a version."""
        return self.models / version

    @property
    def current(self) -> str | None:
        """The published version, or None before the first."""
        try:
            return (self.models / "CURRENT").read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            return None

    def refuse_lost_current(self) -> None:
        """Refuse to start anew where a version was published and only CURRENT is gone.

        Raises
        ------
        ModelNotFoundError
        """
        was = [line["version"] for line in self.history() if line["event"] in {"published", "promoted", "rolled-back"}]
        known = [version for version in was if version in self.versions()]
        if self.current is None and known:
            error = ModelNotFoundError(f"models/CURRENT is missing, though {known[-1]} was the current version")
            error.add_note(f"in {self.models}")
            error.add_note(f"Run `kmstream models promote {known[-1]}`, and nothing is lost.")
            raise error

    def versions(self) -> list[str]:
        """List every version, held ones too, oldest first."""
        if not self.models.is_dir():
            return []
        return sorted(path.name for path in self.models.iterdir() if path.is_dir() and is_version(path.name))

    def next_version(self) -> str:
        """Name the version after the newest."""
        told = (str(line.get("version", "")) for line in self.history())  # also of one that could not be published
        numbers = [int(name[1:]) for name in (*self.versions(), *told) if is_version(name)]
        return f"v{max(numbers, default=0) + 1:06d}"

    @contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Hold the lock of this segmentation; the system frees it when the process ends, however it ends.

        Raises
        ------
        LockHeldError
        """
        with explain_write_errors(self.models):
            self.models.mkdir(parents=True, exist_ok=True)
        held = filelock.FileLock(self.models / ".lock", blocking=False)
        try:
            with explain_write_errors(self.models / ".lock"):
                held.acquire()
        except filelock.Timeout:
            error = LockHeldError(f"another run of {name!r} holds the lock")
            error.add_note(f"on {self.models / '.lock'}")
            error.add_note("Wait until it ends; the lock frees itself when its process does.")
            raise error from None
        try:
            yield
        finally:
            held.release()

    def save(self, version: ModelVersion, write_more: Callable[[Path], None]) -> None:
        """Write a version's folder, with its checksums, in one rename.

        Parameters
        ----------
        version : ModelVersion
        write_more : callable
            Given the folder; adds drift.json, report.html and MODEL_CARD.md.
        """
        folder, temporary = self.path(version.version), self.models / f".{version.version}.tmp"
        with explain_write_errors(folder):
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir(parents=True)
            try:
                _write_version(temporary, version)
                write_more(temporary)
                checksums = {path.name: _sha256(path) for path in sorted(temporary.iterdir())}
                (temporary / "checksums.json").write_text(_json(checksums), encoding="utf-8")
                for path in temporary.iterdir():
                    _fsync(path)
                temporary.replace(folder)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)

    def remove(self, version: str) -> None:
        """Remove a version that could not be published."""
        shutil.rmtree(self.path(version), ignore_errors=True)

    def load_current(self, name: str) -> ModelVersion:
        """Load the current version of the segmentation of this name.

        Raises
        ------
        ConfigError
            If the folder holds a segmentation of another name.
        KmstreamError
            What `load` raises.
        """
        found = self.load()
        if found.name != name:
            error = ConfigError(f"name is {name!r}; {self.output} holds the segmentation {found.name!r}")
            error.add_note("Two segmentations can't share a folder: set output.path to another one.")
            raise error
        return found

    def load(self, version: str | None = None) -> ModelVersion:
        """Load a version, the current one by default, checking every file against its checksum.

        Raises
        ------
        ModelNotFoundError
            If there is no such version, or none has been published.
        ChecksumMismatchError
            If a file is not the one that was published.
        """
        chosen = self.current if version is None else version
        if chosen is None:
            self.refuse_lost_current()
            error = ModelNotFoundError(f"no model has been published in {self.output}")
            error.add_note("Run `kmstream refresh` first; a first version that was held can be promoted.")
            raise error
        folder = self.path(chosen)
        if chosen not in self.versions():
            error = ModelNotFoundError(
                f"there is no version {chosen!r}; there are: {', '.join(self.versions()) or 'none'}"
            )
            error.add_note(f"in {self.models}")
            raise error
        _check(folder)
        return self._apply_renames(_read_version(folder))

    def _apply_renames(self, found: ModelVersion) -> ModelVersion:
        """Call segments what people call them now; no file of the version changes."""
        made = datetime.fromisoformat(found.created)
        for line in self.history():
            if line["event"] == "renamed" and datetime.fromisoformat(line["time"]) > made:
                found = rename_label(found, line["old"], line["new"])
        return found

    def read_json(self, version: str, name: str) -> dict[str, Any]:
        """Read one JSON file of a version."""
        return dict(json.loads((self.path(version) / name).read_text(encoding="utf-8")))

    def set_current(self, version: str) -> None:
        """Publish: from here on every reader sees this version."""
        replace_file(self.models / "CURRENT", f"{version}\n")

    def log(self, event: str, time: datetime, **facts: object) -> None:
        """Append a line to the history; one write, so that lines of several writers never mix."""
        line = json.dumps({"time": time.isoformat(), "event": event, **facts}) + "\n"
        path = self.models / "history.jsonl"
        with explain_write_errors(path), path.open("a+b", buffering=0) as file:
            if file.tell() and os.pread(file.fileno(), 1, file.tell() - 1) != b"\n":
                line = "\n" + line  # a crash cut the last line off; it stays alone
            file.write(line.encode())
            os.fsync(file.fileno())

    def history(self) -> list[dict[str, Any]]:
        """Read the history, oldest first; a line cut off by a crash is left out."""
        try:
            lines = (self.models / "history.jsonl").read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return []
        return [content for line in lines if (content := _parse_line(line)) is not None]

    def used_labels(self) -> set[str]:
        """Give every name any version ever had, also those rolled back, held or renamed since."""
        used: set[str] = set()
        if self.current is None:  # what was only ever held has no readers
            return used
        for version in self.versions():
            registry = self.read_json(version, "labels.json")
            used |= {line["cluster_label"] for line in (*registry["labels"], *registry["retired"])}
        for line in self.history():
            used |= {line["old"], line["new"]} if line["event"] == "renamed" else set()
        return used

    def status(self, version: str) -> str:
        """Tell what became of a version: published, held, promoted or rolled-back."""
        events = [
            line["event"]
            for line in self.history()
            if line.get("version") == version and line["event"] in {"published", "held", "promoted", "rolled-back"}
        ]
        return events[-1] if events else "unknown"


def rename_label(found: ModelVersion, old: str, new: str) -> ModelVersion:
    """Give a version whose segment (or retired name) `old` is called `new`."""

    def renamed(label: str) -> str:
        return new if label == old else label

    index = found.sample.schema.get_field_index("cluster_label")
    column = pa.array([renamed(label) for label in found.sample.column(index).to_pylist()], pa.string())
    return replace(
        found,
        model=replace(found.model, labels=tuple(map(renamed, found.model.labels))),
        retired=tuple({**line, "cluster_label": renamed(line["cluster_label"])} for line in found.retired),
        labels=tuple({**line, "cluster_label": renamed(line["cluster_label"])} for line in found.labels),
        sample=found.sample.set_column(index, "cluster_label", column),
    )


def _write_version(folder: Path, version: ModelVersion) -> None:
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
    }
    (folder / "model.json").write_text(_json(content), encoding="utf-8")
    registry = {"labels": version.labels, "retired": version.retired}
    (folder / "labels.json").write_text(_json(registry), encoding="utf-8")
    (folder / "provenance.json").write_text(_json(version.provenance), encoding="utf-8")


def _read_version(folder: Path) -> ModelVersion:
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
    summary = ClusterSummary(
        rows=counted.column("rows").to_numpy(),
        mean=np.stack(counted.column("mean").to_pylist()).astype(np.float64).reshape(n_clusters, -1),
        m2=np.stack(counted.column("m2").to_pylist()).astype(np.float64).reshape(n_clusters, -1),
        sse=counted.column("sse").to_numpy(),
        distance_counts=np.stack(counted.column("distance_counts").to_pylist()).astype(np.int64),
    )
    return ModelVersion(
        name=content["name"],
        version=content["version"],
        created=content["created"],
        baseline=content["baseline"],
        parent=content["parent"],
        model=model,
        summary=summary,
        bins=_stack(content["bins"], n_numeric).astype(np.int64),
        sample=pq.read_table(folder / "sample.parquet"),
        retired=tuple(registry["retired"]),
        parameters=content["parameters"],
        provenance=provenance,
        passes=tuple(content["passes"]),
        gate=tuple(Check(**check) for check in content["gate"]),
        labels=tuple(registry["labels"]),
        published_labels=model.labels,
    )


def _check(folder: Path) -> None:
    try:
        checksums = json.loads((folder / "checksums.json").read_text(encoding="utf-8")).items()
    except (OSError, ValueError) as cause:
        error = ChecksumMismatchError(f"checksums.json of {folder.name} can't be read: {cause}")
        error.add_note(f"in {folder}; restore the file from a backup, or roll back to a version that is whole.")
        raise error from cause
    for name, expected in checksums:
        path = folder / name
        observed = _sha256(path) if path.is_file() else "no such file"
        if observed != expected:
            error = ChecksumMismatchError(
                f"{name} of {folder.name} has sha256 {observed[:12]}; expected {expected[:12]}"
            )
            error.add_note(f"in {folder}")
            error.add_note("Restore the file from a backup, or `kmstream models rollback` to a version that is whole.")
            raise error


def _stack(rows: list[list[float]], n: int) -> np.ndarray:
    return np.array(rows).reshape(n, -1) if n else np.empty((0, 0))


def _parse_line(line: str) -> dict[str, Any] | None:
    try:
        return dict(json.loads(line))
    except ValueError:
        return None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fsync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _json(content: object) -> str:
    return json.dumps(content, indent=1) + "\n"
