"""Reads of the newest: bars, indicator rows, baselines and batches, as the minute keeps them at hand."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import date, datetime

import duckdb
import polars as pl

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
        f"WHERE batch_id IN {literals(mine)} OR batch_id NOT IN (SELECT batch_id FROM core.derived)"
    ).fetchall()


def series(con: duckdb.DuckDBPyConnection, sources: Sequence[str]) -> pl.DataFrame:
    """source, symbol, calendar of the sources' series, sorted."""
    return frame(
        con,
        f"SELECT source, symbol, calendar FROM core.series WHERE source IN {literals(sources)} ORDER BY source, symbol",
    )


def sessions(con: duckdb.DuckDBPyConnection, calendars: Collection[str]) -> pl.DataFrame:
    """calendar, open_ts, close_ts of the calendars' stored sessions, sorted by open_ts."""
    return frame(
        con,
        "SELECT calendar, open_ts, close_ts FROM calc.sessions "
        f"WHERE calendar IN {literals(calendars)} ORDER BY open_ts",
    )


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

    Of minutes everything that they say, with `imported` and ret_log (over a hole or a night there is none); of
    windows what indicators read.
    """
    stage(con, "wanted_series", series)
    columns, table = (
        "high, low, close, volume, ret_log",
        f"calc.windows WHERE interval = {literal(interval)} AND",
    )
    if interval == "1m":
        columns = "open, high, low, close, volume, turnover, trades, revision, origin = 'import' AS imported"
        columns += ", CASE WHEN lag(ts) OVER one = ts - INTERVAL 1 MINUTE THEN ln(close / lag(close) OVER one) END AS ret_log"
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
    sources: Sequence[str],
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
        WHERE interval = {literal(interval)} AND source IN {literals(sources)} AND ts >= {literal(since)}
        QUALIFY row_number() OVER (PARTITION BY source, symbol ORDER BY ts DESC) <= {width}""",
    )


def baseline_sessions(con: duckdb.DuckDBPyConnection, sources: Sequence[str]) -> dict[tuple[str, str], date]:
    """(interval, source) -> session that its stored baseline is in force for."""
    rows = con.execute(
        "SELECT interval, source, max(session) FROM calc.volume_baseline "
        f"WHERE source IN {literals(sources)} GROUP BY interval, source"
    )
    return {(interval, source): session for interval, source, session in rows.fetchall()}


def baselines(con: duckdb.DuckDBPyConnection, reach: pl.DataFrame, columns: Sequence[str]) -> pl.DataFrame:
    """Rows of calc.volume_baseline: interval and the columns, for the sessions and buckets in `reach`.

    reach: interval, source, session, first, last (bucket, inclusive)
    """
    stage(con, "reach", reach)
    listed = ", ".join(f"b.{name}" for name in columns)
    buckets = [reach["first"].min() or 0, reach["last"].max() or 0]
    return frame(
        con,
        f"""
        SELECT b.interval, {listed} FROM calc.volume_baseline AS b JOIN reach AS r
          ON b.interval = r.interval AND b.source = r.source AND b.session = r.session
         AND b.bucket BETWEEN r.first AND r.last
        WHERE b.bucket BETWEEN {literal(buckets[0])} AND {literal(buckets[1])}""",
    )
