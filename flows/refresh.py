"""Flow `refresh`: fit a new model version, carry the names over, publish it or hold it.

As it is, on Prefect's temporary server: ``python flows/refresh.py -c kmstream.toml``. The deployment of it is in
prefect.yaml.
"""

import sys
from datetime import datetime
from typing import Any

from kmstream import orchestration, pipeline  # sets what Prefect reads when it is imported, so it comes first

from prefect import flow, get_run_logger, task  # isort: skip

from kmstream.config import Config
from kmstream.errors import KmstreamError
from kmstream.plan import Plan
from kmstream.results import RefreshResult


@task(name="plan", **orchestration.TASK)
def plan_segmentation(config: Config, only: list[str]) -> Plan:
    """Read the footers: a wrong schema or too little memory shows before any work is done."""
    return pipeline.plan(config, only=only)


@task(name="refresh", **orchestration.TASK)
def refresh_segmentation(config: Config, only: list[str], now: datetime | None, *, baseline: bool) -> RefreshResult:
    """Fit, match, assign, compare, publish or hold."""
    with orchestration.report_progress(config) as bars:
        return pipeline.refresh(config, baseline=baseline, only=only, now=now, progress=bars)


@flow(name="kmstream-refresh", flow_run_name=orchestration.name_run)
def refresh_flow(
    config_path: str = "kmstream.toml",
    overrides: list[str] = [],  # noqa: B006 - Prefect shows it as the default of a form; nothing changes it
    only: list[str] = [],  # noqa: B006
    config: dict[str, Any] | None = None,
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
    config : dict, optional
        The content of a `kmstream.toml`, in place of the file.
    baseline : bool
        Learn the scaling anew; the names go on.
    now : datetime, optional
        The time that is written down; the clock's by default.
    """
    try:
        read = orchestration.read_config(config_path, overrides, config)
        with orchestration.one_at_a_time(read):
            plan = plan_segmentation(read, only)
            told = "%d rows in %d partitions, %d bytes to read"
            get_run_logger().info(told, plan.rows, plan.partitions, plan.bytes_to_read)
            result = refresh_segmentation(read, only, now, baseline=baseline)
    except KmstreamError as error:
        return orchestration.fail(error)  # type: ignore[no-any-return]
    return orchestration.end_refresh(result, result)  # type: ignore[no-any-return]


def main() -> int:
    """Run the flow once; exit codes are those of `kmstream refresh`."""
    parser = orchestration.read_arguments("Fit a new model version, as a Prefect flow.")
    parser.add_argument("--only", action="append", default=[], metavar="GLOB", help="limit the partitions")
    parser.add_argument("--baseline", action="store_true", help="learn the scaling anew; the names go on")
    given = parser.parse_args()
    return orchestration.run_as_script(
        lambda: refresh_flow(given.config, given.set, given.only, baseline=given.baseline)
    )


if __name__ == "__main__":
    sys.exit(main())
