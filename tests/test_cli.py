"""The command line: options, help, and what a terminal shows while a run is under way."""

import io
import json
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest
from command_line import answer, config_text, run
from rich.console import Console
from rich.progress import Progress

from kmstream.cli import FailOn
from kmstream.cli.options import Options, to_json_text
from kmstream.cli.progress import Bars, show_progress
from kmstream.engine import Silent


def test_help_names_every_command_and_exit_code():
    result = run("--help")
    assert result.exit_code == 0
    runs = ("init", "plan", "refresh", "score", "retrain", "demo")
    looks = ("report", "profile", "models", "labels", "drift", "ui")
    for word in (*runs, *looks, "5 drift", "6 another run"):
        assert word in result.stdout


@pytest.mark.parametrize("group", [[], ["models"], ["labels"], ["drift"]], ids=lambda group: "".join(group) or "all")
def test_help_lists_each_command_with_a_whole_line(monkeypatch, group):
    monkeypatch.setenv("COLUMNS", "80")
    _, _, commands = run(*group, "--help").stdout.partition("Commands:\n")
    assert commands
    assert "..." not in commands


def test_an_option_of_several_commands_is_told_in_the_same_words_by_all():
    told = defaultdict(set)
    for command in ("plan", "choose-k", "refresh", "score", "retrain", "report", "profile", "ui", "demo"):
        _, _, options = run(command, "--help").stdout.partition("Options:\n")
        for text in re.split(r"^  (?=-)", options, flags=re.MULTILINE)[1:]:
            words = text.split()
            told[next(word for word in words if word.startswith("--"))].add(" ".join(words))
    assert {"--only", "--truth", "--fail-on", "--json", "--set", "--config"} < set(told)
    assert {option: texts for option, texts in told.items() if len(texts) > 1} == {}


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
    (here / "sub/my.toml").write_text(config_text())
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["rows"] == 50


def test_global_options_work_between_a_command_and_its_part(there):
    assert json.loads(run("models", "--json", "list").stdout)["versions"]


def test_set_adds_up_over_the_line(here, files, blobs):
    files(here / "data", {"a.parquet": blobs(50), "b.parquet": blobs(70)})
    found = answer(
        *("--set", "engine.workers=3"), "plan", *("--set", "dataset.path=data/b.parquet", "--set", "model.max_epochs=7")
    )
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
