"""Columns become a matrix and go back."""

import itertools
import math
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from builders import make_features, make_rows, make_scaling
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from kmstream.errors import InvalidFeatureError
from kmstream.features import (
    Scaling,
    apply_missing_policy,
    clip,
    count_categories,
    encode,
    encoded_names,
    take_columns,
    take_values,
    to_original_units,
    to_scaled_units,
)
from kmstream.weights import Weighting

NAN = math.nan
POLICIES = ["error", "skip", "mean", "median"]


def test_take_values_applies_log1p_only_where_it_is_named():
    values = take_values(pa.table({"x": [0.0, 1.0], "y": [0.0, 1.0]}), make_features(("x", "y"), log1p=("y",)))
    np.testing.assert_array_equal(values.numeric, [[0.0, 1.0], [0.0, np.log1p(1.0)]])
    assert values.unusable == {}


def test_take_values_finds_no_log1p_at_minus_1_and_below():
    values = take_values(pa.table({"x": [-1.0, -2.5, -0.5, None, 3.0]}), make_features(log1p=("x",)))
    np.testing.assert_array_equal(values.numeric[0], [NAN, NAN, np.log1p(-0.5), NAN, np.log1p(3.0)])
    assert {reason: rows.tolist() for reason, rows in values.unusable.items()} == {
        "x: missing": [False, False, False, True, False],
        "x: log1p of a value <= -1": [True, True, False, False, False],
    }


@pytest.mark.parametrize("bad", [None, NAN, math.inf, -math.inf])
def test_encode_treats_null_nan_and_infinities_alike(bad):
    batch = pa.table({"x": pa.array([1.0, bad, 3.0])})
    with pytest.raises(
        InvalidFeatureError, match=r"feature 'x' is missing in 1 of 3 rows; k-means needs finite numbers"
    ) as caught:
        encode(batch, make_features(), make_scaling())
    assert caught.value.first_row == 1

    skip = encode(batch, make_features(on_missing="skip"), make_scaling())
    assert (skip.rows.keep.tolist(), skip.skipped) == ([True, False, True], {"x: missing": 1})
    assert np.isfinite(skip.rows.X).all()

    for policy in ("mean", "median"):
        filled = encode(batch, make_features(on_missing=policy), make_scaling(center=2.0, scale=5.0))
        assert (filled.rows.keep.all(), filled.skipped) == (True, {})
        np.testing.assert_allclose(filled.rows.X[:, 0], [-0.2, 1.0, 0.2], rtol=1e-6)  # 7 is the fill value


@pytest.mark.parametrize("value", [-1.0, -7.0])
def test_encode_treats_a_value_without_log1p_as_missing(value):
    batch = pa.table({"x": [0.0, value]})
    with pytest.raises(InvalidFeatureError, match=r"'x' is <= -1, which has no log1p, in 1 of 2 rows"):
        encode(batch, make_features(log1p=("x",)), make_scaling())
    skip = encode(batch, make_features(log1p=("x",), on_missing="skip"), make_scaling())
    assert (skip.rows.keep.tolist(), skip.skipped) == ([True, False], {"x: log1p of a value <= -1": 1})
    filled = encode(batch, make_features(log1p=("x",), on_missing="mean"), make_scaling())
    assert filled.rows.X[:, 0].tolist() == [0.0, 7.0]


def test_encode_skips_a_row_without_its_category():
    features = make_features(categorical=("c",), on_missing="skip")
    encoded = encode(pa.table({"x": [1.0, 2.0], "c": ["a", None]}), features, make_scaling(categories=(("a",),)))
    assert (encoded.rows.keep.tolist(), encoded.skipped, encoded.unseen) == ([True, False], {"c: missing": 1}, {})


def test_encode_gives_a_missing_category_zeros_where_values_are_filled_in():
    features = make_features((), categorical=("c",), on_missing="mean")
    encoded = encode(pa.table({"c": ["a", None]}), features, make_scaling(0, categories=(("a", "b"),)))
    assert (encoded.rows.X.tolist(), encoded.rows.keep.tolist()) == ([[1.0, 0.0], [0.0, 0.0]], [True, True])


@given(st.lists(st.tuples(*[st.sampled_from([1.0, None, NAN, -3.0])] * 2), max_size=20))
def test_encode_counts_each_skipped_row_once(rows):
    batch = pa.table(
        {"x": pa.array([x for x, _ in rows], pa.float64()), "y": pa.array([y for _, y in rows], pa.float64())}
    )
    encoded = encode(batch, make_features(("x", "y"), log1p=("y",), on_missing="skip"), make_scaling(2))
    assert sum(encoded.skipped.values()) == np.count_nonzero(~encoded.rows.keep)
    usable = [x is not None and not math.isnan(x) and y == 1.0 for x, y in rows]
    assert encoded.rows.keep.tolist() == usable


def test_encode_gives_an_unseen_category_zeros_and_counts_it():
    features = make_features((), categorical=("c", "d", "e"))
    scaling = make_scaling(0, categories=(("a", "b"), ("1", "2"), ("true",)))
    batch = pa.table({"c": ["b", "new", "a", "new"], "d": [2, 1, 3, 2], "e": [True, True, True, False]})
    encoded = encode(batch, features, scaling)
    assert encoded.rows.X.tolist() == [[0, 1, 0, 1, 1], [0, 0, 1, 0, 1], [1, 0, 0, 0, 1], [0, 0, 0, 1, 0]]
    assert encoded.unseen == {"c": 2, "d": 1, "e": 1}
    assert count_categories(features, scaling) == {"c": 2, "d": 2, "e": 1}
    assert encoded.rows.keep.all()


def test_encode_of_a_feature_that_was_empty_at_the_baseline_has_no_column():
    features, scaling = make_features(categorical=("c",), on_missing="mean"), make_scaling(categories=((),))
    encoded = encode(pa.table({"x": [1.0, 2.0], "c": ["a", None]}), features, scaling)
    assert (encoded.rows.X.tolist(), encoded.unseen) == ([[1.0], [2.0]], {"c": 1})


def test_encode_keeps_the_columns_of_the_baseline_whatever_the_batch_holds():
    features = make_features((), categorical=("c",))
    scaling = make_scaling(0, categories=(("blue", "red"),))
    assert encoded_names(features, scaling) == ("c=blue", "c=red")
    assert encode(pa.table({"c": ["red"]}), features, scaling).rows.X.tolist() == [[0.0, 1.0]]
    assert encode(pa.table({"c": ["blue", "green"]}), features, scaling).rows.X.tolist() == [[1.0, 0.0], [0.0, 0.0]]


def test_encode_gives_rows_their_weights_and_refuses_one_that_is_missing_as_it_does_a_feature():
    batch = pa.table({"x": [1.0, 2.0, 3.0], "w": [0.5, None, None]})
    skip = encode(batch, make_features(on_missing="skip"), make_scaling(), Weighting("w"))
    assert (skip.rows.weights.tolist(), skip.rows.keep.all()) == ([0.5, 0.0, 0.0], True)
    with pytest.raises(
        InvalidFeatureError, match=r"^features\.weight 'w' is missing or infinite in 2 of 3 rows$"
    ) as caught:
        encode(batch, make_features(), make_scaling(), Weighting("w"))
    assert caught.value.first_row == 1
    assert caught.value.cure.startswith("Name another column, or set features.on_missing to skip")


@pytest.mark.parametrize("policy", POLICIES)
def test_encode_of_no_rows_is_empty(policy):
    features = make_features(categorical=("c",), on_missing=policy)
    batch = pa.table({"x": pa.array([], pa.float64()), "c": pa.array([], pa.string())})
    encoded = encode(batch, features, make_scaling(categories=(("a", "b"),)))
    assert (encoded.rows.X.shape, encoded.rows.keep.shape) == ((0, 3), (0,))
    assert [column.shape for column in encoded.numeric] == [(0,)]


@given(st.lists(st.integers(0, 10_000), max_size=4), st.sampled_from(["skip", "mean"]))
def test_encode_gives_the_same_rows_however_they_are_batched(cuts, policy):
    rng = np.random.default_rng(0)
    x = rng.lognormal(size=10_000)
    x[rng.integers(0, 10_000, 50)] = NAN
    batch = pa.table({"x": x, "y": rng.integers(-2, 9, 10_000), "c": rng.choice(["a", "b", "z"], 10_000)})
    features = make_features(("x", "y"), categorical=("c",), log1p=("y",), on_missing=policy)
    scaling = make_scaling(2, center=0.3, scale=1.7, categories=(("a", "b"),))
    whole = encode(batch, features, scaling)
    borders = [0, *sorted(cuts), 10_000]
    parts = [encode(batch.slice(a, b - a), features, scaling) for a, b in itertools.pairwise(borders)]
    assert np.concatenate([part.rows.X for part in parts]).tobytes() == whole.rows.X.tobytes()
    assert np.array_equal(np.concatenate([part.rows.keep for part in parts]), whole.rows.keep)
    for j, column in enumerate(whole.numeric):
        assert np.concatenate([part.numeric[j] for part in parts]).tobytes() == column.tobytes()
    for reason, count in whole.skipped.items():
        assert sum(part.skipped.get(reason, 0) for part in parts) == count
    assert sum(part.unseen.get("c", 0) for part in parts) == whole.unseen["c"]


def test_encode_gives_records_the_numbers_that_rows_of_files_have():
    features = make_features(("amount", "visits"), categorical=("store", "member"), log1p=("visits",))
    scaling = make_scaling(2, center=1.5, scale=3.0, categories=(("10", "20"), ("false", "true")))
    file = pa.table(
        {
            "id": [1, 2],
            "store": pa.array([10, 30], pa.int32()).dictionary_encode(),
            "amount": pa.array([Decimal("1.25"), Decimal("7.50")]),
            "visits": pa.array([4, 0], pa.uint8()),
            "member": [True, False],
        }
    )
    records = pa.Table.from_pylist(
        [
            {"amount": 1.25, "visits": 4, "store": 10, "member": True},
            {"amount": 7.5, "visits": 0, "store": 30, "member": False},
        ]
    )
    from_file, from_records = encode(file, features, scaling), encode(records, features, scaling)
    assert from_file.rows.X.tobytes() == from_records.rows.X.tobytes()
    assert from_file.unseen == from_records.unseen == {"store": 1}
    one = encode(records.slice(1, 1), features, scaling)
    assert one.rows.X.tobytes() == from_file.rows.X[1:].tobytes()


@pytest.mark.parametrize("value", [1e39, -1e300])
def test_encode_never_gives_an_infinite_number(value):
    encoded = encode(pa.table({"x": [1.0, value]}), make_features(on_missing="skip"), make_scaling())
    assert np.isfinite(encoded.rows.X[encoded.rows.keep]).all()


@pytest.mark.parametrize("value", [1e39, -1e300, 1e16])
def test_encode_bounds_what_lies_so_far_that_its_square_is_no_float32(value):
    x = encode(pa.table({"x": [1.0, value]}), make_features(), make_scaling()).rows.X[:, 0]
    assert x.tolist() == [1.0, math.copysign(np.float32(1e15), value)]
    assert np.isfinite(np.square(x)).all()


@pytest.mark.parametrize(("value", "center", "scale"), [(1e6, 0.0, 1e-10), (0.0, -1e16, 1.0), (0.0, -1e14, 1e-3)])
def test_encode_bounds_what_only_center_and_scale_put_so_far(value, center, scale):
    x = encode(pa.table({"x": [value]}), make_features(), make_scaling(center=center, scale=scale)).rows.X
    assert x.tolist() == [[np.float32(1e15)]]


def test_encode_scales_alike_whatever_else_is_in_the_batch():
    """A batch with a missing or a huge value goes another way through the arithmetic, to the same numbers."""
    values = np.random.default_rng(0).lognormal(3.0, 2.0, 40_000)
    features, scaling = make_features(on_missing="mean"), make_scaling(center=12.3, scale=7.7)
    plain = encode(pa.table({"x": values}), features, scaling).rows.X[:, 0]
    np.testing.assert_array_equal(plain, ((values - 12.3) * (1 / 7.7)).astype(np.float32))
    for other in (NAN, 1e300):
        beside = encode(pa.table({"x": np.append(values, other)}), features, scaling).rows.X[:-1, 0]
        assert beside.tobytes() == plain.tobytes()


def test_encode_leaves_the_columns_of_a_batch_as_they_are():
    batch = pa.table({"x": [1.0, 2.0, 3.0], "w": [1.0, 2.0, 3.0]})
    before = batch.to_pydict()
    encoded = encode(batch, make_features(log1p=("x",)), make_scaling(), Weighting("w"))
    clip(encoded.rows, make_features(clip=0.5))
    assert batch.to_pydict() == before


def test_rows_take_gives_those_that_are_asked_for():
    rows = make_rows([[1.0], [2.0], [3.0]], [True, False, True], [1.0, 2.0, 3.0])
    for which in (slice(1, None), np.array([False, True, True]), np.array([1, 2])):
        some = rows.take(which)
        assert (some.X.tolist(), some.keep.tolist(), some.weights.tolist()) == ([[2.0], [3.0]], [False, True], [2, 3])
    assert make_rows([[1.0], [2.0]]).take(slice(1)).weights is None


def test_rows_kept_are_no_others():
    rows = make_rows([[1.0], [2.0], [3.0]], [True, False, True], [1.0, 2.0, 3.0]).kept()
    assert (rows.X.tolist(), rows.keep.tolist(), rows.weights.tolist()) == ([[1.0], [3.0]], [True, True], [1.0, 3.0])
    whole = make_rows([[1.0]])
    assert np.shares_memory(whole.kept().X, whole.X)


def test_clip_bounds_rows_and_keeps_their_weights():
    rows = make_rows([[-9.0], [0.5], [9.0]], [True, False, True], [2.0, 3.0, 4.0])
    bound = clip(rows, make_features(clip=1.5))
    assert bound.X.tolist() == [[-1.5], [0.5], [1.5]]
    assert (bound.keep.tolist(), bound.weights.tolist()) == ([True, False, True], [2.0, 3.0, 4.0])
    assert clip(rows, make_features()) is rows


def test_apply_missing_policy_gives_a_row_the_first_of_its_reasons():
    unusable = {"x: missing": np.array([True, False, False]), "y: missing": np.array([True, True, False])}
    keep, skipped = apply_missing_policy(unusable, 3, make_features(("x", "y"), on_missing="skip"))
    assert (keep.tolist(), skipped) == ([False, False, True], {"x: missing": 1, "y: missing": 1})


def test_apply_missing_policy_names_a_feature_as_its_column_is_called():
    with pytest.raises(InvalidFeatureError, match=r"^feature 'paid: in EUR' is missing in 2 of 3 rows; k-means needs"):
        apply_missing_policy({"paid: in EUR: missing": np.array([True, False, True])}, 3, make_features())


def test_take_columns_takes_rows_in_original_units():
    batch = pa.table({"c": [7, 8, 9], "x": pa.array([1, None, 3], pa.int8()), "id": [0, 1, 2]})
    found = take_columns(batch, make_features(categorical=("c",), log1p=("x",)), np.array([1, 2]))
    assert found.to_pydict() == {"x": [None, 3.0], "c": ["8", "9"]}


@given(
    hnp.arrays(np.float64, (4, 3), elements=st.floats(-5, 5)),
    st.lists(st.floats(-3, 3), min_size=2, max_size=2),
    st.lists(st.floats(0.01, 5), min_size=2, max_size=2),
)
def test_to_scaled_units_undoes_to_original_units(X, center, scale):
    features = make_features(("x", "y"), categorical=("c",), log1p=("y",))
    scaling = Scaling(np.array(center), np.array(scale), np.zeros(2), np.zeros((2, 9)), (("a",),))
    original = to_original_units(X, features, scaling)
    back = to_scaled_units(original, features, scaling)
    assert np.array_equal(original[:, 2], X[:, 2])
    # what log1p keeps near -1 limits what can come back
    tolerance = 1e-9 + 1e-14 * np.exp(np.abs(X[:, 1] * scaling.scale[1] + scaling.center[1])) / scaling.scale[1]
    assert (np.abs(back - X).max(axis=1) <= tolerance + 1e-12 * np.abs(X).max()).all()


@given(
    st.lists(st.floats(0, 1e6), min_size=1, max_size=30),
    st.sampled_from([0.0, -3.0, 1e5]),
    st.sampled_from([1.0, 0.2, 1e4]),
)
def test_to_original_units_undoes_encode(values, center, scale):
    features = make_features(("x", "y"), log1p=("y",))
    batch = pa.table({"x": values, "y": values[::-1]})
    scaling = make_scaling(2, center=center, scale=scale)
    X = encode(batch, features, scaling).rows.X
    original = to_original_units(X, features, scaling)
    # float32 has seven digits of the scaled value
    size = 3e-7 * (np.abs(X).max() * scale + abs(center) + 1)
    np.testing.assert_allclose(original[:, 0], values, rtol=1e-6, atol=size)
    np.testing.assert_allclose(np.log1p(original[:, 1]), np.log1p(values[::-1]), rtol=1e-6, atol=size)


def test_to_original_units_changes_nothing_in_its_argument():
    X = np.ones((1, 1))
    to_original_units(X, make_features(log1p=("x",)), make_scaling(center=2.0))
    to_scaled_units(X, make_features(log1p=("x",)), make_scaling(center=2.0))
    assert X.tolist() == [[1.0]]


def test_units_are_turned_with_the_digits_of_a_float64():
    X, scaling = np.array([[1 / 3]], dtype=np.float32), make_scaling(center=1e5, scale=7.7)
    assert to_original_units(X, make_features(), scaling).tolist() == [[float(X[0, 0]) * 7.7 + 1e5]]
    assert to_scaled_units(X, make_features(), scaling).tolist() == [[(float(X[0, 0]) - 1e5) / 7.7]]
