"""How features are distributed in the sampled rows of each segment."""

import numpy as np
import pyarrow as pa
import pytest
from builders import look_at_rows, make_view_model
from hypothesis import given, settings
from hypothesis import strategies as st

from kmstream.distributions import (
    MAX_BINS,
    MAX_CATEGORIES,
    MAX_FEATURES,
    MAX_SEGMENTS,
    find_edges,
    tell_distributions,
)

GOLD, SILVER = "segment-01", "segment-02"


def tell(columns, ids, labels=(GOLD, SILVER), *, model=None, eta_squared=None):
    """The distributions of rows given as columns, each with the place of its segment."""
    model = model or make_view_model(tuple(columns))
    sample = pa.table(columns | {"cluster_label": [labels[i] if i >= 0 else "none of them" for i in ids]})
    eta_squared = np.linspace(0.9, 0.1, model.scaling.n_features) if eta_squared is None else np.array(eta_squared)
    return tell_distributions(sample, np.array(ids), labels, model, eta_squared)


def test_histograms_count_every_sampled_row_of_a_segment():
    rng = np.random.default_rng(0)
    columns = {"x": rng.normal(size=5000), "y": rng.lognormal(2.0, 1.0, 5000)}
    ids = np.where(columns["x"] > 1, 0, 1)
    told = tell(columns, ids, model=make_view_model(log1p=("y",)))
    assert [(one["feature"], one["kind"]) for one in told] == [("x", "numeric"), ("y", "log1p")]
    for one in told:
        assert len(one["edges"]) == MAX_BINS + 1
        assert one["edges"][-1] <= columns[one["feature"]].max()
        for i, label in enumerate((GOLD, SILVER)):
            n = (ids == i).sum()
            assert sum(one["counts"][label]) + one["beyond"][label] == n
            assert one["beyond"][label] <= 0.1 * n
            inside = (columns[one["feature"]] >= one["edges"][0]) & (columns[one["feature"]] <= one["edges"][-1])
            assert sum(one["counts"][label]) == pytest.approx((inside & (ids == i)).sum(), abs=2)  # rounded ends


def test_histogram_shows_a_small_segment_that_lies_apart_from_all():
    values = np.append(np.random.default_rng(0).normal(size=4990), np.linspace(990.0, 1000.0, 10))
    (told,) = tell({"x": values}, [0] * 4990 + [1] * 10)
    assert sum(told["counts"][SILVER]) >= 8


def test_histogram_of_few_rows_has_them_all_within():
    (told,) = tell({"x": [0.1, 0.25, 7.3]}, [0, 0, 1])
    assert (told["edges"][0], told["edges"][-1]) == (0.1, 7.3)
    assert told["beyond"] == {GOLD: 0, SILVER: 0}


@pytest.mark.parametrize(("kind", "log1p"), [("numeric", ()), ("log1p", ("x",))])
def test_histogram_of_few_whole_numbers_is_exact(kind, log1p):
    (told,) = tell({"x": [1.0, 2.0, 2.0, 4.0]}, [0, 0, 1, 1], model=make_view_model(("x",), log1p=log1p))
    assert told == {
        "feature": "x",
        "kind": kind,
        "edges": [0.5, 1.5, 2.5, 3.5, 4.5],
        "counts": {GOLD: [1, 1, 0, 0], SILVER: [0, 1, 0, 1]},
        "beyond": {GOLD: 0, SILVER: 0},
        "quantiles": {GOLD: [1.05, 1.25, 1.5, 1.75, 1.95], SILVER: [2.1, 2.5, 3.0, 3.5, 3.9]},
    }


@settings(max_examples=50)
@given(values=st.lists(st.integers(0, 3000), min_size=1, max_size=60), is_log=st.booleans())
def test_bins_of_whole_numbers_end_between_them(values, is_log):
    values = np.array(values, dtype=float)
    places = np.log1p(values) if is_log else values
    edges = find_edges(places, places.min(), places.max(), is_log=is_log)
    original = np.expm1(edges) if is_log else edges
    assert (np.diff(edges) > 0).all()
    assert len(edges) <= MAX_BINS + 2
    assert original % 1 == pytest.approx(0.5, abs=1e-6)
    assert np.histogram(places, edges)[0].sum() == len(values)


@pytest.mark.parametrize("value", [0.3, -7.25, 1e9 + 0.5])
def test_values_that_are_all_alike_have_one_bin_about_them(value):
    low, high = find_edges(np.full(5, value), value, value)
    assert (low, high) == (value - 0.5, value + 0.5)


def test_values_too_near_each_other_for_their_size_have_one_bin():
    low, high = 1e6 + 0.1, 1e6 + 0.2
    assert find_edges(np.array([low, high]), low, high).tolist() == [low - 0.5, low + 0.5]


def test_values_that_are_nearly_all_zero_have_one_bin_about_it():
    """Those that are not lie beyond the range, yet are no whole numbers."""
    assert find_edges(np.append(np.zeros(999), 0.3), 0.0, 0.0).tolist() == [-0.5, 0.5]


def test_values_less_than_a_millionth_off_a_whole_number_are_whole():
    assert find_edges(np.array([1.0 + 9e-7, 2.0, 3.0]), 1.0, 3.0).tolist() == [0.5, 1.5, 2.5, 3.5]


def test_bins_of_large_whole_numbers_hold_as_many_of_them_each():
    edges = find_edges(np.arange(300.0), 0.0, 299.0)
    assert set(np.diff(edges)) <= {9.0, 10.0}  # ends of bins 9.97 wide, taken to the nearest halves
    assert (edges[0], edges[-1]) == (-0.5, 299.5)


def test_edges_are_rounded_by_less_than_a_thousandth_of_a_bin():
    (told,) = tell({"x": 1e6 + np.linspace(0.0, 997.0, 500)}, [0] * 500)
    widths = np.diff(told["edges"])
    assert np.abs(widths - widths.mean()).max() < widths.mean() / 1000
    assert max(len(repr(edge)) for edge in told["edges"]) <= len("1000033.33")


def test_distributions_are_of_the_features_that_separate_best():
    names = [f"f{i}" for i in range(9)]
    rng = np.random.default_rng(0)
    columns = {name: rng.normal(size=60) for name in names} | {"c0": ["web", "shop"] * 30}
    eta = [0.1, float("nan"), 0.9, 0.2, 0.3, 0.4, 0.5, 0.6, 0.05, 0.02, 0.7]  # the last two are the categories of c0
    model = make_view_model(tuple(names), (("shop", "web"),))
    told = tell(columns, [0, 1] * 30, model=model, eta_squared=eta)
    best = [one["feature"] for one in told]
    assert best == ["f2", "c0", "f7", "f6", "f5", "f4"]
    assert len(best) == MAX_FEATURES
    assert told[1] == {
        "feature": "c0",
        "kind": "category",
        "categories": ["shop", "web"],
        "counts": {GOLD: [0, 30], SILVER: [30, 0]},
    }


def test_features_that_separate_alike_come_in_their_order():
    names = tuple(f"f{j:02d}" for j in range(40))
    told = tell({name: [1.0, 2.0] for name in names}, [0, 1], eta_squared=np.full(40, 0.5))
    assert [one["feature"] for one in told] == [*names[:MAX_FEATURES]]
    told = tell({name: [1.0, 2.0] for name in names}, [0, 1], eta_squared=np.tile([0.4, 0.5], 20))
    assert [one["feature"] for one in told] == [*names[1::2][:MAX_FEATURES]]


def test_a_categorical_feature_without_categories_has_no_distribution():
    model = make_view_model((), ((),))
    assert tell({"c0": pa.array([None, None], pa.string())}, [0, 1], model=model, eta_squared=[]) == []


def test_a_feature_that_does_not_vary_has_no_distribution():
    told = tell({"x": [1.0, 2.0], "y": [7.0, 7.0]}, [0, 1], eta_squared=[0.0, np.nan])
    assert [one["feature"] for one in told] == ["x"]


def test_rare_categories_are_counted_together():
    values = [f"v{i}" for i in range(20) for _ in range(20 - i)]
    told = tell({"c0": values}, [0] * len(values), model=make_view_model((), (("v0",),)))
    assert told[0]["categories"] == [*(f"v{i}" for i in range(MAX_CATEGORIES)), None]
    assert all(type(n) is int for n in told[0]["counts"][GOLD])
    assert told[0]["counts"][GOLD] == [*range(20, 20 - MAX_CATEGORIES, -1), sum(range(1, 21 - MAX_CATEGORIES))]


def test_categories_of_the_same_frequency_go_by_name():
    told = tell({"c0": ["b", "c", "a", "c"]}, [0, 0, 0, 1], model=make_view_model((), (("a",),)))
    assert (told[0]["categories"], told[0]["counts"][GOLD]) == (["c", "a", "b"], [1, 1, 1])


def test_values_that_are_missing_are_in_no_distribution():
    columns = {"x": pa.array([1.0, None, 3.0, float("nan"), 5.5]), "c0": pa.array(["a", None, "a", "b", None])}
    told = tell(columns, [0, 0, 1, 1, 1], model=make_view_model(("x",), (("a", "b"),), on_missing="mean"))
    by_feature = {one["feature"]: one["counts"] for one in told}
    assert [sum(by_feature["x"][label]) for label in (GOLD, SILVER)] == [1, 2]
    assert by_feature["c0"] == {GOLD: [1, 0], SILVER: [1, 1]}


def test_a_segment_without_a_usable_value_has_no_quantiles():
    columns = {"x": pa.array([1.0, 2.0, None])}
    (told,) = tell(columns, [0, 0, 1], model=make_view_model(("x",), on_missing="mean"))
    assert (told["quantiles"][SILVER], sum(told["counts"][SILVER])) == (None, 0)
    assert tell({"x": pa.array([None], pa.float64())}, [0], model=make_view_model(("x",), on_missing="mean")) == []


def test_rows_of_no_segment_and_of_one_too_small_to_be_shown_are_not_counted():
    labels = [f"s{i:02d}" for i in range(MAX_SEGMENTS + 1)]
    ids = [*range(MAX_SEGMENTS + 1), -1]
    columns = {"x": np.arange(MAX_SEGMENTS + 2.0) ** 3, "c0": [f"c{i:02d}" for i in range(MAX_SEGMENTS + 2)]}
    x, c = tell(columns, ids, labels, model=make_view_model(("x",), (("c00",),)), eta_squared=[0.5, 0.4])
    assert list(x["counts"]) == list(c["counts"]) == labels[:MAX_SEGMENTS]
    assert sum(map(sum, x["counts"].values())) == sum(map(sum, c["counts"].values())) == MAX_SEGMENTS
    assert x["edges"][-1] < columns["x"][MAX_SEGMENTS]
    assert sum(x["beyond"].values()) == 0


def test_distributions_show_the_largest_segments():
    labels = [f"s{i:02d}" for i in range(15) for _ in range(20 + i)]
    (told,) = look_at_rows({"x": np.arange(len(labels)) * 1.5}, labels)["distributions"]
    assert list(told["counts"]) == [f"s{i:02d}" for i in range(14, 14 - MAX_SEGMENTS, -1)]
