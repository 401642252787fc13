"""What a refit takes over from the version before it, and `refresh --baseline`: another space, the same names."""

import numpy as np
import pytest
from builders import (
    labels_of,
    make_config,
    make_features,
    make_plain_model,
    make_version,
    strict,
    written,
)

from kmstream.errors import ConfigError
from kmstream.pipeline import refresh
from kmstream.predecessor import check_same_features, find_scaling_version, load_current
from kmstream.store import Store

# --- the space -------------------------------------------------------------------------------------------------------

KNOWN = {"numeric": ["x", "y"], "log1p": ["y"], "weight": "w", "on_missing": "skip"}


@pytest.fixture
def known():
    """Give a version with the features that `KNOWN` says."""
    return make_version(make_plain_model(make_features(**KNOWN), [(0.0, 0.0)], ["all"]), [(0.0, 0.0)])


@pytest.mark.parametrize("change", [{}, {"on_missing": "error"}, {"clip": 3.0}])
def test_check_same_features_lets_be_what_leaves_the_space_as_it_is(known, change):
    check_same_features(make_config(features=KNOWN | change), known)


@pytest.mark.parametrize(
    ("change", "message", "note"),
    [
        ({"weight": ""}, "features.weight is ''; v000001 has 'w'", "Shares of other weights can't be compared"),
        ({"numeric": ["y"]}, "features.numeric is ('y',); v000001 has ('x', 'y')", "Scaling is frozen at the baseline"),
        ({"numeric": ["y", "x"]}, "features.numeric is ('y', 'x'); v000001 has ('x', 'y')", "Scaling is frozen"),
        ({"categorical": ["c"]}, "features.categorical is ('c',); v000001 has ()", "Scaling is frozen"),
        ({"log1p": []}, "features.log1p is (); v000001 has ('y',)", "Scaling is frozen"),
        ({"scaling": "robust"}, "features.scaling is 'robust'; v000001 has 'standard'", "Scaling is frozen"),
        ({"on_missing": "mean"}, "features.on_missing is 'mean'; v000001 has 'skip'", "What a missing value becomes"),
        (
            {"on_missing": "median"},
            "features.on_missing is 'median'; v000001 has 'skip'",
            "What a missing value becomes",
        ),
    ],
)
def test_check_same_features_refuses_another_space_and_names_the_way_out(known, change, message, note):
    with pytest.raises(ConfigError) as caught:
        check_same_features(make_config(features=KNOWN | change), known)
    assert str(caught.value) == message
    assert caught.value.__notes__[0].startswith(note)
    assert caught.value.__notes__[-1].startswith("Set it back, or run `kmstream refresh --baseline`")


def test_find_scaling_version_is_the_current_one_where_its_scaling_fits(published, config_in, store):
    assert find_scaling_version(config_in(published), store).version == "v000001"
    assert find_scaling_version(config_in(published, features={"scaling": "robust"}), store) is None


def test_load_current_refuses_other_features_only_where_the_space_is_kept(published, config_in, store):
    other = config_in(published, features={"numeric": ["x"]})
    assert load_current(other, store, is_space_kept=False).version == "v000001"
    with pytest.raises(ConfigError, match=r"features\.numeric is \('x',\)"):
        load_current(other, store, is_space_kept=True)


def test_there_is_no_version_to_go_on_from_before_the_first(config, tmp_path):
    store = Store(tmp_path / "out")
    assert find_scaling_version(config(), store) is None
    assert load_current(config(), store, is_space_kept=True) is None


# --- a new baseline --------------------------------------------------------------------------------------------------


def test_refresh_baseline_learns_a_new_scaling_and_keeps_the_names(published, config_here, store, files, blobs):
    wider = ((0.0, 0.0), (14.0, 0.0), (0.0, 14.0))
    files(published / "data", {f"m{i}.parquet": blobs(400, seed=i, centers=wider) for i in (1, 2)})
    result = refresh(config_here, baseline=True)
    assert labels_of(result) == dict.fromkeys(("segment-01", "segment-02", "segment-03"), "kept")
    second = store.load("v000002")
    assert (second.baseline, second.parent) == ("v000002", "v000001")
    assert not np.array_equal(second.model.scaling.scale, store.load("v000001").model.scaling.scale)
    strict(result)


@pytest.mark.parametrize("output", [{}, {"columns": ["id"]}])
def test_refresh_baseline_keeps_the_names_where_the_features_change(published, config_in, store, output):
    features = {"numeric": ["y", "truth"], "scaling": "minmax"}
    result = refresh(config_in(published, features=features, output=output), baseline=True)
    assert labels_of(result) == dict.fromkeys(("segment-01", "segment-02", "segment-03"), "kept")
    assert store.read_json("v000002", "drift.json")["ari"] >= 0.99
    if not output:
        table = written(store, "m1.parquet")
        assert set(zip(table["truth"].to_pylist(), table["cluster_label"].to_pylist(), strict=True)) == {
            (0, "segment-01"),
            (1, "segment-02"),
            (2, "segment-03"),
        }


def test_refresh_baseline_can_leave_a_hive_feature_behind(config, data, files, blobs):
    files(data, {f"level={i}/a.parquet": blobs(200, seed=i) for i in range(2)})
    refresh(config(features={"numeric": ["x", "y", "level"]}))
    result = refresh(config(), baseline=True)
    assert len(labels_of(result)) == 3


def test_refresh_baseline_can_leave_a_column_behind_that_is_gone(published, config_in, files, blobs):
    files(published / "data", {f"m{i}.parquet": blobs(400, seed=i).drop_columns("y") for i in (1, 2)})
    result = refresh(config_in(published, features={"numeric": ["x", "truth"]}), baseline=True)
    assert result.version == "v000002"


def test_refresh_baseline_keeps_the_names_where_the_weight_is_gone(published, config_in, files, blobs):
    refresh(config_in(published, features={"weight": "id"}), baseline=True)
    files(published / "data", {f"m{i}.parquet": blobs(400, seed=i).drop_columns("id") for i in (1, 2)})
    result = refresh(config_in(published), baseline=True)
    assert labels_of(result) == dict.fromkeys(("segment-01", "segment-02", "segment-03"), "kept")
