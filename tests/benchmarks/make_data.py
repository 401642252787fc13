"""Make a benchmark dataset: Gaussian clusters of unequal size and spread, features of very different scales.

usage: make_data.py FOLDER [--files 4] [--rows 250000] [--features 16] [--clusters 24]
                    [--row-group-rows 131072] [--ordered] [--seed 7]
``--ordered`` sorts all rows by their cluster across the files: the hard case for whatever starts from the first rows.
"""

import argparse
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq


def make_data(
    folder: Path,
    *,
    files: int,
    rows: int,
    features: int = 16,
    clusters: int = 24,
    row_group_rows: int = 131_072,
    ordered: bool = False,
    seed: int = 7,
) -> None:
    """Write `files` Parquet files of `rows` rows each."""
    rng = np.random.default_rng(seed)
    centers = rng.normal(scale=4.0, size=(clusters, features))
    spreads = rng.uniform(0.5, 1.5, size=(clusters, features))
    shares = rng.dirichlet(np.full(clusters, 3.0))
    scales = 10 ** rng.uniform(-1, 4, size=features)
    labels = rng.choice(clusters, size=files * rows, p=shares)
    if ordered:
        labels.sort()
    folder.mkdir(parents=True, exist_ok=True)
    for number, label in enumerate(np.split(labels, files)):
        x = (centers[label] + spreads[label] * rng.normal(size=(rows, features))) * scales
        columns = {f"f{j}": x[:, j] for j in range(features)}
        channel = pa.array(rng.choice(["web", "store", "app"], rows)).dictionary_encode()
        table = pa.table({"id": np.arange(number * rows, (number + 1) * rows), "channel": channel} | columns)
        pq.write_table(table, folder / f"part-{number:04d}.parquet", row_group_size=row_group_rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--files", type=int, default=4)
    parser.add_argument("--rows", type=int, default=250_000)
    parser.add_argument("--features", type=int, default=16)
    parser.add_argument("--clusters", type=int, default=24)
    parser.add_argument("--row-group-rows", type=int, default=131_072)
    parser.add_argument("--ordered", action="store_true")
    parser.add_argument("--seed", type=int, default=7)
    make_data(**vars(parser.parse_args()))
