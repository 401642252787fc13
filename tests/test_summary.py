"""What a pass leaves behind merges like a sum."""

import itertools

import numpy as np
import pytest
from builders import make_blobs, summarise_rows
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from kmstream.summary import (
    BINS_PER_OCTAVE,
    N_DISTANCE_BINS,
    ClusterSummary,
    ColumnSummary,
    count_distances,
    merge_moments,
    sample_positions,
)


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
    parts = [ColumnSummary.of(values[:, a:b]) for a, b in itertools.pairwise(borders)]
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
    found = merge_all([ColumnSummary.of(values[:, i : i + 100]) for i in range(0, 20_000, 100)], [])
    np.testing.assert_allclose(found.variance, values.var(axis=1), rtol=1e-8)


def test_column_summary_of_no_rows_is_the_neutral_element():
    some, none = ColumnSummary.of(np.array([[1.0, 3.0]])), ColumnSummary.of(np.empty((1, 0)))
    for merged in (some.merge(none), none.merge(some)):
        assert (merged.n, merged.mean, merged.m2, merged.low, merged.high) == (2, 2.0, 2.0, 1.0, 3.0)


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


def summary_of_distances(distances):
    """One cluster at 0 with a row at each distance."""
    return summarise_rows(np.asarray(distances)[:, None], [[0.0]])


@given(st.integers(0, 100), st.sampled_from([0.5, 0.9, 0.99]), st.sampled_from([1e-2, 1.0, 1e2]))
def test_distance_quantile_is_right_to_the_width_of_a_bin(seed, q, size):
    distances = np.sort(np.random.default_rng(seed).gamma(4.0, size, 3000))
    at, width = round(q * 3000), 2 ** (1 / BINS_PER_OCTAVE) * (1 + 1e-5)
    (found,) = summary_of_distances(distances).distance_quantile(q)
    assert distances[at - 1] / width <= found <= distances[at] * width


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


def test_count_distances_counts_every_row_in_its_cluster():
    ids = np.array([0, 2, 2, 2], dtype=np.int32)
    counts = count_distances(ids, np.array([0.0, 1.0, 1.0, 1e9], dtype=np.float32), 3)
    assert counts.shape == (3, N_DISTANCE_BINS)
    assert counts.sum(axis=1).tolist() == [1, 0, 3]
    assert (counts[0, 0], counts[2].max(), counts[2, -1]) == (1, 2, 1)


def test_count_distances_of_no_rows_is_zero():
    assert count_distances(np.array([], dtype=np.int32), np.array([], dtype=np.float32), 2).sum() == 0


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
