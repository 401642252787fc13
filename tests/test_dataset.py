import decimal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kmstream.dataset import SPAN_ROWS, Span, hive_values, locate, open_dataset, read_batches
from kmstream.errors import CorruptFileError, DatasetNotFoundError, InvalidFeatureError, SchemaMismatchError
from kmstream.features import take_values

SMALL = pa.table({"x": [1.0, 2.0], "y": [3.0, 4.0]})


def paths(dataset):
    return [partition.path for partition in dataset.partitions]


def read_all(dataset, chunk_rows=4096, columns=None):
    return [batch for span in dataset.spans for _, batch in read_batches(dataset, span, chunk_rows, columns)]


def numbers(dataset, name="x"):
    """What the features room sees of a column, over all files."""
    at = dataset.features.numeric.index(name)
    batches = read_all(dataset, columns=dataset.features.columns)
    return np.concatenate([take_values(batch, dataset.features).numeric[at] for batch in batches]).tolist()


# --- finding files ---------------------------------------------------------------------------------------------------


def test_open_dataset_takes_a_single_file(config, data, files):
    files(data, {"a.parquet": SMALL, "b.parquet": SMALL})
    found = open_dataset(config(dataset={"path": "data/b.parquet"}))
    assert paths(found) == ["b.parquet"]
    assert found.rows == 2


def test_open_dataset_takes_a_folder_in_the_order_of_paths(config, data, files):
    files(data, dict.fromkeys(["b.parquet", "a/z.parquet", "a.parquet", "c.pq", "d.parq"], SMALL))
    assert paths(open_dataset(config())) == ["a.parquet", "a/z.parquet", "b.parquet", "c.pq", "d.parq"]


def test_open_dataset_takes_a_file_uri(config, data, files):
    files(data, {"a.parquet": SMALL})
    assert paths(open_dataset(config(dataset={"path": data.as_uri()}))) == ["a.parquet"]


@pytest.mark.parametrize(
    ("glob", "expected"),
    [
        ("data/*.parquet", ["a1.parquet", "a2.parquet"]),
        ("data/**/*.parquet", ["a1.parquet", "a2.parquet", "deep/b.parquet", "deep/deeper/c.parquet"]),
        ("data/*/*.parquet", ["deep/b.parquet"]),
        ("data/a?.parquet", ["a1.parquet", "a2.parquet"]),
        ("data/a[2-9].parquet", ["a2.parquet"]),
        ("data/d*/**/c.parquet", ["deep/deeper/c.parquet"]),
    ],
)
def test_open_dataset_globs_like_a_shell(config, data, files, glob, expected):
    names = ["a1.parquet", "a2.parquet", "deep/b.parquet", "deep/deeper/c.parquet"]
    files(data, dict.fromkeys(names, SMALL))
    assert paths(open_dataset(config(dataset={"path": glob}))) == expected


def test_open_dataset_takes_a_folder_whose_name_looks_like_a_glob(config, tmp_path, files):
    files(tmp_path / "data [old]", {"a.parquet": SMALL})
    assert paths(open_dataset(config(dataset={"path": "data [old]"}))) == ["a.parquet"]


def test_open_dataset_skips_marks_hidden_empty_and_other_files(config, data, files):
    files(data, dict.fromkeys(["a.parquet", ".b.parquet", "_c.parquet", ".git/d.parquet", "_tmp/0/e.parquet"], SMALL))
    for name in ("_SUCCESS", "_committed_1", "_started_1", "notes.txt", "empty.parquet", "f.parquet.crc"):
        (data / name).write_bytes(b"" if name in {"_SUCCESS", "empty.parquet"} else b"text")
    found = open_dataset(config())
    assert paths(found) == ["a.parquet"]
    assert "empty.parquet" in found.ignored
    assert len(found.ignored) == 10


def test_open_dataset_refuses_a_path_that_does_not_exist(config):
    with pytest.raises(DatasetNotFoundError, match=r"does not exist: .*data"):
        open_dataset(config())


@pytest.mark.parametrize("path", ["data", "data/*.parquet"])
def test_open_dataset_refuses_a_folder_without_parquet_files(config, data, path):
    data.mkdir()
    (data / "notes.txt").write_text("x")
    with pytest.raises(DatasetNotFoundError, match=r"no Parquet files in .*1 other file"):
        open_dataset(config(dataset={"path": path}))


def test_open_dataset_only_limits_by_path_or_folder(config, data, files):
    names = [f"month={m}/part-{i}.parquet" for m in ("01", "02") for i in (0, 1)]
    files(data, dict.fromkeys(names, SMALL))
    assert paths(open_dataset(config(), ["month=01"])) == names[:2]
    assert paths(open_dataset(config(), ["month=02/"])) == names[2:]
    assert paths(open_dataset(config(), ["*/part-1.parquet"])) == [names[1], names[3]]
    assert paths(open_dataset(config(), ["month=01/part-0*", "month=02/part-1*"])) == [names[0], names[3]]


def test_open_dataset_only_checks_no_schema_of_other_files(config, data, files):
    files(data, {"a.parquet": SMALL, "b.parquet": pa.table({"z": [1]})})
    assert paths(open_dataset(config(), ["a*"])) == ["a.parquet"]


def test_open_dataset_refuses_only_that_matches_nothing(config, data, files):
    files(data, {"a.parquet": SMALL})
    with pytest.raises(DatasetNotFoundError, match="none of the 1 Parquet files matches --only z"):
        open_dataset(config(), ["z*"])


def test_open_dataset_fingerprint_changes_with_the_content_and_only_then(config, data, files):
    files(data, {"a.parquet": SMALL, "b.parquet": SMALL})
    before = [p.fingerprint for p in open_dataset(config()).partitions]
    assert [p.fingerprint for p in open_dataset(config()).partitions] == before
    files(data, {"a.parquet": pa.table({"x": [9.0, 2.0], "y": [3.0, 4.0]})})
    after = [p.fingerprint for p in open_dataset(config()).partitions]
    assert after[0] != before[0]
    assert after[1] == before[1]


# --- hive folders ----------------------------------------------------------------------------------------------------


def test_hive_values_are_the_strings_on_disk():
    assert hive_values("year=2013/month=04/a.parquet") == {"year": "2013", "month": "04"}
    assert hive_values("city=S%C3%A3o%20Paulo%2FSP/a.parquet") == {"city": "São Paulo/SP"}
    assert hive_values("a=b.parquet") == {}
    assert hive_values("k=a=b/x.parquet") == {"k": "a=b"}


def test_hive_values_give_way_to_a_column_of_the_file(config, data, files):
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


@pytest.mark.parametrize("value", ["abc", "", "4 May"])
def test_open_dataset_refuses_a_hive_value_that_is_no_number(config, data, files, value):
    files(data, {f"m={value}/a.parquet": SMALL})
    with pytest.raises(SchemaMismatchError, match="in the folder name; expected a number"):
        open_dataset(config(features={"numeric": ["x", "m"]}))


# --- schemas ---------------------------------------------------------------------------------------------------------


def test_open_dataset_names_the_one_file_without_a_feature_column(config, data, files):
    files(data, {"a.parquet": SMALL, "b.parquet": SMALL, "c.parquet": SMALL.drop_columns("y")})
    with pytest.raises(SchemaMismatchError, match="column 'y' is missing; the file has 'x'") as caught:
        open_dataset(config())
    assert "in c.parquet" in caught.value.__notes__


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["1", "2"]),
        pa.array([b"1", b"2"]),
        pa.array([1, 2], pa.timestamp("us")),
        pa.array([1, 2], pa.date32()),
        pa.array([[1.0], [2.0]]),
        pa.array([{"a": 1}, {"a": 2}]),
        pa.array(["1", "2"]).dictionary_encode(),
    ],
    ids=lambda column: str(column.type).split("<")[0],
)
def test_open_dataset_refuses_a_numeric_feature_that_holds_no_numbers(config, data, files, column):
    files(data, {"a.parquet": SMALL, "b.parquet": pa.table({"x": column, "y": [1.0, 2.0]})})
    with pytest.raises(SchemaMismatchError, match=r"column 'x' has type .*; expected numbers") as caught:
        open_dataset(config())
    assert "in b.parquet" in caught.value.__notes__


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


def test_open_dataset_refuses_a_feature_column_that_is_there_twice(config, data, files):
    twice = pa.Table.from_arrays([pa.array([1.0]), pa.array([2.0]), pa.array([3.0])], names=["x", "x", "y"])
    files(data, {"a.parquet": twice})
    with pytest.raises(SchemaMismatchError, match="'x' is there 2 times"):
        open_dataset(config())


# --- rows ------------------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
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


def test_open_dataset_takes_files_without_rows_and_without_row_groups(config, data, files):
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


# --- corrupt files ---------------------------------------------------------------------------------------------------


def break_bytes(path: Path, how: str) -> None:
    good = path.read_bytes()
    footer = int.from_bytes(good[-8:-4], "little")
    broken = {
        "truncated": good[: len(good) // 2],
        "no footer": good[:-8] + b"\0" * 8,
        "garbage": b"this is no Parquet at all",
        "footer garbled": good[: -8 - footer] + b"\xff" * footer + good[-8:],
        "pages garbled": good[:4] + b"\xff" * (len(good) - footer - 12) + good[-8 - footer :],
        "pages gone": good[:4] + good[-8 - footer :],
    }[how]
    path.write_bytes(broken)


@pytest.mark.parametrize("how", ["truncated", "no footer", "garbage", "footer garbled"])
def test_open_dataset_names_the_corrupt_file_among_good_ones(config, data, files, how):
    files(data, {"a.parquet": SMALL, "b.parquet": SMALL, "c.parquet": SMALL})
    break_bytes(data / "b.parquet", how)
    with pytest.raises(CorruptFileError, match=r"b\.parquet is not a readable Parquet file"):
        open_dataset(config())


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
