"""Columns become a matrix and go back."""

import itertools
import math
from collections import Counter
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from builders import make_features, make_rows, make_scaling
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from kmstream.errors import InvalidFeatureError, TooFewRowsError
from kmstream.features import (
    MAX_CATEGORIES,
    TILE_ROWS,
    Scaling,
    apply_missing_policy,
    clip,
    encode,
    encoded_names,
    is_categorical,
    is_numeric,
    take_columns,
    take_values,
    to_float64,
    to_original_units,
    to_scaled_units,
    to_strings,
)
from kmstream.scaling import learn_scaling
from kmstream.summary import ColumnSummary
from kmstream.value_counts import ValueCounts, count_bins
from kmstream.weights import Weighting

NAN = math.nan
POLICIES = ["error", "skip", "mean", "median"]


def summarise_columns(values, weights=None):
    """Summarise a block of rows, of shape (n_numeric, n_rows)."""
    values = np.asarray(values, dtype=np.float64)
    return ColumnSummary.empty(len(values)).add(list(values), weights, TILE_ROWS)


def learn(features, values, categories=None, *, weights=None, **keys):
    values = np.asarray(values, dtype=np.float64)
    columns = summarise_columns(values, weights)
    weights = np.ones(values.shape[1]) if weights is None else np.asarray(weights, dtype=np.float64)
    return learn_scaling(features, columns, list(values), weights, categories or {}, **keys)


NUMBERS = [
    pa.array([3, None, 0], pa.int8()),
    pa.array([3, None, 0], pa.int16()),
    pa.array([3, None, 0], pa.int32()),
    pa.array([3, None, 0], pa.int64()),
    pa.array([3, None, 0], pa.uint8()),
    pa.array([3, None, 0], pa.uint16()),
    pa.array([3, None, 0], pa.uint32()),
    pa.array([3, None, 0], pa.uint64()),
    pa.array([np.float16(3), None, np.float16(0)], pa.float16()),
    pa.array([3, None, 0], pa.float32()),
    pa.array([3, None, 0], pa.float64()),
    pa.array([Decimal("3.00"), None, Decimal("0.00")], pa.decimal128(12, 2)),
    pa.array([Decimal("3.00"), None, Decimal("0.00")], pa.decimal256(60, 2)),
]


@pytest.mark.parametrize("column", NUMBERS, ids=lambda column: str(column.type))
@pytest.mark.parametrize("form", ["array", "chunked", "dictionary", "chunked dictionary"])
def test_to_float64_reads_every_numeric_type(column, form):
    if "dictionary" in form:
        column = column.dictionary_encode()
    if "chunked" in form:
        column = pa.chunked_array([column.slice(0, 1), column.slice(1)])
    assert is_numeric(column.type)
    found = to_float64(column)
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, [3.0, NAN, 0.0])


def test_to_float64_keeps_digits_of_wide_types():
    np.testing.assert_array_equal(to_float64(pa.array([2**63, 2**64 - 2048], pa.uint64())), [2.0**63, 2.0**64 - 2048])
    np.testing.assert_array_equal(to_float64(pa.array([-(2**53), 7], pa.int64())), [-(2.0**53), 7.0])
    assert to_float64(pa.array([Decimal("123456789.123456789")])).tolist() == [123456789.123456789]


def test_to_float64_takes_booleans_for_0_and_1():
    column = pa.array([True, None, False])
    np.testing.assert_array_equal(to_float64(column), [1.0, NAN, 0.0])
    np.testing.assert_array_equal(to_float64(column.dictionary_encode()), [1.0, NAN, 0.0])


def test_to_float64_takes_a_null_column_for_all_missing():
    np.testing.assert_array_equal(to_float64(pa.nulls(2)), [NAN, NAN])


def test_to_float64_takes_a_null_inside_a_dictionary_for_missing():
    column = pa.DictionaryArray.from_arrays(pa.array([0, 1, None]), pa.array([5, None]))
    np.testing.assert_array_equal(to_float64(column), [5.0, NAN, NAN])


@pytest.mark.parametrize("kind", [pa.string(), pa.timestamp("s"), pa.date32(), pa.list_(pa.int8()), pa.binary()])
def test_is_numeric_refuses_what_is_no_number(kind):
    assert not is_numeric(kind)
    assert not is_numeric(pa.dictionary(pa.int8(), pa.string()))


@pytest.mark.parametrize("kind", [pa.float64(), pa.timestamp("s"), pa.decimal128(5, 2), pa.list_(pa.string())])
def test_is_categorical_refuses_what_has_no_few_exact_values(kind):
    assert not is_categorical(kind)


@pytest.mark.parametrize(
    ("column", "texts"),
    [
        (pa.array(["b", None, "a"]), ["b", None, "a"]),
        (pa.array(["b", None, "a"], pa.large_string()), ["b", None, "a"]),
        (pa.array(["b", None, "a"], pa.string_view()), ["b", None, "a"]),
        (pa.array(["b", None, "a"]).dictionary_encode(), ["b", None, "a"]),
        (pa.array([10, None, -1], pa.int16()), ["10", None, "-1"]),
        (pa.array([10, None, 1]).dictionary_encode(), ["10", None, "1"]),
        (pa.array([True, None, False]), ["true", None, "false"]),
        (pa.nulls(3), [None, None, None]),
    ],
    ids=lambda value: str(value.type) if isinstance(value, pa.Array) else "",
)
def test_to_strings_reads_every_categorical_type(column, texts):
    assert is_categorical(column.type)
    assert to_strings(column).to_pylist() == texts
    assert to_strings(column).type == pa.string()


def test_to_strings_joins_chunks_with_dictionaries_of_their_own():
    chunks = [pa.array(["a", "b"]).dictionary_encode(), pa.array(["c", None, "a"]).dictionary_encode()]
    assert to_strings(pa.chunked_array(chunks)).to_pylist() == ["a", "b", "c", None, "a"]
    assert to_strings(pa.chunked_array([], pa.string())).to_pylist() == []


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
    features = make_features((), categorical=("c", "d"))
    scaling = make_scaling(0, categories=(("a", "b"), ("1", "2")))
    batch = pa.table({"c": ["b", "new", "a", "new"], "d": [2, 1, 3, 2]})
    encoded = encode(batch, features, scaling)
    assert encoded.rows.X.tolist() == [[0, 1, 0, 1], [0, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0, 1]]
    assert encoded.unseen == {"c": 2, "d": 1}
    assert encoded.rows.keep.all()


def test_encode_keeps_the_columns_of_the_baseline_whatever_the_batch_holds():
    features = make_features((), categorical=("c",))
    scaling = learn(features, np.empty((0, 3)), {"c": {"red": 1, "blue": 2}})
    assert encoded_names(features, scaling) == ("c=blue", "c=red")
    assert encode(pa.table({"c": ["red"]}), features, scaling).rows.X.tolist() == [[0.0, 1.0]]
    assert encode(pa.table({"c": ["blue", "green"]}), features, scaling).rows.X.tolist() == [[1.0, 0.0], [0.0, 0.0]]


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


def test_rows_select_tells_a_whole_tile_from_one_with_gaps():
    rows = make_rows(np.zeros((4, 1)), [True, True, False, True], [1.0, 2.0, 3.0, 4.0])
    kept, weights = rows.select(slice(0, 2))
    assert (kept, weights.tolist()) == (None, [1.0, 2.0])
    kept, weights = rows.select(slice(2, 4))
    assert (kept.tolist(), weights.tolist()) == ([False, True], [4.0])
    assert make_rows(np.zeros((4, 1))).select(slice(0, 4)) == (None, None)


def test_rows_kept_are_no_others():
    rows = make_rows([[1.0], [2.0], [3.0]], [True, False, True], [1.0, 2.0, 3.0]).kept()
    assert (rows.X.tolist(), rows.keep.tolist(), rows.weights.tolist()) == ([[1.0], [3.0]], [True, True], [1.0, 3.0])
    whole = make_rows([[1.0]])
    assert whole.kept() is whole


def test_clip_bounds_rows_and_keeps_their_weights():
    rows = make_rows([[-9.0], [0.5]], [True, False], [2.0, 3.0])
    bound = clip(rows, make_features(clip=1.5))
    assert (bound.X.tolist(), bound.keep.tolist(), bound.weights.tolist()) == (
        [[-1.5], [0.5]],
        [True, False],
        [2.0, 3.0],
    )
    assert clip(rows, make_features()) is rows


finite = st.floats(-1e6, 1e6, allow_subnormal=False)


@given(
    hnp.arrays(np.float64, st.tuples(st.just(1), st.integers(0, 50)), elements=st.one_of(finite, st.just(NAN))),
    st.lists(finite, min_size=1, max_size=9).map(sorted),
)
def test_count_bins_agrees_with_numpy(values, edges):
    usable = values[0][~np.isnan(values[0])]
    expected = np.bincount(np.searchsorted(edges, usable, side="right"), minlength=len(edges) + 1)
    found = count_bins(values, np.array([edges]))
    assert found[0, :-1].tolist() == expected.tolist()
    assert found[0, -1] == np.isnan(values).sum()
    assert found.sum() == values.size


@given(
    hnp.arrays(np.float64, 60, elements=st.one_of(st.floats(-5, 5), st.sampled_from([1.0, 2.0, 3.0, NAN]))),
    st.lists(st.integers(0, 4), min_size=60, max_size=60),
    st.sampled_from(["skip", "mean"]),
)
def test_value_counts_count_a_weighted_row_as_that_many_rows(values, times, policy):
    features, scaling = make_features(on_missing=policy), make_scaling()
    batch = pa.table({"x": values, "w": times})
    weighted = ValueCounts.empty(scaling, np.float64).add(encode(batch, features, scaling, Weighting("w")), scaling)
    repeated = batch.take(np.repeat(np.arange(60), times))
    unweighted = ValueCounts.empty(scaling).add(encode(repeated, features, scaling), scaling)
    assert np.array_equal(weighted.bins, unweighted.bins)
    assert weighted.skipped == Counter(
        encode(batch, features, scaling).skipped
    )  # rows of the file, whatever they weigh


def test_value_counts_of_parts_add_up_whatever_the_batches():
    rng = np.random.default_rng(0)
    batch = pa.table({"x": rng.normal(2.0, 1.0, 900), "c": rng.choice(["a", "z"], 900), "w": rng.random(900)})
    features, scaling = make_features(categorical=("c",)), make_scaling(categories=(("a",),))
    parts = [encode(batch.slice(at, n), features, scaling, Weighting("w")) for at, n in ((0, 1), (1, 500), (501, 399))]
    nothing = ValueCounts.empty(scaling, np.float64)
    one_by_one = nothing
    for part in parts:
        one_by_one = one_by_one.add(part, scaling)
    whole = nothing.add(encode(batch, features, scaling, Weighting("w")), scaling)
    assert one_by_one.bins.tobytes() == whole.bins.tobytes()
    assert one_by_one.unseen == whole.unseen
    merged = nothing.add(parts[0], scaling).merge(nothing.add(parts[1], scaling).add(parts[2], scaling))
    np.testing.assert_allclose(merged.bins, whole.bins, rtol=1e-12)
    assert merged.unseen == whole.unseen
    assert not nothing.bins.any()


def test_apply_missing_policy_gives_a_row_the_first_of_its_reasons():
    unusable = {"x: missing": np.array([True, False, False]), "y: missing": np.array([True, True, False])}
    keep, skipped = apply_missing_policy(unusable, 3, make_features(("x", "y"), on_missing="skip"))
    assert (keep.tolist(), skipped) == ([False, False, True], {"x: missing": 1, "y: missing": 1})


def test_take_columns_takes_rows_in_original_units():
    batch = pa.table({"c": [7, 8, 9], "x": pa.array([1, None, 3], pa.int8()), "id": [0, 1, 2]})
    found = take_columns(batch, make_features(categorical=("c",), log1p=("x",)), np.array([1, 2]))
    assert found.to_pydict() == {"x": [None, 3.0], "c": ["8", "9"]}


VALUES = np.array([[1.0, 2.0, 4.0, 8.0, 100.0, NAN], [5.0, -5.0, 0.0, 1.0, 2.0, 3.0]])


@pytest.mark.parametrize("scaling", ["standard", "minmax", "robust", "none"])
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


@pytest.mark.parametrize("scaling", ["standard", "minmax", "robust", "none"])
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


@pytest.mark.parametrize(("scaling", "on_missing"), [("robust", "mean"), ("standard", "median"), ("standard", "mean")])
def test_learn_scaling_holds_no_nan_where_the_sample_missed_a_rare_feature(scaling, on_missing):
    columns, sample = summarise_columns([[1.0, 2.0, NAN, NAN, NAN]]), [np.full(2, NAN)]
    found = learn_scaling(make_features(scaling=scaling, on_missing=on_missing), columns, sample, np.ones(2), {})
    for values in (found.center, found.scale, found.fill, found.edges):
        assert np.isfinite(values).all()


@pytest.mark.parametrize("scaling", ["standard", "minmax", "robust", "none"])
def test_learn_scaling_with_a_number_near_the_end_of_float64_is_finite_or_refused(scaling):
    values = [[1.0, 2.0, 3.0, np.finfo(np.float64).max, -np.finfo(np.float64).max]]
    with np.errstate(over="ignore"):
        try:
            found = learn(make_features(scaling=scaling), values)
        except InvalidFeatureError:
            return
    assert np.isfinite(found.center).all()
    assert np.isfinite(found.scale).all()


def test_learn_scaling_refuses_a_feature_without_any_number():
    with pytest.raises(TooFewRowsError, match=r"feature 'y' has no usable value in 2 rows"):
        learn(make_features(("x", "y")), [[1.0, 2.0], [NAN, NAN]])


def test_learn_scaling_refuses_more_categories_than_columns_are_given():
    features = make_features((), categorical=("c",))
    most = {f"{n:03d}": 1 for n in range(MAX_CATEGORIES)}
    assert learn(features, np.empty((0, 1)), {"c": most}).n_features == MAX_CATEGORIES
    with pytest.raises(InvalidFeatureError, match="'c' has 101 values; at most 100"):
        learn(features, np.empty((0, 1)), {"c": most | {"one more": 1}})


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


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=30), st.sampled_from(["standard", "minmax", "robust", "none"]))
def test_to_original_units_undoes_encode(values, scaling_name):
    features = make_features(("x", "y"), log1p=("y",), scaling=scaling_name)
    batch = pa.table({"x": values, "y": values[::-1]})
    scaling = learn(features, take_values(batch, features).numeric)
    X = encode(batch, features, scaling).rows.X
    original = to_original_units(X, features, scaling)
    # float32 has seven digits of the scaled value
    size = 3e-7 * (np.abs(X).max() * scaling.scale.max() + np.abs(scaling.center).max() + 1)
    np.testing.assert_allclose(original[:, 0], values, rtol=1e-6, atol=size)
    np.testing.assert_allclose(np.log1p(original[:, 1]), np.log1p(values[::-1]), rtol=1e-6, atol=size)


def test_to_original_units_changes_nothing_in_its_argument():
    X = np.ones((1, 1))
    to_original_units(X, make_features(log1p=("x",)), make_scaling(center=2.0))
    to_scaled_units(X, make_features(log1p=("x",)), make_scaling(center=2.0))
    assert X.tolist() == [[1.0]]
