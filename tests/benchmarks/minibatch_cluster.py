"""Where the mini-batch stage is fastest with a cluster: all batches in one place, or synchronous ones on its workers.

usage: minibatch_cluster.py [--files 4] [--rows 1000000] [--pairs 5] [--workers 2] [--ordered]

One place: this process reads the rows and takes a step for each batch, as `kmstream refresh` does. Synchronous: each
worker assigns the next batch of its own spans to the centroids it is sent, and returns sums and counts; one place adds
them in the order of the workers, and sends the centroids of the next round. Its workers even keep their files open
between two rounds, which a worker that may die could not promise. Both start from the same centroids and end by the
same rule. Prints the median of each figure, and of the ratios pair by pair.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
from distributed import Client, LocalCluster, get_worker
from make_data import make_data

from kmstream.clustering import ClusterSums, find_radii, sum_by_cluster
from kmstream.config import parse_config
from kmstream.dataset import Span, open_dataset
from kmstream.engine import Silent, single_threaded
from kmstream.features import Rows, clip, encode
from kmstream.fit import _choose_start, _stream_epochs, _sum_span
from kmstream.matrices import Matrices
from kmstream.minibatch import find_still
from kmstream.provenance import Clock
from kmstream.run import Run, start_run
from kmstream.scan import make_scaling, scan_dataset
from kmstream.search import SampleFit
from kmstream.store import Store

LOOK_EVERY = 64  # steps, as in kmstream.minibatch


@dataclass(frozen=True)
class Setting:
    """What both ways begin with."""

    run: Run
    matrices: Matrices
    start: SampleFit
    sample: Rows


@dataclass(frozen=True)
class Found:
    """Where a way ended, and what it took."""

    centroids: np.ndarray
    rows: int
    seconds: float
    moved_bytes: float


def prepare(data: Path, work: Path) -> Setting:
    """Scan the data, and search the start centroids."""
    features = [f"f{j}" for j in range(16)]
    content = {
        "name": "bench",
        "dataset": {"path": str(data)},
        "features": {"numeric": features},
        "model": {"n_clusters": 24, "n_init": 3},
        "output": {"path": str(work)},
    }
    config = parse_config(content, base_dir=work)
    run = start_run(config, Store(config.output.path), open_dataset(config), Clock(), Silent())
    scan = scan_dataset(run, statistics=True)
    scaling = make_scaling(config.features, scan)
    matrices = Matrices.of(run, config.features, scaling)
    sample = clip(encode(scan.sample, config.features, scaling).rows, config.features)
    return Setting(run, matrices, _choose_start(run, sample, None), sample)


def stream_in_one_place(setting: Setting, client: Client) -> Found:
    """Do what a refresh does; the workers have nothing to do."""
    started = time.perf_counter()
    centroids, passes = _stream_epochs(setting.run, setting.matrices, setting.start, setting.sample)
    seconds, rows, dataset = time.perf_counter() - started, sum(done.rows for done in passes), setting.run.dataset
    return Found(centroids, rows, seconds, rows * sum(p.feature_bytes for p in dataset.partitions) / dataset.rows)


def assign_next_batch(
    name: str, matrices: Matrices, spans: list[Span], batch_size: int, centroids: np.ndarray
) -> ClusterSums:
    """Give sums and counts of this worker's next batch; of no rows at the end of its spans."""
    worker: Any = get_worker()
    if getattr(worker, "stream_name", None) != name:
        worker.stream_name, worker.stream = name, read_batches_of(matrices, spans, batch_size)
        worker.limits = single_threaded()
    nothing = ClusterSums.empty(*centroids.shape)
    rows = next(worker.stream, None)
    return nothing if rows is None else sum_by_cluster(rows, centroids, nothing)


def read_batches_of(matrices: Matrices, spans: list[Span], batch_size: int) -> Iterator[Rows]:
    """Read spans in batches of one size; the last rows that fill none are left out."""
    held = np.empty((0, matrices.scaling.n_features), np.float32)
    for span in spans:
        for rows in matrices.read(span):
            held = np.concatenate([held, rows.kept().X])
            for first in range(0, len(held) - batch_size + 1, batch_size):
                yield Rows(held[first : first + batch_size], np.ones(batch_size, np.bool_))
            held = held[len(held) // batch_size * batch_size :]


def stream_synchronously(setting: Setting, client: Client) -> Found:
    """Let each worker work on a batch, add up, send the new centroids, and so on."""
    config, spans, start = setting.run.config.model, setting.run.dataset.spans, setting.start
    still = find_still(start, find_radii(setting.sample, start.centroids), config.tol)
    matrices = replace(setting.matrices, dataset=setting.run.source)
    workers = sorted(client.scheduler_info(n_workers=-1)["workers"])
    started, n_rows, step = time.perf_counter(), 0, 0
    centroids, counts = start.centroids.copy(), start.rows.astype(np.float64)
    before = centroids.copy()
    for epoch in range(config.max_epochs):
        order = np.random.default_rng((config.random_state, epoch)).permutation(len(spans))
        own = [[spans[i] for i in order[n :: len(workers)]] for n in range(len(workers))]
        name = f"{time.monotonic_ns()}"
        functions = [partial(assign_next_batch, name, matrices, some, config.batch_size) for some in own]
        while True:
            futures = [
                client.submit(function, centroids, workers=[worker], pure=False)
                for function, worker in zip(functions, workers, strict=True)
            ]
            found = client.gather(futures)
            for one in found:
                counts += one.counts
                shift = (one.sums - one.counts[:, None] * centroids) / np.where(counts > 0, counts, 1)[:, None]
                centroids, n_rows, step = centroids + shift, n_rows + int(one.counts.sum()), step + 1
            settled = False
            if step % LOOK_EVERY < len(workers):
                moves = np.linalg.norm(centroids - before, axis=1)
                settled = n_rows >= len(setting.sample.X) and bool((moves <= still).all())
                before = centroids.copy()
            if settled or not any(one.counts.any() for one in found):
                break
        if settled:
            break
    seconds = time.perf_counter() - started
    both_ways = len(cloudpickle.dumps((functions[0], centroids))) + len(cloudpickle.dumps(found[0]))
    return Found(centroids, n_rows, seconds, float(step * both_ways))


def inertia_per_row(setting: Setting, centroids: np.ndarray) -> float:
    """Measure centroids over all rows."""
    nothing = ClusterSums.empty(*centroids.shape)
    function = partial(_sum_span, setting.matrices, centroids)
    total = setting.run.fold("inertia", function, setting.run.dataset.spans, nothing, ClusterSums.merge)
    return total.sse(centroids) / float(total.counts.sum())


WAYS: dict[str, Callable[[Setting, Client], Found]] = {
    "one place": stream_in_one_place,
    "synchronous": stream_synchronously,
}


def main() -> None:
    """Run the pairs and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=4)
    parser.add_argument("--rows", type=int, default=1_000_000, help="of each file")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--ordered", action="store_true", help="rows sorted by cluster")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, single_threaded():
        data = Path(folder) / "data"
        make_data(data, files=given.files, rows=given.rows, ordered=given.ordered)
        setting = prepare(data, Path(folder) / "out")  # before there is a cluster: its sums are the same anywhere
        runs: dict[str, list[Found]] = {name: [] for name in WAYS}
        with (
            LocalCluster(n_workers=given.workers, threads_per_worker=1, dashboard_address=None) as cluster,
            Client(cluster, set_as_default=False) as client,
        ):
            for way in WAYS.values():
                way(setting, client)  # once for nothing: what is imported, and the cache of the disk
            for number in range(given.pairs):
                for name in list(WAYS) if number % 2 == 0 else reversed(WAYS):
                    runs[name].append(WAYS[name](setting, client))
        for name, found in runs.items():
            inertia = inertia_per_row(setting, found[-1].centroids)
            seconds = statistics.median(one.seconds for one in found)
            print(
                f"{name:12} {seconds:7.2f} s  {found[-1].rows:9,} rows  {found[-1].rows / seconds / 1e6:6.2f} M rows/s"
                f"  {found[-1].moved_bytes / 2**20:7.1f} MiB moved  inertia per row {inertia:.5f}"
            )
        ratios = [two.seconds / one.seconds for one, two in zip(*runs.values(), strict=True)]
        print(f"synchronous / one place: {statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})")


if __name__ == "__main__":
    main()
