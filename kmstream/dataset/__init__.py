"""The Parquet files a run works on: find them, check their schemas, read their rows in bounded batches.

Read in this order: `find` (what is done), `listing` (files), `footers` and `partitions` (what is known of each),
`schema` (what a file must hold), `read` (rows).
"""

from kmstream.dataset.find import open_dataset
from kmstream.dataset.footers import read_footers
from kmstream.dataset.listing import is_chosen, split_glob
from kmstream.dataset.partitions import SPAN_ROWS, Dataset, Partition, Span
from kmstream.dataset.read import check_unchanged, first_line, locate, open_parquet, open_partition, read_batches
from kmstream.dataset.schema import (
    CLUSTER_COLUMNS,
    find_key_type,
    make_key_error,
    make_mismatch,
    name_columns,
    sortable_type,
    widen_key_type,
)

__all__ = [
    "CLUSTER_COLUMNS",
    "SPAN_ROWS",
    "Dataset",
    "Partition",
    "Span",
    "check_unchanged",
    "find_key_type",
    "first_line",
    "is_chosen",
    "locate",
    "make_key_error",
    "make_mismatch",
    "name_columns",
    "open_dataset",
    "open_parquet",
    "open_partition",
    "read_batches",
    "read_footers",
    "sortable_type",
    "split_glob",
    "widen_key_type",
]
