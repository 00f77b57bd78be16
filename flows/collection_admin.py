"""Start, stop and see the collection from the Prefect UI: the same as `tapewatch start`, `stop` and `status`."""

from __future__ import annotations

from typing import Any, Literal

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE

from flows.collection import status_of, wish
from flows.context import assemble
from flows.run_names import run_name

Action = Literal["status", "start", "stop"]
AUTHOR = "Prefect UI"


@task(name="order", cache_policy=NO_CACHE)
def order(action: Action, reason: str) -> dict[str, Any]:
    """Notes the wish, and shows what is collected as a table."""
    data = assemble().settings.data_dir
    if action != "status":
        wish(data, action == "start", AUTHOR, reason)
    found = status_of(data)
    rows = [
        {
            "source": name,
            "state": line["state"],
            "symbols": len(line["symbols"]),
            "connected at": line["connected_at"] or "",
            "heard at": line["heard_at"] or "",
            "frames": line["frames"],
            "dropped": source["dropped"],
            "reason": line["reason"] or source["problem"] or "",
        }
        for name, source in found["sources"].items()
        for line in source["connections"]
    ]
    create_table_artifact(
        key="collection", table=rows, description=f"{found['state']} {found['reason'] or ''}".strip()
    )
    return found


@flow(name="collection", log_prints=False, flow_run_name=run_name)
def collection(action: Action = "status", reason: str = "") -> dict[str, Any]:
    """Whether anything is collected.

    Args:
        action: status shows it; stop ends streams and fetches until start, pages and digests go on.
        reason: Shown wherever the stop is.
    """
    found: dict[str, Any] = order(action, reason)
    get_run_logger().info("collection %s", found["state"])
    return found
