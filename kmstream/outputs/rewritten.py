"""An output whose columns are all written again."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from kmstream.append import ARROW_SCHEMA, FOREIGN_SCHEMAS
from kmstream.dataset import CLUSTER_COLUMNS, Partition, Span, open_partition, read_batches
from kmstream.outputs.columns import CLUSTER_SCHEMA
from kmstream.outputs.plan import OutputPlan
from kmstream.storage import explain_write_errors

WRITABLE_CODECS = {"NONE", "SNAPPY", "GZIP", "BROTLI", "LZ4", "ZSTD"}


class Rewritten:
    """Takes the cluster columns, and writes them beside the carried columns, which it reads.

    Parameters
    ----------
    plan : OutputPlan
    partition : Partition
    temporary : pathlib.Path
        The file to write.
    stack : ExitStack
        Completes the file when it is closed.
    why : str
        Why the columns are written again.
    """

    n_missing = 0

    def __init__(self, plan: OutputPlan, partition: Partition, temporary: Path, stack: ExitStack, why: str) -> None:
        self._plan, self._target, self.rewritten = plan, plan.folder / partition.path, why
        source = stack.enter_context(open_partition(plan.dataset, partition))
        self._schema = _make_schema(source, plan.columns, plan.metadata)
        with explain_write_errors(self._target):
            writer = pq.ParquetWriter(temporary, self._schema, **_choose_codecs(source, self._schema))
            self._writer = stack.enter_context(writer)

    def write(self, span: Span, columns: pa.Table) -> None:
        """Write the rows of the next span with their cluster columns."""
        plan, names = self._plan, self._schema.names[: -len(CLUSTER_COLUMNS)]
        whole = plan.columns is None
        for first_row, batch in read_batches(plan.dataset, span, plan.chunk_rows, names, whole=whole, ahead=False):
            here = columns.slice(first_row - span.first_row, batch.num_rows)
            carried = batch.columns[: len(names)] if whole else [batch.column(name) for name in names]
            with explain_write_errors(self._target):
                self._writer.write_table(pa.Table.from_arrays([*carried, *here.columns], schema=self._schema))


def _make_schema(source: pq.ParquetFile, columns: Sequence[str] | None, metadata: Mapping[str, str]) -> pa.Schema:
    """Give the schema of the file: the carried columns, then the cluster columns.

    A schema that Spark or Avro left in the metadata is left out: they would show its columns, not those of the file.
    The file has been checked to hold the carried columns, and none with the name of a cluster column.
    """
    schema, found = source.schema_arrow, source.metadata.metadata or {}
    carried = list(schema) if columns is None else [schema.field(name) for name in columns]
    kept = {key: value for key, value in found.items() if key not in {ARROW_SCHEMA, *FOREIGN_SCHEMAS}}
    keys = kept | {key.encode(): value.encode() for key, value in metadata.items()}
    return pa.schema([*carried, *CLUSTER_SCHEMA], metadata=keys)


def _choose_codecs(source: pq.ParquetFile, schema: pa.Schema) -> dict[str, object]:
    """Keep each column's codec; a dictionary only where the input has one and values are not floating point."""
    metadata = source.metadata
    carried = set(schema.names[: -len(CLUSTER_COLUMNS)])
    codecs, dictionaries = {}, ["cluster_label"]
    if metadata.num_row_groups:
        group = metadata.row_group(0)
        for column in map(group.column, range(group.num_columns)):
            path = column.path_in_schema
            if path in carried or path.partition(".")[0] in carried:
                codecs[path] = "NONE" if column.compression == "UNCOMPRESSED" else column.compression
                if column.has_dictionary_page and column.physical_type not in {"FLOAT", "DOUBLE"}:
                    dictionaries.append(path)
    usual = max(set(codecs.values()), key=list(codecs.values()).count, default="SNAPPY")
    codecs |= dict.fromkeys(CLUSTER_COLUMNS, usual)
    writable = {path: codec for path, codec in codecs.items() if codec in WRITABLE_CODECS}
    return {"compression": writable or "SNAPPY", "use_dictionary": dictionaries}
