"""Files whose columns of weights and times can't be used."""

import pyarrow as pa
import pytest

from kmstream.dataset import open_dataset
from kmstream.errors import SchemaMismatchError

SMALL = pa.table({"x": [1.0, 2.0], "y": [3.0, 4.0], "w": [1, 2], "t": ["2024-04", "2024-03"]})


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (None, r"column 'w' of features\.weight is missing"),
        (pa.array(["1", "2"]), r"column 'w' of features\.weight has type string; expected numbers"),
        (pa.array([1, 2], pa.timestamp("us")), r"column 'w' of features\.weight has type timestamp"),
        (pa.array([[1.0], [2.0]]), r"column 'w' of features\.weight has type list"),
    ],
)
def test_open_dataset_refuses_a_file_without_usable_weights(config, data, files, column, message):
    bad = SMALL.drop_columns("w") if column is None else SMALL.set_column(2, "w", column)
    files(data, {"a.parquet": SMALL, "b.parquet": bad})
    assert open_dataset(config()).rows == 4
    with pytest.raises(SchemaMismatchError, match=message) as caught:
        open_dataset(config(features={"weight": "w"}))
    assert caught.value.__notes__[0] == "in b.parquet"


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (None, r"column 't' of dataset\.time is missing"),
        (pa.array([1, 2]), r"column 't' of dataset\.time has type int64; expected timestamps, dates, or text such as"),
        (pa.array([1.0, 2.0]), r"column 't' of dataset\.time has type double"),
        (pa.array([1, 2], pa.time32("s")), r"column 't' of dataset\.time has type time32"),
    ],
)
def test_open_dataset_refuses_a_file_without_usable_times(config, data, files, column, message):
    bad = SMALL.drop_columns("t") if column is None else SMALL.set_column(3, "t", column)
    files(data, {"a.parquet": SMALL, "b.parquet": bad})
    open_dataset(config(dataset={"time": "t"}))  # nobody asks how old rows are
    with pytest.raises(SchemaMismatchError, match=message) as caught:
        open_dataset(config(dataset={"time": "t"}, model={"half_life": "30d"}))
    assert caught.value.__notes__[0] == "in b.parquet"


def test_open_dataset_refuses_a_file_without_one_of_several_times(config, data, files):
    dated = SMALL.append_column("year", pa.array([2024, 2024])).append_column("month", pa.array([4.0, 3.0]))
    files(data, {"a.parquet": dated})
    forget = {"model": {"half_life": "30d"}}
    with pytest.raises(SchemaMismatchError, match=r"column 'day' of dataset\.time is missing"):
        open_dataset(config(dataset={"time": "year/day"}, **forget))
    with pytest.raises(
        SchemaMismatchError, match=r"column 'month' .* has type double; expected years, months and days"
    ):
        open_dataset(config(dataset={"time": "year/month"}, **forget))


@pytest.mark.parametrize("value", ["April", "2024-13", "__HIVE_DEFAULT_PARTITION__"])
def test_open_dataset_refuses_a_folder_whose_name_is_no_time(config, data, files, value):
    files(data, {"month=2024-04/a.parquet": SMALL, f"month={value}/a.parquet": SMALL})
    with pytest.raises(SchemaMismatchError, match=rf"dataset\.time 'month' is '{value}' in the folder name") as caught:
        open_dataset(config(dataset={"time": "month"}, model={"half_life": "30d"}))
    assert caught.value.__notes__[0] == f"in month={value}/a.parquet"


def test_open_dataset_refuses_a_folder_whose_name_is_no_weight(config, data, files):
    files(data, {"v=2/a.parquet": SMALL, "v=much/a.parquet": SMALL})
    with pytest.raises(
        SchemaMismatchError, match=r"features\.weight 'v' is 'much' in the folder name; expected numbers"
    ):
        open_dataset(config(features={"weight": "v"}))


@pytest.mark.parametrize("section", [{"features": {"weight": "w"}}, {"dataset": {"time": "w"}}])
def test_open_dataset_refuses_a_weight_or_time_column_that_is_there_twice(config, data, files, section):
    columns = [
        pa.array([1.0, 2.0]),
        pa.array([1.0, 2.0]),
        *[pa.array(["2024", "2023"] if "dataset" in section else [1, 2])] * 2,
    ]
    files(data, {"a.parquet": pa.Table.from_arrays(columns, names=["x", "y", "w", "w"])})
    model = {"half_life": "30d"} if "dataset" in section else {}
    with pytest.raises(SchemaMismatchError, match=r"'w'.* 2 times"):
        open_dataset(config(**section, model=model))
