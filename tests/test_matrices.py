"""Rows of a dataset in scaled units, with what is counted of them, from tiny files."""

import numpy as np
import pyarrow as pa
import pytest
from builders import break_column, make_scaling

from kmstream.dataset import Span
from kmstream.errors import InvalidFeatureError
from kmstream.matrices import open_matrices

SCALING = make_scaling(1, center=1.0, scale=2.0, categories=(("a", "b"),))
FEATURES = {"numeric": ["x"], "categorical": ["kind"], "on_missing": "skip"}
TABLE = pa.table({"x": [1.0, 3.0, None, 0.5, 2.0], "kind": ["a", "b", "a", "new", "b"], "w": [1.0, 0.5, 2.0, 0.0, 3.0]})
# In scaled units, a missing value being 7; then one column for each category.
X = [[0.0, 1, 0], [1.0, 0, 1], [3.0, 1, 0], [-0.25, 0, 0], [0.5, 0, 1]]
KEEP = [True, True, False, True, True]
BINS = [[1, 1, 1, 1, 1]]  # 0.5 | 1 | 2 | 3 | missing


@pytest.fixture
def opened(config, data, files, run_of, tmp_path):
    """Open the matrices of one small file, in batches of two rows."""
    files(data, {"a.parquet": TABLE}, row_group_size=3)

    def open_here(*, scratch_limit=0, chunk_rows=2, **features):
        made = config(features=FEATURES | features, engine={"scratch_limit": scratch_limit})
        run = run_of(made, chunk_rows=chunk_rows)
        return run.dataset.spans[0], open_matrices(run, SCALING, tmp_path / "scratch")

    return open_here


def together(batches):
    """The rows of all batches: X and keep, as lists."""
    batches = list(batches)
    return [[row for rows in batches for row in getattr(rows, name).tolist()] for name in ("X", "keep")]


@pytest.mark.parametrize("scratch_limit", ["0B", "1MiB"], ids=["from Parquet", "from the copy"])
def test_read_gives_the_rows_in_order_and_scaled_in_every_pass(opened, scratch_limit):
    span, matrices = opened(scratch_limit=scratch_limit)
    with matrices as these:
        for _ in range(3):
            batches = list(these.read(span))
            assert [len(rows.X) for rows in batches] == [2, 2, 1]
            assert together(batches) == [X, KEEP]
            assert all(rows.weights is None for rows in batches)


@pytest.mark.parametrize("scratch_limit", ["0B", "1MiB"], ids=["from Parquet", "from the copy"])
def test_read_counted_ends_with_the_counts_of_the_whole_span(opened, scratch_limit):
    span, matrices = opened(scratch_limit=scratch_limit)
    with matrices as these:
        list(these.read(span))
        found = list(these.read_counted(span))
    assert together(rows for rows, _ in found) == [X, KEEP]
    counts = found[-1][1]
    assert (counts.bins.tolist(), counts.bins.dtype) == (BINS, np.int64)
    assert (counts.skipped, counts.unseen) == ({"x: missing": 1}, {"kind": 1})


def test_decode_counts_all_of_the_span_so_far(opened):
    span, matrices = opened()
    with matrices as these:
        told = [(counts.bins.tolist(), counts.skipped.total()) for _, counts in these.decode(span)]
    assert told == [([[0, 1, 0, 1, 0]], 0), ([[1, 1, 0, 1, 1]], 1), (BINS, 1)]


def test_a_span_holds_its_own_rows_alone(opened):
    whole, matrices = opened()
    span = Span(whole.partition, 1, 3)  # ends in the second row group
    with matrices as these:
        assert together(these.read(span)) == [X[1:4], KEEP[1:4]]
        *_, (_, counts) = these.read_counted(span)
    assert counts.bins.tolist() == [[1, 0, 0, 1, 1]]


def test_weighted_rows_bring_their_weights_and_are_counted_by_them(opened):
    span, matrices = opened(weight="w")
    with matrices as these:
        found = list(these.decode(span))
        assert these.kind is np.float64
    assert np.concatenate([rows.weights for rows, _ in found]).tolist() == [1.0, 0.5, 2.0, 0.0, 3.0]
    assert found[-1][1].bins.tolist() == [[0.0, 1.0, 3.0, 0.5, 2.0]]


def test_decode_takes_a_column_for_a_feature_and_a_weight_at_once(opened):
    span, matrices = opened(numeric=["w"], weight="w")
    with matrices as these:
        (rows, _), *_ = these.decode(span)
    assert rows.X[:, 0].tolist() == [0.0, -0.25]
    assert rows.weights.tolist() == [1.0, 0.5]


def test_decode_reads_no_column_that_it_does_not_need(opened, data):
    break_column(data / "a.parquet", "w")
    span, matrices = opened()
    with matrices as these:
        assert together(rows for rows, _ in these.decode(span)) == [X, KEEP]


def test_decode_tells_where_a_value_lies_that_cannot_be_used(opened):
    span, matrices = opened(on_missing="error")
    with matrices as these, pytest.raises(InvalidFeatureError, match="'x' is missing in 1 of 2 rows") as caught:
        list(these.decode(span))
    assert caught.value.__notes__[0] == "in a.parquet, rows 2-3; first such row 2"
