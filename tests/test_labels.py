"""Names that persist: matching, life cycle, agreement."""

import itertools
import math

import numpy as np
import pytest
from builders import make_clouds
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import cdist
from sklearn.metrics import adjusted_rand_score

from kmstream.errors import DataError
from kmstream.labels import (
    LifeCycle,
    adjusted_rand_index,
    classify_life_cycle,
    first_labels,
    free_labels,
    match_by_overlap,
    match_labels,
)

NAMES = ("a", "b", "c", "d", "e", "f")


def match(centroids, known, *, limit=1.0, rows=None, used=(), names=NAMES):
    centroids, known = np.array(centroids, dtype=float), np.array(known, dtype=float)
    rows = np.arange(len(centroids), 0, -1) if rows is None else np.array(rows)
    return match_labels(centroids, known, names[: len(known)], max_match_distance=limit, rows=rows, used_labels=used)


def line(*positions):
    return np.array(positions, dtype=float)[:, None]


def test_first_labels_go_by_size_and_ties_by_position():
    assert first_labels(np.array([3, 9, 3, 5])) == ("segment-03", "segment-01", "segment-04", "segment-02")


def test_first_labels_of_many_equal_segments_go_by_position():
    found = first_labels(np.tile([5, 9], 40))
    assert found[1::2] == tuple(f"segment-{number:02d}" for number in range(1, 41))
    assert found[::2] == tuple(f"segment-{number:02d}" for number in range(41, 81))


def test_free_labels_go_on_after_the_highest_number_ever_used():
    assert free_labels(2, ["segment-02", "segment-11", "vip", "segment-x", "my segment-99"]) == [
        "segment-12",
        "segment-13",
    ]
    assert free_labels(1, ["segment-99"]) == ["segment-100"]
    assert free_labels(0, []) == []


sizes = st.integers(1, 5)


@given(st.integers(1, 3), sizes, st.integers(0, 999), st.floats(0.05, 4.0))
def test_match_labels_finds_the_least_total_cost(n_new, n_known, seed, limit):
    centroids, known = make_clouds(n_new, n_known, seed)
    distances = cdist(centroids, known)
    places = [*range(n_known), *[None] * n_new]
    least = min(
        sum(limit if j is None else distances[i, j] for i, j in enumerate(chosen))
        for chosen in itertools.permutations(places, n_new)
    )
    found = match(centroids, known, limit=limit)
    cost = sum(limit if math.isnan(d) else d for d in found.distances)
    assert cost == pytest.approx(least)
    for i, label in enumerate(found.labels):
        if found.matched[i]:
            assert found.distances[i] == pytest.approx(distances[i, NAMES.index(label)])


@given(sizes, sizes, st.integers(0, 999), st.floats(0.05, 4.0), st.randoms(use_true_random=False))
def test_match_labels_of_permuted_centroids_are_permuted_labels(n_new, n_known, seed, limit, random):
    centroids, known = make_clouds(n_new, n_known, seed)
    order = list(range(n_new))
    random.shuffle(order)
    rows = np.arange(1, n_new + 1) * 10
    found = match(centroids, known, limit=limit, rows=rows)
    permuted = match(centroids[order], known, limit=limit, rows=rows[order])
    assert permuted.labels == tuple(found.labels[i] for i in order)
    assert permuted.matched == tuple(found.matched[i] for i in order)
    assert permuted.retired == found.retired


@given(sizes, sizes, st.integers(0, 999), st.floats(0.05, 4.0), st.sets(st.integers(1, 20)))
def test_match_labels_makes_a_sound_match_of_any_k_to_any_k(n_new, n_known, seed, limit, numbers):
    used = {f"segment-{number:02d}" for number in numbers}
    centroids, known = make_clouds(n_new, n_known, seed)
    found = match(centroids, known, limit=limit, used=used)
    names = NAMES[:n_known]
    assert len(found.labels) == len(set(found.labels)) == len(found.matched) == len(found.distances) == n_new
    continued = {label for label, known in zip(found.labels, found.matched, strict=True) if known}
    assert continued <= set(names)
    assert set(found.labels) - continued == set(free_labels(n_new - len(continued), used))
    assert not (set(found.labels) - continued) & (used | set(names))  # a name that ended is never given again
    assert set(found.retired) == set(names) - continued
    assert all((distance <= limit) == known for distance, known in zip(found.distances, found.matched, strict=True))


@given(st.integers(1, 6), st.integers(0, 99))
def test_match_labels_gives_unmoved_centroids_their_own_names(n_clusters, seed):
    centroids, _ = make_clouds(n_clusters, 1, seed)
    found = match(centroids, centroids, limit=1e-9)
    assert found.labels == NAMES[:n_clusters]
    assert (found.distances == 0).all()
    assert found.retired == ()


def test_match_labels_makes_no_pair_beyond_the_limit():
    found = match(line(0.0, 10.0), line(0.9, 11.1))
    assert found.labels == ("a", "segment-01")
    assert found.matched == (True, False)
    assert found.distances[0] == pytest.approx(0.9)
    assert math.isnan(found.distances[1])
    assert found.retired == ("b",)


def test_match_labels_prefers_the_least_total_to_the_nearest_first():
    found = match(line(1.0, 2.1), line(0.0, 1.2), limit=3.0)
    assert found.labels == ("a", "b")


def test_match_labels_gives_new_names_by_size():
    assert match(line(50.0, 60.0, 70.0), line(0.0), rows=[1, 3, 2]).labels == ("segment-03", "segment-01", "segment-02")


def test_match_labels_never_reuses_a_retired_name():
    first = match(line(0.0, 5.0), line(0.0), used=("a", "segment-07"))
    assert first.labels == ("a", "segment-08")
    later = match(line(0.0, 9.0), line(0.0), used=("a", "segment-07", "segment-08"))
    assert later.labels == ("a", "segment-09")


def test_match_labels_gives_no_name_that_a_known_segment_has():
    found = match(line(0.0, 50.0), line(0.0, 9.0), names=("segment-02", "segment-04"))
    assert (found.labels, found.retired) == (("segment-02", "segment-05"), ("segment-04",))


def test_match_labels_is_the_same_each_time_among_ties():
    square = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    middle = np.full((4, 2), 0.5)
    found = [match(middle, square, rows=[5] * 4).labels for _ in range(5)]
    assert set(found[0]) == set(NAMES[:4])
    assert len(set(found)) == 1


def test_match_labels_without_known_ones_names_them_all_anew():
    found = match(line(1.0, 2.0), np.empty((0, 1)), rows=[1, 2])
    assert (found.labels, found.retired) == (("segment-02", "segment-01"), ())


def test_match_labels_refuses_spaces_of_other_width():
    with pytest.raises(DataError, match="known centroids have n_features=2; expected 1"):
        match(line(0.0), [[0.0, 0.0]])


def test_match_by_overlap_pairs_by_shared_rows():
    migration = np.array([[5, 90, 0], [80, 10, 0], [0, 0, 0]])
    found = match_by_overlap(migration, NAMES[:3], min_overlap=0.3, rows=np.array([85, 100, 0]))
    assert found.labels == ("b", "a", "segment-01")
    assert found.retired == ("c",)
    np.testing.assert_allclose(found.distances, [1 - 80 / 90, 1 - 90 / 95, math.nan])


@pytest.mark.parametrize(("shared", "matched"), [(29, False), (30, True), (31, True)])
def test_match_by_overlap_asks_for_the_least_overlap(shared, matched):
    migration = np.array([[shared, 100 - shared], [0, 1000]])
    found = match_by_overlap(migration, NAMES[:2], min_overlap=0.3, rows=np.array([1, 2]))
    assert (found.labels[0] == "a") == matched


def test_match_by_overlap_pairs_no_segments_without_a_shared_row():
    found = match_by_overlap(np.array([[10, 0], [0, 0]]), NAMES[:2], min_overlap=0.0, rows=np.array([10, 5]))
    assert (found.labels, found.retired) == (("a", "segment-01"), ("b",))


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
    found = match(line(*after), line(*before), limit=limit, rows=np.bincount(new, minlength=len(after)))
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


@given(
    st.integers(0, 9).flatmap(lambda n: st.tuples(*[st.lists(st.integers(0, 3), min_size=n, max_size=n)] * 2)),
)
def test_adjusted_rand_index_agrees_with_sklearn(labels):
    one, two = labels
    table = np.zeros((4, 4), dtype=np.int64)
    np.add.at(table, (one, two), 1)
    if one:
        assert adjusted_rand_index(table) == pytest.approx(adjusted_rand_score(one, two), abs=1e-12)


def test_adjusted_rand_index_is_1_for_the_same_parts_under_other_names():
    assert adjusted_rand_index(np.array([[0, 7, 0], [9, 0, 0]])) == 1.0
    assert adjusted_rand_index(np.array([[12]])) == 1.0


def test_adjusted_rand_index_stays_right_for_billions_of_rows():
    n = 10**9
    assert adjusted_rand_index(np.array([[n, 0], [0, 3 * n]])) == pytest.approx(1.0)
    assert adjusted_rand_index(np.array([[n, n], [n, n]])) == pytest.approx(0.0, abs=1e-8)
