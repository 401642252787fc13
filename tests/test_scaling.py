"""What a baseline freezes."""

import math
from typing import get_args

import numpy as np
import pytest
from builders import make_features
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from kmstream.config import FeaturesConfig
from kmstream.errors import InvalidFeatureError, TooFewRowsError
from kmstream.features import MAX_CATEGORIES, TILE_ROWS
from kmstream.scaling import learn_scaling
from kmstream.summary import ColumnSummary

NAN = math.nan


def summarise_columns(values, weights=None):
    """Summarise a block of rows, of shape (n_numeric, n_rows)."""
    values = np.asarray(values, dtype=np.float64)
    return ColumnSummary.empty(len(values)).add(list(values), weights, TILE_ROWS)


def learn(features, values, categories=None, *, weights=None):
    values = np.asarray(values, dtype=np.float64)
    columns = summarise_columns(values, weights)
    weights = np.ones(values.shape[1]) if weights is None else np.asarray(weights, dtype=np.float64)
    return learn_scaling(features, columns, list(values), weights, categories or {})


SCALINGS = get_args(FeaturesConfig.model_fields["scaling"].annotation)  # all there are
VALUES = np.array([[1.0, 2.0, 4.0, 8.0, 100.0, NAN], [5.0, -5.0, 0.0, 1.0, 2.0, 3.0]])


@pytest.mark.parametrize("scaling", SCALINGS)
def test_learn_scaling_agrees_with_numpy(scaling):
    found = learn(make_features(("x", "y"), scaling=scaling, on_missing="mean"), VALUES)
    low, middle, high = np.nanquantile(VALUES, [0.25, 0.5, 0.75], axis=1, method="inverted_cdf")
    center, scale = {
        "standard": (np.nanmean(VALUES, axis=1), np.nanstd(VALUES, axis=1)),
        "minmax": (np.nanmin(VALUES, axis=1), np.nanmax(VALUES, axis=1) - np.nanmin(VALUES, axis=1)),
        "robust": (middle, high - low),
        "none": (np.zeros(2), np.ones(2)),
    }[scaling]
    np.testing.assert_allclose(found.center, center, rtol=1e-14)
    np.testing.assert_allclose(found.scale, scale, rtol=1e-14)
    edges = np.nanquantile(VALUES, np.arange(1, 10) / 10, axis=1, method="inverted_cdf").T
    assert np.array_equal(found.edges, edges)  # values that are there


@given(
    hnp.arrays(np.float64, (2, 30), elements=st.floats(-1e3, 1e3, allow_subnormal=False)),
    st.lists(st.integers(0, 4), min_size=30, max_size=30).filter(any),
    st.sampled_from(["standard", "minmax", "robust", "none"]),
    st.sampled_from(["mean", "median"]),
)
def test_learn_scaling_counts_a_weighted_row_as_that_many_rows(values, times, scaling, on_missing):
    features = make_features(("x", "y"), scaling=scaling, on_missing=on_missing)
    weighted = learn(features, values, weights=np.array(times, dtype=np.float64))
    repeated = learn(features, np.repeat(values, times, axis=1))
    assert np.array_equal(weighted.edges, repeated.edges)
    for name in ("center", "fill"):
        np.testing.assert_allclose(getattr(weighted, name), getattr(repeated, name), rtol=1e-9, atol=1e-9)
    flat = (weighted.scale == 1.0) != (repeated.scale == 1.0)  # where spread is rounding noise, either may call it flat
    spread = np.ptp(np.repeat(values, times, axis=1), axis=1)
    assert (spread[flat] < 1e-9).all()
    np.testing.assert_allclose(weighted.scale[~flat], repeated.scale[~flat], rtol=1e-6, atol=1e-9)


def test_learn_scaling_takes_fill_values_by_the_policy():
    median = np.nanquantile(VALUES, 0.5, axis=1, method="inverted_cdf")
    for policy, expected in (("mean", np.nanmean(VALUES, axis=1)), ("median", median)):
        found = learn(make_features(("x", "y"), on_missing=policy), VALUES)
        np.testing.assert_allclose(found.fill, expected, rtol=1e-14)


@pytest.mark.parametrize("scaling", SCALINGS)
@given(value=st.floats(-1e12, 1e12), parts=st.lists(st.integers(1, 50), min_size=1, max_size=6))
def test_learn_scaling_scales_a_constant_feature_by_1(scaling, value, parts):
    blocks = [summarise_columns(np.full((1, n), value)) for n in parts]
    columns = blocks[0]
    for block in blocks[1:]:
        columns = columns.merge(block)
    sample = [np.full(sum(parts), value)]
    found = learn_scaling(make_features(scaling=scaling), columns, sample, np.ones(sum(parts)), {})
    assert found.scale.tolist() == [1.0]
    if scaling != "none":
        assert abs(found.center[0] - value) <= 1e-14 * abs(value)


@pytest.mark.parametrize("scaling", SCALINGS)
def test_learn_scaling_takes_a_spread_that_can_not_be_divided_by_for_none(scaling):
    """1 / 5e-324 is no number."""
    found = learn(make_features(("x",), scaling=scaling), [[0.0, 5e-324, 0.0, 5e-324]])
    assert found.scale.tolist() == [1.0]


@pytest.mark.parametrize(("roundings", "flat"), [(10, True), (10.5, False)])
def test_learn_scaling_takes_a_spread_of_ten_roundings_for_none(roundings, flat):
    """A rounding is 2**-52 of the largest number."""
    spread = roundings * 2.0**-52
    found = learn(make_features(scaling="minmax"), [[1.0, 1.0 - spread]])
    assert found.scale.tolist() == [1.0 if flat else spread]


@pytest.mark.parametrize(("scaling", "on_missing"), [("robust", "mean"), ("standard", "median"), ("standard", "mean")])
def test_learn_scaling_holds_no_nan_where_the_sample_missed_a_rare_feature(scaling, on_missing):
    """Nor where a row has one that counts for none. The mean stands for all of them."""
    features = make_features(scaling=scaling, on_missing=on_missing)
    columns = summarise_columns([[1.0, 2.0, NAN, NAN, NAN]])
    for value, weight in ((NAN, 1.0), (9.0, 0.0)):
        found = learn_scaling(features, columns, [np.array([value, NAN])], np.array([weight, 1.0]), {})
        assert (found.center.tolist(), found.fill.tolist(), found.edges.tolist()) == ([1.5], [1.5], [[1.5] * 9])
        assert found.scale.tolist() == [1.0 if scaling == "robust" else 0.5]


LARGEST = np.finfo(np.float64).max


@pytest.mark.parametrize("scaling", ["standard", "minmax"])
def test_learn_scaling_refuses_numbers_too_large_to_have_a_spread(scaling):
    features = make_features(("x", "y"), scaling=scaling)
    values = [[1.0, 2.0, 3.0, 4.0, 5.0], [1.0, 2.0, 3.0, LARGEST, -LARGEST]]
    with (
        np.errstate(over="ignore"),
        pytest.raises(
            InvalidFeatureError, match=r"^feature 'y' holds numbers too large to have a spread \(inf\)"
        ) as caught,
    ):
        learn(features, values)
    assert caught.value.__notes__ == ["Clean the column; such numbers often stand for a missing value."]


@pytest.mark.parametrize("scaling", ["robust", "none"])
def test_learn_scaling_by_quartiles_or_not_at_all_takes_a_few_numbers_of_any_size(scaling):
    with np.errstate(over="ignore"):
        found = learn(make_features(scaling=scaling, on_missing="median"), [[1.0, 2.0, 3.0, LARGEST, -LARGEST]])
    assert np.isfinite([found.center, found.scale, found.fill]).all()


@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize("on_missing", ["mean", "median"])
def test_learn_scaling_of_categories_alone_has_no_bins(scaling, on_missing):
    features = make_features((), categorical=("c",), scaling=scaling, on_missing=on_missing)
    found = learn_scaling(features, ColumnSummary.empty(0), [], np.ones(3), {"c": {"a": 3}})
    assert found.edges.shape == (0, 0)
    assert found.center.shape == found.scale.shape == found.fill.shape == (0,)


def test_learn_scaling_sorts_the_categories_of_each_feature():
    features = make_features((), categorical=("d", "c"))
    found = learn(features, np.empty((0, 3)), {"c": {"red": 1, "blue": 2}, "d": {"2": 3}})
    assert found.categories == (("2",), ("blue", "red"))


def test_learn_scaling_refuses_a_feature_without_any_number():
    with pytest.raises(
        TooFewRowsError, match=r"^feature 'y' has no usable value in 2 rows; expected at least one number$"
    ):
        learn(make_features(("x", "y")), [[1.0, 2.0], [NAN, NAN]])


def test_learn_scaling_refuses_more_categories_than_columns_are_given():
    features = make_features((), categorical=("c",))
    most = {f"{n:03d}": 1 for n in range(MAX_CATEGORIES)}
    assert learn(features, np.empty((0, 1)), {"c": most}).n_features == MAX_CATEGORIES
    with pytest.raises(
        InvalidFeatureError, match=r"^categorical feature 'c' has 101 values; at most 100 get a column each"
    ) as caught:
        learn(features, np.empty((0, 1)), {"c": most | {"one more": 1}})
    assert caught.value.__notes__ == ["Group the rare values, or leave the column out of features.categorical."]
