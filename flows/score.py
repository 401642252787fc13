"""Flow `score`: assign new and changed partitions to the current segments, tell how they drift.

As it is, on Prefect's temporary server: ``python flows/score.py -c kmstream.toml``. A deployment names
``flows/score.py:score_flow``; an automation on `kmstream.retrain.requested` can start a refresh.
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
    events_of_score,
    explain_error,
    is_transient,
    markdown_of_score,
    resource_id,
    verdict_of_score,
)
from kmstream.results import ScoreResult

RETRY_DELAYS: list[float] = [2, 30, 120]  # seconds


def name_run() -> str:
    """Name a flow run after its segmentation."""
    given = runtime.flow_run.parameters
    try:
        return f"score {load_config(given['config_path'], given['overrides']).name}"
    except KmstreamError:  # the flow itself says what is wrong
        return f"score {given['config_path']}"


def may_pass_later(task: Task[..., object], run: TaskRun, state: State[object]) -> bool:
    """Try again only where the storage failed; data and configuration are not better in a minute."""
    return is_transient(state.data)


@task(
    name="score",
    cache_policy=NO_CACHE,
    retries=len(RETRY_DELAYS),
    retry_delay_seconds=RETRY_DELAYS,
    retry_condition_fn=may_pass_later,
)
def score_segmentation(config: Config, only: list[str], since: str | None, now: datetime | None) -> ScoreResult:
    """Assign what is new, compare it with what the model was fitted on."""
    return pipeline.score(config, only=only, since=since, now=now)


@flow(name="kmstream-score", flow_run_name=name_run)
def score_flow(
    config_path: str,
    overrides: list[str] = [],  # noqa: B006 - Prefect shows it as the default of a form; nothing changes it
    only: list[str] = [],  # noqa: B006
    since: str | None = None,
    *,
    now: datetime | None = None,
) -> ScoreResult:
    """Assign new and changed partitions, and report their drift.

    Parameters
    ----------
    config_path : str
        The `kmstream.toml`.
    overrides : list of str
        "section.key=value" each.
    only : list of str
        Globs that limit the partitions.
    since : str, optional
        A version: what is new or changed since it, though assigned already.
    now : datetime, optional
        The time that is written down; the clock's by default.
    """
    logger = get_run_logger()
    try:
        result = score_segmentation(load_config(config_path, overrides), only, since, now)
    except KmstreamError as error:
        logger.error("%s", explain_error(error))
        return Failed(message=explain_error(error), data=error)  # type: ignore[return-value] # Prefect raises the data
    verdict = verdict_of_score(result)
    if result.partitions:
        create_markdown_artifact(key=f"{result.name}-segments", markdown=markdown_of_score(result))
    for event, payload in events_of_score(result):
        emit_event(event, {"prefect.resource.id": resource_id(result.name)}, payload=payload)
    logger.info("%s%s", verdict, f" Report: {result.report}" if result.report else "")
    return result


def main() -> int:
    """Run the flow once; exit codes are those of `kmstream score`."""
    parser = argparse.ArgumentParser(description="Assign new and changed partitions, as a Prefect flow.")
    parser.add_argument("-c", "--config", default="kmstream.toml", help="the configuration file (%(default)s)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override a value")
    parser.add_argument("--only", action="append", default=[], metavar="GLOB", help="limit the partitions")
    parser.add_argument("--since", metavar="V", help="what is new or changed since version V")
    given = parser.parse_args()
    try:
        score_flow(given.config, given.set, given.only, given.since)
    except KmstreamError as error:  # the flow has logged its text
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
