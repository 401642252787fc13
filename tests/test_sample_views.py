"""What plots of sampled rows show: the rows that are looked at, their segments, and the centroids of now and then."""

import numpy as np
import pyarrow as pa
import pytest
from builders import look_at_rows, make_view_model

from kmstream.sample_views import MAX_ROWS, tell_views

GOLD, SILVER = "segment-01", "segment-02"


def test_views_look_at_so_many_rows_at_most():
    n_rows = 2 * MAX_ROWS
    told = look_at_rows({"x": np.arange(n_rows) / 3}, [GOLD] * n_rows)
    assert told["sample_rows"] == MAX_ROWS
    (of_x,) = told["distributions"]
    assert sum(of_x["counts"][GOLD]) + of_x["beyond"][GOLD] == MAX_ROWS


def test_views_count_the_segments_that_have_rows():
    sample = pa.table({"x": [1.0, 2.0, 4.0], "cluster_label": [GOLD, GOLD, SILVER]})
    segments = [
        {"cluster_label": SILVER, "rows": 10, "centroid": {"x": 4.0}},
        {"cluster_label": "retired", "rows": 0, "centroid": {"x": 9.0}},
        {"cluster_label": GOLD, "rows": 20, "centroid": {"x": 1.5}},
    ]
    told = tell_views(sample, segments, make_view_model(("x",)), eta_squared=np.array([0.5]), then={})
    assert (told["sample_rows"], told["n_segments"]) == (3, 2)
    assert list(told["distributions"][0]["counts"]) == [GOLD, SILVER]  # the largest first
    assert [centroid["cluster_label"] for centroid in told["map"]["centroids"]] == [GOLD, SILVER]


def test_views_lay_rows_and_the_centroids_of_now_and_then_on_one_map():
    """The places are less the mean of the rows, which is 3."""
    told = look_at_rows({"x": [0.0, 1.0, 2.0, 9.0]}, [GOLD] * 3 + [SILVER], then={GOLD: np.array([2.0])})
    assert told["map"]["rows"] == {GOLD: [[-3.0, -2.0, -1.0]], SILVER: [[6.0]]}
    assert told["map"]["centroids"] == [
        {"cluster_label": GOLD, "now": [-2.0], "then": [-1.0]},
        {"cluster_label": SILVER, "now": [6.0], "then": None},
    ]


def test_views_lay_rows_without_a_value_where_the_model_takes_them_to_be():
    sample = pa.table({"x": pa.array([1.0, None, 4.0]), "cluster_label": [GOLD] * 3})
    segments = [{"cluster_label": GOLD, "rows": 3, "centroid": {"x": 4.0}}]
    model = make_view_model(("x",), on_missing="mean")
    told = tell_views(sample, segments, model, eta_squared=np.array([0.5]), then={})
    assert told["map"]["rows"] == {GOLD: [[-3.0, 3.0, 0.0]]}  # as 7
    assert sum(told["distributions"][0]["counts"][GOLD]) == 2


def test_views_leave_out_rows_of_no_segment_and_rows_that_the_model_skips():
    sample = pa.table({"x": [1.0, 2.0, 50.0, float("nan")], "cluster_label": pa.array([GOLD, GOLD, None, GOLD])})
    segments = [{"cluster_label": GOLD, "rows": 2, "centroid": {"x": 1.5}}]
    model = make_view_model(("x",), on_missing="skip")
    told = tell_views(sample, segments, model, eta_squared=np.array([0.5]), then={})
    assert told["map"]["rows"] == {GOLD: [[-0.5, 0.5]]}
    assert sum(told["distributions"][0]["counts"][GOLD]) == 2
    assert told["sample_rows"] == 4


@pytest.mark.parametrize("n_rows", [0, 4])
def test_views_of_a_run_without_any_row_in_a_segment_are_empty(n_rows):
    texts = {"c0": ["web"] * n_rows, "cluster_label": [GOLD] * n_rows}
    sample = pa.table(
        {"x": np.arange(float(n_rows))} | {name: pa.array(column, pa.string()) for name, column in texts.items()}
    )
    segments = [{"cluster_label": GOLD, "rows": 0, "centroid": {"x": 1.0, "c0=web": 1.0}}]
    model = make_view_model(("x",), (("web",),))
    told = tell_views(sample, segments, model, eta_squared=np.array([0.5, 0.4]), then={GOLD: np.zeros(2)})
    assert told == {"sample_rows": n_rows, "n_segments": 0, "map": None, "distributions": []}
