"""K-means: the nearest centroid, exact sums."""

import numpy as np
import pytest
from builders import CORNERS, bits_of, chunks, exact_distances, make_blobs
from hypothesis import given, settings
from hypothesis import strategies as st

from kmstream.clustering import (
    ClusterSums,
    add_squares,
    find_nearest,
    largest_move,
    move_centroids,
    sum_by_cluster,
    summarise,
    tiles,
)
from kmstream.features import TILE_ROWS
from kmstream.summary import ClusterSummary


def all_rows(X):
    return np.ones(len(X), dtype=bool)


@given(st.integers(1, 6), st.integers(1, 5), st.integers(0, 1000))
def test_find_nearest_agrees_with_all_distances(n_clusters, n_features, seed):
    rng = np.random.default_rng(seed)
    X, centroids = rng.normal(size=(100, n_features)).astype(np.float32), rng.normal(size=(n_clusters, n_features))
    found, distances = find_nearest(X, centroids), exact_distances(X, centroids)
    ordered = np.sort(distances, axis=1)
    chosen = distances[np.arange(100), found.cluster_ids]
    np.testing.assert_allclose(chosen, ordered[:, 0], atol=1e-5)
    np.testing.assert_allclose(found.distances, ordered[:, 0], atol=1e-5)
    if n_clusters > 1:
        np.testing.assert_allclose(found.margins, ordered[:, 1] - ordered[:, 0], atol=1e-5)
    assert (found.cluster_ids.dtype, found.distances.dtype, found.margins.dtype) == (np.int32, np.float32, np.float32)


def test_find_nearest_gives_ties_to_the_lower_cluster_id():
    X = np.array([[0.5], [1.0], [1.5]], dtype=np.float32)
    found = find_nearest(X, np.array([[1.0], [0.0], [1.0], [2.0]]))
    assert found.cluster_ids.tolist() == [0, 0, 0]
    assert found.margins.tolist() == [0.0, 0.0, 0.0]


def test_find_nearest_of_one_centroid_has_no_margin():
    found = find_nearest(np.array([[3.0, 4.0]], dtype=np.float32), np.array([[0.0, 0.0]]))
    assert (found.cluster_ids.tolist(), found.distances.tolist(), found.margins.tolist()) == ([0], [5.0], [np.inf])


def test_find_nearest_of_no_rows_is_empty():
    found = find_nearest(np.empty((0, 3), dtype=np.float32), CORNERS)
    assert len(found.cluster_ids) == len(found.distances) == len(found.margins) == 0


@pytest.mark.parametrize("offset", [0.0, 1e2, 1e4, 1e5])
def test_find_nearest_loses_no_digits_far_from_zero(offset):
    X, ids = make_blobs(CORNERS + offset, 200, spread=0.5)
    found = find_nearest(X, CORNERS + offset)
    assert np.array_equal(found.cluster_ids, ids)
    np.testing.assert_allclose(found.distances, exact_distances(X, CORNERS + offset).min(axis=1), atol=1e-2)


def test_find_nearest_loses_no_digits_between_centroids_far_on_both_sides_of_zero():
    centroids = np.array([[-1e5, 0.0], [-1e5 + 4, 0.0], [1e5, 0.0], [1e5 + 4, 0.0]])
    X, ids = make_blobs(centroids, 200, spread=0.3)
    assert np.array_equal(find_nearest(X, centroids).cluster_ids, ids)


@pytest.mark.parametrize("offset", [0.0, 1e5])
def test_sum_by_cluster_loses_no_digits_far_from_zero(offset):
    X, ids = make_blobs(CORNERS + offset, 200, spread=0.5)
    found = sum_by_cluster(X, all_rows(X), CORNERS + offset, ClusterSums.empty(4, 3))
    assert found.counts.tolist() == np.bincount(ids).tolist()


ROWS, IDS = make_blobs(CORNERS, 5_200, spread=3.0, seed=3)  # 20,800 rows: five tiles and a bit
KEEP = np.random.default_rng(4).random(len(ROWS)) < 0.9
borders = st.lists(st.integers(1, len(ROWS) // TILE_ROWS).map(lambda n: n * TILE_ROWS), unique=True, max_size=5).map(
    lambda inner: [0, *sorted(inner), len(ROWS)]
)


@settings(max_examples=15)
@given(borders)
def test_results_have_the_same_bits_however_rows_are_chunked(borders):
    nearest = find_nearest(ROWS, CORNERS)
    parts = [find_nearest(ROWS[chunk].copy(), CORNERS) for chunk in chunks(borders)]
    for name in ("cluster_ids", "distances", "margins"):
        assert np.concatenate([getattr(part, name) for part in parts]).tobytes() == getattr(nearest, name).tobytes()

    nothing = ClusterSums.empty(4, 3), ClusterSummary.empty(4, 3), 0.0
    whole = (
        sum_by_cluster(ROWS, KEEP, CORNERS, nothing[0]),
        summarise(ROWS, KEEP, nearest, CORNERS, nothing[1]),
        add_squares(nearest.distances, KEEP, nothing[2]),
    )
    sums, summary, squares = nothing
    for chunk, part in zip(chunks(borders), parts, strict=True):
        X, keep = ROWS[chunk].copy(), KEEP[chunk].copy()
        sums = sum_by_cluster(X, keep, CORNERS, sums)
        summary = summarise(X, keep, part, CORNERS, summary)
        squares = add_squares(part.distances, keep, squares)
    assert bits_of(sums) == bits_of(whole[0])
    assert bits_of(summary) == bits_of(whole[1])
    assert squares == whole[2]


def test_tiles_cover_all_rows_once():
    assert [len(range(2 * TILE_ROWS + 5)[tile]) for tile in tiles(2 * TILE_ROWS + 5)] == [TILE_ROWS, TILE_ROWS, 5]
    assert list(tiles(0)) == []


def test_sum_by_cluster_agrees_with_numpy():
    found = sum_by_cluster(ROWS, KEEP, CORNERS, ClusterSums.empty(4, 3))
    X = ROWS[KEEP].astype(np.float64)
    distances = exact_distances(X, CORNERS)
    ids = distances.argmin(axis=1)
    assert found.counts.tolist() == np.bincount(ids).tolist()
    np.testing.assert_allclose(found.sums, [X[ids == i].sum(axis=0) for i in range(4)], rtol=1e-9)
    np.testing.assert_allclose(found.sse, np.square(distances.min(axis=1)).sum(), rtol=1e-6)


def test_summarise_agrees_with_numpy():
    nearest = find_nearest(ROWS, CORNERS)
    found = summarise(ROWS, KEEP, nearest, CORNERS, ClusterSummary.empty(4, 3))
    for i in range(4):
        X = ROWS[KEEP & (nearest.cluster_ids == i)].astype(np.float64)
        assert found.rows[i] == len(X)
        np.testing.assert_allclose(found.mean[i], X.mean(axis=0), rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(found.m2[i], np.square(X - X.mean(axis=0)).sum(axis=0), rtol=1e-9)
        np.testing.assert_allclose(found.sse[i], np.square(X - CORNERS[i]).sum(), rtol=1e-9)


def test_summarise_takes_squares_from_the_centroid_not_from_the_mean():
    X = np.array([[1.0], [3.0]], dtype=np.float32)
    centroids = np.array([[0.0]])
    found = summarise(X, all_rows(X), find_nearest(X, centroids), centroids, ClusterSummary.empty(1, 1))
    assert (found.mean.tolist(), found.m2.tolist(), found.sse.tolist()) == ([[2.0]], [[2.0]], [10.0])


def test_summarise_of_equal_rows_has_no_variance():
    X = np.full((10_000, 2), 0.1, dtype=np.float32)
    centroids = np.array([[0.0, 0.0]])
    found = summarise(X, all_rows(X), find_nearest(X, centroids), centroids, ClusterSummary.empty(1, 2))
    assert (found.m2 >= 0).all()
    np.testing.assert_allclose(found.m2, 0.0, atol=1e-12)


@pytest.mark.parametrize("n_rows", [0, 10])
def test_nothing_comes_of_rows_that_are_all_skipped(n_rows):
    X, keep = np.zeros((n_rows, 3), dtype=np.float32), np.zeros(n_rows, dtype=bool)
    nearest = find_nearest(X, CORNERS)
    assert bits_of(sum_by_cluster(X, keep, CORNERS, ClusterSums.empty(4, 3))) == bits_of(ClusterSums.empty(4, 3))
    summary = summarise(X, keep, nearest, CORNERS, ClusterSummary.empty(4, 3))
    assert bits_of(summary) == bits_of(ClusterSummary.empty(4, 3))
    assert add_squares(nearest.distances, keep, 1.5) == 1.5


def test_move_centroids_takes_the_mean_of_each():
    moved = move_centroids(np.zeros((2, 1)), np.array([2, 4]), np.array([[2.0], [20.0]]), np.zeros((1, 1), np.float32))
    assert moved.tolist() == [[1.0], [5.0]]


def test_move_centroids_puts_an_empty_one_where_the_fit_is_worst():
    sample = np.array([[0.0], [4.0], [9.0], [20.0]], dtype=np.float32)
    centroids = np.array([[0.0], [50.0], [60.0]])
    moved = move_centroids(centroids, np.array([3, 0, 0]), np.array([[3.0], [0.0], [0.0]]), sample)
    assert moved.tolist() == [[1.0], [20.0], [9.0]]  # 9 is farther than 4 from both 1 and 20


def test_largest_move_is_that_of_the_centroid_that_moved_most():
    assert largest_move(np.zeros((2, 2)), np.array([[1.0, 0.0], [3.0, 4.0]])) == 5.0
