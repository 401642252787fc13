"""How well segments hold together, and agree with other classes."""

import numpy as np
import pytest
from builders import make_blobs, make_rows, no_deviations, summarise_rows
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import (
    calinski_harabasz_score,
    davies_bouldin_score,
    normalized_mutual_info_score,
    silhouette_samples,
    silhouette_score,
)

from kmstream.clustering import assign_rows, find_nearest
from kmstream.quality import (
    LEAST_ROWS,
    adjusted_rand_index,
    calinski_harabasz,
    davies_bouldin,
    draw_rows,
    index_rows,
    mean_distances,
    normalized_mutual_information,
    sample_silhouettes,
)
from kmstream.summary import ClusterSummary

CENTERS = np.array([[0.0, 0.0], [3.0, 0.0], [0.0, 3.0]])


def nearest_means(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows, their clusters, and centroids that are the means of those."""
    X, _ = make_blobs(CENTERS, 200, spread=1.0, seed=seed)
    ids = find_nearest(X, CENTERS).cluster_ids
    return X, ids, np.array([X[ids == i].mean(axis=0, dtype=np.float64) for i in range(3)])


def table_of(one, two) -> np.ndarray:
    table = np.zeros((max(one) + 1, max(two) + 1), dtype=np.int64)
    np.add.at(table, (np.array(one), np.array(two)), 1)
    return table


# --- silhouettes -----------------------------------------------------------------------------------------------------


def test_sample_silhouettes_of_few_rows_are_those_of_sklearn():
    X, ids = make_blobs(CENTERS, 60, spread=1.0)
    overall, per_cluster = sample_silhouettes(X, ids, 3)
    every = silhouette_samples(X, ids)
    assert overall == pytest.approx(silhouette_score(X, ids))
    assert per_cluster == pytest.approx([every[ids == i].mean() for i in range(3)])


def test_sample_silhouettes_of_many_rows_are_close_to_those_of_all():
    X, ids = make_blobs(CENTERS, 1000, spread=1.0)
    overall, per_cluster = sample_silhouettes(X, ids, 3, max_rows=900)
    every = silhouette_samples(X, ids)
    assert overall == pytest.approx(every.mean(), abs=0.02)
    assert per_cluster == pytest.approx([every[ids == i].mean() for i in range(3)], abs=0.04)


def test_a_small_cluster_is_represented_without_moving_the_overall_mean():
    big, _ = make_blobs(CENTERS[:2], 2970, spread=1.0)
    X = np.concatenate([big, make_blobs([[40.0, 0.0]], 60)[0]])
    ids = find_nearest(X, np.array([[0.0, 0.0], [3.0, 0.0], [40.0, 0.0]])).cluster_ids
    overall, per_cluster = sample_silhouettes(X, ids, 3, max_rows=1000)
    assert np.bincount(ids[draw_rows(ids, 1000)])[2] == LEAST_ROWS  # a share of the rows would be 10
    assert per_cluster[2] > 0.95
    assert overall == pytest.approx(silhouette_score(X, ids), abs=0.02)


def test_an_empty_cluster_has_no_silhouette_and_a_single_row_has_0():
    X = np.array([[0.0], [0.1], [5.0]], np.float32)
    overall, per_cluster = sample_silhouettes(X, np.array([0, 0, 2]), 4)
    assert np.isnan(per_cluster).tolist() == [False, True, False, True]
    assert per_cluster[2] == 0.0
    assert overall == pytest.approx(silhouette_score(X, [0, 0, 2]))


@pytest.mark.parametrize("ids", [[], [0], [0, 0, 0], [0, 1, 2]])
def test_silhouettes_of_one_segment_or_of_single_rows_are_none(ids):
    X, ids = np.arange(len(ids), dtype=np.float32)[:, None], np.array(ids, dtype=np.int32)
    overall, per_cluster = sample_silhouettes(X, ids, 3)
    assert overall is None
    assert np.isnan(per_cluster).all()


@given(
    st.lists(st.integers(0, 400), min_size=1, max_size=5).filter(any), st.integers(1, 500), st.integers(0, 2**32 - 1)
)
def test_drawn_rows_are_distinct_bounded_and_represent_every_cluster(sizes, max_rows, seed):
    ids = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes))
    drawn = draw_rows(ids, max_rows)
    assert (np.diff(drawn) > 0).all()
    assert len(drawn) <= max_rows + LEAST_ROWS * len(sizes)
    counts = np.bincount(ids[drawn], minlength=len(sizes))
    if len(ids) > max_rows:
        assert (counts >= np.minimum(sizes, LEAST_ROWS)).all()
        for i in np.flatnonzero(counts):  # evenly, in the order of the rows
            gaps = np.diff(np.searchsorted(np.flatnonzero(ids == i), drawn[ids[drawn] == i]))
            assert set(gaps) <= {sizes[i] // counts[i], -(-sizes[i] // counts[i])}
    else:
        assert counts.tolist() == sizes


# --- indices of all rows, from their summary -------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_calinski_harabasz_of_a_summary_is_that_of_the_rows(seed):
    X, ids, means = nearest_means(seed)
    summary = summarise_rows(X, CENTERS)  # also if the centroids are not the means
    assert calinski_harabasz(summary) == pytest.approx(calinski_harabasz_score(X.astype(float), ids), rel=1e-6)
    assert len(means) == len(summary.rows)


@pytest.mark.parametrize("seed", range(3))
def test_davies_bouldin_of_a_summary_is_that_of_the_rows_to_a_few_thousandths(seed):
    X, _, means = nearest_means(seed)
    ids = find_nearest(X, means).cluster_ids
    expected = davies_bouldin_score(X.astype(float), ids)
    assert davies_bouldin(summarise_rows(X, means)) == pytest.approx(expected, rel=5e-3)


def test_mean_distances_of_a_summary_are_right_to_a_thousandth():
    X, _, means = nearest_means(0)
    found = find_nearest(X, means)
    exact = [found.distances[found.cluster_ids == i].mean() for i in range(3)]
    assert mean_distances(summarise_rows(X, means)) == pytest.approx(exact, rel=1e-3)


def test_an_empty_cluster_changes_no_index():
    X, _, means = nearest_means(0)
    far = np.vstack([means, [[1e4, 1e4]]])
    for index in (calinski_harabasz, davies_bouldin):
        assert index(summarise_rows(X, far)) == pytest.approx(index(summarise_rows(X, means)))


def test_indices_of_two_clusters_and_of_a_single_row_are_those_of_sklearn():
    X, ids, means = np.array([[0.0], [0.01], [0.5]], np.float32), [0, 0, 1], np.array([[0.005], [0.5]])
    summary = summarise_rows(X, means)
    assert calinski_harabasz(summary) == pytest.approx(calinski_harabasz_score(X, ids), rel=1e-4)
    assert davies_bouldin(summary) == pytest.approx(davies_bouldin_score(X, ids), rel=1e-2)
    of_sklearn = (davies_bouldin_score(X, ids), calinski_harabasz_score(X, ids))
    assert index_rows(X, np.array(ids)) == pytest.approx(of_sklearn, rel=1e-5)


def test_calinski_harabasz_of_rows_that_leave_no_variance_within_is_none():
    assert calinski_harabasz(summarise_rows([[0.0], [0.0], [1.0]], [[0.0], [1.0]])) is None
    rows = make_rows([[0.0], [0.2], [1.0], [1.2]], weights=[0.5] * 4)  # two rows in two clusters
    assert calinski_harabasz(assign_rows(rows, no_deviations([[0.1], [1.1]], weighted=True))[1].summary) is None


def test_mean_distances_are_exact_where_all_rows_are_equally_far_or_in_the_middle():
    for X, expected in (([[1.01], [-1.01]], 1.01), ([[0.0], [0.0], [1.01], [-1.01]], 1.01 / 2), ([[0.0]], 0.0)):
        assert mean_distances(summarise_rows(X, [[0.0], [9.0]])) == pytest.approx([expected, 0.0], rel=1e-2)
    assert mean_distances(summarise_rows([[1.01], [-1.01]], [[0.0]])) == pytest.approx([1.01], rel=1e-6)


def test_weights_that_are_all_so_many_times_smaller_move_no_mean_distance_and_not_how_far_clusters_reach():
    X, _, means = nearest_means(0)
    one, small = (
        assign_rows(make_rows(X, weights=np.full(len(X), w)), no_deviations(means, weighted=True))[1].summary
        for w in (1.0, 1e-4)
    )
    np.testing.assert_allclose(mean_distances(small), mean_distances(one))
    assert davies_bouldin(small) == pytest.approx(davies_bouldin(one))


@pytest.mark.parametrize("index", [calinski_harabasz, davies_bouldin])
def test_an_index_of_no_rows_or_of_one_cluster_is_none(index):
    assert index(ClusterSummary.empty(3, 2)) is None
    assert index(summarise_rows([[0.0], [1.0]], [[0.5]])) is None


def test_index_rows_are_those_of_sklearn_and_none_of_one_cluster():
    X, ids, _ = nearest_means(0)
    assert index_rows(X, ids) == pytest.approx((davies_bouldin_score(X, ids), calinski_harabasz_score(X, ids)), 1e-5)
    assert index_rows(X, np.zeros(len(X), int)) == index_rows(X[:3], np.arange(3)) == (None, None)


# --- agreement with classes ------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=60))
def test_normalized_mutual_information_agrees_with_sklearn(pairs):
    one, two = zip(*pairs, strict=True)
    expected = normalized_mutual_info_score(one, two)
    assert normalized_mutual_information(table_of(one, two)) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("table", [[[5, 5]], [[5], [5]], [[5, 5, 5]]])
def test_normalized_mutual_information_of_one_class_or_one_cluster_is_0(table):
    assert normalized_mutual_information(np.array(table)) == 0.0
    assert normalized_mutual_information(np.array([[7]])) == 1.0


def test_normalized_mutual_information_never_exceeds_1_by_rounding():
    assert normalized_mutual_information(np.diag([17, 12, 22, 43])[[3, 1, 0, 2]]) == 1.0


def test_adjusted_rand_index_of_weights_does_not_depend_on_their_size():
    table = np.array([[5.0, 1.0], [2.0, 9.0]])
    assert adjusted_rand_index(table / 1e6) == pytest.approx(adjusted_rand_index(table))
    assert adjusted_rand_index(table) == pytest.approx(adjusted_rand_index((table * 1e6).astype(int)), rel=1e-5)


@pytest.mark.parametrize("n_rows", [0, 1])
def test_adjusted_rand_index_of_no_pair_of_rows_is_1(n_rows):
    assert adjusted_rand_index(np.array([[n_rows, 0], [0, 0]])) == 1.0


def test_normalized_mutual_information_stays_right_for_billions_of_rows():
    n = 3 * 10**9
    assert normalized_mutual_information(np.array([[n, 0], [0, n]])) == pytest.approx(1.0)
    assert normalized_mutual_information(np.array([[n, n], [n, n]])) == pytest.approx(0.0, abs=1e-9)
