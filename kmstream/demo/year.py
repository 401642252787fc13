"""The year lived: months arrive, are scored, and refitted where their drift asks for it."""

import shutil
import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from importlib import resources
from pathlib import Path
from typing import Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from kmstream import pipeline
from kmstream.assignments import read_manifest
from kmstream.clustering import find_nearest
from kmstream.config import load_config
from kmstream.demo.story import DemoResult, Month, Refit, Segment, describe_customers
from kmstream.engine import Progress, single_threaded
from kmstream.errors import ConfigError
from kmstream.features import encode
from kmstream.pipeline import SILENT
from kmstream.results import RefreshResult, ScoreResult
from kmstream.search import search_centroids
from kmstream.storage import explain_write_errors
from kmstream.store import Store
from kmstream.versions import diff_versions

FIT_MONTHS = 3  # a model is fitted to the three most recent snapshots
_HEADER = "# Written by the demo of kmstream; the demo writes this folder anew."
_CONFIG = f"""\
{_HEADER}
name = "retail-rfm"

[dataset]
path = "data"

[features]
numeric = ["recency_days", "frequency", "monetary"]
log1p = ["recency_days", "frequency", "monetary"]

[model]
n_clusters = 4

[output]
path = "out"
"""


class Verbs(Protocol):
    """Who runs the verbs for the demo: this process, or the flows of an orchestrator."""

    def refresh(self, config_path: Path, overrides: Sequence[str], only: Sequence[str], now: datetime) -> RefreshResult:
        """Run `pipeline.refresh`; a held version is a result too."""

    def score(self, config_path: Path, overrides: Sequence[str], only: Sequence[str], now: datetime) -> ScoreResult:
        """Run `pipeline.score`."""


class PlainVerbs:
    """The verbs themselves."""

    def refresh(self, config_path: Path, overrides: Sequence[str], only: Sequence[str], now: datetime) -> RefreshResult:
        """Run `pipeline.refresh`."""
        return pipeline.refresh(load_config(config_path, overrides), only=only, now=now)

    def score(self, config_path: Path, overrides: Sequence[str], only: Sequence[str], now: datetime) -> ScoreResult:
        """Run `pipeline.score`."""
        return pipeline.score(load_config(config_path, overrides), only=only, now=now)


def run_demo(folder: Path, *, verbs: Verbs | None = None, progress: Progress = SILENT) -> DemoResult:
    """Live through the year.

    Parameters
    ----------
    folder : Path
        Gets the configuration, the snapshots as they arrive, and the output. An earlier demo there is replaced.
    verbs : Verbs, optional
        Runs refresh and score; in this process by default.
    progress : Progress
        Counts the rows of the whole year.

    Raises
    ------
    ConfigError
        If the folder holds something else.
    """
    started = time.perf_counter()
    snapshots = _read_snapshots()
    config_path = _prepare(folder)
    progress.start("a year of customers", sum(map(_count_rows, snapshots.values())))
    year = _Year(folder, config_path, verbs or PlainVerbs(), list(snapshots))
    for i, (file, content) in enumerate(snapshots.items(), start=1):
        (folder / "data" / file).write_bytes(content)
        if i == FIT_MONTHS:
            year.begin()
        elif i > FIT_MONTHS:
            year.live(file)
        progress.advance(_count_rows(content))
    return year.tell(time.perf_counter() - started)


class _Year:
    """The months so far."""

    def __init__(self, folder: Path, config_path: Path, verbs: Verbs, files: list[str]) -> None:
        self._config_path, self._verbs, self._files = config_path, verbs, files
        self._store = Store(folder / "out")
        self._months: list[Month] = []
        self._refits: list[Refit] = []
        self._report = ""
        self._ids: dict[str, int] = {}

    def begin(self) -> None:
        """Fit the baseline to the first months."""
        files = self._files[:FIT_MONTHS]
        result = self._verbs.refresh(self._config_path, (), files, _end_of_month(files[-1]))
        self._ids = number_from_scratch(self._store, result.version)
        self._report = result.report
        for file in files:
            self._note(file, None, result.version)

    def live(self, file: str) -> None:
        """Score a month; refit if its drift asks for it."""
        now = _end_of_month(file)
        scored = self._verbs.score(self._config_path, (), [file], now)
        version, self._report = scored.version, scored.report or self._report
        if scored.retrain["requested"]:
            recent = self._files[: self._files.index(file) + 1][-FIT_MONTHS:]
            seed = f"model.random_state={len(self._refits) + 1}"
            refit = self._verbs.refresh(self._config_path, [seed], recent, now + timedelta(hours=1))
            self._report = refit.report
            self._compare(refit, file, scored.reasons[0]["text"])
            if refit.status == "published":
                version = refit.version
        self._note(file, scored.severity, version)

    def tell(self, seconds: float) -> DemoResult:
        """Sum the year up."""
        config = load_config(self._config_path)
        first, last = self._months[0], self._months[-1]
        lines = diff_versions(config, first.version, last.version)["segments"]
        ends = {line["cluster_label"]: (line["centroid_from"], line["centroid_to"]) for line in lines}
        segments = []
        for label in sorted({label for month in self._months for label in month.customers}):
            then, now = ends.get(label, (None, None))
            words = describe_customers(now or then) if now or then else ""
            sizes = first.customers.get(label, 0), last.customers.get(label, 0)
            segments.append(Segment(label, words, *sizes, then, now))
        return DemoResult(
            str(self._config_path), tuple(self._months), tuple(segments), tuple(self._refits), self._report, seconds
        )

    def _note(self, file: str, severity: str | None, version: str) -> None:
        entry = read_manifest(self._store.assignments(version))[file]
        customers = {label: entry.rows_per_cluster[label] for label in sorted(entry.rows_per_cluster)}
        self._months.append(Month(_month(file), customers, severity, version))

    def _compare(self, refit: RefreshResult, file: str, why: str) -> None:
        migration = self._store.read_json(refit.version, "drift.json")["migration"]
        moved = {
            old: dict(zip(migration["labels_to"], row, strict=True))
            for old, row in zip(migration["labels_from"], migration["rows"], strict=True)
        }
        both = [label for label in migration["labels_from"] if label in migration["labels_to"]]
        ids = number_from_scratch(self._store, refit.version)
        everyone = sum(sum(row.values()) for row in moved.values())
        self._refits.append(
            Refit(
                refit.version,
                _month(file),
                refit.status,
                why,
                kept_share=sum(moved[label][label] for label in both) / everyone,
                names_compared=len(both),
                names_changed=sum(max(moved[label], key=lambda to: moved[label][to]) != label for label in both),
                ids_changed=sum(ids[label] != self._ids[label] for label in both),
            )
        )
        if refit.status == "published":
            self._ids = ids


def number_from_scratch(store: Store, version: str) -> dict[str, int]:
    """Give the numbers that a K-means fitted from scratch has for a version's segments: same rows, same seed, no names.

    Returns
    -------
    dict of str to int
        By label: the cluster that most of the segment's sampled rows are in.
    """
    found = store.load(version)
    features, labels = found.model.features, found.sample.column("cluster_label").to_pylist()
    X = encode(found.sample.select(list(features.columns)), features, found.model.scaling).rows.X
    seed, n_init = found.parameters["random_state"], found.parameters["n_init"]
    with single_threaded():  # as in a refresh
        fresh = search_centroids(X, len(found.model.labels), n_init=n_init, seed=seed)
    counts: dict[str, Counter[int]] = {label: Counter() for label in found.model.labels}
    for label, cluster_id in zip(labels, find_nearest(X, fresh.centroids).cluster_ids.tolist(), strict=True):
        counts[label][cluster_id] += 1
    return {label: count.most_common(1)[0][0] for label, count in counts.items()}


def _read_snapshots() -> dict[str, bytes]:
    folder = resources.files("kmstream") / "demo_data"
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".parquet")), key=lambda file: file.name)
    return {file.name: file.read_bytes() for file in files}


def _count_rows(content: bytes) -> int:
    return int(pq.read_metadata(pa.BufferReader(content)).num_rows)


def _prepare(folder: Path) -> Path:
    config_path = folder / "kmstream.toml"
    if folder.is_dir() and any(folder.iterdir()):
        if not (config_path.is_file() and config_path.read_text(encoding="utf-8").startswith(_HEADER)):
            error = ConfigError(f"{folder} is not empty, and what is there is not of an earlier demo")
            error.add_note("Name another folder, or empty this one.")
            raise error
        for leaf in ("data", "out"):
            shutil.rmtree(folder / leaf, ignore_errors=True)
    with explain_write_errors(folder):
        (folder / "data").mkdir(parents=True)
        config_path.write_text(_CONFIG, encoding="utf-8")
    return config_path


def _month(file: str) -> str:
    return Path(file).stem.removeprefix("rfm_")


def _end_of_month(file: str) -> datetime:
    year, month = map(int, _month(file).split("-"))
    return datetime(year + month // 12, month % 12 + 1, 1, 6, tzinfo=UTC)
