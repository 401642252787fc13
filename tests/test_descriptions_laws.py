"""What holds for the sentences and names of any segments."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from kmstream.descriptions import Contrast, describe_segments, suggest_names
from kmstream.descriptions.sentences import MAX_CHARACTERS

COLUMNS = ("x", "long name of a number", "Y", "y", "c=a", "c=b", "c=A", "d=a b", "d=a-b")
numbers = st.one_of(
    st.sampled_from([0.0, 1.0, -1.0, 0.5, 1e-300, 1e300, -1e300, np.nan, np.inf]), st.floats(-10, 10), st.floats()
)


@st.composite
def contrasts(draw):
    n_clusters, columns = draw(st.integers(1, 8)), draw(st.lists(st.sampled_from(COLUMNS), min_size=1, unique=True))
    columns.sort(key=lambda name: "=" in name)
    n_numeric, shape = sum("=" not in name for name in columns), (n_clusters, len(columns))
    means = draw(arrays.arrays(float, shape, elements=numbers))
    average = draw(arrays.arrays(float, shape[1], elements=numbers))
    means[:, n_numeric:], average[n_numeric:] = means[:, n_numeric:].clip(0, 1), average[n_numeric:].clip(0, 1)
    shares = draw(arrays.arrays(float, n_clusters, elements=st.sampled_from([0.0, 0.1, 0.1, 0.3])))
    return Contrast(
        tuple(columns),
        n_numeric,
        means,
        average,
        draw(arrays.arrays(float, shape, elements=st.one_of(st.floats(-3, 3), numbers))),
        shares,
    )


def permuted(found, order):
    return Contrast(
        found.names, found.n_numeric, found.means[order], found.average, found.z[order], found.shares[order]
    )


@settings(max_examples=50)
@given(contrasts())
def test_any_numbers_give_plain_short_text(found):
    texts = describe_segments(found)
    assert len(texts) == len(found.shares)
    for text in texts:
        assert text.strip() == text
        assert text.isprintable()
        assert not {"nan", "inf"} & set(text.replace("(", " ").split())
        assert len(text) <= MAX_CHARACTERS


@settings(max_examples=50)
@given(contrasts(), st.data())
def test_names_are_distinct_and_never_used_before(found, data):
    free = suggest_names(found)
    used = data.draw(st.lists(st.sampled_from([*free, free[0].upper(), "vip"])))
    used += suggest_names(found, used)[:2]
    names = suggest_names(found, used)
    folded = {name.casefold() for name in names}
    assert len(folded) == len(names) == len(found.shares)
    assert not folded & {name.casefold() for name in used}
    assert suggest_names(found, used) == names
    assert all(name and not set(name) & set(" =") for name in names)


@settings(max_examples=50)
@given(contrasts(), st.data())
def test_another_order_of_segments_changes_no_word(found, data):
    order = data.draw(st.permutations(range(len(found.shares))))
    other = permuted(found, order)
    assert describe_segments(other) == tuple(describe_segments(found)[i] for i in order)
    names, others = suggest_names(found), suggest_names(other)
    assert sorted(others) == sorted(names)
    z = np.where(np.isfinite(found.z) & (found.shares[:, None] > 0), found.z, 0.0)
    rows = [(*z[i], found.shares[i]) for i in range(len(names))]
    twins = [i for i, row in enumerate(rows) if rows.count(row) > 1]
    assert [others[at] for at, i in enumerate(order) if i not in twins] == [names[i] for i in order if i not in twins]


@pytest.mark.slow
@given(st.integers(0, 10_000), st.integers(1, 3))
def test_two_hundred_segments_with_few_features_have_names_of_their_own(seed, n_features):
    rng = np.random.default_rng(seed)
    means = rng.lognormal(size=(200, n_features))
    average, names = means.mean(axis=0), tuple(f"x{j}" for j in range(n_features))
    found = Contrast(names, n_features, means, average, (means - average) / means.std(axis=0), np.full(200, 1 / 200))
    names = suggest_names(found)
    assert len(set(names)) == 200
    order = rng.permutation(200)
    assert suggest_names(permuted(found, order)) == tuple(names[i] for i in order)
    assert max(map(len, describe_segments(found))) <= MAX_CHARACTERS
