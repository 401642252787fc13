"""Compare the memory that `kmstream plan` foretells with what `kmstream refresh` takes, over shapes and limits.

usage: memory.py [--large] [--data FOLDER]
What the interpreter and its libraries take is measured by the same job on 1,000 rows and subtracted. ``--large`` adds
40 million rows in 40 files, and one file of 1 GB (27 GB of disk space with the outputs).
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from make_data import make_data

KMSTREAM = str(Path(sys.executable).with_name("kmstream"))
SHAPES = {
    "1M rows x 16": {"files": 1, "rows": 1_000_000},
    "1M rows x 200": {"files": 4, "rows": 250_000, "features": 200},
    "one row group of 2M": {"files": 1, "rows": 2_000_000, "row_group_rows": 2_000_000},
}
LARGE = {
    "one file of 1 GB": {"files": 1, "rows": 6_500_000},
    "10M rows x 16": {"files": 10, "rows": 1_000_000},
    "40M rows x 16": {"files": 40, "rows": 1_000_000},
}


def run(verb: str, data: Path, work: Path, n_features: int, limit: str) -> dict[str, float]:
    """Run one command in a fresh process on a configuration of its own; give what it prints."""
    config = work / "kmstream.toml"
    names = ", ".join(f'"f{j}"' for j in range(n_features))
    config.write_text(
        f'name = "bench"\n[dataset]\npath = "{data}"\n[features]\nnumeric = [{names}]\n[model]\nn_clusters = 24\n'
        f'[output]\npath = "{work / "out"}"\n[engine]\nmemory_limit = "{limit}"\n'
    )
    done = subprocess.run([KMSTREAM, verb, "-c", str(config), "--json"], capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"  {limit:>8}  refused: {done.stderr.splitlines()[0]}")
        return {}
    return json.loads(done.stdout)


def main() -> None:
    """Print a line for each shape and limit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--data", type=Path, help="where the data are made and kept (a temporary folder)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        root = given.data or Path(temporary)
        for name, shape in (SHAPES | LARGE if given.large else SHAPES).items():
            n_features, data = shape.get("features", 16), root / name.replace(" ", "-")
            make_data(root / f"tiny-{n_features}", files=1, rows=1000, features=n_features)
            if not data.exists():
                make_data(data, **shape)
            with tempfile.TemporaryDirectory() as work:
                constant = run("refresh", root / f"tiny-{n_features}", Path(work), n_features, "4GiB")["peak_rss_bytes"]
            print(f"{name}: {constant / 2**20:.0f} MiB for the interpreter, the libraries and the report")
            for limit in ("128MiB", "256MiB", "512MiB", "1GiB"):
                with tempfile.TemporaryDirectory() as work:
                    foretold = run("plan", data, Path(work), n_features, limit)
                    if not foretold:
                        continue
                    measured = run("refresh", data, Path(work), n_features, limit)
                taken = measured["peak_rss_bytes"] - constant
                seconds = measured["seconds"]["total"]
                figures = {"foretold": foretold["peak_bytes"], "taken": taken, "peak": measured["peak_rss_bytes"]}
                told = ", ".join(f"{name} {figure / 2**20:6.0f} MiB" for name, figure in figures.items())
                print(f"  {limit:>8}  {told}, {seconds:6.1f} s")


if __name__ == "__main__":
    main()
