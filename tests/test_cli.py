"""The command line as people and programs use it: options, exit codes, what goes to stdout and what to stderr."""

import hashlib
import io
import json
import os
import pty
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console
from rich.progress import Progress
from typer.testing import CliRunner, Result

from kmstream.cli import FailOn, app
from kmstream.cli.options import Options, to_json_text
from kmstream.cli.progress import Bars, show_progress
from kmstream.cli.tables import print_sentence
from kmstream.engine import Silent
from kmstream.plan import MAX_CHUNK_ROWS
from kmstream.store import Store

KMSTREAM = str(Path(sys.executable).with_name("kmstream"))
CONFIG = """
name = "blobs"
dataset.path = "data"
features.numeric = ["x", "y"]
output.path = "out"
engine.workers = 2

[model]
n_clusters = 3
sample_rows = 2000
n_init = 3
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder with a kmstream.toml about data/."""
    (tmp_path / "kmstream.toml").write_text(CONFIG)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COLUMNS", raising=False)  # set by some that start tests
    return tmp_path


@pytest.fixture
def there(published: Path, here: Path) -> Path:
    """Work in a folder where v000001 has been published."""
    assert published == here
    return here


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def run_process(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([KMSTREAM, *arguments], capture_output=True, text=True, check=False, timeout=120, **options)


def answer(*arguments: str, code: int = 0) -> dict:
    """What `--json` prints: exactly one object, and nothing on stderr."""
    result = run(*arguments, "--json")
    assert result.exit_code == code, result.output
    assert result.stderr == ""
    return json.loads(result.stdout, parse_constant=pytest.fail)


def content(folder: Path) -> dict[str, str]:
    """Every file below a folder, hidden ones too, with the hash of what it holds; the lock file is no output."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


def assert_fails(result: Result | subprocess.CompletedProcess[str], code: int, *texts: str) -> None:
    """A failure says what, where and what to do in two to four lines on stderr, and nothing on stdout."""
    observed = result.exit_code if isinstance(result, Result) else result.returncode
    assert observed == code, result.stderr
    assert result.stdout == ""
    assert 2 <= len(result.stderr.splitlines()) <= 4, result.stderr
    for text in texts:
        assert text in result.stderr


# --- options ---------------------------------------------------------------------------------------------------------


def test_help_names_every_command_and_exit_code():
    result = run("--help")
    assert result.exit_code == 0
    commands = ("init", "plan", "refresh", "score", "report", "profile", "models", "labels", "demo")
    for word in (*commands, "5 drift", "6 another run"):
        assert word in result.stdout


def test_help_loads_no_library_that_a_run_needs():
    code = (
        "import sys; from kmstream.cli import app; app(['--help'], standalone_mode=False);"
        "print(*sorted({'rich', 'numpy', 'pyarrow', 'pydantic', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == ""


def test_version_prints_the_version():
    result = run("--version")
    assert re.fullmatch(r"kmstream \d+\.\d+\.\d+\n", result.stdout)


@pytest.mark.parametrize(
    "arguments",
    [
        ["-c", "sub/my.toml", "--json", "plan"],
        ["plan", "-c", "sub/my.toml", "--json"],
        ["-c", "absent.toml", "plan", "--config", "sub/my.toml", "--json"],
    ],
    ids=["before the command", "after it", "after it counts"],
)
def test_global_options_work_before_and_after_the_command(here, files, blobs, arguments):
    files(here / "sub/data", {"a.parquet": blobs(50)})
    (here / "sub/my.toml").write_text(CONFIG)
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["rows"] == 50


def test_global_options_work_between_a_command_and_its_part(there):
    assert json.loads(run("models", "--json", "list").stdout)["versions"]


def test_set_adds_up_over_the_line(here, files, blobs):
    files(here / "data", {"a.parquet": blobs(50), "b.parquet": blobs(70)})
    arguments = (
        "--set",
        "engine.workers=3",
        "plan",
        "--set",
        "dataset.path=data/b.parquet",
        "--set",
        "model.max_epochs=7",
    )
    found = answer(*arguments)
    assert (found["workers"], found["rows"], found["passes"]["mini-batch"]) == (3, 70, 7)


def test_the_next_command_names_the_same_configuration():
    assert Options().command("refresh") == "kmstream refresh"
    options = Options(config=Path("my configs/a.toml"), overrides=("model.n_clusters=8", "output.path=there"))
    assert options.command("refresh") == (
        "kmstream refresh -c 'my configs/a.toml' --set model.n_clusters=8 --set output.path=there"
    )


def test_the_next_command_about_what_is_there_takes_from_set_only_where_it_is():
    options = Options(overrides=("model.n_clusters=8", "output.path=there", "gate.max_names_new=0"))
    assert options.command("models promote v000002") == "kmstream models promote v000002 --set output.path=there"
    assert options.command("labels rename", "a b", "c") == "kmstream labels rename 'a b' c --set output.path=there"


@pytest.mark.parametrize("command", ["init", "demo"])
def test_help_of_a_command_that_reads_no_configuration_offers_no_set(command):
    text = run(command, "--help").stdout
    assert "--json" in text
    assert "--set" not in text


@pytest.mark.parametrize(
    "arguments",
    [
        ["plan", "--no-such-option"],
        ["no-such-command"],
        ["models", "show"],
        ["-q", "plan", "-v"],
        ["refresh", "--fail-on", "ok"],
        ["score", "--fail-on", "worse"],
        ["init", "data", "--set", "model.n_clusters=8"],
        ["demo", "--set", "model.n_clusters=8"],
    ],
)
def test_wrong_usage_exits_with_2(here, arguments):
    result = run(*arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "Error: " in result.stderr


def test_quiet_prints_nothing_of_what_was_done_but_what_was_asked_for(there):
    assert run("-q", "labels", "rename", "segment-01", "first").output == ""
    assert "first" in run("-q", "labels", "list").stdout


def test_fail_on_is_reached_by_its_severity_and_worse():
    reached = {
        (str(limit), severity): limit.is_reached(severity) for limit in FailOn for severity in ("ok", "warn", "alert")
    }
    assert [key for key, yes in reached.items() if yes] == [("warn", "warn"), ("warn", "alert"), ("alert", "alert")]


def test_to_json_text_never_writes_a_number_that_json_does_not_know():
    text = to_json_text({"a": [float("nan"), {"b": (float("-inf"), 1.5)}], "c": Path("x")})
    assert json.loads(text) == {"a": [None, {"b": [None, 1.5]}], "c": "x"}
    assert text.count("\n") == 0


# --- runs that come to their end -------------------------------------------------------------------------------------


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
    assert set(result) >= {
        "rows_skipped",
        "n_clusters",
        "inertia_per_row",
        "severity",
        "labels",
        "gate",
        "peak_rss_bytes",
    }
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


def test_refresh_shows_a_verdict_the_segments_and_where_the_output_is(there):
    result = run("refresh")
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    lines = result.stdout.splitlines()
    assert lines[0] == "blobs v000002 published: 800 rows in 3 segments, drift ok"
    assert [line.split()[::6] for line in lines if line.startswith("segment-")] == [
        ["segment-01", "%"],
        ["segment-02", "%"],
        ["segment-03", "%"],
    ]
    assert re.search(r"^segment +rows +share +event +rows kept$", result.stdout, re.MULTILINE)
    assert re.search(r"^segment-01 .* kept +100 %$", result.stdout, re.MULTILINE)
    assert f"report       {there}/out/models/v000002/report.html" in lines
    assert_readable(result.stdout)


def assert_readable(text: str) -> None:
    """Plain text: no colour codes, no blanks at line ends, nothing wider than a terminal but paths and reasons."""
    assert "\x1b" not in text
    for line in text.splitlines():
        assert line == line.rstrip()
        assert len(line) <= 80 or "/" in line or line.startswith("  "), line


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


def test_a_refit_held_by_frozen_names_says_which_and_its_report_says_so_before_any_drift(there):
    assert "names frozen since" not in run("labels", "list").stdout
    assert "segment-01, segment-02, segment-03" in run("labels", "freeze").stdout
    assert re.search(
        r"^names frozen since 20\d\d-\d\d-\d\d \d\d:\d\d UTC: ", run("labels", "list").stdout, re.MULTILINE
    )
    assert answer("labels", "list")["frozen_since"].startswith("20")

    result = run("refresh", "--set", "model.n_clusters=4", "--set", "labels.max_match_distance=0.5")
    assert result.exit_code == 4, result.output
    assert "The gate holds it: names are frozen, but segment-" in " ".join(result.stdout.split())
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


def test_refresh_that_is_held_prints_its_json_too(there):
    result = answer("refresh", "--set", "model.min_cluster_share=0.9", code=4)
    assert result["status"] == "held"
    assert [check["check"] for check in result["gate"] if not check["ok"]] == ["smallest_segment_share"]


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


# --- versions, names, reports ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "texts"),
    [
        (["models", "list"], ["v000001 *", "published", "800"]),
        (
            ["models", "show", "v000001"],
            ["v000001 (published, current)", "segment-01", "smallest segment share", "exact"],
        ),
        (["models", "diff", "v000001", "v000001"], ["segment-01", "kept"]),
        (["labels", "list"], ["segment-01", "v000001", "y far above the average (9.85 against"]),
        (["labels", "suggest"], ["segment-01", "high-x", "kmstream labels rename segment-01"]),
    ],
)
def test_what_is_there_is_shown_as_a_table(there, arguments, texts):
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    for text in texts:
        assert text in result.stdout
    assert_readable("\n".join(line for line in result.stdout.splitlines() if "=" not in line))


@pytest.mark.parametrize(
    ("arguments", "keys"),
    [
        (["models", "list"], {"name", "versions"}),
        (["models", "show", "v000001"], {"version", "labels", "gate", "passes", "provenance", "parameters"}),
        (["models", "diff", "v000001", "v000001"], {"from", "to", "segments", "migration"}),
        (["labels", "list"], {"name", "labels"}),
        (["labels", "suggest"], {"name", "suggestions"}),
        (["labels", "apply"], {"version", "files", "labels"}),
        (["report"], {"report"}),
    ],
)
def test_what_is_there_is_given_as_one_json_object(there, arguments, keys):
    assert set(answer(*arguments)) >= keys


def test_a_name_that_stdout_has_no_letters_for_is_shown_with_question_marks(there):
    run("labels", "rename", "segment-01", "Größte")
    done = run_process("labels", "list", env=os.environ | {"PYTHONIOENCODING": "ascii"})
    assert (done.returncode, done.stderr) == (0, "")
    assert "Gr??te" in done.stdout


def test_models_list_says_when_there_is_none(here):
    assert run("models", "list").stdout == "no versions yet; the first comes with: kmstream refresh\n"
    assert answer("models", "list") == {"name": "blobs", "versions": []}


def test_labels_rename_changes_the_name_from_now_on(there):
    done = answer("labels", "rename", "segment-01", "regulars", "--reason", "they come every week")
    assert done == {"old": "segment-01", "new": "regulars", "version": "v000001"}
    assert "regulars" in {one["cluster_label"] for one in answer("labels", "list")["labels"]}


def test_report_prints_its_path_and_opens_it_in_the_browser(there, monkeypatch):
    browser = there / "browser"
    browser.write_text('#!/bin/sh\necho "chatter"\necho "$1" > opened\n')
    browser.chmod(0o755)
    page = there / "out/models/v000001/report.html"
    assert run("report", "v000001").stdout == f"{page}\n"
    done = run_process("report", "--open", "--json", env=os.environ | {"BROWSER": f"{browser} %s"})
    assert json.loads(done.stdout) == {"report": str(page)}
    assert (there / "opened").read_text().strip() == page.as_uri()


# --- failures: nothing published, nothing left behind ----------------------------------------------------------------


def _remove_data(folder: Path) -> None:
    shutil.rmtree(folder / "data")


def _leave_no_parquet(folder: Path) -> None:
    _remove_data(folder)
    (folder / "data").mkdir()
    (folder / "data/notes.txt").write_text("nothing here")


def _cut_off_footer(folder: Path) -> None:
    path = folder / "data/m2.parquet"
    path.write_bytes(path.read_bytes()[:-100])


def _flip_bytes(folder: Path) -> None:
    path = folder / "data/m2.parquet"
    damaged = bytearray(path.read_bytes())
    footer = int.from_bytes(damaged[-8:-4], "little") + 8
    damaged[4:-footer] = bytes(255 - byte for byte in damaged[4:-footer])
    path.write_bytes(damaged)


def _rewrite(folder: Path, change: Callable[[pa.Table], pa.Table], name: str = "m2.parquet") -> None:
    path = folder / "data" / name
    pq.write_table(change(pq.read_table(path)), path)


def _with_x(values: object) -> Callable[[pa.Table], pa.Table]:
    return lambda table: table.set_column(table.column_names.index("x"), "x", pa.array(values, from_pandas=True))


def _drop_column(folder: Path) -> None:
    _rewrite(folder, lambda table: table.drop_columns(["x"]))


def _make_text(folder: Path) -> None:
    _rewrite(folder, _with_x([f"{i} EUR" for i in range(400)]))


def _lose_values(folder: Path) -> None:
    _rewrite(folder, _with_x([None if i in {7, 9} else float(i) for i in range(400)]))


def _lose_all_values(folder: Path) -> None:
    for name in ("m1.parquet", "m2.parquet"):
        _rewrite(folder, _with_x(np.full(400, np.nan)), name)


def _touch_model(folder: Path) -> None:
    path = folder / "out/models/v000001/model.json"
    path.write_text(path.read_text().replace("blobs", "blubs"))


def _block_assignments(folder: Path) -> None:
    """Put a file where the folder of the next assignments must go: not even root can write there."""
    shutil.rmtree(folder / "out/assignments")
    (folder / "out/assignments").write_text("")


def _nothing(_: Path) -> None:
    pass


@pytest.mark.parametrize(
    ("damage", "arguments", "code", "texts"),
    [
        (_remove_data, [], 3, ["DatasetNotFoundError: ", "does not exist"]),
        (_leave_no_parquet, [], 3, ["DatasetNotFoundError: no Parquet files", "Expected names that end in .parquet"]),
        (_nothing, ["--only", "m9*"], 3, ["DatasetNotFoundError: ", "m1.parquet"]),
        (_cut_off_footer, [], 3, ["CorruptFileError: m2.parquet", "data/m2.parquet"]),
        (_flip_bytes, [], 3, ["CorruptFileError: m2.parquet", "data/m2.parquet"]),
        (_drop_column, [], 3, ["SchemaMismatchError: feature column 'x' is missing", "in m2.parquet"]),
        (_make_text, [], 3, ["SchemaMismatchError: feature column 'x' has type string", "in m2.parquet"]),
        (
            _lose_values,
            [],
            3,
            ["InvalidFeatureError: feature 'x' is missing in 2 of", "first such row 7", "on_missing"],
        ),
        (_lose_all_values, ["--set", "features.on_missing=skip"], 3, ["TooFewRowsError: "]),
        (_nothing, ["--set", "model.n_clusters=801"], 3, ["TooFewRowsError: ", "n_clusters=801"]),
        (_touch_model, [], 3, ["ChecksumMismatchError: model.json of v000001", "models/v000001"]),
        (_nothing, ["--set", "model.n_cluster=8"], 2, ["ConfigError: ", "did you mean 'model.n_clusters'?"]),
        (_nothing, ["--set", "features.numeric=['x']"], 2, ["ConfigError: features.numeric", "--baseline"]),
        (_nothing, ["--set", "engine.memory_limit='1MiB'"], 2, ["MemoryLimitError: ", "Raise engine.memory_limit"]),
        (_nothing, ["-c", "absent.toml"], 2, ["ConfigError: no such file: absent.toml", "kmstream init"]),
        (_block_assignments, [], 1, ["OutputError: ", "out/assignments", "nothing was published"]),
    ],
    ids=lambda value: value.__name__.strip("_") if callable(value) else None,
)
def test_refresh_that_fails_leaves_everything_as_it_was(there, damage, arguments, code, texts):
    damage(there)
    before = content(there / "out")
    assert_fails(run("refresh", "--json", *arguments), code, *texts)
    assert content(there / "out") == before


@pytest.mark.parametrize(
    "damage", [_cut_off_footer, _flip_bytes, _drop_column, _lose_values], ids=lambda one: one.__name__
)
def test_score_that_fails_leaves_everything_as_it_was(there, damage):
    damage(there)
    before = content(there / "out")
    assert_fails(run("score"), 3, "m2.parquet")
    assert content(there / "out") == before


def test_a_first_refresh_that_fails_leaves_no_file(here, files, blobs):
    files(here / "data", {"m1.parquet": blobs(400), "m2.parquet": blobs(400)})
    _flip_bytes(here)
    assert_fails(run("refresh"), 3, "CorruptFileError: m2.parquet")
    assert content(here / "out") == {}


@pytest.mark.parametrize(
    "arguments",
    [["score"], ["labels", "list"], ["report"], ["models", "show", "v000009"], ["models", "rollback"]],
    ids=lambda arguments: arguments[0],
)
def test_a_command_about_a_model_exits_with_2_where_there_is_none(here, files, blobs, arguments):
    files(here / "data", {"a.parquet": blobs(50)})
    assert_fails(run(*arguments), 2, "ModelNotFoundError: ")


def test_demo_refuses_a_folder_that_holds_something_else(there):
    before = content(there)
    assert_fails(run("demo", "--folder", "data"), 2, "ConfigError: data is not empty")
    assert content(there) == before


def test_a_run_exits_with_6_while_another_holds_the_lock(there):
    before = content(there / "out")
    with Store(there / "out").lock("blobs"):
        for command in ("refresh", "score"):
            assert_fails(run(command, "--json"), 6, "LockHeldError: another run of 'blobs'")
    assert content(there / "out") == before


def test_an_unexpected_error_is_two_lines_and_a_traceback_only_with_v(there):
    (there / "out/models/CURRENT").unlink()
    (there / "out/models/CURRENT").mkdir()
    brief, long = run("score"), run("score", "-v")
    assert (brief.exit_code, brief.stdout) == (1, "")
    first, second = brief.stderr.splitlines()
    assert first.startswith("unexpected IsADirectoryError: ")
    assert second.endswith("; run with -v for the traceback.")
    assert "Traceback (most recent call last)" in long.stderr
    assert long.exit_code == 1


def test_an_expected_error_has_its_traceback_with_v(here):
    assert "Traceback" not in run("plan").stderr
    assert "Traceback (most recent call last)" in run("plan", "-v").stderr


def test_a_full_disk_exits_with_1_and_leaves_no_half_file(there, files, blobs):
    """A process that may not write a file of more than 20 kB, as on a full disk (and so no bytecode: Python would leave
    it cut off for all who come after)."""
    files(there / "data", {"m3.parquet": blobs(20_000, seed=3)})
    before = content(there / "out")
    done = run_process(
        "score",
        "--json",
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)),
    )
    assert_fails(done, 1, "OutputError: ", "m3.parquet can't be written", "Free space")
    assert content(there / "out") == before


@pytest.mark.slow
@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["ctrl-c", "terminated"])
def test_a_run_that_is_stopped_while_it_writes_leaves_everything_as_it_was(there, files, blobs, sent, code):
    files(there / "data", {f"m{i}.parquet": blobs(100_000, seed=i) for i in range(3, 7)})
    before = content(there / "out")
    fast = [f"--set=model.{key}" for key in ("algorithm=lloyd", "lloyd_passes=1", "n_init=1")]
    with subprocess.Popen(
        [KMSTREAM, "refresh", *fast, "--set=engine.workers=1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        wait_for(lambda: any((there / "out/assignments").glob(".v000002.refresh/.*.tmp")), process)
        process.send_signal(sent)
        stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stdout) == (code, "")
    assert stderr.startswith("interrupted: nothing was published, v000001 is still the current version")
    assert (
        "goes on with the files that are not done" in stderr
        or not (there / "out/assignments/.v000002.refresh/.progress.npz").exists()
    )
    hidden = there / "out/assignments/.v000002.refresh"  # where the next run goes on
    assert not list(hidden.glob(".*.tmp"))
    shutil.rmtree(hidden)
    assert content(there / "out") == before


def wait_for(happened: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while not happened():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_a_reader_that_goes_away_is_no_traceback(there):
    with subprocess.Popen(
        [KMSTREAM, "models", "show", "v000001"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        process.stdout.close()
        assert process.stderr.read() == ""


# --- progress --------------------------------------------------------------------------------------------------------


def test_show_progress_is_silent_where_nobody_watches():
    with show_progress(quiet=False) as progress:
        assert isinstance(progress, Silent)


def test_bars_fill_each_stage_before_the_next_begins():
    with Progress(console=Console(file=io.StringIO(), force_terminal=True)) as shown:
        bars = Bars(shown)
        bars.start("scan", 100)
        bars.advance(60)
        bars.start("assign", 100)
        bars.advance(100)
    assert [(task.description, task.completed) for task in shown.tasks] == [
        ("scan", 100),
        ("assign", 100),
        ("compare and report", 0),
    ]
