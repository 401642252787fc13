"""Levels that chance alone exceeds in one of five thousand windows, against windows that chance has made."""

import numpy as np
import pytest
from builders import summarise_rows
from scipy.stats import binom, chi2, norm
from scipy.stats import t as student

from kmstream.measures import psi
from kmstream.noise import CHANCE, outlier_noise, psi_noise, ratio_noise, share_noise, shift_noise
from kmstream.summary import ClusterSummary

N_WINDOWS = 1000
SHARES = np.array([0.4, 0.3, 0.15, 0.1, 0.05])


@pytest.fixture
def windows():
    """Draw counts of a reference and of windows of so many rows, all with the same shares."""

    def make(n_reference, n_rows, n_windows=N_WINDOWS):
        rng = np.random.default_rng(0)
        return rng.multinomial(n_reference, SHARES, n_windows), rng.multinomial(n_rows, SHARES, n_windows)

    return make


@pytest.mark.parametrize("n_rows", [50, 500, 5000])
@pytest.mark.parametrize("n_reference", [1000, 100_000])
def test_psi_of_unchanged_windows_is_hardly_ever_beyond_its_noise(windows, n_reference, n_rows):
    pairs = list(zip(*windows(n_reference, n_rows), strict=True))
    beyond = np.mean([psi(r, c) > psi_noise(r, c) for r, c in pairs])
    assert beyond <= 0.005
    assert np.mean([psi(r, c) > psi_noise(r, c) / 4 for r, c in pairs]) > 0.1  # and the level is no giant


@pytest.mark.parametrize("n_rows", [50, 500, 5000])
def test_changes_of_shares_are_hardly_ever_beyond_their_noise(windows, n_rows):
    reference, current = windows(20_000, n_rows, 4000)
    changes = np.abs(current / n_rows - reference / 20_000)
    levels = np.array([share_noise(r, c) for r, c in zip(reference, current, strict=True)])
    assert np.mean((changes > levels).any(axis=1)) <= 0.001
    assert np.mean((changes > levels / 3).any(axis=1)) > 0.1


@pytest.mark.parametrize("n_rows", [50, 500])
def test_ratio_of_inertias_is_hardly_ever_beyond_its_noise(n_rows):
    rng = np.random.default_rng(0)
    reference, *found = (summarise_rows(rng.normal(size=(n, 3)), [[0.0, 0.0, 0.0]]) for n in (20_000, *[n_rows] * 500))
    levels = np.array([ratio_noise(reference, one) for one in found])
    ratios = np.array([one.inertia_per_row / reference.inertia_per_row for one in found])
    assert np.mean(ratios > levels) <= 0.006
    assert np.mean(ratios - 1 > (levels - 1) / 4) > 0.05


def test_ratio_noise_comes_from_the_spread_of_squared_distances():
    """Of normal rows in 3 features they are chi-square distributed: their variance is 2/3 of their mean squared."""
    rng = np.random.default_rng(1)
    one, two = (summarise_rows(rng.normal(size=(n, 3)), [[0.0, 0.0, 0.0]]) for n in (200_000, 40_000))
    found = ratio_noise(one, two) - 1
    assert found == pytest.approx(norm.isf(CHANCE / 2) * np.sqrt(2 / 3 * (1 / 200_000 + 1 / 40_000)), rel=0.015)
    assert ratio_noise(one, two, scale=4.0) - 1 == pytest.approx(found / 2)  # a row that stands for four


@pytest.mark.parametrize("n_rows", [50, 500, 5000])
def test_share_of_outliers_is_hardly_ever_beyond_its_noise(n_rows):
    outliers = np.random.default_rng(0).binomial(n_rows, 0.01, 20_000) / n_rows
    assert np.mean(outliers > outlier_noise(0.01, n_rows)) <= 0.001


def test_psi_noise_is_the_quantile_of_chi_square_over_the_rows_of_both_windows():
    same = np.full(5, 100)  # 500 rows beside 500 tell as much as 250 beside a known reference
    assert psi_noise(same, same) * 250 == pytest.approx(chi2.isf(CHANCE, 4))
    assert psi_noise(same, same, n_tests=4) * 250 == pytest.approx(chi2.isf(CHANCE / 4, 4))
    assert psi_noise(np.append(same, 0), np.append(same, 0)) == psi_noise(same, same)  # a bin without rows is none


@pytest.mark.parametrize("share", [0.02, 0.5, 0.98])
def test_share_noise_is_the_least_change_that_is_rare_enough_on_either_side(share):
    shares, n_rows = np.array([share, 1.0 - share]), 500
    level = share_noise(np.round(shares * 10**9), np.round(shares * n_rows))[0]
    beyond, rare = np.floor(n_rows * (share + level) + 1e-3), CHANCE / 2 / 2  # two sides of each of two segments
    below = np.ceil(n_rows * (share - level) - 1e-3)
    assert max(binom.sf(beyond, n_rows, share), binom.cdf(below - 1, n_rows, share)) <= rare
    assert max(binom.sf(beyond - 1, n_rows, share), binom.cdf(below, n_rows, share)) > rare


def test_share_noise_of_a_single_row_lets_a_share_be_nothing_or_all():
    """Of 1001 rows the second segment has 5; the one row may well be one of them."""
    assert share_noise(np.array([995, 5]), np.array([1, 0])) == pytest.approx([996 / 1001, 996 / 1001])


def test_shift_noise_of_many_rows_is_three_standard_errors_of_a_single_segment():
    n_r, n_c = np.array([4 * 10**8]), np.array([10**8])
    assert shift_noise(n_r, n_c)[0] == pytest.approx(3.0 * np.sqrt(1 / n_r[0] + 1 / n_c[0]))


def test_shift_noise_is_larger_with_many_segments_and_of_few_rows():
    """Of 100 segments one goes farther than 3 standard errors; of 5 rows nobody knows the spread."""
    many, few = np.full(100, 10**8), np.array([5] * 100)
    errors = shift_noise(many, many) / np.sqrt(2 / many)
    assert errors == pytest.approx(norm.isf(norm.sf(3.0) / 100))
    errors = shift_noise(many, few) / np.sqrt(1 / many + 1 / few)
    assert errors == pytest.approx(student.isf(norm.sf(3.0) / 100, 4))  # the smaller of the two windows


def test_shift_noise_of_segments_of_one_row_or_none_is_finite():
    none, one, many = (np.array([n]) for n in (0, 1, 10**8))
    assert shift_noise(many, none) == shift_noise(many, one) == shift_noise(none, many)
    assert shift_noise(many, one)[0] == pytest.approx(student.isf(norm.sf(3.0), 1))


def test_noise_goes_away_as_windows_grow():
    big, small = (np.array([4000, 6000]) * 10**n for n in (5, 0))
    assert psi_noise(big, big) < 1e-5 < psi_noise(big, small)
    assert share_noise(big, big).max() < 1e-3 < share_noise(big, small).max()
    assert outlier_noise(0.01, 10**9) == pytest.approx(0.01, abs=1e-4)


def test_noise_of_no_rows_and_of_a_single_bin_is_none():
    none, some = np.zeros(3, int), np.array([5, 6, 7])
    assert psi_noise(some, none) == psi_noise(none, none) == psi_noise(np.array([9]), np.array([4])) == 0.0
    assert share_noise(some, none).tolist() == [0.0, 0.0, 0.0]
    empty = ClusterSummary.empty(1, 1)
    assert ratio_noise(empty, empty) == 1.0
    assert outlier_noise(0.01, 0) == 0.01
