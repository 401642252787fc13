"""How far the segments are apart: by hand, and against scipy on the rows themselves."""

import numpy as np
import pytest
from builders import make_rows, no_deviations, summarise_segments
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from kmstream.clustering import assign_rows
from kmstream.separation import adjust_holm, analyse_variance, compare_pairs

segments_of_rows = st.lists(
    st.lists(st.integers(-1000, 1000).map(lambda n: n / 8), min_size=2, max_size=12), min_size=2, max_size=5
)


def test_analyse_variance_of_a_small_case_by_hand():
    """Means 2, 3 and 7 about 4, two rows each: 2 * (4 + 1 + 9) = 28 between; 2 + 2 + 2 within, on 2 and 3 degrees."""
    found = analyse_variance(summarise_segments([1, 3], [2, 4], [6, 8]))
    assert (found.df_between, found.df_within) == (2, 3)
    assert found.eta_squared == pytest.approx([28 / 34])
    assert found.f == pytest.approx([14 / 2])
    assert found.p == pytest.approx([stats.f.sf(7, 2, 3)])


def test_analyse_variance_counts_a_segment_of_one_row():
    """Means 2 and 8 about 4: 2 * 4 + 16 = 24 between; 2 within, on 1 and 1 degrees."""
    found = analyse_variance(summarise_segments([1, 3], [8]))
    assert (found.df_between, found.df_within) == (1, 1)
    assert found.eta_squared == pytest.approx([24 / 26])
    assert found.f == pytest.approx([12])
    assert found.p == pytest.approx([stats.f.sf(12, 1, 1)])


def test_analyse_variance_does_not_depend_on_the_size_of_the_numbers():
    """The first feature is that of the case by hand, however small; the second is large, and has noise of its own."""
    small, large = 1e-12 * np.array([[1, 3], [2, 4], [6, 8]]), 1e6 * np.array([[1, 3], [2, 4], [6, 8]])
    found = analyse_variance(summarise_segments(*np.stack([small, large], axis=2)))
    assert found.eta_squared == pytest.approx([28 / 34] * 2)
    assert found.f == pytest.approx([7, 7])
    assert analyse_variance(summarise_segments(*small)).explained == pytest.approx(28 / 34)


@pytest.mark.parametrize(("segments", "df_within"), [(([1, 2, 3],), 2), (([1, 2, 3], []), 2), (([5],), 0), (([],), 0)])
def test_analyse_variance_of_one_segment_or_none_has_no_value(segments, df_within):
    found = analyse_variance(summarise_segments(*segments))
    assert np.isnan([*found.eta_squared, *found.f, *found.p, found.explained]).all()
    assert (found.df_between, found.df_within) == (0, df_within)


def test_analyse_variance_of_single_rows_has_no_test():
    found = analyse_variance(summarise_segments([1], [2]))
    assert (found.eta_squared.tolist(), found.explained, found.df_between, found.df_within) == ([1], 1, 1, 0)
    assert np.isnan([found.f, found.p]).all()


def test_analyse_variance_explains_what_the_inertia_leaves():
    segments = [np.array([[0, 0], [2, 0]]), np.array([[5, 1], [7, 3], [6, 2]])]
    found, every = analyse_variance(summarise_segments(*segments)), np.vstack(segments)
    within = sum(((rows - rows.mean(axis=0)) ** 2).sum() for rows in segments)
    total = ((every - every.mean(axis=0)) ** 2).sum(axis=0)
    assert found.explained == pytest.approx(1 - within / total.sum())
    assert found.explained == pytest.approx(np.average(found.eta_squared, weights=total))


@pytest.mark.filterwarnings("ignore:Precision loss occurred:RuntimeWarning")  # scipy's, of a segment that is constant
@settings(max_examples=40)
@given(segments=segments_of_rows)
def test_f_and_welch_t_are_those_of_scipy_on_the_rows(segments):
    summary = summarise_segments(*segments)
    found, pairs = analyse_variance(summary), compare_pairs(summary)
    if found.eta_squared[0] < 1 and np.ptp(np.concatenate(segments)) > 0:
        expected = stats.f_oneway(*map(np.array, segments))
        assert found.f[0] == pytest.approx(expected.statistic, rel=1e-6, abs=1e-9)
        if expected.statistic > 1e-9:  # rounding can leave scipy a negative F, and no p
            assert found.p[0] == pytest.approx(expected.pvalue, rel=1e-6, abs=1e-12)
    for at, (one, two) in enumerate(zip(pairs.one, pairs.two, strict=True)):
        if np.ptp(segments[one]) or np.ptp(segments[two]):
            test = stats.ttest_ind(segments[one], segments[two], equal_var=False)
            assert pairs.t[at, 0] == pytest.approx(test.statistic, rel=1e-6, abs=1e-9)
            assert pairs.df[at, 0] == pytest.approx(test.df, rel=1e-6)
            assert pairs.p[at, 0] == pytest.approx(test.pvalue, rel=1e-6, abs=1e-12)


@settings(max_examples=25)
@given(seed=st.integers(0, 1000), n_rows=st.integers(20, 400))
def test_figures_of_an_assign_pass_are_those_of_scipy_on_its_rows(seed, n_rows):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_rows, 3)).astype(np.float32) * [1, 5, 0.1] + [0, 100, -3]
    X, centroids = X.astype(np.float32), np.array([[-1.0, 100, -3], [1.0, 100, -3]])
    ids, sums = assign_rows(make_rows(X), no_deviations(centroids))
    groups = [X[ids.cluster_ids == i].astype(np.float64) for i in (0, 1)]
    summary = sums.summary
    if min(map(len, groups)) < 2:
        return
    found, pairs = analyse_variance(summary), compare_pairs(summary)
    assert found.f == pytest.approx(stats.f_oneway(*groups).statistic, rel=1e-4, abs=1e-6)
    assert pairs.t[0] == pytest.approx(stats.ttest_ind(*groups, equal_var=False).statistic, rel=1e-4, abs=1e-6)


def test_a_row_of_weight_two_is_two_rows():
    weighted = summarise_segments([1, 5, 6], [8, 9], weights=[[2.0, 1.0, 3.0], [1.0, 2.0]])
    repeated = summarise_segments([1, 1, 5, 6, 6, 6], [8, 9, 9])
    assert compare_pairs(weighted).t == pytest.approx(compare_pairs(repeated).t)
    assert analyse_variance(weighted).f == pytest.approx(analyse_variance(repeated).f)


def test_cohens_d_is_in_standard_deviations_within_the_two():
    """Variances 1 (3 rows) and 4 (2 rows of 4 and 8 would be 8): pooled (2 * 1 + 1 * 8) / 3."""
    pairs = compare_pairs(summarise_segments([1, 2, 3], [4, 8]))
    assert pairs.cohens_d == pytest.approx(np.array([[-4 / np.sqrt(10 / 3)]]))


def test_compare_pairs_has_a_distance_from_a_segment_of_one_row_and_no_test():
    """The spread is that of the other one: 1 and 3 about 2. Two single rows have none, nor has a segment any rows."""
    pairs = compare_pairs(summarise_segments([4], [1, 3], [], [9]))
    assert (pairs.one.tolist(), pairs.two.tolist()) == ([0, 0, 1], [1, 3, 3])
    assert pairs.cohens_d.ravel() == pytest.approx([2 / 2**0.5, np.nan, -7 / 2**0.5], nan_ok=True)
    assert np.isnan([pairs.t, pairs.df, pairs.p, pairs.p_adjusted]).all()


def test_compare_pairs_counts_rows_of_weights_below_one():
    """Two rows of weight 0.625 each are 1.25 rows: squares of 1.25, on 0.25 degrees of freedom in either segment."""
    pairs = compare_pairs(summarise_segments([1, 3], [5, 7], weights=[[0.625, 0.625]] * 2))
    assert pairs.cohens_d.item() == pytest.approx(-4 / np.sqrt(2.5 / 0.5))
    assert pairs.t.item() == pytest.approx(-4 / np.sqrt(2 * 1.25 / (0.25 * 1.25)))
    assert pairs.df.item() == pytest.approx(0.5)
    assert pairs.p.item() == pytest.approx(2 * stats.t.sf(2**0.5, 0.5))


def test_holm_counts_the_tests_of_all_pairs_and_features():
    rng = np.random.default_rng(0)
    pairs = compare_pairs(summarise_segments(*(rng.normal(size=(5, 2)) + 2 * i for i in range(4))))
    assert pairs.p.shape == (6, 2)
    assert pairs.p_adjusted.min() == pytest.approx(12 * pairs.p.min())
    order = np.argsort(pairs.p, axis=None)
    assert (np.diff(pairs.p_adjusted.ravel()[order]) >= 0).all()


@given(p=st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_adjust_holm_keeps_the_order_and_never_lowers_a_p(p):
    p = np.array(p)
    adjusted = adjust_holm(p)
    assert (adjusted >= p).all()
    assert (adjusted <= np.minimum(p * len(p), 1) + 1e-12)[np.argmin(p)]
    assert adjust_holm(np.append(p, np.nan))[:-1] == pytest.approx(adjusted)
