"""The deployments of prefect.yaml on one box, without a work pool and a worker: this process runs what is due.

``python flows/serve.py`` from the folder of prefect.yaml, beside a running server; it ends with Ctrl-C.
"""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kmstream import orchestration  # sets what Prefect reads when it is imported, so it comes first

import yaml  # isort: skip
from prefect import serve  # isort: skip
from prefect.deployments.runner import RunnerDeployment  # isort: skip
from prefect.events import DeploymentTriggerTypes  # isort: skip
from prefect.flows import load_flow_from_entrypoint  # isort: skip
from prefect.schedules import Cron, Interval, Schedule  # isort: skip
from pydantic import TypeAdapter  # isort: skip


def read_schedule(given: Mapping[str, Any]) -> Schedule:
    """Make a schedule of what prefect.yaml says."""
    if "cron" in given:
        return Cron(given["cron"], timezone=given.get("timezone"))
    return Interval(given["interval"], timezone=given.get("timezone"))


def read_deployment(given: Mapping[str, Any], folder: Path) -> RunnerDeployment:
    """Make a deployment of what prefect.yaml says; its work pool is of no use here."""
    return load_flow_from_entrypoint(str(folder / given["entrypoint"])).to_deployment(  # type: ignore[return-value]
        given["name"],
        description=given.get("description"),
        parameters=given.get("parameters"),
        schedules=[read_schedule(one) for one in given.get("schedules", ())],
        tags=given.get("tags"),
        triggers=[TypeAdapter(DeploymentTriggerTypes).validate_python(one) for one in given.get("triggers", ())],
    )


def main() -> int:
    """Serve until it is stopped."""
    parser = argparse.ArgumentParser(description="Run the deployments of prefect.yaml in this process.")
    parser.add_argument("--file", type=Path, default=Path("prefect.yaml"), help="where they are (%(default)s)")
    parser.add_argument("--limit", type=int, default=orchestration.RUNS_AT_ONCE, help="runs at once (%(default)s)")
    given = parser.parse_args()
    try:
        content = yaml.safe_load(given.file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        parser.error(f"no such file: {given.file}; run it from the folder of prefect.yaml, or name yours with --file")
    serve(*(read_deployment(one, given.file.parent) for one in content["deployments"]), limit=given.limit)
    return 0


if __name__ == "__main__":
    sys.exit(main())
