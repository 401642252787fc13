"""`kmstream init`: the file it writes, and what it says; which columns become features is in test_init_columns.py."""

import datetime
import tomllib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from builders import make_config
from command_line import answer, assert_fails, run

from kmstream.config import Config, list_sections, load_config
from kmstream.init_config import write_config
from kmstream.pipeline import plan, refresh

N = 400
RNG = np.random.default_rng(0)
SPEND = np.round(RNG.lognormal(4, 1.5, N), 2)


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """Two months of customers with every kind of column, in a folder of the test's own."""
    for month in ("2026-01", "2026-02"):
        table = pa.table(
            {
                "CustomerID": np.arange(N),
                "visits": RNG.poisson(5, N),
                "spend": SPEND,
                "age in years": RNG.normal(45, 12, N).round(1),
                "country": RNG.choice(["DE", "FR"], N),
                "note": [f"note {i}" for i in range(N)],
                "signed_up": pa.array([datetime.date(2026, 1, 1)] * N),
                "currency": ["EUR"] * N,
            }
        )
        path = tmp_path / f"shop/month={month}/part-0.parquet"
        path.parent.mkdir(parents=True)
        pq.write_table(table, path)
    return tmp_path / "shop"


def write_one(folder: Path, **columns: object) -> Config:
    """The configuration that is written for one file of such columns."""
    (folder / "data").mkdir()
    pq.write_table(pa.table(columns), folder / "data/a.parquet")
    write_config(str(folder / "data"), folder / "kmstream.toml")
    return load_config(folder / "kmstream.toml")


def test_write_config_writes_a_file_that_plans_and_refreshes_as_it_is(shop, tmp_path):
    target = tmp_path / "kmstream.toml"
    write_config(str(shop), target)
    config = load_config(target)
    assert config.name == "shop"
    assert config.features.numeric == ("visits", "spend", "age in years")
    assert config.features.log1p == ("spend",)
    assert config.model.n_clusters == 5
    assert plan(config).rows == 2 * N
    assert refresh(config).status == "published"


def test_write_config_tells_in_comments_why_a_column_was_left_out(shop, tmp_path):
    write_config(str(shop), tmp_path / "kmstream.toml")
    text = (tmp_path / "kmstream.toml").read_text()
    for name, why in {
        "CustomerID": "an identifier, by its name",
        "note": "text with 400 different values in the rows read",
        "signed_up": "a date or time",
        "currency": "always the same",
        "month": "a folder name (month=2026-02), the same in a whole file",
    }.items():
        assert any(line.split(None, 2)[1:] == [name, why] for line in text.splitlines() if line.startswith("# "))
    assert '# categorical = ["country"]' in text
    assert "# Could be categorical features:\n#   country: text with 2 different values" in text


def test_write_config_writes_every_key_with_its_default_and_its_description(shop, tmp_path):
    write_config(str(shop), tmp_path / "kmstream.toml")
    text = (tmp_path / "kmstream.toml").read_text()
    found, config = tomllib.loads(text), load_config(tmp_path / "kmstream.toml")
    assert max(map(len, text.splitlines())) <= 120
    for section, model in list_sections().items():
        assert f"# {model.__doc__}\n[{section}]\n" in text
        offered = {"key"} if section == "dataset" else set()  # in a comment of its own
        assert set(found[section]) | offered == set(model.model_fields)
        assert all(f"# {field.description}" in text for key, field in model.model_fields.items() if key not in offered)
    for section in ("model", "labels", "gate", "drift", "retrain", "engine", "tracking"):
        assert getattr(config, section) == getattr(make_config(), section)
    assert found["engine"]["memory_limit"] == "1GiB"
    assert found["retrain"]["cooldown"] == "24h"


def test_write_config_offers_an_identifier_that_comes_again_as_the_key(shop, tmp_path):
    target = tmp_path / "kmstream.toml"
    assert write_config(str(shop), target).to_json()["key_offered"] == ["CustomerID"]
    assert load_config(target).dataset.key == ""
    target.write_text(target.read_text().replace('# key = "CustomerID"', 'key = "CustomerID"'))
    assert load_config(target).dataset.key == "CustomerID"
    assert plan(load_config(target)).rows == 2 * N


def test_write_config_quotes_what_toml_needs_quoted(tmp_path):
    odd = 'a "b" \\ # ä.b'
    assert write_one(tmp_path, **{odd: RNG.normal(size=50), "two\nlines": ["x"] * 50}).features.numeric == (odd,)


@pytest.mark.parametrize(
    ("dataset", "config", "path", "output"),
    [
        ("shop", "kmstream.toml", "shop", "out"),
        ("shop/*/*.parquet", "kmstream.toml", "shop/*/*.parquet", "out"),
        ("shop", "conf/kmstream.toml", "{tmp}/shop", "out"),
        ("shop", "shop/kmstream.toml", ".", "../shop-out"),
        ("shop/month=2026-01/part-0.parquet", "a.toml", "shop/month=2026-01/part-0.parquet", "out"),
    ],
)
def test_write_config_writes_paths_relative_to_the_file_where_it_can(
    shop, tmp_path, monkeypatch, dataset, config, path, output
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "conf").mkdir()
    write_config(dataset, Path(config))
    written = tomllib.loads(Path(config).read_text())
    assert written["dataset"]["path"] == path.format(tmp=tmp_path)
    assert written["output"]["path"] == output
    plan(load_config(config))


@pytest.mark.parametrize(
    ("dataset", "name"),
    [
        ("Online Retail/RFM_2026", "rfm-2026"),
        ("online_retail/data", "online-retail"),
        ("crm/customers.parquet", "customers"),
    ],
)
def test_write_config_names_the_segmentation_after_its_data(tmp_path, dataset, name):
    path = tmp_path / dataset
    path = path if path.suffix else path / "a.parquet"
    path.parent.mkdir(parents=True)
    pq.write_table(pa.table({"x": RNG.normal(size=50)}), path)
    assert write_config(str(tmp_path / dataset), tmp_path / "k.toml").values["name"] == name


def test_write_config_asks_for_more_memory_where_rows_need_it(tmp_path, monkeypatch):
    monkeypatch.setattr("kmstream.plan._ROW_BYTES", 1 << 19)  # as of rows of thousands of columns
    config = write_one(tmp_path, x=RNG.normal(size=300))
    assert config.engine.memory_limit > 2**30
    assert plan(config).memory_limit_bytes == config.engine.memory_limit


def test_write_config_never_asks_for_more_segments_than_rows(tmp_path):
    assert write_one(tmp_path, x=[1.0, 2.0, 4.5]).model.n_clusters == 3


@pytest.mark.parametrize("missing", [[None, None], [np.nan, np.inf]], ids=["null", "not finite"])
def test_write_config_makes_skip_the_policy_of_missing_values_and_tells_of_them(tmp_path, missing):
    assert write_one(tmp_path, spend=[*missing, *SPEND[2:]]).features.on_missing == "skip"
    assert "#   spend: 0.5 % of the rows" in (tmp_path / "kmstream.toml").read_text()


def test_write_config_makes_scaling_robust_and_clips_where_tails_are_heavy(tmp_path):
    values = RNG.normal(size=5000)
    values[:5] = [-9e4, 8e4, -7e4, 9e4, 1e5]
    features = write_one(tmp_path, quantity=values, other=RNG.normal(size=5000)).features
    assert (features.scaling, features.clip) == ("robust", 10.0)


def test_init_prints_what_it_chose_and_what_comes_next(shop, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run("init", "shop")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("kmstream.toml: 800 rows in 2 files\n")
    assert "an identifier, by its name" in result.stdout
    assert "\nWhat is offered could be categorical: kmstream.toml has it in a comment.\n" in result.stdout
    assert "\nCould be dataset.key, by which runs tell who changed segment: CustomerID\n" in result.stdout
    *_, look, first, second = result.stdout.splitlines()
    assert look == "Look through kmstream.toml, then:"
    assert [line.partition(" #")[0].strip() for line in (first, second)] == ["kmstream plan", "kmstream refresh"]
    assert "kmstream plan -c my.toml" in run("init", "shop", "-o", "my.toml").stdout


def test_init_prints_json(shop, tmp_path):
    target = tmp_path / "k.toml"
    found = answer("init", str(shop), "-o", str(target))
    assert found["path"] == str(target)
    assert found["numeric"] == ["visits", "spend", "age in years"]
    assert found["categorical_offered"] == ["country"]
    assert {"column": "currency", "why": "always the same"} in found["left_out"]


def test_init_replaces_a_file_only_by_force(shop, tmp_path):
    target = tmp_path / "kmstream.toml"
    target.write_text("mine")
    assert_fails(
        run("init", str(shop), "-o", str(target)), 2, f"ConfigError: {target} is there already\n  Give --force"
    )
    assert target.read_text() == "mine"
    assert run("init", str(shop), "-o", str(target), "--force").exit_code == 0
    assert load_config(target).name == "shop"


@pytest.mark.parametrize(
    ("table", "texts"),
    [
        (
            {"customer_id": range(60), "name": [f"n{i}" for i in range(60)]},
            ["DataError: no column of", "an identifier"],
        ),
        ({"x": pa.array([], pa.float64())}, ["DataError: no column of", "always missing"]),
    ],
    ids=["no numbers", "no rows"],
)
def test_init_refuses_data_without_a_numeric_feature(tmp_path, table, texts):
    pq.write_table(pa.table(table), tmp_path / "a.parquet")
    assert_fails(run("init", str(tmp_path / "a.parquet"), "-o", str(tmp_path / "kmstream.toml")), 3, *texts)
    assert not (tmp_path / "kmstream.toml").exists()


def test_init_refuses_a_path_that_is_not_there_or_a_corrupt_file(shop, tmp_path):
    target = tmp_path / "kmstream.toml"
    assert_fails(run("init", str(tmp_path / "nowhere"), "-o", str(target)), 3, "DatasetNotFoundError")
    path = shop / "month=2026-01/part-0.parquet"
    path.write_bytes(path.read_bytes()[:-50])
    corrupt = "CorruptFileError: month=2026-01/part-0.parquet"
    assert_fails(run("init", str(shop), "-o", str(target)), 3, corrupt)
    assert not target.exists()
