"""May this version be published by itself."""

import math

import numpy as np
import pytest
from builders import make_config

from kmstream.gate import Measured, check_refit

LABELS = ("a", "b")
MAX_INERTIA_RATIO = make_config().gate.max_inertia_ratio


def measured(labels=LABELS, shares=None, inertia=1.0, silhouette=0.5):
    shares = np.full(len(labels), 1 / len(labels)) if shares is None else np.array(shares)
    return Measured(labels, shares, inertia, silhouette)


def check(candidate, current=None, overlap=None, **gate):
    config = make_config(model={"min_cluster_share": 0.1}, labels={"min_overlap": 0.3}, gate=gate)
    return {one.check: one for one in check_refit(config, candidate, current, overlap)}


@pytest.mark.parametrize(("share", "ok"), [(0.0, False), (0.0999, False), (0.1, True), (0.2, True)])
def test_check_refit_asks_for_the_least_share(share, ok):
    found = check(measured(shares=(1 - share, share)))["smallest_segment_share"]
    assert (found.ok, found.observed, found.limit, found.label) == (ok, share, 0.1, "b")


@pytest.mark.parametrize(
    ("share", "before", "ok"), [(0.8, 0.5, True), (0.81, 0.5, False), (0.85, 0.85, True), (0.86, 0.85, False)]
)
def test_check_refit_holds_a_segment_that_grows_to_a_giant(share, before, ok):
    candidate, current = measured(shares=(share, 1 - share)), measured(shares=(before, 1 - before))
    found = check(candidate, current, max_segment_share=0.8)["largest_segment_share"]
    assert (found.ok, found.observed, found.limit, found.label) == (ok, share, max(0.8, before), "a")


@pytest.mark.parametrize(
    ("inertia", "current", "ok"),
    [
        (0.5, 1.0, True),
        (1.0, 1.0, True),
        (MAX_INERTIA_RATIO, 1.0, True),
        (math.nextafter(MAX_INERTIA_RATIO, 2.0), 1.0, False),
        (3.0, 2.0, False),
        (0.0, 0.0, True),
        (1e-9, 0.0, False),
    ],
)
def test_check_refit_asks_for_no_worse_inertia_than_the_current_model(inertia, current, ok):
    found = check(measured(inertia=inertia), measured(inertia=current))["inertia_against_current"]
    assert (found.ok, found.limit, found.label) == (ok, MAX_INERTIA_RATIO, "")
    if current:
        assert found.observed == inertia / current
    elif not inertia:
        assert found.observed == 1.0


@pytest.mark.parametrize(("silhouette", "ok"), [(0.6, True), (0.4, True), (0.39, False), (-0.2, False)])
def test_check_refit_holds_a_silhouette_that_drops(silhouette, ok):
    found = check(measured(silhouette=silhouette), measured(silhouette=0.5), max_silhouette_drop=0.1)["silhouette_drop"]
    assert (found.ok, found.observed) == (ok, 0.5 - silhouette)


def test_check_refit_leaves_out_what_can_not_be_compared():
    found = check(measured(), measured(inertia=None, silhouette=None))
    assert not {"inertia_against_current", "silhouette_drop"} & found.keys()


@pytest.mark.parametrize(("k", "compared"), [(2, False), (3, True), (4, False)])
def test_check_refit_compares_silhouettes_of_as_many_segments(k, compared):
    found = check(measured("abcd"[:k], silhouette=0.1), measured("abc", silhouette=0.9))
    assert ("silhouette_drop" in found) == compared


@pytest.mark.parametrize(
    ("before", "after", "gone", "new"),
    [
        ("abcd", "abcd", 0.0, 0.0),
        ("abcd", "abce", 0.25, 0.25),
        ("abcd", "aefg", 0.75, 0.75),
        ("abcde", "ab", 0.0, 0.0),  # three fewer were asked for
        ("abcde", "ax", 0.2, 0.5),
        ("ab", "abcde", 0.0, 0.0),  # three more were asked for
        ("ab", "acdef", 0.5, 0.2),
    ],
)
def test_check_refit_counts_names_that_go_and_come_beyond_a_change_of_k(before, after, gone, new):
    found = check(measured(tuple(after)), measured(tuple(before)), max_names_gone=0.5, max_names_new=0.5)
    assert (found["names_gone"].observed, found["names_new"].observed) == (gone, new)
    assert (found["names_gone"].ok, found["names_new"].ok) == (gone <= 0.5, new <= 0.5)


@pytest.mark.parametrize(("frozen", "n"), [("ab", 0), ("abc", 1), ("a", 1), ("cd", 4)])
def test_check_refit_holds_what_has_not_the_frozen_names(frozen, n):
    config = make_config()
    (found,) = (
        one for one in check_refit(config, measured(), measured(), frozen=set(frozen)) if one.check.startswith("frozen")
    )
    assert (found.observed, found.ok) == (n, n == 0)


@pytest.mark.parametrize(("overlap", "ok"), [(0.0, False), (0.2999, False), (0.3, True), (1.0, True)])
def test_check_refit_asks_for_the_least_overlap(overlap, ok):
    found = check(measured(), measured(), {"a": 0.9, "b": overlap, "c": math.nan})["smallest_overlap"]
    assert (found.ok, found.observed, found.limit) == (ok, min(overlap, 0.9), 0.3)
    assert found.label == ("b" if overlap < 0.9 else "a")


def test_check_refit_of_a_first_version_asks_for_the_least_share_alone():
    assert check(measured()).keys() == {"smallest_segment_share"}


def test_check_refit_passes_over_segments_that_had_no_rows():
    assert "smallest_overlap" not in check(measured(), measured(), {"a": math.nan})
