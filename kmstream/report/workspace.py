"""The history of all runs as a workspace of evidently, and the service that shows it.

One project per segmentation with a dashboard, one snapshot per refresh or score; data are never among them. A run
stages its snapshot beside the workspace, and the snapshot is moved in when the run is visible: in one rename, so that
it is there whole or not at all, and from outside, which a service under way notices. No run fails for its history.

Importing this is light: evidently is loaded where it is called.
"""

import contextlib
import errno
import json
import logging
import os
import socket
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kmstream.errors import ConfigError, CorruptFileError, ModelNotFoundError
from kmstream.storage import (
    Place,
    checkout,
    is_folder,
    is_local,
    list_files,
    move,
    read_text,
    remove_file,
    remove_tree,
    replace_file,
)

if TYPE_CHECKING:
    from evidently.core.report import Snapshot

WORKSPACE = "workspace"
STAGED = ".snapshots"
_RUNS = ("models", "reports")  # folders of the output that have one of each run, by its run_id

_log = logging.getLogger(__name__)


def stage_snapshot(output: Place, run_id: str, snapshot: "Snapshot") -> None:
    """Write the snapshot of a run that is not visible yet; `add_staged` adds it, or drops it if the run never is."""
    from evidently.legacy.utils import NumpyEncoder

    model = snapshot.to_snapshot_model()
    # All widgets are in it once more: a service holds every snapshot in memory.
    content = model.dict(exclude={"metric_results": {metric: {"widget"} for metric in model.metric_results}})
    with _warn_of(f"the snapshot of {run_id} could not be written"):
        replace_file(output / STAGED / f"{run_id}.json", json.dumps(content, cls=NumpyEncoder))


def add_staged(output: Place) -> None:
    """Add what runs have staged to the workspace, by one writer at a time.

    A run is one snapshot, however often it is added. What can't be added stays for the next run.
    """
    with _warn_of(f"{output / WORKSPACE} could not be written; the next run tries again"):
        for staged in (output / STAGED / path for path in sorted(list_files(output / STAGED))):
            name = _read_name(staged)
            if name and any(is_folder(output / folder / staged.stem) for folder in _RUNS):
                project = find_project_id(name)
                folder = output / WORKSPACE / str(project)
                _write_project(folder, name)
                if is_local(folder):
                    (folder / "snapshots").mkdir(exist_ok=True)
                move(staged, folder / "snapshots" / f"{uuid.uuid5(project, staged.stem)}.json")
            else:
                remove_file(staged)  # of a run that came to nothing, or torn
        remove_tree(output / STAGED)


def _read_name(staged: Place) -> str:
    """Read whose snapshot it is; empty if it is none."""
    try:
        return str(json.loads(read_text(staged))["metadata"]["name"])
    except (ValueError, KeyError, TypeError):
        return ""


def find_project_id(name: str) -> uuid.UUID:
    """Give the id of the project of a segmentation, the same one always.

    Examples
    --------
    >>> find_project_id("retail-rfm")
    UUID('b24acf05-c5f6-5b0f-ac93-874aed221062')
    """
    return uuid.uuid5(uuid.NAMESPACE_URL, f"kmstream:{name}")


def serve_workspace(output: Place, host: str, port: int, tell_address: Callable[[str], None]) -> None:
    """Serve the workspace by evidently's own service until the process is interrupted; it reports to nobody.

    Parameters
    ----------
    output : Place
        That of an object store is copied first; what runs add later is shown after the next start.
    host : str
        There is no login: whoever can reach it can read, and delete.
    port : int
        0 takes a free one.
    tell_address : callable
        Given the address when it is about to answer.

    Raises
    ------
    ModelNotFoundError
        If there is no workspace yet.
    CorruptFileError
        If a file of it is damaged.
    ConfigError
        If the address can't be had.
    """
    with checkout(output / WORKSPACE) as workspace:
        _check_workspace(workspace)
        with _bind(host, port) as bound:
            import uvicorn

            server = uvicorn.Server(uvicorn.Config(_make_app(workspace), log_level="warning", access_log=False))
            shown = f"[{host}]" if ":" in host else host
            tell_address(f"http://{shown}:{bound.getsockname()[1]}")
            # It is meant to end by an interruption; and what evidently prints is no answer of ours.
            with contextlib.suppress(KeyboardInterrupt), contextlib.redirect_stdout(sys.stderr):
                server.run(sockets=[bound])


def _make_app(workspace: Path) -> Any:  # noqa: ANN401 - evidently ships no types
    os.environ.setdefault("DO_NOT_TRACK", "1")
    from evidently.ui.service.app import create_app
    from evidently.ui.service.components.dashboard import DashboardComponent
    from evidently.ui.service.components.storage import LocalStorageComponent
    from evidently.ui.service.components.telemetry import TelemetryComponent
    from evidently.ui.service.local_service import LocalConfig

    path = str(workspace.absolute())
    return create_app(
        LocalConfig(
            storage=LocalStorageComponent(path=path),
            dashboard=DashboardComponent(path=path),
            telemetry=TelemetryComponent(enabled=False),
        )
    )


def _check_workspace(workspace: Path) -> None:
    files = sorted(workspace.glob("*/*.json")) + sorted(workspace.glob("*/snapshots/*.json"))
    if not files:
        error = ModelNotFoundError("there is no run to show yet")
        error.add_note(f"in {workspace}")
        error.add_note("Every `kmstream refresh` and `kmstream score` adds one.")
        raise error
    for file in files:
        if _read_json(file) is None:  # evidently would answer every request with an error
            corrupt = CorruptFileError(f"{file.name} can't be read as JSON")
            corrupt.add_note(f"in {file.parent}")
            is_run = file.parent.name == "snapshots"
            corrupt.add_note("Remove it: " + ("only that run is lost here." if is_run else "the next run writes it."))
            raise corrupt


def _bind(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, kind, protocol)
        try:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind(address)
            bound.listen()  # from now on a request waits for its answer
        except OSError:
            bound.close()
            raise
    except OSError as cause:
        is_taken = cause.errno == errno.EADDRINUSE
        why = "is taken by another program" if is_taken else f"can't be had: {cause.strerror or cause}"
        error = ConfigError(f"port {port} of {host} {why}")
        error.add_note(f"Choose another --port, like {port + 1}." if is_taken else "Choose another --host or --port.")
        raise error from cause
    return bound


def _write_project(folder: Place, name: str) -> None:
    """Write the project and its dashboard where they are missing or damaged; people may have changed them."""
    from evidently.legacy.utils import NumpyEncoder
    from evidently.sdk.models import DashboardModel, DashboardTabModel, ProjectModel

    from kmstream.report.dashboard import make_panels

    if _read_json(folder / "dashboard.json") is None:
        panels = make_panels()
        dashboard = DashboardModel(
            tabs=[DashboardTabModel(title="Drift", panels=[p.id for p in panels])], panels=panels
        )
        replace_file(folder / "dashboard.json", json.dumps(dashboard.dict(), cls=NumpyEncoder))
    if _read_json(folder / "metadata.json") is None:
        project = ProjectModel(id=find_project_id(name), name=name, description="Segments and their drift, run by run.")
        replace_file(folder / "metadata.json", json.dumps(project.dict(), cls=NumpyEncoder))


def _read_json(file: Place) -> Any:  # noqa: ANN401 - whatever it holds
    try:
        return json.loads(read_text(file))
    except (FileNotFoundError, ValueError):
        return None


@contextlib.contextmanager
def _warn_of(problem: str) -> Iterator[None]:
    """Let a run go on where its history can't be written."""
    try:
        yield
    except (OSError, ValueError) as error:
        _log.warning("%s: %s. The run itself is whole; only `kmstream ui` does not show it.", problem, error)
