"""The page and the model card, from drift.json written by hand to the DOM of a real browser."""

import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from kmstream.report import ModelFacts, RunFacts, write_model_card, write_report

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
MAX_PAGE_BYTES = 6_000_000
HOSTILE = [
    "</script><script>document.title='owned'</script>",
    "<img src=x onerror=\"document.title='owned'\">",
    "<b>gold</b> & 'silver' | `x`",
]
FEATURES = ["recency_days", "frequency", "monetary"]

SCORE_RUN = RunFacts(
    kind="score",
    name="retail-rfm",
    version="v000003",
    run_id="run-7",
    status="scored",
    created="2011-06-30T04:12:55+00:00",
    rows=12_960,
    rows_skipped={"missing": 12, "infinite": 3},
    partitions=1,
    seconds={"assign": 0.41, "total": 1.3},
    provenance={"dataset": "data/rfm", "config sha256": "9f2c", "random_state": 0},
)
REFRESH_RUN = replace(
    SCORE_RUN,
    kind="refresh",
    version="v000004",
    status="published",
    gate=[
        {"check": "smallest segment", "ok": True, "observed": 0.0812, "limit": 0.001},
        {"check": "inertia", "ok": False, "observed": 1.02, "limit": 1.001},
    ],
    passes=[
        {"pass": "mini-batch 1", "rows": 12_945, "inertia_per_row": 2.31, "largest_move": 0.42, "seconds": 0.1},
        {"pass": "exact 1", "rows": 12_945, "inertia_per_row": 2.154321, "largest_move": 0.03, "seconds": 0.05},
    ],
)


def make_segment(label, rows, share, then, *, status="kept", shift=0.1, features=FEATURES):
    return {
        "cluster_label": label,
        "status": status,
        "rows": rows,
        "share": share,
        "reference_share": then,
        "centroid_shift": shift,
        "centroid_shift_radii": shift,
        "standard_errors": None if shift is None else 40 * shift,
        "inertia_ratio": None if shift is None else 1.07,
        "outlier_share": None if shift is None else 0.012,
        "centroid": {name: 1234.5678 * (i + 1) for i, name in enumerate(features)},
        "moved_most": [{"feature": features[-1], "from": 410.0, "to": 655.25, "in_sd": 0.81}] if shift else [],
    }


def make_features(names=FEATURES):
    return [
        {
            "feature": name,
            "psi": 0.11 * (i + 1),
            "mean_from": 0.1,
            "mean_to": 0.4,
            "mix_effect": 0.1,
            "within_effect": 0.2,
        }
        for i, name in enumerate(names)
    ]


def make_score():
    totals = {"rows": 12_945, "share_psi": 0.3141, "share_chi2_p": 1e-80, "inertia_ratio": 1.18, "outlier_share": 0.031}
    return {
        "schema_version": 1,
        "name": "retail-rfm",
        "reference": "v000003",
        "current": "run-7",
        "severity": "alert",
        "reasons": [
            {
                "measure": "outlier_share",
                "label": None,
                "feature": None,
                "value": 0.031,
                "threshold": 0.02,
                "severity": "warn",
                "text": "3.1% of the rows lie far out",
            },
            {
                "measure": "share_change",
                "label": "segment-02",
                "feature": None,
                "value": 0.09,
                "threshold": 0.05,
                "severity": "warn",
                "text": "'segment-02' grew from 18.0% to 27.0% of the rows",
            },
            {
                "measure": "centroid_shift",
                "label": "segment-02",
                "feature": "monetary",
                "value": 0.62,
                "threshold": 0.5,
                "severity": "alert",
                "text": "the centroid of 'segment-02' moved by 0.62 of its radius",
            },
        ],
        "totals": totals,
        "against_baseline": totals | {"share_psi": 0.77, "version": "v000001", "severity": "alert"},
        "segments": [
            make_segment("segment-01", 9450, 0.73, 0.82),
            make_segment("segment-02", 3495, 0.27, 0.18, shift=0.62),
        ],
        "features": make_features(),
        "migration": None,
        "ari": None,
    }


def make_refresh():
    """segment-01 was split into segment-04, segment-03 retired."""
    segments = [
        make_segment("segment-01", 5000, 0.5, 0.8, status="split"),
        make_segment("segment-02", 2000, 0.2, 0.18),
        make_segment("segment-04", 3000, 0.3, 0.0, status="emerged", shift=None),
        make_segment("segment-03", 0, 0.0, 0.02, status="retired", shift=None),
    ]
    migration = {
        "labels_from": ["segment-01", "segment-02", "segment-03"],
        "labels_to": ["segment-01", "segment-02", "segment-04"],
        "rows": [[4990, 10, 2950], [0, 1800, 0], [10, 190, 50]],
    }
    return make_score() | {
        "reference": "v000003",
        "current": "v000004",
        "severity": "ok",
        "reasons": [],
        "segments": segments,
        "migration": migration,
        "ari": 0.4567,
    }


def make_first():
    segments = [
        make_segment(f"segment-0{i}", 1000 // i, 0.5 / i, None, status="emerged", shift=None) for i in (1, 2, 3)
    ]
    empty = {"psi": None, "mean_from": None, "mix_effect": None, "within_effect": None}
    return make_score() | {
        "reference": None,
        "current": "v000001",
        "severity": "ok",
        "reasons": [],
        "totals": {"rows": 12_945, "share_psi": None, "inertia_ratio": None},
        "against_baseline": None,
        "segments": segments,
        "features": [feature | empty for feature in make_features()],
    }


def make_hostile():
    drift = make_refresh()
    names = dict(zip(["segment-01", "segment-02", "segment-04"], HOSTILE, strict=True))
    columns = dict(zip(FEATURES, HOSTILE, strict=True))

    def rename(value):
        if isinstance(value, dict):
            return {columns.get(key, key): rename(item) for key, item in value.items()}
        if isinstance(value, list):
            return [rename(item) for item in value]
        return names.get(value, columns.get(value, value)) if isinstance(value, str) else value

    reason = {"measure": "feature_psi", "label": None, "value": 0.3, "threshold": 0.25, "severity": "alert"}
    reasons = [
        *make_score()["reasons"],
        reason | {"feature": FEATURES[0], "text": f"the distribution of {HOSTILE[0]} changed"},
        reason | {"measure": "new_one", "label": HOSTILE[1], "text": f"{HOSTILE[1]} moved"},
    ]
    return rename(drift | {"severity": "alert", "reasons": reasons})


def make_sample(n_rows, seed, columns=FEATURES):
    rng = np.random.default_rng(seed)
    numbers = {name: rng.lognormal(seed / 10, 1, n_rows) for name in columns}
    return pa.table(numbers | {"country": rng.choice(HOSTILE, n_rows), "cluster_label": ["segment-01"] * n_rows})


REFERENCE, CURRENT = make_sample(6000, 1), make_sample(900, 3)


class Page(HTMLParser):
    """What a reader sees, the elements, and what scripts hold."""

    def __init__(self, source):
        super().__init__(convert_charrefs=True)
        self.source, self.tags, self.texts, self._open = source, [], [], []
        self.feed(source)
        self.text = " ".join(" ".join(self.texts).replace("\u00a0", " ").split())

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._open = [tag] if tag in {"script", "style"} else []

    def handle_endtag(self, tag):
        self._open = []

    def handle_data(self, data):
        if not self._open:
            self.texts.append(data)

    def count(self, tag):
        return sum(name == tag for name, _ in self.tags)


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """The path of each page, written once."""
    folder = tmp_path_factory.mktemp("pages")
    hostile_sample = [make_sample(300, seed, HOSTILE) for seed in (1, 3)]
    hostile_run = replace(REFRESH_RUN, name=HOSTILE[0], run_id=HOSTILE[1], provenance={HOSTILE[0]: HOSTILE[1]})
    todo = {
        "score": (make_score(), REFERENCE, CURRENT, SCORE_RUN),
        "refresh": (make_refresh(), REFERENCE, CURRENT, REFRESH_RUN),
        "held": (make_refresh(), None, None, replace(REFRESH_RUN, status="held")),
        "first": (make_first(), None, CURRENT, replace(REFRESH_RUN, version="v000001")),
        "hostile": (make_hostile(), *hostile_sample, hostile_run),
    }
    for name, (drift, reference, current, run) in todo.items():
        write_report(folder / f"{name}.html", drift, reference_sample=reference, current_sample=current, run=run)
    return {name: folder / f"{name}.html" for name in todo}


@pytest.fixture(scope="module")
def read(pages):
    return lambda name: Page(pages[name].read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def browse(pages, tmp_path_factory):
    """The DOM of a page after its scripts ran, in a real browser."""
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine")

    def dump(name):
        profile = tmp_path_factory.mktemp("profile")
        quiet = ["--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-sync"]
        command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-component-update", *quiet]
        command += [f"--user-data-dir={profile}", "--virtual-time-budget=10000", "--dump-dom", pages[name].as_uri()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        return Page(done.stdout)

    return dump


def test_importing_the_package_loads_nothing_heavy():
    code = "import sys, kmstream.report; print(*{'evidently', 'plotly', 'pandas'} & set(sys.modules))"
    root = Path(__file__).parent.parent
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


@pytest.mark.parametrize("name", ["score", "refresh", "held", "first", "hostile"])
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


def test_title_and_heading_name_segmentation_version_and_date(read):
    page = read("score")
    assert "<title>retail-rfm v000003, 2011-06-30 04:12 UTC" in page.source
    assert "<h1>retail-rfm v000003</h1>" in page.source
    assert "scored 2011-06-30 04:12 UTC, run run-7" in page.text


def test_report_begins_with_the_verdict_and_its_reasons_strongest_first(read):
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


def test_report_folds_away_all_but_the_strongest_reasons(tmp_path):
    reason = {"measure": "share_change", "value": 0.2, "threshold": 0.1, "severity": "alert"}
    labels = [segment["cluster_label"] for segment in make_refresh()["segments"]] * 4
    reasons = [reason | {"label": label, "text": f"'{label}' moved"} for label in labels]
    drift = make_refresh() | {"severity": "alert", "reasons": reasons}
    path = tmp_path / "report.html"
    write_report(path, drift, reference_sample=None, current_sample=None, run=REFRESH_RUN)
    page = Page(path.read_text())
    assert "'segment-04' moved (alert from 10.0 points)." in page.text
    assert "6 more" in page.text
    assert page.count("details") == 1


def test_report_of_a_new_measure_shows_its_own_text(tmp_path):
    reason = {"measure": "novelty", "value": 3, "threshold": 2, "severity": "warn", "text": "something else moved"}
    path = tmp_path / "report.html"
    drift = make_score() | {"severity": "warn", "reasons": [reason]}
    write_report(path, drift, reference_sample=None, current_sample=None, run=SCORE_RUN)
    assert "Warning The new rows begin to differ" in Page(path.read_text()).text
    assert "Something else moved (warn from 2)." in Page(path.read_text()).text


def test_report_does_not_repeat_a_baseline_that_is_the_reference(tmp_path):
    path = tmp_path / "report.html"
    drift = make_score() | {"against_baseline": make_score()["totals"] | {"version": "v000003", "severity": "alert"}}
    write_report(path, drift, reference_sample=None, current_sample=None, run=SCORE_RUN)
    assert "Against the reference" in path.read_text()
    assert "Against the baseline" not in path.read_text()


def test_report_writes_numbers_for_people(read):
    text = read("score").text
    assert "12,960" in text  # rows
    assert "1,235" in text  # a centre of 1234.5678
    assert "< 0.0001" in text  # a p value of 1e-80
    assert "monetary 410 \u2192 655.2 (+0.81 sd)" in text
    assert "1234.5678" not in text


def test_report_compares_with_the_baseline_too(read):
    text = read("score").text
    assert re.search(r"PSI of the shares 0\.314 0\.77", text)
    assert re.search(r"Compared with v000003 v000001", text)


def test_report_of_a_refit_tells_what_became_of_the_segments(read):
    text = read("refresh").text
    assert "v000004 is published. Its rows look like those of v000003." in text
    for status in ("split", "emerged", "retired"):
        assert status in text
    assert "Segments 3 PSI" in text  # the retired one is told of, not counted
    assert "segment-01 segment-04 2,950 37.1 %" in text  # the largest move
    assert "(ARI) is 0.457" in text
    assert "smallest segment passed 0.0812 0.001" in text
    assert "inertia failed" in text
    assert "exact 1 12,945 2.154" in text


def test_report_of_a_held_version_says_so_first(read):
    text = read("held").text
    assert "Held v000004 is held: 1 of 2 checks failed. The version in use has not changed" in text
    assert "Evidently's look at samples" not in text


def test_report_of_a_first_version_has_nothing_to_compare(read):
    page = read("first")
    assert "v000001 is the first version: 3 segments in 12,960 rows." in page.text
    for absent in ("Share then", "Change", "Measures over all rows", "None"):
        assert absent not in page.text
    assert not re.search(r"\bnan\b", page.text)
    assert "Evidently's look at samples" not in page.text


def test_names_with_html_are_shown_as_text(read):
    page = read("hostile")
    for name in HOSTILE:
        assert page.text.count(" ".join(name.split())) >= 3  # segments, centres, features
    assert page.count("img") == 0
    assert page.count("script") == read("refresh").count("script")
    assert "owned" not in next(t for t in re.findall(r"<title>(.*?)</title>", page.source)).replace("=&#x27;owned", "")


@pytest.mark.slow
def test_names_with_html_are_shown_as_text_in_a_browser(browse):
    page = browse("hostile")
    assert page.count("img") == 0
    assert "owned" not in page.text.replace("document.title='owned'", "")
    for name in HOSTILE:
        assert page.text.count(" ".join(name.split())) >= 4  # and in evidently's table
    assert re.search(r'class="ytick"><text[^>]*>&lt;b&gt;gold&lt;/b&gt;', page.source)  # plotly takes <b> for bold
    assert re.search(r'class="annotation-text"[^>]*>&lt;b&gt;gold&lt;/b&gt;', page.source)


@pytest.mark.slow
def test_browser_draws_every_plot_and_evidently_s_table(browse):
    page = browse("refresh")
    plots = [attrs for tag, attrs in page.tags if tag == "div" and "js-plotly-plot" in (attrs.get("class") or "")]
    assert len(plots) == 4  # shares, shifts, migration, fit
    assert "Wasserstein distance (normed)" in page.text
    assert "4 columns drifted, by evidently's limits" in page.text


def test_first_version_is_drawn_without_samples_to_compare(browse):
    page = browse("first")
    assert page.source.count("js-plotly-plot") >= 2  # shares, fit


def test_write_report_copes_with_every_kind_of_column(tmp_path):
    n = 50
    rng = np.random.default_rng(0)
    columns = {
        "number": rng.normal(size=n),
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
    path = tmp_path / "deep" / "report.html"
    write_report(path, make_score(), reference_sample=reference, current_sample=current, run=SCORE_RUN)
    assert "of 10 columns drifted" in path.read_text()  # not the missing one, nor the label


def test_write_report_is_silent(tmp_path, capfd):
    write_report(tmp_path / "r.html", make_score(), reference_sample=REFERENCE, current_sample=CURRENT, run=SCORE_RUN)
    assert capfd.readouterr() == ("", "")


def test_snapshot_carries_the_exact_figures():
    from kmstream.report.snapshot import build_snapshot

    snapshot = build_snapshot(make_refresh(), reference_sample=REFERENCE, current_sample=CURRENT, run=REFRESH_RUN)
    metrics = json.loads(snapshot.json())["metrics"]
    values = {metric["metric_name"].removeprefix("kmstream.report.metrics."): metric["value"] for metric in metrics}
    assert values["SegmentShare()"]["segment-04"] == 0.3
    assert values["Migration()"] == 0.4567
    assert values["FeaturePSI()"]["monetary"] == pytest.approx(0.33)
    assert values["FitHistory()"]["exact 1"] == 2.154321
    assert any(name.startswith("ValueDrift(column=monetary") for name in values)


def test_metrics_are_the_same_series_in_every_run():
    from kmstream.report.snapshot import build_snapshot

    def identities(drift, run):
        snapshot = build_snapshot(drift, reference_sample=None, current_sample=None, run=run)
        return {metric["metric_name"]: metric["id"] for metric in snapshot.dict()["metrics"]}

    score, refresh = identities(make_score(), SCORE_RUN), identities(make_refresh(), REFRESH_RUN)
    assert {name: refresh[name] for name in score} == score


def test_snapshot_can_be_stored_and_loaded():
    from evidently.core.report import Snapshot

    from kmstream.report.snapshot import build_snapshot

    snapshot = build_snapshot(make_score(), reference_sample=None, current_sample=None, run=SCORE_RUN)
    assert Snapshot.loads(snapshot.dumps()).dict() == snapshot.dict()


def test_thin_takes_the_same_rows_every_time():
    from kmstream.report.snapshot import SAMPLE_ROWS, thin

    sample = pa.table({"x": np.arange(100_000)})
    rows = thin(sample)["x"].to_numpy()
    assert len(rows) == SAMPLE_ROWS
    assert (np.diff(rows) > 0).all()
    assert thin(sample)["x"].to_numpy().tolist() == rows.tolist()


@pytest.mark.slow
def test_report_of_many_segments_and_features_is_small(tmp_path):
    rng = np.random.default_rng(0)
    names = [f"feature_number_{i:02d}" for i in range(60)]
    labels = [f"segment-{i:03d}" for i in range(100)]
    segments = [make_segment(label, 1000 + i, 0.01, 0.01, features=names) for i, label in enumerate(labels)]
    migration = {"labels_from": labels, "labels_to": labels, "rows": rng.integers(0, 900, (100, 100)).tolist()}
    drift = make_refresh() | {"segments": segments, "features": make_features(names), "migration": migration}
    samples = [pa.table({name: rng.normal(size=100_000) for name in names}) for _ in range(2)]
    path = tmp_path / "report.html"
    write_report(path, drift, reference_sample=samples[0], current_sample=samples[1], run=REFRESH_RUN)
    assert path.stat().st_size < MAX_PAGE_BYTES
    text = Page(path.read_text()).text
    assert all(name in text for name in [*names, *labels])


@pytest.fixture
def model():
    return ModelFacts(
        name="retail-rfm",
        version="v000004",
        created="2011-06-30T04:12:55+00:00",
        status="published",
        numeric=["recency_days", "monetary"],
        categorical=["country"],
        log1p=["monetary"],
        clip=4.0,
        parameters={"n_clusters": 3, "tol": 0.0001},
        dataset="s3://bucket/rfm",
        partitions=6,
        rows=12_960,
        rows_skipped={"missing": 12, "infinite": 3},
        inertia_per_row=2.154321,
        quality={"silhouette": 0.41, "davies_bouldin": 1.2, "calinski_harabasz": 310.0},
        gate=REFRESH_RUN.gate,
        provenance={"config sha256": "9f2c"},
    )


def test_model_card_has_every_part(tmp_path, model):
    path = tmp_path / "MODEL_CARD.md"
    write_model_card(path, model, make_refresh())
    card = path.read_text().replace("\u00a0", " ")
    assert card.startswith("# Model card: retail-rfm v000004\n")
    parts = ["Data", "Features", "Parameters", "Segments", "Quality", "What the figures mean", "Limits", "Provenance"]
    assert re.findall(r"^## (.*)$", card, re.MULTILINE) == parts
    for line in (
        "Published 2011-06-30 04:12 UTC. K-means, 3 segments in 12,960 rows.",
        "- Skipped: 15 rows (missing 12, infinite 3)",
        "| monetary | numeric | log1p, then standard |",
        "| country | categorical | one-hot |",
        "| tol | `0.0001` |",
        "- Inertia per row: 2.154",
        "- Agreement with v000003 (ARI): 0.457",
        "| inertia | **failed** | 1.02 | 1.001 |",
        "| config sha256 | `9f2c` |",
    ):
        assert line in card.splitlines()
    assert "segment-04" in card
    assert "segment-03" not in card  # retired


def test_model_card_of_a_first_version_compares_nothing(tmp_path, model):
    path = tmp_path / "MODEL_CARD.md"
    write_model_card(path, replace(model, quality={}), make_first())
    card = path.read_text()
    assert "Share before" not in card
    assert "- Silhouette: \u2013" in card
    assert "None" not in card


def test_model_card_shows_names_as_text(tmp_path, model):
    path = tmp_path / "MODEL_CARD.md"
    hostile = replace(model, numeric=HOSTILE, parameters={"x": HOSTILE[2]}, dataset=HOSTILE[0])
    write_model_card(path, hostile, make_hostile())
    card = path.read_text()
    assert re.findall(r"<(?:script|img|b)\b", card.replace("`" + HOSTILE[0] + "`", "")) == []
    tables = [line for line in card.splitlines() if line.startswith("| ") and "gold" in line]
    assert all(len(re.findall(r"(?<!\\)\|", line)) in {3, 4, 10} for line in tables)
