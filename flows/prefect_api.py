"""The few questions the supervisor asks Prefect's API, with nothing imported that is heavy."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from datetime import datetime
from typing import Any

STALE = ("RUNNING", "PENDING", "CANCELLING")


class PrefectApi:
    """A Prefect server's HTTP API; `url` ends in /api. Raises OSError where it does not answer."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")

    def is_healthy(self) -> bool:
        try:
            return bool(self._call("GET", "/health", timeout=2) is True)
        except (OSError, ValueError):
            return False

    def reap(self, pool: str) -> int:
        """Sets runs that cannot be alive any more to Crashed, which frees their slot; returns how many.

        To be called only while no worker of this pool runs.
        """
        runs = self._filter(pool, STALE)
        for run in runs:
            state = {"type": "CRASHED", "name": "Crashed", "message": "its worker ended before it did"}
            self._call("POST", f"/flow_runs/{run['id']}/set_state", {"state": state, "force": True})
        return len(runs)

    def scheduled_runs(self, deployment: str, since: str) -> list[dict[str, Any]]:
        """The deployment's runs that the schedule made and whose minute is at or after `since` (ISO), oldest first."""
        body = {
            "deployments": {"name": {"any_": [deployment]}},
            "flow_runs": {"expected_start_time": {"after_": since}},
            "sort": "EXPECTED_START_TIME_ASC",
            "limit": 200,
        }
        found: list[dict[str, Any]] = self._call("POST", "/flow_runs/filter", body)
        return [run for run in found if run.get("auto_scheduled")]

    def newest_runs(self, limit: int = 10) -> list[dict[str, Any]]:
        """The runs that began last, newest first."""
        body = {"sort": "START_TIME_DESC", "limit": limit, "flow_runs": {"start_time": {"is_null_": False}}}
        runs: list[dict[str, Any]] = self._call("POST", "/flow_runs/filter", body)
        return runs

    def ended_badly(self, since: str) -> list[dict[str, Any]]:
        """Failed and crashed runs whose time was at or after `since` (ISO), newest first, at most 100."""
        body = {
            "flow_runs": {
                "state": {"type": {"any_": ["FAILED", "CRASHED"]}},
                "expected_start_time": {"after_": since},
            },
            "sort": "EXPECTED_START_TIME_DESC",
            "limit": 100,
        }
        found: list[dict[str, Any]] = self._call("POST", "/flow_runs/filter", body)
        return found

    def schedule(self, deployment: str, at: datetime) -> bool:
        """One more run of the deployment, at `at` (aware); False where there is no such deployment."""
        found = [key for key, name in self.deployment_names().items() if name == deployment]
        state = {"type": "SCHEDULED", "state_details": {"scheduled_time": at.isoformat()}}
        for key in found:
            self._call("POST", f"/deployments/{key}/create_flow_run", {"state": state})
        return bool(found)

    def deployment_names(self) -> dict[str, str]:
        """Id of a deployment -> its name."""
        found: list[dict[str, Any]] = self._call("POST", "/deployments/filter", {"limit": 200})
        return {one["id"]: one["name"] for one in found}

    def _filter(self, pool: str, states: tuple[str, ...]) -> list[dict[str, Any]]:
        body = {
            "work_pools": {"name": {"any_": [pool]}},
            "flow_runs": {"state": {"type": {"any_": list(states)}}},
            "limit": 200,
        }
        found: list[dict[str, Any]] = self._call("POST", "/flow_runs/filter", body)
        return found

    def _call(self, method: str, path: str, body: object = None, timeout: float = 10) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self.url + path, data=data, method=method, headers={"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=timeout) as reply:
            return json.loads(reply.read() or b"null")
