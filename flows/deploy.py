"""Registers the deployments of prefect.yaml through Prefect's API, from a checkout or an installed copy.

`python -m flows.deploy [NAME ...]`. In the file's order, so that the minute is there first.
"""

from __future__ import annotations

import gc
import importlib
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate, WorkPoolCreate
from prefect.client.schemas.objects import ConcurrencyLimitStrategy, ConcurrencyOptions
from prefect.client.schemas.schedules import construct_schedule
from prefect.exceptions import ObjectAlreadyExists
from prefect.flows import Flow
from prefect.utilities.callables import parameter_schema

POOL = "tapewatch"


def manifest() -> dict[str, Any]:
    """prefect.yaml of the checkout this package lies in, else the copy inside the installed package."""
    checkout = Path(__file__).resolve().parent.parent / "prefect.yaml"
    text = checkout.read_text() if checkout.exists() else (files("flows") / "prefect.yaml").read_text()
    parsed: dict[str, Any] = yaml.safe_load(text)
    return parsed


def load_flow(entrypoint: str) -> Flow[..., Any]:
    """The flow object of `package.module.function`; a broken import is an error here, not at run time."""
    module, name = entrypoint.rsplit(".", 1)
    found = getattr(importlib.import_module(module), name)
    if not isinstance(found, Flow):
        raise TypeError(f"{entrypoint} is not a Prefect flow")
    return found


def deploy(names: list[str] | None = None) -> list[str]:
    """Creates or renews the work pool and the deployments; returns their names as flow/deployment."""
    done = []
    with get_client(sync_client=True) as client:
        _create_pool(client)
        for item in manifest()["deployments"]:
            if names and item["name"] not in names:
                continue
            done.append(_deploy_one(client, item))
            print(f"deployed {done[-1]}", flush=True)
    return done


def _deploy_one(client: SyncPrefectClient, item: dict[str, Any]) -> str:
    chosen = load_flow(item["entrypoint"])
    limit = item.get("concurrency_limit") or {}
    options = ConcurrencyOptions(
        collision_strategy=ConcurrencyLimitStrategy(limit["collision_strategy"]),
        grace_period_seconds=limit["grace_period_seconds"],
    )
    pool = item["work_pool"]
    client.create_deployment(
        flow_id=client.create_flow_from_name(chosen.name),
        name=item["name"],
        entrypoint=item["entrypoint"],
        description=item.get("description"),
        tags=item.get("tags", []),
        schedules=[_schedule(one) for one in item.get("schedules", [])],
        parameters=item.get("parameters", {}),
        parameter_openapi_schema=parameter_schema(chosen).model_dump_for_openapi(),
        concurrency_limit=limit.get("limit"),
        concurrency_options=options,
        work_pool_name=pool["name"],
        job_variables=_job_variables(pool.get("job_variables", {})),
        pull_steps=[],
    )
    return f"{chosen.name}/{item['name']}"


def _job_variables(given: dict[str, Any]) -> dict[str, Any]:
    """The interpreter that deploys is the one that runs: `python` need not be on the worker's PATH."""
    command = str(given.get("command", ""))
    return {**given, "command": command.replace("python ", f"{sys.executable} ", 1)} if command else given


def _schedule(given: dict[str, Any]) -> DeploymentScheduleCreate:
    kind = {k: v for k, v in given.items() if k in ("interval", "anchor_date", "cron", "timezone")}
    return DeploymentScheduleCreate(
        schedule=construct_schedule(**kind), active=given.get("active", True), slug=given.get("slug")
    )


def _create_pool(client: SyncPrefectClient) -> None:
    try:
        client.create_work_pool(WorkPoolCreate(name=POOL, type="process", base_job_template=_template()))
    except ObjectAlreadyExists:
        return


def _template() -> dict[str, Any]:
    from_worker: dict[str, Any] = importlib.import_module(
        "prefect.workers.process"
    ).ProcessWorker.get_default_base_job_template()
    return from_worker


if __name__ == "__main__":
    gc.disable()  # a sixth of the work of importing every flow was looking for garbage among what stays
    deploy(sys.argv[1:] or None)
