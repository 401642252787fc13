"""`flows/serve.py`: one process serves the deployments of prefect.yaml, without a work pool and a worker."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect_site import Site, prefect_site, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.server]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with prefect_site(tmp_path) as site:
        yield site


def test_one_process_serves_the_same_deployments_without_a_work_pool(site):
    site.add_month("m01", moved=0.0)
    served = site.start("python", "flows/serve.py")
    deployments = wait_for(lambda: len(found := site.ask("deployments")) == 3 and found, "the deployments")
    assert {one["name"]: one["work_pool_name"] for one in deployments} == dict.fromkeys(["score", "refresh", "retrain"])
    assert len(wait_for(lambda: site.ask("automations"), "the trigger")) == 1
    site.run("refresh")
    site.add_month("m02", moved=2.0)
    site.run("score")
    wait_for(lambda: site.store.current == "v000002", "the retraining that drift asked for")
    assert site.events() == ["published", "drift", "retrain-requested", "published"]
    wait_for(lambda: site.runs("retrain"), "the end of the run")
    served.send_signal(signal.SIGINT)
    assert served.wait(60) == 0
