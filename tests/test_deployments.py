"""The deployments of prefect.yaml on a server, with a worker: months arrive, and nobody calls anything by hand.

Server, worker, database and ports belong to this file, which ends them.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from kmstream.store import Store

ROOT = Path(__file__).parent.parent
PREFECT = str(Path(sys.executable).with_name("prefect"))
CONFIG = """\
name = "retail-rfm"
[dataset]
path = "data"
[features]
numeric = ["x", "y"]
[model]
n_clusters = 3
[retrain]
cooldown = "24h"
"""
pytestmark = [pytest.mark.slow, pytest.mark.server]


class Site:
    """A folder with the flows, prefect.yaml and a configuration, and the server that knows its deployments."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.project = folder, folder / "project"
        shutil.copytree(ROOT / "flows", self.project / "flows")
        (self.project / "data").mkdir()
        (self.project / "kmstream.toml").write_text(CONFIG)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/api"
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT")}
        self.env = inherited | {
            "DO_NOT_TRACK": "1",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_HOME": str(folder / "home"),
            "PREFECT_API_URL": self.url,
            # What a server does every minute, this one does every second or two.
            "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "2",
            "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_FLUSH_INTERVAL": "0.5",
            "PREFECT_WORKER_QUERY_SECONDS": "1",
        }
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, *command: str, program: str = PREFECT) -> subprocess.Popen[bytes]:
        with (self.folder / f"{len(self.processes)}-{Path(command[0]).stem}.log").open("wb") as log:
            process = subprocess.Popen(
                [program, *command], cwd=self.project, env=self.env, stdout=log, stderr=subprocess.STDOUT
            )
        self.processes.append(process)
        return process

    def run(self, *command: str) -> None:
        done = subprocess.run([PREFECT, *command], cwd=self.project, env=self.env, capture_output=True, check=False)
        assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()

    def write_deployments(self, seconds: int) -> None:
        """Write prefect.yaml as it is, but that the score comes around three times a minute."""
        content = yaml.safe_load((ROOT / "prefect.yaml").read_text())
        score = next(one for one in content["deployments"] if one["name"] == "score")
        assert score["schedules"] == [{"cron": "15 6 * * *", "timezone": "Europe/Berlin"}]
        score["schedules"] = [{"interval": seconds}]
        (self.project / "prefect.yaml").write_text(yaml.safe_dump(content))

    def ask(self, what: str, **filters: Any) -> list[dict[str, Any]]:
        return httpx.post(f"{self.url}/{what}/filter", json=filters, timeout=30).json()

    def runs(self, verb: str, state: str = "COMPLETED") -> list[dict[str, Any]]:
        named = {"flows": {"name": {"any_": [f"kmstream-{verb}"]}}}
        return self.ask("flow_runs", flow_runs={"state": {"type": {"any_": [state]}}}, **named)

    def add_month(self, name: str, moved: float, n_each: int = 1000) -> None:
        rng = np.random.default_rng(n_each)
        centers = np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0 + moved]])
        X = np.repeat(centers, n_each, axis=0) + rng.normal(0, 0.5, (3 * n_each, 2))
        unfinished = self.project / "data" / f".{name}"
        pq.write_table(pa.table({"x": X[:, 0], "y": X[:, 1]}), unfinished)
        unfinished.rename(self.project / "data" / f"{name}.parquet")

    @property
    def store(self) -> Store:
        return Store(self.project / "out")

    def events(self) -> list[str]:
        return [line["event"] for line in self.store.history()]

    def scored(self) -> set[str]:
        manifest = self.store.assignments(self.store.current) / "_manifest.json"
        return set(json.loads(manifest.read_text())["partitions"])

    def end(self) -> None:
        for process in self.processes:
            kill_tree(process.pid)
            process.wait()


def kill_tree(pid: int) -> None:
    """End a process and all that it has started, as a power cut would."""
    try:
        family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    for process in family:
        try:
            process.send_signal(signal.SIGKILL)
        except psutil.NoSuchProcess:
            continue


def wait_for(find: Callable[[], Any], what: str, seconds: float = 120) -> Any:
    end = time.monotonic() + seconds
    while not (found := find()):
        assert time.monotonic() < end, f"waited {seconds} s for {what}"
        time.sleep(0.2)
    return found


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    try:
        site.start("server", "start", "--host", "127.0.0.1", "--port", str(site.port))

        def answers() -> bool:
            try:
                return httpx.get(f"{site.url}/health", timeout=5).status_code == 200
            except httpx.HTTPError:
                return False

        wait_for(answers, "the server")
        yield site
    finally:
        site.end()


def test_months_arrive_and_the_deployments_do_the_rest(site):
    site.run("work-pool", "create", "kmstream", "--type", "process")
    site.write_deployments(seconds=20)
    site.run("--no-prompt", "deploy", "--all")
    site.run("automation", "create", "--from-file", str(ROOT / "automations.yaml"))
    site.add_month("m01", moved=0.0)
    worker = site.start("worker", "start", "--pool", "kmstream", "--limit", "2")
    site.run("deployment", "run", "kmstream-refresh/refresh", "--watch")
    names = site.store.load().model.labels
    assert site.store.current == "v000001"

    # A new month: the schedule picks it up, drift emits the event, the trigger runs retrain.
    site.add_month("m02", moved=2.0)
    wait_for(lambda: site.store.current == "v000002", "the retraining")
    assert site.store.load().model.labels == names
    assert site.events() == ["published", "drift", "retrain-requested", "published"]
    retrained = wait_for(lambda: site.runs("retrain"), "the end of the run")[0]
    assert retrained["name"] == "retrain retail-rfm v000001"
    assert retrained["parameters"]["payload"]["severity"] == "alert"
    assert retrained["state"]["message"].endswith("every segment keeps its name.")
    artifacts = {one["key"]: one["type"] for one in site.ask("artifacts/latest")}
    assert artifacts == {"retail-rfm-segments": "markdown", "retail-rfm-drift": "table"}

    # A second event inside the cooldown wakes it, and nothing is fitted.
    site.add_month("m03", moved=8.0)
    wait_for(lambda: len(site.runs("retrain")) > 1, "the second event")
    again = next(run for run in site.runs("retrain") if run["id"] != retrained["id"])
    assert again["state"]["message"] == "Nothing is fitted anew: no request waits for a new fit."
    assert site.store.current == "v000002"
    assert site.events().count("retrain-requested") == 1

    # The worker is killed in the middle of a score, with all it has started; a new one does the rest.
    site.add_month("m04", moved=8.0, n_each=1_500_000)
    staging = site.project / "out" / "assignments" / ".v000002.score"
    wait_for(staging.exists, "a score of the large month")
    kill_tree(worker.pid)
    assert "m04.parquet" not in site.scored()
    site.start("worker", "start", "--pool", "kmstream", "--limit", "2")
    wait_for(lambda: "m04.parquet" in site.scored(), "the score to be done again", 240)
    wait_for(lambda: not staging.exists(), "the end of the score")
    assert sum(line["event"] == "drift" for line in site.store.history()) == 3
    assert site.store.current == "v000002"


def test_one_process_serves_the_same_deployments_without_a_work_pool(site):
    site.write_deployments(seconds=3600)
    site.add_month("m01", moved=0.0)
    served = site.start("flows/serve.py", program=sys.executable)
    deployments = wait_for(lambda: len(found := site.ask("deployments")) == 3 and found, "the deployments")
    assert {one["name"]: one["work_pool_name"] for one in deployments} == dict.fromkeys(["score", "refresh", "retrain"])
    assert len(site.ask("automations")) == 1
    site.run("deployment", "run", "kmstream-refresh/refresh", "--watch")
    site.add_month("m02", moved=2.0)
    site.run("deployment", "run", "kmstream-score/score", "--watch")
    wait_for(lambda: site.store.current == "v000002", "the retraining that drift asked for")
    assert site.events() == ["published", "drift", "retrain-requested", "published"]
    wait_for(lambda: site.runs("retrain"), "the end of the run")
    served.send_signal(signal.SIGINT)
    assert served.wait(60) == 0
