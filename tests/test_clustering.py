"""K-means: the nearest centroid, exact sums."""

import numpy as np
import pytest
from builders import (
    CORNERS,
    bits_of,
    chunks,
    cut_rows,
    exact_distances,
    make_blobs,
    make_rows,
    no_deviations,
    repeat_rows,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from kmstream.clustering import (
    ClusterSums,
    add_rows,
    add_squares,
    assign_rows,
    find_nearest,
    find_origin,
    find_radii,
    largest_move,
    move_centroids,
    sum_by_cluster,
    tiles,
)
from kmstream.features import TILE_ROWS


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
        # The second nearest comes from squares in float32: near a centroid half of their digits are left.
        np.testing.assert_allclose(found.margins, ordered[:, 1] - ordered[:, 0], atol=1e-3)
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


@settings(max_examples=60)
@given(st.integers(1, 300), st.integers(1, 3), st.integers(0, 1000))
def test_find_nearest_is_exact_where_distances_tie(n_clusters, n_features, seed):
    """Whole numbers leave nothing to round: the first of equal centroids wins, and its margin is 0, not nearly 0."""
    rng = np.random.default_rng(seed)
    X, centroids = rng.integers(-3, 4, (50, n_features)), rng.integers(-3, 4, (n_clusters, n_features)).astype(float)
    squares = np.square(X[:, None, :] - centroids).sum(axis=2)
    found, ordered = find_nearest(X.astype(np.float32), centroids), np.sqrt(np.sort(squares, axis=1))
    assert found.cluster_ids.tolist() == squares.argmin(axis=1).tolist()
    np.testing.assert_allclose(found.distances, ordered[:, 0], rtol=1e-6)
    if n_clusters > 1:
        np.testing.assert_allclose(found.margins, ordered[:, 1] - ordered[:, 0], rtol=1e-6)
    counts = sum_by_cluster(make_rows(X), centroids, ClusterSums.empty(*centroids.shape)).counts
    assert counts.tolist() == np.bincount(squares.argmin(axis=1), minlength=n_clusters).tolist()


@pytest.mark.parametrize("n_clusters", [255, 256, 257, 65_535, 65_536, 65_537])
def test_find_nearest_knows_every_centroid_however_many_there_are(n_clusters):
    ids = np.unique(np.clip([0, 1, 127, 128, 254, 255, 256, n_clusters - 2, n_clusters - 1], 0, n_clusters - 1))
    grid = np.stack(np.divmod(np.arange(n_clusters), 257), axis=1) / 32  # every one of them has a place of its own
    X = grid[ids].astype(np.float32)
    assert find_nearest(X, grid).cluster_ids.tolist() == ids.tolist()
    counts = sum_by_cluster(make_rows(X), grid, ClusterSums.empty(n_clusters, 2)).counts
    assert np.flatnonzero(counts).tolist() == ids.tolist()
    twice = np.concatenate([grid, grid])
    again = find_nearest(X, twice)
    assert (again.cluster_ids.tolist(), set(again.margins.tolist())) == (ids.tolist(), {0.0})


@given(st.integers(0, 1000), st.sampled_from([1e-3, 1.0, 30.0, 1e3, 1e6]))
def test_find_nearest_margins_are_right_near_and_far(seed, size):
    rng = np.random.default_rng(seed)
    X, centroids = rng.normal(0.0, size, (200, 3)).astype(np.float32), rng.normal(0.0, 5.0, (6, 3))
    found, ordered = find_nearest(X, centroids), np.sort(exact_distances(X, centroids), axis=1)
    assert (found.margins >= 0).all()
    np.testing.assert_allclose(found.margins, ordered[:, 1] - ordered[:, 0], atol=2e-5, rtol=1e-4)


OFFSETS = [0.0, 1e2, 1e4, 1e5]


@pytest.mark.parametrize("offset", OFFSETS)
def test_sum_by_cluster_loses_no_digits_far_from_zero(offset):
    X, ids = make_blobs(CORNERS + offset, 200, spread=0.5)
    found = sum_by_cluster(make_rows(X), CORNERS + offset, ClusterSums.empty(4, 3))
    assert found.counts.tolist() == np.bincount(ids).tolist()
    near = (CORNERS + offset).astype(np.float32).astype(np.float64)
    np.testing.assert_allclose(found.sse(CORNERS + offset), np.square(X - near[ids]).sum(), rtol=1e-9)


def test_sum_by_cluster_assigns_rows_as_find_nearest_does():
    X, centroids = np.array([[1.0], [0.0]], dtype=np.float32), np.array([[1 / 3], [1 / 3 + 1e-12]])  # one float32
    assert find_nearest(X, centroids).cluster_ids.tolist() == [0, 0]
    assert sum_by_cluster(make_rows(X), centroids, ClusterSums.empty(2, 1)).counts.tolist() == [2, 0]


def test_sum_by_cluster_counts_rows_in_whole_numbers_and_weights_not():
    for weights, kind in ((None, np.int64), ([1.0, 1.0], np.float64)):
        rows = make_rows(CORNERS[:2], weights=weights)
        assert sum_by_cluster(rows, CORNERS, ClusterSums.empty(4, 3)).counts.dtype == kind


@given(st.integers(0, 1000), st.sampled_from(OFFSETS), st.sampled_from([1e-2, 1.0, 30.0]), st.integers(1, 5))
def test_cluster_sums_sse_is_that_of_the_direct_sum(seed, offset, spread, n_parts):
    rng = np.random.default_rng(seed)
    centroids = offset + rng.normal(0.0, 5.0, (4, 2))
    X = (centroids[rng.integers(0, 4, 300)] + rng.normal(0.0, spread, (300, 2))).astype(np.float32)
    parts = [sum_by_cluster(make_rows(part), centroids, ClusterSums.empty(4, 2)) for part in np.array_split(X, n_parts)]
    total = parts[0]
    for part in parts[1:]:
        total = total.merge(part)
    ids, near = find_nearest(X, centroids).cluster_ids, centroids.astype(np.float32).astype(np.float64)
    np.testing.assert_allclose(total.sse(centroids), np.square(X - near[ids]).sum(), rtol=1e-8)


def test_cluster_sums_sse_is_never_negative():
    X = np.tile(np.float32([0.1, 0.7]), (1000, 1))
    total = sum_by_cluster(make_rows(X), X[:1].astype(np.float64), ClusterSums.empty(1, 2))
    assert 0.0 <= total.sse(X[:1].astype(np.float64)) < 1e-12


ROWS, IDS = make_blobs(CORNERS, 5_200, spread=3.0, seed=3)  # 20,800 rows: five tiles and a bit
KEEP = np.random.default_rng(4).random(len(ROWS)) < 0.9
KEEP[TILE_ROWS : 2 * TILE_ROWS] = True  # one tile is whole
WEIGHTS = np.random.default_rng(5).gamma(1.0, size=len(ROWS)) * (np.arange(len(ROWS)) % 7 > 0)
ALL, SOME = make_rows(ROWS), make_rows(ROWS, KEEP)
borders = st.lists(st.integers(1, len(ROWS) // TILE_ROWS).map(lambda n: n * TILE_ROWS), unique=True, max_size=5).map(
    lambda inner: [0, *sorted(inner), len(ROWS)]
)


@pytest.mark.parametrize("rows", [ALL, SOME, make_rows(ROWS, KEEP, WEIGHTS)], ids=["all", "some", "weighted"])
@settings(max_examples=10)
@given(borders=borders)
def test_results_have_the_same_bits_however_rows_are_chunked(rows, borders):
    weighted = rows.weights is not None
    parts = [cut_rows(rows, chunk) for chunk in chunks(borders)]
    found = []
    for pieces in ([rows], parts):
        sums, deviations, nearest = ClusterSums.empty(4, 3), no_deviations(CORNERS, weighted=weighted), []
        squares, counts = 0.0, np.zeros(4, np.float64 if weighted else np.int64)
        for piece in pieces:
            sums = sum_by_cluster(piece, CORNERS, sums)
            one, deviations = assign_rows(piece, deviations)
            squares = add_squares(one.distances, piece, squares)
            counts = add_rows(counts, one.cluster_ids, piece.weights, piece.keep & (one.distances > 2.0))
            nearest.append(one)
        columns = [
            np.concatenate([getattr(one, name) for one in nearest]) for name in ("cluster_ids", "distances", "margins")
        ]
        found.append([*bits_of(sums), *bits_of(deviations), counts.tobytes(), squares, *map(bytes, columns)])
    assert found[0] == found[1]
    assert found[0][-3:] == [column.tobytes() for column in vars(find_nearest(ROWS, CORNERS)).values()]


def test_tiles_cover_all_rows_once():
    assert [len(range(2 * TILE_ROWS + 5)[tile]) for tile in tiles(2 * TILE_ROWS + 5)] == [TILE_ROWS, TILE_ROWS, 5]
    assert list(tiles(0)) == []


def test_sum_by_cluster_agrees_with_numpy():
    found = sum_by_cluster(SOME, CORNERS, ClusterSums.empty(4, 3))
    X = ROWS[KEEP].astype(np.float64)
    distances = exact_distances(X, CORNERS)
    ids = distances.argmin(axis=1)
    assert found.counts.tolist() == np.bincount(ids).tolist()
    np.testing.assert_allclose(found.sums, [X[ids == i].sum(axis=0) for i in range(4)], rtol=1e-9)
    np.testing.assert_allclose(found.squares, np.square(X).sum(), rtol=1e-12)
    np.testing.assert_allclose(found.sse(CORNERS), np.square(distances.min(axis=1)).sum(), rtol=1e-9)


@pytest.mark.parametrize(("decimals", "rtol"), [(10, 1e-9), (24, 1e-6)], ids=["exact differences", "any"])
def test_assign_rows_agrees_with_numpy(decimals, rtol):
    """Deviations are taken in float32: where they are exact, so is what is made of them."""
    X = (np.round(ROWS.astype(np.float64) * 2**decimals) / 2**decimals).astype(np.float32)
    nearest, total = assign_rows(make_rows(X, KEEP), no_deviations(CORNERS))
    assert [bytes(column) for column in vars(nearest).values()] == bits_of(find_nearest(X, CORNERS))
    found = total.summary
    for i in range(4):
        kept = X[KEEP & (nearest.cluster_ids == i)].astype(np.float64)
        assert found.rows[i] == len(kept)
        np.testing.assert_allclose(found.mean[i], kept.mean(axis=0), rtol=rtol, atol=rtol / 1e3)
        np.testing.assert_allclose(found.m2[i], np.square(kept - kept.mean(axis=0)).sum(axis=0), rtol=rtol)
        np.testing.assert_allclose(found.sse[i], np.square(kept - CORNERS[i]).sum(), rtol=rtol)
    assert found.distance_counts.sum(axis=1).tolist() == found.rows.tolist()


@pytest.mark.parametrize("offset", OFFSETS)
def test_assign_rows_loses_no_digits_far_from_zero(offset):
    X, ids = make_blobs(CORNERS + offset, 500, spread=0.5)
    found = assign_rows(make_rows(X), no_deviations(CORNERS + offset))[1].summary
    for i in range(4):
        kept = X[ids == i].astype(np.float64)
        np.testing.assert_allclose(found.mean[i], kept.mean(axis=0), rtol=1e-8, atol=1e-8)
        np.testing.assert_allclose(found.m2[i], kept.var(axis=0) * len(kept), rtol=1e-6)


def test_assign_rows_takes_squares_from_the_centroid_not_from_the_mean():
    found = assign_rows(make_rows([[1.0], [3.0]]), no_deviations([[0.0]]))[1].summary
    assert (found.mean.tolist(), found.m2.tolist(), found.sse.tolist()) == ([[2.0]], [[2.0]], [10.0])


def test_assign_rows_of_equal_rows_has_no_variance():
    found = assign_rows(make_rows(np.full((10_000, 2), 0.1)), no_deviations([[0.0, 0.0]]))[1].summary
    assert (found.m2 >= 0).all()
    np.testing.assert_allclose(found.m2, 0.0, atol=1e-12)


@pytest.mark.parametrize("n_rows", [0, 10])
@pytest.mark.parametrize("weighted", [False, True])
def test_nothing_comes_of_rows_that_are_all_skipped(n_rows, weighted):
    rows = make_rows(np.zeros((n_rows, 3)), np.zeros(n_rows, dtype=bool), np.ones(n_rows) if weighted else None)
    assert not any(map(np.any, vars(sum_by_cluster(rows, CORNERS, ClusterSums.empty(4, 3))).values()))
    nothing = no_deviations(CORNERS, weighted=weighted)
    nearest, total = assign_rows(rows, nothing)
    assert bits_of(total) == bits_of(nothing)
    assert len(nearest.cluster_ids) == n_rows
    assert add_squares(nearest.distances, rows, 1.5) == 1.5


# --- weights ---------------------------------------------------------------------------------------------------------

times = st.lists(st.integers(0, 4), min_size=1, max_size=200)


@given(times, st.integers(0, 1000), st.sampled_from([0.0, 40.0]))
def test_sum_by_cluster_counts_a_weighted_row_as_that_many_rows(times, seed, offset):
    rng = np.random.default_rng(seed)
    rows = make_rows(offset + rng.normal(0.0, 6.0, (len(times), 3)), rng.random(len(times)) < 0.8)
    weighted = sum_by_cluster(make_rows(rows.X, rows.keep, times), CORNERS + offset, ClusterSums.empty(4, 3))
    repeated = sum_by_cluster(repeat_rows(rows, times), CORNERS + offset, ClusterSums.empty(4, 3))
    assert weighted.counts.tolist() == repeated.counts.tolist()
    np.testing.assert_allclose(weighted.sums, repeated.sums, rtol=1e-12, atol=1e-9)
    np.testing.assert_allclose(weighted.sse(CORNERS + offset), repeated.sse(CORNERS + offset), rtol=1e-9, atol=1e-9)


@given(times, st.integers(0, 1000))
def test_assign_rows_counts_a_weighted_row_as_that_many_rows(times, seed):
    rng = np.random.default_rng(seed)
    rows = make_rows(rng.normal(0.0, 6.0, (len(times), 3)), rng.random(len(times)) < 0.8)
    nearest, weighted = assign_rows(make_rows(rows.X, rows.keep, times), no_deviations(CORNERS, weighted=True))
    one_by_one, repeated = assign_rows(repeat_rows(rows, times), no_deviations(CORNERS))
    for name, column in vars(nearest).items():  # rows of no weight are assigned too
        assert np.array_equal(np.repeat(column, times), getattr(one_by_one, name))
        assert len(column) == len(times)
    for name in ("rows", "distance_counts"):
        assert np.array_equal(getattr(weighted, name), getattr(repeated, name))
    for name in ("rows", "mean", "m2", "sse", "shares", "inertia_per_row"):
        one, two = getattr(weighted.summary, name), getattr(repeated.summary, name)
        np.testing.assert_allclose(one, two, rtol=1e-9, atol=1e-9)
    assert np.array_equal(weighted.summary.distance_quantile(0.99), repeated.summary.distance_quantile(0.99))


@given(times, st.integers(0, 1000))
def test_counts_of_rows_and_squares_take_a_weighted_row_for_that_many_rows(times, seed):
    rng = np.random.default_rng(seed)
    keep, places = rng.random(len(times)) < 0.8, rng.integers(0, 3, len(times))
    distances = rng.gamma(2.0, size=len(times)).astype(np.float32)
    weighted = make_rows(np.empty((len(times), 0)), keep, times)
    many, n = repeat_rows(weighted, times), sum(times)
    assert np.array_equal(
        add_rows(np.ones(3), places, weighted.weights, keep),
        add_rows(np.ones(3), np.repeat(places, times), None, many.keep),
    )
    one, two = add_squares(distances, weighted, 1.0), add_squares(np.repeat(distances, times), many, 1.0)
    assert (one, len(many.X)) == (pytest.approx(two, rel=1e-12), n)


def test_add_squares_adds_each_squared_distance_as_often_as_its_row_counts():
    distances = np.array([2.0, 3.0, 4.0], dtype=np.float32)
    rows = make_rows(np.empty((3, 0)), [True, False, True])
    assert add_squares(distances, rows, 1.0) == 1 + 4 + 16
    assert add_squares(distances, make_rows(rows.X, rows.keep, [0.5, 9.0, 2.0]), 1.0) == 1 + 0.5 * 4 + 2 * 16


@pytest.mark.parametrize("size", [1e-6, 1e6])
def test_weights_that_are_all_so_many_times_larger_change_no_mean(size):
    one, two = (
        assign_rows(make_rows(ROWS, KEEP, WEIGHTS * factor), no_deviations(CORNERS, weighted=True))[1].summary
        for factor in (1.0, size)
    )
    np.testing.assert_allclose(two.rows, one.rows * size, rtol=1e-12)
    for name in ("mean", "shares", "inertia_per_row"):
        np.testing.assert_allclose(getattr(two, name), getattr(one, name), rtol=1e-9, atol=1e-12)
    assert np.array_equal(one.distance_quantile(0.9), two.distance_quantile(0.9))


def test_rows_without_weight_change_nothing():
    nothing = np.random.default_rng(0).normal(0.0, 100.0, (500, 3)).astype(np.float32)
    some = make_rows(ROWS[:1000], weights=WEIGHTS[:1000])
    more = make_rows(np.concatenate([ROWS[:1000], nothing]), weights=[*WEIGHTS[:1000], *np.zeros(500)])
    one, two = (sum_by_cluster(rows, CORNERS, ClusterSums.empty(4, 3)) for rows in (some, more))
    for name in ("counts", "sums", "squares"):
        np.testing.assert_allclose(getattr(one, name), getattr(two, name), rtol=1e-12)
    one, two = (assign_rows(rows, no_deviations(CORNERS, weighted=True))[1] for rows in (some, more))
    for name in ("rows", "sums", "squares", "distance_counts"):
        np.testing.assert_allclose(getattr(one, name), getattr(two, name), rtol=1e-12)
    assert np.array_equal(find_radii(some, CORNERS), find_radii(more, CORNERS))


def test_find_radii_are_root_mean_squared_distances():
    rows = make_rows([[1.0], [3.0], [10.0]], weights=[3.0, 1.0, 0.0])
    np.testing.assert_allclose(find_radii(rows, np.array([[0.0], [10.0], [99.0]])), [np.sqrt((3 + 9) / 4), 0.0, 0.0])
    rows = make_rows([[1.0], [3.0], [10.0]], weights=[0.25, 0.25, 0.25])
    np.testing.assert_allclose(find_radii(rows, np.array([[0.0], [12.0]])), [np.sqrt((1 + 9) / 2), 2.0])
    rows = make_rows([[1.0], [3.0], [10.0]], keep=[True, False, True])
    np.testing.assert_allclose(find_radii(rows, np.array([[0.0], [12.0]])), [1.0, 2.0])


# --- moving ----------------------------------------------------------------------------------------------------------


def test_move_centroids_takes_the_mean_of_each():
    moved = move_centroids(np.array([2, 4]), np.array([[2.0], [20.0]]), np.zeros((1, 1), np.float32))
    assert moved.tolist() == [[1.0], [5.0]]


def test_move_centroids_takes_the_weighted_mean_where_all_rows_weigh_less_than_one():
    moved = move_centroids(np.array([0.5]), np.array([[2.0]]), np.zeros((1, 1), np.float32))
    assert moved.tolist() == [[4.0]]


def test_move_centroids_puts_an_empty_one_where_the_fit_is_worst():
    sample = np.array([[0.0], [4.0], [9.0], [20.0]], dtype=np.float32)
    moved = move_centroids(np.array([3, 0, 0]), np.array([[3.0], [0.0], [0.0]]), sample)
    assert moved.tolist() == [[1.0], [20.0], [9.0]]  # 9 is farther than 4 from both 1 and 20
    moved = move_centroids(np.array([0, 0, 1]), np.array([[0.0], [0.0], [1.0]]), sample)
    assert moved.tolist() == [[20.0], [9.0], [1.0]]


def test_largest_move_is_that_of_the_centroid_that_moved_most():
    assert largest_move(np.array([[7.0, 0.0], [1.0, -1.0]]), np.array([[8.0, 0.0], [4.0, 3.0]])) == 5.0


def test_find_origin_is_amid_far_centroids_feature_by_feature():
    assert find_origin(np.array([[1000.0, 1.0], [1002.0, 3.0]])).tolist() == [1001.0, 2.0]
    assert find_origin(np.array([[10.0, 1.0], [12.0, 3.0]])).tolist() == [0.0, 0.0]
