"""Files that are found, and those that are refused before a row is read."""

import pyarrow as pa
import pytest
from builders import break_bytes

from kmstream.dataset import open_dataset
from kmstream.dataset.schema import hive_values
from kmstream.errors import CorruptFileError, DatasetNotFoundError, SchemaMismatchError

SMALL = pa.table({"x": [1.0, 2.0], "y": [3.0, 4.0]})


def paths(dataset):
    return [partition.path for partition in dataset.partitions]


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


@pytest.mark.parametrize("value", ["abc", "", "4 May"])
def test_open_dataset_refuses_a_hive_value_that_is_no_number(config, data, files, value):
    files(data, {f"m={value}/a.parquet": SMALL})
    with pytest.raises(SchemaMismatchError, match="in the folder name; expected a number"):
        open_dataset(config(features={"numeric": ["x", "m"]}))


def test_open_dataset_takes_weights_from_folder_names_which_may_be_missing_but_no_text(config, data, files):
    files(data, {"w=1.5/a.parquet": SMALL, "w=__HIVE_DEFAULT_PARTITION__/a.parquet": SMALL})
    assert open_dataset(config(features={"weight": "w"})).rows == 4
    files(data, {"w=heavy/a.parquet": SMALL})
    with pytest.raises(
        SchemaMismatchError, match=r"features\.weight 'w' is 'heavy' in the folder name; expected numbers"
    ):
        open_dataset(config(features={"weight": "w"}))


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


def test_open_dataset_refuses_a_feature_column_that_is_there_twice(config, data, files):
    twice = pa.Table.from_arrays([pa.array([1.0]), pa.array([2.0]), pa.array([3.0])], names=["x", "x", "y"])
    files(data, {"a.parquet": twice})
    with pytest.raises(SchemaMismatchError, match="'x' is there 2 times"):
        open_dataset(config())


# --- corrupt files ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["truncated", "no footer", "garbage", "footer garbled"])
def test_open_dataset_names_the_corrupt_file_among_good_ones(config, data, files, how):
    files(data, {"a.parquet": SMALL, "b.parquet": SMALL, "c.parquet": SMALL})
    break_bytes(data / "b.parquet", how)
    with pytest.raises(CorruptFileError, match=r"b\.parquet is not a readable Parquet file"):
        open_dataset(config())
