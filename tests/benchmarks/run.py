"""Compare `kmstream refresh` with the loop people write by hand, in alternating pairs, each in a fresh process.

usage: run.py [--files 4] [--rows 250000] [--pairs 3] [--order shuffled] [--data FOLDER]
Prints the median of each figure and of the ratios pair by pair, on rows in random order and on rows sorted by cluster.
"""

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from make_data import make_data

HERE = Path(__file__).parent
N_CLUSTERS = 24
ORDERS = ("shuffled", "ordered")


def run_kmstream(data: Path, work: Path) -> dict[str, float]:
    """Refresh into an empty folder."""
    config = work / "kmstream.toml"
    names = ", ".join(f'"f{j}"' for j in range(16))
    config.write_text(
        f'name = "bench"\n[dataset]\npath = "{data}"\n[features]\nnumeric = [{names}]\n'
        f'[model]\nn_clusters = {N_CLUSTERS}\n[output]\npath = "{work / "out"}"\n'
    )
    return measure([str(Path(sys.executable).with_name("kmstream")), "refresh", "-c", str(config), "--json"])


def run_by_hand(data: Path, work: Path) -> dict[str, float]:
    """Run the loop by hand into an empty folder."""
    return measure([sys.executable, str(HERE / "by_hand.py"), str(data), str(work / "out"), str(N_CLUSTERS)])


def measure(command: list[str]) -> dict[str, float]:
    """Time a whole process, its start included; the rest is what it tells of itself."""
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    told = json.loads(done.stdout)
    return {
        "seconds": time.perf_counter() - started,
        "inertia per row": told["inertia_per_row"],
        "peak MiB": told["peak_rss_bytes"] / 2**20,
    }


def compare(data: Path, pairs: int) -> None:
    """Run the pairs and print a table."""
    runs: list[tuple[dict[str, float], dict[str, float]]] = []
    for number in range(pairs):
        with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as two:
            order = (run_kmstream, run_by_hand) if number % 2 == 0 else (run_by_hand, run_kmstream)
            found = {run: run(data, Path(folder)) for run, folder in zip(order, (one, two), strict=True)}
        runs.append((found[run_kmstream], found[run_by_hand]))
    print(f"{'':18}{'kmstream':>12}{'by hand':>12}{'ratio':>8}")
    for figure in runs[0][0]:
        ours, theirs = ([run[side][figure] for run in runs] for side in (0, 1))
        ratio = statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
        print(f"{figure:18}{statistics.median(ours):12.3f}{statistics.median(theirs):12.3f}{ratio:8.2f}")


def main() -> None:
    """Make the data, run the pairs, say where and when."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=4)
    parser.add_argument("--rows", type=int, default=250_000, help="rows per file (%(default)s)")
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--order", choices=ORDERS, help="only rows in this order")
    parser.add_argument("--data", type=Path, help="where the data are made and kept (a temporary folder)")
    given = parser.parse_args()
    print(f"{datetime.now(UTC):%Y-%m-%d}, {platform.machine()}, Python {platform.python_version()}")
    with tempfile.TemporaryDirectory() as temporary:
        for name in [given.order] if given.order else ORDERS:
            data = (given.data or Path(temporary)) / name
            make_data(data, files=given.files, rows=given.rows, clusters=N_CLUSTERS, ordered=name == "ordered")
            print(f"\n{given.files} x {given.rows:,} rows, {name}, {given.pairs} pairs")
            compare(data, given.pairs)


if __name__ == "__main__":
    main()
