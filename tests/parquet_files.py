"""Parquet files as different writers make them, and cluster columns to append to them."""

import functools
import shutil
from pathlib import Path

import duckdb
import fastparquet
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from kmstream.outputs import CLUSTER_SCHEMA

PARQUET_MR = Path(__file__).parent / "data" / "parquet_mr"
N_ROWS, GROUP_ROWS = 240, 60
DUCKDB_GROUP_ROWS = 2048  # the fewest it writes
N_CLUSTERS = 6


def make_flat(n_rows: int = N_ROWS) -> pa.Table:
    rows = range(n_rows)
    columns = {
        "number": pa.array(rows, pa.int64()),
        "text": pa.array([None if row % 11 == 0 else f"text {row % 7}" for row in rows], pa.string()),
        "real": pa.array([float("nan") if row % 13 == 0 else row / 8 for row in rows], pa.float64()),
        "when": pa.array(rows, pa.timestamp("us")),
        "flag": pa.array([row % 3 == 0 for row in rows], pa.bool_()),
    }
    return pa.table(columns)


def make_nested(n_rows: int = N_ROWS) -> pa.Table:
    rows = range(n_rows)
    struct = pa.struct([("a", pa.int64()), ("b", pa.list_(pa.struct([("c", pa.string())])))])
    nested = {
        "list": pa.array([[None, [], [row, None]][row % 3] for row in rows], pa.list_(pa.int64())),
        "struct": pa.array([{"a": row, "b": [{"c": str(row)}]} for row in rows], struct),
        "map": pa.array([[("key", row)] for row in rows], pa.map_(pa.string(), pa.int64())),
    }
    return functools.reduce(lambda table, item: table.append_column(*item), nested.items(), make_flat(n_rows))


def make_new(n_rows: int, *, unassigned: bool = True) -> pa.Table:
    """Cluster columns in ascending order, so that bounds of row groups and pages tell where a cluster can be."""
    ids = [None if unassigned and row % 7 == 6 else row * N_CLUSTERS // n_rows for row in range(n_rows)]
    labels = pa.array([f"segment {number}" for number in range(N_CLUSTERS)])
    reals = [[None if number is None else row / part for row, number in enumerate(ids)] for part in (4, 8)]
    return pa.Table.from_arrays(
        [
            pa.array(ids, pa.int32()),
            pa.DictionaryArray.from_arrays(pa.array(ids, pa.int32()), labels),
            *(pa.array(values, pa.float32()) for values in reals),
        ],
        schema=CLUSTER_SCHEMA,
    )


# Writers


def by_pyarrow(path, table, *, row_group_size=GROUP_ROWS, **options):
    pq.write_table(table, path, row_group_size=row_group_size, **options)


def by_pyarrow_in_groups(path, *rows):
    with pq.ParquetWriter(path, make_nested().schema) as writer:
        for count in rows:
            writer.write_table(make_nested(count))


def by_duckdb(path, version):
    table = make_nested(5_000)
    options = f"format parquet, row_group_size {DUCKDB_GROUP_ROWS}, parquet_version {version}"
    with duckdb.connect() as database:
        database.register("rows", table).execute(f"copy rows to '{path}' ({options})")


def by_fastparquet(path, n_rows=N_ROWS):
    frame = make_flat().to_pandas()
    frame["kind"] = pd.Categorical(["a", "b"] * (N_ROWS // 2))
    frame["maybe"] = pd.array([None if row % 4 == 0 else row for row in range(N_ROWS)], dtype="Int64")
    fastparquet.write(str(path), frame.iloc[:n_rows], row_group_offsets=GROUP_ROWS)


def by_spark(path, spark, version, **options):
    by_pyarrow(path.with_suffix(".pyarrow"), make_nested())
    frame = spark.read.parquet(str(path.with_suffix(".pyarrow"))).coalesce(1)
    options = {"parquet.writer.version": version, "parquet.block.row.count.limit": str(GROUP_ROWS), **options}
    frame.write.options(**options).parquet(str(path.with_suffix("")))
    (part,) = path.with_suffix("").glob("part-*.parquet")
    part.rename(path)


DELTA = {"number": "DELTA_BINARY_PACKED", "text": "DELTA_BYTE_ARRAY", "real": "BYTE_STREAM_SPLIT", "flag": "RLE"}
INDEXES = {"write_page_index": True, "max_rows_per_page": 10, "bloom_filter_options": {"text": {"ndv": 100}}}
WRITERS = {
    "pyarrow": lambda path: by_pyarrow(path, make_nested()),
    "pyarrow, no Arrow schema": lambda path: by_pyarrow(path, make_nested(), store_schema=False),
    "pyarrow, page index, Bloom filters": lambda path: by_pyarrow(path, make_flat(), **INDEXES),
    "pyarrow, v2 pages": lambda path: by_pyarrow(path, make_flat(), data_page_version="2.0", compression="zstd"),
    "pyarrow, delta": lambda path: by_pyarrow(
        path, make_flat(), data_page_version="2.0", use_dictionary=False, column_encoding=DELTA
    ),
    "pyarrow, groups of 2 rows": lambda path: by_pyarrow(path, make_flat(), row_group_size=2),
    "pyarrow, empty groups between": lambda path: by_pyarrow_in_groups(path, 0, 5, 0, 0, 7, 0),
    "pyarrow, no rows": lambda path: by_pyarrow_in_groups(path, 0),
    "pyarrow, no row groups": by_pyarrow_in_groups,
    "DuckDB": lambda path: by_duckdb(path, "v1"),
    "DuckDB, delta": lambda path: by_duckdb(path, "v2"),
    "Polars": lambda path: pl.from_arrow(make_nested()).write_parquet(path, row_group_size=GROUP_ROWS),
    "Polars, no rows": lambda path: pl.from_arrow(make_nested(0)).write_parquet(path),
    "fastparquet": by_fastparquet,
    "fastparquet, no rows": lambda path: by_fastparquet(path, 0),
    **{
        f"parquet-mr, {name}": functools.partial(shutil.copyfile, PARQUET_MR / f"{name}.parquet")
        for name in ("datapage_v2.snappy", "delta_binary_packed", "int32_with_null_pages")
    },
}
SPARK_BLOOM = {"parquet.bloom.filter.enabled#number": "true", "parquet.bloom.filter.expected.ndv#number": "100"}
SPARK_WRITERS = {
    "Spark": lambda path, spark: by_spark(path, spark, "v1", **SPARK_BLOOM),
    "Spark, v2 pages, delta": lambda path, spark: by_spark(path, spark, "v2", **{"parquet.enable.dictionary": "false"}),
}
