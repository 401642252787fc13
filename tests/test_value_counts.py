"""What every pass counts of feature values."""

import math
from collections import Counter

import numpy as np
import pyarrow as pa
from builders import make_features, make_scaling
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from kmstream.features import encode
from kmstream.value_counts import ValueCounts, count_bins
from kmstream.weights import Weighting

NAN = math.nan
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


def test_value_counts_add_the_rows_of_a_batch_to_those_before_it():
    features = make_features(categorical=("c",), on_missing="skip")
    scaling = make_scaling(categories=(("a",),))
    found = ValueCounts.empty(scaling)
    assert found.bins.dtype == np.int64
    for x, c in (([0.5, 1.0, NAN], ["a", "z", "a"]), ([0.7, 9.0], ["y", "z"])):
        found = found.add(encode(pa.table({"x": x, "c": c}), features, scaling), scaling)
    assert found.bins.tolist() == [[2, 1, 0, 1, 1]]  # below 1, to 2, to 3, from 3 on, missing
    assert found.bins.dtype == np.int64
    assert (found.skipped, found.unseen) == ({"x: missing": 1}, {"c": 3})


def test_value_counts_of_parts_add_up_whatever_the_batches():
    rng = np.random.default_rng(0)
    batch = pa.table({"x": rng.normal(2.0, 1.0, 900), "c": rng.choice(["a", "z"], 900), "w": rng.random(900)})
    batch = batch.set_column(0, "x", pa.array(np.where(rng.random(900) < 0.1, NAN, batch["x"])))
    features = make_features(categorical=("c",), on_missing="skip")
    scaling = make_scaling(categories=(("a",),))
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
    assert (merged.unseen, merged.skipped) == (whole.unseen, whole.skipped)
    assert not nothing.bins.any()
