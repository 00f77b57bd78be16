"""Runs that ended without a row of their own in `runs`: killed ones, and ones that could not even open the warehouse.

Prefect knows of them; each minute's run writes down what it finds, so that pages, digests and SQL tell of them too.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb

from flows.context import Context
from flows.prefect_api import PrefectApi
from pipelines.market import naive
from warehouse.connect import transaction
from warehouse.stage import literals

REACH = timedelta(days=1)


def record_unrecorded(con: duckdb.DuckDBPyConnection, context: Context, now: datetime | None = None) -> int:
    """Rows for the runs that Prefect calls failed or crashed and `runs` lacks; how many there were.

    now: aware UTC. None are found where no Prefect server is configured or it does not answer.
    """
    url, at = os.environ.get("PREFECT_API_URL", ""), now or datetime.now(UTC)
    if not url:
        return 0
    api = PrefectApi(url)
    try:
        ended = api.ended_badly((at - REACH).isoformat())
        known = _known(con, [run["id"] for run in ended]) if ended else set()
        unknown = [run for run in ended if run["id"] not in known]
        names = api.deployment_names() if unknown else {}
    except (OSError, ValueError):
        return 0
    fresh = [_row(run, names, at) for run in unknown]
    if fresh:
        with transaction(con, context.location):
            con.execute(f"INSERT INTO ops.runs VALUES {', '.join(map(literals, fresh))}")
    return len(fresh)


def _known(con: duckdb.DuckDBPyConnection, ids: list[str]) -> set[str]:
    found = con.execute(f"SELECT run_id FROM ops.runs WHERE run_id IN {literals(ids)}")
    return {row[0] for row in found.fetchall()}


def _row(run: dict[str, Any], names: dict[str, str], now: datetime) -> tuple[Any, ...]:
    state = run.get("state") or {}
    began = _time(run.get("start_time")) or _time(run["expected_start_time"])
    return (
        run["id"], names.get(str(run.get("deployment_id"))) or run["name"], _time(run["expected_start_time"]), began,
        _time(run.get("end_time")) or naive(now), state.get("name") or str(run["state_type"]).title(),
        0, 0, 0, None, None, (state.get("message") or "")[:500] or None,
    )  # fmt: skip


def _time(text: str | None) -> datetime | None:
    return naive(datetime.fromisoformat(text)) if text else None
