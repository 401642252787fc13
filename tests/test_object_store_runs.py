"""Several runs at once on an object store, and runs that are killed: one holds the lock, and the others are told."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from command_line import assert_fails, run
from s3_server import S3Server
from stored_shop import LATER, assert_whole, at, free_lock, tell_output, write

from kmstream.assignments import read_manifest
from kmstream.config import Config
from kmstream.errors import LockHeldError
from kmstream.pipeline import refresh, score
from kmstream.storage import lease, list_files, read_text, replace_bytes
from kmstream.store import Store

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("s3")]


# Loads everything once, then forks for each line of arguments, tells the process and, when that ends, how.
FORKS = """
import json, os, sys
import evidently.legacy.utils
import kmstream.pipeline, kmstream.report.snapshot
from kmstream.cli import main
from kmstream.storage import lease
from s3fs import S3FileSystem
lease.LEASE_SECONDS, S3FileSystem.read_timeout = 2.0, 1.0
for line in sys.stdin:
    process = os.fork()
    if not process:
        folder, *sys.argv[1:] = json.loads(line)
        sys.argv[0] = "kmstream"
        os.chdir(folder)
        os.dup2(os.open("errors", os.O_WRONLY | os.O_CREAT), 2)
        os.dup2(2, 1)
        main()
    print(process, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), flush=True)
"""


@pytest.fixture(scope="module")
def forks(_started_s3: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[subprocess.Popen[str]]:
    environment = {**os.environ, **_started_s3.environment, "TMPDIR": str(tmp_path_factory.mktemp("forks"))}
    command = [sys.executable, "-c", FORKS]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=environment, **pipes) as process:
        yield process
        process.stdin.close()


@dataclass(frozen=True)
class Started:
    """A process of its own that runs kmstream, with a lease of two seconds."""

    process: int
    folder: Path
    forks: subprocess.Popen[str]

    def send(self, what: signal.Signals) -> None:
        os.kill(self.process, what)

    def wait(self) -> tuple[int, str]:
        """Give its exit code, and what it said."""
        return int(self.forks.stdout.readline()), (self.folder / "errors").read_text()


@pytest.fixture
def start(forks: subprocess.Popen[str], at_shop: Path) -> Callable[[str], Started]:
    def start(verb: str) -> Started:
        forks.stdin.write(json.dumps([str(at_shop), verb]) + "\n")
        forks.stdin.flush()
        return Started(int(forks.stdout.readline()), at_shop, forks)

    return start


@pytest.mark.parametrize(
    ("verb", "kind", "key"),
    [
        ("refresh", "PUT", "*/assignments/v000002/m2.parquet"),
        ("refresh", "PUT", "*/models/CURRENT"),
        ("score", "COPY", "*/assignments/v000001/m3.parquet"),
    ],
)
def test_a_run_that_is_killed_leaves_nothing_half_done(s3, shop, start, verb, kind, key):
    refresh(shop, now=at(1))
    before = tell_output(shop.output.path)
    write(shop.dataset.path, LATER)
    s3.proxy.clear()
    s3.proxy.fail(kind, key, how="timeout", times=None)
    killed = start(verb)
    s3.proxy.wait_for(kind, key)
    killed.send(signal.SIGKILL)
    assert killed.wait()[0] == -signal.SIGKILL
    s3.proxy.clear()
    assert Store(shop.output.path).current == "v000001"
    assert_whole(shop)
    after = tell_output(shop.output.path)
    assert {path for path, told in before.items() if after.get(path) != told} <= {"models/history.jsonl"}
    free_lock(shop)
    (refresh if verb == "refresh" else score)(shop, now=at(3))
    assert_whole(shop)
    store = Store(shop.output.path)
    assert sorted(read_manifest(store.assignments(store.current))) == ["m1.parquet", "m2.parquet", "m3.parquet"]
    assert not [path for path in list_files(store.output) if "/.v" in path or ".progress" in path]
    lines = [(line["event"], line.get("run_id", line["version"])) for line in store.history()]
    assert len(lines) == len(set(lines))


def wait_for_lock(config: Config) -> None:
    """Wait until a lock that could not be given back has ended."""
    for _ in range(600):
        try:
            with Store(config.output.path).lock(config.name):
                return
        except LockHeldError:
            threading.Event().wait(0.05)
    pytest.fail("the lock has not ended")


def test_a_run_whose_lock_was_taken_publishes_nothing(s3, shop, start):
    """It is suspended for longer than its lease, another one takes over, and it goes on."""
    fault = s3.proxy.fail("PUT", "*/assignments/v000001/m2.parquet", how="timeout")
    late = start("refresh")
    s3.proxy.wait_for("PUT", "*/assignments/v000001/m2.parquet")
    late.send(signal.SIGSTOP)
    fault.end()
    wait_for_lock(shop)
    write(shop.dataset.path, LATER)
    refresh(shop, now=at(1))
    published = tell_output(shop.output.path)
    late.send(signal.SIGCONT)
    code, said = late.wait()
    assert code == 6, said
    assert said.startswith("LockHeldError: ")  # by its lease, or by what the other one has written: what it meets first
    found = tell_output(shop.output.path)
    assert [path for path in {*found, *published} if found.get(path) != published.get(path)] == []
    assert_whole(shop)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(("name", "kind"), [("CURRENT", "HEAD"), ("history.jsonl", "GET")])
def test_what_another_run_has_published_meanwhile_is_not_replaced(s3, shop, monkeypatch, name, kind):
    """This one has lost its lock while it waited for what was there before."""
    monkeypatch.setattr(lease, "LEASE_SECONDS", 1.0)
    store = Store(shop.output.path)
    place = store.models / name
    replace_bytes(place, b"before\n")
    with ThreadPoolExecutor(1) as pool, store.lock("blobs"):
        s3.proxy.clear()
        s3.proxy.fail(kind, f"*/{name}", how="timeout")
        if name == "CURRENT":
            done = pool.submit(store.set_current, "v000001")
        else:
            done = pool.submit(store.log, "published", at(1), version="v000001")
        s3.proxy.wait_for(kind, f"*/{name}")
        put_lock(store.models / ".lock")
        place.fs.pipe_file(place.path, b"theirs\n")
        with pytest.raises(LockHeldError):
            done.result()
    assert read_text(place) == "theirs\n"


def put_lock(place: Any) -> None:
    """Take a lock that has not ended, as if it had."""
    place.fs.pipe_file(place.path, json.dumps({"host": "elsewhere", "pid": 1, "seconds": 60.0}).encode())


@pytest.mark.usefixtures("at_shop")
def test_of_two_runs_at_once_one_is_told_who_holds_the_lock(shop):
    who = ("another run of 'blobs' holds the lock", f"process {os.getpid()}", "/models/.lock")
    with Store(shop.output.path).lock("blobs"):
        for verb in ("refresh", "score"):
            assert_fails(run(verb), 6, *who)


def test_no_line_of_the_history_is_lost_among_many_writers(shop):
    stores = [Store(shop.output.path) for _ in range(4)]

    def log(n: int) -> None:
        for line in range(3):
            stores[n].log("renamed", at(1), old=f"{n}", new=f"{line}")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(log, range(4)))
    lines = [(line["old"], line["new"]) for line in stores[0].history()]
    assert sorted(lines) == [(f"{n}", f"{line}") for n in range(4) for line in range(3)]
