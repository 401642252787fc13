"""How a refresh on a Dask cluster grows with rows and workers: measured, foretold by a short model, and extrapolated.

usage: growth.py [--rows 1 4 10 40] [--workers 1 2 4] [--data FOLDER]      rows in millions, 16 features, 24 clusters

The model has two figures for each stage, what it takes whatever the rows and what a row takes on one core, and three
for what travels: bytes of a task, of a result, of what a run sends besides. They are fitted to two runs with one worker
(the fewest rows and the most); every other line is foretold. A worker is a process with one thread; more
workers than cores gain nothing, which the model knows.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from make_data import make_data

from kmstream.dataset import SPAN_ROWS
from kmstream.engine import MAX_TASKS

MILLION = 1_000_000
N_CLUSTERS, N_FEATURES = 24, 16
PARALLEL = ("scan", "exact", "assign")  # what workers do; the rest is this process's, and does not grow
N_EXACT = 2
LOOPBACK = Path("/sys/class/net/lo/statistics/tx_bytes")
SAMPLE_BYTES = 100_000 * (8 * N_FEATURES + 4 + 8)
# A task is the function, the centroids, the place of a span; a result, packed, what a worker adds up (without samples).
TASK_BYTES = {"scan": 2_300, "exact": 6_400, "assign": 7_400}
RESULT_BYTES = {"scan": 1_500, "exact": 3_100, "assign": 14_500}
HOPS = 2  # what is sent goes by the scheduler
# What nobody measures on one machine, for the extrapolation
STORE_BYTES_PER_SECOND = 100e6  # a worker reads from an object store
TASK_SECONDS = 1e-3  # the scheduler's work for a task
CLIENT_BYTES_PER_SECOND = 125e6  # 1 Gbit/s
ROW_BYTES = 160  # on disk, of which the features
FEATURE_BYTES = 134
FILE_BYTES = 128 << 20
PARTITION_BYTES = 2_000  # of the client's memory, for each file, its spans and its line of the manifest
GET_SECONDS, GETS_AT_ONCE = 0.03, 32


@dataclass(frozen=True)
class Measured:
    """A run: seconds by stage, and bytes over the loopback interface."""

    rows: int
    workers: int
    seconds: Mapping[str, float]
    bytes_moved: int

    @property
    def total(self) -> float:
        return sum(self.seconds.values())


@dataclass(frozen=True)
class Model:
    """Seconds of each stage: `fixed`, and `per_row` on one core."""

    fixed: Mapping[str, float]
    per_row: Mapping[str, float]
    other_bytes: float
    cores: int

    def seconds(self, rows: int, workers: int) -> dict[str, float]:
        """Pieces are done in rounds, one for each worker that has a core."""
        n_pieces = -(-rows // MILLION)
        rounds = -(-n_pieces // min(workers, self.cores))
        return {stage: self.fixed[stage] + self.per_row[stage] * rounds * rows / n_pieces for stage in self.fixed}

    def bytes_moved(self, rows: int) -> float:
        return count_task_bytes(rows) + self.other_bytes


def count_tasks(n_pieces: int) -> int:
    """Tasks of a pass over so many spans or files."""
    size = max(1, -(-n_pieces // MAX_TASKS))
    return -(-n_pieces // size)


def count_task_bytes(rows: int, rows_per_file: int = MILLION) -> float:
    """Bytes of all tasks and results of a run."""
    n_files = -(-rows // rows_per_file)
    tasks = {stage: count_tasks(n_files * -(-rows_per_file // SPAN_ROWS)) for stage in ("scan", "exact")}
    tasks |= {"exact": N_EXACT * tasks["exact"], "assign": count_tasks(n_files)}
    sent = sum(n * (TASK_BYTES[stage] + RESULT_BYTES[stage]) for stage, n in tasks.items())
    return HOPS * (sent + SAMPLE_BYTES)


def fit_model(few: Measured, many: Measured, cores: int) -> Model:
    """Fit the figures to two runs with one worker."""
    per_row = {
        stage: max(0.0, (many.seconds[stage] - few.seconds[stage]) / (many.rows - few.rows)) if stage in PARALLEL else 0
        for stage in few.seconds
    }
    fixed = {
        stage: (few.seconds[stage] - per_row[stage] * few.rows + many.seconds[stage] - per_row[stage] * many.rows) / 2
        for stage in few.seconds
    }
    other = (few.bytes_moved - count_task_bytes(few.rows) + many.bytes_moved - count_task_bytes(many.rows)) / 2
    return Model(fixed, per_row, other, cores)


def measure(data: Path, rows: int, workers: int) -> Measured:
    """Refresh so many millions of rows on so many workers, from an empty output; the cluster is warm."""
    from distributed import Client, LocalCluster

    names = ", ".join(f'"f{j}"' for j in range(N_FEATURES))
    with (
        tempfile.TemporaryDirectory() as work,
        LocalCluster(n_workers=workers, threads_per_worker=1, processes=True, dashboard_address=None) as cluster,  # type: ignore[no-untyped-call]
    ):
        with Client(cluster) as client:  # type: ignore[no-untyped-call]
            client.run(warm_up)
        config = Path(work) / "kmstream.toml"
        config.write_text(
            f'name = "growth"\ndataset.path = "{data}"\noutput.path = "{work}/out"\n[features]\nnumeric = [{names}]\n'
            f"[model]\nn_clusters = {N_CLUSTERS}\ntol = 0.0\nlloyd_passes = {N_EXACT}\n"
            f'[engine]\ndask_address = "{cluster.scheduler_address}"\nworkers = {workers}\n'
        )
        only = [f"part-{number:04d}.parquet" for number in range(rows // MILLION)]
        command = [str(Path(sys.executable).with_name("kmstream")), "refresh", "-c", str(config), "--json"]
        command += [word for name in only for word in ("--only", name)]
        before = int(LOOPBACK.read_text())
        told = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        moved = int(LOOPBACK.read_text()) - before
        passes = json.loads((Path(work) / "out/models/v000001/model.json").read_text())["passes"]
    exact = sum(one["seconds"] for one in passes if one["pass"] == "exact")
    seconds = {stage: told["seconds"][stage] for stage in ("scan", "assign")} | {"exact": exact}
    seconds["client"] = told["seconds"]["total"] - sum(seconds.values())
    return Measured(rows, workers, seconds, moved)


def warm_up() -> None:
    """Load in a worker what its first task would load."""
    import kmstream.pipeline  # noqa: F401
    from kmstream.clustering import load_kernels

    load_kernels()


def compare(data: Path, sizes: Sequence[int], workers: Sequence[int]) -> Model:
    """Measure every combination, and print it beside what the model foretells."""
    cores = len(os.sched_getaffinity(0))
    runs = [measure(data, rows, n) for rows in sizes for n in workers]
    few, many = (next(run for run in runs if run.rows == rows and run.workers == 1) for rows in (sizes[0], sizes[-1]))
    model = fit_model(few, many, cores)
    stages = list(few.seconds)
    print(f"\n{'rows':>6} {'workers':>8}" + "".join(f"{stage:>8}" for stage in stages) + f"{'total':>8}{'foretold':>9}"
          f"{'ratio':>7}{'MB':>8}{'foretold':>9}{'ratio':>7}")  # fmt: skip
    for run in runs:
        total, moved = sum(model.seconds(run.rows, run.workers).values()), model.bytes_moved(run.rows)
        note = "  calibration" if run in (few, many) else ""
        figures = "".join(f"{run.seconds[stage]:8.2f}" for stage in stages)
        print(
            f"{run.rows // MILLION:5}M {run.workers:8}{figures}{run.total:8.2f}{total:9.2f}{run.total / total:7.2f}"
            f"{run.bytes_moved / 1e6:8.1f}{moved / 1e6:9.1f}{run.bytes_moved / moved:7.2f}{note}"
        )
    print("\nmicroseconds per row and core: "
          + ", ".join(f"{stage} {1e6 * model.per_row[stage]:.3f}" for stage in PARALLEL))  # fmt: skip
    return model


def extrapolate(model: Model, dataset_bytes: float, workers: int) -> None:
    """Say what a dataset of files of 128 MiB in an object store would take."""
    rows, n_files = dataset_bytes / ROW_BYTES, int(dataset_bytes / FILE_BYTES)
    pieces = max(n_files, int(rows / SPAN_ROWS))
    tasks = {stage: count_tasks(n_files if stage == "assign" else pieces) for stage in PARALLEL}
    print(f"\n{dataset_bytes / 1e12:g} TB: {rows:.3g} rows in {n_files:,} files, {workers:,} workers")
    print(
        f"{'pass':8}{'tasks':>7}{'read TB':>9}{'flop':>10}{'compute s':>11}{'read s':>9}"
        f"{'scheduler s':>12}{'client s':>9}"
    )
    total = 0.0
    for stage in PARALLEL:
        times = N_EXACT if stage == "exact" else 1
        n_read = rows * FEATURE_BYTES * times
        compute = model.per_row[stage] * rows / workers
        read = n_read / workers / STORE_BYTES_PER_SECOND
        scheduler = tasks[stage] * times * TASK_SECONDS
        client = tasks[stage] * times * RESULT_BYTES[stage] / CLIENT_BYTES_PER_SECOND
        flop = 0 if stage == "scan" else 2 * rows * times * N_CLUSTERS * N_FEATURES
        print(
            f"{stage:8}{tasks[stage]:7,}{n_read / 1e12:9.1f}{flop:10.1e}{compute:11.0f}{read:9.0f}"
            f"{scheduler:12.1f}{client:9.1f}"
        )
        total += max(compute + read, scheduler, client)
    listing = n_files / 1000 * 0.1
    here = n_files * GET_SECONDS / GETS_AT_ONCE
    print(
        f"listing {listing:.0f} s; footers {here:.0f} s by the client's threads, {here / workers:.1f} s by the workers'"
    )
    print(f"client's memory for {n_files:,} files: {n_files * PARTITION_BYTES / 2**30:.2f} GiB")
    print(f"about {(total + listing + here / workers + sum(model.fixed.values())) / 60:.0f} minutes")


def main() -> None:
    """Make the data, measure, foretell, extrapolate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 4, 10, 40], help="millions (%(default)s)")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--data", type=Path, help="where the data are made and kept (a temporary folder)")
    given = parser.parse_args()
    print(f"{datetime.now(UTC):%Y-%m-%d}, {platform.machine()}, Python {platform.python_version()}")
    with tempfile.TemporaryDirectory() as temporary:
        data = given.data or Path(temporary)
        if not (data / f"part-{max(given.rows) - 1:04d}.parquet").exists():
            make_data(data, files=max(given.rows), rows=MILLION, clusters=N_CLUSTERS)
        model = compare(data, [rows * MILLION for rows in sorted(given.rows)], given.workers)
    extrapolate(model, 1e12, 100)
    extrapolate(model, 1e14, 1000)


if __name__ == "__main__":
    main()
