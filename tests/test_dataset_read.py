"""Rows read in order, in batches of an exact size, whatever the file looks like."""

import decimal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from builders import break_bytes
from hypothesis import given
from hypothesis import strategies as st

from kmstream.dataset import SPAN_ROWS, Span, locate, open_dataset, read_batches
from kmstream.errors import CorruptFileError, InvalidFeatureError, SchemaMismatchError
from kmstream.features import take_values

SMALL = pa.table({"x": [1.0, 2.0], "y": [3.0, 4.0]})


def read_all(dataset, chunk_rows=4096, columns=None):
    return [batch for span in dataset.spans for _, batch in read_batches(dataset, span, chunk_rows, columns)]


def numbers(dataset, name="x"):
    """What the features room sees of a column, over all files."""
    at = dataset.features.numeric.index(name)
    batches = read_all(dataset, columns=dataset.features.columns)
    return np.concatenate([take_values(batch, dataset.features).numeric[at] for batch in batches]).tolist()


def test_read_batches_reads_a_column_of_the_file_before_a_folder_of_its_name(config, data, files):
    files(data, {"x=7/a.parquet": SMALL})
    assert numbers(open_dataset(config())) == [1.0, 2.0]


def test_read_batches_gives_hive_values_as_strings_or_as_numbers_where_asked(config, data, files):
    files(data, {"month=04/a.parquet": SMALL, "month=10/a.parquet": SMALL})
    text = read_all(open_dataset(config(features={"categorical": ["month"]})))
    assert [batch.column("month").to_pylist() for batch in text] == [["04", "04"], ["10", "10"]]
    number = open_dataset(config(features={"numeric": ["x", "month"]}))
    assert numbers(number, "month") == [4.0, 4.0, 10.0, 10.0]
    assert read_all(open_dataset(config()))[0].column_names == ["x", "y"]


def test_read_batches_takes_hive_null_as_missing(config, data, files):
    files(data, {"m=__HIVE_DEFAULT_PARTITION__/a.parquet": SMALL, "m=1/a.parquet": SMALL})
    number = open_dataset(config(features={"numeric": ["x", "m"]}))
    assert np.isnan(numbers(number, "m")).tolist() == [False, False, True, True]
    text = open_dataset(config(features={"categorical": ["m"]}))
    assert read_all(text)[1].column("m").to_pylist() == [None, None]


def test_read_batches_reads_hive_features_alone(config, data, files):
    files(data, {"m=1/a.parquet": SMALL, "m=2/a.parquet": SMALL})
    assert numbers(open_dataset(config(features={"numeric": ["m"]})), "m") == [1.0, 1.0, 2.0, 2.0]


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pa.array([1, 2], pa.int8()), [1.0, 2.0]),
        (pa.array([1, None], pa.int64()), [1.0, None]),
        (pa.array([2**63, 1], pa.uint64()), [float(2**63), 1.0]),
        (pa.array([2**60 + 1, 1], pa.int64()), [float(2**60 + 1), 1.0]),
        (pa.array([1.5, 2.5], pa.float32()), [1.5, 2.5]),
        (pa.array([1.5, None], pa.float16()), [1.5, None]),
        (pa.array([decimal.Decimal("1.25"), None], pa.decimal128(9, 2)), [1.25, None]),
        (pa.array([decimal.Decimal("1.25"), None], pa.decimal256(50, 2)), [1.25, None]),
        (pa.array([True, False]), [1.0, 0.0]),
        (pa.array([True, None]), [1.0, None]),
        (pa.array([5, 7], pa.int32()).dictionary_encode(), [5.0, 7.0]),
        (pa.array([5.5, None]).dictionary_encode(), [5.5, None]),
        (pa.nulls(2), [None, None]),
    ],
    ids=lambda value: str(value.type) if isinstance(value, pa.Array) else "",
)
def test_read_batches_gives_any_type_of_number(config, data, files, column, expected):
    files(data, {"a.parquet": SMALL, "b.parquet": pa.table({"x": column, "y": [1.0, 2.0]})})
    found = numbers(open_dataset(config()))
    assert [None if np.isnan(value) else value for value in found] == [1.0, 2.0, *expected]


def test_read_batches_unifies_dictionaries_that_differ_between_row_groups(config, data):
    data.mkdir()
    kind = pa.dictionary(pa.int32(), pa.string())
    words = [["a", "b"], ["c", None], ["a", "d"]]
    with pq.ParquetWriter(data / "a.parquet", pa.schema([("x", pa.float64()), ("w", kind)])) as writer:
        for part in words:
            column = pa.array(part).dictionary_encode()
            writer.write_table(pa.table({"x": [1.0, 2.0], "w": column}, schema=writer.schema))
    dataset = open_dataset(config(features={"numeric": ["x"], "categorical": ["w"]}))
    batches = read_all(dataset, columns=dataset.features.columns)
    assert [v for batch in batches for v in take_values(batch, dataset.features).texts["w"].to_pylist()] == [
        word for part in words for word in part
    ]


@pytest.mark.parametrize("name", ["net revenue", "a.b", "ünï", "a/b", "x;y", "list.element", "a.b.c"])
def test_read_batches_takes_any_column_name(config, data, files, name):
    files(data, {"a.parquet": pa.table({name: [1.0, 2.0], "y": [0.0, 0.0]})})
    assert numbers(open_dataset(config(features={"numeric": [name, "y"]})), name) == [1.0, 2.0]


def test_read_batches_tells_a_dotted_name_from_a_nested_path(config, data, files):
    nested = pa.array([{"b": 70.0}, {"b": 80.0}])
    files(data, {"a.parquet": pa.table({"a": nested, "a.b": [1.0, 2.0]})})
    assert numbers(open_dataset(config(features={"numeric": ["a.b"]})), "a.b") == [1.0, 2.0]
    files(data, {"a.parquet": pa.table({"a": nested})})
    with pytest.raises(SchemaMismatchError, match=r"'a\.b' is missing"):
        open_dataset(config(features={"numeric": ["a.b"]}))


@given(
    groups=st.lists(st.integers(1, 40), min_size=1, max_size=6),
    chunk_rows=st.integers(1, 90),
    bounds=st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
def test_read_batches_gives_the_rows_in_order_in_exact_batches_for_any_layout(
    tmp_path_factory, config_in, groups, chunk_rows, bounds
):
    base = tmp_path_factory.mktemp("layout")
    (base / "data").mkdir()
    n_rows = sum(groups)
    table = pa.table({"x": np.arange(n_rows), "y": np.zeros(n_rows)})
    first = 0
    with pq.ParquetWriter(base / "data/a.parquet", table.schema) as writer:
        for size in groups:
            writer.write_table(table.slice(first, size))
            first += size
    dataset = open_dataset(config_in(base))
    begin, end = (round(bound * n_rows) for bound in sorted(bounds))
    found = list(read_batches(dataset, Span(dataset.partitions[0], begin, end - begin), chunk_rows))
    sizes = [batch.num_rows for _, batch in found]
    assert [row for _, batch in found for row in batch.column("x").to_pylist()] == list(range(begin, end))
    assert all(size == chunk_rows for size in sizes[:-1])
    assert [first for first, _ in found] == [begin + i * chunk_rows for i in range(len(found))]
    assert all(0 < size <= chunk_rows for size in sizes)


def test_spans_cover_every_row_once_and_never_cross_a_file(config, data, files):
    n_rows = 2 * SPAN_ROWS + 5
    long = pa.table({"x": pa.array(np.arange(n_rows, dtype=np.int32)), "y": pa.array(np.zeros(n_rows, np.int8))})
    files(data, {"a.parquet": SMALL}, row_group_size=1)
    files(data, {"b.parquet": long}, row_group_size=700_000)
    dataset = open_dataset(config())
    assert [(s.partition.path, s.first_row, s.rows) for s in dataset.spans] == [
        ("a.parquet", 0, 2),
        ("b.parquet", 0, SPAN_ROWS),
        ("b.parquet", SPAN_ROWS, SPAN_ROWS),
        ("b.parquet", 2 * SPAN_ROWS, 5),
    ]
    rows = np.concatenate([batch.column("x").to_numpy() for batch in read_all(dataset, 1 << 17, ["x"])[1:]])
    assert np.array_equal(rows, np.arange(n_rows))


def test_read_batches_reads_files_without_rows_and_without_row_groups(config, data, files):
    files(data, {"a.parquet": SMALL.slice(0, 0), "b.parquet": SMALL})
    with pq.ParquetWriter(data / "c.parquet", SMALL.schema):
        pass
    with pq.ParquetWriter(data / "d.parquet", SMALL.schema) as writer:
        for part in (SMALL, SMALL.slice(0, 0), SMALL):
            writer.write_table(part)
    dataset = open_dataset(config())
    assert [p.rows for p in dataset.partitions] == [0, 2, 0, 4]
    assert numbers(dataset) == [1.0, 2.0] * 3


@pytest.mark.slow
def test_read_batches_holds_no_whole_file(tmp_path, config_in):
    """One file, one row group of 160 MB: reading it takes a small part of that."""
    if not Path("/proc/self/status").exists():
        pytest.skip("the peak of this process alone is read from /proc")  # ru_maxrss starts at that of the parent
    (tmp_path / "data").mkdir()
    rng = np.random.default_rng(0)
    n_rows = 2_500_000
    table = pa.table({name: rng.normal(size=n_rows) for name in "abcdefgh"})
    pq.write_table(table, tmp_path / "data/a.parquet", row_group_size=n_rows)
    program = f"""
import re
from pathlib import Path
from kmstream.config import parse_config
from kmstream.dataset import open_dataset, read_batches
config = parse_config({{"name": "a", "dataset": {{"path": "data"}}, "features": {{"numeric": ["a"]}}}},
                      base_dir=Path({str(tmp_path)!r}))
dataset = open_dataset(config)
peak = lambda: 1024 * int(re.search(r"VmHWM:\\s*(\\d+)", Path("/proc/self/status").read_text())[1])
rows, before = 0, peak()
for span in dataset.spans:
    for _, batch in read_batches(dataset, span, 16384):
        rows += batch.num_rows
print(rows, peak() - before)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    rows, grown = map(int, done.stdout.split())
    assert rows == n_rows
    assert grown < 48 * 2**20


@pytest.mark.parametrize("how", ["pages garbled", "pages gone"])
def test_read_batches_names_the_file_whose_pages_are_corrupt(config, data, files, blobs, how):
    files(data, {"a.parquet": SMALL, "b.parquet": blobs(500)})
    break_bytes(data / "b.parquet", how)
    with pytest.raises(CorruptFileError, match=r"b\.parquet (can't be read|holds fewer rows)") as caught:
        read_all(open_dataset(config()))
    assert any("rows 0-499" in note for note in caught.value.__notes__) or "fewer rows" in str(caught.value)


def test_locate_tells_file_rows_and_cure(config, data, files):
    files(data, {"a.parquet": SMALL})
    error = InvalidFeatureError("missing")
    error.first_row = 7

    def fail():
        with locate(open_dataset(config()).partitions[0], 100, 50):
            raise error

    with pytest.raises(InvalidFeatureError) as caught:
        fail()
    assert caught.value.__notes__[0] == "in a.parquet, rows 100-149; first such row 107"
    assert "features.on_missing" in caught.value.__notes__[1]
