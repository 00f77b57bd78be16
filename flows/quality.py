"""Every quarter of an hour: whole tables checked, coverage and gaps brought up to date."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import duckdb
import polars as pl
from prefect import flow, get_run_logger, task
from prefect.artifacts import create_table_artifact
from prefect.runtime import flow_run

from flows.context import Context, assemble, writing
from flows.covering import run_covering
from flows.cross_venue import check_venues
from flows.run_names import run_name
from flows.runs import market_now, recorded
from flows.scheduled import scheduled_start
from pipelines.market import CONTINUOUS, MINUTE, naive, utc
from pipelines.quality.contract import BARS, CONTRACTS, OHLCV, TRADES
from pipelines.quality.expectations import check
from pipelines.quality.rules import Contract
from pipelines.quality.tables import Check, coverage_share, duplicate_keys, freshness, quality_frame
from pipelines.quality.trades import ids_follow, make_klines
from warehouse.calendars import sessions_between, source_calendars
from warehouse.clocks import market_clocks
from warehouse.connect import transaction
from warehouse.stage import frame, literal, scalar, stage
from warehouse.trades import id_jumps, minutes_compared

HOUR = timedelta(hours=1)
MOST_ROWS = 200_000
"""Rows of one table that Great Expectations looks at, the newest: a million take five seconds and a gigabyte."""
TABLES: Mapping[str, tuple[str, Contract]] = {
    "bars": ("bars", BARS),
    "ohlcv": ("ohlcv", OHLCV),
    "trades": ("trades", TRADES),
}


@dataclass(frozen=True)
class QualityRun:
    """How many checks ran and failed, by severity, and the gaps that changed state."""

    checks: int
    not_passed: int
    critical: int
    gaps: int


def run_quality(
    context: Context,
    con: duckdb.DuckDBPyConnection,
    run_id: str,
    now: datetime | None = None,
    span: timedelta = HOUR,
    suite: str = "hourly",
    scheduled: datetime | None = None,
) -> QualityRun:
    """Checks the newest `span` of every table by its source's clock, then coverage and gaps.

    now: the wall clock (aware UTC). Failed checks are rows, not errors.
    """
    at = utc(now or datetime.now(UTC))
    flow_name = "quality" if suite == "hourly" else "daily"
    with recorded(con, context, run_id, flow_name, scheduled) as tally:
        covered = run_covering(context, con, run_id, naive(at))
        rows = pl.concat(
            [check_tables(con, at, span), check_whole(context, con, at, span, suite, covered.coverage)]
        )
        write(context, con, rows, run_id)
        failed = rows.filter(~pl.col("passed"))
        done = QualityRun(
            rows.height,
            failed.height,
            failed.filter(pl.col("severity") == "critical").height,
            covered.events.height,
        )
        tally.rows_in, tally.detail = (
            rows.height,
            f"{done.checks} checks, {done.not_passed} failed, {done.gaps} gap events",
        )
    return done


def check_tables(con: duckdb.DuckDBPyConnection, at: datetime, span: timedelta) -> pl.DataFrame:
    """Every contract's suite over the newest `span` of its table, as rows of `quality`."""
    clock = market_now(con, at)
    found = []
    for view, contract in TABLES.values():
        rows = newest_rows(con, view, contract, span)
        found.append(check(rows, contract, clock, at))
    return pl.concat(found)


def newest_rows(
    con: duckdb.DuckDBPyConnection, view: str, contract: Contract, span: timedelta
) -> pl.DataFrame:
    """The contract's columns of the rows that each polled source brought in the newest `span` of its market.

    Of windows the closed ones, as they are stored; at most MOST_ROWS.
    """
    clocks = {name: clock - span for name, clock in market_clocks(con).items()}
    wanted = (
        " OR ".join(f"(source = {literal(s)} AND ts >= {literal(ts)})" for s, ts in clocks.items()) or "false"
    )
    lowest = min(clocks.values(), default=datetime(9999, 1, 1))
    table = "calc.windows" if contract is OHLCV else view
    columns = ", ".join(contract.columns)
    return frame(
        con,
        f"SELECT {columns} FROM {table} WHERE ts >= {literal(lowest)} AND ({wanted}) ORDER BY ts DESC LIMIT {MOST_ROWS}",
    )


def check_whole(
    context: Context,
    con: duckdb.DuckDBPyConnection,
    at: datetime,
    span: timedelta,
    suite: str,
    coverage: pl.DataFrame,
) -> pl.DataFrame:
    """What only the whole table tells: keys that are there once, coverage and freshness of each source, other venues."""
    checks: list[Check] = []
    clocks = market_clocks(con)
    since = min(clocks.values(), default=naive(at)) - max(span, timedelta(days=1))
    for table in ("bars", "trades"):
        key = ", ".join(CONTRACTS[table].key)
        twice = f"SELECT count(*) - count(DISTINCT ({key})) FROM {table} WHERE ts >= {literal(since)}"
        checks.append(duplicate_keys(table, int(str(scalar(con, twice)))))
    for source in (one.name for one in context.settings.sources if one.name in clocks):
        mine = coverage.filter(pl.col("source") == source) if coverage.height else None
        if mine is not None and mine.height:
            checks.append(coverage_share("bars", source, mine))
        checks.append(_fresh(context, con, source, clocks[source]))
    checks += check_venues(context, con, clocks)
    checks += check_trades(context, con, clocks, span)
    return quality_frame(checks, at, suite=f"{suite} tables")


def check_trades(
    context: Context, con: duckdb.DuckDBPyConnection, clocks: Mapping[str, datetime], span: timedelta
) -> list[Check]:
    """Of every source that streams: no id is missing in the newest `span`, and its trades make its klines."""
    checks: list[Check] = []
    for stream, _ in context.streams():
        if stream.name not in clocks or stream.totals_are_told:
            continue
        until = clocks[stream.name].replace(second=0, microsecond=0)
        compared = minutes_compared(con, stream.name, until - span, until)
        checks.append(ids_follow(stream.name, id_jumps(con, stream.name, until - span, until)))
        if compared.height:
            checks.append(make_klines(stream.name, compared))
    return checks


def write(context: Context, con: duckdb.DuckDBPyConnection, rows: pl.DataFrame, run_id: str) -> None:
    """The results as one batch of `ops.quality`."""
    stage(con, "new_quality", rows.with_columns(pl.lit(run_id).alias("run_id")))
    with transaction(con, context.location):
        con.execute("INSERT INTO ops.quality BY NAME SELECT * FROM new_quality")


def _fresh(context: Context, con: duckdb.DuckDBPyConnection, source: str, clock: datetime) -> Check:
    day = clock - timedelta(days=1)
    newest = scalar(
        con, f"SELECT max(ts) FROM bars WHERE source = {literal(source)} AND ts >= {literal(day)}"
    )
    due = _newest_due(con, source_calendars(con).get(source, context.calendars[source]), clock)
    return freshness("bars", source, newest if isinstance(newest, datetime) else None, due)


def _newest_due(con: duckdb.DuckDBPyConnection, calendar: str, clock: datetime) -> datetime | None:
    """Open of the newest minute that is over by `clock` and lies in a session; None where none is stored."""
    last = clock.replace(second=0, microsecond=0) - MINUTE
    if calendar == CONTINUOUS:
        return last
    stored = sessions_between(con, calendar, clock - timedelta(days=1), clock)
    ended = [min(last, closes - MINUTE) for opens, closes in _spans(stored) if opens <= last]
    return max(ended, default=None)


def _spans(stored: pl.DataFrame) -> Iterable[tuple[datetime, datetime]]:
    return stored.select("open_ts", "close_ts").iter_rows()


@task(name="check tables")
def checks(now: datetime | None, hours: int) -> dict[str, Any]:
    """Great Expectations suites, checks of whole tables, coverage and gaps."""
    context = assemble()
    run_id = str(flow_run.id or uuid4())
    with writing(context) as con:
        done = run_quality(context, con, run_id, now, timedelta(hours=hours), scheduled=scheduled_start())
        failed = con.execute(
            "SELECT severity, check_name, observed, threshold FROM quality "
            f"WHERE run_id = {literal(run_id)} AND NOT passed ORDER BY severity, check_name"
        ).fetchall()
    names = ("severity", "check", "observed", "allowed")
    create_table_artifact(
        key="quality",
        table=[dict(zip(names, row, strict=True)) for row in failed],
        description=f"{done.checks} checks, {done.not_passed} failed",
    )
    return {"checks": done.checks, "failed": done.not_passed, "critical": done.critical, "gaps": done.gaps}


@flow(name="quality", timeout_seconds=240, log_prints=False, flow_run_name=run_name)
def quality(now: datetime | None = None, hours: int = 1) -> dict[str, Any]:
    """Whole tables checked by the gate's own rules, coverage and gaps of every watched series.

    Args:
        now: The wall clock (UTC) of the check. Leave empty for now.
        hours: How far back rows are looked at, by their source's own clock.
    """
    numbers: dict[str, Any] = checks(utc(now) if now else None, hours)
    get_run_logger().info("quality: %s", numbers)
    return numbers
