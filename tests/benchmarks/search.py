"""Compare searches for start centroids: the inertia they lead to on all rows, and the CPU seconds they take.

usage: search.py [--data FOLDER] [--sets blobs24,flights] [--seeds 5]
Each method sees a sample of 100,000 rows; Lloyd then runs on all rows. Ratios are to in-memory KMeans(n_init=20).
FOLDER holds nycflights13, online_retail and wholesale_customers; without it only made data are used.
"""

import argparse
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits

from kmstream.search import search_centroids

N_ROWS, N_SAMPLE, N_SUBSAMPLE = 200_000, 100_000, 20_000


def standardise(X: np.ndarray) -> np.ndarray:
    """Scale to mean 0 and deviation 1."""
    return ((X - X.mean(axis=0)) / X.std(axis=0)).astype(np.float32)


def make_blobs(n_clusters: int, n_features: int, *, seed: int, equal: float = 3.0) -> np.ndarray:
    """Draw Gaussian clusters of unequal size and spread; the lower `equal`, the more unequal."""
    rng = np.random.default_rng(seed)
    centers, spreads = rng.normal(0, 4, (n_clusters, n_features)), rng.uniform(0.5, 1.5, (n_clusters, n_features))
    ids = rng.choice(n_clusters, N_ROWS, p=rng.dirichlet(np.full(n_clusters, equal)))
    return standardise(centers[ids] + spreads[ids] * rng.normal(size=(N_ROWS, n_features)))


def make_rare() -> np.ndarray:
    """Draw twelve clusters, of which one has 0.2 % of the rows and lies well apart."""
    rng = np.random.default_rng(12)
    centers = rng.normal(0, 4, (12, 8))
    centers[0] = centers[1:].mean(axis=0) + 20 * rng.normal(size=8) / np.sqrt(8)
    ids = rng.choice(12, N_ROWS, p=[0.002] + [0.998 / 11] * 11)
    return standardise(centers[ids] + rng.normal(size=(N_ROWS, 8)))


def read(path: Path, columns: list[str], *, log: bool = False) -> np.ndarray:
    """Read the complete rows of some columns."""
    X = pq.ParquetDataset(str(path)).read(columns=columns).to_pandas().dropna().to_numpy(np.float64)
    return standardise(np.log1p(np.maximum(X, 0)) if log else X)


def make_sets(data: Path | None) -> dict[str, tuple[Callable[[], np.ndarray], int]]:
    """Name the data sets, with n_clusters."""
    sets: dict[str, tuple[Callable[[], np.ndarray], int]] = {
        "blobs24": (lambda: make_blobs(24, 16, seed=7), 24),
        "blobs24 k8": (lambda: make_blobs(24, 16, seed=7), 8),
        "blobs50": (lambda: make_blobs(50, 8, seed=8), 50),
        "blobs50 unequal": (lambda: make_blobs(50, 8, seed=9, equal=0.7), 50),
        "blobs100": (lambda: make_blobs(100, 16, seed=10), 100),
        "rare12": (make_rare, 12),
    }
    if data is None:
        return sets
    flights = data / "nycflights13/flights", ["dep_delay", "arr_delay", "air_time", "distance"]
    rfm = data / "online_retail/rfm", ["recency_days", "frequency", "monetary", "avg_basket", "tenure_days"]
    spend = data / "wholesale_customers/data/wholesale_customers.parquet"
    return sets | {
        "flights k5": (lambda: read(*flights), 5),
        "flights k12": (lambda: read(*flights), 12),
        "rfm k5": (lambda: read(*rfm, log=True), 5),
        "rfm k12": (lambda: read(*rfm, log=True), 12),
        "rfm k30": (lambda: read(*rfm, log=True), 30),
        "wholesale k6": (lambda: read(spend, pq.read_schema(spend).names[2:], log=True), 6),
    }


def lloyd(X: np.ndarray, init: np.ndarray | str, k: int, seed: int = 0, iterations: int = 30) -> KMeans:
    """Run scikit-learn's K-means once."""
    return KMeans(k, init=init, n_init=1, max_iter=iterations, random_state=seed).fit(X)


def squares(X: np.ndarray, centers: np.ndarray) -> np.ndarray:
    """Take squared distances of all pairs."""
    return np.maximum(np.square(X).sum(1)[:, None] - 2 * X @ centers.T + np.square(centers).sum(1), 0)


def restart(X: np.ndarray, k: int, rng: np.random.Generator, n: int = 10) -> np.ndarray:
    """Keep the best of plain k-means++ restarts."""
    fits = [lloyd(X, "k-means++", k, int(rng.integers(2**31)), 100) for _ in range(n)]
    return min(fits, key=lambda fit: fit.inertia_).cluster_centers_


def breathe(X: np.ndarray, k: int, rng: np.random.Generator) -> np.ndarray:
    """Run breathing k-means (Fritzke 2020): add m centroids where the error is, remove the m of least utility."""
    best, m = lloyd(X, "k-means++", k, int(rng.integers(2**31))), min(5, k)
    while m:
        centers, apart = best.cluster_centers_, squares(X, best.cluster_centers_)
        top = np.argsort(-np.bincount(best.labels_, apart.min(axis=1), k))[:m]
        wide = lloyd(
            X, np.vstack([centers, centers[top] + 0.01 * rng.normal(size=centers[top].shape)]).astype(np.float32), k + m
        )
        two = np.partition(squares(X, wide.cluster_centers_), 1, axis=1)[:, :2]
        utility = np.bincount(wide.labels_, two[:, 1] - two[:, 0], k + m)
        between = np.sqrt(squares(wide.cluster_centers_, wide.cluster_centers_))
        np.fill_diagonal(between, np.inf)
        reach, frozen, gone = 1.1 * between.min(axis=1).mean(), np.zeros(k + m, bool), []
        for i in np.argsort(utility):
            if len(gone) < m and (not frozen[i] or frozen.sum() + len(gone) >= k):
                gone.append(i)
                frozen |= between[i] < reach
        gone += [i for i in np.argsort(utility) if i not in gone][: m - len(gone)]
        trial = lloyd(X, np.delete(wide.cluster_centers_, gone, axis=0), k)
        m -= trial.inertia_ >= best.inertia_ * (1 - 1e-4)
        best = min(best, trial, key=lambda fit: fit.inertia_)
    return best.cluster_centers_


def reduce_surplus(X: np.ndarray, k: int, rng: np.random.Generator) -> np.ndarray:
    """Start with 2 k centroids, merge the pair that costs least (Ward) until k are left."""
    fit = lloyd(X, "k-means++", min(2 * k, len(X)), int(rng.integers(2**31)))
    centers, n = fit.cluster_centers_.astype(np.float64), np.bincount(fit.labels_).astype(np.float64)
    while len(centers) > k:
        cost = n[:, None] * n / (n[:, None] + n) * squares(centers, centers)
        np.fill_diagonal(cost, np.inf)
        i, j = np.unravel_index(cost.argmin(), cost.shape)
        centers[i] = (n[i] * centers[i] + n[j] * centers[j]) / (n[i] + n[j])
        n[i] += n[j]
        centers, n = np.delete(centers, j, axis=0), np.delete(n, j)
    return lloyd(X, centers.astype(np.float32), k).cluster_centers_


def swap_at_random(X: np.ndarray, k: int, rng: np.random.Generator) -> np.ndarray:
    """Put a random centroid on a random row, two Lloyd steps, keep what is better (Fränti 2018), 5 k times."""
    best = lloyd(X, "k-means++", k, int(rng.integers(2**31)))
    for _ in range(5 * k):
        centers = best.cluster_centers_.copy()
        centers[rng.integers(k)] = X[rng.integers(len(X))]
        best = min(best, lloyd(X, centers, k, iterations=2), key=lambda fit: fit.inertia_)
    return best.cluster_centers_


def on_subsample(method: Callable[..., np.ndarray], **options: int) -> Callable[..., np.ndarray]:
    """Run a method on 20,000 rows, then Lloyd on the whole sample."""

    def run(X: np.ndarray, k: int, seed: int) -> np.ndarray:
        rng = np.random.default_rng(seed)
        few = X[rng.choice(len(X), min(N_SUBSAMPLE, len(X)), replace=False)]
        return lloyd(X, method(few, k, rng, **options), k, iterations=50).cluster_centers_

    return run


METHODS: dict[str, Callable[[np.ndarray, int, int], np.ndarray]] = {
    "10 restarts": lambda X, k, seed: restart(X, k, np.random.default_rng(seed)),
    "10 restarts, few rows": on_subsample(restart),
    "50 restarts, few rows": on_subsample(restart, n=50),
    "breathing": on_subsample(breathe),
    "2 k, merged": on_subsample(reduce_surplus),
    "random swap": on_subsample(swap_at_random),
    "search_centroids": lambda X, k, seed: search_centroids(X, k, n_init=10, seed=seed).centroids.astype(np.float32),
}


def main() -> None:
    """Print a line for each data set and method."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--sets", default="", help="only those whose names start so, separated by commas")
    parser.add_argument("--seeds", type=int, default=5)
    given = parser.parse_args()
    warnings.filterwarnings("ignore", message="Number of distinct clusters")
    print(f"{'data':18}{'method':24}{'worst':>8}{'mean':>8}{'CPU s':>8}")
    for name, (make, k) in make_sets(given.data).items():
        if not name.startswith(tuple(given.sets.split(","))):
            continue
        X = make()
        reference = KMeans(k, n_init=20, random_state=0).fit(X).inertia_
        for method, search in METHODS.items():
            ratios, seconds = [], []
            for seed in range(given.seeds):
                taken = np.random.default_rng(100 + seed).permutation(len(X))[:N_SAMPLE]
                sample, started = X[taken], time.process_time()
                found = search(sample, k, seed)
                seconds.append(time.process_time() - started)
                ratios.append(lloyd(X, found, k, iterations=300).inertia_ / reference)
            print(f"{name:18}{method:24}{max(ratios):8.4f}{np.mean(ratios):8.4f}{np.mean(seconds):8.2f}", flush=True)


if __name__ == "__main__":
    with threadpool_limits(1):
        main()
