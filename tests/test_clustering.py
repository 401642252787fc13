"""K-means: the nearest centroid, exact sums, the search, the stream."""

import itertools
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from builders import make_blobs
from hypothesis import given, settings
from hypothesis import strategies as st

from kmstream.clustering import (
    ClusterSums,
    SampleFit,
    add_squares,
    check_distinct_rows,
    find_nearest,
    largest_move,
    move_centroids,
    polish_centroids,
    search_centroids,
    start_minibatch,
    stream_minibatches,
    sum_by_cluster,
    summarise,
    tiles,
)
from kmstream.errors import TooFewRowsError
from kmstream.features import TILE_ROWS
from kmstream.summary import ClusterSummary

CORNERS = np.array([[0.0, 0.0, 0.0], [10.0, 0.0, 0.0], [0.0, 10.0, 0.0], [0.0, 0.0, 10.0]])


def all_rows(X):
    return np.ones(len(X), dtype=bool)


def exact_distances(X, centroids):
    return np.linalg.norm(X[:, None, :].astype(np.float64) - centroids, axis=2)


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


def bits_of(summary):
    return [np.asarray(value).tobytes() for value in vars(summary).values()]


def chunks(borders):
    return [slice(a, b) for a, b in itertools.pairwise(borders)]


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


def sorted_rows(X):
    return X[np.lexsort(X.T[::-1])]


def test_search_centroids_finds_separated_blobs():
    X, ids = make_blobs(CORNERS, 100, spread=0.2)
    found = search_centroids(X, 4, n_init=5, seed=0)
    means = np.array([X[ids == i].mean(axis=0) for i in range(4)])
    np.testing.assert_allclose(sorted_rows(found.centroids.round(3)), sorted_rows(means.round(3)), atol=2e-3)
    assert found.rows.tolist() == [100] * 4
    assert found.inertia == pytest.approx(np.square(exact_distances(X, means).min(axis=1)).sum(), rel=1e-3)


def test_search_centroids_is_the_same_for_any_number_of_workers():
    X, _ = make_blobs(CORNERS, 50, spread=4.0)
    one = search_centroids(X, 5, n_init=6, seed=2)
    with ThreadPoolExecutor(3) as pool:
        three = search_centroids(X, 5, n_init=6, seed=2, apply=pool.map)
    assert bits_of(one) == bits_of(three)


def test_search_centroids_takes_the_best_of_its_restarts():
    X, _ = make_blobs(CORNERS, 50, spread=4.0)
    inertias = [search_centroids(X, 6, n_init=n, seed=2).inertia for n in (1, 4, 16)]
    assert inertias == sorted(inertias, reverse=True)
    assert inertias[-1] < inertias[0]


def test_search_centroids_of_one_cluster_is_the_mean():
    X, _ = make_blobs(CORNERS, 10)
    np.testing.assert_allclose(search_centroids(X, 1, n_init=1, seed=0).centroids, [X.mean(axis=0)], atol=1e-5)


def test_search_centroids_refuses_too_few_rows():
    with pytest.raises(TooFewRowsError, match="2 usable rows; expected at least n_clusters=3"):
        search_centroids(np.eye(2, dtype=np.float32), 3, n_init=1, seed=0)


def test_search_centroids_refuses_too_few_distinct_rows():
    X = np.repeat(np.array([[0.0], [1.0]], dtype=np.float32), 50, axis=0)
    with pytest.raises(TooFewRowsError, match="only 2 distinct rows among 100 sampled; expected at least n_clusters=3"):
        search_centroids(X, 3, n_init=1, seed=0)
    assert sorted(search_centroids(X, 2, n_init=1, seed=0).centroids.ravel()) == [0.0, 1.0]


def test_check_distinct_rows_takes_both_zeros_for_one():
    with pytest.raises(TooFewRowsError, match="only 1 distinct"):
        check_distinct_rows(np.array([[0.0], [-0.0]], dtype=np.float32), 2)


def test_polish_centroids_keeps_the_order_of_the_known_ones():
    X, _ = make_blobs(CORNERS, 100, spread=0.2)
    found = polish_centroids(X, CORNERS[::-1] + 0.5)
    np.testing.assert_allclose(found.centroids, CORNERS[::-1], atol=0.1)
    assert found.rows.tolist() == [100] * 4


def start_of(centroids, rows):
    return SampleFit(np.array(centroids, dtype=np.float64), np.array(rows), 0.0)


def test_start_minibatch_starts_at_the_centroids_with_the_weight_of_their_rows():
    model = start_minibatch(start_of([[0.0], [10.0]], [6, 2]), seed=0)
    assert model.cluster_centers_.tolist() == [[0.0], [10.0]]
    model.partial_fit(np.array([[2.0], [2.0], [14.0], [14.0]], dtype=np.float32))
    np.testing.assert_allclose(model.cluster_centers_, [[(6 * 0 + 2 * 2) / 8], [(2 * 10 + 2 * 14) / 4]], rtol=1e-6)


@settings(max_examples=30)
@given(st.lists(st.integers(0, 900), max_size=8), st.sampled_from([1, 64, 300, 2000]))
def test_stream_minibatches_gives_the_same_whatever_the_sizes_of_its_matrices(cuts, batch_size):
    X, _ = make_blobs(CORNERS, 225, spread=3.0)
    X = X[:12] if batch_size == 1 else X
    borders = [0, *sorted(cut % (len(X) + 1) for cut in cuts), len(X)]
    results = []
    for matrices in ([X], [X[chunk] for chunk in chunks(borders)]):
        model = start_minibatch(start_of(CORNERS, [5] * 4), seed=0)
        assert stream_minibatches(model, matrices, batch_size=batch_size, tol=0.0) == len(X)
        results.append(model.cluster_centers_.tobytes())
    assert results[0] == results[1]


class Recorder:
    """Notes the batches it is given; its centroids move by a set distance at each."""

    def __init__(self, move):
        self.cluster_centers_ = np.zeros((1, 1))
        self.move = move
        self.batches = []

    def partial_fit(self, X):
        self.batches.append(X.ravel().tolist())
        self.cluster_centers_ = self.cluster_centers_ + self.move


def test_stream_minibatches_takes_exact_batches_and_then_what_is_left():
    model = Recorder(1.0)
    rows = np.arange(10.0, dtype=np.float32)[:, None]
    assert stream_minibatches(model, [rows[:1], rows[1:1], rows[1:9], rows[9:]], batch_size=4, tol=0.0) == 10
    assert model.batches == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_stream_minibatches_of_nothing_takes_no_step():
    model = Recorder(1.0)
    assert stream_minibatches(model, [np.empty((0, 1), dtype=np.float32)], batch_size=4, tol=0.0) == 0
    assert model.batches == []


@pytest.mark.parametrize(("move", "n_steps"), [(0.0, 64), (0.9 / 64, 64), (1.1 / 64, 200)])
def test_stream_minibatches_ends_early_once_nothing_moves(move, n_steps):
    model = Recorder(move)
    rows = np.zeros((1000, 1), dtype=np.float32)
    assert stream_minibatches(model, [rows], batch_size=5, tol=1.0) == n_steps * 5
    assert len(model.batches) == n_steps


def test_stream_minibatches_improves_the_centroids():
    X, _ = make_blobs(CORNERS, 2000, spread=0.5)
    model = start_minibatch(start_of(CORNERS + 2.0, [5] * 4), seed=0)
    stream_minibatches(model, [X], batch_size=100, tol=0.0)
    np.testing.assert_allclose(model.cluster_centers_, CORNERS, atol=0.1)


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
