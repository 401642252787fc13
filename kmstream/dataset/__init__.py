"""The Parquet files a run works on: find them, check their schemas, read their rows in bounded batches.

Read in this order: `listing` (files), `find` (footers, spans), `schema` (what a file must hold), `read` (rows).
"""

from kmstream.dataset.find import SPAN_ROWS, Dataset, Partition, Span, open_dataset
from kmstream.dataset.listing import SUFFIXES, is_chosen, split_glob
from kmstream.dataset.read import check_unchanged, locate, open_parquet, open_partition, read_batches
from kmstream.dataset.schema import (
    CLUSTER_COLUMNS,
    check_schema,
    find_key_type,
    hive_values,
    sortable_type,
    widen_key_type,
)

__all__ = [
    "CLUSTER_COLUMNS",
    "SPAN_ROWS",
    "SUFFIXES",
    "Dataset",
    "Partition",
    "Span",
    "check_schema",
    "check_unchanged",
    "find_key_type",
    "hive_values",
    "is_chosen",
    "locate",
    "open_dataset",
    "open_parquet",
    "open_partition",
    "read_batches",
    "sortable_type",
    "split_glob",
    "widen_key_type",
]
