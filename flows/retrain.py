"""Flow `retrain`: a new fit because a score asked for one, if the guard lets it.

The deployment in prefect.yaml runs it on every `kmstream.drift.detected`. The event only wakes it: what counts is the
request in the history, so an event that comes twice does nothing, and one that got lost is told again by a later score.
"""

import sys
from datetime import datetime
from typing import Any

from kmstream import orchestration, pipeline  # sets what Prefect reads when it is imported, so it comes first

from prefect import flow, get_run_logger, task  # isort: skip

from kmstream.config import Config
from kmstream.errors import KmstreamError
from kmstream.results import RetrainResult


@task(name="retrain", **orchestration.TASK)
def retrain_segmentation(config: Config, now: datetime | None) -> RetrainResult:
    """Ask the guard; fit, match, assign, compare, publish or hold."""
    with orchestration.report_progress(config) as bars:
        return pipeline.retrain(config, now=now, progress=bars)


@flow(name="kmstream-retrain", flow_run_name=orchestration.name_run)
def retrain_flow(
    config_path: str = "kmstream.toml",
    overrides: list[str] = [],  # noqa: B006 - Prefect shows it as the default of a form; nothing changes it
    payload: dict[str, Any] = {},  # noqa: B006
    config: dict[str, Any] | None = None,
    *,
    now: datetime | None = None,
) -> RetrainResult:
    """Fit a new model version if drift asked for one.

    Parameters
    ----------
    config_path : str
        The `kmstream.toml`.
    overrides : list of str
        "section.key=value" each.
    payload : dict
        Of the event that woke it; for the log.
    config : dict, optional
        The content of a `kmstream.toml`, in place of the file.
    now : datetime, optional
        The time that is written down; the clock's by default.
    """
    if payload:
        get_run_logger().info("drift %s, seen by score %s", payload.get("severity"), payload.get("run_id"))
    try:
        read = orchestration.read_config(config_path, overrides, config)
        with orchestration.one_at_a_time(read):
            result = retrain_segmentation(read, now)
    except KmstreamError as error:
        return orchestration.fail(error)  # type: ignore[no-any-return]
    if result.refresh is None:
        return orchestration.complete(f"Nothing is fitted anew: {result.why}.", result)  # type: ignore[no-any-return]
    return orchestration.end_refresh(result.refresh, result)  # type: ignore[no-any-return]


def main() -> int:
    """Run the flow once; exit codes are those of `kmstream retrain`."""
    given = orchestration.read_arguments("Fit anew if drift asked for it, as a Prefect flow.").parse_args()
    return orchestration.run_as_script(lambda: retrain_flow(given.config, given.set))


if __name__ == "__main__":
    sys.exit(main())
