"""Kill runs with SIGKILL at random moments, run them again, and compare all that is left with undisturbed runs.

    python tests/benchmarks/kill.py --kills 100

Each trial starts from the same published version, kills one to three runs, and lets the last one end: a refresh over
all files, or a score of new, changed and removed ones. Prints one JSON object; exits with 1 if anything differs.
"""

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from kmstream.assignments import read_manifest
from kmstream.config import Config, parse_config
from kmstream.pipeline import refresh, score
from kmstream.report import page  # noqa: F401 - so that no child imports it, for a few seconds

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
TIMED = {"report.html", "MODEL_CARD.md", "checksums.json", "provenance.json"}  # hold seconds
VERBS = {"refresh": refresh, "score": score}


def write_file(path: Path, n_rows: int, seed: int) -> None:
    """Write rows around three centers."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 3, n_rows)
    centers = np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])[truth]
    x, y = (centers + rng.normal(size=(n_rows, 2))).T
    pq.write_table(pa.table({"id": np.arange(n_rows), "x": x, "y": y}), path, row_group_size=max(1, n_rows // 3))


def prepare(base: Path, verb: str, n_files: int, n_rows: int) -> Config:
    """Publish a first version, and make the files of the next run."""
    data = base / "data"
    data.mkdir(parents=True)
    for i in range(n_files):
        write_file(data / f"a{i:03d}.parquet", n_rows, i)
    content = {
        "name": "killed",
        "dataset": {"path": "data"},
        "features": {"numeric": ["x", "y"]},
        "model": {"n_clusters": 3, "sample_rows": 5000},
        "engine": {"workers": 2},
    }
    config = parse_config(content, base_dir=base)
    fork(lambda _: refresh(config, now=NOW))
    for i in range(n_files):
        write_file(data / f"b{i:03d}.parquet", n_rows, 1000 + i)
    write_file(data / "a001.parquet", n_rows, 2000)
    if verb == "score":
        (data / "a002.parquet").unlink()
    (base / "out").rename(base / "before")
    return config


class Told:
    """Tells the parent through a pipe which stage a run is in."""

    def __init__(self, pipe: int) -> None:
        self.pipe = pipe

    def start(self, stage: str, rows: int) -> None:
        """Tell the stage."""
        os.write(self.pipe, f"{stage}\n".encode())

    def advance(self, rows: int) -> None:
        """Say nothing."""


def fork(work: Callable[[int], object], kill_after: float | None = None) -> tuple[bool, str, float]:
    """Run work in a child process; give whether it ended by itself, the last line it told, and its seconds."""
    reading, writing = os.pipe()
    begin = time.monotonic()
    child = os.fork()
    if not child:
        code = 1
        try:
            work(writing)
            code = 0
        except Exception:  # noqa: BLE001 - told, and the exit code says it
            traceback.print_exc()
        finally:
            os._exit(code)
    os.close(writing)
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    with os.fdopen(reading) as pipe:
        told = ["start", *pipe.read().splitlines()][-1]
    if os.WIFEXITED(status) and os.WEXITSTATUS(status):
        sys.exit(f"a run failed in {told!r}")
    return os.WIFEXITED(status), told, time.monotonic() - begin


def run(config: Config, verb: str, pipe: int) -> None:
    """Make one run; the last it tells is how many files it found done."""
    result = VERBS[verb](config, progress=Told(pipe), now=NOW)
    os.write(pipe, f"resumed {result.resumed}\n".encode())


def snapshot(out: Path) -> dict[str, Any]:
    """Give every file's content, but for times."""
    found: dict[str, Any] = {}
    for path in sorted(out.rglob("*")):
        name = path.relative_to(out).as_posix()
        if path.is_dir() or path.name in TIMED or name.startswith("workspace/"):  # evidently's ids are random
            found[name] = "there"
        elif path.name == "model.json":
            content = json.loads(path.read_text())
            found[name] = content | {"passes": [done | {"seconds": 0} for done in content["passes"]]}
        else:
            found[name] = path.read_bytes()
    return found


def find_done(out: Path) -> dict[str, tuple[int, int]]:
    """Give inode and time of the files that count as done."""
    for progress in (out / "assignments").glob(".v*/.progress.npz"):
        with np.load(progress) as packed:
            n_done = json.loads(packed["told"].tobytes())["n_partitions"]
        listed = sorted(read_manifest(progress.parent))[:n_done]  # of a folder half removed: none
        stats = {path: (progress.parent / path).stat() for path in listed if (progress.parent / path).exists()}
        return {path: (stat.st_ino, stat.st_mtime_ns) for path, stat in stats.items()}
    return {}


@dataclass(frozen=True)
class Job:
    """What is killed: the folder with its data, and what an undisturbed run leaves and takes."""

    verb: str
    base: Path
    config: Config
    expected: dict[str, Any]
    seconds: float

    @classmethod
    def make(cls, verb: str, base: Path, n_files: int, n_rows: int) -> Self:
        """Make the data, and run undisturbed."""
        config = prepare(base, verb, n_files, n_rows)
        shutil.copytree(base / "before", base / "out")
        _, _, seconds = fork(lambda pipe: run(config, verb, pipe))
        return cls(verb, base, config, snapshot(base / "out"), seconds)

    def try_once(self, n_kills: int, stages: Counter[str]) -> list[str]:
        """Kill some runs, let one end; give what is wrong then."""
        out, ended, done, decided = self.base / "out", False, {}, False
        shutil.rmtree(out, ignore_errors=True)
        shutil.copytree(self.base / "before", out)
        for _ in range(n_kills):
            ended, told, _ = fork(lambda pipe: run(self.config, self.verb, pipe), random.uniform(0.0, self.seconds))
            if ended:
                break
            stages[told] += 1
            if self.verb == "refresh" and (out / "models/CURRENT").read_bytes() == self.expected["models/CURRENT"]:
                # It had published: another refresh would make one more version. Any command does what was left to do.
                fork(lambda pipe: run(self.config, "score", pipe))
                ended = True
                break
            done = find_done(out)
            # A score that has noted its end is not repeated; a version that was being saved is compared as a whole.
            decided = any((out / "assignments").glob(".v*/.commit.json")) or (out / "models/.unfinished").exists()
        if not ended:
            _, told, _ = fork(lambda pipe: run(self.config, self.verb, pipe))
        found = snapshot(out)
        problems = [name for name in sorted(self.expected | found) if self.expected.get(name) != found.get(name)]
        if not ended and not decided and done:
            stages["(went on from files that were done)"] += 1
            if told != f"resumed {len(done)}":
                problems.append(f"{told}, though {len(done)} files were done")
            folder = out / "assignments" / ("v000002" if self.verb == "refresh" else "v000001")
            there = {path: (folder / path).stat() for path in done}
            again = [path for path, stat in there.items() if (stat.st_ino, stat.st_mtime_ns) != done[path]]
            problems += [f"{path} was written again" for path in again]
        return [f"{self.verb}: {problem}" for problem in problems]


def main() -> None:
    """Kill, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--files", type=int, default=60)
    parser.add_argument("--rows", type=int, default=3000, help="of each file")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    random.seed(given.seed)
    stages: Counter[str] = Counter()
    problems: list[str] = []
    n_trials = 0
    with tempfile.TemporaryDirectory() as folder:
        jobs = [Job.make(verb, Path(folder) / verb, given.files, given.rows) for verb in VERBS]
        while (n_kills := sum(n for stage, n in stages.items() if not stage.startswith("("))) < given.kills:
            problems += jobs[n_trials % 2].try_once(1 + n_trials % 3, stages)
            n_trials += 1
    undisturbed = {job.verb: round(job.seconds, 2) for job in jobs}
    found = {"kills": n_kills, "trials": n_trials, "seconds undisturbed": undisturbed, "stage when killed": stages}
    print(json.dumps(found | {"problems": problems}, indent=1))
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
