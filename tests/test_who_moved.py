"""Entities that moved, told by refresh and score where dataset.key is set."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from kmstream.cli import app
from kmstream.errors import ConfigError, CorruptFileError, SchemaMismatchError
from kmstream.pipeline import plan, refresh, score
from kmstream.store import Store

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
    assert "seen again 60 times" in page


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


# --- several files of one time ----------------------------------------------------------------------------------------


def make_rows(*rows):
    """Rows of a customer and the letter of a place each."""
    customers, letters = zip(*rows, strict=True)
    return make_month(letters).set_column(0, "customer", pa.array(customers))


REST = [(f"r{i:02}", "aab"[i % 3]) for i in range(30)]  # stay where they are; a is segment-01, b segment-02
HIVE = {
    "month=2024-01/a.parquet": [*REST, ("ann", "a"), ("bob", "a"), ("cyd", "b")],
    # ann is as often at a as at b: she stays; bob is more often at b; cyd too; dan and eve are new
    "month=2024-02/a.parquet": [*REST, ("ann", "b"), ("bob", "b"), ("cyd", "b"), ("dan", "b"), ("eve", "a")],
    "month=2024-02/b.parquet": [("ann", "a"), ("bob", "b"), ("bob", "a"), ("cyd", "a"), ("cyd", "b"), ("dan", "a")],
    "month=2024-03/a.parquet": [*REST, ("dan", "b"), ("eve", "b")],
}


@pytest.mark.parametrize("swapped", [False, True], ids=["as written", "files swapped"])
def test_files_of_one_hive_folder_are_one_snapshot(config, data, files, swapped):
    rows = dict(HIVE)
    if swapped:  # what lies in which file, and which comes first, changes nothing
        a, b = "month=2024-02/a.parquet", "month=2024-02/b.parquet"
        rows[a], rows[b] = rows[b], rows[a]
    files(data, {path: make_rows(*lines) for path, lines in rows.items()})
    result = refresh(config(dataset={"key": "customer"}, model={"n_clusters": 2}))
    one, two = "segment-01", "segment-02"
    # dan was as often at a as at b before he was seen anywhere else: the smaller cluster_id is where he comes from
    first = result.labels[0]["cluster_label"]
    dan = [("dan", one, two, "month=2024-03")] if first == one else []
    assert read_moves(result) == [("bob", one, two, "month=2024-02"), *dan, ("eve", one, two, "month=2024-03")]
    assert result.entities["compared"] == (30 + 3) + (30 + 2)


def test_score_of_a_hive_folder_compares_it_with_the_folders_before(config, data, files):
    made = config(dataset={"key": "customer"}, model={"n_clusters": 2})
    files(data, {"month=2024-01/a.parquet": make_rows(*HIVE["month=2024-01/a.parquet"])})
    refresh(made)
    files(data, {path: make_rows(*HIVE[path]) for path in HIVE if path.startswith("month=2024-02")})
    result = score(made)
    assert read_moves(result) == [("bob", "segment-01", "segment-02", "month=2024-02")]
    assert result.entities["compared"] == 33


def test_a_hive_folder_written_anew_under_other_file_names_is_compared_with_what_it_was(config, data, files):
    made = config(dataset={"key": "customer"}, model={"n_clusters": 2})
    files(data, {f"month=2024-0{i}/old.parquet": make_rows(*REST, ("ann", "a"), ("bob", "b")) for i in (1, 2)})
    refresh(made)
    (data / "month=2024-02/old.parquet").unlink()
    files(data, {"month=2024-02/new.parquet": make_rows(*REST, ("ann", "b"), ("bob", "b"))})
    result = score(made)
    assert result.removed == 1
    assert read_moves(result) == [("ann", "segment-01", "segment-02", "month=2024-02")]
    assert result.entities["compared"] == 32


# --- partitions that are gone -----------------------------------------------------------------------------------------


def test_score_compares_with_what_is_left_of_partitions_that_were_removed(months, data, files):
    made, _ = months
    (data / "2024-02.parquet").unlink()
    assert (score(made).removed, score(made).removed) == (1, 0)
    files(data, {"2024-03.parquet": make_month(MARCH)})
    result = score(made)
    name = name_places(made)
    assert read_moves(result) == [  # since January
        *((f"c{i:03}", name["a"], name["b"], "2024-03.parquet") for i in range(25, 30)),
        *((f"c{i:03}", name["b"], name["c"], "2024-03.parquet") for i in (48, 49)),
        ("c059", name["c"], name["a"], "2024-03.parquet"),
    ]
    assert result.entities["earlier_files_left_out"] == 0


@pytest.mark.slow
def test_score_of_a_window_that_moves_on_compares_with_what_is_left(months, data, files):
    made, _ = months
    name = name_places(made)
    (data / "2024-01.parquet").unlink()
    files(data, {"2024-03.parquet": make_month(MARCH)})
    result = score(made)
    assert result.removed == 1
    assert [key for key, *_ in read_moves(result)] == ["c048", "c049", "c059"]  # since February
    assert (result.entities["labels_from"], result.entities["compared"]) == (list(result.entities["labels_to"]), 60)
    files(data, {"2024-04.parquet": make_month("b" * 60)})
    assert sum(moved[1] == name["a"] for moved in read_moves(score(made))) == MARCH.count("a")


# --- keys that are not the same everywhere ----------------------------------------------------------------------------


def test_refresh_leaves_out_an_earlier_file_without_the_key_and_counts_it(config, data, files):
    files(data, {"1.parquet": make_month(JANUARY).drop_columns("customer"), "2.parquet": make_month(FEBRUARY)})
    refresh(config())
    files(data, {"1.parquet": make_month(FEBRUARY, 0.001), "2.parquet": make_month(MARCH, 0.001)})
    result = refresh(config(dataset={"key": "customer"}))
    moves = read_moves(result)
    assert [key for key, *_ in moves] == ["c048", "c049", "c059"]  # 2.parquet, with what it was
    assert {when for *_, when in moves} == {"2.parquet"}
    assert result.entities["earlier_files_left_out"] == 1
    drift = json.loads(Path(result.report).with_name("drift.json").read_text())
    assert drift["entities"]["earlier_files_left_out"] == 1


@pytest.mark.slow
def test_score_leaves_out_what_was_assigned_before_the_key_was_carried(config, data, files):
    files(data, {"1.parquet": make_month(JANUARY), "2.parquet": make_month(JANUARY)})
    refresh(config(output={"columns": ["x"]}))
    files(data, {"3.parquet": make_month(FEBRUARY)})
    result = score(config(dataset={"key": "customer"}))
    assert (result.entities["compared"], result.entities["earlier_files_left_out"]) == (0, 2)
    files(data, {"4.parquet": make_month(MARCH)})
    assert [key for key, *_ in read_moves(score(config(dataset={"key": "customer"})))] == ["c048", "c049", "c059"]


def test_refresh_leaves_out_an_earlier_file_whose_key_had_another_type(config, data, files):
    """Also where the first file of the run has no key to tell the type by, as all of them are null."""
    made = config(dataset={"key": "customer"})
    month = make_month(JANUARY)
    numbered = month.set_column(0, "customer", pa.array(range(len(JANUARY))))
    files(data, {"1.parquet": numbered, "2.parquet": numbered})
    refresh(made)
    nobody = month.set_column(0, "customer", pa.nulls(len(JANUARY)))
    files(data, {"1.parquet": nobody, "2.parquet": make_month(FEBRUARY, 0.001), "3.parquet": make_month(MARCH)})
    result = refresh(made)
    assert [key for key, *_ in read_moves(result)] == ["c048", "c049", "c059"]
    assert result.entities["earlier_files_left_out"] == 2


@pytest.mark.parametrize("verb", [plan, refresh])
def test_keys_with_nothing_in_common_are_refused_before_anything_is_read(config, data, files, verb):
    numbers = pa.array(range(len(JANUARY)), pa.int64())
    files(data, {"1.parquet": make_month(JANUARY).set_column(0, "customer", numbers), "2.parquet": make_month(JANUARY)})
    made = config(dataset={"key": "customer"})
    with pytest.raises(SchemaMismatchError, match="'customer' has type string; expected int64, as in other") as caught:
        verb(made)
    assert caught.value.__notes__[0] == "in 2.parquet"
    assert not list(Path(made.output.path).rglob("*.parquet"))


@pytest.mark.parametrize("command", ["plan", "refresh"])
def test_keys_with_nothing_in_common_exit_with_3(tmp_path, data, files, command):
    numbers = pa.array(range(len(JANUARY)), pa.int64())
    files(data, {"1.parquet": make_month(JANUARY).set_column(0, "customer", numbers), "2.parquet": make_month(JANUARY)})
    lines = ['name = "blobs"', 'dataset = {path = "data", key = "customer"}', 'features.numeric = ["x", "y"]']
    (tmp_path / "kmstream.toml").write_text("\n".join([*lines, "model.n_clusters = 3"]))
    result = CliRunner().invoke(app, ["-c", str(tmp_path / "kmstream.toml"), command])
    assert (result.exit_code, result.stdout) == (3, "")
    for text in ("SchemaMismatchError: key column 'customer'", "in 2.parquet", "dataset.key"):
        assert text in result.stderr


@pytest.mark.parametrize("verb", [refresh, score])
def test_an_earlier_file_that_is_cut_off_is_named_with_what_to_do(months, data, files, verb):
    made, _ = months
    store = Store(made.output.path)
    path = store.assignments("v000001") / "2024-01.parquet"
    path.write_bytes(path.read_bytes()[:-10])
    files(data, {"2024-01.parquet": make_month(MARCH, 0.001)})
    with pytest.raises(CorruptFileError, match=r"assignments of 2024-01\.parquet: the file can't be read") as caught:
        verb(made)
    assert caught.value.__notes__[0] == f"in {path}"
    assert "Remove it, and run `kmstream refresh`" in caught.value.__notes__[1]
    assert store.current == "v000001"
    path.unlink()
    refit = refresh(made)
    assert (refit.status, refit.entities["earlier_files_left_out"]) == ("published", 1)


def test_a_key_with_html_in_its_name_is_shown_as_text(config, data, files):
    key = "<b>id</b>"
    months = {"1.parquet": make_month(JANUARY), "2.parquet": make_month(FEBRUARY)}
    files(data, {path: month.rename_columns({"customer": key}) for path, month in months.items()})
    result = refresh(config(dataset={"key": key}))
    page = Path(result.report).read_text()
    assert key not in page
    assert "Who moved: &lt;b&gt;id&lt;/b&gt;" in page
    assert page.count("&lt;b&gt;id&lt;/b&gt;") >= 2  # in its sentence, too


# --- no key, or none that can be used ---------------------------------------------------------------------------------


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
