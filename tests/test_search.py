"""The search for start centroids on a sample."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from builders import CORNERS, bits_of, exact_distances, make_blobs
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import KMeans

from kmstream.errors import TooFewRowsError
from kmstream.search import check_distinct_rows, polish_centroids, search_centroids


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
