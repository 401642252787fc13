"""`kmstream init`: which columns become features, and that the file it writes works as it is."""

import datetime
import json
import tomllib
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from kmstream.cli import app
from kmstream.config import Config, Section, load_config
from kmstream.init_config import survey_dataset, write_config
from kmstream.init_config.judge import Column
from kmstream.init_config.render import COMMENTS
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


def judged(folder: Path, tables: list[dict[str, Any]]) -> dict[str, Column]:
    """What is said of each column of these files, beside a feature that keeps the dataset usable."""
    folder.mkdir(exist_ok=True)
    for i, columns in enumerate(tables):
        n_rows = len(next(iter(columns.values())))
        table = pa.table(columns | {"usable": np.random.default_rng(i).normal(size=n_rows)})
        pq.write_table(table, folder / f"{i}.parquet")
    return {column.name: column for column in survey_dataset(str(folder), folder.parent).columns}


def judge(folder: Path, name: str, values: Any) -> Column:
    return judged(folder, [{name: values}])[name]


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["init", *arguments])


# --- the file --------------------------------------------------------------------------------------------------------


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


def all_keys(model: type[Section] = Config, above: str = "") -> set[str]:
    keys: set[str] = set()
    for key, field in model.model_fields.items():
        section = field.annotation
        inner = isinstance(section, type) and issubclass(section, Section) and not above
        keys |= all_keys(section, f"{key}.") if inner else {f"{above}{key}"}
    return keys


def test_write_config_writes_every_key_with_a_comment_and_its_default(shop, tmp_path):
    target = tmp_path / "kmstream.toml"
    write_config(str(shop), target)
    written = tomllib.loads(target.read_text())
    dotted = {f"{key}.{inner}" for key, value in written.items() if isinstance(value, dict) for inner in value}
    assert dotted | {"name", "dataset.key"} == all_keys() == set(COMMENTS)  # the key is offered in a comment
    defaults, config = (
        Config.model_validate({"name": "x", "dataset": {"path": "x"}, "features": {"numeric": ["x"]}}),
        load_config(target),
    )
    for section in ("model", "labels", "drift", "retrain", "engine", "tracking"):
        assert getattr(config, section) == getattr(defaults, section)
    assert written["engine"]["memory_limit"] == "1GiB"
    assert written["retrain"]["cooldown"] == "24h"


def test_write_config_offers_an_identifier_that_comes_again_as_the_key(shop, tmp_path):
    target = tmp_path / "kmstream.toml"
    assert write_config(str(shop), target).to_json()["key_offered"] == ["CustomerID"]
    assert load_config(target).dataset.key == ""
    target.write_text(target.read_text().replace('# key = "CustomerID"', 'key = "CustomerID"'))
    assert load_config(target).dataset.key == "CustomerID"
    assert plan(load_config(target)).rows == 2 * N


@pytest.mark.parametrize(
    ("first", "last"),
    [
        ({"order_id": range(60)}, {"order_id": range(60, 120)}),
        ({"customer_id": np.arange(60.0)}, {"customer_id": np.arange(60.0)}),
        ({"visits": range(60)}, {"visits": range(60)}),
    ],
    ids=["never comes again", "can't be a key", "no identifier by its name"],
)
def test_other_columns_are_not_offered_as_the_key(tmp_path, first, last):
    assert not any(column.is_key for column in judged(tmp_path / "data", [first, last]).values())
    write_config(str(tmp_path / "data"), tmp_path / "kmstream.toml")
    assert 'key = ""' in (tmp_path / "kmstream.toml").read_text()


def test_write_config_comments_stay_within_the_line(shop, tmp_path):
    write_config(str(shop), tmp_path / "kmstream.toml")
    assert max(map(len, (tmp_path / "kmstream.toml").read_text().splitlines())) <= 120


def test_write_config_quotes_what_toml_needs_quoted(tmp_path):
    odd = 'a "b" \\ # ä.b'
    (tmp_path / "data").mkdir()
    pq.write_table(pa.table({odd: RNG.normal(size=50), "two\nlines": ["x"] * 50}), tmp_path / "data/a.parquet")
    write_config(str(tmp_path / "data"), tmp_path / "kmstream.toml")
    assert load_config(tmp_path / "kmstream.toml").features.numeric == (odd,)


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


def test_write_config_asks_for_more_memory_where_pages_need_it(tmp_path, monkeypatch):
    monkeypatch.setattr("kmstream.dataset.find._PAGES_HELD", 1 << 20)  # as of files with pages of many megabytes
    (tmp_path / "data").mkdir()
    table = pa.table({f"x{j}": RNG.normal(size=300) for j in range(4)})
    pq.write_table(table, tmp_path / "data/a.parquet")
    write_config(str(tmp_path / "data"), tmp_path / "kmstream.toml")
    config = load_config(tmp_path / "kmstream.toml")
    assert config.engine.memory_limit > 2**30
    assert plan(config).memory_limit_bytes == config.engine.memory_limit


def test_write_config_never_asks_for_more_segments_than_rows(tmp_path):
    (tmp_path / "data").mkdir()
    pq.write_table(pa.table({"x": [1.0, 2.0, 4.5]}), tmp_path / "data/a.parquet")
    write_config(str(tmp_path / "data"), tmp_path / "kmstream.toml")
    assert load_config(tmp_path / "kmstream.toml").model.n_clusters == 3


# --- which columns ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("customer_id", RNG.integers(0, 50, N)),
        ("CustomerID", RNG.integers(0, 50, N)),
        ("customerid", RNG.integers(0, 50, N)),
        ("order_key", RNG.integers(0, 50, N)),
        ("InvoiceNo", RNG.integers(0, 50, N)),
        ("kunde_nr", RNG.integers(0, 50, N)),
        ("tailnum", [f"N{i}" for i in range(N)]),
        ("user_id_2", RNG.integers(0, 50, N)),
        ("flight", RNG.integers(1, 8500, N)),
        ("pos", np.arange(N)),
        ("shuffled", RNG.permutation(N)),
        ("hashed", RNG.integers(0, 2**62, N)),
        ("rising", np.cumsum(RNG.integers(1, 1000, N))),
    ],
)
def test_an_identifier_is_left_out(tmp_path, name, values):
    column = judge(tmp_path / "data", name, values)
    assert column.use == "left out"
    assert column.why.startswith("an identifier")


@pytest.mark.parametrize(
    "name", ["amount_paid", "valid", "recency_days", "casino", "orders_last_month", "air_time", "keys_held"]
)
def test_a_name_that_only_sounds_like_an_identifier_or_a_date_is_a_feature(tmp_path, name):
    assert judge(tmp_path / "data", name, RNG.integers(2, 695, N)).use == "numeric"


def test_whole_amounts_are_features_even_if_nearly_all_differ(tmp_path):
    assert judge(tmp_path / "data", "spent", RNG.lognormal(9, 1, N).astype(np.int64)).use == "numeric"


@pytest.mark.parametrize(
    ("name", "values", "why"),
    [
        ("seen", [datetime.datetime(2026, 1, 1, i % 24, tzinfo=datetime.UTC) for i in range(N)], "a date or time"),
        ("birthday", [datetime.date(2026, 1, 1 + i % 28) for i in range(N)], "a date or time"),
        ("month", RNG.integers(1, 13, N), "part of a date (month)"),
        ("dep_hour", RNG.integers(0, 24, N), "part of a date (hour)"),
        ("created_at", RNG.integers(1_600_000_000, 1_700_000_000, N), "a moment, counted since 1970"),
        ("event_time", RNG.integers(1_600_000_000_000, 1_700_000_000_000, N), "a moment, counted since 1970"),
        ("order_date", 20260100 + RNG.integers(1, 29, N), "a date, written as year, month and day"),
        (
            "dep_time",
            RNG.integers(0, 24, N) * 100 + RNG.integers(0, 60, N),
            "a time of day, written as hours and minutes",
        ),
        ("constant", np.ones(N), "always the same"),
        ("empty", pa.nulls(N), "always missing"),
        ("nan", np.full(N, np.nan), "always missing"),
        ("sparse", [1.5 * i if i % 4 == 0 else None for i in range(N)], "missing in 75% of the rows"),
        ("text", [f"{i}" for i in range(N)], "text with 400 different values in the rows read"),
        ("lists", [[i] for i in range(N)], "nested"),
        ("blob", [b"x"] * N, "neither numbers nor text"),
        ("__index_level_0__", np.arange(N), "the row index that pandas wrote"),
    ],
)
def test_a_column_that_is_no_feature_is_left_out_with_the_reason(tmp_path, name, values, why):
    column = judge(tmp_path / "data", name, values)
    assert (column.use, column.why) == ("left out", why)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("colour", ["red", "blue"] * (N // 2)),
        ("colour", pa.array(["red", "blue"] * (N // 2)).dictionary_encode()),
        ("Region", RNG.integers(1, 4, N)),
        ("active", [True, False] * (N // 2)),
        ("clicked", RNG.integers(0, 2, N)),
    ],
)
def test_few_categories_are_offered_in_a_comment(tmp_path, name, values):
    assert judge(tmp_path / "data", name, values).use == "offered"


@pytest.mark.parametrize(
    "values",
    [
        RNG.normal(size=N).astype(np.float32),
        RNG.integers(0, 30, N).astype(np.int8),
        [Decimal(i * i) / 8 for i in range(N)],
        pa.array(RNG.normal(size=20).repeat(20)).dictionary_encode(),
        [None if i % 9 == 0 else i / 7 for i in range(N)],
    ],
    ids=["float32", "int8", "decimal", "dictionary", "nulls"],
)
def test_numbers_of_any_type_are_features(tmp_path, values):
    assert judge(tmp_path / "data", "value", values).use == "numeric"


def test_files_that_differ_leave_a_column_out(tmp_path):
    columns = judged(
        tmp_path / "data",
        [
            {
                "mixed": RNG.normal(size=N),
                "new": RNG.normal(size=N),
                "wider": RNG.integers(0, 99, N),
                "late": pa.nulls(N),
            },
            {"mixed": ["a"] * N, "wider": RNG.normal(size=N), "late": RNG.normal(size=N)},
        ],
    )
    assert columns["mixed"].why == "not the same kind in every file"
    assert columns["new"].why == "only in 1 of 2 files"
    assert columns["wider"].use == columns["late"].use == "numeric"


def test_always_the_same_is_said_only_where_the_footers_agree(tmp_path):
    tables = [{"late": np.r_[np.zeros(15_000), value]} for value in (0.0, 3.0)]
    assert judged(tmp_path / "a", tables[:1])["late"].why == "always the same"
    assert judged(tmp_path / "b", tables)["late"].why == "the same in 100.0% of the rows read"


def test_log1p_is_for_skewed_numbers_that_are_never_negative(tmp_path):
    columns = judged(
        tmp_path / "data",
        [
            {
                "skewed": SPEND,
                "symmetric": RNG.normal(50, 5, N),
                "with_returns": np.r_[-20.0, SPEND[1:]],
            }
        ],
    )
    assert [name for name, column in columns.items() if column.log1p] == ["skewed"]


def test_a_negative_number_in_rows_not_read_is_seen_in_the_footers(tmp_path):
    folder = tmp_path / "data"
    columns = judged(folder, [{"spend": SPEND}, {"spend": np.r_[SPEND, -1.0]}, {"spend": SPEND}])
    assert columns["spend"].use == "numeric"
    assert not columns["spend"].log1p


@pytest.mark.parametrize("missing", [[None, None], [np.nan, np.inf]], ids=["null", "not finite"])
def test_missing_values_make_skip_the_policy_and_are_told(tmp_path, missing):
    (tmp_path / "data").mkdir()
    pq.write_table(pa.table({"spend": [*missing, *SPEND[2:]]}), tmp_path / "data/a.parquet")
    write_config(str(tmp_path / "data"), tmp_path / "kmstream.toml")
    assert load_config(tmp_path / "kmstream.toml").features.on_missing == "skip"
    assert "#   spend: 0.5 % of the rows" in (tmp_path / "kmstream.toml").read_text()


def test_heavy_tails_make_scaling_robust_and_clip(tmp_path):
    (tmp_path / "data").mkdir()
    values = RNG.normal(size=5000)
    values[:5] = [-9e4, 8e4, -7e4, 9e4, 1e5]
    pq.write_table(pa.table({"quantity": values, "other": RNG.normal(size=5000)}), tmp_path / "data/a.parquet")
    write_config(str(tmp_path / "data"), tmp_path / "kmstream.toml")
    config = load_config(tmp_path / "kmstream.toml")
    assert (config.features.scaling, config.features.clip) == ("robust", 10.0)


# --- the command -----------------------------------------------------------------------------------------------------


def test_init_prints_what_it_chose_and_what_comes_next(shop, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run("shop")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("kmstream.toml: 800 rows in 2 files\n")
    assert "an identifier, by its name" in result.stdout
    assert "\nCould be dataset.key, by which runs tell who changed segment: CustomerID.\n" in result.stdout
    assert result.stdout.endswith("  kmstream plan\n  kmstream refresh\n")
    assert "kmstream plan -c my.toml" in run("shop", "-o", "my.toml").stdout


def test_init_prints_json(shop, tmp_path):
    target = tmp_path / "k.toml"
    found = json.loads(run(str(shop), "-o", str(target), "--json").stdout)
    assert found["path"] == str(target)
    assert found["numeric"] == ["visits", "spend", "age in years"]
    assert found["categorical_offered"] == ["country"]
    assert {"column": "currency", "why": "always the same"} in found["left_out"]


def test_init_replaces_a_file_only_by_force(shop, tmp_path):
    target = tmp_path / "kmstream.toml"
    target.write_text("mine")
    result = run(str(shop), "-o", str(target))
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"ConfigError: {target} is there already\n  Give --force")
    assert target.read_text() == "mine"
    assert run(str(shop), "-o", str(target), "--force").exit_code == 0
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
    (tmp_path / "data").mkdir()
    pq.write_table(pa.table(table), tmp_path / "data/a.parquet")
    result = run(str(tmp_path / "data"), "-o", str(tmp_path / "kmstream.toml"))
    assert result.exit_code == 3
    assert len(result.stderr.splitlines()) == 3
    for text in texts:
        assert text in result.stderr
    assert not (tmp_path / "kmstream.toml").exists()


def test_init_refuses_a_path_that_is_not_there_or_a_corrupt_file(shop, tmp_path):
    assert run(str(tmp_path / "nowhere"), "-o", str(tmp_path / "k.toml")).exit_code == 3
    path = shop / "month=2026-01/part-0.parquet"
    path.write_bytes(path.read_bytes()[:-50])
    result = run(str(shop), "-o", str(tmp_path / "k.toml"))
    assert result.exit_code == 3
    assert "CorruptFileError: month=2026-01/part-0.parquet" in result.stderr
    assert not (tmp_path / "k.toml").exists()
