"""A small segmentation on an object store, and what is expected of it: the same as on a disk."""

import io
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from command_line import config_text
from conftest import make_blobs, make_config
from s3_server import S3Server

from kmstream.assignments import read_manifest
from kmstream.config import Config
from kmstream.pipeline import refresh, score
from kmstream.storage import exists, list_files, open_place, read_bytes, replace_bytes, replace_file
from kmstream.store import Store

MONTHS = {f"m{i}.parquet": make_blobs(300, seed=i) for i in (1, 2)}
LATER = {"m3.parquet": make_blobs(200, seed=3)}


def at(day: int) -> datetime:
    return datetime(2026, 3, day, 12, tzinfo=UTC)


def write(dataset: str, tables: Mapping[str, pa.Table], **options: Any) -> None:
    """Write tables as Parquet files below a path or URI."""
    for name, table in tables.items():
        content = io.BytesIO()
        pq.write_table(table, content, **options)
        replace_bytes(open_place(dataset) / name, content.getvalue())


def config_of(dataset: str, output: str, base: Path, /, **sections: Any) -> Config:
    sections = {"dataset": {}, "output": {}, **sections}
    sections["dataset"] = {"path": dataset, **sections["dataset"]}
    sections["output"] = {"path": output, **sections["output"]}
    return make_config(base, **sections)


def make_shop(s3: S3Server, base: Path) -> Config:
    """Give a configuration about MONTHS on the server, and an output there that is empty."""
    root = s3.new_prefix()
    write(f"{root}/data", MONTHS)
    s3.proxy.clear()
    return config_of(f"{root}/data", f"{root}/out", base)


def write_config(base: Path, dataset: str, output: str) -> None:
    (base / "kmstream.toml").write_text(config_text(dataset={"path": dataset}, output={"path": output}))


def score_later(config: Config) -> None:
    write(config.dataset.path, LATER)
    assert score(config, now=at(2)).partitions == 1


def refresh_and_score(config: Config) -> None:
    refresh(config, now=at(1))
    score_later(config)


@dataclass(frozen=True)
class Expected:
    """What is left behind on a disk by a refresh of MONTHS, and by a score of LATER after it."""

    refreshed: dict[str, Any]
    scored: dict[str, Any]


def find_expected(base: Path) -> Expected:
    write(str(base / "data"), MONTHS)
    config = config_of(str(base / "data"), str(base / "out"), base)
    assert refresh(config, now=at(1)).status == "published"
    refreshed = tell_output(config.output.path)
    score_later(config)
    return Expected(refreshed, tell_output(config.output.path))


# Of where the files lie and of this machine, not of what is in them.
ELSEWHERE = {"fingerprint", "dataset", "seconds", "peak_rss_bytes", "report", "assignments", "file"}
UNCOMPARED = ("report.html", "MODEL_CARD.md", "provenance.json", "checksums.json", "choose-k.html")


def without(told: Any) -> Any:
    """Leave out of JSON values what can't be the same elsewhere."""
    if isinstance(told, dict):
        return {key: without(value) for key, value in told.items() if key not in ELSEWHERE}
    return [without(one) for one in told] if isinstance(told, list | tuple) else told


def tell_output(output: str) -> dict[str, Any]:
    """Every file of an output: its bytes, but for what tells where it lies."""
    folder = open_place(output)
    told: dict[str, Any] = {}
    for path in sorted(list_files(folder)):
        if not path.startswith("workspace/") and not path.endswith(".lock"):
            told[path] = read_bytes(folder / path) if not path.endswith(UNCOMPARED) else b""
        if path.endswith(".json") and told.get(path):
            told[path] = without(json.loads(told[path]))
    told["workspace"] = sum("/snapshots/" in path for path in list_files(folder))
    return told


def assert_whole(config: Config) -> None:
    """What is visible is complete: every version, and every file of assignments that are marked as such."""
    store = Store(config.output.path)
    assert store.current in {None, *store.versions()}
    for version in store.versions():
        store.load(version)
        folder = store.assignments(version)
        if not exists(folder / "_SUCCESS"):
            continue
        for path, entry in read_manifest(folder).items():
            table = pq.read_table(io.BytesIO(read_bytes(folder / path)))
            assert (table.num_rows, table.column_names[-4]) == (entry.rows, "cluster_id")


def table_of(server: S3Server) -> str:
    """Requests by kind and file, to be shown where a test about them fails."""
    counts = Counter((one.kind, one.key.partition("/")[2]) for one in server.proxy.requests)
    return "\n".join(f"{n:4} {kind:22} {key}" for (kind, key), n in sorted(counts.items()))


def free_lock(config: Config) -> None:
    """End the lock that a run has left behind, which would end by itself after its seconds."""
    replace_file(Store(config.output.path).models / ".lock", json.dumps({"seconds": 0.0}))
