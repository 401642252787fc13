"""How features changed: by value, and by the mix of the segments or within them."""

import numpy as np
import pytest
from builders import observe_rows
from hypothesis import given, settings
from hypothesis import strategies as st

from kmstream.config import DriftConfig
from kmstream.drift import compare
from kmstream.measures import psi
from kmstream.noise import psi_noise

DEFAULTS = DriftConfig()


@settings(max_examples=40)
@given(st.integers(0, 999), st.integers(1, 4), st.integers(1, 4), st.integers(0, 2))
def test_compare_mix_and_within_effects_add_up_to_the_difference_of_means(seed, k_r, k_c, n_shared):
    rng = np.random.default_rng(seed)
    labels_r = tuple(f"r{i}" for i in range(k_r))
    labels_c = (*labels_r[:n_shared], *(f"c{i}" for i in range(k_c)))
    sizes = ((0.0, 1.0, 50), (0.5, 2.0, 30), (0.0, 1.0, k_r), (0.0, 1.0, len(labels_c)))
    # Multiples of 2**-10: what float32 takes the differences of stays exact.
    X_r, X_c, at_r, at_c = (np.round(rng.normal(mean, sd, (n, 3)) * 1024) / 1024 for mean, sd, n in sizes)
    reference, current = observe_rows(X_r, at_r, labels_r), observe_rows(X_c, at_c, labels_c)
    report = compare(reference, current, DEFAULTS, ["x", "y", "z"])
    for j, one in enumerate(report.features):
        moved = X_c[:, j].mean() - X_r[:, j].mean()
        assert one["mean_to"] - one["mean_from"] == pytest.approx(moved, abs=1e-12)
        assert one["mix_effect"] + one["within_effect"] == pytest.approx(moved, abs=1e-12)


def test_compare_lays_the_effect_of_a_new_or_ended_segment_to_the_mix():
    old = observe_rows([[1.0], [3.0]], [[2.0]], ("old",))
    new = observe_rows([[11.0], [13.0]], [[12.0]], ("new",))
    (x,) = compare(old, new, DEFAULTS, ["x"]).features
    assert (x["mix_effect"], x["within_effect"]) == (10.0, 0.0)


def test_compare_lays_the_move_of_a_single_row_within_its_segment():
    old, new = observe_rows([[1.0], [3.0]], [[2.0]], ("a",)), observe_rows([[4.0]], [[2.0]], ("a",))
    (x,) = compare(old, new, DEFAULTS, ["x"]).features
    assert (x["mix_effect"], x["within_effect"], x["mean_to"]) == (0.0, 2.0, 4.0)


@pytest.mark.parametrize("n_rows", [10, 100, 1000])
def test_compare_finds_no_feature_drift_in_a_smaller_window_of_equal_shares(n_rows):
    bins = np.array([[0, 0, 0, 0, 0, 0, 0, 4, 3, 3, 0]])  # a feature with many equal values: most bins hold nothing
    reference = observe_rows([[0.0], [2.0]], [[1.0]], ("a",), bins=bins * 10_000)
    current = observe_rows([[0.0], [2.0]], [[1.0]], ("a",), bins=bins * (n_rows // 10))
    report = compare(reference, current, DEFAULTS, ["x"])
    assert report.severity == "ok", report.totals["feature_psi"]


def test_compare_measures_drift_of_a_category_by_its_share_of_rows():
    reference = observe_rows([[0.0, 1.0]] * 10 + [[0.0, 0.0]] * 30, [[0.0, 0.0]], ("a",), bins=[[10, 0]])
    current = observe_rows([[0.0, 1.0]] * 15 + [[0.0, 0.0]] * 5, [[0.0, 0.0]], ("a",), bins=[[10, 0]])
    report = compare(reference, current, DEFAULTS, ["x", "c=red"])
    assert report.features[1]["psi"] == pytest.approx(psi(np.array([10, 30]), np.array([15, 5])))


def observe_categories(n_each, bins, *, n_rows_of_none=0):
    """Rows of one segment by category a, b and c, the columns of a feature; some are of none of them."""
    categories = np.vstack([np.repeat(np.eye(3), n_each, axis=0), np.zeros((n_rows_of_none, 3))])
    X = np.column_stack([np.zeros(len(categories)), categories])
    return observe_rows(X, [[0.0] * 4], ("a",), bins=[bins])


def test_compare_measures_drift_of_a_categorical_feature_over_all_its_categories():
    reference = observe_categories([10, 20, 10], [30, 10, 0])
    current = observe_categories([10, 0, 5], [15, 0, 5], n_rows_of_none=5)
    names = ["x", "c=a", "c=b", "c=c"]
    x, *single, c = compare(reference, current, DEFAULTS, names, {"c": 3}).features
    assert (x["missing_from"], x["missing_to"]) == (0.0, 0.25)
    assert x["psi"] == pytest.approx(psi(np.array([30, 10, 0]), np.array([15, 0, 5])))
    assert [one["feature"] for one in single] == names[1:]
    for one, (then, now) in zip(single, [(10, 10), (20, 0), (10, 5)], strict=True):
        assert one["psi"] == pytest.approx(psi(np.array([then, 40 - then]), np.array([now, 20 - now])))
        assert (one["mean_from"], one["mean_to"]) == (pytest.approx(then / 40), pytest.approx(now / 20))
        assert "missing_to" not in one
    level = c.pop("psi_noise")
    assert c == {
        "feature": "c",
        "psi": pytest.approx(psi(np.array([10, 20, 10, 0]), np.array([10, 0, 5, 5]))),
        **dict.fromkeys(("mean_from", "mean_to", "mix_effect", "within_effect")),
        "unseen_from": 0.0,
        "unseen_to": pytest.approx(0.25),
    }
    assert level == pytest.approx(psi_noise(np.array([10, 20, 10, 0]), np.array([10, 0, 5, 5]), n_tests=5))


def test_compare_tells_categories_of_several_features_apart():
    X = np.array([[1, 0, 1, 0, 1], [1, 0, 0, 1, 1], [0, 1, 0, 1, 0]], dtype=float)
    reference = observe_rows(X, [[0.0] * 5], ("a",), bins=np.empty((0, 3)))
    current = observe_rows(X[1:], [[0.0] * 5], ("a",), bins=np.empty((0, 3)))
    names = ["c=a", "c=b", "d=a", "d=b", "e=a"]
    *_, c, d, e = compare(reference, current, DEFAULTS, names, {"c": 2, "d": 2, "e": 1}).features
    assert (c["feature"], d["feature"], e["feature"]) == ("c", "d", "e")
    assert c["psi"] == pytest.approx(psi(np.array([2, 1]), np.array([1, 1])))
    assert d["psi"] == pytest.approx(psi(np.array([1, 2]), np.array([0, 2])))
    assert e["psi"] == pytest.approx(psi(np.array([2, 1]), np.array([1, 1])))
    assert (e["unseen_from"], e["unseen_to"]) == (pytest.approx(1 / 3), 0.5)


def test_compare_finds_no_drift_of_a_feature_without_any_value_now():
    reference = observe_rows([[0.0], [2.0]], [[1.0]], ("a",), bins=[[1, 1, 0]])
    current = observe_rows([[0.0], [2.0]], [[1.0]], ("a",), bins=[[0, 0, 0]])
    (x,) = compare(reference, current, DEFAULTS, ["x"]).features
    assert (x["psi"], x["missing_from"], x["missing_to"]) == (0.0, 0.0, 0.0)
