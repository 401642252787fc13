"""A map of rows: the axes on which they differ most, and the places of rows and centroids on them."""

import numpy as np
import pytest
from builders import make_blobs
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA

from kmstream.projection import MAP_ROWS, find_projection, tell_map


def test_find_projection_finds_the_components_of_scikit_learn():
    X = np.random.default_rng(0).normal(size=(300, 5)) @ np.diag([5.0, 3.0, 2.0, 1.0, 0.5])
    ours, theirs = find_projection(X), PCA(2).fit(X)
    assert ours.explained == pytest.approx(theirs.explained_variance_ratio_)
    assert np.abs(ours.axes) == pytest.approx(np.abs(theirs.components_))
    assert np.abs(ours.project(X)) == pytest.approx(np.abs(theirs.transform(X)))


@settings(max_examples=30)
@given(seed=st.integers(0, 2**16))
def test_find_projection_does_not_turn_round_with_the_order_or_the_side_of_the_rows(seed):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(40, 3)) * [3.0, 2.0, 1.0]
    axes = find_projection(X).axes
    assert find_projection(rng.permutation(X)).axes == pytest.approx(axes)
    assert find_projection(-X).axes == pytest.approx(axes)
    assert (axes[np.arange(2), np.abs(axes).argmax(axis=1)] > 0).all()


@pytest.mark.parametrize("X", [np.zeros((0, 2)), np.ones((1, 2)), np.full((50, 3), 7.0)], ids=["none", "one", "alike"])
def test_find_projection_of_rows_that_do_not_differ_is_none(X):
    assert find_projection(X) is None
    assert tell_map(X, np.zeros(len(X), int), ["all"], np.zeros((1, X.shape[1])), "abc", {}) is None


def test_find_projection_has_no_share_below_zero_where_rounding_would():
    X = np.outer(np.linspace(-1, 1, 50), [3.0, 1e-9, 7.0])
    found = find_projection(X, n_axes=3)
    assert (found.explained >= 0).all()
    assert found.explained.sum() == pytest.approx(1.0)


@pytest.mark.parametrize("order", [[0, 1, 2], [0, 2, 1], [2, 0, 1]])
def test_find_projection_has_a_zero_without_a_sign_where_a_feature_is_not_part_of_an_axis(order):
    """Two features vary together, and the third by itself; -0.0 would be seen as such."""
    X = np.array([[2.0, 2.0, 0.0], [-2.0, -2.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, -1.0]])[:, order]
    axes = find_projection(X).axes
    half = 0.5**0.5
    assert axes == pytest.approx(np.array([[half, half, 0.0], [0.0, 0.0, 1.0]])[:, order])
    assert not np.signbit(axes).any()


def test_find_projection_is_exact_far_from_zero_in_single_precision():
    X = (np.random.default_rng(0).normal(size=(5000, 2)) * [2.0, 1.0] + 4096.0).astype(np.float32)
    assert find_projection(X).center == pytest.approx(X.astype(np.float64).mean(axis=0), abs=1e-9)


def test_find_projection_finds_the_same_axes_of_rows_however_near_they_lie():
    X = np.random.default_rng(0).normal(size=(40, 3)) * [3.0, 2.0, 1.0]
    assert find_projection(X * 1e-4).axes == pytest.approx(find_projection(X).axes)


def test_two_blobs_lie_apart_on_the_map_and_each_centroid_among_its_rows():
    X, ids = make_blobs([[-4.0, 0.0], [4.0, 1.0]], 200)
    centroids = np.array([X[ids == i].mean(axis=0) for i in (0, 1)])
    found = tell_map(X, ids, ["one", "two"], centroids, ["x", "y"], {})
    (low, high), axis = sorted(found["rows"].items(), key=lambda item: min(item[1][0])), 0
    assert max(low[1][axis]) < min(high[1][axis])
    places = {centroid["cluster_label"]: centroid["now"][axis] for centroid in found["centroids"]}
    assert max(low[1][axis]) >= places[low[0]] >= min(low[1][axis])
    assert places[high[0]] - places[low[0]] == pytest.approx(8.06, abs=0.05)
    assert found["axes"][0]["strongest"] == ["x"]
    assert sum(one["explained"] for one in found["axes"]) == pytest.approx(1.0)
    assert sum(len(rows[0]) for rows in found["rows"].values()) == 400


def test_tell_map_names_the_features_of_each_axis_strongest_first():
    """Loadings of 0.8, 0.55 and -0.5 are near each other, one of 0.3 is not; three are enough."""
    axis = np.array([0.5, -0.55, 0.8, 0.1, 0.52])
    X = np.outer(np.linspace(-1, 1, 30), axis)
    found = tell_map(X, np.zeros(30, int), ["all"], np.zeros((1, 5)), "abcde", {})
    assert found["axes"][0]["strongest"] == ["c", "b", "e"]
    assert tell_map(X[:, 2:4], np.zeros(30, int), ["all"], np.zeros((1, 2)), "cd", {})["axes"][0]["strongest"] == ["c"]


def test_tell_map_names_features_that_lie_alike_along_an_axis_in_their_order():
    X = np.outer(np.linspace(-1, 1, 30), np.ones(40))
    names = [f"f{j:02d}" for j in range(40)]
    found = tell_map(X, np.zeros(30, int), ["all"], np.zeros((1, 40)), names, {})
    assert found["axes"][0]["strongest"] == names[:3]
    found = tell_map(X * np.tile([0.9, 1.0], 20), np.zeros(30, int), ["all"], np.zeros((1, 40)), names, {})
    assert found["axes"][0]["strongest"] == names[1:6:2]


def test_tell_map_names_a_feature_with_six_tenths_of_the_largest_loading():
    X = np.outer(np.linspace(-1, 1, 30), [0.8, 0.48, 0.36])
    found = tell_map(X, np.zeros(30, int), ["all"], np.zeros((1, 3)), "abc", {})
    assert found["axes"][0]["strongest"] == ["a", "b"]


def test_tell_map_sets_the_centroids_of_now_and_then_side_by_side():
    X = np.array([[-3.0], [-1.0], [4.0]], dtype=np.float32)
    then = {"goes on": np.array([1.0]), "ended": np.array([2.0])}
    found = tell_map(X, np.array([0, 0, 1]), ["goes on", "new"], np.array([[-2.0], [4.0]]), ["x"], then)
    assert found["centroids"] == [
        {"cluster_label": "goes on", "now": [-2.0], "then": [1.0]},
        {"cluster_label": "new", "now": [4.0], "then": None},
        {"cluster_label": "ended", "now": None, "then": [2.0]},
    ]
    assert found["rows"] == {"goes on": [[-3.0, -1.0]], "new": [[4.0]]}


def test_tell_map_draws_so_many_rows_at_most_and_frames_what_is_not_far_out():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(20_000, 3)).astype(np.float32)
    X[7] = 10_000.0
    found = tell_map(X, np.zeros(len(X), int), ["all"], np.zeros((1, 3)), "abc", {})
    assert MAP_ROWS / 2 < len(found["rows"]["all"][0]) <= MAP_ROWS
    assert all(-6 < low < high < 6 for low, high in found["frame"])


def test_tell_map_frames_each_axis_by_itself():
    X = np.array([[-10.0, 0.0], [10.0, 0.0], [0.0, -1.0], [0.0, 1.0]] * 200)
    found = tell_map(X, np.zeros(800, int), ["all"], np.zeros((1, 2)), "xy", {})
    assert found["frame"] == [pytest.approx([-11.2, 11.2]), pytest.approx([-1.12, 1.12])]


def test_tell_map_frames_every_centroid_with_a_margin():
    X = np.linspace(-1.0, 1.0, 101)[:, None]
    found = tell_map(X, np.zeros(101, int), ["all"], np.array([[0.0]]), ["x"], {"ended": np.array([9.0])})
    ((low, high),) = found["frame"]
    assert (low, high) == pytest.approx((-0.99 - 0.06 * 9.99, 9.0 + 0.06 * 9.99))
