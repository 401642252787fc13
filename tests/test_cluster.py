"""Runs on real Dask clusters: the same bits as here, whatever dies, and one clear error where nothing goes on."""

import json
import os
import shutil
import signal
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import replace
from functools import partial

import clusters
import numpy as np
import pyarrow as pa
import pytest
from builders import make_passes
from clusters import At, Cluster
from command_line import assert_fails, content, run_process
from distributed import Client

from kmstream.config import EngineConfig
from kmstream.dataset import SPAN_ROWS, open_dataset
from kmstream.engine import map_in_order, uses_cluster
from kmstream.errors import ClusterError, ConfigError, CorruptFileError
from kmstream.pipeline import refresh, score

pytestmark = pytest.mark.server

TIMED = {"report.html", "MODEL_CARD.md", "checksums.json", "provenance.json"}  # hold seconds
MODEL = {"n_clusters": 3, "sample_rows": 2000, "n_init": 1, "lloyd_passes": 2}


def make_table(n_rows, seed):
    """Rows without clear clusters, where every rounding shows."""
    rng = np.random.default_rng(seed)
    columns = {"x": rng.normal(1.0, 2.0, n_rows), "y": rng.gamma(2.0, size=n_rows)}
    return pa.table(columns | {"kind": rng.choice(["a", "b", "c"], n_rows), "w": rng.gamma(1.0, size=n_rows)})


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """Two workers, each with a nanny that starts it again."""
    made = Cluster(tmp_path_factory.mktemp("cluster")).add(2)
    yield made
    made.stop()


@pytest.fixture
def own_cluster(tmp_path):
    """Make clusters for one test."""
    made = []

    def make(name="cluster", **options):
        made.append(Cluster(tmp_path / name, **options))
        return made[-1]

    yield make
    for one in made:
        one.stop()


@pytest.fixture(scope="module")
def base(tmp_path_factory, files):
    """A folder with the data of all tests: six files, one of them of two spans."""
    base = tmp_path_factory.mktemp("base")
    sizes = {"a": 40_000, "b": SPAN_ROWS + 9_000, "c": 30_000, "d": 50_000, "e": 7, "f": 60_000}
    files(base / "data", {f"{name}.parquet": make_table(n_rows, n) for n, (name, n_rows) in enumerate(sizes.items())})
    return base


@pytest.fixture(scope="module")
def _bare(tmp_path_factory):
    made = Cluster(tmp_path_factory.mktemp("bare"))
    yield made
    made.stop()


@pytest.fixture
def bare(_bare):
    """A scheduler without workers; those that a test adds are gone after it."""
    yield _bare
    _bare.stop_workers()


def on(cluster):
    return {"dask_address": cluster.address}


def find_passes(base, config_in, run_of, folder, *, engine=None, progress=None, **sections):
    made = config_in(base, model=MODEL, engine={"workers": 2} | (engine or {}), **sections)
    run = run_of(made, chunk_rows=1 << 15)
    return make_passes(run if progress is None else replace(run, progress=progress), folder).bits()


@pytest.fixture(scope="module")
def expected(base, config_in, run_of, tmp_path_factory):
    """The bits of a run on this machine's threads."""
    return find_passes(base, config_in, run_of, tmp_path_factory.mktemp("expected"))


def snapshot(out):
    """Every file's content, but for times."""
    found = {}
    for path in sorted(out.rglob("*")):
        name = path.relative_to(out).as_posix()
        if path.is_dir() or path.name in TIMED or name.startswith("workspace/"):
            found[name] = "there"
        elif path.name == "model.json":
            told = json.loads(path.read_text())
            found[name] = told | {"passes": [done | {"seconds": 0} for done in told["passes"]]}
        else:
            found[name] = path.read_bytes()
    return found


def test_refresh_and_score_on_a_cluster_leave_the_same_bytes_as_here(
    base, cluster, tmp_path, config_in, now, monkeypatch
):
    """Also where a task is a group of spans or partitions."""
    monkeypatch.setattr("kmstream.engine.MAX_TASKS", 3)
    (tmp_path / "data").symlink_to(base / "data")
    features, found = {"categorical": ["kind"], "weight": "w", "clip": 2.0}, []
    for engine in ({"workers": 2}, on(cluster)):
        made = config_in(tmp_path, features=features, model=MODEL, engine=engine)
        first = refresh(made, only=["[a-c].parquet"], now=now)
        assert (first.version, refresh(made, only=["[a-e].parquet"], now=now).version) == ("v000001", "v000002")
        assert score(made, now=now).rows == 60_000
        found.append(snapshot(tmp_path / "out"))
        shutil.rmtree(tmp_path / "out")
    assert found[0].keys() == found[1].keys()
    assert [name for name in found[0] if found[0][name] != found[1][name]] == []
    assert "assignments/v000002/b.parquet" in found[0]


def test_footers_of_many_files_are_read_by_the_workers(base, cluster, tmp_path, config_in, files, monkeypatch):
    monkeypatch.setattr("kmstream.dataset.footers._MANY_FILES", 4)
    files(tmp_path / "data", {f"day={n}/{n}.parquet": make_table(n + 1, n) for n in range(9)})
    here, there = (open_dataset(config_in(tmp_path, engine=engine)) for engine in ({"workers": 2}, on(cluster)))
    assert there == here
    (tmp_path / "data/day=5/5.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(CorruptFileError, match=r"day=5/5\.parquet is not a readable Parquet file") as told:
        open_dataset(config_in(tmp_path, engine=on(cluster)))
    assert "On the Dask worker" in "".join(told.value.__notes__)


@pytest.mark.parametrize("nanny", ["--nanny", "--no-nanny"])
def test_workers_killed_in_each_stage_change_no_bit(base, own_cluster, tmp_path, config_in, run_of, expected, nanny):
    cluster = own_cluster().add(2 if nanny == "--nanny" else 4, nanny)
    kill = partial(cluster.signal_busy_worker, signal.SIGKILL)
    progress = At(scan=kill, exact_pass=kill, assign=kill)
    found = find_passes(base, config_in, run_of, tmp_path, engine=on(cluster), progress=progress)
    assert progress.actions == {}
    assert found == expected
    assert progress.rows["scan"] == progress.rows["assign"] == SPAN_ROWS + 189_007


def test_a_worker_that_stands_still_for_a_while_changes_no_bit(base, cluster, tmp_path, config_in, run_of, expected):
    stopped = []

    def stop():
        stopped.append(cluster.signal_busy_worker(signal.SIGSTOP))
        threading.Thread(target=go_on_when_the_other_has_no_work).start()

    def go_on_when_the_other_has_no_work():
        address, process = stopped[-1]
        while any(keys for worker, keys in cluster.client.processing().items() if worker != address):
            pass
        os.kill(process, signal.SIGCONT)

    progress = At(scan=stop, exact_pass=stop, assign=stop)
    assert find_passes(base, config_in, run_of, tmp_path, engine=on(cluster), progress=progress) == expected
    assert len(stopped) == 3


def test_a_task_that_eats_all_memory_ends_in_one_error_and_the_next_run_is_clean(
    base, own_cluster, tmp_path, config_in, run_of, expected
):
    cluster = own_cluster(environ={"DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "1"})
    cluster.add(2, "--memory-limit", "500MB")
    with pytest.raises(ClusterError, match="2 Dask workers died at the same task") as caught:
        list(map_in_order(clusters.eat_memory, [600_000_000], EngineConfig(**on(cluster))))
    assert "Out of memory, most likely" in caught.value.__notes__[0]
    cluster.client.wait_for_workers(2, timeout=30)
    assert find_passes(base, config_in, run_of, tmp_path, engine=on(cluster)) == expected


def test_memory_that_a_worker_does_not_get_is_named_with_the_worker(cluster):
    with pytest.raises(ClusterError, match=r"the Dask worker tcp://\S+ has no memory left") as caught:
        list(map_in_order(clusters.ask_for_too_much, [1 << 60], EngineConfig(**on(cluster))))
    assert "Give the workers more memory" in caught.value.__notes__[0]


def test_no_work_needs_no_cluster():
    assert list(map_in_order(str, [], EngineConfig(dask_address="tcp://127.0.0.1:1"))) == []


def test_an_error_of_the_function_comes_as_it_is(cluster):
    with pytest.raises(LookupError, match="as it was told"):
        list(map_in_order(clusters.fail, range(3), EngineConfig(**on(cluster))))


def test_a_scheduler_killed_in_mid_run_ends_it_and_after_a_restart_the_next_run_is_whole(
    published, own_cluster, config_in, now
):
    out = published / "out"
    shutil.copytree(out, published / "before")
    refresh(config_in(published), now=now)
    expected = snapshot(out)
    shutil.rmtree(out)
    shutil.move(published / "before", out)
    before = content(out)
    cluster = own_cluster("one").add(1, "--no-nanny")
    there = config_in(published, engine=on(cluster))
    for stage in ("exact_pass", "assign"):
        progress = At(**{stage: cluster.scheduler.kill})
        with pytest.raises(ClusterError, match=f"the Dask scheduler {cluster.address} was lost in mid-run"):
            refresh(there, now=now, progress=progress)
        assert progress.actions == {}
        assert {name: told for name, told in content(out).items() if "/.v" not in name} == before
        cluster.stop()
        cluster = own_cluster(stage, port=int(cluster.address.rpartition(":")[2])).add(1, "--no-nanny")
    assert refresh(there, now=now).version == "v000002"
    assert snapshot(out) == expected


def test_a_scheduler_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setattr("kmstream.engine.client._CONNECT_SECONDS", 0.2)
    with pytest.raises(
        ClusterError, match=r"no Dask scheduler can be reached at engine.dask_address tcp://127\.0\.0\.1:1:"
    ):
        list(map_in_order(str, [1], EngineConfig(dask_address="tcp://127.0.0.1:1")))


@pytest.mark.parametrize(
    ("address", "said"),
    [("foo://x:1", "can't be used: unknown address scheme 'foo'"), ("tls://x:1", "needs certificates")],
)
def test_an_address_that_dask_can_not_use_is_an_error_of_the_configuration(address, said):
    with pytest.raises(ConfigError, match=f"engine.dask_address {address} {said}"):
        list(map_in_order(str, [1], EngineConfig(dask_address=address)))


def test_a_cluster_without_workers_is_told_at_once(bare):
    with pytest.raises(ClusterError, match=f"the Dask scheduler {bare.address} has no workers"):
        list(map_in_order(str, [1], EngineConfig(**on(bare))))


def test_a_cluster_that_loses_all_workers_is_given_up_after_a_while(bare, monkeypatch):
    monkeypatch.setattr("kmstream.engine.cluster._PATIENCE_SECONDS", 0.5)
    monkeypatch.setattr("kmstream.engine.cluster._LOOK_SECONDS", 0.1)
    bare.add(1, "--no-nanny")
    with closing(map_in_order(clusters.find_process, range(1000), EngineConfig(**on(bare)))) as found:
        os.kill(next(found), signal.SIGKILL)
        with pytest.raises(ClusterError, match="has had no worker at work for"):
            list(found)


def test_other_versions_on_a_worker_are_told_in_one_sentence(bare, tmp_path):
    (tmp_path / "sitecustomize.py").write_text("import kmstream\nkmstream.__version__ = '0.0.1'\n")
    bare.add(1, "--no-nanny", PYTHONPATH=str(tmp_path))
    with pytest.raises(ClusterError, match=r"the Dask worker tcp://\S+ has kmstream 0.0.1 \(here [\d.]+\)"):
        list(map_in_order(str, [1], EngineConfig(**on(bare))))


def test_a_worker_without_kmstream_is_told(bare, tmp_path):
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['kmstream'] = None\n")
    bare.add(1, "--no-nanny", PYTHONPATH=str(tmp_path))
    with pytest.raises(ClusterError, match="a Dask worker can't run kmstream") as caught:
        list(map_in_order(str, [1], EngineConfig(**on(bare))))
    assert "Install the same versions" in caught.value.__notes__[0]


def test_an_active_client_is_used_where_no_address_is_configured(cluster):
    here = EngineConfig(workers=2)
    assert set(map_in_order(clusters.find_process, range(4), here)) == {os.getpid()}
    with Client(cluster.address):
        assert uses_cluster(here)
        assert set(map_in_order(clusters.find_process, range(4), here)) <= {*cluster.workers.values()}
    assert not uses_cluster(here)


def test_a_run_that_is_interrupted_leaves_no_task_at_work(cluster, tmp_path):
    items = [tmp_path / str(n) for n in range(20)]
    with closing(map_in_order(clusters.wait_until_unwanted, items, EngineConfig(**on(cluster)))) as found:
        assert next(found) == 0
        while sum(path.exists() for path in items) < 2:
            pass
    started = [path for path in items if path.exists()]
    assert 2 <= len(started) < 19
    assert all(path.with_suffix(".ended").exists() for path in started)
    assert not any(cluster.client.processing().values())


def test_a_refresh_that_is_interrupted_on_a_cluster_goes_on_where_it_stood(base, cluster, tmp_path, config_in, now):
    (tmp_path / "data").symlink_to(base / "data")
    made = config_in(tmp_path, model=MODEL, engine=on(cluster))
    refresh(made, now=now)
    expected = snapshot(tmp_path / "out")
    shutil.rmtree(tmp_path / "out")

    def interrupt():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        refresh(made, now=now, progress=At(assign=interrupt))
    assert refresh(made, now=now).resumed == 1
    assert snapshot(tmp_path / "out") == expected


def test_values_that_can_not_be_used_are_named_as_here(there, cluster, files, data):
    files(data, {"m9.parquet": pa.table({"id": [1, 2], "x": [0.5, None], "y": [1.0, 2.0]})})
    done = run_process("refresh", "--set", f"engine.dask_address={cluster.address}")
    assert_fails(done, 3, "InvalidFeatureError: feature 'x'", "in m9.parquet, rows 0-1; first such row 1")


@pytest.mark.parametrize("greeting", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n"], ids=["silent", "other words"])
def test_another_program_at_the_address_is_told(monkeypatch, greeting):
    monkeypatch.setattr("kmstream.engine.client._CONNECT_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as listening, ThreadPoolExecutor(1) as pool:

        def answer():
            connection, _ = listening.accept()
            with connection:
                connection.sendall(greeting)
                with suppress(ConnectionResetError):
                    connection.recv(1)  # until the other side ends

        answering = pool.submit(answer)
        address = f"tcp://127.0.0.1:{listening.getsockname()[1]}"
        with pytest.raises(ClusterError, match=f"what listens at engine.dask_address {address} is no Dask scheduler"):
            list(map_in_order(str, [1], EngineConfig(dask_address=address)))
        answering.result(5)
