"""The history of the runs in evidently's workspace: on disk, and served to a browser."""

import json
import logging
import shutil
import signal
import socket
import subprocess
import urllib.request
from pathlib import Path

import pytest
from builders import Killed, end_in
from command_line import KMSTREAM, assert_fails, config_text, run
from conftest import NOW as PUBLISHED
from report_content import SCORE_RUN, make_score

from kmstream.errors import ConfigError, CorruptFileError, ModelNotFoundError
from kmstream.pipeline import refresh, score
from kmstream.report import write_report
from kmstream.report.workspace import STAGED, WORKSPACE, add_staged, find_project_id, serve_workspace
from kmstream.store import Store

NOW = PUBLISHED.replace(day=2)
PROJECT = find_project_id("blobs")


@pytest.fixture(scope="module")
def scored_once(_published_once, tmp_path_factory, config_in, files, blobs):
    base = tmp_path_factory.mktemp("scored") / "base"
    shutil.copytree(_published_once, base)
    files(base / "data", {"m3.parquet": blobs(400, seed=3)})
    return base, score(config_in(base), now=NOW)


@pytest.fixture
def scored(scored_once, tmp_path):
    """A published version and a score of another month, in a folder of its own; give the score's result."""
    base, result = scored_once
    shutil.copytree(base, tmp_path, dirs_exist_ok=True)
    return result


def list_runs(output: Path) -> dict:
    """The snapshots of the project by run_id, as evidently reads them."""
    from evidently.ui.workspace import Workspace

    workspace = Workspace(str(output / WORKSPACE))
    assert [project.name for project in workspace.list_projects()] == ["blobs"]
    runs = [workspace.get_run(PROJECT, found) for found in workspace.list_runs(PROJECT)]
    by_id = {run.metadata["run_id"]: run for run in runs}
    assert len(by_id) == len(runs)
    return by_id


def stage_again(output: Path, run_id: str) -> None:
    """Stage the snapshot of a run that is in the workspace once more."""
    (path,) = [path for path in output.glob("workspace/*/snapshots/*") if run_id in path.read_text()]
    (output / STAGED).mkdir()
    (output / STAGED / f"{run_id}.json").write_bytes(path.read_bytes())


# --- one snapshot per run --------------------------------------------------------------------------------------------


def test_every_run_is_a_snapshot_at_its_time(scored, config, tmp_path):
    held = refresh(config(model={"min_cluster_share": 0.3}), now=NOW.replace(day=3))
    assert held.status == "held"
    runs = list_runs(tmp_path / "out")
    assert {name: (run.tags, run.timestamp) for name, run in runs.items()} == {
        "v000001": (["refresh", "ok", "published"], NOW.replace(day=1)),
        scored.run_id: (["score", scored.severity, "scored"], NOW),
        "v000002": (["refresh", held.severity, "held"], NOW.replace(day=3)),
    }
    assert runs["v000002"].name == "refresh v000002, held"
    assert not (tmp_path / "out" / STAGED).exists()


def test_the_workspace_holds_no_data(scored, tmp_path):
    parts = {path.relative_to(tmp_path / "out" / WORKSPACE).parts for path in (tmp_path / "out/workspace").rglob("*.*")}
    project = str(PROJECT)
    snapshots = {part[2] for part in parts if part[1] == "snapshots"}
    assert len(snapshots) == 2
    assert parts == {(project, "metadata.json"), (project, "dashboard.json")} | {
        (project, "snapshots", name) for name in snapshots
    }


def test_the_dashboard_asks_for_metrics_that_the_runs_have(scored, tmp_path):
    from evidently.ui.workspace import Workspace

    dashboard = Workspace(str(tmp_path / "out" / WORKSPACE)).get_dashboard(PROJECT)
    assert [panel.title for panel in dashboard.panels] == [
        *("Severity", "PSI of the shares", "Largest shift, radii", "Inertia, times", "Outliers", "Rows"),
        *("Share per segment", "PSI per feature"),
    ]
    assert [tab.panels for tab in dashboard.tabs] == [[panel.id for panel in dashboard.panels]]
    results = list_runs(tmp_path / "out")[scored.run_id].metric_results.values()
    there = {result.metric_value_location.metric.params["type"]: result for result in results}
    for panel in dashboard.panels:
        for series in panel.values:
            assert set(series.metric_labels.values()) <= set(getattr(there[series.metric], "values", ()))


def test_a_run_that_is_added_twice_is_one_snapshot(scored, tmp_path):
    out = tmp_path / "out"
    before = list_runs(out)
    stage_again(out, scored.run_id)
    add_staged(out)
    assert list_runs(out) == before


@pytest.mark.parametrize("verb", [score, refresh])
def test_a_run_that_is_killed_before_it_is_added_is_added_by_the_next(
    published, config, files, blobs, monkeypatch, verb
):
    files(published / "data", {"m3.parquet": blobs(400, seed=3)})
    if verb is refresh:
        end_in(monkeypatch, "kmstream.publish.forget_progress", Killed())
    else:
        end_in(monkeypatch, "kmstream.commit._commit", Killed())
    with pytest.raises(Killed):
        verb(config(), now=NOW)
    assert set(list_runs(published / "out")) == {"v000001"}
    score(config(), now=NOW.replace(day=3))
    name = "v000002" if verb is refresh else "20260302T120000Z"
    assert set(list_runs(published / "out")) == {"v000001", name}


def test_a_run_that_fails_leaves_no_snapshot(published, config, monkeypatch, tree):
    before = tree(published / "out")
    end_in(monkeypatch, "kmstream.publish._publish", OSError(28, "No space left on device"))
    with pytest.raises(OSError, match="No space"):
        refresh(config(), now=NOW)
    assert tree(published / "out") == before


def test_a_run_that_was_killed_and_taken_back_leaves_no_snapshot(published, config, monkeypatch):
    end_in(monkeypatch, "kmstream.publish._publish", Killed())
    with pytest.raises(Killed):
        refresh(config(), now=NOW)
    assert list((published / "out" / STAGED).iterdir())
    score(config(), now=NOW)  # nothing new
    assert set(list_runs(published / "out")) == {"v000001"}
    assert not (published / "out" / STAGED).exists()


def test_a_real_run_is_tested_as_it_was_judged(scored, tmp_path):
    run = list_runs(tmp_path / "out")[scored.run_id]
    tests = [test for result in run.metric_results.values() for test in result.tests]
    failed = {(test.id, test.test_config.get("label")) for test in tests if test.status.value != "SUCCESS"}
    assert failed == {(reason["measure"], reason["label"]) for reason in scored.reasons}
    assert {test.id for test in tests} == {
        *("share_psi", "inertia_ratio", "outlier_share", "share_change", "centroid_shift", "feature_psi")
    }


# --- no run fails for its history ------------------------------------------------------------------------------------


def test_a_workspace_that_cannot_be_written_is_told_and_made_good_later(
    published, config, files, blobs, caplog, tmp_path
):
    out = tmp_path / "out"
    (out / WORKSPACE).rename(out / "kept")
    (out / WORKSPACE).write_text("in the way")
    files(published / "data", {"m3.parquet": blobs(400, seed=3)})
    with caplog.at_level(logging.WARNING):
        result = score(config(), now=NOW)
    assert Store(out).history()[-1]["event"] in {"drift", "retrain-requested"}
    assert "only `kmstream ui` does not show it" in caplog.text
    (out / WORKSPACE).unlink()
    (out / "kept").rename(out / WORKSPACE)
    add_staged(out)
    assert set(list_runs(out)) == {"v000001", result.run_id}


def test_a_snapshot_that_cannot_be_written_costs_only_itself(caplog, tmp_path):
    (tmp_path / STAGED).write_text("in the way")
    page = tmp_path / "report.html"
    with caplog.at_level(logging.WARNING):
        write_report(page, make_score(), reference_sample=None, current_sample=None, run=SCORE_RUN, output=tmp_path)
    assert page.is_file()
    assert f"the snapshot of {SCORE_RUN.run_id} could not be written" in caplog.text


def test_a_damaged_project_is_written_anew_and_a_changed_dashboard_is_kept(scored, tmp_path):
    project = tmp_path / "out" / WORKSPACE / str(PROJECT)
    (project / "metadata.json").write_text('{"id": ')
    changed = json.loads((project / "dashboard.json").read_text())
    changed["panels"][0]["title"] = "How bad"
    (project / "dashboard.json").write_text(json.dumps(changed))
    stage_again(tmp_path / "out", scored.run_id)
    add_staged(tmp_path / "out")
    assert len(list_runs(tmp_path / "out")) == 2
    assert json.loads((project / "dashboard.json").read_text()) == changed


# --- the service -----------------------------------------------------------------------------------------------------


def test_ui_says_when_there_is_nothing_to_show(tmp_path):
    with pytest.raises(ModelNotFoundError, match="no run to show yet") as found:
        serve_workspace(tmp_path, "127.0.0.1", 0, pytest.fail)
    assert found.value.__notes__ == [
        f"in {tmp_path / WORKSPACE}",
        "Every `kmstream refresh` and `kmstream score` adds one.",
    ]


def test_ui_says_when_the_port_is_taken(published):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ConfigError, match=f"port {port} of 127.0.0.1 is taken") as found:
            serve_workspace(published / "out", "127.0.0.1", port, pytest.fail)
    assert found.value.__notes__ == [f"Choose another --port, like {port + 1}."]


def test_ui_says_which_run_is_damaged(published):
    (snapshot,) = published.glob("out/workspace/*/snapshots/*.json")
    snapshot.write_bytes(snapshot.read_bytes()[:1000])
    with pytest.raises(CorruptFileError, match=f"{snapshot.name} can't be read") as found:
        serve_workspace(published / "out", "127.0.0.1", 0, pytest.fail)
    assert found.value.__notes__ == [f"in {snapshot.parent}", "Remove it: only that run is lost here."]


def test_ui_ends_with_the_code_of_its_error(here):
    assert_fails(run("ui"), 2, "no run to show yet")


def ask(url, body=None):
    """The JSON that the service answers."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


@pytest.mark.slow
def test_ui_serves_filled_panels_until_it_is_interrupted(scored, tmp_path):
    (tmp_path / "kmstream.toml").write_text(config_text())
    command = [KMSTREAM, "ui", "--port", "0"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as service:
        try:
            address = service.stdout.readline().split()[0]
            assert address.startswith("http://127.0.0.1:")
            assert [project["name"] for project in ask(f"{address}/api/projects")] == ["blobs"]
            panels = ask(f"{address}/api/v2/dashboards/{PROJECT}")["panels"]
            assert len(panels) == 8
            for panel in panels:
                found = ask(
                    f"{address}/api/v2/snapshots/{PROJECT}/data_series_batch", {"series_filter": panel["values"]}
                )
                assert found["series"], panel["title"]
                assert all(series["values"][-1] is not None for series in found["series"]), panel["title"]
        finally:
            service.send_signal(signal.SIGINT)
            output, errors = service.communicate(timeout=60)
    assert (service.returncode, output) == (0, "")
    assert "Traceback" not in errors
