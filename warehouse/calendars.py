"""Which calendar each series follows, and the sessions of a calendar."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import duckdb
import polars as pl

from warehouse.buckets import with_closing
from warehouse.stage import frame, literal, literals


def source_calendars(con: duckdb.DuckDBPyConnection) -> dict[str, str]:
    """Source -> calendar of most of its series."""
    return dict(con.execute("SELECT source, mode(calendar) FROM core.series GROUP BY source").fetchall())


def series_calendars(con: duckdb.DuckDBPyConnection) -> list[tuple[str, str, str]]:
    """source, symbol, calendar of every series."""
    return con.execute("SELECT source, symbol, calendar FROM core.series ORDER BY ALL").fetchall()


def stage_calendars(con: duckdb.DuckDBPyConnection) -> list[tuple[str, str, str]]:
    """Temporary tables `series_now` (source, symbol, calendar) and `sessions_now`; the rows of the first.

    The models read these copies: each mention of a table of the lake costs a query of its catalog, 5-10 ms.
    """
    con.execute("CREATE OR REPLACE TEMP TABLE series_now AS SELECT source, symbol, calendar FROM core.series")
    found = con.execute("FROM series_now ORDER BY source, symbol").fetchall()
    bound = sorted({calendar for _, _, calendar in found if calendar != "24/7"})
    if bound:
        sessions = f"FROM {with_closing(f'calc.sessions WHERE calendar IN {literals(bound)}')}"
    else:
        nothing = ", ".join(
            f"NULL::TIMESTAMP AS {name}" for name in ("open_ts", "close_ts", "closing_ts", "counted_from")
        )
        sessions = f"SELECT NULL::VARCHAR AS calendar, {nothing} LIMIT 0"
    con.execute(f"CREATE OR REPLACE TEMP TABLE sessions_now AS {sessions}")
    return found


def sessions_between(
    con: duckdb.DuckDBPyConnection, calendar: str, since: datetime, until: datetime
) -> pl.DataFrame:
    """Sessions that overlap [since, until): session, open_ts, close_ts."""
    return frame(
        con,
        "SELECT session, open_ts, close_ts FROM calc.sessions "
        f"WHERE calendar = {literal(calendar)} AND close_ts > {literal(since)} AND open_ts < {literal(until)} "
        "ORDER BY open_ts",
    )


def usual_minutes(con: duckdb.DuckDBPyConnection, calendars: Sequence[str]) -> dict[str, float]:
    """Calendar -> minutes of its most frequent session; calendars without stored sessions are absent."""
    rows = con.execute(
        "SELECT calendar, mode(minutes)::DOUBLE FROM calc.sessions "
        f"WHERE calendar IN {literals(calendars)} GROUP BY calendar"
    )
    return dict(rows.fetchall())
