"""How well segments hold together."""

import numpy as np
import pytest
from builders import make_blobs
from sklearn.metrics import silhouette_score

from kmstream.quality import SILHOUETTE_ROWS, sample_silhouette


def test_sample_silhouette_agrees_with_sklearn():
    X, ids = make_blobs([[0.0, 0.0], [3.0, 0.0], [0.0, 3.0]], 60, spread=1.0)
    assert sample_silhouette(X, ids) == pytest.approx(silhouette_score(X, ids))


@pytest.mark.parametrize("ids", [[], [0], [0, 0, 0], [0, 1, 2]])
def test_sample_silhouette_of_one_segment_or_of_single_rows_is_none(ids):
    X = np.arange(len(ids), dtype=np.float32)[:, None]
    assert sample_silhouette(X, np.array(ids, dtype=np.int32)) is None


def test_sample_silhouette_takes_every_nth_row_of_many():
    X, ids = make_blobs([[0.0], [2.0]], SILHOUETTE_ROWS // 2 + 50, spread=0.7)
    assert sample_silhouette(X, ids) == pytest.approx(silhouette_score(X[::2], ids[::2]), abs=1e-6)
