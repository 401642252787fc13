"""Files of many writers get new columns: every reader finds the old ones as they were, and the new ones right.

Spark takes part where pyspark and Java are installed, as a reader and as a writer.
"""

import functools
import shutil

import duckdb
import fastparquet
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from parquet_files import SPARK_WRITERS, WRITERS, make_new

from kmstream.append import append_columns, read_footer
from kmstream.assignments import read_manifest
from kmstream.pipeline import refresh

# Readers: each column's values by its name


def read_with_duckdb(path):
    with duckdb.connect() as database:
        query = database.sql(f"from read_parquet('{path}')")
        rows = query.fetchall()
        return {name: [row[number] for row in rows] for number, name in enumerate(query.columns)}


def read_with_fastparquet(path, **filters):
    with path.open("rb") as file:  # given a path, it leaves the file open
        frame = fastparquet.ParquetFile(file).to_pandas(**filters)
        return {name: frame[name].tolist() for name in frame.columns}


READERS = {
    "pyarrow": lambda path: pq.read_table(path).to_pydict(),
    "DuckDB": read_with_duckdb,
    "Polars": lambda path: pl.read_parquet(path).to_dict(as_series=False),
    "fastparquet": read_with_fastparquet,
}
CANT_READ_THE_ORIGINAL = {  # nor, then, the file with new columns
    ("pyarrow, delta", "fastparquet"): pytest.mark.xfail(raises=NotImplementedError, reason="an encoding of text"),
    ("DuckDB, delta", "fastparquet"): pytest.mark.xfail(raises=NotImplementedError, reason="an encoding of text"),
    ("Spark, v2 pages, delta", "fastparquet"): pytest.mark.xfail(raises=NotImplementedError, reason="an encoding"),
    ("parquet-mr, delta_binary_packed", "fastparquet"): pytest.mark.skip("a segmentation fault in fastparquet"),
}
SPARK_MARKS = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # what pyspark warns of isn't ours


def pairs(writers):
    found = []
    for writer in writers:
        for reader in (*READERS, "Spark"):
            marks = SPARK_MARKS if "Spark" in (reader, writer.split(",")[0]) else []
            marks = [*marks, *filter(None, [CANT_READ_THE_ORIGINAL.get((writer, reader))])]
            found.append(pytest.param(writer, reader, marks=marks, id=f"{writer} - {reader}"))
    return found


@pytest.fixture(scope="module")
def spark():
    sql = pytest.importorskip("pyspark.sql", reason="pyspark is not installed")
    if shutil.which("java") is None:
        pytest.skip("Spark needs Java")
    builder = sql.SparkSession.builder.master("local[1]").config("spark.sql.session.timeZone", "UTC")
    for key, value in (("ui.enabled", "false"), ("driver.host", "127.0.0.1"), ("driver.bindAddress", "127.0.0.1")):
        builder = builder.config(f"spark.{key}", value)
    session = builder.getOrCreate()
    yield session
    session.stop()


@pytest.fixture(scope="module")
def files_of(tmp_path_factory, request):
    """Give a writer's file, the same with new columns, and these."""

    @functools.cache
    def write(writer, by_fastparquet):
        source = tmp_path_factory.mktemp("files") / "source.parquet"
        if writer in WRITERS:
            WRITERS[writer](source)
        else:
            SPARK_WRITERS[writer](source, request.getfixturevalue("spark"))
        structs = any(pa.types.is_nested(field.type) for field in pq.read_schema(source))
        footer = read_footer(source)
        new = make_new(sum(footer.rows), unassigned=not (structs and by_fastparquet))  # see the test below
        assert footer.why_not_appendable(new.schema.names) is None
        with append_columns(footer, source.with_name("target.parquet"), new.schema, {"kmstream.name": "v1"}) as output:
            output.write(new)
        return source, source.with_name("target.parquet"), new

    return lambda writer, reader: write(writer, reader == "fastparquet")


def read_with(reader, path, request):
    if reader != "Spark":
        return READERS[reader](path)
    frame = request.getfixturevalue("spark").read.parquet(str(path))
    rows = frame.collect()
    return {name: [row[number] for row in rows] for number, name in enumerate(frame.columns)}


def with_none(values):
    """Values of pandas with its signs for a missing one replaced."""
    return [None if pd.isna(value) else value for value in values]


@pytest.mark.parametrize(("writer", "reader"), pairs([*WRITERS, *SPARK_WRITERS]))
def test_a_reader_finds_the_old_columns_unchanged_and_the_new_ones_right(files_of, request, writer, reader):
    source, target, new = files_of(writer, reader)
    old, both = read_with(reader, source, request), read_with(reader, target, request)
    if reader != "fastparquet":  # puts the fields of structs last
        assert list(both) == [*old, *new.schema.names]
    assert len(both) == len(old) + new.num_columns
    if reader == "pyarrow":
        assert list(pq.read_schema(target))[: len(old)] == list(pq.read_schema(source))
    for name in old:
        assert repr(both[name]) == repr(old[name])  # of one reader's own objects, and NaN is NaN
    for name, values in new.to_pydict().items():
        assert with_none(both[name]) == values


@pytest.mark.xfail(raises=TypeError, reason="fastparquet: no integers with nulls beside a struct, whoever wrote them")
def test_fastparquet_reads_integers_with_nulls_beside_a_struct_in_a_file_all_by_pyarrow(tmp_path):
    table = pa.table({"struct": [{"a": 1}, {"a": 2}], "cluster_id": pa.array([3, None], pa.int32())})
    pq.write_table(table, tmp_path / "file.parquet")
    assert with_none(read_with_fastparquet(tmp_path / "file.parquet")["cluster_id"]) == [3, None]


# Filters


CONDITION = "cluster_id = 3 and text = 'text 5'"
FILTER = [("cluster_id", "==", 3), ("text", "==", "text 5")]


def filter_with_fastparquet(path):
    columns = read_with_fastparquet(
        path, filters=FILTER
    )  # whole row groups: its row_filter fails where there are nulls
    rows = zip(columns["number"], columns["cluster_id"], columns["text"], strict=True)
    return [number for number, *values in rows if with_none(values) == [3, "text 5"]]


FILTERS = {
    "pyarrow": lambda path: pq.read_table(path, filters=FILTER)["number"].to_pylist(),
    "DuckDB": lambda path: duckdb.sql(f"from '{path}' where {CONDITION}").to_arrow_table()["number"].to_pylist(),
    "Polars": lambda path: pl.scan_parquet(path).filter(pl.sql_expr(CONDITION)).collect()["number"].to_list(),
    "fastparquet": filter_with_fastparquet,
}


@pytest.mark.parametrize(
    ("writer", "reader"),
    pairs(["pyarrow", "pyarrow, page index, Bloom filters", "DuckDB", "Polars", "fastparquet", *SPARK_WRITERS]),
)
def test_a_filter_on_an_old_and_a_new_column_gives_the_rows_that_meet_it(files_of, request, writer, reader):
    source, target, new = files_of(writer, reader)
    if reader == "Spark":
        frame = request.getfixturevalue("spark").read.parquet(str(target)).where(CONDITION)
        found = [row["number"] for row in frame.collect()]
    else:
        found = FILTERS[reader](target)
    texts, ids = pq.read_table(source)["text"].to_pylist(), new["cluster_id"].to_pylist()
    expected = [row for row, both in enumerate(zip(ids, texts, strict=True)) if both == (3, "text 5")]
    assert sorted(found) == expected
    assert expected


@pytest.mark.parametrize("writer", ["pyarrow, page index, Bloom filters", "DuckDB"])
def test_bloom_filters_of_old_columns_still_say_what_is_not_there(files_of, writer):
    _, target, _ = files_of(writer, "DuckDB")
    query = "select distinct bloom_filter_excludes from parquet_bloom_probe($1, 'text', $2)"
    with duckdb.connect() as database:
        for value, excluded in (("text 5", False), ("text 9", True)):
            assert database.execute(query, [str(target), value]).fetchall() == [(excluded,)]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_spark_finds_the_pages_of_new_columns_by_the_page_index_of_old_ones(files_of, spark):
    _, target, new = files_of("pyarrow, page index, Bloom filters", "Spark")
    rows = spark.read.parquet(str(target)).where("number between 131 and 135").collect()
    assert [row["cluster_id"] for row in rows] == new["cluster_id"].to_pylist()[131:136]


# What a run writes


def test_all_readers_see_what_a_refresh_has_published(config, data, blobs, now):
    data.mkdir()
    table = blobs(400)
    pq.write_table(table, data / "pyarrow.parquet", row_group_size=150, data_page_version="2.0", write_page_index=True)
    with duckdb.connect() as database:
        database.register("blobs", table).execute(f"copy blobs to '{data / 'duckdb.parquet'}' (format parquet)")
    pl.from_arrow(table).write_parquet(data / "polars.parquet", row_group_size=150)
    fastparquet.write(str(data / "fastparquet.parquet"), table.to_pandas(), row_group_offsets=150)
    assert refresh(config(), now=now).status == "published"
    folder = data.parent / "out" / "assignments" / "v000001"
    manifest = read_manifest(folder)
    assert {name: entry.rewritten for name, entry in manifest.items()} == {path.name: "" for path in data.iterdir()}
    truth = READERS["pyarrow"](folder / "pyarrow.parquet")
    for path in data.iterdir():
        for read in READERS.values():
            old, both = read(path), read(folder / path.name)
            assert {name: both[name] for name in old} == old
            assert {name: with_none(both[name]) for name in truth} == truth
