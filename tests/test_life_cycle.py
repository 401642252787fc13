"""What becomes of segments: from tables, and in refreshes of rows where the truth is known."""

import json
import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from kmstream.labels import match_labels
from kmstream.life_cycle import LifeCycle, choose_rows, classify_life_cycle, share_out
from kmstream.pipeline import refresh
from kmstream.versions import promote

NAMES = ("a", "b", "c", "d", "e", "f")

TO_AB = ("a", "b", "segment-09", "segment-10")


@pytest.mark.parametrize(
    ("rows_of_a", "status", "overlap"),
    [
        ([100, 0, 0, 0], "kept", 1.0),
        ([80, 20, 0, 0], "kept", 0.8),
        ([60, 20, 20, 0], "kept", 0.6),
        ([71, 0, 29, 0], "kept", 0.71),
        ([70, 0, 30, 0], "split", 0.7),
        ([40, 0, 30, 30], "split", 0.4),
        ([0, 0, 50, 50], "split", 0.0),
    ],
)
def test_classify_life_cycle_of_a_name_that_goes_on(rows_of_a, status, overlap):
    migration = np.array([rows_of_a, [0, 100, 0, 0]])
    found = classify_life_cycle(migration, ("a", "b"), TO_AB)
    assert (found.status["a"], found.overlap["a"]) == (status, overlap)
    assert found.status["b"] == "kept"
    assert found.status["segment-09"] == found.status["segment-10"] == "emerged"


@pytest.mark.parametrize(
    ("rows_of_c", "status"),
    [
        ([50, 20, 20, 10], "merged"),
        ([49, 20, 20, 11], "retired"),
        ([29, 29, 29, 13], "retired"),
        ([10, 0, 90, 0], "retired"),  # it went to a new name: nobody else's segment
        ([20, 0, 40, 40], "split"),
        ([70, 0, 0, 30], "split"),
        ([100, 0, 0, 0], "merged"),
        ([0, 0, 0, 0], "retired"),
    ],
)
def test_classify_life_cycle_of_a_name_that_ends(rows_of_c, status):
    migration = np.array([[100, 0, 0, 0], [0, 100, 0, 0], rows_of_c])
    found = classify_life_cycle(migration, ("a", "b", "c"), TO_AB)
    assert found.status["c"] == status
    assert "c" not in found.overlap


def test_classify_life_cycle_tells_every_name_of_both_sides():
    found = classify_life_cycle(np.zeros((2, 2), dtype=int), ("a", "b"), ("b", "new"))
    assert found.status == {"a": "retired", "b": "kept", "new": "emerged"}
    assert math.isnan(found.overlap["b"])


def live(before, after, *, limit=1.5):
    """Rows of segments at known places, clustered by the places of two versions: what became of each name."""
    rng = np.random.default_rng(0)
    rows = np.concatenate([place + rng.uniform(-0.2, 0.2, 300) for place in sorted({*before, *after})])
    old = np.abs(rows[:, None] - before).argmin(axis=1)
    new = np.abs(rows[:, None] - after).argmin(axis=1)
    known, centroids = np.array(before)[:, None], np.array(after)[:, None]
    n_rows = np.bincount(new, minlength=len(after))
    found = match_labels(centroids, known, NAMES[: len(before)], max_match_distance=limit, rows=n_rows)
    migration = np.bincount(old * len(after) + new, minlength=len(before) * len(after)).reshape(len(before), -1)
    return found, classify_life_cycle(migration, NAMES[: len(before)], found.labels)


def test_a_segment_that_moved_is_kept():
    found, life = live([0.0, 10.0], [10.5, 0.4])
    assert found.labels == ("b", "a")
    assert life == LifeCycle({"a": "kept", "b": "kept"}, {"a": 1.0, "b": 1.0})


def test_a_segment_split_in_two_passes_its_name_to_the_nearer_half():
    found, life = live([0.0, 10.0], [9.0, 11.2, 0.0])
    assert found.labels == ("b", "segment-01", "a")
    assert life.status == {"a": "kept", "b": "split", "segment-01": "emerged"}


def test_two_segments_merged_into_one_keep_the_nearer_name():
    found, life = live([0.0, 9.0, 11.0], [0.0, 10.1])
    assert found.labels == ("a", "c")
    assert found.retired == ("b",)
    assert life.status == {"a": "kept", "b": "merged", "c": "kept"}


def test_a_new_segment_far_from_all_gets_a_new_name():
    found, life = live([0.0, 10.0], [0.0, 10.0, 50.0])
    assert found.labels == ("a", "b", "segment-01")
    assert life.status["segment-01"] == "emerged"


def test_k_down_to_one_merges_what_is_left():
    found, life = live([0.0, 1.0, 2.0], [0.9])
    assert found.labels == ("b",)
    assert life.status == {"a": "merged", "b": "kept", "c": "merged"}


def test_k_up_from_one_splits_it():
    found, life = live([1.0], [0.0, 2.2])
    assert found.labels == ("a", "segment-01")
    assert life.status == {"a": "split", "segment-01": "emerged"}


def test_rows_that_are_new_do_not_split_the_segment_they_are_nearest_to():
    migration, members = np.array([[500, 0, 400], [0, 300, 0]]), np.array([[495, 0, 2], [0, 297, 0]])
    counted = choose_rows(migration, members, rows_then=np.array([500, 300]))
    life = classify_life_cycle(counted, ("a", "b"), ("a", "b", "new"))
    assert life.status == {"a": "kept", "b": "kept", "new": "emerged"}
    assert life.overlap == {"a": pytest.approx(495 / 497), "b": 1.0}


def test_a_segment_that_nearly_all_rows_have_left_is_judged_by_all_of_them():
    migration, many, few = np.array([[500, 450]]), np.array([[95, 0]]), np.array([[94, 0]])

    def status(members, rows_then):
        counted = choose_rows(migration, members, np.array([rows_then]))
        return classify_life_cycle(counted, ("a",), ("a", "new")).status["a"]

    assert status(few, 10_000) == "split"
    assert status(many, 10_000) == "kept"  # a tenth of the rows is enough
    assert status(few, 940) == "kept"  # or a tenth of what it had: however large the crowd that is new
    assert status(few, 941) == "split"


def test_each_segment_is_judged_by_members_of_its_own():
    migration, members = np.array([[100, 100], [0, 1000]]), np.array([[5, 0], [0, 990]])
    counted = choose_rows(migration, members, rows_then=np.array([200, 1000]))
    assert counted.tolist() == [[100, 100], [0, 990]]


def test_shares_of_rows_that_weigh_less_than_one_add_up():
    assert share_out(np.array([[0.1, 0.3], [0.0, 0.0]])) == pytest.approx(np.array([[0.25, 0.75], [0.0, 0.0]]))


HOME, EAST, NORTH, FAR = (0.0, 0.0), (10.0, 0.0), (0.0, 10.0), (40.0, 30.0)

CASES = {
    "nothing": ([HOME, EAST, NORTH], [HOME, EAST, NORTH], {HOME: "kept", EAST: "kept", NORTH: "kept"}, []),
    "one moved": ([HOME, EAST, NORTH], [HOME, (12.5, 2.0), NORTH], {HOME: "kept", EAST: "kept", NORTH: "kept"}, []),
    "one split in two": (
        [HOME, EAST, NORTH],
        [HOME, (10.0, -4.0), (10.0, 4.0), NORTH],
        {HOME: "kept", EAST: "split", NORTH: "kept"},
        [(10.0, 4.0)],
    ),
    "two joined": (
        [HOME, EAST, (10.0, 5.0), NORTH],
        [HOME, (10.0, 2.0), NORTH],
        {HOME: "kept", EAST: "kept", (10.0, 5.0): "merged", NORTH: "kept"},
        [],
    ),
    "one gone": (
        [HOME, EAST, NORTH, FAR],
        [HOME, EAST, NORTH],
        {HOME: "kept", EAST: "kept", NORTH: "kept", FAR: "retired"},
        [],
    ),
    "one new": ([HOME, EAST, NORTH], [HOME, EAST, NORTH, FAR], {HOME: "kept", EAST: "kept", NORTH: "kept"}, [FAR]),
    "one gone and one new": (
        [HOME, EAST, NORTH],
        [HOME, EAST, FAR],
        {HOME: "kept", EAST: "kept", NORTH: "retired"},
        [FAR],
    ),
}


def write_rows(folder, files, centers, seed):
    """Rows around the centers, more around the first; one of two pieces of a whole has a third more than the other."""
    rng = np.random.default_rng(seed)
    sizes = [500, *[300] * (len(centers) - 1)]
    points = np.concatenate([np.array(c) + rng.normal(size=(n, 2)) for c, n in zip(centers, sizes, strict=True)])
    points = rng.permutation(points)
    files(folder / "data", {"a.parquet": pa.table({"x": points[:, 0], "y": points[:, 1]})})


def find_names(drift, centers):
    """The name of each place, by the centroid nearest to it."""
    living = [one for one in drift["segments"] if one["rows"]]
    places = np.array([[one["centroid"]["x"], one["centroid"]["y"]] for one in living])
    return {c: living[int(np.linalg.norm(places - c, axis=1).argmin())]["cluster_label"] for c in centers}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_refresh_tells_what_became_of_each_segment(tmp_path, config_in, files, case):
    then, now, expected, emerged = CASES[case]
    drifts = []
    for seed, centers in enumerate((then, now), start=1):
        write_rows(tmp_path, files, centers, seed)
        result = refresh(config_in(tmp_path, model={"n_clusters": len(centers), "random_state": seed}))
        drifts.append(json.loads(Path(result.report).with_name("drift.json").read_text()))
    name_then, name_now = find_names(drifts[0], then), find_names(drifts[1], now)
    status = {one["cluster_label"]: one["status"] for one in drifts[1]["segments"]}
    told = {name_then[place]: expected[place] for place in then} | {name_now[place]: "emerged" for place in emerged}
    assert status == told
    for place in set(then) & set(now):
        assert name_now[place] == name_then[place]


@pytest.mark.slow
def test_refresh_with_another_k_tells_splits_and_merges(tmp_path, config_in, files):
    write_rows(tmp_path, files, [HOME, (4.0, 0.0), NORTH], seed=1)
    told = []
    for k in (3, 4, 2):
        made = config_in(tmp_path, model={"n_clusters": k}, labels={"min_overlap": 0.0})
        result = refresh(made)
        if result.status == "held":  # fewer segments cost inertia: a person has a look
            assert [one.check for one in result.gate if not one.ok] == ["inertia_against_current"]
            promote(made, result.version)
        drift = json.loads(Path(result.report).with_name("drift.json").read_text())
        told.append({one["cluster_label"]: one["status"] for one in drift["segments"]})
    assert sorted(told[1].values()) == ["emerged", "kept", "kept", "split"]
    assert set(told[0]) < set(told[1])
    assert sorted(told[2].values()) == ["kept", "kept", "merged", "merged"]


def test_choose_rows_asks_of_each_segment_by_its_own_rows():
    """Ten of a hundred are enough for the first, though the second has ten times as many."""
    migration, members = np.array([[100, 0], [0, 1000]]), np.array([[10, 0], [0, 1000]])
    assert choose_rows(migration, members, np.array([1000, 1000])).tolist() == [[10, 0], [0, 1000]]
