"""Real Dask clusters: a scheduler and workers as processes of their own, started as people start them, and ended."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Self

import numpy as np
from distributed import Client

from kmstream.engine import check_wanted

ROOT = Path(__file__).parent.parent


class Cluster:
    """One scheduler with its workers, each of one thread, in the order in which they came."""

    def __init__(self, folder: Path, *, port: int = 0, environ: dict[str, str] | None = None) -> None:
        self.folder, self.processes = folder, []
        folder.mkdir(parents=True, exist_ok=True)
        self._file = folder / "scheduler.json"
        self._file.unlink(missing_ok=True)
        self.scheduler = self._start(
            "scheduler", "--port", str(port), "--scheduler-file", self._file, **(environ or {})
        )
        self.client = Client(scheduler_file=str(self._file), set_as_default=False)
        self.address = self.client.scheduler.address

    def add(self, n_workers: int = 1, *options: str, **environ: str) -> Self:
        """Start workers, and wait until they are there."""
        there = len(self.workers)
        for _ in range(n_workers):
            work = ("--scheduler-file", self._file, "--local-directory", self.folder, "--nthreads", "1")
            self._start("worker", *work, *options, **environ)
        self.client.wait_for_workers(there + n_workers, timeout=30)
        return self

    @property
    def workers(self) -> dict[str, int]:
        """The process of each worker, by its address."""
        return self.client.run(os.getpid)

    def busy_worker(self) -> tuple[str, int]:
        """Address and process of a worker that has tasks; any where none has."""
        tasks = self.client.processing()
        address = max(tasks, key=lambda one: len(tasks[one]))
        return address, self.workers[address]

    def signal_busy_worker(self, number: int) -> tuple[str, int]:
        address, process = self.busy_worker()
        os.kill(process, number)
        return address, process

    def stop(self) -> None:
        """End everything, whatever state it is in."""
        self.client.close()
        self._kill(self.processes)

    def stop_workers(self) -> None:
        """End all workers, and wait until the scheduler knows."""
        self._kill([process for process in self.processes if process is not self.scheduler])
        while self.client.nthreads():
            pass

    def _kill(self, processes: list[subprocess.Popen[bytes]]) -> None:
        for process in processes:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # a nanny with its worker
            process.wait()
        self.processes = [process for process in self.processes if process not in processes]

    def _start(self, what: str, *options: object, **environ: str) -> subprocess.Popen[bytes]:
        paths = [environ.pop("PYTHONPATH", ""), str(ROOT), str(ROOT / "tests")]
        command = [sys.executable, "-m", f"distributed.cli.dask_{what}", "--no-dashboard", *map(str, options)]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))} | environ
        with (self.folder / f"{what}{len(self.processes)}.log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)
        self.processes.append(process)
        return process


class At:
    """Progress that does something once, when the first piece of a stage is done."""

    def __init__(self, **actions: Callable[[], object]) -> None:
        self.actions, self.stage, self.rows = actions, "", {}

    def start(self, stage: str, rows: int) -> None:
        self.stage = stage.replace(" ", "_")

    def advance(self, rows: int) -> None:
        self.rows[self.stage] = self.rows.get(self.stage, 0) + rows
        action = self.actions.pop(self.stage, None)
        if action is not None:
            action()


# What workers are given to do; they import it from here.


def find_process(_: object) -> int:
    return os.getpid()


def eat_memory(n_bytes: int) -> int:
    """Take so much memory, and wait to be killed for it."""
    held = [np.ones(1 << 20) for _ in range(n_bytes >> 23)]
    threading.Event().wait(60)
    return len(held)


def ask_for_too_much(n_bytes: int) -> int:
    return len(np.empty(n_bytes, np.int8))


def fail(_: object) -> None:
    msg = "as it was told"
    raise LookupError(msg)


def wait_until_unwanted(path: Path) -> int:
    """Work until the run ends, and leave a mark before and after; the first item is done at once."""
    if path.name == "0":
        return 0
    path.touch()
    try:
        while True:
            check_wanted()
    finally:
        path.with_suffix(".ended").touch()
