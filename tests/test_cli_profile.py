"""`kmstream profile`: what separates the segments, as people see it."""

import pyarrow as pa
import pytest
from command_line import answer, assert_readable, run


@pytest.fixture
def here(here, monkeypatch):
    """Work in a folder with a kmstream.toml about data/, on a terminal of 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")
    return here


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
    assert "What separates" not in (here / "out/models/v000001/report.html").read_text(encoding="utf-8")


def test_profile_of_weighted_rows_says_that_sampled_ones_count_once(here, files, blobs):
    table = blobs(200)
    files(here / "data", {"a.parquet": table.append_column("w", pa.array([0.5, 2.0, 0.0, 1.0] * 50))})
    assert run("refresh", "--set", "features.weight=w").exit_code == 0
    shown = run("profile", "--set", "features.weight=w").stdout
    assert shown.startswith("blobs v000001: 175 rows in 3 segments\n")
    assert "each counted once" in " ".join(shown.split())
    found = answer("profile", "--set", "features.weight=w")
    assert (found["rows"], found["sample_rows"], found["df_within"]) == (175, 200, 172)
