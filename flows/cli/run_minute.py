"""The minute's steps one after the other, as `flows.minute` has them as tasks."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import duckdb

from flows import walk
from flows.context import Context
from flows.delivery import deliver_due
from flows.streaming import load_streamed


def run_minute(
    context: Context, con: duckdb.DuckDBPyConnection, run_id: str, at: datetime | None
) -> dict[str, Any]:
    """Fetch, land, load, derive, alert, publish, deliver, record; returns what an operator asks for.

    A step that fails leaves a Failed row in `runs`, as in Prefect, and is raised.
    """
    run = walk.Run(context, con, run_id, at or datetime.now(UTC), walk.recall(context, con))
    walk.wait_for_close(run.scheduled)
    try:
        return _steps(run)
    except BaseException as error:
        walk.record(run, "Failed", detail=f"{type(error).__name__}: {error}"[:500])
        raise


def _steps(run: walk.Run) -> dict[str, Any]:
    feeds = run.context.feeds()
    for feed in feeds:
        walk.ingest(run, feed)
    load_streamed(run, feeds)
    derived = walk.derive_and_alert(run)
    try:
        published = walk.publish_site(run)
    finally:
        sent = deliver_due(run.con, run.context, run.run_id)
    walk.record(run, "Completed")
    return {
        "run_id": run.run_id,
        "rows_in": sum(one.rows_in for one in run.ingested),
        "loaded": {one.source: one.rows_loaded for one in run.ingested},
        "quarantined": sum(one.rows_quarantined for one in run.ingested),
        "windows": derived.windows,
        "anomalies": derived.anomalies,
        "alert_events": derived.alerts,
        "messages_sent": sent,
        "files_written": len(published.written),
        "lag_s": run.lag_s,
        "failed": {one.source: one.reason for one in run.ingested if one.state == "failed"},
    }
