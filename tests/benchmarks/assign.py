"""Time the assign pass for several layouts, beside `cp` of the files and beside pyarrow reading and writing them again.

usage: assign.py [--large] [--times 3] [--data FOLDER]
``--large`` adds 10 million rows in 10 files, and one file of 4 GB with 100 row groups (30 GB of disk). Each figure
is of a fresh process, the best of some tries; a layout of many small files is told in milliseconds per file.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
from make_data import make_data

KMSTREAM = str(Path(sys.executable).with_name("kmstream"))
LAYOUTS = {
    "10,000 files of 10 rows": {"files": 10_000, "rows": 10, "features": 2},
    "one file of 3M rows": {"files": 1, "rows": 3_000_000},
}
LARGE = {
    "10 files of 1M rows": {"files": 10, "rows": 1_000_000},
    "one file of 4 GB": {"files": 1, "rows": 26_000_000, "row_group_rows": 260_000},
}


def refresh(data: Path, work: Path, n_features: int, workers: int) -> float:
    """Give the seconds of the assign pass."""
    config = work / "kmstream.toml"
    names = ", ".join(f'"f{j}"' for j in range(n_features))
    config.write_text(
        f'name = "bench"\n[dataset]\npath = "{data}"\n[features]\nnumeric = [{names}]\n[model]\nn_clusters = 24\n'
        f'[output]\npath = "{work / "out"}"\n[engine]\nworkers = {workers}\n'
    )
    done = subprocess.run(
        [KMSTREAM, "refresh", "-c", str(config), "--json"], capture_output=True, text=True, check=False
    )
    if done.returncode not in {0, 4}:
        sys.exit(done.stderr)
    return float(json.loads(done.stdout)["seconds"]["assign"])


def write_again(data: Path, work: Path) -> None:
    """What `pyarrow` takes to read all columns and write them."""
    for path in sorted(data.iterdir()):
        with pq.ParquetFile(path) as source, pq.ParquetWriter(work / path.name, source.schema_arrow) as target:
            for group in range(source.num_row_groups):
                target.write_table(source.read_row_group(group))


def best(measure: Callable[[Path], float | None], times: int) -> float:
    """Give the least seconds of some tries, each with a folder of its own; those it gives, or those it takes."""
    found = []
    for _ in range(times):
        with tempfile.TemporaryDirectory() as folder:
            begin = time.perf_counter()
            told = measure(Path(folder))
            found.append(time.perf_counter() - begin if told is None else told)
    return min(found)


def copy(data: Path, work: Path) -> None:
    """What `cp` takes."""
    subprocess.run(["cp", "-r", data, work / "copy"], check=True)


def main() -> None:
    """Print a line for each layout."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--data", type=Path, help="where the data are made and kept (a temporary folder)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        root = given.data or Path(temporary)
        for name, shape in (LAYOUTS | LARGE if given.large else LAYOUTS).items():
            data = root / name.replace(" ", "-").replace(",", "")
            if not data.exists():
                make_data(data, **shape)
            n_features = shape.get("features", 16)
            for path in data.iterdir():  # into the page cache
                path.read_bytes()
            rewriting = best(lambda work, data=data: write_again(data, work), given.times)
            copying = best(lambda work, data=data: copy(data, work), given.times)
            seconds = {
                workers: best(lambda work, data=data, n=n_features, w=workers: refresh(data, work, n, w), given.times)
                for workers in (1, 2)
            }
            each = f", {seconds[2] / shape['files'] * 1e3:.2f} ms a file" if shape["files"] > 1000 else ""
            print(
                f"{name}: {seconds[2]:.2f} s{each}; one worker {seconds[1]:.2f} s ({seconds[1] / seconds[2]:.2f} x); "
                f"cp {copying:.2f} s ({seconds[2] / copying:.2f} x of it); pyarrow writes them again in "
                f"{rewriting:.2f} s ({rewriting / seconds[2]:.2f} x as long)",
                flush=True,
            )
            if not given.data:
                shutil.rmtree(data)


if __name__ == "__main__":
    main()
