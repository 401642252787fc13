"""Entities that moved, told by refresh and score where dataset.key is set."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kmstream.errors import ConfigError, SchemaMismatchError
from kmstream.pipeline import refresh, score

PLACES = {"a": (0.0, 0.0), "b": (10.0, 0.0), "c": (0.0, 10.0)}


def make_month(where, shift=0.0):
    """One row per entity, at the place of its letter; `where` has a letter for each entity."""
    points = [PLACES[letter] for letter in where]
    jitter = [0.01 * (i % 7) + shift for i in range(len(where))]
    x, y = ([point[axis] + j for point, j in zip(points, jitter, strict=True)] for axis in (0, 1))
    return pa.table({"customer": [f"c{i:03}" for i in range(len(where))], "x": x, "y": y})


JANUARY = "a" * 30 + "b" * 20 + "c" * 10
FEBRUARY = "a" * 25 + "b" * 5 + "b" * 20 + "c" * 10  # five went from a to b
MARCH = "a" * 25 + "b" * 5 + "b" * 18 + "c" * 2 + "c" * 9 + "a"  # two from b to c, one from c to a


def read_moves(result):
    moved = pq.read_table(result.entities["file"])
    assert moved.column_names == ["key", "from", "to", "when"]
    return [tuple(row.values()) for row in moved.to_pylist()]


@pytest.fixture
def months(data, files, config):
    """Give January and February, a configuration with a key, and the names of the places after a refresh."""
    files(data, {"2024-01.parquet": make_month(JANUARY), "2024-02.parquet": make_month(FEBRUARY)})
    made = config(dataset={"key": "customer"})
    return made, refresh(made)


def name_places(made, version="v000001"):
    table = pq.read_table(Path(made.output.path) / "assignments" / version / "2024-01.parquet")
    labels = table.column("cluster_label").to_pylist()
    return {letter: labels[JANUARY.index(letter)] for letter in "abc"}


def test_refresh_tells_who_moved_between_partitions(months):
    made, result = months
    name = name_places(made)
    assert read_moves(result) == [(f"c{i:03}", name["a"], name["b"], "2024-02.parquet") for i in range(25, 30)]
    told = result.entities
    assert (told["key"], told["compared"], told["moves"], told["entities_moved"]) == ("customer", 60, 5, 5)
    at = {label: told["labels_from"].index(label) for label in name.values()}
    assert told["rows"][at[name["a"]]][at[name["b"]]] == 5
    assert sum(map(sum, told["rows"])) == 60
    drift = json.loads(Path(result.report).with_name("drift.json").read_text())
    assert drift["entities"] == told
    assert Path(told["file"]) == Path(result.report).with_name("moved.parquet")
    checksums = json.loads(Path(result.report).with_name("checksums.json").read_text())
    assert "moved.parquet" not in checksums  # it may be removed, and the version is whole
    page = Path(result.report).read_text()
    assert "Who moved: customer" in page
    assert "A customer was seen again 60 times, in another segment 5 times" in page


def test_score_tells_who_moved_since_the_partition_before(months, data, files):
    made, _ = months
    files(data, {"2024-03.parquet": make_month(MARCH)})
    result = score(made)
    name = name_places(made)
    assert read_moves(result) == [
        ("c048", name["b"], name["c"], "2024-03.parquet"),
        ("c049", name["b"], name["c"], "2024-03.parquet"),
        ("c059", name["c"], name["a"], "2024-03.parquet"),
    ]
    assert Path(result.entities["file"]) == Path(result.report).with_name("moved.parquet")


def test_score_compares_a_partition_that_changed_with_what_it_was(months, data, files):
    made, _ = months
    files(data, {"2024-01.parquet": make_month(MARCH, shift=0.001)})
    result = score(made)
    assert {(key, when) for key, _, _, when in read_moves(result)} == {
        (f"c{i:03}", "2024-01.parquet") for i in (*range(25, 30), 48, 49, 59)
    }


def test_refresh_compares_a_file_that_was_overwritten_with_its_earlier_state(config, data, files):
    made = config(dataset={"key": "customer"})
    files(data, {"2024-01.parquet": make_month(JANUARY)})
    assert refresh(made).entities["compared"] == 0
    files(data, {"2024-01.parquet": make_month(FEBRUARY, shift=0.001)})
    result = refresh(made)
    assert [key for key, *_ in read_moves(result)] == [f"c{i:03}" for i in range(25, 30)]


def test_runs_without_a_key_tell_of_no_entities(config, data, files):
    files(data, {"2024-01.parquet": make_month(JANUARY)})
    result = refresh(config())
    assert result.entities is None
    assert "entities" not in result.seconds
    assert not list(Path(config().output.path).rglob("moved.parquet"))


@pytest.mark.parametrize(
    ("key", "message"),
    [("nobody", "key column 'nobody' is missing"), ("x", "key column 'x' has type double; expected whole numbers")],
)
def test_a_column_that_can_not_be_a_key_is_refused_before_anything_is_read(config, data, files, key, message):
    files(data, {"2024-01.parquet": make_month(JANUARY)})
    with pytest.raises(SchemaMismatchError, match=message) as caught:
        refresh(config(dataset={"key": key}))
    assert any("2024-01.parquet" in note for note in caught.value.__notes__)
    assert any("dataset.key" in note for note in caught.value.__notes__)


def test_the_key_must_be_among_the_columns_to_carry(config):
    with pytest.raises(ConfigError, match=r"output\.columns should hold dataset\.key"):
        config(dataset={"key": "customer"}, output={"columns": ["x"]})
    config(dataset={"key": "customer"}, output={"columns": ["x", "customer"]})
