"""Small real datasets and configurations, each in a folder of its own."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from botocore.retries.standard import ExponentialBackoff
from builders import make_assign_job, make_plain_model
from command_line import config_content, config_text
from fsspec.implementations.memory import MemoryFileSystem
from s3_server import S3Server, s3_server
from s3fs import S3FileSystem

from kmstream.assign import Assigned, assign_dataset
from kmstream.config import Config, parse_config
from kmstream.dataset import Dataset, open_dataset
from kmstream.engine import Silent
from kmstream.pipeline import refresh
from kmstream.provenance import Clock
from kmstream.run import Run, find_weighting
from kmstream.storage import Place, open_place
from kmstream.store import Store

if TYPE_CHECKING:
    from stored_shop import Expected

os.environ.setdefault("DO_NOT_TRACK", "1")

CENTERS = ((0.0, 0.0), (10.0, 0.0), (0.0, 10.0))
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)

Tables = Mapping[str, pa.Table]


def make_blobs(
    n_rows: int = 600,
    *,
    seed: int = 0,
    centers: Sequence[tuple[float, float]] = CENTERS,
    weights: Sequence[float] = (0.5, 0.3, 0.2),
    first_id: int = 0,
) -> pa.Table:
    """Rows around clear centers: id, x, y, and the center each row was drawn from."""
    rng = np.random.default_rng(seed)
    truth = rng.choice(len(centers), n_rows, p=np.array(weights) / sum(weights))
    points = np.array(centers)[truth] + rng.normal(size=(n_rows, 2))
    return pa.table(
        {"id": np.arange(first_id, first_id + n_rows), "x": points[:, 0], "y": points[:, 1], "truth": truth}
    )


def write_files(folder: Path, tables: Tables, **options: Any) -> Path:
    for path, table in tables.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, folder / path, **options)
    return folder


def make_config(base: Path, **sections: Any) -> Config:
    """Cluster x and y of base/data into three segments in base/out, unless a section says otherwise."""
    return parse_config(config_content(**sections), base_dir=base)


def make_run(
    config: Config, *, chunk_rows: int = 4096, only: Sequence[str] = (), dataset: Dataset | None = None
) -> Run:
    dataset = open_dataset(config, only) if dataset is None else dataset
    weighting = find_weighting(config, dataset, chunk_rows)
    return Run(config, Store(config.output.path), dataset, Clock(NOW), Silent(), chunk_rows, weighting)


@pytest.fixture(scope="session")
def blobs() -> Callable[..., pa.Table]:
    return make_blobs


@pytest.fixture(scope="session")
def files() -> Callable[..., Path]:
    """Write tables as Parquet files below a folder."""
    return write_files


@pytest.fixture(scope="session")
def config_in() -> Callable[..., Config]:
    """Make a configuration relative to a folder."""
    return make_config


@pytest.fixture(scope="session")
def run_of() -> Callable[..., Run]:
    return make_run


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Give the place of the dataset of `config`."""
    return tmp_path / "data"


@pytest.fixture
def config(tmp_path: Path) -> Callable[..., Config]:
    """Make a configuration relative to the test's folder."""

    def make(**sections: Any) -> Config:
        return make_config(tmp_path, **sections)

    return make


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Give the place of what `assign` writes."""
    return tmp_path / "assigned"


@pytest.fixture
def assign(config: Callable[..., Config], out: Path) -> Callable[..., Assigned]:
    """Assign the dataset with a model of three fixed centroids; gives what the pass left behind."""

    def run(
        *, model: Any = None, limits: Any = None, current: Any = None, chunk_rows: int = 4096, **sections: Any
    ) -> Assigned:
        made = config(**sections)
        job_run = make_run(made, chunk_rows=chunk_rows)
        model = model or make_plain_model(made.features)
        return assign_dataset(job_run, make_assign_job(job_run, model, out, limits=limits, current=current))

    return run


@pytest.fixture(scope="session")
def _published_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("published")
    write_files(base / "data", {f"m{i}.parquet": make_blobs(400, seed=i, first_id=1000 * i) for i in (1, 2)})
    assert refresh(make_config(base), now=NOW).status == "published"
    return base


@pytest.fixture
def published(_published_once: Path, tmp_path: Path) -> Path:
    """Give a folder of its own with data (m1, m2) and a published v000001."""
    shutil.copytree(_published_once, tmp_path, dirs_exist_ok=True)
    return tmp_path


@pytest.fixture
def config_here(published: Path) -> Config:
    """Give the configuration that `published` was made with."""
    return make_config(published)


@pytest.fixture
def store(published: Path) -> Store:
    """Give the store of `published`."""
    return Store(published / "out")


@pytest.fixture
def year(config: Callable[..., Config], data: Path) -> Callable[..., Config]:
    """Three months, assigned by their first version: makes the configuration."""
    write_files(data, {f"m{i}.parquet": make_blobs(400, seed=i) for i in (1, 2, 3)})
    refresh(config())
    return config


@pytest.fixture
def now() -> datetime:
    """Give a time after `published` was made."""
    return NOW.replace(day=2)


def list_tree(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


@pytest.fixture(scope="session")
def tree() -> Callable[[Path], list[str]]:
    """List everything below a folder."""
    return list_tree


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder with a kmstream.toml about data/."""
    (tmp_path / "kmstream.toml").write_text(config_text())
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COLUMNS", raising=False)  # set by some that start tests
    return tmp_path


@pytest.fixture
def there(published: Path, here: Path) -> Path:
    """Work in a folder where v000001 has been published."""
    assert published == here
    return here


@pytest.fixture(scope="session")
def _started_s3() -> Iterator[S3Server]:
    with s3_server() as server:
        yield server


@pytest.fixture
def s3(_started_s3: S3Server, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    """Give an S3 server that this process uses, with nothing counted yet and no faults."""
    _started_s3.proxy.clear()
    for name, value in _started_s3.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("scratch")))  # other servers have this prefix
    return _started_s3


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the pauses of the S3 client short, which after a few tries are seconds."""
    monkeypatch.setattr(ExponentialBackoff, "delay_amount", lambda _backoff, _context: 0.02)


@pytest.fixture
def memory() -> Iterator[str]:
    """Give the URI of an empty folder of fsspec's memory, which all of this process shares."""
    yield "memory://tests"
    MemoryFileSystem.store.clear()
    MemoryFileSystem.pseudo_dirs[:] = [""]


@pytest.fixture
def in_memory(memory: str) -> Place:
    """Give an empty folder of fsspec's memory."""
    return open_place(memory)


@pytest.fixture
def bucket(s3: S3Server) -> Place:
    """Give an empty folder of an S3 server."""
    return open_place(s3.new_prefix())


@pytest.fixture
def impatient(hasty: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let an S3 client give up soon: half a second for an answer, two tries of s3fs with all those of botocore."""
    monkeypatch.setattr(S3FileSystem, "read_timeout", 0.5)
    monkeypatch.setattr(S3FileSystem, "retries", 2)
    S3FileSystem.clear_instance_cache()
    yield
    S3FileSystem.clear_instance_cache()


@pytest.fixture
def shop(s3: S3Server, tmp_path: Path) -> Config:
    """Give the configuration of a shop whose rows and results lie in a store of their own."""
    from stored_shop import make_shop  # builds with what is above

    return make_shop(s3, tmp_path)


@pytest.fixture
def at_shop(shop: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder with the kmstream.toml of the shop."""
    from stored_shop import write_config

    write_config(tmp_path, shop.dataset.path, shop.output.path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COLUMNS", raising=False)
    return tmp_path


@pytest.fixture(scope="session")
def shop_on_disk(tmp_path_factory: pytest.TempPathFactory) -> "Expected":
    """Give what the runs of a shop leave on a disk."""
    from stored_shop import find_expected

    return find_expected(tmp_path_factory.mktemp("expected"))
