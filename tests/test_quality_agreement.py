"""How far two ways to part the same rows agree."""

import builders  # noqa: F401  (registers the hypothesis profile)
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score

from kmstream.quality import adjusted_rand_index


@settings(max_examples=40)
@given(
    st.integers(0, 9).flatmap(lambda n: st.tuples(*[st.lists(st.integers(0, 3), min_size=n, max_size=n)] * 2)),
)
def test_adjusted_rand_index_agrees_with_sklearn(labels):
    one, two = labels
    table = np.zeros((4, 4), dtype=np.int64)
    np.add.at(table, (one, two), 1)
    if one:
        assert adjusted_rand_index(table) == pytest.approx(adjusted_rand_score(one, two), abs=1e-12)


def test_adjusted_rand_index_is_1_for_the_same_parts_under_other_names():
    assert adjusted_rand_index(np.array([[0, 7, 0], [9, 0, 0]])) == 1.0
    assert adjusted_rand_index(np.array([[12]])) == 1.0


def test_adjusted_rand_index_stays_right_for_billions_of_rows():
    n = 10**9
    assert adjusted_rand_index(np.array([[n, 0], [0, 3 * n]])) == pytest.approx(1.0)
    assert adjusted_rand_index(np.array([[n, n], [n, n]])) == pytest.approx(0.0, abs=1e-8)
