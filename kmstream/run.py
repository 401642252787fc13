"""What every pass over the data needs to know, and the loop that all of them share."""

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial, reduce
from typing import TypeVar

import numpy as np
import pyarrow as pa

from kmstream.columns import take_seconds
from kmstream.config import Config, EngineConfig
from kmstream.dataset import Dataset, Span, read_batches
from kmstream.engine import Group, HasRows, Progress, check_wanted, find_group_size, group_items, map_in_order
from kmstream.plan import make_plan
from kmstream.provenance import Clock
from kmstream.store import Store
from kmstream.weights import Weighting

Item = TypeVar("Item", bound=HasRows)
Result = TypeVar("Result")


@dataclass(frozen=True)
class Run:
    """One run over a dataset, or over the partitions of it that are new: what all its parts need to know.

    Attributes
    ----------
    store : Store
        Where its results go.
    clock : Clock
        The time that is written down, and the seconds by stage.
    chunk_rows : int
        Rows per batch, from `plan.make_plan`.
    weighting : Weighting or None
        None where every row counts once.
    workers : int
        As many as the memory has room for; 0 as configured.
    only : tuple of str
        The globs that chose the partitions; none: all of them.
    """

    config: Config
    store: Store
    dataset: Dataset
    clock: Clock
    progress: Progress
    chunk_rows: int
    weighting: Weighting | None = None
    workers: int = 0
    only: tuple[str, ...] = ()

    @property
    def engine(self) -> EngineConfig:
        """The engine as configured, with as many workers as the memory has room for."""
        return self.config.engine.model_copy(update={"workers": self.workers}) if self.workers else self.config.engine

    @property
    def source(self) -> Dataset:
        """The dataset without the list of its partitions: what a function holds that goes to workers with each span."""
        return replace(self.dataset, partitions=())

    def map(self, stage: str, function: Callable[[Item], Result], items: Sequence[Item]) -> Generator[Result]:
        """Make one pass: apply a function to each item in parallel, and yield the results in the order of the items.

        When it ends, also by an error or Ctrl-C, no worker thread is at work any more.
        """
        self.progress.start(stage, sum(item.rows for item in items))
        with closing(map_in_order(function, items, self.engine)) as results:
            for item, result in zip(items, results, strict=True):
                yield result
                self.progress.advance(item.rows)
        pa.default_memory_pool().release_unused()  # for whoever allocates next, in another way

    def fold(
        self,
        stage: str,
        function: Callable[[Item], Result],
        items: Sequence[Item],
        total: Result,
        merge: Callable[[Result, Result], Result],
    ) -> Result:
        """Make one pass: apply a function to each item in parallel, merge the results in the order of the items.

        Groups of items are merged by whoever worked on them, the groups are merged here.
        """
        groups = group_items(items, find_group_size(len(items)))
        with closing(self.map(stage, partial(_fold_group, function, merge), groups)) as results:
            return reduce(merge, results, total)


def _fold_group(
    function: Callable[[Item], Result], merge: Callable[[Result, Result], Result], group: Group[Item]
) -> Result:
    def apply(item: Item) -> Result:
        check_wanted()
        return function(item)

    return reduce(merge, map(apply, group.pieces))


def start_run(
    config: Config, store: Store, dataset: Dataset, clock: Clock, progress: Progress, only: Sequence[str] = ()
) -> Run:
    """Begin a run over a dataset: batches that fit the memory, weights for its rows.

    Raises
    ------
    MemoryLimitError
        If `engine.memory_limit` is too small for one batch.
    """
    plan = make_plan(config, dataset)
    weighting = find_weighting(config, dataset, plan.chunk_rows)
    return Run(config, store, dataset, clock, progress, plan.chunk_rows, weighting, plan.workers, tuple(only))


def find_weighting(config: Config, dataset: Dataset, chunk_rows: int) -> Weighting | None:
    """Find how the rows of a dataset are weighted; None where every row counts once.

    A row of the newest time counts in full. Footers tell which that is; where one doesn't, its column is read.
    """
    half_life = config.model.half_life.total_seconds()
    if not half_life:
        return Weighting(config.features.weight) if config.features.weight else None
    time = config.dataset.time
    newest = reduce(np.fmax, (p.newest for p in dataset.partitions if p.newest is not None), -np.inf)
    untold = [span for partition in dataset.partitions if partition.newest is None for span in partition.spans]
    read = partial(_read_newest, replace(dataset, partitions=()), time, chunk_rows)
    groups = group_items(untold, find_group_size(len(untold)))
    with closing(map_in_order(partial(_fold_group, read, np.fmax), groups, config.engine)) as found:
        newest = reduce(np.fmax, found, newest)
    return Weighting(config.features.weight, time, half_life, float(newest) if np.isfinite(newest) else 0.0)


def _read_newest(dataset: Dataset, time: str, chunk_rows: int, span: Span) -> float:
    newest = -np.inf
    for _, batch in read_batches(dataset, span, chunk_rows, time.split("/")):
        seconds = take_seconds(batch, time)
        newest = np.fmax(newest, np.fmax.reduce(seconds, initial=-np.inf))
    return float(newest)
