"""Versions, names and reports on the command line."""

import json
import os
import webbrowser

import pytest
from command_line import answer, assert_readable, run, run_process


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


@pytest.mark.slow
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


@pytest.mark.slow
def test_report_prints_its_path_and_opens_it_in_the_browser(there, monkeypatch):
    browser = there / "browser"
    browser.write_text('#!/bin/sh\necho "chatter"\necho "$1" > opened\n')
    browser.chmod(0o755)
    page = there / "out/models/v000001/report.html"
    assert run("report", "v000001").stdout == f"{page}\n"
    done = run_process("report", "--open", "--json", env=os.environ | {"BROWSER": f"{browser} %s"})
    assert json.loads(done.stdout) == {"report": str(page)}
    assert (there / "opened").read_text().strip() == page.as_uri()


def test_report_that_no_browser_opens_says_so_beside_its_path(there, monkeypatch):
    monkeypatch.setattr(webbrowser, "_tryorder", [])  # as where none is installed
    result = run("report", "--open")
    assert result.stdout == f"{there}/out/models/v000001/report.html\n"
    assert result.stderr.startswith("no browser was found here")
