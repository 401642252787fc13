"""Plan, refresh and score on the command line: what they print where they come to their end."""

import io
import json
import os
import pty
import re
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from command_line import KMSTREAM, answer, assert_readable, run
from rich.console import Console

from kmstream.cli.tables import print_sentence
from kmstream.plan import MAX_CHUNK_ROWS
from kmstream.store import Store


@pytest.mark.slow
def test_refresh_prints_json_on_stdout_and_bars_on_a_terminal(here, files, blobs):
    """One real process: stdout a pipe, stderr a terminal."""
    files(here / "data", {"a.parquet": blobs(300)})
    master, terminal = pty.openpty()
    with subprocess.Popen(
        [KMSTREAM, "refresh", "--json"], stdout=subprocess.PIPE, stderr=terminal, text=True
    ) as process:
        os.close(terminal)
        shown = b"".join(_read_terminal(master))
        stdout, _ = process.communicate()
    assert process.returncode == 0
    result = json.loads(stdout)
    assert stdout.count("\n") == 1
    assert [result[key] for key in ("name", "version", "status", "rows")] == ["blobs", "v000001", "published", 300]
    figures = ("rows_skipped", "n_clusters", "inertia_per_row", "severity", "labels", "gate", "peak_rss_bytes")
    assert set(result) >= set(figures)
    assert set(result["labels"][0]) >= {"cluster_id", "cluster_label", "rows", "share", "event"}
    assert set(result["gate"][0]) >= {"check", "ok", "observed", "limit"}
    assert set(result["seconds"]) >= {"scan", "fit", "assign", "total"}
    assert Path(result["report"]).is_file()
    assert (Path(result["assignments"]) / "_SUCCESS").is_file()
    for stage in (b"scan", b"assign", b"compare and report"):
        assert stage in shown
    assert b"Warning" not in shown


def _read_terminal(master: int) -> Iterator[bytes]:
    try:
        while block := os.read(master, 4096):
            yield block
    except OSError:  # Linux says so when the other side has closed
        return
    finally:
        os.close(master)


def test_a_first_refresh_says_what_comes_next_and_how_many_rows_have_no_segment(here, files, blobs):
    table = blobs(300)
    holed = table.set_column(1, "x", pa.array([None, None, *table["x"].to_pylist()[2:]], pa.float64()))
    files(here / "data", {"a.parquet": holed})
    lines = run("refresh", "--set", "features.on_missing=skip").stdout.splitlines()
    assert lines[:2] == [
        "blobs v000001 published: 300 rows in 3 segments, the first version",
        "  2 of them skipped, without a segment: a value is missing or can't be used",
    ]
    assert lines[-3] == "Next:"
    assert [line.partition("#")[0].strip() for line in lines[-2:]] == [
        "kmstream labels suggest",
        "kmstream score --set features.on_missing=skip",
    ]


def test_refresh_shows_a_verdict_the_segments_and_where_the_output_is(there):
    result = run("refresh")
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    lines = result.stdout.splitlines()
    assert lines[0] == "blobs v000002 published: 800 rows in 3 segments, drift ok"
    segments = [line.split()[0] for line in lines if line.startswith("segment-")]
    assert segments == ["segment-01", "segment-02", "segment-03"]
    assert re.search(r"^segment +rows +share +event +rows kept$", result.stdout, re.MULTILINE)
    assert re.search(r"^segment-01 .* kept +100 %$", result.stdout, re.MULTILINE)
    assert f"report       {there}/out/models/v000002/report.html" in lines
    assert_readable(result.stdout)


def test_refresh_that_is_held_exits_with_4_and_says_how_to_publish_it(there):
    result = run("refresh", "--set", "model.min_cluster_share=0.9")
    assert result.exit_code == 4
    assert "blobs v000002 held" in result.stdout
    assert "The gate holds it: smallest segment share of segment-03 is" in result.stdout
    assert "\n  kmstream models promote v000002\n" in result.stdout
    assert Store("out").current == "v000001"

    promoted = run("models", "promote", "v000002").stdout
    assert promoted == "v000002 is the current version now; before, it was v000001\n"
    assert Store("out").current == "v000002"
    assert run("models", "rollback").stdout == "rolled back from v000002 to v000001\n"
    assert run("models", "promote", "v000002").exit_code == 0
    assert answer("models", "rollback") == {"version": "v000001", "previous": "v000002", "status": "rolled-back"}


@pytest.mark.slow
def test_a_refit_held_by_frozen_names_says_which_and_its_report_says_so_before_any_drift(there):
    assert "names frozen since" not in run("labels", "list").stdout
    assert "segment-01, segment-02, segment-03" in run("labels", "freeze").stdout
    assert re.search(
        r"^names frozen since 20\d\d-\d\d-\d\d \d\d:\d\d UTC: ", run("labels", "list").stdout, re.MULTILINE
    )
    assert answer("labels", "list")["frozen_since"].startswith("20")

    held = answer("refresh", "--set", "model.n_clusters=4", "--set", "labels.max_match_distance=0.5", code=4)
    assert held["status"] == "held"
    assert "frozen_names_missing_or_added" in [check["check"] for check in held["gate"] if not check["ok"]]
    again = run("refresh", "--set", "model.n_clusters=4", "--set", "labels.max_match_distance=0.5")
    assert re.search(r"names are frozen, but segment-0\d", " ".join(again.stdout.split()))
    page = (there / "out/models/v000002/report.html").read_text()
    box = re.findall(r"<li class=\"\w+\">([^<]*)", page)
    first_drift = next(i for i, text in enumerate(box) if re.search(r"\((alert|warn) from", text))
    assert any(text.startswith("Names are frozen, but segment-") for text in box[:first_drift])
    assert run("labels", "freeze", "--off").exit_code == 0
    assert answer("labels", "list")["frozen_since"] is None


def test_what_weighs_is_called_weight_not_rows(here, files, blobs):
    files(here / "data", {"a.parquet": blobs(100).append_column("w", pa.array([3.0] * 100))})
    weighted = ("--set", "features.weight=w")
    assert run("refresh", *weighted).exit_code == 0
    shown = run("models", "show", "v000001").stdout
    assert "rows that weigh 300, inertia per row" in shown
    assert re.search(r"^id +segment +weight +share ", shown, re.MULTILINE)
    assert re.search(r"^exact +100 ", shown, re.MULTILINE)  # rows that a pass has read
    for command in ("models", "labels"):
        title = run(command, "list", *weighted).stdout.splitlines()[0]
        assert "weight" in title
        assert "rows" not in title


def test_labels_list_says_what_an_average_is_under_log1p(here, files, blobs):
    table = blobs(100)
    files(here / "data", {"a.parquet": table.set_column(1, "x", pa.array(np.exp(table["x"].to_numpy() / 3)))})
    logs = ("--set", "features.log1p=['x']")
    assert run("refresh", *logs).exit_code == 0
    note = "Under log1p (x) an average is a typical value"
    assert note in run("labels", "list", *logs).stdout
    assert note in (here / "out/models/v000001/report.html").read_text()


def test_score_exits_with_5_when_drift_reaches_fail_on(there, files, blobs):
    files(there / "data", {"m3.parquet": blobs(400, seed=3, centers=((4.0, 4.0), (14.0, 4.0), (4.0, 14.0)))})
    result = run("score", "--fail-on", "alert")
    assert result.exit_code == 5, result.output
    assert "1 new or changed partition, drift alert" in result.stdout
    assert "  alert: " in result.stdout
    assert "A new fit is due" in result.stdout
    assert_readable(result.stdout)

    waiting = run("score", "--set", "retrain.cooldown=0s").stdout.splitlines()
    assert waiting[0] == "nothing new: all 3 partitions are assigned"
    assert waiting[1].startswith("A new fit still waits: ")
    assert waiting[2] == "  kmstream retrain --set retrain.cooldown=0s"
    assert run("score", "--fail-on", "warn").stdout == "nothing new: all 3 partitions are assigned\n"
    again = answer("score", "--fail-on", "warn")
    assert (again["partitions"], again["severity"], again["report"]) == (0, "ok", None)


def test_quiet_runs_say_why_they_do_not_exit_with_0(there, files, blobs):
    files(there / "data", {"m3.parquet": blobs(400, seed=3, centers=((4.0, 4.0), (14.0, 4.0), (4.0, 14.0)))})
    result = run("score", "-q", "--fail-on", "alert")
    assert (result.exit_code, result.stdout) == (5, "")
    assert result.stderr.startswith("400 new rows in 1 partition differ from those of v000001: drift alert.")
    assert "report.html" in result.stderr
    assert run("score", "-q", "--fail-on", "alert").stderr == ""


def test_score_of_no_rows_judges_nothing(there, files, blobs):
    files(there / "data", {"m3.parquet": blobs(0, seed=3)})
    result = answer("score", "--only", "m3*")
    assert (result["rows"], result["severity"], result["retrain"]["requested"]) == (0, "ok", False)
    assert len(result["too_few_rows"]) == 6
    page = Path(result["report"]).read_text()
    assert "No row could be compared with v000001: nothing was judged." in page
    assert "m3.parquet" in page


def test_score_prints_json_of_a_new_partition(there, files, blobs):
    files(there / "data", {"m3.parquet": blobs(4000, seed=3), "m4.parquet": blobs(100, seed=4)})
    result = answer("score", "--only", "m3*", "--fail-on", "warn")
    assert (result["partitions"], result["rows"], result["severity"]) == (1, 4000, "ok")
    assert set(result) >= {"name", "version", "run_id", "rows_skipped", "reasons", "retrain", "report", "assignments"}
    assert set(result["retrain"]) == {"requested", "why"}
    assert run("score", "--only", "m3*").stdout == "nothing new: every partition that matches --only m3* is assigned\n"


def test_plan_prints_the_arithmetic_that_it_gives_as_json(here, files, blobs):
    files(here / "data", {"a.parquet": blobs(50_000)})
    shown, found = run("plan").stdout, answer("plan")
    free = found["memory_limit_bytes"] - found["sample_bytes"] - found["workers"] * found["worker_bytes"]
    affordable = free // (found["workers"] * found["bytes_per_row"])
    assert found["chunk_rows"] == min(1 << affordable.bit_length() - 1, MAX_CHUNK_ROWS)
    assert f"({found['workers']} x {found['bytes_per_row']:,} bytes), down to a power of two" in " ".join(shown.split())
    for figure in (found["chunk_rows"], found["bytes_per_row"]):
        assert f"{figure:,}" in shown
    assert not (here / "out").exists()


def test_plan_fits_into_80_columns(here, files, blobs, monkeypatch):
    files(here / "data", {"a.parquet": blobs(100)})
    monkeypatch.setenv("COLUMNS", "80")
    assert_readable(run("plan").stdout)


def test_print_sentence_keeps_a_number_and_its_unit_on_one_line():
    written = io.StringIO()
    print_sentence(Console(file=written, width=20), "a share of exactly 3.0\u00a0% of them")
    assert written.getvalue() == "a share of exactly\n3.0 % of them\n"


MOVED = ((4.0, 4.0), (14.0, 4.0), (4.0, 14.0))


@pytest.mark.slow
def test_retrain_says_why_nothing_is_fitted_and_fits_what_a_score_asked_for(there, files, blobs):
    assert run("retrain").stdout == "blobs: nothing is fitted anew: no request waits for a new fit.\n"
    why = "no request waits for a new fit"
    assert answer("retrain") == {"name": "blobs", "retrained": False, "why": why, "refresh": None}
    files(there / "data", {"m3.parquet": blobs(400, seed=3, centers=MOVED)})
    assert run("score").exit_code == 0
    result = run("retrain", "--set", "gate.max_silhouette_drop=1")
    assert result.exit_code == 0, result.output
    assert "blobs is fitted anew: asked for at " in " ".join(result.stdout.split())
    assert Store("out").current == "v000002"
    assert not answer("retrain")["retrained"]


@pytest.mark.slow
def test_retrain_that_is_held_exits_with_4_and_a_pause_ends_by_reset(there, files, blobs):
    files(there / "data", {"m3.parquet": blobs(400, seed=3, centers=MOVED)})
    assert run("score").exit_code == 0
    result = run("retrain", "-q", "--set", "model.min_cluster_share=0.4")
    assert (result.exit_code, result.stdout) == (4, "")
    assert result.stderr.startswith("v000002 is held: smallest segment share")
    assert Store("out").current == "v000001"
    assert "there was no pause" in run("retrain", "--reset").stdout
    for version in ("v000003", "v000004"):
        Store("out").log("held", datetime.now(UTC), version=version)
    assert "refits were held (v000002, v000003, v000004)" in " ".join(run("retrain").stdout.split())
    assert answer("retrain", "--reset")["resumed"]
    assert answer("retrain")["why"] == "no request waits for a new fit"
