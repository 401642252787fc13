"""The search for start centroids on a sample."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from builders import CORNERS, bits_of, exact_distances, make_blobs

from kmstream.errors import TooFewRowsError
from kmstream.search import check_distinct_rows, polish_centroids, search_centroids


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
    assert min(inertias[1:]) < inertias[0]
    assert max(inertias[1:]) < 1.002 * min(inertias)  # the last steps of Lloyd are not taken for less than 0.01 %


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
