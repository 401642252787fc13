"""Compare the inertia of `kmstream refresh` with that of scikit-learn's KMeans(n_init=20) on all rows in memory.

usage: quality.py [--seeds 5] [--only NAME ...] [--real FOLDER:K:COLUMN,COLUMN,... ...]
Made data: 24 clusters in random order and ordered by cluster, 50 and 100 clusters, one of 0.2 % of the rows. Real data:
any folders of Parquet files; rows that lack a value are left out. Prints the worst and the mean ratio over the seeds.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from make_data import make_data
from sklearn.cluster import KMeans

from kmstream.config import parse_config
from kmstream.pipeline import refresh

MADE = {
    "24 clusters, shuffled": (24, {"clusters": 24}),
    "24 clusters, ordered": (24, {"clusters": 24, "ordered": True}),
    "50 clusters": (50, {"clusters": 50}),
    "100 clusters": (100, {"clusters": 100}),
    "24 clusters as 40": (40, {"clusters": 24}),
}


def make_rare(folder: Path) -> None:
    """Write 200,000 rows in 10 clusters, one of which has 0.2 % of them, in the last of four files."""
    rng = np.random.default_rng(5)
    centers = rng.normal(scale=4.0, size=(10, 8))
    centers[9] *= 3.0  # well apart
    labels = np.r_[rng.integers(0, 9, 199_600), np.full(400, 9)]
    X = centers[labels] + rng.normal(size=(len(labels), 8))
    folder.mkdir(parents=True)
    for number, rows in enumerate(np.split(X, [100_000, 199_000, 199_400])):
        pq.write_table(pa.table({f"f{j}": rows[:, j] for j in range(8)}), folder / f"part-{number}.parquet")


def read_scaled(data: Path, columns: list[str]) -> np.ndarray:
    """Read all rows that have every value, scaled as `scaling = "standard"` does."""
    table = ds.dataset(data, format="parquet").to_table(columns=columns)
    X = np.column_stack([table[name].to_numpy().astype(np.float64) for name in columns])
    X = X[np.isfinite(X).all(axis=1)]
    spread = X.std(axis=0)
    return ((X - X.mean(axis=0)) / np.where(spread > 0, spread, 1.0)).astype(np.float32)


def compare(name: str, data: Path, n_clusters: int, columns: list[str], seeds: int) -> float:
    """Fit with each seed, print the line of a data set, give its mean ratio."""
    X = read_scaled(data, columns)
    reference = KMeans(n_clusters, n_init=20, random_state=0).fit(X).inertia_ / len(X)
    ratios, smallest = [], 1.0
    for seed in range(seeds):
        with tempfile.TemporaryDirectory() as out:
            given = {
                "name": "quality",
                "dataset": {"path": str(data)},
                "features": {"numeric": columns, "on_missing": "skip"},
                "model": {"n_clusters": n_clusters, "random_state": seed, "min_cluster_share": 0.0},
                "output": {"path": out},
            }
            found = refresh(parse_config(given, base_dir=Path(out)))
        ratios.append(found.inertia_per_row / reference)
        smallest = min(smallest, *(segment["share"] for segment in found.labels))
    worst, mean = max(ratios), float(np.mean(ratios))
    print(
        f"{name:28} k={n_clusters:<4} worst {worst:.4f}  mean {mean:.4f}  smallest segment {smallest:.2%}", flush=True
    )
    return mean


def main() -> None:
    """Print a line for each data set, and the mean over them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", nargs="*", help="names of made data sets (all)")
    parser.add_argument("--real", nargs="*", default=[], help="FOLDER:K:COLUMN,COLUMN,...")
    given = parser.parse_args()
    means = []
    with tempfile.TemporaryDirectory() as temporary:
        for name, (n_clusters, shape) in MADE.items():
            if given.only is None or name in given.only:
                data = Path(temporary) / name
                make_data(data, files=4, rows=50_000, seed=n_clusters, **shape)
                means.append(compare(name, data, n_clusters, [f"f{j}" for j in range(16)], given.seeds))
        if given.only is None or "rare" in given.only:
            make_rare(Path(temporary) / "rare")
            columns = [f"f{j}" for j in range(8)]
            means.append(compare("one of 0.2 %", Path(temporary) / "rare", 10, columns, given.seeds))
    for one in given.real:
        folder, n_clusters, columns = one.rsplit(":", 2)
        means.append(compare(Path(folder).name, Path(folder), int(n_clusters), columns.split(","), given.seeds))
    print(f"mean over {len(means)} data sets: {np.mean(means):.4f}")


if __name__ == "__main__":
    main()
