"""The flows on one real temporary Prefect server: what they leave there is read back from its API."""

import json
import logging
import os
import runpy
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from command_line import config_content, config_text
from prefect_records import Server

from kmstream import pipeline
from kmstream.config import load_config
from kmstream.errors import InvalidFeatureError
from kmstream.events import HeldError
from kmstream.results import RefreshResult, RetrainResult, ScoreResult
from kmstream.store import Store

if TYPE_CHECKING:  # prefect takes seconds to import, and some of these tests need none
    from prefect import Flow
    from prefect.client.orchestration import SyncPrefectClient

FLOWS = Path(__file__).parent.parent / "flows"
FEBRUARY, MARCH = datetime(2026, 2, 1, tzinfo=UTC), datetime(2026, 3, 1, tzinfo=UTC)
MOVED = ((0.0, 0.0), (10.0, 0.0), (30.0, 40.0))  # the third segment is not where it was


@pytest.fixture(scope="session")
def server() -> "Iterator[SyncPrefectClient]":
    os.environ.setdefault("DO_NOT_TRACK", "1")
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    os.environ.setdefault("PREFECT_SERVER_SERVICES_EVENT_PERSISTER_FLUSH_INTERVAL", "0.2")  # events can be read at once

    from prefect.client.orchestration import get_client
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=120), get_client(sync_client=True) as client:
        yield client


def load_flow(name: str) -> "Flow[..., Any]":
    from prefect.flows import load_flow_from_entrypoint

    return load_flow_from_entrypoint(f"{FLOWS / name}.py:{name}_flow")


@pytest.fixture
def refresh_flow(server: "SyncPrefectClient") -> "Flow[..., RefreshResult]":
    return load_flow("refresh")


@pytest.fixture
def score_flow(server: "SyncPrefectClient") -> "Flow[..., ScoreResult]":
    return load_flow("score")


@pytest.fixture
def retrain_flow(server: "SyncPrefectClient") -> "Flow[..., RetrainResult]":
    return load_flow("retrain")


@pytest.fixture
def config_file(published: Path) -> Path:
    """Write the configuration beside a dataset and its first published version."""
    (published / "kmstream.toml").write_text(config_text())
    return published / "kmstream.toml"


@pytest.mark.server
def test_refresh_publishes_and_tells_the_server(config_file, server, refresh_flow):
    state = refresh_flow(str(config_file), now=FEBRUARY, return_state=True)
    result, seen = state.result(), Server(server, state)
    assert seen.run.name == "refresh blobs v000002"
    assert seen.run.state.name == "Completed"
    assert Store(config_file.parent / "out").current == result.version == "v000002"

    (artifact,) = seen.artifacts
    assert (artifact["key"], artifact["type"]) == ("blobs-segments", "markdown")
    assert "every segment keeps its name" in artifact["data"]
    assert "| segment-01 |" in artifact["data"]
    assert result.report in artifact["data"]

    ((name, event),) = seen.events(1).items()
    assert name == "kmstream.model.published"
    assert event["resource"]["prefect.resource.id"] == "kmstream.segmentation.blobs"
    assert event["payload"]["version"] == "v000002"


@pytest.mark.server
def test_refresh_tells_which_segments_came_and_went(config_file, server, refresh_flow, blobs, files):
    files(config_file.parent / "data", {"m3.parquet": blobs(900, seed=3, centers=MOVED)})
    state = refresh_flow(str(config_file), only=["m3*"], now=FEBRUARY, return_state=True)
    assert state.result().status == "published"
    events = Server(server, state).events(3)
    assert events["kmstream.segment.retired"]["payload"]["cluster_label"] == "segment-03"
    emerged = events["kmstream.segment.emerged"]["payload"]
    assert emerged["cluster_label"] == "segment-04"
    assert 0.15 < emerged["share"] < 0.25


@pytest.mark.server
def test_score_tells_the_server_of_drift_and_when_it_has_cleared(config_file, server, score_flow, blobs, files):
    data = config_file.parent / "data"
    files(data, {"m3.parquet": blobs(400, seed=3, centers=MOVED)})
    state = score_flow(str(config_file), only=["m3*"], now=FEBRUARY, return_state=True)
    result, seen = state.result(), Server(server, state)
    assert (seen.run.name, seen.run.state.name) == ("score blobs v000001", "Completed")
    events = seen.events(2)
    assert set(events) == {"kmstream.drift.detected", "kmstream.retrain.requested"}
    payload = events["kmstream.drift.detected"]["payload"]
    assert (payload["severity"], payload["report"]) == ("alert", result.report)
    assert payload["reasons"][0]["severity"] == "alert"
    artifacts = {one["type"]: one for one in seen.artifacts}
    assert {one["key"] for one in artifacts.values()} == {"blobs-segments", "blobs-drift"}
    assert "drift alert" in artifacts["markdown"]["data"]
    assert "A new fit is asked for." in artifacts["markdown"]["data"]
    table = json.loads(artifacts["table"]["data"])
    assert {line["segment"] for line in table} == {line["cluster_label"] for line in result.labels}
    assert sum(line["new rows"] for line in table) == 400
    assert seen.run.state.message == artifacts["table"]["description"]

    files(data, {"m4.parquet": blobs(800, seed=1)})
    state = score_flow(str(config_file), only=["m4*"], now=MARCH, return_state=True)
    assert state.result().cleared
    assert set(Server(server, state).events(1)) == {"kmstream.drift.cleared"}


@pytest.mark.server
def test_score_with_nothing_new_writes_no_artifact(config_file, server, score_flow):
    pipeline.score(load_config(config_file), now=FEBRUARY)
    state = score_flow(str(config_file), return_state=True)
    assert state.result().partitions == 0
    assert Server(server, state).artifacts == []


@pytest.mark.server
def test_a_held_version_ends_in_a_state_that_a_person_sees(config_file, server, refresh_flow):
    overrides = ["model.min_cluster_share=0.4"]
    state = refresh_flow(str(config_file), overrides, now=FEBRUARY, return_state=True)
    seen = Server(server, state)
    assert (seen.run.state.name, seen.run.state.type.value) == ("Held", "FAILED")
    assert "smallest segment share" in seen.run.state.message
    assert "kmstream models promote v000002" in seen.run.state.message
    assert seen.task("refresh")["state_type"] == "COMPLETED"
    assert Store(config_file.parent / "out").current == "v000001"
    held = seen.events(1)["kmstream.model.held"]["payload"]
    assert [check["check"] for check in held["failed"]] == ["smallest_segment_share"]
    assert "held" in seen.artifacts[0]["data"]

    error = state.result(raise_on_failure=False)
    assert isinstance(error, HeldError)
    assert error.result.version == "v000002"


@pytest.mark.server
def test_a_data_error_fails_at_once_with_the_text_of_the_command_line(
    config_file, server, refresh_flow, files, blobs, caplog
):
    table = blobs(50, seed=3)
    holes = table.set_column(1, "x", pa.array([None, *table.column("x").to_pylist()[1:]], pa.float64()))
    files(config_file.parent / "data", {"m3.parquet": holes})
    state = refresh_flow(str(config_file), return_state=True)
    seen = Server(server, state)
    text = seen.run.state.message.splitlines()
    assert text[0].startswith("InvalidFeatureError: feature 'x' is missing in 1 of 50 rows")
    assert text[1].startswith("  in m3.parquet, rows 0-49")
    assert "on_missing" in text[2]
    assert seen.task("refresh")["run_count"] == 1
    assert seen.run.state.message in caplog.text
    assert "Traceback" not in caplog.text
    assert isinstance(state.result(raise_on_failure=False), InvalidFeatureError)
    assert Store(config_file.parent / "out").current == "v000001"


@pytest.mark.server
def test_a_wrong_configuration_fails_before_any_task(config_file, server, score_flow):
    state = score_flow(str(config_file), ["model.n_cluster=4"], return_state=True)
    seen = Server(server, state)
    assert seen.run.state.message.startswith("ConfigError: unknown key 'model.n_cluster'; did you mean")
    assert seen.run.name == f"score {config_file}"


class WhenRetrying(logging.Handler):
    """Do something when Prefect says that a task will be tried again."""

    def __init__(self, action: Callable[[], None]) -> None:
        super().__init__()
        self.action, self.times = action, 0

    def emit(self, record: logging.LogRecord) -> None:
        if "Retry" in record.getMessage():
            self.times += 1
            self.action()


@pytest.fixture
def when_retrying() -> Iterator[Callable[[Callable[[], None]], WhenRetrying]]:
    logger, added = logging.getLogger("prefect.task_runs"), []

    def watch(action: Callable[[], None]) -> WhenRetrying:
        added.append(WhenRetrying(action))
        logger.addHandler(added[-1])
        return added[-1]

    yield watch
    for handler in added:
        logger.removeHandler(handler)


@pytest.mark.server
def test_a_storage_that_is_away_for_a_moment_is_tried_again(config_file, server, refresh_flow, when_retrying):
    volume = config_file.parent / "volume"
    (config_file.parent / "later").symlink_to(volume / "later")  # as a mount that is not there yet
    retrying = when_retrying(lambda: (volume / "later").mkdir(parents=True))
    state = refresh_flow(str(config_file), ["output.path=later"], return_state=True)
    assert state.result().status == "published"
    assert retrying.times == 1
    assert Server(server, state).task("refresh")["run_count"] == 2
    assert (volume / "later" / "models" / "CURRENT").is_file()


@pytest.mark.server
def test_a_storage_that_needs_a_person_is_not_tried_again(config_file, server, refresh_flow, when_retrying):
    (config_file.parent / "file").write_text("not a folder")
    retrying = when_retrying(lambda: None)
    state = refresh_flow(str(config_file), ["output.path=file/out"], return_state=True)
    seen = Server(server, state)
    assert "Not a directory" in seen.run.state.message
    assert (retrying.times, seen.task("refresh")["run_count"]) == (0, 1)


@pytest.mark.server
def test_retrain_fits_what_a_score_asked_for_and_nothing_twice(config_file, server, retrain_flow, files, blobs):
    files(config_file.parent / "data", {"m3.parquet": blobs(900, seed=3, centers=MOVED)})
    asked = pipeline.score(load_config(config_file), only=["m3*"], now=FEBRUARY)
    assert asked.retrain["requested"]
    payload = {"severity": "alert", "run_id": asked.run_id}
    state = retrain_flow(str(config_file), [], payload, now=FEBRUARY, return_state=True)
    result, seen = state.result(), Server(server, state)
    assert result.retrained
    assert seen.run.name == "retrain blobs v000001"
    assert "kmstream.model.published" in seen.events(1)
    assert seen.artifacts[0]["key"] == "blobs-segments"

    state = retrain_flow(str(config_file), [], payload, now=FEBRUARY, return_state=True)
    seen = Server(server, state)
    assert (seen.run.state.name, state.result().retrained) == ("Completed", False)
    assert seen.run.state.message == "Nothing is fitted anew: no request waits for a new fit."
    assert seen.artifacts == []


def show_every_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if every stage took long."""
    from kmstream import orchestration

    monkeypatch.setattr(orchestration, "LONG", 0.0)
    monkeypatch.setattr(orchestration, "STEP", 0.0)


@pytest.mark.server
def test_a_stage_that_takes_long_has_a_bar_and_a_line_with_its_speed(
    config_file, server, score_flow, files, blobs, monkeypatch, caplog
):
    show_every_bar(monkeypatch)
    files(config_file.parent / "data", {f"m{i}.parquet": blobs(4000, seed=i) for i in (3, 4)})
    state = score_flow(str(config_file), only=["m3*", "m4*"], now=FEBRUARY, return_state=True)
    bars = [one for one in Server(server, state).artifacts if one["type"] == "progress"]
    assert {one["key"] for one in bars} == {"blobs-progress"}
    assert {one["data"] for one in bars} == {100.0}
    assert "assign: 8,000 rows in " in caplog.text
    assert " rows/s" in caplog.text


@pytest.mark.server
def test_a_bar_that_the_server_does_not_take_ends_no_run(
    config_file, server, score_flow, files, blobs, monkeypatch, caplog
):
    from prefect.exceptions import PrefectException

    from kmstream import orchestration

    def refuse(*args: object, **keys: object) -> None:
        raise PrefectException("the server is away")

    show_every_bar(monkeypatch)
    monkeypatch.setattr(orchestration, "create_progress_artifact", refuse)
    files(config_file.parent / "data", {f"m{i}.parquet": blobs(4000, seed=i) for i in (3, 4)})
    state = score_flow(str(config_file), only=["m3*", "m4*"], now=FEBRUARY, return_state=True)
    assert state.result().partitions == 2
    assert caplog.text.count("no more progress is shown: the server is away") == 1


@pytest.mark.server
def test_a_configuration_can_be_given_in_place_of_a_file(config_file, server, score_flow, monkeypatch):
    monkeypatch.chdir(config_file.parent)  # relative paths are taken from the work directory
    inline = config_content()
    pipeline.score(load_config(config_file), now=FEBRUARY)
    state = score_flow(config=inline, return_state=True)
    assert state.result().partitions == 0
    assert Server(server, state).run.name == "score blobs v000001"
    state = score_flow(config=inline | {"modle": {}}, return_state=True)
    assert Server(server, state).run.state.message.startswith("ConfigError: unknown key 'modle'; did you mean 'model'?")


@pytest.mark.server
def test_the_flows_do_what_the_verbs_do(config_file, server, tmp_path_factory):
    folder = tmp_path_factory.mktemp("plain")
    (folder / "data").symlink_to(config_file.parent / "data")
    (folder / "kmstream.toml").write_text(config_text())
    plain = pipeline.refresh(load_config(folder / "kmstream.toml"), now=FEBRUARY)

    verbs = runpy.run_path(str(FLOWS / "demo.py"))["FlowVerbs"]()
    through_flows = verbs.refresh(config_file, ["output.path=fresh"], [], FEBRUARY)
    assert through_flows.labels == plain.labels
    assert through_flows.inertia_per_row == plain.inertia_per_row
    assert verbs.refresh(config_file, ["model.min_cluster_share=0.4"], [], FEBRUARY).status == "held"
    assert verbs.score(config_file, ["output.path=fresh"], [], MARCH).partitions == 0


@pytest.mark.server
@pytest.mark.parametrize(
    ("flow", "options", "code"),
    [
        ("refresh.py", [], 0),
        ("refresh.py", ["--only", "m1*", "--baseline"], 0),
        ("refresh.py", ["--set", "model.min_cluster_share=0.4"], 4),
        ("refresh.py", ["--set", "model.k=3"], 2),
        ("score.py", ["--only", "m1*"], 0),
        ("score.py", ["--only", "april"], 3),
        ("retrain.py", [], 0),
        ("retrain.py", ["--set", "model.k=3"], 2),
    ],
)
def test_a_flow_as_a_script_exits_as_the_command_line_does(config_file, server, monkeypatch, flow, options, code):
    monkeypatch.setattr(sys, "argv", [flow, "-c", str(config_file), *options])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(FLOWS / flow), run_name="__main__")
    assert end.value.code == code


@pytest.mark.slow
@pytest.mark.server
def test_a_flow_runs_as_it_is_on_a_temporary_server(config_file, tmp_path_factory):
    told = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT")}
    told["PREFECT_HOME"] = str(tmp_path_factory.mktemp("prefect"))
    script = [sys.executable, str(FLOWS / "score.py"), "-c", "kmstream.toml"]
    done = subprocess.run(script, cwd=config_file.parent, env=told, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Starting temporary server" in done.stderr
    assert "Nothing new: v000001 has assigned every partition." in done.stderr
    assert "Traceback" not in done.stderr
