"""A run over several hosts, each with an address of its own: scheduler, workers, storage and client.

What a run leaves behind is the same as on one machine, also when a host can't be reached for a while.
"""

import hashlib
import itertools
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from subprocess import PIPE, Popen

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from command_line import KMSTREAM, config_text
from hosts import Host, hosts
from s3_server import BUCKET

from kmstream.config import load_config
from kmstream.pipeline import refresh, score

pytestmark = pytest.mark.server
TESTS = Path(__file__).parent
N_FILES, N_ROWS = 20, 20_000
FIRST = "f0*"  # half of them
DATA = f"s3://{BUCKET}/data"
# After these seconds without an answer a host is given up; 30 s where nothing is set, and no less than 11.
DASK = {"DASK_DISTRIBUTED__COMM__TIMEOUTS__TCP": "11s"}
ASK_SCHEDULER = """
import sys, time
from distributed import Client
client = Client(sys.argv[1])
for question in sys.stdin:
    end = time.monotonic() + 60
    while not (true := eval(question)) and time.monotonic() < end:
        time.sleep(0.02)
    print("yes" if true else "no", flush=True)
"""
COPY = """
import fsspec, sys
copy, here, there = sys.argv[1:]
files, folder = fsspec.url_to_fs(there)
files.put(here + "/", folder, recursive=True) if copy == "put" else files.get(folder + "/", here, recursive=True)
"""


class Site:
    """A cluster of two workers over hosts, a client that runs kmstream, and a host with data and output."""

    def __init__(self, net: dict[str, Host], folder: Path) -> None:
        self.net, self.folder, self.env = net, folder, dict(DASK)
        self.address = f"tcp://{net['scheduler'].address}:8786"
        self.outputs = (f"s3://{BUCKET}/out{n}" for n in itertools.count())
        host = net["storage"]
        served = host.run([sys.executable, str(TESTS / "s3_server.py"), host.address], stdin=PIPE, stdout=PIPE)
        self.env |= json.loads(served.stdout.readline())

    def start(self) -> None:
        self.dask("scheduler", "scheduler", "--port", "8786")
        self.workers = {name: self.start_worker(name) for name in ("worker-1", "worker-2")}
        self.asked = self.python("scheduler", ASK_SCHEDULER, self.address, stdin=PIPE, stdout=PIPE, text=True)
        self.ask("len(client.nthreads()) == 2")

    def start_worker(self, name: str) -> Popen[bytes]:
        return self.dask(name, "worker", self.address, "--nthreads", "1", "--local-directory", str(self.folder))

    def python(self, name: str, code: str, *arguments: str, **options: object) -> Popen[str]:
        return self.net[name].run([sys.executable, "-c", code, *arguments], self.env, **options)

    def dask(self, name: str, what: str, *options: str) -> Popen[bytes]:
        host = self.net[name]
        with (self.folder / f"{name}.log").open("ab") as log:
            command = [sys.executable, "-m", f"distributed.cli.dask_{what}", "--host", host.address, "--no-dashboard"]
            return host.run([*command, *options], self.env, stdout=log, stderr=log)

    def ask(self, question: str) -> None:
        """Wait until the scheduler's answer is yes."""
        self.asked.stdin.write(question + "\n")
        self.asked.stdin.flush()
        assert self.asked.stdout.readline() == "yes\n"

    def copy(self, how: str, here: Path, there: str) -> None:
        """Put a folder into its place, or get it from there."""
        assert self.python("client", COPY, how, str(here), there).wait(60) == 0

    def begin(self) -> None:
        """Let the runs from now on have an output of their own."""
        self.out = next(self.outputs)
        write_config(self.folder, DATA, self.out)

    def find_bits(self) -> dict[str, str]:
        found = self.folder / self.out.rpartition("/")[2]
        self.copy("get", found, self.out)
        return find_bits(found)

    def kmstream(self, *arguments: str) -> Popen[str]:
        """Start a run of the client on the cluster."""
        on_cluster = ["--set", f"engine.dask_address={self.address}"]
        command = [KMSTREAM, *arguments, *on_cluster, "--json"]
        return self.net["client"].run(command, self.env, cwd=self.folder, stdout=PIPE, stderr=PIPE, text=True)


def write_config(folder: Path, data: str, out: str) -> None:
    model = {"n_init": 1, "lloyd_passes": 3}
    text = config_text(name="hosts", dataset={"path": data}, output={"path": out}, model=model)
    (folder / "kmstream.toml").write_text(text)


def finish(run: Popen[str]) -> dict:
    out, err = run.communicate(timeout=120)
    assert run.returncode == 0, err
    return json.loads(out)


def find_bits(out: Path) -> dict[str, str]:
    """Hash what a run leaves behind, but for what holds times."""
    kept = [*out.glob("models/*/*.parquet"), *out.glob("assignments/**/*.parquet")]
    return {path.relative_to(out).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in kept}


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    data = tmp_path_factory.mktemp("hosts") / "data"
    data.mkdir()
    rng = np.random.default_rng(0)
    for n in range(N_FILES):
        columns = {"x": rng.normal(1.0, 2.0, N_ROWS), "y": rng.gamma(2.0, size=N_ROWS)}
        pq.write_table(pa.table(columns), data / f"f{n:02d}.parquet")
    return data


@pytest.fixture(scope="module")
def expected(data) -> dict[str, dict[str, str]]:
    """What each verb leaves behind on one machine."""
    folder = data.parent
    write_config(folder, str(data), str(folder / "out"))
    config = load_config(folder / "kmstream.toml")
    refresh(config, only=[FIRST])
    refreshed = find_bits(folder / "out")
    score(config)
    return {"refresh": refreshed, "score": find_bits(folder / "out")}


@pytest.fixture(scope="module")
def started(tmp_path_factory, data) -> Iterator[Site]:
    with hosts("scheduler", "worker-1", "worker-2", "storage", "client") as net:
        site = Site(net, tmp_path_factory.mktemp("site"))
        site.start()
        site.copy("put", data, DATA)
        yield site


@pytest.fixture
def site(started) -> Site:
    """Give the hosts, all of them connected, and an output that is empty."""
    started.begin()
    return started


def test_a_run_over_hosts_leaves_what_a_run_on_one_machine_leaves(site, expected):
    assert finish(site.kmstream("refresh", "--only", FIRST))["version"] == "v000001"
    assert finish(site.kmstream("score"))["partitions"] == N_FILES // 2
    assert site.find_bits() == expected["score"]


def works(host: Host) -> str:
    return f"any(tasks for address, tasks in client.processing().items() if '{host.address}:' in address)"


def test_a_worker_that_is_given_up_changes_no_bit(site, expected):
    worker = site.net["worker-1"]
    run = site.kmstream("refresh", "--only", FIRST)
    site.ask(works(worker))
    with worker.cut_off():
        finish(run)
        assert site.find_bits() == expected["refresh"]
        site.workers["worker-1"].wait(60)  # it has lost its scheduler, and ends
    site.start_worker("worker-1")
    site.ask("len(client.nthreads()) == 2")


def test_a_storage_that_can_not_be_reached_for_a_moment_changes_no_bit(site, expected):
    run = site.kmstream("refresh", "--only", FIRST)
    site.ask(works(site.net["worker-1"]))
    with site.net["storage"].cut_off(), pytest.raises(subprocess.TimeoutExpired):
        run.wait(5)
    finish(run)
    assert site.find_bits() == expected["refresh"]
