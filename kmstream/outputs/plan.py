"""What is the same for all output files of a run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kmstream.dataset import Dataset
from kmstream.storage import Place


@dataclass(frozen=True)
class OutputPlan:
    """Where output files go, and what is in them; pickles to a cluster's workers.

    Attributes
    ----------
    dataset : Dataset
        Whose partitions are read; the list of them may be empty.
    folder : Place
        Of the output files, which have the paths of their partitions.
    chunk_rows : int
        Rows per batch where columns are written again.
    columns : sequence of str or None
        Columns to carry; None: all.
    max_group_rows : int
        A file of several spans with a longer row group is written again: its cluster columns would wait in memory.
    metadata : mapping of str to str
        Added to the key-value metadata of each file.
    """

    dataset: Dataset
    folder: Place
    chunk_rows: int
    columns: Sequence[str] | None
    max_group_rows: int
    metadata: Mapping[str, str]
