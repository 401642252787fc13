"""What separates the segments, as drift.json and the profile of a version tell it."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from builders import make_features, make_scaling, strict, summarise_segments
from scipy import stats

from kmstream.errors import ConfigError, ModelNotFoundError
from kmstream.pipeline import refresh
from kmstream.segment_profile import CLOSEST_PAIRS, measure_sample, tell_profile, tell_separation
from kmstream.store import Store
from kmstream.versions import profile_version


def tell(summary, **keys):
    """The told separation of numeric features a, b, … in the units they have."""
    names, labels = tuple("abcdef"[: summary.mean.shape[1]]), [f"s{i}" for i in range(len(summary.rows))]
    return tell_separation(summary, labels, make_features(names, **keys), make_scaling(len(names)))


def no_sample(names):
    """A sample without rows."""
    return pa.table({name: pa.array([], pa.float64()) for name in names} | {"cluster_label": pa.array([], pa.string())})


def test_closest_pairs_come_first_with_the_feature_that_tells_them_apart_best():
    noise = np.array([[-0.5, -0.5], [0.5, 0.5]])
    summary = summarise_segments(*(noise + center for center in ([0, 0], [0, 2], [9, 0])))
    closest = tell(summary)["closest"]
    assert [(one["cluster_label"], one["other_label"], one["feature"]) for one in closest] == [
        ("s0", "s1", "b"),
        ("s0", "s2", "a"),
        ("s1", "s2", "a"),
    ]
    assert closest[0]["higher"] == "s1"
    assert closest[0]["cohens_d"] == pytest.approx(-2 / np.sqrt(0.5))
    many = summarise_segments(*(noise + np.array([i, 0]) for i in range(12)))
    closest = [(one["cluster_label"], one["other_label"]) for one in tell(many)["closest"]]
    assert closest == [(f"s{i}", f"s{i + 1}") for i in range(CLOSEST_PAIRS)]  # as near to each other: in their order


def test_closest_pairs_are_told_by_a_feature_in_which_they_can_be_compared():
    """In a, rows differ neither within nor between s0 and s1; s2 and s3 have a row each."""
    summary = summarise_segments([[7, 1], [7, 3]], [[7, 1.5], [7, 3.5]], [[7, 2]], [[7, 9]])
    closest = [(one["cluster_label"], one["other_label"], one["feature"]) for one in tell(summary)["closest"]]
    assert ("s0", "s1", "b") in closest
    assert ("s2", "s3") not in [pair[:2] for pair in closest]
    (alike,) = tell(summarise_segments([1, 3], [1, 3]))["closest"]
    assert (alike["cohens_d"], alike["higher"]) == (0, None)


def test_features_come_by_how_well_they_separate_and_else_in_their_order():
    """One that differs within the segments alone comes before those that differ nowhere."""
    names = tuple(f"f{j:02d}" for j in range(40))
    rows = np.full((2, 40), 7.0)
    rows[:, 30] = [1, 5]
    told = tell_separation(summarise_segments(rows, rows), ["one", "two"], make_features(names), make_scaling(40))
    assert [line["feature"] for line in told["features"]] == ["f30", *names[:30], *names[31:]]
    assert [line["eta_squared"] for line in told["features"][:2]] == [0, None]


def test_tell_separation_tells_how_much_is_explained_and_of_how_many_rows():
    told = tell(summarise_segments([1, 3], [2, 4], [6, 8]))
    assert told.pop("explained") == pytest.approx(28 / 34)
    assert {key: told[key] for key in told.keys() - {"features", "closest"}} == {"df_between": 2, "df_within": 3}


def test_a_pair_tells_which_of_the_two_has_the_higher_mean():
    """In a the first, by less than a standard deviation; in b the second; in c neither."""
    summary = summarise_segments([[1, 1, 1], [3, 3, 3]], [[0.5, 1.5, 1], [2.5, 3.5, 3]])
    closest = tell(summary)["closest"]
    told = tell_profile(summary, no_sample("abc"), ["s0", "s1"], make_features(("a", "b", "c")), make_scaling(3))
    assert [(pair["feature"], pair["higher"]) for pair in told["pairs"]] == [("a", "s0"), ("b", "s1"), ("c", None)]
    assert [pair["cohens_d"] for pair in told["pairs"]] == pytest.approx([0.5 / 2**0.5, -0.5 / 2**0.5, 0.0])
    assert closest == told["closest"] == told["pairs"][:1]


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
    told = strict(tell(summarise_segments(*segments)))
    (feature,) = told["features"]
    assert set(feature) >= {"feature", "kind", "eta_squared", "f", "p", "lowest", "highest", "cohens_d"}
    labels = [f"s{i}" for i in range(len(segments))]
    summary = summarise_segments(*segments)
    strict(tell_profile(summary, no_sample("a"), labels, make_features(("a",)), make_scaling(1)))


def test_segments_that_a_feature_tells_apart_without_fail_have_no_f_and_all_the_variance_between_them():
    (feature,) = tell(summarise_segments([0, 0], [1, 1]))["features"]
    assert (feature["eta_squared"], feature["f"], feature["p"], feature["cohens_d"]) == (1, None, 0, None)
    assert feature["highest"] == {"cluster_label": "s1", "mean": 1}
    assert tell(summarise_segments([0, 0], [1, 1]))["closest"][0]["higher"] == "s1"


def test_a_feature_that_does_not_vary_comes_last_and_says_nothing():
    told = tell(summarise_segments([[7, 1], [7, 2]], [[7, 5], [7, 6]]))["features"]
    assert [line["feature"] for line in told] == ["b", "a"]
    assert told[1]["eta_squared"] is told[1]["f"] is told[1]["lowest"] is None


def test_segments_without_rows_are_in_no_pair_and_no_end():
    told = tell(summarise_segments([], [5, 6], [8, 9]))
    assert {told["features"][0]["lowest"]["cluster_label"], told["features"][0]["highest"]["cluster_label"]} == {
        "s1",
        "s2",
    }
    assert [(one["cluster_label"], one["other_label"]) for one in told["closest"]] == [("s1", "s2")]


def test_ends_among_segments_of_equal_means_are_the_first_of_the_lowest_and_the_last_of_the_highest():
    (feature,) = tell(summarise_segments(*[[6, 8], [6, 8], [1, 3], [1, 3]] * 6))["features"]
    assert feature["lowest"] == {"cluster_label": "s2", "mean": 2}
    assert feature["highest"] == {"cluster_label": "s21", "mean": 7}
    assert feature["cohens_d"] == pytest.approx(5 / 2**0.5)


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
    told = strict(tell_profile(summarise_segments(rows, []), sample, ["s0", "s1"], features, scaling))
    segment = told["segments"][0]
    figures = segment.pop("features")
    assert segment == {"cluster_id": 0, "cluster_label": "s0", "rows": 3, "share": 1, "sample_rows": 3}
    assert (told["sample_rows"], told["pairs"]) == (3, [])
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


def test_tell_profile_has_a_mean_of_one_row_and_a_spread_of_two():
    """A spread that no factor can tell, here e to the power of 1414, is left out like one that there is not."""
    features = make_features(("a", "b"), log1p=("b",))
    summary = summarise_segments([[4, 1]], [[1, -1000], [3, 1000]], [[1, 1], [2, 2], [6, 3]])
    told = strict(tell_profile(summary, no_sample("ab"), ["one", "two", "three"], features, make_scaling(2)))
    of_a, of_b = ([segment["features"][name] for segment in told["segments"]] for name in "ab")
    assert [(one["mean"], one["sd"]) for one in of_a] == [
        (4, None),
        (2, pytest.approx(2**0.5)),
        (3, pytest.approx(7**0.5)),
    ]
    assert [one["sd_factor"] for one in of_b] == [None, None, pytest.approx(np.e)]


def test_tell_profile_tells_of_a_category_the_missing_values_of_its_feature():
    features = make_features(("x",), categorical=("c", "d"))
    scaling = make_scaling(1, categories=(("u", "v"), ("w",)))
    sample = pa.table(
        {"x": [1.0, None, None, 2.0], "c": ["u", None, "v", "v"], "d": [None, None, None, "w"]}
        | {"cluster_label": ["s0"] * 4}
    )
    told = tell_profile(summarise_segments([[1, 1, 0, 0], [2, 0, 1, 1]]), sample, ["s0"], features, scaling)
    missing = {name: figures["missing_share"] for name, figures in told["segments"][0]["features"].items()}
    assert missing == {"x": 0.5, "c=u": 0.25, "c=v": 0.25, "d=w": 0.75}


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
    assert (found.rows.dtype, found.rows.tolist()) == (np.int64, [5, 1, 0])
    assert found.missing[:2].tolist() == [[pytest.approx(0.8), pytest.approx(0.2)], [0, 0]]
    assert np.isnan(found.missing[2]).all()
    assert found.quantiles[:2, 0, 2].tolist() == [1, 3]


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
    assert "What separates the segments" in (published / "out/models/v000001/report.html").read_text(encoding="utf-8")
