"""Flow `refresh`: fit a new model version, carry the names over, publish it or hold it.

As it is, on Prefect's temporary server: ``python flows/refresh.py -c kmstream.toml``. A deployment names
``flows/refresh.py:refresh_flow``.
"""

import argparse
import os
import sys
from datetime import datetime

os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "120")

from prefect import State, Task, flow, get_run_logger, runtime, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import TaskRun
from prefect.events import emit_event
from prefect.states import Failed

from kmstream import pipeline
from kmstream.config import Config, load_config
from kmstream.errors import KmstreamError
from kmstream.events import (
    HeldError,
    events_of_refresh,
    explain_error,
    is_transient,
    markdown_of_refresh,
    resource_id,
    verdict_of_refresh,
)
from kmstream.plan import Plan
from kmstream.results import RefreshResult

RETRY_DELAYS: list[float] = [2, 30, 120]  # seconds
HELD = 4  # exit code


def name_run() -> str:
    """Name a flow run after its segmentation."""
    given = runtime.flow_run.parameters
    try:
        return f"refresh {load_config(given['config_path'], given['overrides']).name}"
    except KmstreamError:  # the flow itself says what is wrong
        return f"refresh {given['config_path']}"


def may_pass_later(task: Task[..., object], run: TaskRun, state: State[object]) -> bool:
    """Try again only where the storage failed; data and configuration are not better in a minute."""
    return is_transient(state.data)


@task(
    name="plan",
    cache_policy=NO_CACHE,
    retries=len(RETRY_DELAYS),
    retry_delay_seconds=RETRY_DELAYS,
    retry_condition_fn=may_pass_later,
)
def plan_segmentation(config: Config, only: list[str]) -> Plan:
    """Read the footers: a wrong schema or too little memory shows before any work is done."""
    return pipeline.plan(config, only=only)


@task(
    name="refresh",
    cache_policy=NO_CACHE,
    retries=len(RETRY_DELAYS),
    retry_delay_seconds=RETRY_DELAYS,
    retry_condition_fn=may_pass_later,
)
def refresh_segmentation(config: Config, only: list[str], now: datetime | None, *, baseline: bool) -> RefreshResult:
    """Fit, match, assign, compare, publish or hold."""
    return pipeline.refresh(config, baseline=baseline, only=only, now=now)


@flow(name="kmstream-refresh", flow_run_name=name_run)
def refresh_flow(
    config_path: str,
    overrides: list[str] = [],  # noqa: B006 - Prefect shows it as the default of a form; nothing changes it
    only: list[str] = [],  # noqa: B006
    *,
    baseline: bool = False,
    now: datetime | None = None,
) -> RefreshResult:
    """Fit a new model version of a segmentation.

    Parameters
    ----------
    config_path : str
        The `kmstream.toml`.
    overrides : list of str
        "section.key=value" each.
    only : list of str
        Globs that limit the partitions.
    baseline : bool
        Learn the scaling anew; the names go on.
    now : datetime, optional
        The time that is written down; the clock's by default.
    """
    logger = get_run_logger()
    try:
        config = load_config(config_path, overrides)
        plan = plan_segmentation(config, only)
        logger.info("%d rows in %d partitions, %d bytes to read", plan.rows, plan.partitions, plan.bytes_to_read)
        result = refresh_segmentation(config, only, now, baseline=baseline)
    except KmstreamError as error:
        logger.error("%s", explain_error(error))
        return Failed(message=explain_error(error), data=error)  # type: ignore[return-value] # Prefect raises the data
    verdict = verdict_of_refresh(result)
    create_markdown_artifact(key=f"{result.name}-segments", markdown=markdown_of_refresh(result))
    for event, payload in events_of_refresh(result):
        emit_event(event, {"prefect.resource.id": resource_id(result.name)}, payload=payload)
    if result.status == "held":
        # A failed state, because only that is red and reaches the people whom Prefect notifies of failures.
        logger.warning("%s", verdict)
        return Failed(name="Held", message=verdict, data=HeldError(result))  # type: ignore[return-value] # raised too
    logger.info("%s Report: %s", verdict, result.report)
    return result


def main() -> int:
    """Run the flow once; exit codes are those of `kmstream refresh`."""
    parser = argparse.ArgumentParser(description="Fit a new model version, as a Prefect flow.")
    parser.add_argument("-c", "--config", default="kmstream.toml", help="the configuration file (%(default)s)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override a value")
    parser.add_argument("--only", action="append", default=[], metavar="GLOB", help="limit the partitions")
    parser.add_argument("--baseline", action="store_true", help="learn the scaling anew; the names go on")
    given = parser.parse_args()
    try:
        refresh_flow(given.config, given.set, given.only, baseline=given.baseline)
    except HeldError:
        return HELD
    except KmstreamError as error:  # the flow has logged its text
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
