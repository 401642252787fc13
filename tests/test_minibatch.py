"""The mini-batch stream."""

import numpy as np
import pytest
from builders import CORNERS, chunks, make_blobs
from hypothesis import given, settings
from hypothesis import strategies as st

from kmstream.minibatch import start_minibatch, stream_minibatches
from kmstream.search import SampleFit


class Recorder:
    """Notes the batches it is given; its centroids move by a set distance at each."""

    def __init__(self, move):
        self.cluster_centers_ = np.zeros((1, 1))
        self.move = move
        self.batches = []

    def partial_fit(self, X):
        self.batches.append(X.ravel().tolist())
        self.cluster_centers_ = self.cluster_centers_ + self.move


def start_of(centroids, rows):
    return SampleFit(np.array(centroids, dtype=np.float64), np.array(rows), 0.0)


def test_start_minibatch_starts_at_the_centroids_with_the_weight_of_their_rows():
    model = start_minibatch(start_of([[0.0], [10.0]], [6, 2]), seed=0)
    assert model.cluster_centers_.tolist() == [[0.0], [10.0]]
    model.partial_fit(np.array([[2.0], [2.0], [14.0], [14.0]], dtype=np.float32))
    np.testing.assert_allclose(model.cluster_centers_, [[(6 * 0 + 2 * 2) / 8], [(2 * 10 + 2 * 14) / 4]], rtol=1e-6)


@settings(max_examples=30)
@given(st.lists(st.integers(0, 900), max_size=8), st.sampled_from([1, 64, 300, 2000]))
def test_stream_minibatches_gives_the_same_whatever_the_sizes_of_its_matrices(cuts, batch_size):
    X, _ = make_blobs(CORNERS, 225, spread=3.0)
    X = X[:12] if batch_size == 1 else X
    borders = [0, *sorted(cut % (len(X) + 1) for cut in cuts), len(X)]
    results = []
    for matrices in ([X], [X[chunk] for chunk in chunks(borders)]):
        model = start_minibatch(start_of(CORNERS, [5] * 4), seed=0)
        assert stream_minibatches(model, matrices, batch_size=batch_size, tol=0.0) == len(X)
        results.append(model.cluster_centers_.tobytes())
    assert results[0] == results[1]


def test_stream_minibatches_takes_exact_batches_and_then_what_is_left():
    model = Recorder(1.0)
    rows = np.arange(10.0, dtype=np.float32)[:, None]
    assert stream_minibatches(model, [rows[:1], rows[1:1], rows[1:9], rows[9:]], batch_size=4, tol=0.0) == 10
    assert model.batches == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_stream_minibatches_of_nothing_takes_no_step():
    model = Recorder(1.0)
    assert stream_minibatches(model, [np.empty((0, 1), dtype=np.float32)], batch_size=4, tol=0.0) == 0
    assert model.batches == []


@pytest.mark.parametrize(("move", "n_steps"), [(0.0, 64), (0.9 / 64, 64), (1.1 / 64, 200)])
def test_stream_minibatches_ends_early_once_nothing_moves(move, n_steps):
    model = Recorder(move)
    rows = np.zeros((1000, 1), dtype=np.float32)
    assert stream_minibatches(model, [rows], batch_size=5, tol=1.0) == n_steps * 5
    assert len(model.batches) == n_steps


def test_stream_minibatches_improves_the_centroids():
    X, _ = make_blobs(CORNERS, 2000, spread=0.5)
    model = start_minibatch(start_of(CORNERS + 2.0, [5] * 4), seed=0)
    stream_minibatches(model, [X], batch_size=100, tol=0.0)
    np.testing.assert_allclose(model.cluster_centers_, CORNERS, atol=0.1)
