"""The deployments of prefect.yaml on a server, with a worker: months arrive, and nobody calls anything by hand."""

from collections.abc import Iterator

import pytest
import yaml
from prefect_site import ROOT, Site, kill_tree, prefect_site, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.server, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site whose first month has been segmented by the deployment `refresh`, with a worker."""
    with prefect_site(tmp_path_factory.mktemp("site")) as site:
        site.deploy()
        site.add_month("m01", moved=0.0)
        site.start_worker()
        site.run("refresh")
        assert site.store.current == "v000001"
        yield site


def list_deployed(site: Site) -> dict[str, list[str]]:
    return {
        "pools": [pool["name"] for pool in site.ask("work_pools")],
        "deployments": sorted(str((one["id"], one["name"])) for one in site.ask("deployments")),
        "schedules": sorted(one["schedules"][0]["schedule"]["cron"] for one in site.ask("deployments")),
        "automations": sorted(one["name"] for one in site.ask("automations")),
    }


def test_months_arrive_and_the_deployments_do_the_rest(site):
    names = site.store.load().model.labels

    # A new month: the schedule picks it up, drift emits the event, the trigger runs retrain.
    site.add_month("m02", moved=2.0)
    with site.scheduled("score", seconds=60):
        wait_for(lambda: site.store.current == "v000002", "the retraining")
    assert site.store.load().model.labels == names
    assert site.events() == ["published", "drift", "retrain-requested", "published"]
    retrained = wait_for(lambda: site.runs("retrain"), "the end of the run")[0]
    assert retrained["name"] == "retrain retail-rfm v000001"
    assert retrained["parameters"]["payload"]["severity"] == "alert"
    assert retrained["state"]["message"].endswith("every segment keeps its name.")
    artifacts = {one["key"]: one["type"] for one in site.ask("artifacts/latest")}
    assert artifacts == {"retail-rfm-segments": "markdown", "retail-rfm-drift": "table"}

    # The worker is killed in the middle of a score, with all it has started.
    site.add_month("m03", moved=8.0)
    site.start_run("score")
    staging = site.project / "out" / "assignments" / ".v000002.score"
    wait_for(staging.exists, "a score of the new month")
    kill_tree(site.worker)
    assert "m03.parquet" not in site.scored()

    # Deploying again changes nothing; a new worker does the rest, when the dead run's place is free after a minute.
    deployed = list_deployed(site)
    site.deploy()
    assert list_deployed(site) == deployed
    assert [len(deployed[kind]) for kind in ("pools", "deployments", "automations")] == [1, 3, 2]
    crons = [one["schedules"][0]["cron"] for one in yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]]
    assert deployed["schedules"] == sorted(crons)
    site.start_worker()
    site.start_run("score")
    wait_for(lambda: "m03.parquet" in site.scored(), "the score to be done again", 240)
    wait_for(lambda: not staging.exists(), "the end of the score")
    assert site.store.current == "v000002"

    # A second event inside the cooldown wakes the deployment, and nothing is fitted.
    wait_for(lambda: len(site.runs("retrain")) > 1, "the second event")
    again = next(run for run in site.runs("retrain") if run["id"] != retrained["id"])
    assert again["state"]["message"] == "Nothing is fitted anew: no request waits for a new fit."
    assert site.store.current == "v000002"
    assert site.events()[4:] == ["drift"]
