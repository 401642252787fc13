"""Small things that many tests need: configurations, scalings, blobs, and the summary of given rows."""

import hashlib
import itertools
import json
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import HealthCheck, settings

from kmstream.assign import Assigned, AssignJob, assign_dataset
from kmstream.clustering import ClusterModel, assign_rows
from kmstream.config import Config, FeaturesConfig
from kmstream.drift import Observed
from kmstream.engine import single_threaded
from kmstream.features import Rows, Scaling, encoded_names
from kmstream.fit import Fit, fit_centroids
from kmstream.matrices import Matrices, open_matrices
from kmstream.run import Run
from kmstream.sample_views import tell_views
from kmstream.scan import Scan, scan_dataset
from kmstream.scan import make_scaling as freeze_scaling
from kmstream.store import ModelVersion, Store
from kmstream.summary import ClusterSummary, DeviationSums

# A busy machine must not fail a law; fifty examples show one.
settings.register_profile("steady", max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("steady")

# The least that a kmstream.toml has to say.
LEAST_CONFIG = {"name": "shop", "dataset": {"path": "/data/shop"}, "features": {"numeric": ["x"]}}

# Four centroids, far apart.
CORNERS = np.array([[0.0, 0.0, 0.0], [10.0, 0.0, 0.0], [0.0, 10.0, 0.0], [0.0, 0.0, 10.0]])


def make_config(**sections: Any) -> Config:
    return Config.model_validate(LEAST_CONFIG | sections)


def make_features(numeric: tuple[str, ...] = ("x",), **keys: Any) -> FeaturesConfig:
    return FeaturesConfig(numeric=numeric, **keys)


def make_scaling(
    n_numeric: int = 1, *, center: float = 0.0, scale: float = 1.0, categories: tuple[tuple[str, ...], ...] = ()
) -> Scaling:
    """Every feature scaled alike; missing values become 7; bins have edges 1, 2, 3."""
    return Scaling(
        center=np.full(n_numeric, center),
        scale=np.full(n_numeric, scale),
        fill=np.full(n_numeric, 7.0),
        edges=np.tile(np.array([1.0, 2.0, 3.0]), (n_numeric, 1)),
        categories=categories,
    )


def make_blobs(
    centers: Any, n_each: int, *, spread: float = 0.1, seed: int = 0
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Rows around each center in shuffled order, float32, and the center each belongs to."""
    rng = np.random.default_rng(seed)
    centers = np.asarray(centers, dtype=np.float64)
    ids = rng.permutation(np.repeat(np.arange(len(centers)), n_each))
    return (centers[ids] + rng.normal(0.0, spread, (len(ids), centers.shape[1]))).astype(np.float32), ids


def make_clouds(n_one: int, n_two: int, seed: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Two sets of points of the plane, no two distances between them alike."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n_one, 2)), rng.normal(size=(n_two, 2))


def make_rows(X: Any, keep: Any = None, weights: Any = None) -> Rows:
    """Rows in scaled units: all of them kept, each once, unless said otherwise."""
    X = np.asarray(X, dtype=np.float32)
    keep = np.ones(len(X), dtype=bool) if keep is None else np.asarray(keep)
    return Rows(X, keep, None if weights is None else np.asarray(weights, dtype=np.float64))


def cut_rows(rows: Rows, piece: slice) -> Rows:
    """Some of the rows, in memory of their own."""
    weights = None if rows.weights is None else rows.weights[piece].copy()
    return Rows(rows.X[piece].copy(), rows.keep[piece].copy(), weights)


def repeat_rows(rows: Rows, times: Any) -> Rows:
    """Each row as often as it counts, without weights."""
    return Rows(np.repeat(rows.X, times, axis=0), np.repeat(rows.keep, times))


def make_plain_model(
    features: FeaturesConfig,
    centroids: Any = ((0.0, 0.0), (10.0, 0.0), (0.0, 10.0)),
    labels: Any = ("big", "right", "up"),
) -> ClusterModel:
    """A model in the units of the columns; what a centroid has beyond the numbers are categories c0, c1, ..."""
    n_numeric = len(features.numeric)
    n_categories = len(centroids[0]) - n_numeric
    scaling = Scaling(
        np.zeros(n_numeric),
        np.ones(n_numeric),
        np.zeros(n_numeric),
        np.tile(np.arange(9.0), (n_numeric, 1)),
        (tuple(f"c{i}" for i in range(n_categories)),) if n_categories else (),
    )
    return ClusterModel(features, scaling, np.array(centroids), tuple(labels))


def make_version(model: ClusterModel, X: Any, *, version: str = "v000001", sample: Any = None) -> ModelVersion:
    """A version that was fitted on rows in scaled units: as many in every bin, and nothing that is only for people."""
    return ModelVersion(
        name="shop",
        version=version,
        created="2026-03-01T12:00:00+00:00",
        baseline="v000001",
        parent=None,
        model=model,
        summary=summarise_rows(X, model.centroids),
        bins=np.ones((len(model.features.numeric), model.scaling.edges.shape[1] + 2), np.int64),
        sample=pa.table({}) if sample is None else sample,
        parameters={},
        provenance={},
        quality={},
        retired=(),
        passes=(),
        gate=(),
        labels=(),
    )


def make_assign_job(
    run: Run, model: ClusterModel, folder: Path, *, limits: Any = None, current: ClusterModel | None = None
) -> AssignJob:
    """All rows of the run's dataset under a model, for version v000007."""
    limits = np.full(len(model.labels), np.inf) if limits is None else np.array(limits)
    job = AssignJob.of(run, Matrices.of(run, model.features, model.scaling), model, folder, "v000007", limits)
    return replace(job, current=current)


def no_deviations(centroids: Any, *, weighted: bool = False) -> DeviationSums:
    """Where the sums of an assign pass begin."""
    return DeviationSums.empty(np.asarray(centroids, dtype=np.float64), np.float64 if weighted else np.int64)


def summarise_rows(X: Any, centroids: Any) -> ClusterSummary:
    return assign_rows(make_rows(X), no_deviations(centroids))[1].summary


def observe_rows(
    X: Any, centroids: Any, labels: tuple[str, ...], *, bins: Any = None, outliers: Any = None
) -> Observed:
    """One side of a comparison, original units being ten times the scaled ones; no feature drift unless bins say so."""
    summary = summarise_rows(X, centroids)
    if bins is None:
        bins = np.full((summary.mean.shape[1], 11), 1)
    return Observed(
        labels, summary, summary.mean * 10.0, np.asarray(bins), None if outliers is None else np.asarray(outliers)
    )


def summarise_segments(*segments: Any, weights: Any = None) -> ClusterSummary:
    """The summary of the rows of each segment, as means and squares are defined; a row is a number or several."""
    n_features = max((np.size(rows[0]) for rows in segments if len(rows)), default=1)
    arrays = [np.array(rows, dtype=np.float64).reshape(len(rows), n_features) for rows in segments]
    weights = [np.ones(len(rows), np.int64) for rows in arrays] if weights is None else [np.array(w) for w in weights]
    n = np.array([w.sum() for w in weights])
    mean = np.array([w @ rows / (w.sum() or 1) for w, rows in zip(weights, arrays, strict=True)])
    m2 = np.array([w @ (rows - m) ** 2 for w, rows, m in zip(weights, arrays, mean, strict=True)])
    return ClusterSummary(n, mean, m2, m2.sum(axis=1), np.zeros((len(n), 1), np.int64))


def make_view_model(
    numeric: tuple[str, ...] = ("x", "y"), categories: tuple[tuple[str, ...], ...] = (), **keys: Any
) -> ClusterModel:
    """Features in the units they have, and categorical ones c0, c1, ...; without centroids."""
    features = make_features(numeric, categorical=tuple(f"c{i}" for i in range(len(categories))), **keys)
    return ClusterModel(features, make_scaling(len(numeric), categories=categories), np.zeros((0, len(numeric))), ())


def look_at_rows(columns: Any, labels: Any, *, model: Any = None, eta_squared: Any = None, then: Any = None) -> Any:
    """The views of rows given as columns, each with its segment; centroids are means, and a category is half of all."""
    numeric = [name for name in columns if not isinstance(columns[name][0], str)]
    model = model or make_view_model(tuple(numeric))
    labels, n_features = np.array(labels), model.scaling.n_features
    categories = encoded_names(model.features, model.scaling)[len(numeric) :]
    segments = [
        {"cluster_label": label, "rows": int((labels == label).sum())}
        | {"centroid": {name: float(np.mean(np.array(columns[name])[labels == label])) for name in numeric}
                       | dict.fromkeys(categories, 0.5)}
        for label in dict.fromkeys(labels.tolist())
    ]  # fmt: skip
    sample = pa.table(columns | {"cluster_label": labels.tolist()})
    eta_squared = np.linspace(0.9, 0.1, n_features) if eta_squared is None else np.array(eta_squared)
    return tell_views(sample, segments, model, eta_squared=eta_squared, then=then or {})


def exact_distances(X: Any, centroids: Any) -> np.ndarray[Any, Any]:
    """From each row to each centroid, in float64, without any shortcut."""
    return np.linalg.norm(X[:, None, :].astype(np.float64) - centroids, axis=2)


@contextmanager
def limit_file_size(n_bytes: int) -> Iterator[None]:
    """Play a full disk: no file of this process gets larger."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def break_bytes(path: Path, how: str) -> None:
    """Damage a Parquet file."""
    good = path.read_bytes()
    footer = int.from_bytes(good[-8:-4], "little")
    broken = {
        "truncated": good[: len(good) // 2],
        "no footer": good[:-8] + b"\0" * 8,
        "garbage": b"this is no Parquet at all",
        "footer garbled": good[: -8 - footer] + b"\xff" * footer + good[-8:],
        "pages garbled": good[:4] + b"\xff" * (len(good) - footer - 12) + good[-8 - footer :],
        "pages gone": good[:4] + good[-8 - footer :],
    }[how]
    path.write_bytes(broken)


def bits_of(found: Any) -> list[bytes]:
    """Every bit of a dataclass of arrays, to compare."""
    return [np.asarray(value).tobytes() for value in vars(found).values()]


def chunks(borders: list[int]) -> list[slice]:
    """The slices between borders."""
    return [slice(a, b) for a, b in itertools.pairwise(borders)]


@dataclass(frozen=True)
class Passes:
    """What the passes of a refresh leave behind, one after the other."""

    scan: Scan
    scaling: Scaling
    fit: Fit
    assigned: Assigned

    def bits(self) -> list[bytes]:
        """Every bit of every number."""
        parts = [self.scan.columns, self.assigned.deviations, self.assigned.summary]
        values = self.assigned.values
        arrays = [self.scan.weights, self.fit.centroids, self.fit.rows, values.bins, self.assigned.outliers]
        arrays += [self.scaling.center, self.scaling.scale, self.scaling.fill, self.scaling.edges]
        told = [(done.name, done.rows, done.inertia_per_row, done.largest_move) for done in self.fit.passes]
        told += [self.scaling.categories, sorted(values.skipped.items()), sorted(values.unseen.items())]
        told += [self.assigned.fit_sse, self.assigned.current_sse, self.scan.sample.to_pydict()]
        found = [bits for part in parts for bits in bits_of(part)]
        return [*found, *(array.tobytes() for array in arrays), self.assigned.migration.tobytes(), repr(told).encode()]


def make_passes(run: Run, folder: Path, *, known: Any = None, current: ClusterModel | None = None) -> Passes:
    """Scan, fit and assign as a first refresh does, the outputs in a folder that is there; nothing is published."""
    features, n_clusters = run.config.features, run.config.model.n_clusters
    with single_threaded():
        scan = scan_dataset(run, statistics=True)
        scaling = freeze_scaling(features, scan)
        with open_matrices(run, scaling, folder / ".scratch") as matrices:
            fit = fit_centroids(run, matrices, scan, known)
            model = ClusterModel(features, scaling, fit.centroids, tuple(f"s{i}" for i in range(n_clusters)))
            job = replace(
                AssignJob.of(run, matrices, model, folder / "assigned", "v000001", np.ones(n_clusters)), current=current
            )
            return Passes(scan, scaling, fit, assign_dataset(run, job))


def break_column(path, name):
    """Overwrite the pages of one column; the footer and the other columns stay whole."""
    metadata = pq.read_metadata(path)
    content = bytearray(path.read_bytes())
    column = metadata.row_group(0).column(metadata.schema.names.index(name))
    start = min(filter(None, (column.dictionary_page_offset, column.data_page_offset)))
    content[start : start + column.total_compressed_size] = b"\xff" * column.total_compressed_size
    path.write_bytes(content)


def labels_of(result):
    return {line["cluster_label"]: line["event"] for line in result.labels}


def leftovers(tree, folder):
    return [name for name in tree(folder) if ".tmp" in name]


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def strict(result):
    """What `--json` prints of a result: no NaN, no infinity, no numpy."""
    content = result.to_json() if hasattr(result, "to_json") else result
    return json.loads(json.dumps(content, allow_nan=False))


def written(store, name, version=None):
    return pq.read_table(store.assignments(version or store.current) / name)


class Killed(BaseException):
    """Ends a run like a signal would: nothing that an error would clean up is cleaned up."""


def end_in(monkeypatch, target, error):
    """Let a function fail, once."""

    def fail(*_, **__):
        monkeypatch.undo()
        raise error

    monkeypatch.setattr(target, fail)


def listed(config, version="v000001"):
    """The manifest of a version, which lists the files that are there."""
    folder = Store(config().output.path).assignments(version)
    manifest = json.loads((folder / "_manifest.json").read_text())["partitions"]
    assert sorted(manifest) == sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*.parquet") if path.is_file()
    )
    return manifest


def digests(folder):
    """Hash every file below a folder; lock files are no output."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.endswith("lock")
    }


REFRESH_UNTIL = """
import os, sys
from pathlib import Path
from conftest import make_config
from kmstream.pipeline import refresh
base, wanted, number = sys.argv[1:]
class End:
    def start(self, stage, rows):
        self.stage, self.rows = stage, 0
    def advance(self, rows):
        self.rows += rows
        if self.stage == wanted and self.rows > 3000:
            os.kill(os.getpid(), int(number))
refresh(make_config(Path(base)), progress=End())
"""


def refresh_until(base, stage, number):
    """Refresh the blobs of a folder in a process that gets a signal in the middle of a stage."""
    command = [sys.executable, "-c", REFRESH_UNTIL, base, stage, str(int(number))]
    folder = Path(__file__).parent
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
