"""One output file per partition: its columns as they are, and each row's cluster columns.

The cluster columns are appended to a byte-for-byte copy of the file (`append`). Where that can't be, all columns are
written again, and the manifest says why. A file is written under a temporary name beside its place, flushed to the disk
and renamed, so what has the right name is whole, also after a power cut.

On an object store a file appears whole when its upload ends. Where dataset and output lie on one store, only the
cluster columns travel: the store itself copies the old bytes.

Read in this order: `columns` (what is added), `writing` (how a file gets to its place), `copied` (old bytes and new
columns), `rewritten` (all columns again).
"""

from kmstream.outputs.columns import CLUSTER_SCHEMA, make_cluster_columns
from kmstream.outputs.plan import OutputPlan
from kmstream.outputs.writing import open_output

__all__ = ["CLUSTER_SCHEMA", "OutputPlan", "make_cluster_columns", "open_output"]
