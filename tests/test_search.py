"""The search for start centroids on a sample."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from builders import CORNERS, bits_of, exact_distances, make_blobs
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import KMeans, kmeans_plusplus

from kmstream.errors import TooFewRowsError
from kmstream.search import check_distinct_rows, polish_centroids, search_centroids
from kmstream.search.draws import draw_core, seed_centroids
from kmstream.search.settled import center_rows
from kmstream.search.swaps import improve


def sorted_rows(X):
    return X[np.lexsort(X.T[::-1])]


def inertia_of(X, centroids, weights=None):
    squares = np.square(exact_distances(X, centroids).min(axis=1))
    return squares.sum() if weights is None else weights @ squares


def means_of(X, ids):
    return np.array([X[ids == i].mean(axis=0, dtype=np.float64) for i in np.unique(ids)])


def lattice(n_clusters, n_features, *, seed=0):
    """Centers 10 apart at least, in no order."""
    rng = np.random.default_rng(seed)
    side = int(np.ceil(n_clusters ** (1 / n_features)))
    points = np.stack(np.meshgrid(*[np.arange(side)] * n_features), axis=-1).reshape(-1, n_features)
    return 10.0 * rng.permutation(points)[:n_clusters]


def test_search_centroids_finds_separated_blobs():
    X, ids = make_blobs(CORNERS, 100, spread=0.2)
    found = search_centroids(X, 4, n_init=5, seed=0)
    means = means_of(X, ids)
    np.testing.assert_allclose(sorted_rows(found.centroids.round(3)), sorted_rows(means.round(3)), atol=2e-3)
    assert found.rows.tolist() == [100] * 4
    assert found.inertia == pytest.approx(inertia_of(X, means), rel=1e-3)


@pytest.mark.parametrize("seed", range(5))
def test_search_centroids_finds_all_of_many_clusters(seed):
    X, ids = make_blobs(lattice(50, 4, seed=seed), 200, spread=1.0, seed=seed)
    best = inertia_of(X, means_of(X, ids))
    assert search_centroids(X, 50, n_init=2, seed=seed).inertia <= best * 1.0001


@pytest.mark.parametrize("seed", range(5))
def test_search_centroids_finds_a_rare_segment(seed):
    rng = np.random.default_rng(seed)
    X, _ = make_blobs(lattice(9, 2), 5_000, spread=1.5, seed=seed)
    X[rng.choice(len(X), len(X) // 500, replace=False)] = rng.normal((45.0, 45.0), 0.5, (len(X) // 500, 2))
    found = search_centroids(X, 10, n_init=4, seed=seed)
    apart = exact_distances(np.array([[45.0, 45.0]]), found.centroids)[0]
    assert apart.min() < 0.3
    assert found.rows[apart.argmin()] == len(X) // 500


@pytest.mark.parametrize("sort", [False, True])
def test_search_centroids_reads_samples_in_any_order(sort):
    X, ids = make_blobs(lattice(20, 3), 500, spread=1.0)
    best = inertia_of(X, means_of(X, ids))
    if sort:
        X = X[np.argsort(ids, kind="stable")]
    assert search_centroids(X, 20, n_init=3, seed=1).inertia <= best * 1.0001


@pytest.mark.slow
@settings(max_examples=10, deadline=None)
@given(
    n_true=st.integers(1, 12),
    n_clusters=st.integers(2, 8),
    n_features=st.integers(1, 4),
    spread=st.sampled_from([0.1, 1.0, 3.0]),
    scale=st.sampled_from([1e-3, 1.0, 1e6]),
    seed=st.integers(0, 99),
)
def test_search_centroids_is_no_worse_than_plain_restarts(n_true, n_clusters, n_features, spread, scale, seed):
    rng = np.random.default_rng(seed)
    X, _ = make_blobs(rng.normal(0.0, 5.0, (n_true, n_features)), 300 // n_true, spread=spread, seed=seed)
    X *= np.float32(scale)
    plain = KMeans(n_clusters, n_init=3, random_state=seed).fit(X)
    assert search_centroids(X, n_clusters, n_init=10, seed=seed).inertia <= plain.inertia_ * 1.002


def test_search_centroids_is_the_same_for_any_number_of_workers():
    X, _ = make_blobs(lattice(30, 2), 400, spread=4.0)
    one = search_centroids(X, 30, n_init=4, seed=2)
    with ThreadPoolExecutor(3) as pool:
        three = search_centroids(X, 30, n_init=4, seed=2, apply=pool.map)
    assert bits_of(one) == bits_of(three)


def test_search_centroids_of_one_seed_is_the_same_every_time():
    X = np.random.default_rng(0).normal(size=(3_500, 3)).astype(np.float32)  # no blobs: another draw ends elsewhere
    one, again, other = (search_centroids(X, 25, n_init=1, seed=seed) for seed in (1, 1, 2))
    assert bits_of(one) == bits_of(again) != bits_of(other)


def test_search_centroids_gains_from_more_starts():
    X, _ = make_blobs(lattice(40, 2), 40, spread=5.0)
    few, many = (np.mean([search_centroids(X, 12, n_init=n, seed=seed).inertia for seed in range(5)]) for n in (1, 10))
    assert many < few


def test_search_centroids_of_one_cluster_is_the_mean():
    X, _ = make_blobs(CORNERS, 10)
    np.testing.assert_allclose(search_centroids(X, 1, n_init=1, seed=0).centroids, [X.mean(axis=0)], atol=1e-5)


def test_search_centroids_of_as_many_clusters_as_rows_is_the_rows():
    X = np.random.default_rng(0).normal(size=(40, 2)).astype(np.float32)
    found = search_centroids(X, 40, n_init=2, seed=0)
    np.testing.assert_allclose(sorted_rows(found.centroids), sorted_rows(X), atol=1e-6)
    assert found.rows.tolist() == [1] * 40


def test_search_centroids_fills_every_cluster_where_most_rows_are_alike():
    X = np.zeros((30_000, 2), np.float32)
    X[::1500] = np.random.default_rng(0).normal(size=(20, 2))
    found = search_centroids(X, 21, n_init=2, seed=0)
    assert found.rows.min() >= 1
    assert found.inertia == pytest.approx(0.0, abs=1e-6)


def test_search_centroids_keeps_its_digits_beside_one_far_outlier():
    X, ids = make_blobs(lattice(6, 2), 1_000, spread=0.5)
    means = means_of(X, ids)
    X[17] = 1e7
    found = search_centroids(X, 7, n_init=4, seed=0)
    near = exact_distances(means, found.centroids).min(axis=1)
    assert near.max() < 0.05
    assert found.rows.min() == 1


@pytest.mark.parametrize("change", [lambda X: X + np.float32(4e4), lambda X: X * np.float32(1e6)])
def test_search_centroids_takes_features_that_are_not_scaled(change):
    X, ids = make_blobs(lattice(12, 2), 100, spread=0.5)
    X = change(X)
    assert search_centroids(X, 12, n_init=4, seed=0).inertia <= inertia_of(X, means_of(X, ids)) * 1.001


def test_search_centroids_takes_constant_features():
    X, ids = make_blobs(CORNERS, 100, spread=0.2)
    wide = np.hstack([X, np.full((len(X), 3), 7.0, np.float32)])
    found = search_centroids(wide, 4, n_init=2, seed=0)
    assert found.inertia == pytest.approx(inertia_of(X, means_of(X, ids)), rel=1e-3)
    np.testing.assert_array_equal(found.centroids[:, 3:], 7.0)


def test_search_centroids_finds_what_weights_make_important():
    X, ids = make_blobs([(0.0, 0.0), (6.0, 0.0), (0.0, 50.0), (4.0, 50.0)], 2_000, spread=0.2)
    weights = np.where(ids < 2, 1.0, 1e-4)
    found = search_centroids(X, 3, n_init=4, seed=0, weights=weights)
    assert exact_distances(np.array([(0.0, 0.0), (6.0, 0.0), (2.0, 50.0)]), found.centroids).min(axis=1).max() < 0.1
    assert found.rows.sum() == pytest.approx(weights.sum())


def test_search_centroids_of_weighted_rows_is_that_of_repeated_rows():
    X, _ = make_blobs(lattice(12, 2), 300, spread=0.7)
    weights = np.random.default_rng(0).integers(0, 4, len(X))
    one = search_centroids(X, 12, n_init=4, seed=0, weights=weights.astype(np.float64))
    other = search_centroids(np.repeat(X, weights, axis=0), 12, n_init=4, seed=0)
    assert one.inertia == pytest.approx(other.inertia, rel=1e-3)
    assert sorted(one.rows) == pytest.approx(sorted(other.rows), abs=3)


def test_search_centroids_does_not_see_rows_of_no_weight():
    X, ids = make_blobs(CORNERS, 100, spread=3.0)
    one = search_centroids(X, 3, n_init=2, seed=0, weights=(ids < 3).astype(np.float64))
    assert bits_of(one) == bits_of(search_centroids(X[ids < 3], 3, n_init=2, seed=0))
    with pytest.raises(TooFewRowsError, match="2 usable rows"):
        search_centroids(X, 3, n_init=2, seed=0, weights=np.arange(len(X)) < 2.0)


def test_search_centroids_leaves_the_rows_alone():
    X, _ = make_blobs(CORNERS, 100)
    before = X.copy()
    X.flags.writeable = False
    search_centroids(X, 3, n_init=2, seed=0)
    np.testing.assert_array_equal(X, before)


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


def test_check_distinct_rows_tells_the_smallest_numbers_apart():
    check_distinct_rows(np.array([[1e-30], [2e-30]], dtype=np.float32), 2)


# --- draws -----------------------------------------------------------------------------------------------------------


def column_of(values_and_counts, weights=None):
    """One feature, each value so many times in a row; measured from the median."""
    X = np.repeat(*map(list, zip(*values_and_counts, strict=True))).astype(np.float32)[:, None]
    return center_rows(X, weights)


def test_center_rows_measures_each_feature_from_its_median():
    rows, origin = center_rows(np.array([[0.0, 1000.0], [1.0, 1001.0], [5.0, 1003.0]], np.float32), None)
    assert origin.tolist() == [1.0, 1001.0]
    assert rows.points.tolist() == [[-1.0, -1.0, 1.0], [0.0, 0.0, 1.0], [4.0, 2.0, 1.0]]
    assert (rows.squares.tolist(), rows.weights.tolist()) == ([2.0, 0.0, 20.0], [1.0, 1.0, 1.0])
    assert (rows.points.dtype, rows.squares.dtype) == (np.float32, np.float32)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("each", [0.5, 1.0, 3.0])
def test_draw_core_draws_half_by_weight_and_half_by_variance(seed, each):
    """Around the mean of 0.4 the 60 rows at 0 have 60 * 0.16 = 9.6 of the variance, the 40 at 1 have 40 * 0.36 = 14.4.

    So a row at 0 is drawn with 10 * (1/100 + 0.16/24) = 1/6, one at 1 with 10 * (1/100 + 0.36/24) = 1/4.
    """
    rows, _ = column_of([(0.0, 60), (1.0, 40)], np.full(100, each))
    core = draw_core(rows, 20, np.random.default_rng(seed))
    np.testing.assert_allclose(core.X.ravel(), np.repeat([0.0, 1.0], 10))
    np.testing.assert_allclose(core.weights, np.repeat([6 * each, 4 * each], 10), rtol=1e-6)
    np.testing.assert_array_equal(core.squares, core.X.ravel() ** 2)


@pytest.mark.parametrize("seed", range(5))
def test_draw_core_has_what_is_rare_and_far_off_for_sure(seed):
    rows, _ = column_of([(-5.0, 2), (0.0, 96), (5.0, 2)])
    core = draw_core(rows, 20, np.random.default_rng(seed))
    np.testing.assert_allclose(core.X.ravel(), [-5, -5, *[0] * 16, 5, 5])
    np.testing.assert_allclose(core.weights, [1, 1, *[6] * 16, 1, 1], rtol=1e-6)


def test_draw_core_of_no_more_rows_than_that_is_all_of_them():
    rows, _ = column_of([(0.0, 3), (1.0, 2)])
    assert draw_core(rows, 5, np.random.default_rng(0)) is rows
    alike, _ = column_of([(7.0, 10)])
    assert draw_core(alike, 5, np.random.default_rng(0)).weights.tolist() == [2.0] * 5


@pytest.mark.parametrize("seed", range(5))
def test_seed_centroids_draws_no_two_alike_while_there_are_others(seed):
    rows, origin = column_of([(2.0, 20), (5.0, 1), (6.0, 50), (9.0, 9), (11.0, 1)])
    for n_clusters in (3, 5):
        drawn = (seed_centroids(rows, n_clusters, np.random.default_rng(seed)) + origin).ravel()
        assert len(set(drawn.tolist()) & {2.0, 5.0, 6.0, 9.0, 11.0}) == n_clusters
        assert drawn.dtype == np.float32
    assert len(seed_centroids(rows, 7, np.random.default_rng(seed))) == 7


def test_seed_centroids_are_a_good_deal_nearer_to_the_rows_than_those_of_a_single_draw_each():
    X = np.random.default_rng(0).normal(size=(500, 3)).astype(np.float32)
    rows, _ = center_rows(X, None)
    plain, ours = (
        np.mean([inertia_of(some, draw(seed)) for seed in range(8)])
        for some, draw in (
            (X, lambda seed: kmeans_plusplus(X, 12, n_local_trials=1, random_state=seed)[0]),
            (rows.X, lambda seed: seed_centroids(rows, 12, np.random.default_rng(seed))),
        )
    )
    assert ours < 0.88 * plain


# --- swaps -----------------------------------------------------------------------------------------------------------


def improve_1d(X, start, *, weights=None):
    """Give up at the first swap that fails; centroids in order."""
    rows, origin = center_rows(np.array(X, np.float32)[:, None], weights)
    found = improve(rows, (np.array(start)[:, None] - origin).astype(np.float32), np.random.default_rng(0), 1)
    return np.sort((found.centroids + origin).ravel()), found.inertia


def test_improve_takes_a_centroid_without_rows_to_where_it_pays_most():
    X = [-1, 1, 9, 11, 19, 21]
    for start in ([5.0, 20.0, 20.0], [5.0, 20.0, 1000.0]):
        centroids, inertia = improve_1d(X, start)
        assert (centroids.tolist(), inertia) == ([0.0, 10.0, 20.0], 6.0)
    for n_clusters in (2, 3):
        centroids, _ = improve_1d(X[: 2 * n_clusters], [5.0, *[1000.0] * (n_clusters - 1)])
        assert centroids.tolist() == [0.0, 10.0, 20.0][:n_clusters]


def test_improve_moves_the_centroid_that_is_missed_least_whatever_the_unit_and_the_weights():
    """Weights of 0.1, and two piles at 200 that are to be told apart, which saves 2 * 1.8^2 = 6.48.

    The piles around 0 and 1 lose 2 * 10 * 0.5^2 = 5 by sharing a centroid; it would be 10 if that stayed where it is.
    The small pile at 100 would lose 0.5 * 10 / 10.5 * 4^2 = 7.62.
    """
    piles = {-0.4: 50, 0.4: 50, 0.6: 50, 1.4: 50, 100.0: 5, 104.0: 100, 200.0: 10, 203.6: 10}
    X, start = np.repeat(list(piles), list(piles.values())), np.array([0.0, 1.0, 100.0, 104.0, 201.8])
    centroids, inertia = improve_1d(0.01 * X, 0.01 * start, weights=np.full(len(X), 0.1))
    np.testing.assert_allclose(centroids, [0.005, 1.0, 1.04, 2.0, 2.036], atol=1e-5)
    assert inertia == pytest.approx(20 * (0.5**2 + 0.4**2) * 1e-4, rel=1e-3)


def test_improve_with_more_patience_is_never_worse_and_at_times_better():
    X = np.random.default_rng(1).uniform(size=(150, 2)).astype(np.float32)
    rows, origin = center_rows(X, None)
    hasty, patient = (
        np.array([improve(rows, X[i : i + 12] - origin, np.random.default_rng(i), n).inertia for i in range(6)])
        for n in (1, 6)
    )
    assert (patient <= hasty).all()
    assert patient.mean() < hasty.mean()


# --- known centroids -------------------------------------------------------------------------------------------------


def test_polish_centroids_keeps_the_order_of_the_known_ones():
    X, _ = make_blobs(CORNERS, 100, spread=0.2)
    found = polish_centroids(X, CORNERS[::-1] + 0.5)
    np.testing.assert_allclose(found.centroids, CORNERS[::-1], atol=0.1)
    assert found.rows.tolist() == [100] * 4


@settings(max_examples=15, deadline=None)
@given(n_clusters=st.integers(1, 6), spread=st.sampled_from([0.2, 5.0]), seed=st.integers(0, 99))
def test_polish_centroids_takes_weights_for_repeated_rows(n_clusters, spread, seed):
    rng = np.random.default_rng(seed)
    X, _ = make_blobs(CORNERS, 50, spread=spread, seed=seed)
    weights, known = rng.integers(0, 4, len(X)), rng.normal(0.0, 5.0, (n_clusters, X.shape[1]))
    known = X[weights > 0][:n_clusters] + 0.01 * known
    one = polish_centroids(X, known, weights.astype(np.float64))
    other = polish_centroids(np.repeat(X, weights, axis=0), known)
    np.testing.assert_allclose(one.centroids, other.centroids, atol=1e-3)
    assert one.rows.tolist() == other.rows.tolist()
    assert one.inertia == pytest.approx(other.inertia, rel=1e-5)


@settings(max_examples=15, deadline=None)
@given(n_clusters=st.integers(1, 6), seed=st.integers(0, 99))
def test_polish_centroids_tells_the_inertia_and_rows_of_what_it_returns(n_clusters, seed):
    X, _ = make_blobs(CORNERS, 50, spread=5.0, seed=seed)
    weights = np.random.default_rng(seed).uniform(0.1, 3.0, len(X))
    found = polish_centroids(X, X[:n_clusters].astype(np.float64), weights)
    nearest = exact_distances(X, found.centroids).argmin(axis=1)
    np.testing.assert_allclose(found.rows, np.bincount(nearest, weights, minlength=n_clusters))
    assert found.inertia == pytest.approx(inertia_of(X, found.centroids, weights), rel=1e-5)


def test_polish_centroids_moves_one_without_rows_to_where_the_fit_is_worst():
    X, _ = make_blobs(CORNERS, 100, spread=0.2)
    found = polish_centroids(X, np.vstack([CORNERS[:3], np.full((1, CORNERS.shape[1]), 1e4)]))
    np.testing.assert_allclose(found.centroids, CORNERS, atol=0.1)


def test_polish_centroids_moves_several_without_rows():
    X, _ = make_blobs(CORNERS, 100, spread=0.2)
    found = polish_centroids(X, np.vstack([CORNERS[:2], np.full((2, CORNERS.shape[1]), 1e4)]))
    np.testing.assert_allclose(sorted_rows(found.centroids.round()), sorted_rows(CORNERS))


def test_polish_centroids_goes_on_until_an_iteration_gains_less_than_a_millionth():
    X = np.random.default_rng(0).uniform(size=(2_000, 2)).astype(np.float32)
    for i in range(3):
        found = polish_centroids(X, X[i : i + 6].astype(np.float64))
        after = means_of(X, exact_distances(X, found.centroids).argmin(axis=1))
        assert inertia_of(X, found.centroids) <= inertia_of(X, after) * (1 + 1.2e-6)
