"""The minute in Prefect: the steps of `flows.walk` as tasks one can see, retry and time in the UI."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import duckdb
from prefect import flow, get_run_logger, task
from prefect.artifacts import create_table_artifact
from prefect.assets import add_asset_metadata, materialize
from prefect.cache_policies import NO_CACHE
from prefect.runtime import flow_run

from flows import walk
from flows.context import Context, assemble, prepare
from flows.delivery import deliver_due
from flows.run_names import run_name
from flows.streaming import load_streamed
from flows.unrecorded import record_unrecorded
from flows.walk import Derivation, Run
from pipelines.ingest import Feed, Ingested
from pipelines.market import floor_minute, naive, utc
from pipelines.recent.past import Past
from reports.site import Published
from warehouse.build import progress
from warehouse.connect import connect

BARS, TRADES, WINDOWS, ANOMALIES, SITE = (
    f"duckdb://tapewatch/{name}" for name in ("bars", "trades", "windows", "anomalies", "site")
)
_warm: list[tuple[Context, duckdb.DuckDBPyConnection, Past | None]] = []


def warm() -> None:
    """Opens the lake and recalls the past ahead of the minute; the worker starts this process some seconds early."""
    context, con = _open()
    for view in ("bars", "gaps", "alerts", "deliveries", "source_states"):
        con.execute(f"SELECT * FROM {view} LIMIT 0").fetchall()
    _warm.append((context, con, walk.recall(context, con)))


@task(name="ingest", cache_policy=NO_CACHE, task_run_name="ingest {source}")
def ingest(run: Run, feed: Feed, source: str) -> Ingested:
    """Fetch, land and validate one source's new minutes."""
    result = walk.ingest(run, feed)
    get_run_logger().info(
        "%s %s: rows_in=%d %s", source, result.state, result.rows_in, result.reason or ""
    )  # fmt: skip
    return result


@materialize(TRADES, name="load trades", cache_policy=NO_CACHE)
def load_trades(run: Run, feeds: list[Feed]) -> dict[str, int]:
    """What the collector has sealed, and trades it missed, from the venue by id."""
    return {one.source: one.rows_new + one.refilled for one in load_streamed(run, feeds)}


@materialize(BARS, WINDOWS, ANOMALIES, name="derive", cache_policy=NO_CACHE)
def derive(run: Run) -> Derivation:
    """Bars, windows, indicators, anomalies and alerts of what came, in one transaction.

    The lineage of the windows says by which parameters their indicators were made: equal hashes, comparable columns.
    """
    add_asset_metadata(WINDOWS, {"indicator parameters": run.context.plan.params.digest})
    return walk.derive_and_alert(run)


@materialize(SITE, asset_deps=[WINDOWS, ANOMALIES], name="publish site", cache_policy=NO_CACHE)
def publish(run: Run) -> Published:
    """The pages this minute changed."""
    return walk.publish_site(run)


@task(name="deliver", cache_policy=NO_CACHE)
def deliver(run: Run) -> int:
    """Sends what the outbox holds."""
    return deliver_due(run.con, run.context, run.run_id)


@task(name="record", cache_policy=NO_CACHE)
def record(run: Run, derivation: Derivation) -> None:
    """The run's row, its latencies, a table of what it did, and the runs that could not write theirs."""
    walk.record(run, "Completed")
    record_unrecorded(run.con, run.context)
    create_table_artifact(
        key="loaded",
        table=[_row(one) for one in run.ingested],
        description=(
            f"Loaded at {run.scheduled:%Y-%m-%d %H:%M} UTC: {derivation.windows} windows, "
            f"{derivation.anomalies} anomalies, {derivation.alerts} alert events. "
            f"[Site](http://{run.context.settings.site.host}:{run.context.settings.site.port}/)"
        ),
    )


@flow(name="minute", timeout_seconds=45, log_prints=False, flow_run_name=run_name)
def minute(at: datetime | None = None) -> dict[str, Any]:
    """One micro-batch: everything since each series' watermark, from payload to page.

    Args:
        at: The minute to run for (UTC). Leave empty: the scheduled minute, else the current one.
    """
    asked = utc(at or flow_run.scheduled_start_time)
    # Prefect hands out its own subclass of datetime, which does not subtract like one.
    scheduled = floor_minute(datetime.fromtimestamp(asked.timestamp(), UTC))
    context, con, past = _warm.pop() if _warm else (*_open(), None)
    try:
        if _is_done(con, context, scheduled):
            get_run_logger().info("%s is in the warehouse already: nothing to do", scheduled)
            return {"skipped": True}
        run = Run(context, con, str(flow_run.id or uuid4()), scheduled, past)
        walk.wait_for_close(scheduled)
        return _steps(run)
    finally:
        con.close()


def _steps(run: Run) -> dict[str, Any]:
    try:
        feeds = run.context.feeds()
        for feed in feeds:
            ingest(run, feed, feed.source.name)
        if run.context.streams():
            load_trades(run, feeds)
        derivation = derive(run)
        try:
            publish(run)
        finally:
            deliver(run)  # whatever the pages meet, an alert goes out
        record(run, derivation)
    except BaseException as error:
        walk.record(run, "Failed", detail=f"{type(error).__name__}: {error}"[:500])
        raise
    numbers = {
        "rows": sum(one.rows_loaded for one in run.ingested),
        "quarantined": sum(one.rows_quarantined for one in run.ingested),
        "lag_s": round(run.lag_s or 0.0, 2),
        "failed": [one.source for one in run.ingested if one.state == "failed"],
    }
    get_run_logger().info("minute %s: %s", run.scheduled.strftime("%H:%M"), numbers)
    return numbers


def _open() -> tuple[Context, duckdb.DuckDBPyConnection]:
    # One line a request would drown the run's own.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    context = assemble()
    con = connect(context.location)
    con.execute("SET threads = 1")  # a minute's rows are few: two threads mostly wait for each other
    prepare(con, context)
    return context, con


def _is_done(con: duckdb.DuckDBPyConnection, context: Context, scheduled: datetime) -> bool:
    """A run that comes late finds its minute done by the one after it."""
    reached = progress(con)
    names = [source.name for source in context.settings.sources]
    return all(name in reached and reached[name] > naive(scheduled) for name in names)


def _row(one: Ingested) -> dict[str, Any]:
    return {
        "source": one.source,
        "state": one.state,
        "rows in": one.rows_in,
        "loaded": one.rows_loaded,
        "quarantined": one.rows_quarantined,
        "until": one.until.strftime("%Y-%m-%d %H:%M") if one.until else "",
        "reason": one.reason or "",
    }
