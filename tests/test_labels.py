"""Names that persist: which new centroid, or which new group of rows, continues which known segment."""

import itertools
import math

import numpy as np
import pytest
from builders import make_clouds
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from kmstream.errors import DataError
from kmstream.labels import LabelMatch, first_labels, free_labels, is_automatic, match_by_overlap, match_labels

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


def test_label_match_of_new_segments_continues_none():
    found = LabelMatch.of_new(("x", "y"), ("gone",))
    assert (found.labels, found.matched, found.retired, found.by) == (("x", "y"), (False, False), ("gone",), "distance")
    assert np.isnan([found.distances, found.margins]).tolist() == [[True, True], [True, True]]


@pytest.mark.parametrize(
    ("label", "automatic"),
    [("segment-01", True), ("segment-123", True), ("segment-vip", False), ("my segment-01", False)],
)
def test_is_automatic_knows_the_names_that_are_given_by_themselves(label, automatic):
    assert is_automatic(label) == automatic


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


@given(st.integers(1, 4), st.integers(1, 5), st.integers(0, 999), st.floats(0.05, 4.0), st.booleans())
def test_match_labels_margin_is_what_the_best_other_assignment_costs_more(n_new, n_known, seed, limit, coarse):
    centroids, known = make_clouds(n_new, n_known, seed)
    if coarse:  # many costs alike
        centroids, known = np.round(centroids), np.round(known)
    distances = np.hstack([cdist(centroids, known), np.full((n_new, n_new), np.inf)])
    distances[distances > limit] = np.inf
    distances[np.arange(n_new), n_known + np.arange(n_new)] = limit
    totals = {
        chosen: sum(distances[i, j] for i, j in enumerate(chosen))
        for chosen in itertools.permutations(range(n_known + n_new), n_new)
    }
    least = min(totals.values())
    found = match(centroids, known, limit=limit)
    for i, label in enumerate(found.labels):
        if not found.matched[i]:
            assert math.isnan(found.margins[i])
            continue
        j = NAMES.index(label)
        others = min(total for chosen, total in totals.items() if chosen[i] != j)
        assert found.margins[i] == pytest.approx(others - least, abs=1e-12)


def test_match_labels_margin_is_small_where_the_name_could_go_elsewhere():
    found = match(line(0.0, 4.9), line(0.0, 5.0, 4.7), limit=3.0)
    assert found.labels == ("a", "b")
    assert found.margins == pytest.approx([3.0, 0.1])


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=5),
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=5),
    st.randoms(use_true_random=False),
)
def test_match_labels_resolves_ties_by_place_whatever_the_order(new, old, random):
    """On a grid most distances are alike; only centroids that are equal in everything may swap their names."""
    new, old = sorted(set(new)), sorted(set(old))
    permuted, permuted_old = random.sample(new, len(new)), random.sample(old, len(old))
    name_of = {place: NAMES[i] for i, place in enumerate(old)}

    def names(centroids, known):
        found = match(centroids, known, limit=1.5, rows=[7] * len(new), names=[name_of[place] for place in known])
        return dict(zip(centroids, zip(found.labels, found.distances, found.margins, strict=True), strict=True))

    one, two = names(new, old), names(permuted, permuted_old)
    for place in new:
        assert one[place][0] == two[place][0]
        np.testing.assert_allclose(one[place][1:], two[place][1:], atol=1e-12)


@given(st.lists(st.lists(st.floats(-9, 9), min_size=1, max_size=6), min_size=2, max_size=8))
def test_names_that_retired_never_come_back_over_many_refits(refits):
    labels, known, used, ended = (), np.empty((0, 1)), set(), set()
    for places in refits:
        centroids = np.array(places)[:, None]
        found = match_labels(
            centroids, known, labels, max_match_distance=1.5, rows=np.ones(len(places)), used_labels=used
        )
        assert not ended & set(found.labels)
        ended |= set(found.retired)
        used |= set(found.labels)
        labels, known = found.labels, centroids


def test_match_labels_prefers_the_least_total_to_the_nearest_first():
    found = match(line(1.0, 2.1), line(0.0, 1.2), limit=3.0)
    assert found.labels == ("a", "b")


def test_match_labels_gives_new_names_by_size():
    assert match(line(50.0, 60.0, 70.0), line(0.0), rows=[1, 3, 2]).labels == ("segment-03", "segment-01", "segment-02")


def test_match_labels_gives_new_names_among_equal_sizes_by_the_first_coordinate_and_then_the_next():
    found = match([[1, 0], [0, 1], [0, 0]], np.empty((0, 2)), rows=[7, 7, 7])
    assert found.labels == ("segment-03", "segment-02", "segment-01")


def test_match_labels_of_no_centroids_retires_every_name():
    found = match(np.empty((0, 1)), line(0.0, 1.0))
    assert (found.labels, found.matched, found.retired) == ((), (), ("a", "b"))
    assert found.distances.shape == found.margins.shape == (0,)


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
    assert (found.by, match(line(1.0), line(1.0)).by) == ("overlap", "distance")


@pytest.mark.parametrize(("shared", "matched"), [(29, False), (30, True), (31, True)])
def test_match_by_overlap_asks_for_the_least_overlap(shared, matched):
    migration = np.array([[shared, 100 - shared], [0, 1000]])
    found = match_by_overlap(migration, NAMES[:2], min_overlap=0.3, rows=np.array([1, 2]))
    assert (found.labels[0] == "a") == matched


def test_match_by_overlap_pairs_no_segments_without_a_shared_row():
    found = match_by_overlap(np.array([[10, 0], [0, 0]]), NAMES[:2], min_overlap=0.0, rows=np.array([10, 5]))
    assert (found.labels, found.retired) == (("a", "segment-01"), ("b",))


def test_match_by_overlap_pairs_segments_by_a_single_row():
    found = match_by_overlap(np.array([[1, 0], [0, 0]]), NAMES[:2], min_overlap=0.3, rows=np.array([1, 5]))
    assert found.labels == ("a", "segment-01")


def test_match_by_overlap_decides_ties_by_the_other_shared_rows_whatever_the_order():
    """Two new segments of the same size take half of `a` each; they differ in what they take of `b`."""
    migration, rows = np.array([[50, 50, 0], [8, 9, 100]]), np.array([70, 70, 100])
    one = match_by_overlap(migration, ("a", "b"), min_overlap=0.5, rows=rows)
    other = match_by_overlap(migration[:, [1, 0, 2]], ("a", "b"), min_overlap=0.5, rows=rows)
    assert sorted(one.labels) == ["a", "b", "segment-01"]
    assert other.labels == (one.labels[1], one.labels[0], "b")
