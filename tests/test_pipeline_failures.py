"""Runs that are refused, fail or are interrupted: nothing is published, nothing half done is left."""

import shutil
import signal
import subprocess

import pyarrow as pa
import pytest
from builders import break_column, leftovers, refresh_until

from kmstream.errors import (
    ConfigError,
    CorruptFileError,
    InvalidFeatureError,
    LockHeldError,
    ModelNotFoundError,
    OutputError,
    SchemaMismatchError,
    TooFewRowsError,
)
from kmstream.pipeline import refresh, score
from kmstream.store import Store
from kmstream.versions import promote


def test_refresh_refuses_changed_features_and_names_the_way_out(published, config_in, store):
    for features in ({"numeric": ["x"]}, {"log1p": ["x"]}, {"scaling": "robust"}, {"categorical": ["id"]}):
        with pytest.raises(ConfigError, match=r"features\.\w+ is .*v000001 has") as caught:
            refresh(config_in(published, features=features))
        assert "--baseline" in caught.value.__notes__[-1]
    assert store.versions() == ["v000001"]


@pytest.mark.parametrize("verb", [refresh, score])
def test_other_weights_than_the_model_has_are_refused(published, config_in, verb):
    """Shares of weights and shares of rows differ, and all of it would be told as drift."""
    with pytest.raises(ConfigError, match=r"features\.weight is 'id'; v000001 has ''") as caught:
        verb(config_in(published, features={"weight": "id"}))
    assert "--baseline" in caught.value.__notes__[-1]


def test_score_needs_a_model(config, data, files, blobs):
    files(data, {"a.parquet": blobs(20)})
    with pytest.raises(ModelNotFoundError, match="no model has been published"):
        score(config())


def test_score_that_fails_leaves_the_manifest_and_goes_on_next_time(config_here, published, store, files, blobs, tree):
    good = blobs(300, seed=3)
    files(published / "data", {"m3.parquet": good, "m4.parquet": good})
    break_column(published / "data/m4.parquet", "x")
    manifest = (store.assignments("v000001") / "_manifest.json").read_bytes()
    with pytest.raises(CorruptFileError, match=r"m4\.parquet can't be read"):
        score(config_here)
    assert (store.assignments("v000001") / "_manifest.json").read_bytes() == manifest
    assert not leftovers(tree, published)
    files(published / "data", {"m4.parquet": good})
    assert score(config_here).partitions == 2


def failing_job(config, data, files, blobs, how):
    """A dataset and a configuration that can't be refreshed, and the error that says so."""
    good = {"a.parquet": blobs(300), "b.parquet": blobs(300, seed=1)}
    files(data, good)
    if how == "no such path":
        return config(dataset={"path": "nowhere"}), FileNotFoundError, "does not exist"
    if how == "corrupt footer":
        (data / "b.parquet").write_bytes(b"PAR1 and nothing good PAR1")
        return config(), CorruptFileError, r"b\.parquet"
    if how == "corrupt pages":
        break_column(data / "b.parquet", "x")
        return config(engine={"workers": 1}), CorruptFileError, r"b\.parquet can't be read"
    if how == "corrupt pages to write again":
        break_column(data / "b.parquet", "id")  # no feature: found by the last pass
        return config(output={"columns": ["id"]}), CorruptFileError, r"b\.parquet can't be read"
    if how == "missing column":
        files(data, {"b.parquet": good["b.parquet"].drop_columns("x")})
        return config(), SchemaMismatchError, "'x' is missing"
    if how == "text column":
        files(data, {"b.parquet": good["b.parquet"].set_column(1, "x", pa.array(["1"] * 300))})
        return config(), SchemaMismatchError, "'x' has type string"
    if how == "missing values":
        files(data, {"b.parquet": good["b.parquet"].set_column(1, "x", pa.array([float("nan")] * 300))})
        return config(), InvalidFeatureError, "'x' is missing in 300 of 300"
    if how == "all rows missing":
        files(data, {name: table.set_column(1, "x", pa.nulls(300)) for name, table in good.items()})
        return config(features={"on_missing": "skip"}), TooFewRowsError, "600"
    if how == "too few rows":
        (data / "b.parquet").unlink()
        files(data, {"a.parquet": blobs(2)})
        return config(), TooFewRowsError, "n_clusters=3"
    files(data, {"b.parquet": good["b.parquet"].append_column("cluster_id", pa.array(range(300)))})
    return config(), SchemaMismatchError, "already has a column 'cluster_id'"


@pytest.mark.parametrize(
    "how",
    [
        "no such path",
        "corrupt footer",
        "corrupt pages",
        "corrupt pages to write again",
        "missing column",
        "text column",
        "missing values",
        "all rows missing",
        "too few rows",
        "cluster column",
    ],
)
def test_refresh_that_fails_publishes_nothing_and_leaves_nothing(config, data, files, blobs, tree, how):
    job, error, text = failing_job(config, data, files, blobs, how)
    with pytest.raises(error, match=text) as caught:
        refresh(job)
    assert getattr(caught.value, "exit_code", None) == 3
    assert caught.value.__notes__
    store = Store(job.output.path)
    assert store.current is None
    assert [name for name in tree(store.output) if name not in {"models", "models/.lock", "assignments"}] == []
    files(data, {"a.parquet": blobs(300), "b.parquet": blobs(300, seed=1)})
    again = refresh(config())
    assert (again.version, again.status, again.rows) == ("v000001", "published", 600)


def test_refresh_refuses_columns_that_cannot_be_written_before_it_fits(config, data, files, blobs):
    files(data, {"a.parquet": blobs(300)})
    stages = []

    class Watch:
        def start(self, stage, rows):
            stages.append(stage)

        def advance(self, rows):
            pass

    with pytest.raises(SchemaMismatchError, match="'nope'"):
        refresh(config(output={"columns": ["nope"]}), progress=Watch())
    assert stages == []


@pytest.mark.parametrize("stage", ["scan", "exact pass", "assign"])
@pytest.mark.slow
def test_refresh_interrupted_by_ctrl_c_leaves_only_what_the_next_run_goes_on_from(
    published, config_in, store, files, blobs, tree, stage
):
    files(published / "data", {f"n{i}.parquet": blobs(3000, seed=i) for i in range(6)})
    before = tree(published / "out")
    done = refresh_until(published, stage, signal.SIGINT)
    assert "KeyboardInterrupt" in done.stderr
    left = set(tree(published / "out")) - set(before)
    assert all(name.startswith("assignments/.v000002.refresh") for name in left)
    assert (stage == "assign") == bool(left)
    result = refresh(config_in(published))
    assert result.version == "v000002"
    assert (result.resumed > 0) == bool(left)
    assert not [name for name in tree(published / "out") if "/." in name and not name.endswith(".lock")]


def test_refresh_that_fails_after_publishing_keeps_the_published_assignments(config, data, files, blobs):
    """Whatever CURRENT names is whole, also when the line in the history can't be written any more."""
    files(data, {"a.parquet": blobs(300)})
    store = Store(config().output.path)
    (store.models / "history.jsonl").mkdir(parents=True)
    with pytest.raises(OSError, match=r"history\.jsonl"):
        refresh(config())
    assert store.current is None or (store.assignments(store.current) / "a.parquet").is_file()


def test_refresh_refuses_to_run_beside_another_run(config_here, store):
    with store.lock("blobs"):
        for verb in (refresh, score):
            with pytest.raises(LockHeldError):
                verb(config_here)


@pytest.mark.parametrize("path", ["data/out", "data"])
def test_refresh_refuses_output_inside_the_dataset(config, data, files, blobs, tree, path):
    files(data, {"a.parquet": blobs(300)})
    with pytest.raises(ConfigError, match="lies inside dataset"):
        refresh(config(output={"path": path}))
    assert tree(data) == ["a.parquet"]


def test_refresh_tells_that_the_output_cannot_be_written(config, data, files, blobs, tmp_path):
    files(data, {"a.parquet": blobs(300)})
    (tmp_path / "out").mkdir()
    (tmp_path / "out/models").write_text("a file")
    with pytest.raises(OutputError, match="can't be written"):
        refresh(config())


def test_refresh_refuses_an_output_that_is_a_file(config, data, files, blobs, tmp_path):
    files(data, {"a.parquet": blobs(300)})
    (tmp_path / "out").write_text("a file")
    with pytest.raises(ConfigError, match="is a file; expected a folder"):
        refresh(config())


def test_refresh_and_score_refuse_the_folder_of_another_segmentation(config_here):
    other = config_here.model_copy(update={"name": "other"})
    for verb in (refresh, score):
        with pytest.raises(ConfigError, match=r"name is 'other'; .* holds the segmentation 'blobs'"):
            verb(other)


def test_refresh_refuses_to_start_anew_where_only_current_is_lost(config_here, store):
    (store.models / "CURRENT").unlink()
    for verb in (refresh, score):
        with pytest.raises(ModelNotFoundError, match="CURRENT is missing, though v000001") as caught:
            verb(config_here)
        assert "models promote v000001" in caught.value.__notes__[-1]
    promote(config_here, "v000001")
    assert score(config_here).partitions == 0


def test_refresh_refuses_a_fill_value_that_the_baseline_has_not(published, config_in):
    with pytest.raises(ConfigError, match="on_missing is 'median'; v000001 has 'error'"):
        refresh(config_in(published, features={"on_missing": "median"}))


def test_refresh_refuses_too_many_categories(config, data, files):
    files(data, {f"{i}.parquet": pa.table({"kind": [f"{i}-{j}" for j in range(60)]}) for i in range(3)})
    with pytest.raises(InvalidFeatureError, match="'kind' has 180 values; at most 100"):
        refresh(config(features={"numeric": [], "categorical": ["kind"]}))


@pytest.mark.slow
def test_refresh_on_a_full_disk_publishes_nothing_and_leaves_nothing(published, config_in, files, blobs, tree):
    """A real file system of 14 MB that holds two versions, but not the assignments."""
    disk = published / "disk"
    disk.mkdir()
    if (
        shutil.which("mount") is None
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=14m", "tmpfs", disk], capture_output=True, check=False
        ).returncode
    ):
        pytest.skip("mounting a small file system is not permitted here")
    try:
        config = config_in(published, output={"path": "disk/out"})
        assert refresh(config).status == "published"
        before = tree(disk)
        files(published / "data", {f"n{i}.parquet": blobs(100_000, seed=i) for i in range(4)})
        with pytest.raises(OutputError, match=r"\.parquet can't be written: No space left on device"):
            refresh(config)
        assert tree(disk) == before
        assert Store(config.output.path).load().version == "v000001"
        with pytest.raises(OutputError, match="No space left on device"):
            score(config)
        assert not leftovers(tree, disk)
        assert Store(config.output.path).load().version == "v000001"
    finally:
        subprocess.run(["umount", disk], check=True)
