"""The mini-batch stream."""

import itertools

import numpy as np
import pytest
from builders import CORNERS, chunks, cut_rows, make_blobs, make_rows, repeat_rows
from hypothesis import given, settings
from hypothesis import strategies as st

from kmstream.engine import single_threaded
from kmstream.features import Rows
from kmstream.minibatch import find_still, start_minibatch, stream_minibatches
from kmstream.search import SampleFit


@pytest.fixture(autouse=True, scope="module")
def _on_one_thread():
    with single_threaded():
        yield


NEVER, ALWAYS = np.full(4, -1.0), np.full(4, np.inf)


class Recorder:
    """Notes the batches it is given; its centroids move by a set distance at each."""

    def __init__(self, *moves):
        self.cluster_centers_ = np.zeros((len(moves), 1))
        self.moves = np.array(moves)[:, None]
        self.batches = []
        self.weights = []

    def partial_fit(self, X, sample_weight):
        self.batches.append(X.ravel().tolist())
        self.weights.append(None if sample_weight is None else sample_weight.tolist())
        self.cluster_centers_ = self.cluster_centers_ + self.moves


def start_of(centroids, rows):
    return SampleFit(np.array(centroids, dtype=np.float64), np.array(rows), 0.0)


def test_start_minibatch_starts_at_the_centroids_with_the_weight_of_their_rows():
    model = start_minibatch(start_of([[0.0], [10.0]], [6, 2]), seed=0)
    assert model.cluster_centers_.tolist() == [[0.0], [10.0]]
    model.partial_fit(np.array([[2.0], [2.0], [14.0], [14.0]], dtype=np.float32))
    np.testing.assert_allclose(model.cluster_centers_, [[(6 * 0 + 2 * 2) / 8], [(2 * 10 + 2 * 14) / 4]], rtol=1e-6)


def test_start_minibatch_takes_weights_that_are_not_whole_and_a_centroid_without_rows():
    model = start_minibatch(start_of([[0.0], [10.0], [50.0]], [0.75, 0.25, 0.0]), seed=0)
    assert model.cluster_centers_.tolist() == [[0.0], [10.0], [50.0]]
    rows = make_rows([[2.0], [14.0]], weights=[0.25, 0.75])
    stream_minibatches(model, [rows], batch_size=2, still=NEVER[:3])
    np.testing.assert_allclose(model.cluster_centers_, [[0.25 * 2], [0.25 * 10 + 0.75 * 14], [50.0]], rtol=1e-6)


def test_start_minibatch_keeps_a_small_segment_and_its_weight_beside_a_large_one():
    model = start_minibatch(start_of([[0.0], [10.0]], [5000, 1]), seed=0)
    stream_minibatches(model, [make_rows([*[[0.0]] * 99, [12.0]])], batch_size=50, still=NEVER[:2])
    assert model.cluster_centers_.tolist() == [[0.0], [(10 + 12) / 2]]


@pytest.mark.parametrize("weighted", [False, True])
@settings(max_examples=30)
@given(cuts=st.lists(st.integers(0, 900), max_size=8), batch_size=st.sampled_from([1, 64, 300, 2000]))
def test_stream_minibatches_gives_the_same_whatever_the_sizes_of_its_matrices(weighted, cuts, batch_size):
    X, _ = make_blobs(CORNERS, 225, spread=3.0)
    X = X[:12] if batch_size == 1 else X
    rows = make_rows(X, weights=1.0 + np.arange(len(X)) % 5 if weighted else None)
    borders = [0, *sorted(cut % (len(X) + 1) for cut in cuts), len(X)]
    results = []
    for stream in ([rows], [cut_rows(rows, chunk) for chunk in chunks(borders)]):
        model = start_minibatch(start_of(CORNERS, [5] * 4), seed=0)
        assert stream_minibatches(model, stream, batch_size=batch_size, still=NEVER) == (len(X), False)
        results.append(model.cluster_centers_.tobytes())
    assert results[0] == results[1]


def test_stream_minibatches_takes_exact_batches_and_then_what_is_left():
    model = Recorder(1.0)
    rows = make_rows(np.arange(10.0)[:, None])
    pieces = [cut_rows(rows, slice(a, b)) for a, b in itertools.pairwise([0, 1, 1, 9, 10])]
    assert stream_minibatches(model, pieces, batch_size=4, still=NEVER[:1]) == (10, False)
    assert model.batches == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert model.weights == [None] * 3


def test_stream_minibatches_gives_each_row_its_weight():
    model = Recorder(1.0)
    rows = make_rows(np.arange(5.0)[:, None], weights=[0.5, 1.5, 2.5, 3.5, 4.5])
    pieces = [cut_rows(rows, slice(a, b)) for a, b in ((0, 3), (3, 5))]
    stream_minibatches(model, pieces, batch_size=2, still=NEVER[:1])
    assert model.weights == [[0.5, 1.5], [2.5, 3.5], [4.5]]


@settings(max_examples=40)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=60).filter(any), st.integers(0, 100))
def test_stream_minibatches_counts_a_weighted_row_as_that_many_rows_of_its_step(times, seed):
    rows = make_rows(np.random.default_rng(seed).normal(0.0, 6.0, (len(times), 3)))
    found = []
    for stream in (make_rows(rows.X, weights=times), repeat_rows(rows, times)):
        model = start_minibatch(start_of(CORNERS, [5] * 4), seed=0)
        stream_minibatches(model, [stream], batch_size=1000, still=NEVER)
        found.append(model.cluster_centers_)
    np.testing.assert_allclose(*found, rtol=1e-5, atol=1e-5)


def test_stream_minibatches_of_nothing_takes_no_step():
    model = Recorder(1.0)
    assert stream_minibatches(model, [make_rows(np.empty((0, 1)))], batch_size=4, still=ALWAYS[:1]) == (0, False)
    assert model.batches == []


@pytest.mark.parametrize(("move", "n_steps"), [(0.0, 64), (0.9 / 64, 64), (1.1 / 64, 200)])
def test_stream_minibatches_ends_early_once_nothing_moves(move, n_steps):
    model = Recorder(move)
    rows = make_rows(np.zeros((1000, 1)))
    assert stream_minibatches(model, [rows], batch_size=5, still=np.array([1.0])) == (n_steps * 5, n_steps == 64)
    assert len(model.batches) == n_steps


def test_stream_minibatches_goes_on_while_a_single_centroid_still_moves():
    """What counts as still is known of each centroid by itself: a small segment may move farther by chance."""
    rows = make_rows(np.zeros((1000, 1)))
    still = np.array([1.0, 8.0])
    assert stream_minibatches(Recorder(0.9 / 64, 7.9 / 64), [rows], batch_size=5, still=still) == (320, True)
    for moves in ((1.1 / 64, 0.0), (0.0, 8.1 / 64), (7.9 / 64, 0.9 / 64)):
        assert stream_minibatches(Recorder(*moves), [rows], batch_size=5, still=still) == (1000, False)


def test_stream_minibatches_ends_once_what_moved_at_first_has_come_to_rest():
    model = Recorder(0.0)
    steps = itertools.count(1)
    model.partial_fit = lambda X, sample_weight: setattr(
        model, "cluster_centers_", np.full((1, 1), min(next(steps), 100.0))
    )
    rows = make_rows(np.zeros((2000, 1)))
    assert stream_minibatches(model, [rows], batch_size=5, still=np.array([0.5])) == (192 * 5, True)


def test_stream_minibatches_measures_moves_as_straight_lines_over_64_steps():
    model = Recorder(0.0)
    model.partial_fit = lambda X, sample_weight: setattr(model, "cluster_centers_", -1.0 - model.cluster_centers_)
    rows = make_rows(np.zeros((1000, 1)))
    assert stream_minibatches(model, [rows], batch_size=5, still=np.array([0.5])) == (320, True)  # back and forth


@given(st.integers(0, 1200), st.integers(1, 7))
def test_stream_minibatches_sees_at_least_the_rows_asked_for(at_least, batch_size):
    rows = make_rows(np.zeros((1000, 1)))
    n_rows, settled = stream_minibatches(
        Recorder(0.0), [rows], batch_size=batch_size, still=np.zeros(1), at_least=at_least
    )
    first = -(-max(at_least, 1) // (64 * batch_size)) * 64 * batch_size  # whole stretches of 64 steps
    assert (n_rows, settled) == ((first, True) if first <= 1000 else (1000, False))


def drifting(n_rows, n_parts):
    """Rows whose fourth blob wanders off by 15 from the first part to the last."""
    for i, n in enumerate(np.full(n_parts, n_rows // n_parts)):
        centers = CORNERS.copy()
        centers[3] += (0.0, 15.0 * i / (n_parts - 1), 0.0)
        yield make_rows(make_blobs(centers, n // 4, spread=0.5, seed=i)[0])


def test_stream_minibatches_goes_on_through_a_drifting_stream_and_settles_in_a_steady_one():
    start = start_of(CORNERS, [250] * 4)
    still = find_still(start, np.full(4, 0.5 * np.sqrt(3)), 1e-4)
    model = start_minibatch(start, seed=0)
    assert stream_minibatches(model, drifting(40_000, 40), batch_size=50, still=still) == (40_000, False)
    assert model.cluster_centers_[3, 1] > 5.0
    steady = (make_rows(make_blobs(CORNERS, 250, spread=0.5, seed=i)[0]) for i in range(40))
    n_rows, settled = stream_minibatches(start_minibatch(start, seed=0), steady, batch_size=50, still=still)
    assert settled
    assert n_rows < 10_000


def test_find_still_is_three_standard_errors_but_never_less_than_tol():
    found = find_still(start_of(np.zeros((4, 1)), [100, 400, 4, 0]), np.array([1.0, 0.0, 2.0, 0.0]), 0.01)
    np.testing.assert_allclose(found, [3 * 1.0 / 10, 0.01, 3 * 2.0 / 2, 0.01])
    np.testing.assert_allclose(find_still(start_of([[0.0]], [0.25]), np.array([1.0]), 0.01), [3 * 1.0 / 0.5])


def test_stream_minibatches_improves_the_centroids():
    X, _ = make_blobs(CORNERS, 2000, spread=0.5)
    model = start_minibatch(start_of(CORNERS + 2.0, [5] * 4), seed=0)
    stream_minibatches(model, [make_rows(X)], batch_size=100, still=NEVER)
    np.testing.assert_allclose(model.cluster_centers_, CORNERS, atol=0.1)


def test_a_step_whose_rows_all_weigh_nothing_moves_nothing():
    recorder = Recorder(1.0)
    stream = [Rows(np.ones((6, 1), np.float32), np.ones(6, bool), np.array([1.0, 1, 0, 0, 1e-300, 0]))]
    n_rows, settled = stream_minibatches(recorder, stream, batch_size=2, still=NEVER[:1])
    assert (n_rows, settled, recorder.weights) == (6, False, [[1.0, 1.0]])
