"""Flow `score`: assign new and changed partitions to the current segments, tell how they drift.

As it is, on Prefect's temporary server: ``python flows/score.py -c kmstream.toml``. The deployment of it is in
prefect.yaml.
"""

import sys
from datetime import datetime
from typing import Any

from kmstream import orchestration, pipeline  # sets what Prefect reads when it is imported, so it comes first

from prefect import flow, task  # isort: skip
from prefect.artifacts import create_table_artifact  # isort: skip

from kmstream.config import Config
from kmstream.errors import KmstreamError
from kmstream.events import events_of_score, markdown_of_score, table_of_score, verdict_of_score
from kmstream.results import ScoreResult


@task(name="score", **orchestration.TASK)
def score_segmentation(config: Config, only: list[str], since: str | None, now: datetime | None) -> ScoreResult:
    """Assign what is new, compare it with what the model was fitted on."""
    with orchestration.report_progress(config) as bars:
        return pipeline.score(config, only=only, since=since, now=now, progress=bars)


@flow(name="kmstream-score", flow_run_name=orchestration.name_run)
def score_flow(
    config_path: str = "kmstream.toml",
    overrides: list[str] = [],  # noqa: B006 - Prefect shows it as the default of a form; nothing changes it
    only: list[str] = [],  # noqa: B006
    since: str | None = None,
    config: dict[str, Any] | None = None,
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
    config : dict, optional
        The content of a `kmstream.toml`, in place of the file.
    now : datetime, optional
        The time that is written down; the clock's by default.
    """
    try:
        read = orchestration.read_config(config_path, overrides, config)
        with orchestration.one_at_a_time(read):
            result = score_segmentation(read, only, since, now)
    except KmstreamError as error:
        return orchestration.fail(error)  # type: ignore[no-any-return]
    verdict = verdict_of_score(result)
    markdown = markdown_of_score(result) if result.partitions else ""
    orchestration.tell(result.name, events_of_score(result), verdict, markdown)
    if result.partitions:
        create_table_artifact(table_of_score(result), key=f"{result.name}-drift", description=verdict)
    return orchestration.complete(verdict, result, result.report)  # type: ignore[no-any-return]


def main() -> int:
    """Run the flow once; exit codes are those of `kmstream score`."""
    parser = orchestration.read_arguments("Assign new and changed partitions, as a Prefect flow.")
    parser.add_argument("--only", action="append", default=[], metavar="GLOB", help="limit the partitions")
    parser.add_argument("--since", metavar="V", help="what is new or changed since version V")
    given = parser.parse_args()
    return orchestration.run_as_script(lambda: score_flow(given.config, given.set, given.only, given.since))


if __name__ == "__main__":
    sys.exit(main())
