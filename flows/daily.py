"""Once a day: trading sessions a year ahead, the alert budget's limits, yesterday's coverage, the daily table check."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import uuid4

import duckdb
from prefect import flow, get_run_logger, task
from prefect.runtime import flow_run

from flows.context import Context, assemble, writing
from flows.limits import renew_limits
from flows.quality import QualityRun, run_quality
from flows.run_names import run_name
from flows.runs import market_now
from flows.scheduled import scheduled_start
from flows.trading_days import fill_sessions
from pipelines.market import CONTINUOUS, naive, utc
from warehouse.connect import connect

DAY = timedelta(days=1)


@dataclass(frozen=True)
class DailyRun:
    """Sessions that are new or changed, and what the daily check found."""

    sessions: int
    quality: QualityRun


def run_daily(
    context: Context, con: duckdb.DuckDBPyConnection, run_id: str, now: datetime | None = None
) -> DailyRun:
    """Sessions first, because coverage and freshness follow them; then the tables of the whole day.

    now: the wall clock (aware UTC).
    """
    at = utc(now or datetime.now(UTC))
    filled = run_sessions(context, con, market_now(con, at).date())
    renew_limits(con, context.settings, naive(market_now(con, at)))
    return DailyRun(filled, run_quality(context, con, run_id, at, span=DAY, suite="daily"))


def run_sessions(context: Context, con: duckdb.DuckDBPyConnection, today: date) -> int:
    """The sessions of every calendar in use, from 60 days before its oldest bar to a year after `today`."""
    oldest = dict(
        con.execute("""
            SELECT s.calendar, min(l.from_ts)::DATE FROM core.ledger AS l
            JOIN (SELECT DISTINCT source, calendar FROM core.series) AS s USING (source)
            WHERE l.from_ts IS NOT NULL GROUP BY s.calendar""").fetchall()
    )
    configured = {source.calendar_of(name) for source in context.settings.sources for name in source.symbols}
    wanted = sorted((configured | set(oldest)) - {CONTINUOUS})
    return sum(
        fill_sessions(con, context, calendar, min(oldest.get(calendar, today), today), today)
        for calendar in wanted
    )


@task(name="trading sessions")
def sessions_ahead(now: datetime | None) -> int:
    """Every calendar's sessions into the warehouse, with the user's own closures."""
    context = assemble()
    with writing(context) as con:
        return run_sessions(context, con, market_now(con, utc(now or datetime.now(UTC))).date())


@task(name="alert budget")
def alert_budget(now: datetime | None) -> int:
    """Each series' limits of price and volume by half hour, where there is a budget."""
    context = assemble()
    con = connect(context.location, read_only=True)
    try:
        return renew_limits(con, context.settings, naive(market_now(con, utc(now or datetime.now(UTC)))))
    finally:
        con.close()


@task(name="check the day")
def check_day(now: datetime | None) -> dict[str, Any]:
    """Coverage of yesterday and today, and every table's rows of the whole day."""
    context = assemble()
    with writing(context) as con:
        done = run_quality(context, con, str(flow_run.id or uuid4()), now, DAY, "daily", scheduled_start())
    return {"checks": done.checks, "failed": done.not_passed, "critical": done.critical, "gaps": done.gaps}


@flow(name="daily", timeout_seconds=900, log_prints=False, flow_run_name=run_name)
def daily(now: datetime | None = None) -> dict[str, Any]:
    """Trading sessions a year ahead, the alert budget's limits, yesterday's coverage, the daily table check.

    Args:
        now: The wall clock (UTC) it runs for. Leave empty for now.
    """
    at = utc(now) if now else None
    numbers = {"sessions": sessions_ahead(at), "limits": alert_budget(at), **check_day(at)}
    get_run_logger().info("daily: %s", numbers)
    return numbers
