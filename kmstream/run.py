"""What every pass over the data needs to know."""

from dataclasses import dataclass

from kmstream.config import Config
from kmstream.dataset import Dataset
from kmstream.engine import Progress


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
