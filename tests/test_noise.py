"""Levels that chance alone exceeds in one of five thousand windows, against windows that chance has made."""

import numpy as np
import pytest
from builders import make_rows, no_deviations

from kmstream.clustering import assign_rows
from kmstream.measures import psi
from kmstream.noise import outlier_noise, psi_noise, ratio_noise, share_noise

N_WINDOWS = 4000
SHARES = np.array([0.4, 0.3, 0.15, 0.1, 0.05])


@pytest.fixture
def windows():
    """Draw counts of a reference and of windows of so many rows, all with the same shares."""

    def make(n_reference, n_rows, seed=0):
        rng = np.random.default_rng(seed)
        return rng.multinomial(n_reference, SHARES, N_WINDOWS), rng.multinomial(n_rows, SHARES, N_WINDOWS)

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
    reference, current = windows(20_000, n_rows)
    changes = np.abs(current / n_rows - reference / 20_000)
    levels = np.array([share_noise(r, c) for r, c in zip(reference, current, strict=True)])
    assert np.mean((changes > levels).any(axis=1)) <= 0.001
    assert np.mean((changes > levels / 3).any(axis=1)) > 0.1


@pytest.mark.parametrize("n_rows", [50, 500])
def test_ratio_of_inertias_is_hardly_ever_beyond_its_noise(n_rows):
    rng = np.random.default_rng(0)

    def summarise(n):
        return assign_rows(make_rows(rng.normal(size=(n, 3))), no_deviations([[0.0, 0.0, 0.0]]))[1].summary

    reference = summarise(20_000)
    found = [summarise(n_rows) for _ in range(500)]
    levels = np.array([ratio_noise(reference, one) for one in found])
    ratios = np.array([one.inertia_per_row / reference.inertia_per_row for one in found])
    assert np.mean(ratios > levels) <= 0.006
    assert np.mean(ratios - 1 > (levels - 1) / 4) > 0.05


@pytest.mark.parametrize("n_rows", [50, 500, 5000])
def test_share_of_outliers_is_hardly_ever_beyond_its_noise(n_rows):
    outliers = np.random.default_rng(0).binomial(n_rows, 0.01, 20_000) / n_rows
    assert np.mean(outliers > outlier_noise(0.01, n_rows)) <= 0.001


def test_noise_goes_away_as_windows_grow():
    big, small = (np.array([4000, 6000]) * 10**n for n in (5, 0))
    assert psi_noise(big, big) < 1e-5 < psi_noise(big, small)
    assert share_noise(big, big).max() < 1e-3 < share_noise(big, small).max()
    assert outlier_noise(0.01, 10**9) == pytest.approx(0.01, abs=1e-4)


def test_noise_of_no_rows_and_of_a_single_bin_is_none():
    none, some = np.zeros(3, int), np.array([5, 6, 7])
    assert psi_noise(some, none) == psi_noise(none, none) == psi_noise(np.array([9]), np.array([4])) == 0.0
    assert share_noise(some, none).tolist() == [0.0, 0.0, 0.0]
    empty = no_deviations([[0.0]]).summary
    assert ratio_noise(empty, empty) == 1.0
    assert outlier_noise(0.01, 0) == 0.01
