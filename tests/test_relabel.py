"""Assignment files get new names: they become the files that assigning the input with these names would have given."""

import os
import signal
import subprocess
import sys
import time

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from parquet_files import INDEXES, WRITERS, by_pyarrow, make_flat, make_nested, make_new

from kmstream.append import append_columns, read_footer
from kmstream.dataset import SPAN_ROWS, open_dataset
from kmstream.errors import CorruptFileError
from kmstream.outputs import CLUSTER_SCHEMA, OutputPlan, open_output
from kmstream.relabel import CURE, describe_labels, has_labels, relabel_file

OLD = [f"segment {number}" for number in range(6)]  # as make_new has them
NEW = ["loyal", "at risk", "", "größer 客户 🙂", "NULL", "segment 0"]
VERSION = {"kmstream.version": "v000001"}


def name(new: pa.Table, labels: list[str]) -> pa.Table:
    """The same cluster columns with other names."""
    ids = new["cluster_id"].combine_chunks()
    labelled = pa.DictionaryArray.from_arrays(ids, pa.array(labels))
    return new.set_column(1, CLUSTER_SCHEMA.field(1), labelled)


def append(source, target, labels, *, new=None):
    """What a run writes of a file with these names, where it copies the old columns."""
    footer = read_footer(source)
    new = make_new(sum(footer.rows)) if new is None else new
    with append_columns(footer, target, CLUSTER_SCHEMA, VERSION | describe_labels(labels)) as output:
        output.write(name(new, labels))
    return target


@pytest.fixture
def write_with(data, config):
    """Write a file of the dataset with names, as a run does: appended, or all again where columns are chosen."""

    def write(folder, labels, *, columns=None, chunk_rows=100):
        dataset = open_dataset(config(features={"numeric": ["number"]}))
        plan = OutputPlan(
            dataset, data.parent / folder, chunk_rows, columns, 1 << 20, VERSION | describe_labels(labels)
        )
        (partition,) = dataset.partitions
        with open_output(plan, partition) as output:
            for span in partition.spans:
                output.write(span, name(make_new(partition.rows), labels))
        return plan.folder / partition.path

    return write


@pytest.fixture
def source(tmp_path):
    by_pyarrow(tmp_path / "source.parquet", make_nested(), write_page_index=True, max_rows_per_page=10)
    return tmp_path / "source.parquet"


def names_in(path):
    return pq.read_table(path)["cluster_label"].to_pylist()


def named(labels, n_rows):
    return [None if number is None else labels[number] for number in make_new(n_rows)["cluster_id"].to_pylist()]


# --- columns that were appended --------------------------------------------------------------------------------------


@pytest.mark.parametrize("writer", WRITERS)
def test_relabel_file_gives_the_file_that_appending_with_these_names_gives(tmp_path, writer):
    source = tmp_path / "source.parquet"
    WRITERS[writer](source)
    path, n_rows = append(source, tmp_path / "out.parquet", OLD), sum(read_footer(source).rows)
    assert relabel_file(path, NEW) == ""
    assert path.read_bytes() == append(source, tmp_path / "expected.parquet", NEW).read_bytes()
    start = read_footer(source).start
    assert path.read_bytes()[:start] == source.read_bytes()[:start]
    found = pq.read_table(path)
    assert repr(found.drop_columns(CLUSTER_SCHEMA.names).to_pydict()) == repr(pq.read_table(source).to_pydict())
    assert found.select(CLUSTER_SCHEMA.names).to_pydict() == name(make_new(n_rows), NEW).to_pydict() if n_rows else True
    assert relabel_file(path, OLD) == ""
    assert path.read_bytes() == append(source, tmp_path / "before.parquet", OLD).read_bytes()


def test_other_readers_see_the_new_names(source, tmp_path):
    path = append(source, tmp_path / "out.parquet", OLD)
    relabel_file(path, NEW)
    with duckdb.connect() as database:
        rows = database.sql(f"select cluster_label, number from '{path}'").fetchall()
        found = database.sql(f"select distinct cluster_id from '{path}' where cluster_label = '{NEW[3]}'").fetchall()
    assert rows == list(zip(named(NEW, 240), range(240), strict=True))
    assert found == [(3,)]  # by the new bounds
    assert pl.read_parquet(path)["cluster_label"].to_list() == named(NEW, 240)
    assert pl.scan_parquet(path).filter(pl.col("cluster_label") == NEW[1]).collect()[
        "cluster_id"
    ].unique().to_list() == [1]


def test_page_indexes_and_bloom_filters_stay(tmp_path):
    by_pyarrow(tmp_path / "source.parquet", make_flat(), **INDEXES)
    path = append(tmp_path / "source.parquet", tmp_path / "out.parquet", OLD)
    relabel_file(path, NEW)
    with pq.ParquetFile(path) as file:
        groups = [file.metadata.row_group(number) for number in range(file.num_row_groups)]
        columns = [group.column(number) for group in groups for number in range(group.num_columns)]
        assert all(column.has_offset_index and column.has_column_index for column in columns)
    with duckdb.connect() as database:
        query = "select distinct bloom_filter_excludes from parquet_bloom_probe($1, 'text', $2)"
        assert database.execute(query, [str(path), "text 9"]).fetchall() == [(True,)]


def test_names_of_the_same_length_never_let_a_file_grow(source, tmp_path):
    path = append(source, tmp_path / "out.parquet", OLD)
    size = path.stat().st_size
    for turn in "abcdefgh":
        relabel_file(path, [f"{turn}{label[1:]}" for label in OLD])
        assert path.stat().st_size == size


def test_key_values_stay_and_those_given_are_added(source, tmp_path):
    path = append(source, tmp_path / "out.parquet", OLD)
    relabel_file(path, NEW, {"more": "ü"})
    expected = {key.encode(): text.encode() for key, text in (VERSION | describe_labels(NEW) | {"more": "ü"}).items()}
    assert pq.read_schema(path).metadata == expected
    assert pq.read_schema(path).names == [*make_nested(0).schema.names, *CLUSTER_SCHEMA.names]
    assert pq.read_schema(path).field("cluster_label") == CLUSTER_SCHEMA.field("cluster_label")


def test_1000_segments_are_named(tmp_path):
    rows = range(5_000)
    pq.write_table(pa.table({"number": rows}), tmp_path / "source", row_group_size=700)
    ids = pa.array([None if row % 9 == 0 else row * 7 % 1000 for row in rows], pa.int32())
    labels, reals = [f"old {number}" for number in range(1000)], pa.array(rows, pa.float32())
    labelled = pa.DictionaryArray.from_arrays(ids, pa.array(labels))
    new = pa.table([ids, labelled, reals, reals], schema=CLUSTER_SCHEMA)
    path = append(tmp_path / "source", tmp_path / "out", labels, new=new)
    renamed = [f"{number} ü" for number in range(1000)]
    assert relabel_file(path, renamed) == ""
    assert path.read_bytes() == append(tmp_path / "source", tmp_path / "expected", renamed, new=new).read_bytes()
    assert names_in(path) == [None if number is None else f"{number} ü" for number in ids.to_pylist()]


def test_a_row_group_longer_than_a_span_is_one_row_group(tmp_path):
    n_rows = SPAN_ROWS + 5
    pq.write_table(pa.table({"number": range(n_rows)}), tmp_path / "source", row_group_size=n_rows)
    ids = pa.array([row % 7 for row in range(n_rows)], pa.int32(), mask=[row % 11 == 0 for row in range(n_rows)])
    reals = pa.array(range(n_rows), pa.float32())
    labels = [f"old {number}" for number in range(7)]
    new = pa.table([ids, pa.DictionaryArray.from_arrays(ids, pa.array(labels)), reals, reals], schema=CLUSTER_SCHEMA)
    path = append(tmp_path / "source", tmp_path / "out", labels, new=new)
    assert relabel_file(path, labels[::-1]) == ""
    assert read_footer(path).rows == [n_rows]
    assert pq.read_table(path).drop_columns("number").equals(name(new, labels[::-1]))


def test_a_file_whose_only_row_group_was_written_again_is_cut_too(files, data, write_with):
    files(data, {"a.parquet": make_flat(60)})
    path = write_with("out", OLD, columns=["text", "number"])
    assert relabel_file(path, NEW) == ""
    assert names_in(path) == named(NEW, 60)
    assert pq.read_table(path, columns=["number"])["number"].to_pylist() == list(range(60))
    size = path.stat().st_size
    assert relabel_file(path, NEW) == ""
    assert path.stat().st_size == size


# --- columns that were all written ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("columns", "options"),
    [
        (["text", "number"], {}),
        (["number"], {"compression": "none"}),
        (["text", "list", "struct", "map", "real", "flag"], {"compression": {"text": "zstd", "number": "gzip"}}),
        (["when", "text"], {"use_dictionary": False}),
    ],
    ids=["two columns", "no codec", "nested columns, codecs", "no dictionaries"],
)
def test_a_file_written_again_becomes_what_would_have_been_written_with_these_names(
    files, data, write_with, columns, options
):
    files(data, {"a.parquet": make_nested()}, row_group_size=60, **options)
    path = write_with("out", OLD, columns=columns)
    assert relabel_file(path, NEW).startswith("bytes of other columns")
    assert path.read_bytes() == write_with("expected", NEW, columns=columns).read_bytes()
    assert pq.read_metadata(path).num_row_groups == 3
    assert names_in(path) == named(NEW, 240)


def test_a_file_of_no_rows_written_again_is_relabelled(files, data, write_with):
    files(data, {"a.parquet": make_flat(0)})
    path = write_with("out", OLD, columns=["text"])
    assert relabel_file(path, NEW) == ""
    assert pq.read_table(path).num_rows == 0
    assert has_labels(path, NEW)


def test_columns_that_are_dictionaries_stay_dictionaries(files, data, write_with):
    table = make_flat().append_column("kind", pa.array(["a", None, "b"] * 80).dictionary_encode())
    files(data, {"a.parquet": table})
    path = write_with("out", OLD, columns=["kind", "number"])
    before = pq.read_table(path)
    assert relabel_file(path, NEW)
    assert (
        pq.read_table(path)
        .select(["kind", "number", "cluster_id"])
        .equals(before.select(["kind", "number", "cluster_id"]))
    )
    assert pq.read_schema(path).field("kind").type == table.schema.field("kind").type


# --- which names a file has -------------------------------------------------------------------------------------------


def test_has_labels_tells_the_names_a_file_was_written_with(source, tmp_path):
    path = append(source, tmp_path / "out.parquet", OLD)
    assert has_labels(path, OLD)
    assert not has_labels(path, NEW)
    relabel_file(path, NEW)
    assert has_labels(path, tuple(NEW))
    assert not has_labels(path, OLD)
    assert not has_labels(path, NEW[::-1])
    assert not has_labels(source, OLD)  # a file without the key


# --- what goes wrong --------------------------------------------------------------------------------------------------


def test_links_to_the_old_file_keep_the_old_names(source, tmp_path):
    path = append(source, tmp_path / "out.parquet", OLD)
    (tmp_path / "link.parquet").hardlink_to(path)
    relabel_file(path, NEW)
    assert names_in(tmp_path / "link.parquet") == named(OLD, 240)
    assert names_in(path) == named(NEW, 240)


def test_a_cluster_without_a_name_is_refused(source, tmp_path, tree):
    path = append(source, tmp_path / "folder.parquet", OLD)
    before, files_before = path.read_bytes(), tree(tmp_path)
    with pytest.raises(CorruptFileError, match="cluster_id is 0 to 5; expected 0 to 4") as caught:
        relabel_file(path, NEW[:5])
    assert str(path) in "".join(caught.value.__notes__)
    assert (path.read_bytes(), tree(tmp_path)) == (before, files_before)


def test_a_file_without_cluster_columns_is_refused(source, tmp_path, tree):
    with pytest.raises(CorruptFileError, match=r"the last columns are .*'map'.*; expected .*'cluster_id'"):
        relabel_file(source, NEW)
    assert tree(tmp_path) == ["source.parquet"]


@pytest.mark.parametrize("part", [0.1, 0.999], ids=["in the data", "in the footer"])
def test_a_damaged_file_stays_as_it_is(source, tmp_path, tree, part):
    path = append(source, tmp_path / "out.parquet", OLD)
    raw = path.read_bytes()
    path.write_bytes(raw[: int(len(raw) * part)])
    for look in (relabel_file, has_labels):
        with pytest.raises(CorruptFileError, match=r"out\.parquet ends with") as caught:
            look(path, NEW)
        assert caught.value.__notes__ == [CURE]
    assert tree(tmp_path) == ["out.parquet", "source.parquet"]


@pytest.mark.parametrize("look", [relabel_file, has_labels])
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda raw, length: b"", r"out\.parquet ends with b'' at byte 0"),
        (lambda raw, length: raw[:-8] + b"\xff\xff\xff\x00PAR1", r"out\.parquet claims 16777215 bytes"),
        (lambda raw, length: raw[: -8 - length] + bytes(length) + raw[-8:], "the schema has no elements"),
        (lambda raw, length: raw[: -8 - length] + b"\xff" * length + raw[-8:], "Thrift"),
    ],
    ids=["empty", "length", "zeros", "ones"],
)
def test_a_damaged_footer_is_told_with_its_file_and_what_to_do(source, tmp_path, look, damage, message):
    path = append(source, tmp_path / "out.parquet", OLD)
    raw = path.read_bytes()
    damaged = damage(raw, int.from_bytes(raw[-8:-4], "little"))
    path.write_bytes(damaged)
    with pytest.raises(CorruptFileError, match=message) as caught:
        look(path, NEW)
    told = [str(caught.value), *caught.value.__notes__]
    assert "".join(told).count(str(path)) == 1
    assert told[-1] == CURE
    assert path.read_bytes() == damaged


def test_damaged_cluster_columns_are_said_to_be_unreadable(source, tmp_path, tree):
    path = append(source, tmp_path / "out.parquet", OLD)
    raw = bytearray(path.read_bytes())
    start = read_footer(source).start
    raw[start : start + 40] = b"\xff" * 40
    path.write_bytes(raw)
    with pytest.raises(CorruptFileError, match=r"out\.parquet can't be read") as caught:
        relabel_file(path, NEW)
    assert "kmstream refresh" in caught.value.__notes__[-1]
    assert path.read_bytes() == raw
    assert tree(tmp_path) == ["out.parquet", "source.parquet"]


def test_a_file_that_is_gone_is_not_found(tmp_path):
    with pytest.raises(FileNotFoundError):
        relabel_file(tmp_path / "out.parquet", NEW)


RELABEL = """
import resource, sys
from pathlib import Path
from kmstream.errors import OutputError
from kmstream.relabel import relabel_file
path, times, limit, *labels = sys.argv[1:]
if int(limit):
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
print("ready", flush=True)
try:
    for _ in range(int(times)):
        relabel_file(Path(path), labels)
        labels.reverse()
except OutputError as error:
    print(error, *error.__notes__, sep="\\n")
"""


def start_relabelling(path, times, limit=0):
    """Relabel a file again and again in a process of its own; one with a limit must leave no bytecode cut off."""
    return subprocess.Popen(
        [sys.executable, "-B", "-c", RELABEL, str(path), str(times), str(limit), *NEW],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )


@pytest.mark.slow
@pytest.mark.parametrize("columns", [None, ["text", "number", "struct"]], ids=["appended", "written again"])
@pytest.mark.parametrize("part", [0.3, 0.7, 0.9])
def test_a_full_disk_leaves_the_old_file_and_nothing_else(files, data, write_with, tree, columns, part):
    files(data, {"a.parquet": make_nested()}, row_group_size=60)
    path = write_with("out", OLD, columns=columns)
    before = path.read_bytes()
    with start_relabelling(path, 1, int(len(before) * part)) as process:
        stdout, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "a.parquet can't be written: File too large" in stdout
    assert "Free space" in stdout
    assert path.read_bytes() == before
    assert tree(path.parent) == ["a.parquet"]


@pytest.mark.slow
def test_a_process_that_is_killed_leaves_one_of_the_two_files_whole(source, tmp_path):
    path = append(source, tmp_path / "out.parquet", OLD)
    whole = [append(source, tmp_path / "expected", labels).read_bytes() for labels in (OLD, NEW, NEW[::-1])]
    for wait in (0.0, 0.003, 0.01, 0.021):
        with start_relabelling(path, 10_000) as process:
            process.stdout.readline()
            time.sleep(wait)
            process.send_signal(signal.SIGKILL)
        assert path.read_bytes() in whole
    relabel_file(path, OLD)  # over what is left of a temporary file
    assert path.read_bytes() == whole[0]
    assert not (tmp_path / ".out.parquet.tmp").exists()
