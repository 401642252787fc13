"""A Prefect server with what a segmentation needs around it: started as people start them, and ended."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from subprocess import DEVNULL, Popen
from typing import Any

import httpx
import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from command_line import config_text

from kmstream.assignments import read_manifest
from kmstream.store import Store

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent
DEPLOYED = ("flows", "prefect.yaml", "automations.yaml", "docker/deploy.sh")


class Site:
    """A folder with the flows, the files of their deployments and a configuration, and the server that runs them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.project = folder, folder / "project"
        self.project.mkdir()
        for source in DEPLOYED:
            copy = shutil.copytree if (ROOT / source).is_dir() else shutil.copy
            copy(ROOT / source, self.project / Path(source).name)
        (self.project / "data").mkdir()
        (self.project / "kmstream.toml").write_text(config_text(name="retail-rfm"))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/api"
        self.env = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT")} | {
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "DO_NOT_TRACK": "1",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_HOME": str(folder / "home"),
            "PREFECT_API_URL": self.url,
            "PREFECT_SERVER_UI_ENABLED": "false",
            # What a server does every minute, this one does every second or two.
            "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "2",
            "PREFECT_SERVER_SERVICES_REPOSSESSOR_LOOP_SECONDS": "1",
            "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_FLUSH_INTERVAL": "0.5",
            "PREFECT_WORKER_QUERY_SECONDS": "1",
        }
        self.processes: list[Popen[bytes]] = []
        self.worker: Popen[bytes] | None = None
        self.store = Store(self.project / "out")

    # Processes

    def start(self, *command: str) -> Popen[bytes]:
        """Start a program in the folder; its output is in a log beside that."""
        with (self.folder / f"{len(self.processes)}-{command[0]}.log").open("wb") as log:
            self.processes.append(Popen(command, cwd=self.project, env=self.env, stdin=DEVNULL, stdout=log, stderr=log))
        return self.processes[-1]

    def start_worker(self) -> None:
        self.worker = self.start("prefect", "worker", "start", "--pool", "kmstream", "--limit", "2")

    def deploy(self) -> None:
        """Make the work pool, the deployments and the automations, as docker/compose.yaml does it."""
        command = ["sh", "-e", "deploy.sh"]
        done = subprocess.run(command, cwd=self.project, env=self.env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    def end(self) -> None:
        for process in self.processes:
            kill_tree(process)

    # What the server knows

    def ask(self, what: str, **filters: Any) -> list[dict[str, Any]]:
        return self.post(f"{what}/filter", filters)

    def post(self, path: str, content: Any) -> Any:
        return self._request("POST", path, json=content).json()

    def _request(self, method: str, path: str, **content: Any) -> httpx.Response:
        def answered() -> httpx.Response | None:
            found = httpx.request(method, f"{self.url}/{path}", timeout=30, **content)
            return None if found.status_code == 503 else found  # its database is busy

        answer = wait_for(answered, path)
        assert answer.is_success, answer.text
        return answer

    def runs(self, verb: str, state: str = "COMPLETED") -> list[dict[str, Any]]:
        named = {"flows": {"name": {"any_": [f"kmstream-{verb}"]}}}
        return self.ask("flow_runs", flow_runs={"state": {"type": {"any_": [state]}}}, **named)

    def start_run(self, verb: str) -> None:
        """Start a run of a deployment now."""
        self.post(f"deployments/{self._find_deployment(verb)}/create_flow_run", {})

    def run(self, verb: str) -> None:
        """Start a run, and wait for its end."""
        n_before = len(self.runs(verb))
        self.start_run(verb)
        wait_for(lambda: len(self.runs(verb)) > n_before, f"the end of the {verb}")

    @contextmanager
    def scheduled(self, verb: str, seconds: float) -> Iterator[None]:
        """Let a deployment have a further schedule, due in a moment, and then after so many seconds again."""
        due = datetime.now(UTC) + timedelta(seconds=3)
        schedule = {"interval": seconds, "anchor_date": due.isoformat(), "timezone": "UTC"}
        path = f"deployments/{self._find_deployment(verb)}/schedules"
        (made,) = self.post(path, [{"schedule": schedule, "active": True}])
        try:
            yield
        finally:
            self._request("DELETE", f"{path}/{made['id']}")

    def _find_deployment(self, verb: str) -> str:
        return next(one["id"] for one in self.ask("deployments") if one["name"] == verb)

    # The segmentation

    def add_month(self, name: str, moved: float) -> None:
        """Add rows around three centers, one of which has moved."""
        rng = np.random.default_rng(1000)
        centers = np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0 + moved]])
        X = np.repeat(centers, 1000, axis=0) + rng.normal(0, 0.5, (3000, 2))
        unfinished = self.project / "data" / f".{name}"
        pq.write_table(pa.table({"x": X[:, 0], "y": X[:, 1]}), unfinished)
        unfinished.rename(self.project / "data" / f"{name}.parquet")

    def events(self) -> list[str]:
        return [line["event"] for line in self.store.history()]

    def scored(self) -> set[str]:
        return set(read_manifest(self.store.assignments(self.store.current)))


@contextmanager
def prefect_site(folder: Path) -> Iterator[Site]:
    site = Site(folder)
    try:
        site.start("prefect", "server", "start", "--host", "127.0.0.1", "--port", str(site.port))

        def answers() -> bool:
            with suppress(httpx.HTTPError):
                return httpx.get(f"{site.url}/health", timeout=5).status_code == 200
            return False

        wait_for(answers, "the server")
        yield site
    finally:
        site.end()


def kill_tree(process: Popen[bytes]) -> None:
    """End a process and all that it has started, as a power cut would."""
    with suppress(psutil.NoSuchProcess):
        for one in [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):
                one.send_signal(signal.SIGKILL)
    process.wait()


def wait_for(find: Callable[[], Any], what: str, seconds: float = 120) -> Any:
    end = time.monotonic() + seconds
    while not (found := find()):
        assert time.monotonic() < end, f"waited {seconds} s for {what}"
        time.sleep(0.2)
    return found
