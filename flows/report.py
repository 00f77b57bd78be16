"""The whole site rendered anew, in Prefect and from the command line."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import duckdb
from prefect import flow, task
from prefect.artifacts import create_link_artifact
from prefect.runtime import flow_run

from flows import alerting, touched
from flows.context import Context, assemble, writing
from flows.run_names import run_name
from flows.runs import recorded
from flows.scheduled import scheduled_start
from pipelines.market import utc
from reports.site import Published, publish
from warehouse.stage import scalar


def run_report(
    context: Context, con: duckdb.DuckDBPyConnection, run_id: str | None, at: datetime | None = None
) -> Published:
    """Every page and file of the site; `at` (UTC) is the wall clock it is rendered for."""
    now = utc(at) if at else datetime.now(UTC)
    newest = scalar(con, "SELECT max(market_now) FROM source_states")
    market_now = utc(newest) if isinstance(newest, datetime) and at is None else now
    options = alerting.site_options(context, market_now, run_id, now, alerting.watch_of(con, context))
    with touched.obeyed(context) as series:
        return publish(con, context.settings.site_dir, replace(options, touched=series), "full")


@task(name="render site")
def render(at: datetime | None) -> dict[str, Any]:
    """All pages; only what changed is rewritten."""
    context, run_id = assemble(), str(flow_run.id or uuid4())
    with writing(context) as con, recorded(con, context, run_id, "report", scheduled_start()) as tally:
        done = run_report(context, con, run_id, at)
        tally.detail = f"{len(done.written)} files written, {done.unchanged} unchanged"
    site = context.settings.site
    create_link_artifact(
        key="site",
        link=f"http://{site.host}:{site.port}/",
        link_text="Open the site",
        description=f"Every page and file: {len(done.written)} written, {done.unchanged} unchanged, in {done.took_ms:.0f} ms",
    )
    return {"written": done.written, "unchanged": done.unchanged, "took_ms": done.took_ms}


@flow(name="report", log_prints=False, flow_run_name=run_name)
def report(at: datetime | None = None) -> dict[str, Any]:
    """The whole site rendered from the warehouse.

    Args:
        at: The moment it is rendered for (UTC). Leave empty for now.
    """
    return render(at)
