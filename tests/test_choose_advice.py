"""Which k the figures speak for."""

import pytest

from kmstream.choose.advice import find_elbow, recommend
from kmstream.results import Candidate


def candidates(*figures: tuple[int, float | None, float | None], smallest: float = 0.1) -> list[Candidate]:
    """One per (k, silhouette, stability)."""
    return [Candidate(k, 1 / k, silhouette, 1.0, 9.0, stability, smallest) for k, silhouette, stability in figures]


def test_recommend_takes_the_highest_silhouette_of_a_stable_k():
    advice = recommend(candidates((2, 0.5, 0.99), (3, 0.6, 0.95), (4, 0.7, 0.5)), min_share=0.01)
    assert advice.k == 3
    assert "0.60, reasonable structure" in advice.reason
    assert "2 k whose refits on halves agree (ARI 0.95)" in advice.reason


def test_recommend_takes_the_finest_of_the_stablest_where_silhouettes_are_alike():
    advice = recommend(candidates((4, 0.74, 1.0), (5, 0.76, 1.0), (6, 0.75, 0.995), (7, 0.74, 0.93)), min_share=0.01)
    assert advice.k == 6
    assert "close to the highest (0.76, of 5)" in advice.reason
    assert "4 and 7 come close" in advice.reason


def test_recommend_leaves_out_a_k_that_the_gate_would_hold_and_names_it():
    tiny = candidates((2, 0.9, 1.0), smallest=0.0004)
    advice = recommend([*tiny, *candidates((3, 0.6, 0.99), (4, 0.5, 0.99))], min_share=0.001)
    assert advice.k == 3
    assert "2 would make a segment of less than 0.001 of the rows" in advice.reason


def test_recommend_says_to_try_more_if_it_takes_the_largest():
    assert "try larger ones" in recommend(candidates((2, 0.5, 1.0), (3, 0.7, 1.0)), min_share=0).reason


@pytest.mark.parametrize(
    ("tried", "why"),
    [
        (candidates((5, 0.9, 1.0)), "5 is the only one tried"),
        (candidates((2, 0.6, 0.5), (3, 0.5, 0.3)), "disagree at every k (ARI 0.50 at best, at 2)"),
        (candidates((2, 0.2, 0.99), (3, 0.1, 0.95)), "the highest silhouette of a stable k is 0.20 (2)"),
        (candidates((2, 0.40, 0.99), (3, 0.41, 0.95), (4, 0.3, 0.9)), "the silhouettes of 2 and 3 are close to 0.41"),
        (candidates((2, 0.9, 1.0), (3, 0.9, 1.0), smallest=0.0), "each would make a segment of less than"),
        (candidates((2, None, None), (3, None, 1.0)), "too few distinct rows"),
    ],
    ids=["one", "unstable", "no structure", "flat", "tiny segments", "no rows"],
)
def test_recommend_says_why_no_k_stands_out(tried, why):
    advice = recommend(tried, min_share=0.001)
    assert advice.k is None
    assert advice.reason.startswith("no k stands out: ")
    assert why in advice.reason


@pytest.mark.parametrize(
    ("inertia", "elbow"),
    [
        ([10, 6, 2, 1.9, 1.8], 4),
        ([10, 8, 6, 4, 2], None),
        ([1, 1, 1, 1, 1], None),
        ([3.0, 2.0], None),
    ],
)
def test_find_elbow_gives_where_the_inertia_bends(inertia, elbow):
    assert find_elbow(list(range(2, 2 + len(inertia))), inertia) == elbow
