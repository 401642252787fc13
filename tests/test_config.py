"""The settings file: what is read, what is refused and with which words."""

import tomllib
from datetime import timedelta
from pathlib import Path

import pytest
from builders import LEAST_CONFIG, make_config
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from kmstream.config import Config, Section, Threshold, list_sections, load_config, parse_config
from kmstream.errors import ConfigError

LEAST = """
name = "shop"
[dataset]
path = "data"
[features]
numeric = ["x", "y"]
"""


def write(folder: Path, text: str = LEAST) -> Path:
    path = folder / "kmstream.toml"
    path.write_text(text, encoding="utf-8")
    return path


def refused(folder: Path, *overrides: str, text: str = LEAST) -> ConfigError:
    """The error of a file that is refused."""
    with pytest.raises(ConfigError) as caught:
        load_config(write(folder, text), overrides)
    return caught.value


def test_load_config_fills_in_the_documented_defaults(tmp_path):
    documented = tomllib.loads("""
        [model]
        n_clusters = 5
        algorithm = "minibatch"
        batch_size = 4096
        max_epochs = 2
        lloyd_passes = 2
        n_init = 10
        sample_rows = 100000
        tol = 1e-4
        random_state = 0
        min_cluster_share = 0.001
        half_life = "0h"
        [labels]
        max_match_distance = 1.5
        min_overlap = 0.3
        [drift]
        reference = "model"
        thresholds = "configured"
        share_psi       = { warn = 0.10, alert = 0.25 }
        share_change    = { warn = 0.05, alert = 0.10 }
        centroid_shift  = { warn = 0.25, alert = 0.50 }
        inertia_ratio   = { warn = 1.20, alert = 1.50 }
        outlier_share   = { warn = 0.02, alert = 0.05 }
        feature_psi     = { warn = 0.10, alert = 0.25 }
        [engine]
        workers = 0
        memory_limit = 1073741824
        scratch_limit = 17179869184
        dask_address = ""
        [tracking]
        mlflow_uri = ""
    """)
    config = load_config(write(tmp_path))
    content = config.model_dump(mode="json")
    assert {section: content[section] for section in documented} == documented
    assert config.retrain.model_dump() == {"on": "alert", "cooldown": timedelta(hours=24), "max_per_week": 3}
    assert config.output.model_dump() == {"path": str(tmp_path / "out"), "columns": "all", "keep_versions": 5}
    assert config.features.model_dump() == {
        "numeric": ("x", "y"),
        "categorical": (),
        "log1p": (),
        "scaling": "standard",
        "on_missing": "error",
        "clip": 0.0,
        "weight": "",
    }
    assert config.dataset.time == ""


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("model.n_cluster=8", "unknown key 'model.n_cluster'; did you mean 'model.n_clusters'?"),
        ("modle.n_clusters=8", "unknown key 'modle'; did you mean 'model'?"),
        ("n_clusters=8", "unknown key 'n_clusters'; did you mean 'model.n_clusters'?"),
        ("drift.share_psi={warn=1, alert=2, alrt=3}", "unknown key 'drift.share_psi.alrt'; did you mean 'drift.share_"),
        ("tracking.zzz=1", "unknown key 'tracking.zzz'; known here: mlflow_uri"),
    ],
)
def test_load_config_refuses_an_unknown_key_and_names_the_nearest(tmp_path, override, sentence):
    error = refused(tmp_path, override)
    assert str(error).startswith(sentence)
    assert error.exit_code == 2


def test_load_config_names_the_file_and_the_overrides_of_a_wrong_value(tmp_path):
    error = refused(tmp_path, "model.n_clusters=0", "engine.workers=1")
    assert error.__notes__ == [f"in {tmp_path}/kmstream.toml, with --set model.n_clusters=0 --set engine.workers=1"]


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("model.n_clusters=0", "model.n_clusters=0: input should be greater than or equal to 1"),
        ("model.n_clusters=five", "model.n_clusters='five': input should be a valid integer"),
        ("model.batch_size=4", "model: batch_size=4 should be >= n_clusters=5"),
        ("model.sample_rows=4", "model: sample_rows=4 should be >= n_clusters=5"),
        ("model.tol=nan", "model.tol=nan: input should be a finite number"),
        ("name=Shop 1", "name: 'Shop 1' should hold only a-z, 0-9 and '-'"),
        ("name=", "name: '' should hold only a-z, 0-9 and '-'"),
        ('features.log1p=["z"]', "features: log1p names 'z', which is not in numeric"),
        ('features.categorical=["x"]', "features: named more than once: 'x'"),
        ("features.numeric=[]", "features: numeric and categorical are both empty"),
        ("features.scaling=zscore", "features.scaling='zscore': input should be 'standard', 'minmax', 'robust' or"),
        ("features.on_missing=drop", "features.on_missing='drop': input should be 'error', 'skip', 'mean' or 'median'"),
        ("features.clip=-1", "features.clip=-1: input should be greater than or equal to 0"),
        ("drift.outlier_share={warn=0.5, alert=0.1}", "drift.outlier_share: alert=0.1 should be >= warn=0.5"),
        ("engine.memory_limit=lots", "engine.memory_limit: 'lots' should be a byte size such as '512MiB' or '2GB'"),
        ("engine.scratch_limit=-1", "engine.scratch_limit=-1: input should be greater than or equal to 0"),
        ("engine.scratch_limit=some", "engine.scratch_limit: 'some' should be a byte size such as '512MiB' or '2GB'"),
        ("model.half_life=long", "model.half_life: 'long' should be a duration such as '30m', '24h' or '7d'"),
        (
            "model.half_life=30d",
            "model.half_life needs dataset.time, the column or hive key that tells how old a row is",
        ),
        ("retrain.cooldown=soon", "retrain.cooldown: 'soon' should be a duration such as '30m', '24h' or '7d'"),
        ("retrain.cooldown=-1", "retrain.cooldown=-1: should not be negative"),
        ("output.keep_versions=0", "output.keep_versions=0: input should be greater than or equal to 1"),
    ],
)
def test_load_config_says_what_a_value_is_and_should_be(tmp_path, override, sentence):
    assert str(refused(tmp_path, override)).startswith(sentence)


@pytest.mark.parametrize("override", ["engine.memory_limit=0", "labels.max_match_distance=0"])
def test_load_config_shows_a_value_that_is_the_limit_itself(tmp_path, override):
    assert str(refused(tmp_path, override)).startswith(f"{override}: input should be greater than 0")


def test_load_config_names_a_section_that_is_missing(tmp_path):
    text = 'name = "shop"\ndataset.path = "x"\n'
    assert str(refused(tmp_path, text=text)) == "'features' is missing; it has no default"


def test_load_config_counts_further_errors(tmp_path):
    assert str(refused(tmp_path, "model.n_clusters=0", "model.n_init=0")).endswith("(and 1 more)")


def test_load_config_speaks_of_an_unknown_key_before_what_it_may_have_caused(tmp_path):
    text = LEAST.replace("path", "paht") + "[model]\nn_init = 0\n"
    told = "unknown key 'dataset.paht'; did you mean 'dataset.path'? (and 2 more)"
    assert str(refused(tmp_path, text=text)) == told


def test_load_config_of_no_file_says_how_to_write_one(tmp_path):
    with pytest.raises(ConfigError, match="no such file") as caught:
        load_config(tmp_path / "none.toml")
    assert "kmstream init" in caught.value.__notes__[0]


@pytest.mark.parametrize("content", [b"name = ", b"name = '\xff'"])
def test_load_config_refuses_what_is_not_toml(tmp_path, content):
    path = tmp_path / "kmstream.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="can't be read as TOML"):
        load_config(path)


def test_load_config_refuses_a_folder(tmp_path):
    with pytest.raises(ConfigError, match="can't be read"):
        load_config(tmp_path)


@pytest.mark.parametrize(
    ("override", "section", "key", "value"),
    [
        ("model.n_clusters=8", "model", "n_clusters", 8),
        ("model.tol=0.5", "model", "tol", 0.5),
        ("model.algorithm=lloyd", "model", "algorithm", "lloyd"),
        ('model.algorithm="lloyd"', "model", "algorithm", "lloyd"),
        (" model.algorithm =lloyd", "model", "algorithm", "lloyd"),
        ('features.numeric=["a", "b"]', "features", "numeric", ("a", "b")),
        ("output.columns=all", "output", "columns", "all"),
        ('output.columns=["id"]', "output", "columns", ("id",)),
        ("engine.memory_limit=64MiB", "engine", "memory_limit", 64 * 2**20),
        ("engine.dask_address=tcp://host:8786", "engine", "dask_address", "tcp://host:8786"),
        ("retrain.cooldown=90m", "retrain", "cooldown", timedelta(minutes=90)),
        ("retrain.cooldown=60", "retrain", "cooldown", timedelta(minutes=1)),
        ("retrain.on=never", "retrain", "on", "never"),
        ("dataset.path=s3://bucket/a=b", "dataset", "path", "s3://bucket/a=b"),
    ],
)
def test_load_config_takes_an_override_in_its_type(tmp_path, override, section, key, value):
    assert getattr(getattr(load_config(write(tmp_path), [override]), section), key) == value


def test_load_config_prefers_the_last_override_to_the_file(tmp_path):
    path = write(tmp_path, LEAST + "[model]\nn_clusters = 3\nn_init = 4\n")
    model = load_config(path, ["model.n_clusters=8", "model.n_clusters=9"]).model
    assert (model.n_clusters, model.n_init) == (9, 4)


def test_load_config_overrides_one_limit_of_a_measure_that_the_file_names(tmp_path):
    path = write(tmp_path, LEAST + "[drift]\nshare_psi = { warn = 0.1, alert = 0.2 }\n")
    limits = load_config(path, ["drift.share_psi.alert=0.9"]).drift.share_psi
    assert (limits.warn, limits.alert) == (0.1, 0.9)


def test_load_config_overrides_one_limit_of_a_measure_left_at_its_default(tmp_path):
    limits = load_config(write(tmp_path), ["drift.share_psi.warn=0.2"]).drift.share_psi
    assert (limits.warn, limits.alert) == (0.2, 0.25)


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("model.n_clusters", "should look like section.key=value"),
        ("=8", "should look like section.key=value"),
        ("name.first=x", "'name' is a value, not a section"),
    ],
)
def test_load_config_refuses_a_malformed_override(tmp_path, override, sentence):
    assert sentence in str(refused(tmp_path, override))


def test_load_config_takes_relative_paths_from_the_folder_of_the_file(tmp_path, monkeypatch):
    (tmp_path / "inner").mkdir()
    write(tmp_path / "inner")
    monkeypatch.chdir(tmp_path)
    config = load_config("inner/kmstream.toml")
    assert config.dataset.path == str(tmp_path / "inner" / "data")
    assert config.output.path == str(tmp_path / "inner" / "out")


@pytest.mark.parametrize(
    ("path", "resolved"),
    [
        ("data/*.parquet", "/job/data/*.parquet"),
        ("/abs/data", "/abs/data"),
        ("s3://bucket/data", "s3://bucket/data"),
        ("file:///abs/data", "/abs/data"),
        ("~/data", "/home/someone/data"),
    ],
)
def test_parse_config_resolves_each_kind_of_path(monkeypatch, path, resolved):
    monkeypatch.setenv("HOME", "/home/someone")
    config = parse_config(LEAST_CONFIG | {"dataset": {"path": path}}, base_dir=Path("/job"))
    assert config.dataset.path == resolved
    if "s3://" not in path:
        config = parse_config(LEAST_CONFIG | {"output": {"path": path}}, base_dir=Path("/job"))
        assert config.output.path == resolved


def test_parse_config_leaves_uris_as_they_are():
    config = parse_config(LEAST_CONFIG | {"output": {"path": "s3://bucket/out"}}, base_dir=Path("/job"))
    assert config.output.path == "s3://bucket/out"


@pytest.mark.parametrize("override", ["retrain.cooldown=99999999999d", f"engine.memory_limit={'9' * 400}GiB"])
def test_load_config_refuses_sizes_beyond_all_bounds_like_any_other_value(tmp_path, override):
    assert str(refused(tmp_path, override)).startswith(override.partition("=")[0])


durations = st.timedeltas(min_value=timedelta(), max_value=timedelta(days=4000))
limits = st.tuples(st.floats(0, 1e6), st.floats(0, 1e6)).map(lambda two: {"warn": min(two), "alert": max(two)})


@settings(max_examples=30)
@given(
    st.integers(1, 100),
    st.floats(0, 1e3),
    durations,
    limits,
    st.lists(st.text(min_size=1, max_size=9), min_size=1, max_size=4, unique=True),
    st.sampled_from(["all", ["id"], []]),
)
def test_config_dumped_to_json_and_read_again_is_equal(n_clusters, tol, cooldown, threshold, numeric, columns):
    config = make_config(
        model={"n_clusters": n_clusters, "tol": tol},
        retrain={"cooldown": cooldown},
        drift={"share_psi": threshold},
        features={"numeric": numeric, "log1p": numeric[:1]},
        output={"columns": columns},
    )
    assert Config.model_validate_json(config.model_dump_json()) == config
    assert Config.model_validate(config.model_dump(mode="json")) == config


def test_config_can_not_be_changed():
    config = make_config()
    with pytest.raises(ValidationError, match="frozen"):
        config.model.n_clusters = 9


def test_features_config_lists_numeric_columns_before_categorical_ones():
    features = make_config(features={"categorical": ["c", "a"], "numeric": ["z", "b"]}).features
    assert features.columns == ("z", "b", "c", "a")


@pytest.mark.parametrize("model", [*list_sections().values(), Threshold], ids=lambda model: model.__name__)
def test_every_key_has_a_description_of_one_line(model: type[Section]):
    for key, field in model.model_fields.items():
        assert field.description, key
        assert len(field.description) < 110
        assert "\n" not in field.description
