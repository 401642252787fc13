"""`kmstream choose-k` as people and programs use it."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from kmstream.cli import app
from kmstream.cli.choose import parse_ks
from kmstream.errors import ConfigError

CONFIG = """
name = "blobs"
dataset.path = "data"
features.numeric = ["x", "y"]
output.path = "out"
engine.workers = 2

[model]
n_clusters = 4
sample_rows = 2000
n_init = 3
"""

UNREADABLE = ("", "x", "2:", "2:3:4", "2.5", "-3", "\N{SUPERSCRIPT TWO}")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files, blobs) -> Path:
    """Work in a folder with a kmstream.toml about three blobs."""
    (tmp_path / "kmstream.toml").write_text(CONFIG)
    files(tmp_path / "data", {"a.parquet": blobs(300)})
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COLUMNS", raising=False)
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["choose-k", *arguments])


@pytest.mark.parametrize(
    ("text", "ks"),
    [("2:5", [2, 3, 4, 5]), ("5", [5]), ("8, 2,3,2", [2, 3, 8]), ("2:3,7", [2, 3, 7]), ("4:4", [4])],
)
def test_k_is_a_range_with_both_ends_a_number_or_a_list(text, ks):
    assert parse_ks(text) == ks


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("12:2", "'12:2' is an empty range: Expected the lower end first, 2:12"),
        ("1:3", "'1:3' asks for 1: Expected numbers of segments from 2 on"),
        ("2:500", "499 numbers: Expected at most 100"),
        ("2:90,101:190", "179 numbers: Expected at most 100"),
        *((text, "Expected a range 2:12 (both ends too), a number 5, or a list 2,3,5,8") for text in UNREADABLE),
    ],
)
def test_a_k_that_makes_no_sense_is_refused_with_what_was_expected(text, told):
    with pytest.raises(ConfigError) as refused:
        parse_ks(text)
    assert told in ": ".join([str(refused.value), *refused.value.__notes__])


def test_a_bad_k_is_a_usage_error_of_two_lines_before_anything_is_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # no configuration here
    result = run("--k", "12:2")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr == "ConfigError: --k '12:2' is an empty range\n  Expected the lower end first, 2:12.\n"


def test_json_is_one_object_with_every_k(here):
    result = run("--k", "2:4", "--json")
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    content = json.loads(result.stdout, parse_constant=pytest.fail)
    assert set(content) == {
        *("name", "rows", "sample_rows", "scaling", "k", "recommended", "reason", "elbow", "notes", "report"),
        *("seconds", "peak_rss_bytes"),
    }
    assert (content["name"], content["rows"], content["sample_rows"], content["recommended"]) == ("blobs", 300, 300, 3)
    assert [one["k"] for one in content["k"]] == [2, 3, 4]
    measures = {"inertia_per_row", "silhouette", "davies_bouldin", "calinski_harabasz", "stability", "smallest_share"}
    assert set(content["k"][0]) == {"k", *measures}
    assert Path(content["report"]) == here / "out/reports/choose-k.html"
    assert Path(content["report"]).is_file()


def test_json_with_true_classes_has_the_agreement(here):
    content = json.loads(run("--k", "3", "--truth", "truth", "--json").stdout)
    assert content["k"][0]["ari"] == pytest.approx(1.0)
    assert content["k"][0]["nmi"] == pytest.approx(1.0)
    assert (content["truth"], content["truth_rows"]) == ("truth", 300)


def test_people_get_a_table_with_the_recommended_k_marked_the_reason_and_what_comes_next(here):
    result = run("--k", "2:4", "--truth", "truth")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0] == "blobs: 300 of 300 rows, new scaling"
    assert [line.split()[1] for line in lines if line.startswith("*")] == ["3"]
    assert "3 is the only k whose refits on halves agree" in " ".join(result.stdout.split())
    assert "  kmstream refresh --set model.n_clusters=3" in lines
    assert any(line.startswith("report ") and line.endswith("choose-k.html") for line in lines)


@pytest.mark.parametrize("width", [80, 120])
def test_the_table_fits_the_terminal(here, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    table = [line for line in run("--k", "2,3", "--truth", "truth").stdout.splitlines() if "silhouette" in line]
    assert all(len(line) <= width for line in table)
    assert table[0].split()[-2:] == ["ARI", "NMI"]
    assert ("Calinski-H." in table[0]) == (width == 120)


def test_quiet_still_shows_what_was_asked_for(here):
    assert "stability" in run("--k", "2,3", "-q").stdout


def test_what_has_too_few_rows_is_left_out_with_a_note_or_is_an_error_of_the_data(here, files, blobs):
    files(here / "data", {"a.parquet": blobs(4)})
    assert "k=9 left out: 4 distinct rows among 4 sampled." in run("--k", "2,9").stdout
    result = run("--k", "9")
    assert result.exit_code == 3
    assert result.stdout == ""
    assert "only 4 distinct rows among 4 sampled; expected at least k=9" in result.stderr


def test_a_truth_column_that_is_absent_is_an_error_of_the_data_that_names_it(here):
    result = run("--truth", "Nope")
    assert result.exit_code == 3
    assert "truth column 'Nope' is missing; the file has 'id', 'x', 'y', 'truth'" in result.stderr
    assert 2 <= len(result.stderr.splitlines()) <= 4


def test_the_newest_report_is_still_that_of_a_run(published, monkeypatch):
    (published / "kmstream.toml").write_text(CONFIG)
    monkeypatch.chdir(published)
    assert run("--k", "2,3").exit_code == 0
    assert CliRunner().invoke(app, ["report"]).stdout.strip().endswith("v000001/report.html")
