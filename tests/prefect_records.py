"""What a Prefect server has recorded of a flow run."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # prefect takes seconds to import, and some who import this need none
    from prefect import State
    from prefect.client.orchestration import SyncPrefectClient


class Server:
    """The server's records of one flow run."""

    def __init__(self, client: "SyncPrefectClient", state: "State") -> None:
        self._client = client
        self.run = client.read_flow_run(state.state_details.flow_run_id)

    def _find(self, kind: str, **filters: Any) -> Any:
        return self._client.request("POST", f"/{kind}/filter", json=filters).json()

    @property
    def artifacts(self) -> list[dict[str, Any]]:
        return self._find("artifacts", artifacts={"flow_run_id": {"any_": [str(self.run.id)]}})

    def task(self, name: str) -> dict[str, Any]:
        """Task runs are recorded a moment later than flow runs."""

        def find() -> list[dict[str, Any]]:
            runs = self._find("task_runs", flow_runs={"id": {"any_": [str(self.run.id)]}})
            ended = {"COMPLETED", "FAILED"}
            return [one for one in runs if one["name"].startswith(f"{name}-") and one["state_type"] in ended]

        return wait_for(find)[0]

    def events(self, n: int) -> dict[str, dict[str, Any]]:
        """Our events of the run by name, once there are n of them."""
        mine = {"event": {"prefix": ["kmstream."]}, "related": {"id": [f"prefect.flow-run.{self.run.id}"]}}

        def find() -> list[dict[str, Any]] | None:
            found = self._find("events", filter=mine)["events"]
            return found if len(found) >= n else None

        return {one["event"]: one for one in wait_for(find)}


def wait_for(find: Callable[[], Any], seconds: float = 30) -> Any:
    end = time.monotonic() + seconds
    while not (found := find()):
        assert time.monotonic() < end, "the server has no record of it"
        time.sleep(0.1)
    return found
