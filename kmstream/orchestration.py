"""What the flows share: how a task is retried, what Prefect is shown, how one run at a time is kept, how a flow ends.

The only room besides the flows that knows Prefect. What is told is made by `events`, from results alone.
"""

import argparse
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "120")  # the first start on a slow machine

import httpx
from prefect import State, Task, get_client, get_run_logger, runtime
from prefect.artifacts import create_markdown_artifact, create_progress_artifact, update_progress_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate
from prefect.client.schemas.objects import TaskRun
from prefect.concurrency.sync import concurrency
from prefect.events import emit_event
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound, PrefectException
from prefect.states import Completed, Failed
from prefect.task_engine import TaskRunTimeoutError

from kmstream.config import Config, load_config, parse_config
from kmstream.errors import HELD, KmstreamError
from kmstream.events import (
    Event,
    HeldError,
    events_of_refresh,
    explain_error,
    is_transient,
    markdown_of_refresh,
    resource_id,
    verdict_of_refresh,
)
from kmstream.results import RefreshResult
from kmstream.store import Store

SERVER_START = int(os.environ["PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS"])  # seconds
RETRY_DELAYS: list[float] = [2, 30, 120]  # seconds
TIMEOUT = 24 * 3600.0  # seconds; a run that hangs ends, and its lock is free
RUNS_AT_ONCE = 3  # of one process; of a segmentation one works, the others wait for it
LEASE = 60.0  # seconds; the least that Prefect takes
LONG = 5.0  # seconds after which a stage gets a bar of its own
STEP = 2.0  # seconds between two updates of a bar


def may_pass_later(task: Task[..., object], run: TaskRun, state: State[object]) -> bool:
    """Try again only where the storage failed; data and configuration are not better in a minute."""
    return is_transient(state.data) and not isinstance(state.data, TaskRunTimeoutError)


TASK: dict[str, Any] = {
    "cache_policy": NO_CACHE,
    "retries": len(RETRY_DELAYS),
    "retry_delay_seconds": RETRY_DELAYS,
    "retry_condition_fn": may_pass_later,
    "timeout_seconds": TIMEOUT,
}
"""Options of every task."""


def read_config(config_path: str, overrides: Sequence[str], config: Mapping[str, Any] | None) -> Config:
    """Read the configuration of a run: the file, or what was given in its place (relative paths: the work directory).

    Raises
    ------
    ConfigError
    """
    if config is None:
        return load_config(config_path, overrides)
    return parse_config(config, base_dir=Path.cwd(), overrides=overrides)


def name_run() -> str:
    """Name a flow run after its segmentation and the version that it makes, scores or may replace."""
    given, verb = runtime.flow_run.parameters, runtime.flow_run.flow_name.removeprefix("kmstream-")
    try:
        config = read_config(given["config_path"], given["overrides"], given["config"])
        store = Store(config.output.path)
        version = store.next_version() if verb == "refresh" else store.current
    except (KmstreamError, OSError, ValueError):  # the flow itself says what is wrong
        return f"{verb} {given['config_path']}"
    return f"{verb} {config.name} {version or ''}".strip()


@contextmanager
def one_at_a_time(config: Config) -> Iterator[None]:
    """Wait until no other run of this segmentation is under way on the server; the file lock would make this one fail.

    A run that crashed gives its place back when its lease ends, after a minute.
    """
    limit = f"kmstream-{config.name}"
    with get_client(sync_client=True) as client:
        try:
            client.read_global_concurrency_limit_by_name(limit)
        except ObjectNotFound:
            with suppress(ObjectAlreadyExists):  # another run was first
                client.create_global_concurrency_limit(GlobalConcurrencyLimitCreate(name=limit, limit=1))
    # A lease that can't be renewed is no reason to end the run: the file lock still keeps others out.
    with concurrency(limit, strict=True, lease_duration=LEASE, raise_on_lease_renewal_failure=False):
        yield


@contextmanager
def report_progress(config: Config) -> Iterator["Bars"]:
    """Give a task something that its verb can report progress to."""
    bars = Bars(config.name)
    yield bars
    bars.finish()


class Bars:
    """Progress of a run as Prefect shows it: a line in the log per stage, and a bar for one that takes long."""

    def __init__(self, name: str) -> None:
        self._logger, self._key = get_run_logger(), f"{name}-progress"
        self._stage, self._rows, self._done, self._started, self._told = "", 0, 0, 0.0, 0.0
        self._bar: Any = None
        self._failed = False

    def start(self, stage: str, rows: int) -> None:
        """Begin a stage of so many rows."""
        self.finish()
        self._stage, self._rows, self._done, self._bar = stage, rows, 0, None
        self._started = self._told = time.monotonic()

    def advance(self, rows: int) -> None:
        """Note that so many rows of the stage are done."""
        self._done += rows
        if self._done >= self._rows:
            self.finish()
            return
        now = time.monotonic()
        if now - self._started < LONG or now - self._told < STEP:
            return
        self._told = now
        part = min(100.0, 100.0 * self._done / max(self._rows, 1))
        self._show(part, f"{self._stage}: {self._done:,} of {self._rows:,} rows")

    def finish(self) -> None:
        """End the stage, and say how fast it was."""
        if not self._stage:
            return
        seconds = time.monotonic() - self._started
        rate = f", {self._done / seconds:,.0f} rows/s" if seconds > 0 else ""
        self._logger.info("%s: %s rows in %.1f s%s", self._stage, f"{self._done:,}", seconds, rate)
        if self._bar is not None:
            self._show(100.0, f"{self._stage}: {self._done:,} rows")
        self._stage = ""

    def _show(self, part: float, text: str) -> None:
        """Move the bar; a server that can't is no reason to end the run."""
        if self._failed:
            return
        try:
            if self._bar is None:
                self._bar = create_progress_artifact(part, key=self._key, description=text)
            else:
                update_progress_artifact(self._bar, part, description=text)
        except (PrefectException, httpx.HTTPError) as error:
            self._failed = True
            self._logger.warning("no more progress is shown: %s", error)


def tell(name: str, events: Sequence[Event], verdict: str, markdown: str = "") -> None:
    """Emit events about a segmentation, and keep what people read as an artifact."""
    for event, payload in events:
        emit_event(event, {"prefect.resource.id": resource_id(name)}, payload=payload)
    if markdown:
        create_markdown_artifact(key=f"{name}-segments", markdown=markdown, description=verdict)


def fail(error: KmstreamError) -> Any:  # noqa: ANN401 - Prefect raises its data where a flow is called as a function
    """End a flow with the text that the command line prints."""
    get_run_logger().error("%s", explain_error(error))
    return Failed(message=explain_error(error), data=error)


def complete(verdict: str, result: object, report: str | None = None) -> Any:  # noqa: ANN401
    """End a flow with a result, and say in its log how it ended and where the report is."""
    get_run_logger().info("%s%s", verdict, f" Report: {report}" if report else "")
    return Completed(message=verdict, data=result)


def end_refresh(refresh: RefreshResult, result: object) -> Any:  # noqa: ANN401
    """Tell of a new version, and end the flow with a result, or as failed if it is held.

    Only that is red, and reaches those who are told of failures.
    """
    verdict = verdict_of_refresh(refresh)
    tell(refresh.name, events_of_refresh(refresh), verdict, markdown_of_refresh(refresh))
    if refresh.status == "held":
        get_run_logger().warning("%s", verdict)
        return Failed(name="Held", message=verdict, data=HeldError(refresh))
    return complete(verdict, result, refresh.report)


def run_as_script(flow: Callable[[], object]) -> int:
    """Run a flow once, and give the exit code that the command line has for how it ended."""
    try:
        flow()
    except HeldError:
        return HELD
    except KmstreamError as error:  # the flow has logged its text
        return error.exit_code
    return 0


def read_arguments(description: str) -> argparse.ArgumentParser:
    """Make the parser of a flow that runs as a script."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("-c", "--config", default="kmstream.toml", help="the configuration file (%(default)s)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override a value")
    return parser
