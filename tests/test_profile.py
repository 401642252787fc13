"""What separates the segments: by hand, against scipy on the rows themselves, and as people see it."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from builders import make_features, make_rows, make_scaling, no_deviations
from command_line import answer, assert_readable, run
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from test_report import REFRESH_RUN, Page, make_refresh, make_segment

from kmstream.clustering import assign_rows
from kmstream.errors import ConfigError, ModelNotFoundError
from kmstream.pipeline import refresh
from kmstream.report import write_report
from kmstream.segment_profile import CLOSEST_PAIRS, measure_sample, tell_profile, tell_separation
from kmstream.separation import adjust_holm, analyse_variance, compare_pairs
from kmstream.store import Store
from kmstream.summary import ClusterSummary
from kmstream.versions import profile_version


@pytest.fixture
def here(here, monkeypatch):
    """Work in a folder with a kmstream.toml about data/, on a terminal of 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")
    return here


def summary_of(*segments, weights=None):
    """The summary of the rows of each segment, as means and squares are defined."""
    n_features = max((np.size(rows[0]) for rows in segments if len(rows)), default=1)
    arrays = [np.array(rows, dtype=np.float64).reshape(len(rows), n_features) for rows in segments]
    weights = [np.ones(len(rows), np.int64) for rows in arrays] if weights is None else [np.array(w) for w in weights]
    n = np.array([w.sum() for w in weights])
    mean = np.array([w @ rows / (w.sum() or 1) for w, rows in zip(weights, arrays, strict=True)])
    m2 = np.array([w @ (rows - m) ** 2 for w, rows, m in zip(weights, arrays, mean, strict=True)])
    return ClusterSummary(n, mean, m2, m2.sum(axis=1), np.zeros((len(n), 1), np.int64))


def labels_of(summary):
    return [f"s{i}" for i in range(len(summary.rows))]


def tell(summary, **keys):
    """The told separation of numeric features a, b, … in the units they have."""
    names = tuple("abcdef"[: summary.mean.shape[1]])
    return tell_separation(summary, labels_of(summary), make_features(names, **keys), make_scaling(len(names)))


def strict(content):
    return json.loads(json.dumps(content, allow_nan=False))


# --- analysis of variance --------------------------------------------------------------------------------------------


def test_analyse_variance_of_a_small_case_by_hand():
    """Means 2, 3 and 7 about 4, two rows each: 2 * (4 + 1 + 9) = 28 between; 2 + 2 + 2 within, on 2 and 3 degrees."""
    found = analyse_variance(summary_of([1, 3], [2, 4], [6, 8]))
    assert (found.df_between, found.df_within) == (2, 3)
    assert found.eta_squared == pytest.approx([28 / 34])
    assert found.f == pytest.approx([14 / 2])
    assert found.p == pytest.approx([stats.f.sf(7, 2, 3)])


def test_analyse_variance_explains_what_the_inertia_leaves():
    segments = [np.array([[0, 0], [2, 0]]), np.array([[5, 1], [7, 3], [6, 2]])]
    found, every = analyse_variance(summary_of(*segments)), np.vstack(segments)
    within = sum(((rows - rows.mean(axis=0)) ** 2).sum() for rows in segments)
    total = ((every - every.mean(axis=0)) ** 2).sum(axis=0)
    assert found.explained == pytest.approx(1 - within / total.sum())
    assert found.explained == pytest.approx(np.average(found.eta_squared, weights=total))


segments_of_rows = st.lists(
    st.lists(st.integers(-1000, 1000).map(lambda n: n / 8), min_size=2, max_size=12), min_size=2, max_size=5
)


@pytest.mark.filterwarnings("ignore:Precision loss occurred:RuntimeWarning")  # scipy's, of a segment that is constant
@given(segments=segments_of_rows)
def test_f_and_welch_t_are_those_of_scipy_on_the_rows(segments):
    summary = summary_of(*segments)
    found, pairs = analyse_variance(summary), compare_pairs(summary)
    if found.eta_squared[0] < 1 and np.ptp(np.concatenate(segments)) > 0:
        expected = stats.f_oneway(*map(np.array, segments))
        assert found.f[0] == pytest.approx(expected.statistic, rel=1e-6, abs=1e-9)
        if expected.statistic > 1e-9:  # rounding can leave scipy a negative F, and no p
            assert found.p[0] == pytest.approx(expected.pvalue, rel=1e-6, abs=1e-12)
    for at, (one, two) in enumerate(zip(pairs.one, pairs.two, strict=True)):
        if np.ptp(segments[one]) or np.ptp(segments[two]):
            test = stats.ttest_ind(segments[one], segments[two], equal_var=False)
            assert pairs.t[at, 0] == pytest.approx(test.statistic, rel=1e-6, abs=1e-9)
            assert pairs.df[at, 0] == pytest.approx(test.df, rel=1e-6)
            assert pairs.p[at, 0] == pytest.approx(test.pvalue, rel=1e-6, abs=1e-12)


@given(seed=st.integers(0, 1000), n_rows=st.integers(20, 400))
def test_figures_of_an_assign_pass_are_those_of_scipy_on_its_rows(seed, n_rows):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_rows, 3)).astype(np.float32) * [1, 5, 0.1] + [0, 100, -3]
    X, centroids = X.astype(np.float32), np.array([[-1.0, 100, -3], [1.0, 100, -3]])
    ids, sums = assign_rows(make_rows(X), no_deviations(centroids))
    groups = [X[ids.cluster_ids == i].astype(np.float64) for i in (0, 1)]
    summary = sums.summary
    if min(map(len, groups)) < 2:
        return
    found, pairs = analyse_variance(summary), compare_pairs(summary)
    assert found.f == pytest.approx(stats.f_oneway(*groups).statistic, rel=1e-4, abs=1e-6)
    assert pairs.t[0] == pytest.approx(stats.ttest_ind(*groups, equal_var=False).statistic, rel=1e-4, abs=1e-6)


def test_a_row_of_weight_two_is_two_rows():
    weighted = summary_of([1, 5, 6], [8, 9], weights=[[2.0, 1.0, 3.0], [1.0, 2.0]])
    repeated = summary_of([1, 1, 5, 6, 6, 6], [8, 9, 9])
    assert compare_pairs(weighted).t == pytest.approx(compare_pairs(repeated).t)
    assert analyse_variance(weighted).f == pytest.approx(analyse_variance(repeated).f)


# --- pairs -----------------------------------------------------------------------------------------------------------


def test_cohens_d_is_in_standard_deviations_within_the_two():
    """Variances 1 (3 rows) and 4 (2 rows of 4 and 8 would be 8): pooled (2 * 1 + 1 * 8) / 3."""
    pairs = compare_pairs(summary_of([1, 2, 3], [4, 8]))
    assert pairs.cohens_d == pytest.approx(np.array([[-4 / np.sqrt(10 / 3)]]))


def test_holm_counts_the_tests_of_all_pairs_and_features():
    rng = np.random.default_rng(0)
    pairs = compare_pairs(summary_of(*(rng.normal(size=(5, 2)) + 2 * i for i in range(4))))
    assert pairs.p.shape == (6, 2)
    assert pairs.p_adjusted.min() == pytest.approx(12 * pairs.p.min())
    order = np.argsort(pairs.p, axis=None)
    assert (np.diff(pairs.p_adjusted.ravel()[order]) >= 0).all()


@given(p=st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_adjust_holm_keeps_the_order_and_never_lowers_a_p(p):
    p = np.array(p)
    adjusted = adjust_holm(p)
    assert (adjusted >= p).all()
    assert (adjusted <= np.minimum(p * len(p), 1) + 1e-12)[np.argmin(p)]
    assert adjust_holm(np.append(p, np.nan))[:-1] == pytest.approx(adjusted)


def test_closest_pairs_come_first_with_the_feature_that_tells_them_apart_best():
    noise = np.array([[-0.5, -0.5], [0.5, 0.5]])
    summary = summary_of(*(noise + center for center in ([0, 0], [0, 2], [9, 0])))
    closest = tell(summary)["closest"]
    assert [(one["cluster_label"], one["other_label"], one["feature"]) for one in closest] == [
        ("s0", "s1", "b"),
        ("s0", "s2", "a"),
        ("s1", "s2", "a"),
    ]
    assert closest[0]["higher"] == "s1"
    assert closest[0]["cohens_d"] == pytest.approx(-2 / np.sqrt(0.5))
    many = summary_of(*(noise + np.array([i, 0]) for i in range(12)))
    assert len(tell(many)["closest"]) == CLOSEST_PAIRS


# --- nothing to compare ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "segments",
    [
        ([1, 2, 3],),
        ([], []),
        ([1], [2]),
        ([1, 1], [1, 1, 1]),
        ([0, 0], [1, 1]),
        ([1], [2, 3], []),
        ([0.1] * 7, [0.1] * 3, [0.1, 0.2]),
    ],
    ids=["one segment", "no rows", "single rows", "constant", "constant within", "one, two, none", "rounding"],
)
def test_what_has_no_value_is_none(segments):
    told = strict(tell(summary_of(*segments)))
    (feature,) = told["features"]
    assert set(feature) >= {"feature", "kind", "eta_squared", "f", "p", "lowest", "highest", "cohens_d"}
    labels = [f"s{i}" for i in range(len(segments))]
    sample = pa.table({"a": pa.array([], pa.float64()), "cluster_label": pa.array([], pa.string())})
    strict(tell_profile(summary_of(*segments), sample, labels, make_features(("a",)), make_scaling(1)))


def test_segments_that_a_feature_tells_apart_without_fail_have_no_f_and_all_the_variance_between_them():
    (feature,) = tell(summary_of([0, 0], [1, 1]))["features"]
    assert (feature["eta_squared"], feature["f"], feature["p"], feature["cohens_d"]) == (1, None, 0, None)
    assert feature["highest"] == {"cluster_label": "s1", "mean": 1}
    assert tell(summary_of([0, 0], [1, 1]))["closest"][0]["higher"] == "s1"


def test_a_feature_that_does_not_vary_comes_last_and_says_nothing():
    told = tell(summary_of([[7, 1], [7, 2]], [[7, 5], [7, 6]]))["features"]
    assert [line["feature"] for line in told] == ["b", "a"]
    assert told[1]["eta_squared"] is told[1]["f"] is told[1]["lowest"] is None


def test_segments_without_rows_are_in_no_pair_and_no_end():
    told = tell(summary_of([], [5, 6], [8, 9]))
    assert {told["features"][0]["lowest"]["cluster_label"], told["features"][0]["highest"]["cluster_label"]} == {
        "s1",
        "s2",
    }
    assert [(one["cluster_label"], one["other_label"]) for one in told["closest"]] == [("s1", "s2")]


# --- units, sample ---------------------------------------------------------------------------------------------------


def test_tell_profile_gives_means_and_spreads_as_people_know_them():
    """Age is (x - 40) / 10; spend is its log1p, unscaled; the channel is its shares."""
    features = make_features(("age", "spend"), log1p=("spend",), categorical=("channel",))
    scaling = make_scaling(2, categories=(("shop", "web"),))
    scaling = type(scaling)(
        np.array([40.0, 0.0]), np.array([10.0, 1.0]), scaling.fill, scaling.edges, (("shop", "web"),)
    )
    rows = [[0, np.log1p(9), 1, 0], [2, np.log1p(99), 0, 1], [1, np.log1p(999), 0, 1]]
    sample = pa.table(
        {"age": [40.0, 60.0, 50.0], "spend": [9.0, 99.0, 999.0], "channel": ["shop", "web", "web"]}
        | {"cluster_label": ["s0"] * 3}
    )
    told = strict(tell_profile(summary_of(rows, []), sample, ["s0", "s1"], features, scaling))
    figures = told["segments"][0]["features"]
    assert figures["age"] == {
        "mean": 50,
        "sd": pytest.approx(10),
        "sd_factor": None,
        "quantiles": {"0.05": 41, "0.25": 45, "0.5": 50, "0.75": 55, "0.95": pytest.approx(59)},
        "missing_share": 0,
    }
    assert figures["spend"]["mean"] == pytest.approx(99)
    assert (figures["spend"]["sd"], figures["spend"]["sd_factor"]) == (None, pytest.approx(10))
    assert figures["spend"]["quantiles"]["0.5"] == 99
    assert figures["channel=web"]["mean"] == pytest.approx(2 / 3)
    assert figures["channel=web"]["quantiles"]["0.5"] is None
    assert {line["feature"]: line["kind"] for line in told["features"]} == {
        "age": "numeric",
        "spend": "log1p",
        "channel=shop": "category",
        "channel=web": "category",
    }
    empty = told["segments"][1]
    assert empty["sample_rows"] == 0
    assert empty["features"]["age"] == {
        "mean": None,
        "sd": None,
        "sd_factor": None,
        "quantiles": dict.fromkeys(("0.05", "0.25", "0.5", "0.75", "0.95")),
        "missing_share": None,
    }


def test_measure_sample_leaves_out_what_can_not_be_used():
    """Missing are null, NaN, infinities and what has no log1p."""
    sample = pa.table(
        {
            "x": [1.0, None, float("nan"), float("inf"), -2.0, 3.0],
            "kind": ["a", None, "b", "b", "b", "b"],
            "cluster_label": ["s0"] * 5 + ["s1"],
        }
    )
    found = measure_sample(sample, ["s0", "s1", "s2"], make_features(("x",), log1p=("x",), categorical=("kind",)))
    assert found.rows.tolist() == [5, 1, 0]
    assert found.missing[:2].tolist() == [[pytest.approx(0.8), pytest.approx(0.2)], [0, 0]]
    assert np.isnan(found.missing[2]).all()
    assert found.quantiles[:2, 0, 2].tolist() == [1, 3]


# --- of a version ----------------------------------------------------------------------------------------------------


def test_profile_version_is_exact_over_the_rows_that_were_assigned(published, config_in):
    found = strict(profile_version(config_in(published)))
    rows = pq.read_table(published / "out/assignments/v000001").to_pandas()
    groups = dict(list(rows.groupby("cluster_label", observed=True)))
    for line in found["features"]:
        expected = stats.f_oneway(*(group[line["feature"]] for group in groups.values())).statistic
        assert line["f"] == pytest.approx(expected, rel=1e-4)
    for segment in found["segments"]:
        group = groups[segment["cluster_label"]]
        assert segment["rows"] == segment["sample_rows"] == len(group)
        for name in ("x", "y"):
            figures = segment["features"][name]
            assert figures["mean"] == pytest.approx(group[name].mean(), rel=1e-5)
            assert figures["sd"] == pytest.approx(group[name].std(), rel=1e-5)
            assert figures["quantiles"]["0.95"] == pytest.approx(group[name].quantile(0.95))
    for pair in found["pairs"]:
        one, two = (groups[pair[key]][pair["feature"]] for key in ("cluster_label", "other_label"))
        assert pair["t"] == pytest.approx(stats.ttest_ind(one, two, equal_var=False).statistic, rel=1e-4)


def test_profile_version_takes_a_version_and_features(published, config_in):
    config = config_in(published)
    every, some = profile_version(config), profile_version(config, "v000001", features=["y"])
    assert [line["feature"] for line in some["features"]] == ["y"]
    assert some["pairs"] == [pair for pair in every["pairs"] if pair["feature"] == "y"]
    assert {name for segment in some["segments"] for name in segment["features"]} == {"y"}
    with pytest.raises(ConfigError, match="v000001 has no feature 'z'"):
        profile_version(config, features=["z"])
    with pytest.raises(ModelNotFoundError):
        profile_version(config, "v000007")


def test_missing_values_that_are_filled_are_told_by_segment(config, data, files, blobs):
    table = blobs(300)
    holes = pa.array(np.where(np.arange(300) % 4 == 0, np.nan, table["x"]), from_pandas=True)
    kinds = pa.array([None if i % 10 == 0 else "ab"[i % 2] for i in range(300)])
    files(data, {"a.parquet": table.set_column(1, "x", holes).append_column("kind", kinds)})
    made = config(features={"on_missing": "mean", "categorical": ["kind"]})
    refresh(made)
    found = strict(profile_version(made))
    assert found["sample_rows"] == 300
    for name, share in (("x", 0.25), ("y", 0), ("kind=a", 0.1), ("kind=b", 0.1)):
        told = [(segment["sample_rows"], segment["features"][name]["missing_share"]) for segment in found["segments"]]
        assert sum(rows * missing for rows, missing in told) == pytest.approx(300 * share)
    one = profile_version(made, features=["kind"])
    assert {line["feature"] for line in one["features"]} == {"kind=a", "kind=b"}


def test_refresh_keeps_the_separation_in_drift_json(published, config_in):
    version = Store(published / "out").load()
    drift = json.loads((published / "out/models/v000001/drift.json").read_text(), parse_constant=pytest.fail)
    model = version.model
    assert drift["profile"] == strict(tell_separation(version.summary, model.labels, model.features, model.scaling))
    page = Page((published / "out/models/v000001/report.html").read_text())
    assert "What separates the segments" in page.text


# --- the command -----------------------------------------------------------------------------------------------------


def test_profile_ranks_the_features_and_shows_each_by_segment(there):
    result = run("profile")
    assert result.exit_code == 0, result.output
    assert_readable(result.stdout)
    lines = result.stdout.splitlines()
    assert lines[0] == "blobs v000001: 800 rows in 3 segments"
    for text in ("eta\u00b2", "Hardest to tell apart", "50 %", "of 800 sampled", "a small p is no discovery"):
        assert text in result.stdout
    assert "pairs of segments" not in result.stdout


def test_profile_of_one_feature_shows_every_pair(there):
    shown = run("profile", "v000001", "--feature", "x").stdout
    assert "x: pairs of segments" in shown
    assert "Welch's t" in shown
    assert not [line for line in shown.splitlines() if line.startswith("y")]


def test_profile_prints_everything_as_json(there):
    found = answer("profile")
    assert set(found) >= {"name", "version", "rows", "explained", "features", "segments", "pairs", "closest"}
    assert len(found["pairs"]) == 3 * 2
    assert answer("profile", "--feature", "x")["features"] == [
        line for line in found["features"] if line["feature"] == "x"
    ]


def test_profile_of_an_unknown_feature_exits_with_2(there):
    result = run("profile", "--feature", "z")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.splitlines() == ["ConfigError: v000001 has no feature 'z'", "  It has: x, y."]


def test_profile_shows_categories_logs_and_missing_values(here, files, blobs):
    table = blobs(400)
    kinds = pa.array([f"kind-{i % 7}" for i in range(400)])
    spend = pa.array([None if i % 5 == 0 else float(i % 90) for i in range(400)])
    files(here / "data", {"a.parquet": table.append_column("kind", kinds).append_column("spend", spend)})
    keys = ['numeric=["x","y","spend"]', 'log1p=["spend"]', 'categorical=["kind"]', 'on_missing="median"']
    settings = [part for key in keys for part in ("--set", f"features.{key}")]
    assert run("refresh", *settings).exit_code == 0
    shown = run("profile", *settings).stdout
    assert_readable(shown)
    for text in ("kind, share of the rows", "2 more: ", "spend (log1p)", "\u00d7 ", "missing", "mean \u00d7 factor"):
        assert text in shown


def test_profile_of_a_single_segment_says_what_there_is(here, files, blobs):
    files(here / "data", {"a.parquet": blobs(60)})
    assert run("refresh", "--set", "model.n_clusters=1").exit_code == 0
    result = run("profile", "--set", "model.n_clusters=1")
    assert result.exit_code == 0, result.output
    assert "60 rows in 1 segment\n" in result.stdout
    assert "Hardest" not in result.stdout
    assert "What separates" not in Page((here / "out/models/v000001/report.html").read_text()).text


def test_profile_of_weighted_rows_says_that_sampled_ones_count_once(here, files, blobs):
    table = blobs(200)
    files(here / "data", {"a.parquet": table.append_column("w", pa.array([0.5, 2.0, 0.0, 1.0] * 50))})
    assert run("refresh", "--set", "features.weight=w").exit_code == 0
    shown = run("profile", "--set", "features.weight=w").stdout
    assert shown.startswith("blobs v000001: 175 rows in 3 segments\n")
    assert "each counted once" in " ".join(shown.split())
    found = answer("profile", "--set", "features.weight=w")
    assert (found["rows"], found["sample_rows"], found["df_within"]) == (175, 200, 172)


# --- the page --------------------------------------------------------------------------------------------------------


def test_page_shows_what_separates_the_segments_with_a_bar_each(tmp_path):
    rng = np.random.default_rng(0)
    summary = summary_of(*(rng.normal(size=(50, 2)) + center for center in ([0, 0], [5, 0.1], [9, -0.1])))
    features = make_features(("<b>a</b>", "b"))
    told = tell_separation(summary, ["one", "two", "<i>"], features, make_scaling(2))
    path = tmp_path / "page.html"
    drift = make_refresh() | {"profile": strict(told)}
    write_report(path, drift, reference_sample=None, current_sample=None, run=REFRESH_RUN)
    page = Page(path.read_text(encoding="utf-8"))
    first = told["features"][0]
    assert f'<b style="width:{100 * first["eta_squared"]:.1f}%"></b></span>{first["eta_squared"]:.2f}' in page.source
    assert "<b>a</b>" in page.text
    assert "<i>" in page.text
    for text in ("What separates the segments", "Pairs hardest to tell apart", "2 and 147 degrees of freedom"):
        assert text in page.text


def test_page_of_an_older_version_has_no_such_section(tmp_path):
    path = tmp_path / "page.html"
    drift = make_refresh() | {"segments": [make_segment("segment-01", 5000, 1.0, 0.8)]}
    write_report(path, drift, reference_sample=None, current_sample=None, run=REFRESH_RUN)
    assert "What separates" not in Page(path.read_text(encoding="utf-8")).text
