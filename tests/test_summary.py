"""What a pass leaves behind merges like a sum."""

import itertools

import numpy as np
import pytest
from builders import bits_of, chunks, make_blobs, make_rows, no_deviations, summarise_rows
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from kmstream.clustering import assign_rows
from kmstream.features import TILE_ROWS
from kmstream.summary import (
    N_DISTANCE_BINS,
    ClusterSummary,
    ColumnSummary,
    add_distances,
    distance_bin_ends,
    merge_moments,
    sample_positions,
    thin_positions,
)


def summarise_columns(values, counted=None, tile_rows=64):
    """Summarise a block of rows, of shape (n_numeric, n_rows)."""
    return ColumnSummary.empty(len(values)).add(list(values), counted, tile_rows)


def merge_all(parts, order):
    """Merge neighbours in the order given, until one is left: any binary tree over the parts."""
    parts = list(parts)
    for pick in order:
        if len(parts) > 1:
            i = pick % (len(parts) - 1)
            parts[i : i + 2] = [parts[i].merge(parts[i + 1])]
    while len(parts) > 1:
        parts[:2] = [parts[0].merge(parts[1])]
    return parts[0]


cuts = st.lists(st.integers(0, 200), max_size=8).map(sorted)
orders = st.lists(st.integers(0, 100), max_size=8)
values = hnp.arrays(
    np.float64, (2, 200), elements=st.one_of(st.floats(-1e3, 1e3, allow_subnormal=False), st.just(float("nan")))
)


@given(values, cuts, orders, st.sampled_from([0.0, 1e6]))
def test_column_summary_merged_in_any_grouping_agrees_with_numpy(values, cuts, order, offset):
    values = values + offset
    borders = [0, *cuts, 200]
    parts = [summarise_columns(values[:, a:b]) for a, b in itertools.pairwise(borders)]
    found = merge_all(parts, order)
    usable = ~np.isnan(values)
    assert found.n.tolist() == usable.sum(axis=1).tolist()
    assert found.missing.tolist() == (~usable).sum(axis=1).tolist()
    for j, row in enumerate(values):
        kept = row[usable[j]]
        if len(kept):
            assert (found.low[j], found.high[j]) == (kept.min(), kept.max())
            np.testing.assert_allclose(found.mean[j], kept.mean(), rtol=1e-12, atol=1e-9)
            np.testing.assert_allclose(found.variance[j], kept.var(), rtol=1e-9, atol=1e-12 * max(offset, 1e3) ** 2)
        else:
            assert (found.mean[j], found.m2[j], found.low[j], found.high[j]) == (0.0, 0.0, np.inf, -np.inf)


def test_column_summary_loses_no_digits_far_from_zero():
    values = 1e9 + np.random.default_rng(0).normal(size=(1, 20_000))
    found = merge_all([summarise_columns(values[:, i : i + 100]) for i in range(0, 20_000, 100)], [])
    np.testing.assert_allclose(found.variance, values.var(axis=1), rtol=1e-8)


def test_column_summary_of_no_rows_is_the_neutral_element():
    some, none = summarise_columns(np.array([[1.0, 3.0]])), ColumnSummary.empty(1)
    assert bits_of(summarise_columns(np.empty((1, 0)))) == bits_of(none)
    for merged in (some.merge(none), none.merge(some)):
        assert (merged.n, merged.mean, merged.m2, merged.low, merged.high) == (2, 2.0, 2.0, 1.0, 3.0)


@given(values, st.lists(st.integers(0, 3), min_size=200, max_size=200), st.sampled_from([16, 64, 1000]))
def test_column_summary_counts_a_weighted_row_as_that_many_rows(values, times, tile_rows):
    weighted = summarise_columns(values, np.array(times, dtype=np.float64), tile_rows)
    repeated = summarise_columns(np.repeat(values, times, axis=1), None, tile_rows)
    for name in ("n", "missing", "low", "high"):
        assert np.array_equal(getattr(weighted, name), getattr(repeated, name)), name
    np.testing.assert_allclose(weighted.mean, repeated.mean, rtol=1e-12, atol=1e-9)
    np.testing.assert_allclose(weighted.variance, repeated.variance, rtol=1e-9, atol=1e-9)


def test_column_summary_of_weights_below_1_is_as_exact():
    values, weights = np.random.default_rng(0).normal(5.0, 2.0, (2, 1000)), np.random.default_rng(1).random(1000) / 1e4
    found = summarise_columns(values, weights)
    mean = np.average(values, axis=1, weights=weights)
    np.testing.assert_allclose(found.n, weights.sum(), rtol=1e-12)
    np.testing.assert_allclose(found.mean, mean, rtol=1e-12)
    variance = np.average(np.square(values - mean[:, None]), axis=1, weights=weights)
    np.testing.assert_allclose(found.variance, variance, rtol=1e-12)


LONG = np.random.default_rng(2).normal(3.0, 1.0, (2, 3 * TILE_ROWS + 50))
HOLES = np.where(np.random.default_rng(3).random(LONG.shape) < 0.001, np.nan, LONG)
HOLES[:, :TILE_ROWS] = LONG[:, :TILE_ROWS]  # one tile has none
COUNTED = {
    "none": None,
    "all": np.ones(LONG.shape[1], dtype=np.int64),
    "some": ((np.arange(LONG.shape[1]) % 100 > 0) | (np.arange(LONG.shape[1]) < TILE_ROWS)).astype(np.int64),
    "weights": np.random.default_rng(4).gamma(1.0, size=LONG.shape[1]),
}
TILE_ENDS = [TILE_ROWS, 2 * TILE_ROWS, 3 * TILE_ROWS]


@pytest.mark.parametrize("counted", COUNTED)
@pytest.mark.parametrize("values", [LONG, HOLES], ids=["whole", "holes"])
def test_column_summary_has_the_same_bits_however_rows_are_batched(values, counted):
    weights = COUNTED[counted]
    whole = bits_of(ColumnSummary.empty(2).add(list(values), weights, TILE_ROWS))
    for n_cuts in (1, 2, 3):
        for cuts in itertools.combinations(TILE_ENDS, n_cuts):
            total = ColumnSummary.empty(2)
            for chunk in chunks([0, *cuts, LONG.shape[1]]):
                columns = [column[chunk].copy() for column in values]
                total = total.add(columns, None if weights is None else weights[chunk], TILE_ROWS)
            assert bits_of(total) == whole


def test_column_summary_of_rows_that_all_count_is_the_same_to_the_bit_whether_that_is_said_or_not():
    """A batch without a skipped row says nothing; the same rows in a larger batch, beside a skipped one, do."""
    said, unsaid = (ColumnSummary.empty(2).add(list(LONG), COUNTED[name], TILE_ROWS) for name in ("all", "none"))
    assert bits_of(said) == bits_of(unsaid)


def test_merge_moments_of_two_empty_groups_is_zero():
    mean, m2 = merge_moments((np.array(0), np.array(0)), (np.array(0.0), np.array(0.0)), (np.array(0.0), np.array(0.0)))
    assert (mean, m2) == (0.0, 0.0)


CENTROIDS = np.array([[0.0, 0.0], [4.0, 0.0], [0.0, 4.0]])


@given(cuts, orders)
def test_cluster_summary_merged_in_any_grouping_agrees_with_numpy(cuts, order):
    X, _ = make_blobs([[0.3, 0.2], [4.1, 0.0]], 100, spread=1.0)  # the third cluster gets few rows or none
    borders = [0, *cuts, 200]
    parts = [summarise_rows(X[a:b], CENTROIDS) for a, b in itertools.pairwise(borders)]
    found = merge_all(parts, order)
    squares = np.square(X[:, None, :].astype(np.float64) - CENTROIDS).sum(axis=2)
    ids = squares.argmin(axis=1)
    assert found.rows.tolist() == np.bincount(ids, minlength=3).tolist()
    assert found.n_rows == 200
    assert found.distance_counts.sum(axis=1).tolist() == found.rows.tolist()
    for i in range(3):
        rows = X[ids == i].astype(np.float64)
        np.testing.assert_allclose(found.sse[i], squares[ids == i, i].sum(), rtol=1e-10)
        np.testing.assert_allclose(found.mean[i], rows.mean(axis=0) if len(rows) else [0, 0], rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(found.m2[i], rows.var(axis=0) * len(rows) if len(rows) else [0, 0], atol=1e-9)
    np.testing.assert_allclose(found.inertia_per_row, squares.min(axis=1).mean(), rtol=1e-10)
    assert found.shares.sum() == pytest.approx(1.0)


def test_cluster_summary_empty_is_the_neutral_element():
    some, none = summarise_rows([[0.0, 1.0], [4.0, 3.0]], CENTROIDS), ClusterSummary.empty(3, 2)
    for merged in (some.merge(none), none.merge(some)):
        for name in ("rows", "mean", "m2", "sse", "distance_counts"):
            assert np.array_equal(getattr(merged, name), getattr(some, name)), name
    assert (none.n_rows, none.inertia_per_row, none.shares.tolist()) == (0, 0.0, [0.0, 0.0, 0.0])
    assert none.distance_quantile(0.99).tolist() == [0.0, 0.0, 0.0]


def test_deviation_sums_merged_are_those_of_all_rows():
    X, _ = make_blobs(CENTROIDS, 100, spread=1.0)
    rows = make_rows(X, weights=np.random.default_rng(0).random(300))
    whole = assign_rows(rows, no_deviations(CENTROIDS, weighted=True))[1]
    parts = [
        assign_rows(make_rows(X[a:b], weights=rows.weights[a:b]), no_deviations(CENTROIDS, weighted=True))[1]
        for a, b in ((0, 100), (100, 100), (100, 180), (180, 300))
    ]
    merged = merge_all(parts, [])
    for name in ("centroids", "rows", "sums", "squares", "distance_counts"):
        np.testing.assert_allclose(getattr(merged, name), getattr(whole, name), rtol=1e-12, atol=1e-12)


def test_rows_are_counted_in_whole_numbers_and_weights_are_not():
    counted, weighted = no_deviations(CENTROIDS), no_deviations(CENTROIDS, weighted=True)
    for whole in (ClusterSummary.empty(3, 2), counted, counted.summary):
        assert (whole.rows.dtype, whole.distance_counts.dtype) == (np.int64, np.int64)
    assert (weighted.rows.dtype, weighted.distance_counts.dtype) == (np.float64, np.float64)
    far = np.array([[1 / 3]])
    assert no_deviations(far).centroids == np.float32(1 / 3)  # rows are float32, too


WIDEST = 1 / 64  # a bin's upper end lies at most 1.6 % above its lower end


def summary_of_distances(distances, weights=None):
    """One cluster at 0 with a row at each distance."""
    rows = make_rows(np.asarray(distances)[:, None], weights=weights)
    return assign_rows(rows, no_deviations([[0.0]], weighted=weights is not None))[1].summary


@given(st.integers(0, 100), st.sampled_from([0.5, 0.9, 0.99]), st.sampled_from([1e-2, 1.0, 1e2]))
def test_distance_quantile_is_right_to_the_width_of_a_bin(seed, q, size):
    distances = np.sort(np.random.default_rng(seed).gamma(4.0, size, 3000))
    at, width = round(q * 3000), (1 + WIDEST) * (1 + 1e-6)
    (found,) = summary_of_distances(distances).distance_quantile(q)
    assert distances[at - 1] / width <= found <= distances[at] * width


@given(
    st.lists(st.floats(2.0**-20, 2.0**20, width=32), min_size=1, max_size=60),
    st.sampled_from([0.01, 0.5, 0.9, 0.99, 1.0]),
    st.booleans(),
)
def test_distance_quantile_leaves_at_most_its_share_of_rows_beyond_and_lies_close_to_a_row(distances, q, weighted):
    distances = np.array(distances, dtype=np.float32)
    weights = np.arange(1.0, len(distances) + 1) if weighted else None
    (limit,) = summary_of_distances(distances, weights).distance_quantile(q)
    beyond = np.average(distances > limit, weights=weights)
    assert beyond <= 1 - q + 1e-12
    inside = distances[distances <= limit]
    assert inside.max() <= limit <= inside.max() * (1 + WIDEST) * (1 + 1e-6)
    closer = np.average(distances > inside.max() / (1 + WIDEST) ** 2, weights=weights)
    assert closer >= 1 - q - 1e-12  # a limit lower by two bins would leave out more, or as many


@pytest.mark.parametrize("far", np.linspace(1.0, 1.03, 13))
def test_distance_quantile_leaves_at_most_1_percent_of_its_own_rows_beyond(far):
    distances = np.repeat([0.1, far], [900, 100]).astype(np.float32)
    (limit,) = summary_of_distances(distances).distance_quantile(0.99)
    assert np.mean(distances > limit) <= 0.01


@pytest.mark.parametrize("size", [1e-6, 1e5])
def test_distance_quantile_knows_any_unit(size):
    distances = (np.random.default_rng(0).gamma(4.0, size, 3000)).astype(np.float32)
    (limit,) = summary_of_distances(distances).distance_quantile(0.99)
    assert np.mean(distances > limit) == pytest.approx(0.01, abs=0.005)


def test_distance_bins_are_0_8_to_1_6_percent_wide_and_cover_48_octaves():
    ends = distance_bin_ends().astype(np.float64)
    widths = ends[1:] / ends[:-1] - 1
    assert (widths.min(), widths.max()) == (pytest.approx(1 / 127), pytest.approx(WIDEST))
    assert (len(ends), ends[-1], ends[63]) == (N_DISTANCE_BINS, 2.0**24, 2.0**-23)


@given(hnp.arrays(np.float32, 20, elements=st.floats(0.0, 2.0**25, width=32)))
def test_add_distances_puts_a_distance_between_the_ends_of_its_bin(distances):
    counts = np.zeros((20, N_DISTANCE_BINS), dtype=np.int64)
    found = add_distances(counts, np.arange(20, dtype=np.int32), distances, None)
    ends = distance_bin_ends()
    for distance, place in zip(distances, found.argmax(axis=1), strict=True):
        assert distance < ends[place] or place == N_DISTANCE_BINS - 1
        assert distance >= (0.0 if place == 0 else ends[place - 1])
    assert found.sum(axis=1).tolist() == [1] * 20


def test_add_distances_counts_every_row_in_its_cluster():
    ids = np.array([0, 2, 2, 2], dtype=np.int32)
    before = np.zeros((3, N_DISTANCE_BINS), dtype=np.int64)
    counts = add_distances(before, ids, np.array([0.0, 1.0, 1.0, 1e9], dtype=np.float32), None)
    assert counts.shape == (3, N_DISTANCE_BINS)
    assert counts.sum(axis=1).tolist() == [1, 0, 3]
    assert (counts[0, 0], counts[2].max(), counts[2, -1]) == (1, 2, 1)
    assert not before.any()


def test_add_distances_adds_up_weights():
    nothing = np.zeros((2, N_DISTANCE_BINS))
    ids, weights = np.array([0, 1, 1], dtype=np.int32), np.array([0.5, 2.0, 0.25])
    counts = add_distances(nothing, ids, np.ones(3, dtype=np.float32), weights)
    assert counts.max(axis=1).tolist() == counts.sum(axis=1).tolist() == [0.5, 2.25]


def test_add_distances_of_no_rows_is_zero():
    nothing = np.zeros((2, N_DISTANCE_BINS), dtype=np.int64)
    assert add_distances(nothing, np.array([], dtype=np.int32), np.array([], dtype=np.float32), None).sum() == 0


def test_cluster_summary_of_less_than_one_row_in_all_has_shares_and_inertia():
    summary = summary_of_distances([1.0, 3.0], [0.001, 0.003])
    assert (summary.n_rows, summary.shares.tolist()) == (pytest.approx(0.004), [1.0])
    assert summary.inertia_per_row == pytest.approx((1 + 3 * 9) / 4)


@given(st.integers(0, 5000), st.integers(1, 300), st.integers(0, 2**32 - 1))
def test_sample_positions_are_sorted_and_distinct_rows(n_rows, size, seed):
    found = sample_positions(n_rows, size, seed)
    assert len(found) == min(n_rows, size)
    assert (np.diff(found) > 0).all()
    assert ((found >= 0) & (found < n_rows)).all()
    assert np.array_equal(found, sample_positions(n_rows, size, seed))


def test_sample_positions_represent_every_part_of_the_rows():
    counts = np.histogram(sample_positions(1_000_000, 10_000, seed=1), bins=10, range=(0, 1_000_000))[0]
    assert (np.abs(counts - 1000) < 5 * np.sqrt(1000)).all()
    assert not np.array_equal(sample_positions(1000, 10, seed=1), sample_positions(1000, 10, seed=2))


@given(st.integers(0, 500), st.integers(1, 60))
def test_thin_positions_are_as_many_evenly_spread_rows_as_fit(n_rows, at_most):
    found = thin_positions(n_rows, at_most)
    assert len(found) <= at_most
    assert found.tolist()[:1] == [0][:n_rows]
    step = int(found[1]) if len(found) > 1 else n_rows
    assert found.tolist() == list(range(0, n_rows, step or 1))
    assert n_rows <= at_most * step
    assert step <= 1 or n_rows > at_most * (step - 1)  # with a shorter step they would be too many
