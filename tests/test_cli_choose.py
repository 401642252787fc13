"""`kmstream choose-k` as people and programs use it."""

from pathlib import Path

import pytest
from command_line import answer, assert_fails, config_text, run

from kmstream.cli.choose import parse_ks
from kmstream.errors import ConfigError

UNREADABLE = ("", "x", "2:", "2:3:4", "2.5", "-3", "\N{SUPERSCRIPT TWO}")


@pytest.fixture
def here(here: Path, files, blobs) -> Path:
    """Three blobs, and a configuration that asks for four segments."""
    (here / "kmstream.toml").write_text(config_text(model={"n_clusters": 4}))
    files(here / "data", {"a.parquet": blobs(300)})
    return here


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
    result = run("choose-k", "--k", "12:2")
    assert_fails(result, 2)
    assert result.stderr == "ConfigError: --k '12:2' is an empty range\n  Expected the lower end first, 2:12.\n"


def test_json_is_one_object_with_every_k_and_its_agreement_with_true_classes(here):
    content = answer("choose-k", "--k", "2:4", "--truth", "truth")
    assert set(content) == {
        *("name", "rows", "sample_rows", "scaling", "k", "recommended", "reason", "elbow", "notes", "report"),
        *("truth", "truth_rows", "seconds", "peak_rss_bytes"),
    }
    assert (content["name"], content["rows"], content["sample_rows"], content["recommended"]) == ("blobs", 300, 300, 3)
    assert [one["k"] for one in content["k"]] == [2, 3, 4]
    measures = {"inertia_per_row", "silhouette", "davies_bouldin", "calinski_harabasz", "stability", "smallest_share"}
    assert set(content["k"][0]) == {"k", "ari", "nmi", *measures}
    assert (content["truth"], content["truth_rows"]) == ("truth", 300)
    assert (content["k"][1]["ari"], content["k"][1]["nmi"]) == (pytest.approx(1.0), pytest.approx(1.0))
    assert Path(content["report"]) == here / "out/reports/choose-k.html"
    assert Path(content["report"]).is_file()


def test_people_get_a_table_with_the_recommended_k_marked_the_reason_and_what_comes_next(here):
    result = run("choose-k", "--k", "2:4", "--truth", "truth")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0] == "blobs: 300 of 300 rows, new scaling"
    assert [line.split()[1] for line in lines if line.startswith("*")] == ["3"]
    told = " ".join(result.stdout.split())
    assert "3 is the only k whose refits on halves agree" in told
    assert "model.n_clusters is 4. To stay with 3, change it in kmstream.toml; to fit it once:" in told
    assert "  kmstream refresh --set model.n_clusters=3" in lines
    assert any(line.startswith("report ") and line.endswith("choose-k.html") for line in lines)


def test_the_table_of_a_narrow_terminal_leaves_measures_out_and_quiet_shows_it_too(here, monkeypatch):
    titles = {}
    for width in (80, 120):
        monkeypatch.setenv("COLUMNS", str(width))
        shown = run("choose-k", "--k", "2,3", "--truth", "truth", "-q").stdout.splitlines()
        titles[width] = next(line for line in shown if "silhouette" in line)
        assert len(titles[width]) <= width
        assert titles[width].split()[-2:] == ["ARI", "NMI"]
    assert ["Calinski-H." in title for title in titles.values()] == [False, True]


def test_what_has_too_few_rows_is_left_out_with_a_note_or_is_an_error_of_the_data(here, files, blobs):
    files(here / "data", {"a.parquet": blobs(4)})
    found = answer("choose-k", "--k", "2,9")
    assert found["notes"] == ["k=9 left out: 4 distinct rows among 4 sampled"]
    assert not {"truth", "truth_rows"} & set(found)
    assert not {"ari", "nmi"} & set(found["k"][0])
    told = "only 4 distinct rows among 4 sampled; expected at least k=9"
    assert_fails(run("choose-k", "--k", "9"), 3, told)


def test_a_truth_column_that_is_absent_is_an_error_of_the_data_that_names_it(here):
    told = "truth column 'Nope' is missing; the file has 'id', 'x', 'y', 'truth'"
    assert_fails(run("choose-k", "--truth", "Nope"), 3, told)


def test_the_newest_report_is_still_that_of_a_run(there):
    assert run("choose-k", "--k", "2,3").exit_code == 0
    assert run("report").stdout.strip().endswith("v000001/report.html")
