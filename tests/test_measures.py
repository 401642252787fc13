"""How far two sides differ: by hand, and as scipy and evidently have it."""

import math

import builders  # noqa: F401  (registers the hypothesis profile)
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.spatial.distance import jensenshannon
from scipy.stats import chi2_contingency
from scipy.stats.contingency import association

from kmstream.measures import inertia_ratio, psi, share_chi2, share_js

counts = hnp.arrays(np.int64, 5, elements=st.integers(0, 10_000))


@given(counts, counts)
def test_psi_is_never_negative_and_the_same_both_ways(one, two):
    assert psi(one, two) >= 0
    assert psi(one, two) == pytest.approx(psi(two, one), rel=1e-9, abs=1e-12)


@given(counts)
def test_psi_of_equal_counts_is_0(one):
    assert psi(one, one) == 0.0


def test_psi_is_what_the_formula_says():
    p_r, p_c = (np.array([2.5, 4.5]) / 7, np.array([0.5, 2.5]) / 3)
    by_hand = (p_c[0] - p_r[0]) * math.log(p_c[0] / p_r[0]) + (p_c[1] - p_r[1]) * math.log(p_c[1] / p_r[1])
    assert psi(np.array([2, 4]), np.array([0, 2])) == pytest.approx(by_hand, rel=1e-14)


@settings(max_examples=50)
@given(counts, counts)
def test_share_js_agrees_with_scipy_wherever_both_sides_have_rows(one, two):
    if one.sum() and two.sum():
        expected = jensenshannon(one / one.sum(), two / two.sum(), base=2)
        assert share_js(one, two) == pytest.approx(0.0 if math.isnan(expected) else expected, abs=1e-7)
        assert 0.0 <= share_js(one, two) <= 1.0


def test_share_js_is_0_for_equal_shares_and_1_for_none_in_common():
    assert share_js(np.array([10, 30]), np.array([1, 3])) == pytest.approx(0.0, abs=1e-7)
    assert share_js(np.array([5, 0, 5]), np.array([0, 9, 0])) == pytest.approx(1.0)


def test_share_js_of_a_difference_too_small_for_float64_is_0():
    one, two = np.array([10**9, 4 * 10**9]), np.array([10**9 + 1, 4 * 10**9])
    assert share_js(one, two) == pytest.approx(0.0, abs=1e-7)


@pytest.mark.parametrize(("one", "two"), [([0, 0], [3, 4]), ([3, 4], [0, 0]), ([0, 0], [0, 0])])
def test_no_rows_on_a_side_are_no_difference(one, two):
    one, two = np.array(one), np.array(two)
    assert (share_js(one, two), share_chi2(one, two)) == (0.0, (1.0, 0.0))


@settings(max_examples=50)
@given(counts, counts)
def test_share_chi2_agrees_with_scipy(one, two):
    p_value, v = share_chi2(one, two)
    table = np.stack([one, two])
    table = table[:, table.any(axis=0)]
    if table.shape[1] > 1 and one.sum() and two.sum():
        assert p_value == pytest.approx(chi2_contingency(table, correction=False).pvalue)
        assert v == pytest.approx(association(table, method="cramer"))
        assert 0.0 <= v <= 1.0 + 1e-12
    else:
        assert (p_value, v) == (1.0, 0.0)


def test_share_chi2_leaves_out_segments_without_rows_on_both_sides():
    assert share_chi2(np.array([50, 0, 50]), np.array([70, 0, 30])) == share_chi2(
        np.array([50, 50]), np.array([70, 30])
    )


def test_share_chi2_counts_segments_that_have_a_single_row():
    # Two of four rows on either side: 1, 1/2 and 1/2 are expected, so chi2 = 4 * (1/2)^2 / (1/2) = 2, at 2 degrees.
    assert share_chi2(np.array([1, 1, 0]), np.array([1, 0, 1])) == pytest.approx((math.exp(-1), math.sqrt(2 / 4)))


def test_inertia_ratio_is_that_of_the_means_per_row():
    assert inertia_ratio(14.0, 7, 9.0, 3) == 1.5
    assert inertia_ratio(14.0, 0, 9.0, 3) is None
    assert inertia_ratio(14.0, 7, 0.0, 0) is None


def test_inertia_ratio_to_rows_all_on_their_centroids_is_1_or_unknown():
    assert inertia_ratio(0.0, 7, 0.0, 3) == 1.0
    assert inertia_ratio(0.0, 7, 1e-9, 3) is None


@pytest.mark.slow  # to import evidently
@pytest.mark.parametrize(("one", "two"), [((3000, 5000, 2000), (2500, 5200, 2300)), ((9000, 1000), (6000, 4000))])
def test_psi_and_js_are_evidently_s_where_it_counts_the_same_categories(one, two):
    import pandas as pd
    from evidently.legacy.calculations.stattests import jensenshannon_stat_test, psi_stat_test
    from evidently.legacy.core import ColumnType

    sides = [pd.Series(np.repeat(np.array(list("abc"))[: len(rows)], rows)) for rows in (one, two)]

    def theirs(test):
        return test(*sides, ColumnType.Categorical, 0.1).drift_score

    counts_of = (np.array(one), np.array(two))
    assert psi(*counts_of) == pytest.approx(theirs(psi_stat_test), rel=1e-3)  # ours adds half a row to each count
    assert share_js(*counts_of) * math.sqrt(math.log(2)) == pytest.approx(theirs(jensenshannon_stat_test), rel=1e-9)
