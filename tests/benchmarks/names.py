"""Refit real series month by month, with another seed each time: which names persist, and which plain ids would have.

usage: names.py FOLDER:K:COLUMN,COLUMN,... [...] [--window 1] [--log1p COLUMN,COLUMN,...]
Each step fits the files of a window, the next step those of the window one file later. Beside it, scikit-learn's KMeans
is fitted to the same rows with the same seed. An id, or a name, is kept if most rows of the old segment have it again:
both models are asked about the same rows, those of the new window.
"""

import argparse
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from sklearn.cluster import KMeans
from sklearn.metrics import pairwise_distances_argmin

from kmstream.config import parse_config
from kmstream.pipeline import refresh
from kmstream.store import Store
from kmstream.versions import promote


def read_rows(paths: list[Path], columns: list[str], log1p: list[str]) -> np.ndarray:
    """Read the rows that have every value."""
    tables = [pq.read_table(path, columns=columns) for path in paths]
    X = np.concatenate(
        [np.column_stack([one[name].to_numpy().astype(np.float64) for name in columns]) for one in tables]
    )
    X = X[np.isfinite(X).all(axis=1)]
    for name in log1p:
        X[:, columns.index(name)] = np.log1p(X[:, columns.index(name)])
    return X


def live(name: str, folder: Path, n_clusters: int, columns: list[str], log1p: list[str], window: int) -> None:
    """Refit a series, and print a line per step and the sums."""
    files = sorted(path.name for path in folder.glob("*.parquet"))
    n_steps = names_kept = names_there = ids_kept = whole_names = whole_ids = 0
    rows_kept, told, held, before, center, scale = [], Counter(), 0, None, 0.0, 1.0
    with tempfile.TemporaryDirectory() as out:
        for seed in range(len(files) - window + 1):
            config = parse_config(
                {
                    "name": "names",
                    "dataset": {"path": str(folder)},
                    "features": {"numeric": columns, "log1p": log1p, "on_missing": "skip"},
                    "model": {"n_clusters": n_clusters, "random_state": seed},
                    "output": {"path": out},
                },
                base_dir=Path(out),
            )
            chosen = files[seed : seed + window]
            result = refresh(config, only=chosen)
            X = read_rows([folder / file for file in chosen], columns, log1p)
            if before is None:  # the first scaling stays, as in kmstream
                center, scale = X.mean(axis=0), X.std(axis=0)
            X = (X - center) / scale
            centers = KMeans(n_clusters, n_init=10, random_state=seed).fit(X).cluster_centers_
            if before is not None:
                n_steps += 1
                migration = Store(out).read_json(result.version, "drift.json")["migration"]
                both = [label for label in migration["labels_from"] if label in migration["labels_to"]]
                at = [[migration[key].index(label) for label in both] for key in ("labels_from", "labels_to")]
                table = np.array(migration["rows"])
                kept = sum(
                    migration["labels_to"][row.argmax()] == label for label, row in zip(both, table[at[0]], strict=True)
                )
                there = len(migration["labels_from"])
                was, now = (pairwise_distances_argmin(X, places) for places in (before, centers))
                ids = np.bincount(was * n_clusters + now, minlength=n_clusters**2).reshape(n_clusters, n_clusters)
                kept_ids = int((ids.argmax(axis=1) == np.arange(n_clusters)).sum())
                rows_kept.append(table[np.ix_(*at)].trace() / table.sum())
                names_kept, names_there, ids_kept = names_kept + kept, names_there + there, ids_kept + kept_ids
                whole_names, whole_ids = whole_names + (kept == there), whole_ids + (kept_ids == n_clusters)
                events = Counter(line["event"] for line in (*result.labels, *result.retired))
                told += events
                print(
                    f"  {chosen[-1]}: {kept} of {there} names kept, {rows_kept[-1]:.1%} of rows; ids {kept_ids}; "
                    f"{result.status}; {', '.join(f'{event} {n}' for event, n in sorted(events.items()))}"
                )
            if result.status == "held":
                held += 1
                promote(config, result.version)
            before = centers
    print(
        f"{name}, k={n_clusters}: {n_steps} refits, {held} held; names kept {names_kept} of {names_there}, all in "
        f"{whole_names} steps; ids {ids_kept} of {names_there}, all in {whole_ids} steps; rows under the same name "
        f"{np.mean(rows_kept):.1%}; {', '.join(f'{event} {n}' for event, n in sorted(told.items()))}",
        flush=True,
    )


def main() -> None:
    """Read the arguments, refit each series."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("series", nargs="+", metavar="FOLDER:K:COLUMNS")
    parser.add_argument("--window", type=int, default=1, help="files of a fit")
    parser.add_argument("--log1p", default="", help="columns of which the logarithm is taken")
    arguments = parser.parse_args()
    for one in arguments.series:
        folder, n_clusters, columns = one.split(":")
        names = columns.split(",")
        log1p = [name for name in arguments.log1p.split(",") if name in names]
        live(Path(folder).name, Path(folder), int(n_clusters), names, log1p, arguments.window)


if __name__ == "__main__":
    main()
