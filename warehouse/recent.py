"""Reads of the newest: bars, indicator rows, baselines and batches, as the minute keeps them at hand."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime

import duckdb
import polars as pl

from warehouse.buckets import with_closing
from warehouse.stage import frame, literal, literals, scalar, stage


def has_pending(con: duckdb.DuckDBPyConnection) -> bool:
    """Whether some loaded batch still waits for its windows, indicators and anomalies."""
    waiting = (
        "SELECT count(*) FROM core.ledger ANTI JOIN core.derived USING (batch_id) WHERE from_ts IS NOT NULL"
    )
    return bool(scalar(con, waiting))


def unfinished(con: duckdb.DuckDBPyConnection, mine: Sequence[str]) -> list[tuple[str, bool]]:
    """Batches that wait to be derived, and those of `mine` that are loaded: id, whether windows wait for it."""
    return con.execute(
        "SELECT batch_id, from_ts IS NOT NULL FROM core.ledger "
        f"WHERE batch_id IN {literals(mine)} OR batch_id NOT IN (SELECT batch_id FROM core.derived WHERE batch_id IS NOT NULL)"
    ).fetchall()


def series(con: duckdb.DuckDBPyConnection, sources: Sequence[str]) -> pl.DataFrame:
    """source, symbol, calendar of the sources' series, sorted."""
    return frame(
        con,
        f"SELECT source, symbol, calendar FROM core.series WHERE source IN {literals(sources)} ORDER BY source, symbol",
    )


def sessions(con: duckdb.DuckDBPyConnection, calendar: str) -> pl.DataFrame:
    """open_ts, close_ts, closing_ts, counted_from (see `buckets.with_closing`) of a calendar's stored sessions, sorted."""
    sessions = with_closing(f"calc.sessions WHERE calendar = {literal(calendar)}")
    return frame(con, f"SELECT * EXCLUDE (calendar) FROM {sessions} ORDER BY open_ts")


def newest_batches(con: duckdb.DuckDBPyConnection, sources: Sequence[str]) -> dict[str, str]:
    """Source -> the greatest id of its batches of kind `rest`."""
    found = con.execute(
        "SELECT source, max(batch_id) FROM core.ledger "
        f"WHERE kind = 'rest' AND source IN {literals(sources)} GROUP BY source"
    )
    return dict(found.fetchall())


def newest_bars(
    con: duckdb.DuckDBPyConnection, interval: str, series: pl.DataFrame, since: datetime, width: int
) -> pl.DataFrame:
    """The last `width` stored bars since a time of each series: source, symbol, ts, their values.

    Of minutes everything that they say, with `imported`, `lent` and ret_log (over a hole or a night there is none); of
    windows what indicators read.
    """
    stage(con, "wanted_series", series)
    columns, table = (
        "high, low, close, volume, ret_log",
        f"calc.windows WHERE interval = {literal(interval)} AND",
    )
    if interval == "1m":
        columns = "open, high, low, close, volume, turnover, trades, revision, origin = 'import' AS imported"
        columns += ", origin = 'fallback' AS lent, CASE WHEN lag(ts) OVER one = ts - INTERVAL 1 MINUTE THEN ln(close / lag(close) OVER one) END AS ret_log"
        table = "core.bars WHERE"
    rows = f"SELECT * FROM {table} ts >= {literal(since)}"
    return frame(
        con,
        f"""
        SELECT source, symbol, ts, {columns} FROM ({rows}) SEMI JOIN wanted_series USING (source, symbol)
        WINDOW one AS (PARTITION BY source, symbol ORDER BY ts)
        QUALIFY row_number() OVER (PARTITION BY source, symbol ORDER BY ts DESC) <= {width}""",
    )


def newest_indicators(
    con: duckdb.DuckDBPyConnection,
    interval: str,
    source: str,
    since: datetime,
    width: int,
    columns: Sequence[str],
) -> pl.DataFrame:
    """The last `width` stored rows since a time of each series: source, symbol, ts, the columns."""
    listed = ", ".join(f'"{name}"' for name in columns)
    return frame(
        con,
        f"""
        SELECT source, symbol, ts, {listed} FROM calc.indicators
        WHERE interval = {literal(interval)} AND source = {literal(source)} AND ts >= {literal(since)}
        QUALIFY row_number() OVER (PARTITION BY source, symbol ORDER BY ts DESC) <= {width}""",
    )


def baseline_sessions(con: duckdb.DuckDBPyConnection, sources: Sequence[str]) -> dict[tuple[str, str], date]:
    """(interval, source) -> session that its stored baseline is in force for."""
    rows = con.execute(
        "SELECT interval, source, max(session) FROM calc.volume_baseline "
        f"WHERE source IN {literals(sources)} GROUP BY interval, source"
    )
    return {(interval, source): session for interval, source, session in rows.fetchall()}


def baselines(
    con: duckdb.DuckDBPyConnection, interval: str, source: str, session: date, buckets: tuple[int, int]
) -> pl.DataFrame:
    """Rows of calc.volume_baseline of one session, buckets from the first to the last: symbol, bucket, the statistics."""
    first, last = buckets
    return frame(
        con,
        "SELECT * FROM calc.volume_baseline "
        f"WHERE interval = {literal(interval)} AND source = {literal(source)} AND session = {literal(session)} "
        f"AND bucket BETWEEN {literal(first)} AND {literal(last)}",
    )
