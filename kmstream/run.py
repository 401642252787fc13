"""What every pass over the data needs to know, and the loop that all of them share."""

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Protocol, TypeVar

from kmstream.config import Config
from kmstream.dataset import Dataset
from kmstream.engine import Progress, map_in_order


class HasRows(Protocol):
    """A piece of work that knows how many rows it is."""

    @property
    def rows(self) -> int:
        """Rows of the piece."""


Item = TypeVar("Item", bound=HasRows)
Total = TypeVar("Total")


@dataclass(frozen=True)
class Run:
    """One run over a dataset, or over the partitions of it that are new.

    Attributes
    ----------
    chunk_rows : int
        Rows per batch, from `plan.make_plan`.
    """

    config: Config
    dataset: Dataset
    chunk_rows: int
    progress: Progress

    def fold(
        self,
        stage: str,
        function: Callable[[Item], Total],
        items: Sequence[Item],
        total: Total,
        merge: Callable[[Total, Total], Total],
    ) -> Total:
        """Make one pass: apply a function to each item in parallel, merge the results in the order of the items.

        When it ends, also by an error or Ctrl-C, no worker thread is at work any more.
        """
        self.progress.start(stage, sum(item.rows for item in items))
        with closing(map_in_order(function, items, self.config.engine)) as results:
            for item, result in zip(items, results, strict=True):
                total = merge(total, result)
                self.progress.advance(item.rows)
        return total
