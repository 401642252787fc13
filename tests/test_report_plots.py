"""What the page shows of sampled rows, and of the runs before: from rows of known places to the plots in a browser."""

import html
import json
import re
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from builders import make_blobs, make_features, make_scaling
from hypothesis import given
from hypothesis import strategies as st
from sklearn.decomposition import PCA
from test_report import (
    CURRENT,
    HOSTILE,
    MAX_PAGE_BYTES,
    REFERENCE,
    REFRESH_RUN,
    SCORE_RUN,
    Page,
    browse,
    make_first,
    make_refresh,
    make_score,
)

from kmstream.clustering import ClusterModel
from kmstream.distributions import MAX_BINS, MAX_CATEGORIES, MAX_FEATURES, MAX_SEGMENTS, find_edges
from kmstream.features import encoded_names
from kmstream.pipeline import refresh, score
from kmstream.projection import MAP_ROWS, find_projection, tell_map
from kmstream.report import write_report
from kmstream.report.distribution_plots import draw_boxes, draw_categories, draw_histogram
from kmstream.report.plots import draw_flows
from kmstream.report.segment_plots import (
    colours_of,
    draw_history,
    draw_map,
    draw_silhouettes,
    of_all_runs,
    title_history,
)
from kmstream.report.snapshot import build_snapshot
from kmstream.reporting import tell_history
from kmstream.sample_views import tell_views

__all__ = ["browse"]  # a fixture of test_report, for the pages here

MAX_ADDED_BYTES = 300_000
GOLD, SILVER, ENDED = "segment-01", "segment-02", "segment-03"


def make_model(numeric=("x", "y"), categories=(), log1p=()):
    features = make_features(tuple(numeric), categorical=tuple(f"c{i}" for i in range(len(categories))), log1p=log1p)
    return ClusterModel(features, make_scaling(len(numeric), categories=categories), np.zeros((0, len(numeric))), ())


def look(columns, labels, *, model=None, eta_squared=None, then=None):
    """The views of rows given as columns, each with its segment; centres are means, and a category is half of all."""
    numeric = [name for name in columns if not isinstance(columns[name][0], str)]
    model = model or make_model(numeric)
    labels, n_features = np.array(labels), model.scaling.n_features

    def center(label):
        means = {name: float(np.mean(np.array(columns[name])[labels == label])) for name in numeric}
        return means | dict.fromkeys(encoded_names(model.features, model.scaling)[len(numeric) :], 0.5)

    segments = [
        {"cluster_label": label, "rows": int((labels == label).sum()), "centroid": center(label)}
        for label in dict.fromkeys(labels.tolist())
    ]
    sample = pa.table(columns | {"cluster_label": labels.tolist()})
    eta_squared = np.linspace(0.9, 0.1, n_features) if eta_squared is None else np.array(eta_squared)
    return tell_views(sample, segments, model, eta_squared=eta_squared, then=then or {})


def look_at_blobs(names=(GOLD, SILVER), n_each=200, then=None):
    X, ids = make_blobs([[-4.0, 0.0], [4.0, 1.0]], n_each)
    return look({"x": X[:, 0], "y": X[:, 1]}, np.array(names)[ids], then=then)


def arrows(figure):
    return [one for one in figure.layout.annotations if one.showarrow is not False]


def write_page(path, drift, run, *, samples=(None, None)):
    write_report(path, drift, reference_sample=samples[0], current_sample=samples[1], run=run)
    return Page(path.read_text(encoding="utf-8"))


def make_runs(n, names=(GOLD, SILVER)):
    shares = [{names[0]: 0.5 + i / 100, names[1]: 0.5 - i / 100} for i in range(n)]
    return [{"time": f"2011-0{i + 1}-01T00:00:00+00:00", "kind": "score", "shares": s} for i, s in enumerate(shares)]


def test_find_projection_finds_the_components_of_scikit_learn():
    X = np.random.default_rng(0).normal(size=(300, 5)) @ np.diag([5.0, 3.0, 2.0, 1.0, 0.5])
    ours, theirs = find_projection(X), PCA(2).fit(X)
    assert ours.explained == pytest.approx(theirs.explained_variance_ratio_)
    assert np.abs(ours.axes) == pytest.approx(np.abs(theirs.components_))
    assert np.abs(ours.project(X)) == pytest.approx(np.abs(theirs.transform(X)))


@given(seed=st.integers(0, 2**16))
def test_find_projection_does_not_turn_round_with_the_order_or_the_side_of_the_rows(seed):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(40, 3)) * [3.0, 2.0, 1.0]
    axes = find_projection(X).axes
    assert find_projection(rng.permutation(X)).axes == pytest.approx(axes)
    assert find_projection(-X).axes == pytest.approx(axes)
    assert (axes[np.arange(2), np.abs(axes).argmax(axis=1)] > 0).all()


@pytest.mark.parametrize("X", [np.zeros((0, 2)), np.ones((1, 2)), np.full((50, 3), 7.0)], ids=["none", "one", "alike"])
def test_find_projection_of_rows_that_do_not_differ_is_none(X):
    assert find_projection(X) is None


def test_two_blobs_lie_apart_on_the_map_and_each_centre_among_its_rows():
    found = look_at_blobs()["map"]
    (low, high), axis = sorted(found["rows"].items(), key=lambda item: min(item[1][0])), 0
    assert max(low[1][axis]) < min(high[1][axis])
    centres = {centre["cluster_label"]: centre["now"][axis] for centre in found["centres"]}
    assert max(low[1][axis]) >= centres[low[0]] >= min(low[1][axis])
    assert centres[high[0]] - centres[low[0]] == pytest.approx(8.06, abs=0.05)
    assert found["axes"][0]["strongest"] == ["x"]
    assert sum(one["explained"] for one in found["axes"]) == pytest.approx(1.0)


def test_map_has_so_many_rows_at_most_and_frames_what_is_not_far_out():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(50_000, 3)).astype(np.float32)
    X[7] = 10_000.0
    found = tell_map(X, np.zeros(len(X), int), ["all"], np.zeros((1, 3)), "abc", {})
    assert MAP_ROWS / 2 < len(found["rows"]["all"][0]) <= MAP_ROWS
    assert all(-6 < low < high < 6 for low, high in found["frame"])


def test_arrows_lead_from_then_to_now_only_where_a_segment_continues():
    found = look_at_blobs(then={GOLD: np.array([-3.0, 2.0]), ENDED: np.array([0.0, 0.0])})["map"]
    figure = draw_map(found, {})
    (arrow,) = arrows(figure)
    centre = next(one for one in found["centres"] if one["cluster_label"] == GOLD)
    assert [arrow.ax, arrow.ay] == centre["then"]
    assert [arrow.x, arrow.y] == centre["now"]
    shown = {trace.name: len(trace.x) for trace in figure.data if trace.name}
    assert shown == {"centre then": 2, "centre now": 2}


def test_map_of_one_feature_is_a_strip_with_the_centres_above_it():
    found = look({"x": [0.0, 1.0, 2.0, 10.0]}, [GOLD] * 3 + [SILVER], then={GOLD: np.array([2.0])})["map"]
    figure = draw_map(found, {})
    assert len(found["axes"]) == 1
    assert figure.layout.yaxis.visible is False
    rows = [trace for trace in figure.data if not trace.name]
    assert max(y for trace in rows for y in trace.y) < min(figure.data[-1].y)
    assert len(arrows(figure)) == 1


def test_names_on_the_map_do_not_hide_each_other():
    rng = np.random.default_rng(3)
    labels = [f"segment-{i:02d}" for i in range(8)]
    centres = [{"cluster_label": label, "now": (rng.random(2) * 6).tolist(), "then": None} for label in labels]
    axis = {"explained": 0.4, "strongest": ["x"]}
    figure = draw_map({"axes": [axis, axis], "frame": [[-1, 7], [-1, 7]], "rows": {}, "centres": centres}, {})
    boxes = []
    for one in figure.layout.annotations:
        x, y = (one.x + 1) * 300 / 8 + one.xshift, (one.y + 1) * 380 / 8 + one.yshift
        left = x - {"left": 0, "center": 33, "right": 66}[one.xanchor]
        bottom = y - {"bottom": 0, "middle": 7.5, "top": 15}[one.yanchor]
        boxes.append((left, bottom))
    assert len(boxes) == 8
    assert all(abs(a[0] - b[0]) >= 66 or abs(a[1] - b[1]) >= 15 for i, a in enumerate(boxes) for b in boxes[:i])


def test_histograms_count_every_sampled_row_of_a_segment():
    rng = np.random.default_rng(0)
    columns = {"x": rng.normal(size=5000), "y": rng.lognormal(2.0, 1.0, 5000)}
    labels = np.where(columns["x"] > 1, GOLD, SILVER)
    told = look(columns, labels, model=make_model(log1p=("y",)))["distributions"]
    assert [(one["feature"], one["kind"]) for one in told] == [("x", "numeric"), ("y", "log1p")]
    for one in told:
        assert len(one["edges"]) == MAX_BINS + 1
        for label in (GOLD, SILVER):
            n = (labels == label).sum()
            assert sum(one["counts"][label]) + one["beyond"][label] == n
            assert one["beyond"][label] <= 0.1 * n
            inside = (columns[one["feature"]] >= one["edges"][0]) & (columns[one["feature"]] <= one["edges"][-1])
            assert sum(one["counts"][label]) == pytest.approx((inside & (labels == label)).sum(), abs=2)  # rounded ends


def test_histogram_shows_a_small_segment_that_lies_apart_from_all():
    columns = {"x": np.append(np.random.default_rng(0).normal(size=4990), np.linspace(990.0, 1000.0, 10))}
    (told,) = look(columns, [GOLD] * 4990 + [SILVER] * 10)["distributions"]
    assert sum(told["counts"][SILVER]) >= 8


@given(
    values=st.lists(st.integers(0, 3000), min_size=1, max_size=60),
    is_log=st.booleans(),
)
def test_bins_of_whole_numbers_end_between_them(values, is_log):
    values = np.array(values, dtype=float)
    places = np.log1p(values) if is_log else values
    edges = find_edges(places, places.min(), places.max(), is_log=is_log)
    original = np.expm1(edges) if is_log else edges
    assert (np.diff(edges) > 0).all()
    assert len(edges) <= MAX_BINS + 2
    assert original % 1 == pytest.approx(0.5, abs=1e-6)
    assert np.histogram(places, edges)[0].sum() == len(values)


def test_distributions_are_of_the_features_that_separate_best():
    names = [f"f{i}" for i in range(9)]
    rng = np.random.default_rng(0)
    columns = {name: rng.normal(size=60) for name in names} | {"c0": ["web", "shop"] * 30}
    eta = [0.1, float("nan"), 0.9, 0.2, 0.3, 0.4, 0.5, 0.6, 0.05, 0.02, 0.7]  # the last two are the categories of c0
    told = look(columns, [GOLD, SILVER] * 30, model=make_model(names, (("shop", "web"),)), eta_squared=eta)
    best = [one["feature"] for one in told["distributions"]]
    assert best == ["f2", "c0", "f7", "f6", "f5", "f4"]
    assert len(best) == MAX_FEATURES
    assert told["distributions"][1] == {
        "feature": "c0",
        "kind": "category",
        "categories": ["shop", "web"],
        "counts": {GOLD: [0, 30], SILVER: [30, 0]},
    }


def test_rare_categories_are_counted_together():
    values = [f"v{i}" for i in range(20) for _ in range(20 - i)]
    told = look({"x": np.arange(len(values)), "c0": values}, [GOLD] * len(values), model=make_model("x", (("v0",),)))
    found = next(one for one in told["distributions"] if one["kind"] == "category")
    assert found["categories"] == [*(f"v{i}" for i in range(MAX_CATEGORIES)), None]
    assert sum(found["counts"][GOLD]) == len(values)
    figure = draw_categories(found)
    assert sum(trace.x[0] for trace in figure.data) == pytest.approx(1.0, abs=1e-3)
    assert figure.data[-1].name == "all others"


def test_missing_values_are_in_no_distribution():
    columns = {"x": pa.array([1.0, None, 3.0, float("nan"), 5.5]), "y": np.arange(5.0)}
    segments = [{"cluster_label": GOLD, "rows": 5, "centroid": {"x": 1.0, "y": 2.0}}]
    model = make_model()
    model = replace(model, features=model.features.model_copy(update={"on_missing": "mean"}))
    sample = pa.table(columns | {"cluster_label": [GOLD] * 5})
    told = tell_views(sample, segments, model, eta_squared=np.array([0.5, 0.4]), then={})
    assert sum(told["distributions"][0]["counts"][GOLD]) == 3
    assert sum(told["distributions"][1]["counts"][GOLD]) == 5
    assert len(told["map"]["rows"][GOLD][0]) == 5  # filled, as they are in the segments


@pytest.mark.parametrize("n_rows", [0, 4])
def test_views_of_a_run_without_any_row_in_a_segment_are_empty(n_rows):
    texts = {"c0": ["web"] * n_rows, "cluster_label": [GOLD] * n_rows}
    sample = pa.table(
        {"x": np.arange(float(n_rows))} | {name: pa.array(column, pa.string()) for name, column in texts.items()}
    )
    segments = [{"cluster_label": GOLD, "rows": 0, "centroid": {"x": 1.0, "c0=web": 1.0}}]
    model = make_model("x", (("web",),))
    told = tell_views(sample, segments, model, eta_squared=np.array([0.5, 0.4]), then={GOLD: np.zeros(2)})
    assert told == {"sample_rows": n_rows, "n_segments": 0, "map": None, "distributions": []}


def test_outlines_of_a_histogram_enclose_the_same_area():
    rng = np.random.default_rng(0)
    columns = {"x": np.concatenate([rng.normal(0, 1, 3000), rng.normal(9, 3, 300)])}
    (told,) = look(columns, [GOLD] * 3000 + [SILVER] * 300)["distributions"]
    areas = [np.dot(np.diff(trace.x), trace.y[:-1]) for trace in draw_histogram(told, {}).data]
    assert areas[0] == pytest.approx(areas[1], rel=0.05)


def test_boxes_show_quartiles_in_the_places_of_the_axis():
    columns = {"x": np.expm1(np.linspace(0.0, 4.0, 101))}
    (told,) = look(columns, [GOLD] * 101, model=make_model("x", log1p=("x",)))["distributions"]
    box = draw_boxes(told, {}).data[0]
    assert [box.lowerfence[0], box.q1[0], box.median[0], box.q3[0], box.upperfence[0]] == pytest.approx(
        [0.2, 1.0, 2.0, 3.0, 3.8], abs=1e-3
    )


def test_page_tells_that_it_shows_the_largest_segments_only(tmp_path):
    labels = [f"s{i:02d}" for i in range(15) for _ in range(20 + i)]
    seen = look({"x": np.arange(len(labels)) * 1.5}, labels)
    (told,) = seen["distributions"]
    assert list(told["counts"]) == [f"s{i:02d}" for i in range(14, 14 - MAX_SEGMENTS, -1)]
    page = write_page(tmp_path / "r.html", make_first(), replace(REFRESH_RUN, sample=seen))
    assert f"and the {MAX_SEGMENTS} largest of 15 segments" in page.text


def test_segments_have_the_same_colour_in_every_plot():
    drift = make_refresh()
    colours = colours_of(drift)
    flows = draw_flows(drift["migration"], "rows")
    nodes = {shape.fillcolor for shape in flows.layout.shapes if shape.type == "rect"}
    assert nodes == set(colours.values())
    seen = look_at_blobs()
    boxes = [trace.line.color for trace in draw_boxes(seen["distributions"][0], colours).data if trace.type == "box"]
    assert sorted(boxes) == sorted([colours[GOLD], colours[SILVER]])
    outlines = [trace.line.color for trace in draw_histogram(seen["distributions"][0], colours).data]
    assert outlines == [colours[label] for label in seen["distributions"][0]["counts"]]
    bars = draw_silhouettes({"overall": 0.4, "segments": {GOLD: 0.5, SILVER: 0.3}}, colours).data[0]
    assert list(bars.marker.color) == [colours[SILVER], colours[GOLD]]
    lines = draw_history(make_runs(3), colours).data
    assert [line.line.color for line in lines] == [colours[GOLD], colours[SILVER]]


def test_silhouettes_are_drawn_per_segment_beside_the_mean_of_all():
    figure = draw_silhouettes({"overall": 0.25, "segments": {GOLD: 0.5, SILVER: -0.1, ENDED: None}}, {})
    assert list(figure.data[0].x) == [-0.1, 0.5]
    assert figure.layout.shapes[0].x0 == 0.25
    assert draw_silhouettes({"overall": None, "segments": {GOLD: None}}, {}) is None


def test_shares_over_time_need_three_runs_and_end_with_this_one():
    drift, run = make_score(), replace(SCORE_RUN, created="2011-06-30T04:12:55+00:00")
    later = {"time": "2011-07-01T00:00:00+00:00", "kind": "score", "shares": {GOLD: 1.0}}
    runs = of_all_runs(drift, [*make_runs(2), later], run.created, run.kind)
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
    runs = make_runs(4)
    runs[3]["shares"] = {GOLD: 0.8, "new": 0.2}
    lines = {line.name: list(line.y) for line in draw_history(runs, {}).data}
    assert lines[SILVER][3] is None
    assert lines["new"] == [None, None, None, 0.2]


@pytest.mark.parametrize("run", [SCORE_RUN, REFRESH_RUN], ids=["score", "refresh"])
def test_page_without_a_sample_and_a_history_has_no_plots_of_them(tmp_path, run):
    page = write_page(tmp_path / "r.html", make_score(), run)
    for title in ("Where the segments lie", "Distributions by segment"):
        assert title not in page.text
    for place in ("plot-map", "plot-distributions", "plot-history"):
        assert f'id="{place}"' not in page.source


def test_page_of_one_segment_has_a_map_and_no_silhouette(tmp_path):
    seen = look({"x": np.arange(50.0), "y": np.arange(50.0) % 7}, [GOLD] * 50, eta_squared=[np.nan, np.nan])
    assert seen["distributions"] == []
    run = replace(SCORE_RUN, sample=seen | {"silhouette": {"overall": None, "segments": {GOLD: None}}})
    page = write_page(tmp_path / "r.html", make_score(), run)
    assert "Where the segments lie" in page.text
    assert "Distributions by segment" not in page.text


def test_a_refit_tells_the_life_cycle_of_its_segments(tmp_path):
    page = write_page(tmp_path / "r.html", make_refresh(), REFRESH_RUN)
    assert "1 kept 1 split 1 emerged 1 retired" in page.text


def test_page_of_a_first_version_shows_where_its_segments_lie(published):
    page = Page((published / "out/models/v000001/report.html").read_text(encoding="utf-8"))
    for title in ("Where the segments lie", "Distributions by segment", "Of 800 sampled rows"):
        assert title in page.text
    assert "hollow" not in page.text  # there is no then
    assert '"title": "Silhouette per segment"' in page.source


def test_history_tells_runs_in_their_order_and_no_version_that_is_held(published, config, files, data, blobs, now):
    files(data, {"m3.parquet": blobs(200, seed=3)})
    score(config(), now=now)
    assert refresh(config(model={"min_cluster_share": 0.4}), now=now.replace(day=3)).status == "held"
    history = tell_history(config())
    assert [(run["kind"], run["time"][:10]) for run in history] == [("refresh", "2026-03-01"), ("score", "2026-03-02")]
    assert all(sum(run["shares"].values()) == pytest.approx(1.0) for run in history)


def test_snapshot_carries_life_cycle_map_and_silhouettes():
    silhouette = {"overall": 0.41, "segments": {GOLD: 0.5, SILVER: 0.3, ENDED: None}}
    run = replace(REFRESH_RUN, sample=look_at_blobs() | {"silhouette": silhouette}, history=make_runs(3))
    drift = make_refresh()
    drift["segments"][0]["overlap"] = 0.62
    snapshot = build_snapshot(drift, reference_sample=None, current_sample=None, run=run)
    metrics = json.loads(snapshot.json())["metrics"]
    values = {metric["metric_name"].rpartition(".")[2]: metric["value"] for metric in metrics}
    assert values["LifeCycle()"] == {"kept": 1, "split": 1, "merged": 0, "emerged": 1, "retired": 1}
    assert values["SegmentOverlap()"] == {GOLD: 0.62}
    assert values["SegmentSilhouette()"] == {GOLD: 0.5, SILVER: 0.3}
    assert values["SegmentMap()"] == pytest.approx(1.0)
    assert values["FeatureDistributions()"] == 400
    assert values["ShareHistory()"] == 4


def test_plots_of_many_segments_add_little_to_the_page(tmp_path):
    rng = np.random.default_rng(0)
    labels = [f"segment-{i:02d}" for i in range(30)]
    columns = {f"feature_{i}": rng.lognormal(3.0, 1.0, 30_000) for i in range(10)}
    seen = look(columns, rng.choice(labels, 30_000))
    silhouette = {"overall": 0.1, "segments": dict.fromkeys(labels, 0.1)}
    runs = [{"time": f"2011-01-01T00:{i:02d}:00+00:00", "kind": "score", "shares": dict.fromkeys(labels, 1 / 30)}
            for i in range(50)]  # fmt: skip
    plain, full = tmp_path / "plain.html", tmp_path / "full.html"
    write_page(plain, make_refresh(), REFRESH_RUN, samples=(REFERENCE, CURRENT))
    run = replace(REFRESH_RUN, sample=seen | {"silhouette": silhouette}, history=runs)
    write_page(full, make_refresh(), run, samples=(REFERENCE, CURRENT))
    assert full.stat().st_size - plain.stat().st_size < MAX_ADDED_BYTES
    assert full.stat().st_size < MAX_PAGE_BYTES


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """A page with every plot, whose segments, features and categories have HTML in their names."""
    rng = np.random.default_rng(0)
    names = dict(zip((GOLD, SILVER), HOSTILE, strict=False))
    X, ids = make_blobs([[-4.0, 0.0], [4.0, 1.0]], 100)
    columns = {HOSTILE[2]: X[:, 0], HOSTILE[1]: X[:, 1], "c0": rng.choice(HOSTILE, 200).tolist()}
    labels = np.array([names[GOLD], names[SILVER]], dtype=object)[ids]
    model = make_model((HOSTILE[2], HOSTILE[1]), (tuple(sorted(HOSTILE)),))
    seen = look(columns, labels.tolist(), model=model, then={HOSTILE[0]: np.zeros(5), HOSTILE[2]: np.ones(5)})
    seen["silhouette"] = {"overall": 0.4, "segments": {HOSTILE[0]: 0.5, HOSTILE[1]: 0.3}}
    drift = make_score()
    for segment, name in zip(drift["segments"], HOSTILE, strict=False):
        segment["cluster_label"] = name
    path = tmp_path_factory.mktemp("pages") / "hostile.html"
    run = replace(SCORE_RUN, sample=seen, history=make_runs(4, tuple(HOSTILE[:2])))
    write_report(path, drift, reference_sample=None, current_sample=None, run=run)
    return {"hostile": path}


@pytest.mark.slow
def test_browser_draws_every_plot_and_shows_names_with_html_as_text(browse):
    page = browse("hostile")
    plots = [attrs for tag, attrs in page.tags if tag == "div" and "js-plotly-plot" in (attrs.get("class") or "")]
    assert len(plots) == 10  # shares, shifts, history, map, silhouettes, two of each number, one of the category
    assert page.count("img") == 0
    assert "owned" not in page.text.replace("document.title='owned'", "")
    drawn = re.findall(r"<text[^>]*>(.*?)</text>", page.source)
    assert not [text for text in drawn if "font-weight" in text]  # plotly takes <b> for bold
    gold = [text for text in drawn if "<b>gold" in html.unescape(text)]
    assert len(gold) >= 3  # an axis of the map, a centre that ended, a category
    assert sum(HOSTILE[2] in html.unescape(text) for text in page.texts) >= 2  # the titles of its two plots
