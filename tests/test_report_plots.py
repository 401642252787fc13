"""The figures of the page: what they draw of rows of known places, of tables and of the runs before."""

import numpy as np
import pytest
from builders import look_at_rows, make_blobs, make_view_model
from report_content import REFRESH_RUN, SCORE_RUN, make_history, make_refresh, make_score, make_segment

from kmstream.report.change_plots import (
    draw_history,
    draw_passes,
    draw_shares,
    draw_shifts,
    of_all_runs,
    title_history,
)
from kmstream.report.distribution_plots import draw_boxes, draw_categories, draw_histogram
from kmstream.report.flow_plots import MAX_FLOWS, draw_flows, draw_migration
from kmstream.report.map_plots import draw_map, draw_silhouettes
from kmstream.report.plot_style import ALERT, MAX_ROWS, NOW, PALE, colours_of

GOLD, SILVER, ENDED = "segment-01", "segment-02", "segment-03"


def look_at_blobs(then=None):
    X, ids = make_blobs([[-4.0, 0.0], [4.0, 1.0]], 200)
    return look_at_rows({"x": X[:, 0], "y": X[:, 1]}, np.array([GOLD, SILVER])[ids], then=then)


def arrows(figure):
    return [one for one in figure.layout.annotations if one.showarrow is not False]


# --- what changed ----------------------------------------------------------------------------------------------------


def test_shares_of_then_are_hollow_beside_those_of_now():
    way, then, now = draw_shares(make_score()).data
    assert (list(then.x), list(now.x)) == ([0.82, 0.18], [0.73, 0.27])
    assert list(way.x) == [0.82, 0.73, None, 0.18, 0.27, None]
    assert list(now.y) == list(then.y) == [0, 1]


def test_shares_of_many_segments_are_those_that_changed_most():
    segments = [make_segment(f"s{i:02d}", 100 - i, 0.01, 0.01 + i / 1000) for i in range(40)]
    names = draw_shares(make_score(segments=segments)).layout.yaxis.ticktext
    assert list(names) == [f"s{i:02d}" for i in range(40 - MAX_ROWS, 40)]


def test_a_shift_beyond_its_limit_is_marked_and_noise_is_pale():
    segments = [
        make_segment("noise", 10, 0.2, 0.2, shift=0.05),
        make_segment("moved", 20, 0.3, 0.3, shift=0.2),
        make_segment("segment-02", 30, 0.5, 0.5, shift=0.62),
        make_segment("new", 5, 0.1, 0.0, shift=None),
    ]
    figure = draw_shifts(make_score(segments=segments))
    assert list(figure.data[0].x) == [0.05, 0.2, 0.62]
    assert list(figure.data[0].marker.color) == [PALE, NOW, ALERT]
    assert [(line.x0, line.line.color) for line in figure.layout.shapes] == [(0.5, ALERT)]
    assert draw_shifts(make_score(segments=segments[3:])) is None


def test_shares_over_time_need_three_runs_and_end_with_this_one():
    later = {"time": "2011-07-01T00:00:00+00:00", "kind": "score", "shares": {GOLD: 1.0}}
    runs = of_all_runs(make_score(), [*make_history(2), later], SCORE_RUN.created, SCORE_RUN.kind)
    assert [one["time"][:10] for one in runs] == ["2011-01-01", "2011-02-01", "2011-06-30"]
    figure = draw_history(runs, {})
    assert {line.name: list(line.y) for line in figure.data} == {GOLD: [0.5, 0.51, 0.73], SILVER: [0.5, 0.49, 0.27]}
    assert draw_history(runs[1:], {}) is None


def test_history_of_many_segments_says_that_it_shows_the_largest():
    shares = {f"s{i:02d}": i / 105 for i in range(15)}
    runs = [{"time": f"2011-0{i}-01T00:00:00+00:00", "kind": "refresh", "shares": shares} for i in (1, 2, 3)]
    assert [line.name for line in draw_history(runs, {}).data] == [f"s{i:02d}" for i in range(3, 15)]
    assert title_history(15) == "Shares over time, the 12 largest of 15 segments; a diamond is a refit"


def test_a_segment_is_in_the_history_only_while_it_lives():
    runs = make_history(4)
    runs[3]["shares"] = {GOLD: 0.8, "new": 0.2}
    lines = {line.name: list(line.y) for line in draw_history(runs, {}).data}
    assert lines[SILVER][3] is None
    assert lines["new"] == [None, None, None, 0.2]


def test_passes_are_drawn_where_at_least_two_measured_the_inertia():
    assert list(draw_passes(REFRESH_RUN.passes).data[0].y) == [2.31, 2.154321]
    unmeasured = {**REFRESH_RUN.passes[0], "inertia_per_row": None}
    assert draw_passes([unmeasured, REFRESH_RUN.passes[1]]) is None


# --- from where to where ---------------------------------------------------------------------------------------------


def test_flows_are_bands_as_high_as_their_rows_between_a_node_for_each_segment():
    figure = draw_flows({"labels_from": ["a", "b"], "labels_to": ["b", "a"], "rows": [[10, 90], [300, 0]]}, "rows")
    nodes = [(shape.x0, shape.y1 - shape.y0) for shape in figure.layout.shapes if shape.type == "rect"]
    assert nodes == [(-0.02, 300), (-0.02, 100), (1, 310), (1, 90)]  # what was largest before comes first
    bands = [shape.path for shape in figure.layout.shapes if shape.type == "path"]
    assert len(bands) == 3  # none where no row went
    assert figure.data[0].hovertext[-1].replace("\u00a0", " ") == "a \u2192 b<br>10 rows, 10.0 %"  # moves lie on top


@pytest.mark.parametrize(("n", "counted"), [(MAX_FLOWS + 1, 1), (2, 0)], ids=["too many segments", "no rows"])
def test_flows_that_nobody_could_follow_are_not_drawn(n, counted):
    labels = [f"s{i}" for i in range(n)]
    assert draw_flows({"labels_from": labels, "labels_to": labels, "rows": [[counted] * n] * n}, "rows") is None


def test_migration_is_a_heat_map_of_the_shares_of_the_old_segments():
    (cells,) = draw_migration({"labels_from": ["a", "b"], "labels_to": ["b", "c"], "rows": [[1, 3], [8, 0]]}).data
    assert [list(row) for row in cells.z] == [[0.25, 0.75], [1, 0]]
    assert cells.hovertext[0][1].replace("\u00a0", " ") == "a \u2192 c<br>3 rows, 75.0 %"


def test_migration_of_many_segments_shows_those_that_gave_or_got_most():
    labels = [f"s{i:02d}" for i in range(30)]
    rows = np.diag(np.full(30, 1000)) + np.eye(30, k=1, dtype=int) * np.arange(30)[:, None]
    figure = draw_migration({"labels_from": labels, "labels_to": labels, "rows": rows.tolist()})
    assert list(figure.layout.yaxis.ticktext) == labels[29 - MAX_ROWS : 29]
    assert list(figure.layout.xaxis.ticktext) == labels[30 - MAX_ROWS :]


# --- where the segments lie ------------------------------------------------------------------------------------------


def test_arrows_lead_from_then_to_now_only_where_a_segment_continues():
    found = look_at_blobs(then={GOLD: np.array([-3.0, 2.0]), ENDED: np.array([0.0, 0.0])})["map"]
    figure = draw_map(found, {})
    (arrow,) = arrows(figure)
    centroid = next(one for one in found["centroids"] if one["cluster_label"] == GOLD)
    assert [arrow.ax, arrow.ay] == centroid["then"]
    assert [arrow.x, arrow.y] == centroid["now"]
    shown = {trace.name: len(trace.x) for trace in figure.data if trace.name}
    assert shown == {"centroid then": 2, "centroid now": 2}


def test_map_of_one_feature_is_a_strip_with_the_centroids_above_it():
    found = look_at_rows({"x": [0.0, 1.0, 2.0, 10.0]}, [GOLD] * 3 + [SILVER], then={GOLD: np.array([2.0])})["map"]
    figure = draw_map(found, {})
    assert len(found["axes"]) == 1
    assert figure.layout.yaxis.visible is False
    rows = [trace for trace in figure.data if not trace.name]
    assert max(y for trace in rows for y in trace.y) < min(figure.data[-1].y)
    assert len(arrows(figure)) == 1


def test_names_on_the_map_do_not_hide_each_other():
    rng = np.random.default_rng(1)
    labels = [f"segment-{i:02d}" for i in range(8)]
    centroids = [{"cluster_label": label, "now": (rng.random(2) * 6).tolist(), "then": None} for label in labels]
    axis = {"explained": 0.4, "strongest": ["x"]}
    figure = draw_map({"axes": [axis, axis], "frame": [[-1, 7], [-1, 7]], "rows": {}, "centroids": centroids}, {})
    boxes = []
    for one in figure.layout.annotations:
        x, y = (one.x + 1) * 300 / 8 + one.xshift, (one.y + 1) * 380 / 8 + one.yshift
        left = x - {"left": 0, "center": 33, "right": 66}[one.xanchor]
        bottom = y - {"bottom": 0, "middle": 7.5, "top": 15}[one.yanchor]
        boxes.append((left, bottom))
    assert len(boxes) == 8
    assert all(abs(a[0] - b[0]) >= 66 or abs(a[1] - b[1]) >= 15 for i, a in enumerate(boxes) for b in boxes[:i])


def test_silhouettes_are_drawn_per_segment_beside_the_mean_of_all():
    figure = draw_silhouettes({"overall": 0.25, "segments": {GOLD: 0.5, SILVER: -0.1, ENDED: None}}, {})
    assert list(figure.data[0].x) == [-0.1, 0.5]
    assert figure.layout.shapes[0].x0 == 0.25
    assert draw_silhouettes({"overall": None, "segments": {GOLD: None}}, {}) is None


# --- distributions by segment ----------------------------------------------------------------------------------------


def test_outlines_of_a_histogram_enclose_the_same_area():
    rng = np.random.default_rng(0)
    columns = {"x": np.concatenate([rng.normal(0, 1, 3000), rng.normal(9, 3, 300)])}
    (told,) = look_at_rows(columns, [GOLD] * 3000 + [SILVER] * 300)["distributions"]
    areas = [np.dot(np.diff(trace.x), trace.y[:-1]) for trace in draw_histogram(told, {}).data]
    assert areas[0] == pytest.approx(areas[1], rel=0.05)


def test_boxes_show_quartiles_in_the_places_of_the_axis():
    columns = {"x": np.expm1(np.linspace(0.0, 4.0, 101))}
    model = make_view_model(("x",), log1p=("x",))
    (told,) = look_at_rows(columns, [GOLD] * 101, model=model)["distributions"]
    box = draw_boxes(told, {}).data[0]
    assert [box.lowerfence[0], box.q1[0], box.median[0], box.q3[0], box.upperfence[0]] == pytest.approx(
        [0.2, 1.0, 2.0, 3.0, 3.8], abs=1e-3
    )


def test_categories_are_stacked_to_the_whole_segment_with_all_others_last():
    counts = {GOLD: [3, 1, 4], SILVER: [0, 2, 0]}
    figure = draw_categories({"categories": ["shop", "web", None], "counts": counts})
    assert {bar.name: list(bar.x) for bar in figure.data} == {
        "shop": [0, 0.375],
        "web": [1, 0.125],
        "all others": [0, 0.5],
    }
    assert list(figure.layout.yaxis.ticktext) == [SILVER, GOLD]  # from the bottom up


# --- colours ---------------------------------------------------------------------------------------------------------


def test_segments_have_the_same_colour_in_every_plot():
    drift = make_refresh()
    colours = colours_of(drift)
    flows = draw_flows(drift["migration"], "rows")
    nodes = {shape.fillcolor for shape in flows.layout.shapes if shape.type == "rect"}
    assert nodes == set(colours.values())
    seen = look_at_blobs()["distributions"][0]
    boxes = [trace.line.color for trace in draw_boxes(seen, colours).data if trace.type == "box"]
    assert sorted(boxes) == sorted([colours[GOLD], colours[SILVER]])
    outlines = [trace.line.color for trace in draw_histogram(seen, colours).data]
    assert outlines == [colours[label] for label in seen["counts"]]
    bars = draw_silhouettes({"overall": 0.4, "segments": {GOLD: 0.5, SILVER: 0.3}}, colours).data[0]
    assert list(bars.marker.color) == [colours[SILVER], colours[GOLD]]
    lines = draw_history(make_history(3), colours).data
    assert [line.line.color for line in lines] == [colours[GOLD], colours[SILVER]]
