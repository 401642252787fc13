"""`refresh --baseline`: another space, other features, the same names."""

import numpy as np
import pytest
from builders import labels_of, strict, written

from kmstream.pipeline import refresh


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
