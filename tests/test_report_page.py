"""The page of a run, from drift.json written by hand to its HTML."""

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from builders import look_at_rows
from pages import MAX_PAGE_BYTES, read_page, write_page
from report_content import (
    HOSTILE,
    REFRESH_RUN,
    SCORE_RUN,
    make_feature,
    make_first,
    make_hostile,
    make_refresh,
    make_sample,
    make_score,
    make_segment,
)

from kmstream.distributions import MAX_SEGMENTS
from kmstream.report import write_report
from kmstream.report.frame import render_verdict
from kmstream.report.tables import render_totals

MAX_ADDED_BYTES = 300_000


def look_at_many():
    """What sampled rows show of 30 segments, and 50 runs before."""
    rng = np.random.default_rng(0)
    labels = [f"segment-{i:02d}" for i in range(30)]
    columns = {f"feature_{i}": rng.lognormal(3.0, 1.0, 6000) for i in range(10)}
    silhouette = {"overall": 0.1, "segments": dict.fromkeys(labels, 0.1)}
    runs = [{"time": f"2011-01-01T00:{i:02d}:00+00:00", "kind": "score", "shares": dict.fromkeys(labels, 1 / 30)}
            for i in range(50)]  # fmt: skip
    return {"sample": look_at_rows(columns, np.repeat(labels, 200)) | {"silhouette": silhouette}, "history": runs}


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """The path of each page, written once."""
    folder = tmp_path_factory.mktemp("pages")
    held = replace(REFRESH_RUN, status="held")
    first = replace(REFRESH_RUN, version="v000001", run_id="v000001")
    hostile = replace(REFRESH_RUN, name=HOSTILE[0], run_id=HOSTILE[1], provenance={HOSTILE[0]: HOSTILE[1]})
    samples = {
        "refresh": (make_sample(6000, 1), make_sample(900, 3)),
        "first": (None, make_sample(900, 3)),
        "hostile": [make_sample(300, seed, HOSTILE) for seed in (1, 3)],
    }
    todo = {
        "score": (make_score(), SCORE_RUN),
        "refresh": (make_refresh(), REFRESH_RUN),
        "held": (make_refresh(), held),
        "first": (make_first(), first),
        "hostile": (make_hostile(), hostile),
        "many": (make_refresh(), replace(held, **look_at_many())),
    }
    for name, (drift, run) in todo.items():
        write_page(folder / f"{name}.html", drift, run, samples=samples.get(name, (None, None)))
    return {name: folder / f"{name}.html" for name in todo}


@pytest.fixture(scope="module")
def read(pages):
    found = {name: read_page(path) for name, path in pages.items()}
    return found.__getitem__


# --- the file --------------------------------------------------------------------------------------------------------


def test_importing_the_package_loads_nothing_heavy():
    code = "import sys, kmstream.report; print(*{'evidently', 'plotly', 'pandas'} & set(sys.modules))"
    root = Path(__file__).parent.parent
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


@pytest.mark.parametrize("name", ["score", "refresh", "held", "first", "hostile", "many"])
def test_write_report_writes_one_small_page_that_needs_no_network(pages, read, name):
    page = read(name)
    assert pages[name].stat().st_size < MAX_PAGE_BYTES
    assert [tag for tag, _ in page.tags if tag in {"link", "img", "iframe", "object", "embed", "base"}] == []
    assert [attrs for tag, attrs in page.tags if tag == "script" and attrs] == []  # nothing but inline scripts
    styles = "".join(re.findall(r"<style>.*?</style>", page.source, re.DOTALL))
    assert "@import" not in styles
    assert set(re.findall(r"url\((\w+):", styles)) == {"data"}
    policy = next(attrs for tag, attrs in page.tags if tag == "meta" and "http-equiv" in attrs)["content"]
    assert "default-src 'none'" in policy
    assert "http" not in policy


def test_write_report_leaves_nothing_else_behind(pages):
    folder = next(iter(pages.values())).parent
    assert {path.name for path in folder.iterdir()} == {path.name for path in pages.values()}


def test_write_report_that_fails_keeps_the_old_page(tmp_path):
    path = tmp_path / "report.html"
    path.write_text("old")
    with pytest.raises(ValueError, match="Cannot specify"):
        write_report(path, make_score(), reference_sample=None, current_sample=None, run=replace(SCORE_RUN, rows="?"))
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("report.html", "old")]


def test_write_report_copes_with_every_kind_of_column_and_is_silent(tmp_path, capfd):
    n = 50
    columns = {
        "number": np.random.default_rng(0).normal(size=n),
        "constant": np.ones(n),
        "holes": pa.array([None, float("nan"), float("inf"), *range(n - 3)], pa.float64()),
        "all missing": pa.nulls(n),
        "integer": pa.array(range(n), pa.int32()),
        "decimal": pa.array(range(n)).cast(pa.decimal128(21, 2)),
        "yes or no": pa.array([True, False] * (n // 2)),
        "text": pa.array(["a", None] * (n // 2)),
        "dictionary": pa.array(["a", "b"] * (n // 2)).dictionary_encode(),
        "target": np.arange(n),
        "prediction": np.arange(n),
        "cluster_label": ["segment-01"] * n,
    }
    current = pa.table(columns)
    reference = current.set_column(0, "number", pa.array(["text"] * n)).append_column("only here", pa.array([1] * n))
    page = write_page(tmp_path / "deep" / "report.html", make_score(), SCORE_RUN, samples=(reference, current))
    assert "of 10 columns drifted" in page.source  # not the missing one, nor the label
    assert capfd.readouterr() == ("", "")


# --- what it tells ---------------------------------------------------------------------------------------------------


def test_title_and_heading_name_segmentation_version_and_date(read):
    page = read("score")
    assert "<title>retail-rfm v000003, 2011-06-30 04:12 UTC" in page.source
    assert "<h1>retail-rfm v000003</h1>" in page.source
    assert "scored 2011-06-30 04:12 UTC, run run-7" in page.text


def test_page_begins_with_the_verdict_and_its_reasons_strongest_first(read):
    text = read("score").text
    sentences = [
        "Alert The new rows differ from those of v000003.",
        "The centroid of 'segment-02' moved by 0.62 of its radius (alert from 0.5).",
        "'segment-02' grew from 18.0% to 27.0% of the rows (warn from 5.0 points).",
        "3.1% of the rows lie far out (warn from 2.0 %).",
        "What moved most",
    ]
    places = [text.find(sentence) for sentence in sentences]
    assert -1 not in places
    assert places == sorted(places)


def test_page_shows_the_most_important_figures_in_one_row(read):
    figures = "PSI of the shares 0.314 Largest shift, radii 0.62 Inertia, times 1.18 Outliers 3.1 %"
    assert f"Rows 12,960 Rows skipped 15 Partitions 1 Segments 2 {figures}" in read("score").text


def test_verdict_folds_away_all_but_the_ten_strongest_reasons():
    items = [f"<li>{i}</li>" for i in range(16)]
    shown, folded = render_verdict("alert", "Alert", "a & b", items).split("<details>")
    assert "<p>a &amp; b</p>" in shown
    assert (shown.count("<li>"), folded.count("<li>")) == (10, 6)
    assert '<summary>6 more</summary><ol start="11"><li>10</li>' in folded


def test_totals_compare_with_the_baseline_but_not_twice_with_the_same_version():
    drift = make_score()
    table = render_totals(drift)
    assert re.search(r"PSI of the shares</th><td.*?>0\.314</td><td.*?>0\.77</td>", table)
    assert re.search(r"Compared with</th><td.*?>v000003</td><td.*?>v000001</td>", table)
    drift["against_baseline"]["version"] = "v000003"
    assert "Against the reference" in render_totals(drift)
    assert "Against the baseline" not in render_totals(drift)


def test_totals_stand_beside_their_thresholds():
    table = render_totals(make_score(thresholds={"outlier_share": {"warn": 0.02, "alert": 0.05}}))
    assert re.search(r"Outliers</th><td.*?>3\.1\W%</td><td.*?>2\.0\W%</td><td.*?>5\.0\W%</td>", table)


def test_page_writes_numbers_for_people(read):
    text = read("score").text
    assert "12,960" in text  # rows
    assert "1,235" in text  # a centroid of 1234.5678
    assert "< 0.0001" in text  # a p value of 1e-80
    assert "monetary 410 \u2192 655.2 (+0.81 sd)" in text
    assert "1234.5678" not in text


def test_page_of_a_refit_tells_what_became_of_the_segments(read):
    text = read("refresh").text
    assert "v000004 is published. Its rows look like those of v000003." in text
    assert "1 kept 1 split 1 emerged 1 retired" in text
    assert "Segments 3 PSI" in text  # the retired one is told of, not counted
    assert "segment-01 segment-04 2,950 37.1 %" in text  # the largest move
    assert "(ARI) is 0.457" in text
    assert "smallest segment share segment-02 passed 0.0812 0.001" in text
    assert "inertia failed" in text
    assert "exact 1 12,945 2.154" in text


def test_page_of_a_held_version_says_so_first(read):
    text = read("held").text
    assert "Held v000004 is held: 1 of 2 checks failed. The version in use has not changed" in text
    assert "Evidently's look at samples" not in text


def test_page_of_a_first_version_has_nothing_to_compare(read):
    page = read("first")
    assert "v000001 is the first version: 3 segments in 12,960 rows." in page.text
    for absent in ("Share then", "Change", "Measures over all rows", "None"):
        assert absent not in page.text
    assert not re.search(r"\bnan\b", page.text)
    assert "Evidently's look at samples" not in page.text


def test_names_with_html_are_shown_as_text(read):
    page = read("hostile")
    for name in HOSTILE:
        assert page.text.count(" ".join(name.split())) >= 3  # segments, centroids, features
    assert page.count("img") == 0
    assert page.count("script") == read("refresh").count("script")
    title, *_ = re.findall(r"<title>(.*?)</title>", page.source)
    assert "owned" not in title.replace("=&#x27;owned", "")


@pytest.mark.slow
def test_page_of_many_segments_and_features_is_small(tmp_path):
    rng = np.random.default_rng(0)
    names = [f"feature_number_{i:02d}" for i in range(60)]
    labels = [f"segment-{i:03d}" for i in range(100)]
    migration = {"labels_from": labels, "labels_to": labels, "rows": rng.integers(0, 900, (100, 100)).tolist()}
    drift = make_refresh(
        segments=[make_segment(label, 1000 + i, 0.01, 0.01, features=names) for i, label in enumerate(labels)],
        features=[make_feature(name) for name in names],
        migration=migration,
    )
    samples = [pa.table({name: rng.normal(size=100_000) for name in names}) for _ in range(2)]
    path = tmp_path / "report.html"
    page = write_page(path, drift, REFRESH_RUN, samples=samples)
    assert path.stat().st_size < MAX_PAGE_BYTES
    assert all(name in page.text for name in [*names, *labels])


# --- what it shows of sampled rows, and of the runs before -----------------------------------------------------------


@pytest.mark.parametrize("name", ["score", "refresh"])
def test_page_without_a_sample_and_a_history_has_no_plots_of_them(read, name):
    page = read(name)
    for title in ("Where the segments lie", "Distributions by segment"):
        assert title not in page.text
    for place in ("plot-map", "plot-distributions", "plot-history"):
        assert f'id="{place}"' not in page.source


def test_page_of_one_segment_has_a_map_and_no_silhouette(tmp_path):
    seen = look_at_rows({"x": np.arange(50.0), "y": np.arange(50.0) % 7}, ["a"] * 50, eta_squared=[np.nan, np.nan])
    assert seen["distributions"] == []
    run = replace(SCORE_RUN, sample=seen | {"silhouette": {"overall": None, "segments": {"a": None}}})
    page = write_page(tmp_path / "r.html", make_score(), run)
    assert "Where the segments lie" in page.text
    assert "silhouette" not in page.text
    assert "Distributions by segment" not in page.text


def test_page_of_a_first_version_shows_where_its_segments_lie(published):
    page = read_page(published / "out/models/v000001/report.html")
    for title in ("Where the segments lie", "Distributions by segment", "Of 800 sampled rows"):
        assert title in page.text
    assert "hollow" not in page.text  # there is no then
    assert '"title": "Silhouette per segment"' in page.source


def test_every_plot_is_in_its_section(read):
    found = re.findall(r'<section id="(\w+)">|class="widgets" id="([\w-]+)"', read("many").source)
    plots, section = {}, ""
    for new_section, plot in found:
        section = new_section or section
        if plot:
            plots.setdefault(section, []).append(plot)
    assert plots == {
        "segments": ["plot-shares", "plot-history"],
        "map": ["plot-map"],
        "distributions": ["plot-distributions"],
        "migration": ["plot-migration"],
        "fit": ["plot-fit"],
    }


def test_page_tells_that_it_shows_the_largest_segments_only(read):
    assert f"and the {MAX_SEGMENTS} largest of 30 segments" in read("many").text


def test_plots_of_many_segments_add_little_to_the_page(pages):
    assert pages["many"].stat().st_size - pages["held"].stat().st_size < MAX_ADDED_BYTES
