"""Count false alarms on windows in which nothing changed, and what is found of changes of known sizes.

usage: false_alarms.py [--windows 200] [--thresholds auto] [FOLDER:K:COLUMN,COLUMN,... ...] [--log1p COLUMN,...]
Rows are shuffled: half of them are fitted, as 20 partitions, the windows are drawn from the other half. Each window
goes through the assign pass and the comparison of a score, as a partition of its own; only the page is left out.
"""

import argparse
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from kmstream.assign import AssignJob, assign_dataset
from kmstream.comparison import find_outlier_distances, load_references, measure_drift, observe_assigned
from kmstream.config import Config, parse_config
from kmstream.dataset import open_dataset
from kmstream.engine import Silent
from kmstream.matrices import Matrices
from kmstream.pipeline import refresh
from kmstream.provenance import Clock
from kmstream.run import start_run
from kmstream.store import Store

SIZES = (50, 200, 1000, 5000, 20000)
N_FITTED = 20
Change = Callable[[pa.Table, np.random.Generator], pa.Table]


class Watch:
    """A published model that windows are compared with."""

    def __init__(
        self, folder: Path, rows: pa.Table, n_clusters: int, columns: list[str], log1p: list[str], thresholds: str
    ) -> None:
        (folder / "data").mkdir()
        borders = np.linspace(0, rows.num_rows, N_FITTED + 1).astype(int)
        for i in range(N_FITTED):
            part = rows.slice(borders[i], borders[i + 1] - borders[i])
            pq.write_table(part, folder / f"data/fitted-{i:02}.parquet")
        self._config = self._configure(folder, "data", n_clusters, columns, log1p, thresholds)
        refresh(self._config)
        self._windows = self._configure(folder, "windows", n_clusters, columns, log1p, thresholds)
        (folder / "windows").mkdir()
        self._folder = folder
        store = Store(self._config.output.path)
        self._references = load_references(store, store.load())

    @staticmethod
    def _configure(
        folder: Path, data: str, n_clusters: int, columns: list[str], log1p: list[str], thresholds: str
    ) -> Config:
        features = {"numeric": columns, "log1p": log1p, "on_missing": "skip"}
        model, drift = {"n_clusters": n_clusters}, {"thresholds": thresholds}
        given = {"name": "watch", "dataset": {"path": data}, "features": features, "model": model, "drift": drift}
        return parse_config(given, base_dir=folder)

    def judge(self, window: pa.Table) -> tuple[str, frozenset[str]]:
        """Give the severity of a window, and what it is due to."""
        pq.write_table(window, self._folder / "windows/window.parquet")
        dataset = open_dataset(self._windows)
        run = start_run(self._windows, Store(self._windows.output.path), dataset, Clock(), Silent())
        model = self._references.model.model
        limits = find_outlier_distances(self._references.chosen(self._config), model)
        matrices = Matrices.of(run, model.features, model.scaling)
        job = AssignJob.of(run, matrices, model, self._folder / "assigned", "v000001", limits)
        report = measure_drift(self._config, self._references, observe_assigned(model, assign_dataset(run, job)), model)
        return report.severity, frozenset(reason.measure for reason in report.reasons)


def make_segments(rng: np.random.Generator, n_rows: int) -> pa.Table:
    """Make five segments of unequal sizes in four features, one of which is skewed."""
    centers = rng.normal(scale=3.0, size=(5, 4))
    ids = rng.choice(5, n_rows, p=[0.4, 0.25, 0.2, 0.1, 0.05])
    X = centers[ids] + rng.normal(size=(n_rows, 4))
    X[:, 3] = np.exp(X[:, 3] / 3)
    return pa.table({f"f{j}": X[:, j] for j in range(4)})


def draw(rows: pa.Table, size: int, rng: np.random.Generator) -> pa.Table:
    """Draw a window."""
    return rows.take(rng.choice(rows.num_rows, size, replace=size > rows.num_rows))


def replace_column(window: pa.Table, name: str, values: np.ndarray) -> pa.Table:
    """Give a window with other values in a column."""
    return window.set_column(window.column_names.index(name), name, pa.array(values, from_pandas=True))


def list_changes(columns: list[str], rows: pa.Table) -> dict[str, Change]:
    """List the changes: where rows are above the median of the first feature stands for a segment."""
    first, last = columns[0], columns[-1]
    values = rows[first].to_numpy().astype(float)
    middle, spread = np.median(values), values.std()

    def move(by: float) -> Change:
        def change(window: pa.Table, rng: np.random.Generator) -> pa.Table:
            x = window[first].to_numpy().astype(float)
            return replace_column(window, first, np.where(x > middle, x + by * spread, x))

        return change

    def mix(share: float) -> Change:
        def change(window: pa.Table, rng: np.random.Generator) -> pa.Table:
            above = np.flatnonzero(window[first].to_numpy() > middle)
            gone = rng.choice(len(above), int(share * len(above)), replace=False)
            return window.take(np.delete(np.arange(window.num_rows), above[gone]))

        return change

    def emerge(share: float) -> Change:
        def change(window: pa.Table, rng: np.random.Generator) -> pa.Table:
            x = window[first].to_numpy().astype(float)
            new = rng.random(len(x)) < share
            return replace_column(window, first, np.where(new, values.max() + 3 * spread, x))

        return change

    def stretch(by: float) -> Change:
        def change(window: pa.Table, rng: np.random.Generator) -> pa.Table:
            for name in columns:
                x = window[name].to_numpy().astype(float)
                window = replace_column(window, name, x.mean() + by * (x - x.mean()))
            return window

        return change

    def lose(share: float) -> Change:
        def change(window: pa.Table, rng: np.random.Generator) -> pa.Table:
            x = window[last].to_numpy().astype(float)
            return replace_column(window, last, np.where(rng.random(len(x)) < share, np.nan, x))

        return change

    return {
        "upper half moved by 0.25 sd of a feature": move(0.25),
        "upper half moved by 0.5 sd of a feature": move(0.5),
        "30 % of the upper half gone": mix(0.3),
        "60 % of the upper half gone": mix(0.6),
        "5 % of rows in a new place": emerge(0.05),
        "10 % of rows in a new place": emerge(0.10),
        "all spread 1.2 times as far": stretch(1.2),
        "all spread 1.5 times as far": stretch(1.5),
        "5 % of values missing": lose(0.05),
        "20 % of values missing": lose(0.20),
    }


def main() -> None:
    """Count, and print a table per data set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="*", metavar="FOLDER:K:COLUMNS")
    parser.add_argument("--windows", type=int, default=200)
    parser.add_argument("--log1p", default="")
    parser.add_argument("--thresholds", choices=("configured", "auto"), default="configured")
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)))
    parser.add_argument("--only-unchanged", action="store_true", help="count false alarms only")
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    sets = [("five segments", make_segments(rng, 200_000), 5, [f"f{j}" for j in range(4)])]
    for one in arguments.data:
        folder, n_clusters, names = one.split(":")
        columns = names.split(",")
        rows = ds.dataset(folder, format="parquet").to_table(columns=columns)
        rows = pa.table({name: rows[name].cast(pa.float64()) for name in columns}).drop_null()
        sets.append((Path(folder).name, rows, int(n_clusters), columns))
    for name, rows, n_clusters, columns in sets:
        with tempfile.TemporaryDirectory() as folder:
            shuffled = rows.take(rng.permutation(rows.num_rows))
            half = rows.num_rows // 2
            log1p = [column for column in arguments.log1p.split(",") if column in columns]
            fitted = shuffled.slice(0, half)
            watch = Watch(Path(folder), fitted, n_clusters, columns, log1p, arguments.thresholds)
            held_out = shuffled.slice(half)
            changes = {"nothing changed": lambda window, rng: window}
            changes |= {} if arguments.only_unchanged else list_changes(columns, rows)
            sizes = [int(size) for size in arguments.sizes.split(",")]
            print(f"{name}: share of {arguments.windows} windows with a warning or alert / with an alert")
            print(f"  {'rows of a window':<42}" + "".join(f"{size:>14,}" for size in sizes))
            for what, change in changes.items():
                cells, due = [], Counter()
                for size in sizes:
                    found = [watch.judge(change(draw(held_out, size, rng), rng)) for _ in range(arguments.windows)]
                    warned = np.mean([severity != "ok" for severity, _ in found])
                    alerted = np.mean([severity == "alert" for severity, _ in found])
                    cells.append(f"{warned:.1%}/{alerted:.1%}")
                    due.update(measure for _, measures in found for measure in measures)
                told = ", ".join(f"{measure} {n}" for measure, n in due.most_common(3))
                print(f"  {what:<42}" + "".join(f"{cell:>14}" for cell in cells) + f"   {told}", flush=True)


if __name__ == "__main__":
    main()
