"""What the commands ask of the warehouse, as rows for tables."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from datetime import datetime
from typing import Any

import duckdb

from flows.cli.call import Call
from flows.context import Context, assemble
from pipelines.market import naive

Connection = duckdb.DuckDBPyConnection
Row = dict[str, Any]


def context_of(call: Call) -> Context:
    """The context of the command's configuration."""
    return assemble(call.settings)


def rows(con: Connection, query: str) -> list[Row]:
    """The query's rows by column name."""
    answer = con.execute(query)
    names = [column[0] for column in answer.description]
    return [dict(zip(names, row, strict=True)) for row in answer.fetchall()]


def feed_lags(con: Connection, now: datetime) -> list[Row]:
    """One row a source: its newest bar, how far that is behind the market's clock, what its last fetch said.

    now: aware UTC of this machine. The market's clock is the source's own when it last answered and the time since
    then; `is_open` tells whether its calendar has a session at that moment (24/7: always), so that a lag means
    something. Sources that only imported history are left out: they cannot be late.
    """
    found = rows(
        con,
        """
        SELECT st.source, st.state, st.reason, st.market_now, st.seen_at, st.answered_at, newest.ts AS newest_bar,
               coalesce(calendar, '24/7') AS calendar
        FROM source_states AS st
        LEFT JOIN (SELECT source, max(ts) AS ts FROM bars GROUP BY source) AS newest USING (source)
        LEFT JOIN (SELECT source, mode(calendar) AS calendar FROM series GROUP BY source) AS c USING (source)
        ORDER BY st.source
        """,
    )
    return [_lag(con, row, naive(now)) for row in found]


def _lag(con: Connection, row: Row, now: datetime) -> Row:
    silent = (now - row["seen_at"]).total_seconds()
    told = {"lag_s": None, "is_open": None, "asked_s_ago": silent}
    if row["market_now"] is None:
        return row | told
    market = row["market_now"] + (now - row["answered_at"])
    told["is_open"] = _is_open(con, row["calendar"], market)
    if row["newest_bar"] is not None:
        told["lag_s"] = max((market - row["newest_bar"]).total_seconds() - 60.0, 0.0)
    return row | told


def _is_open(con: Connection, calendar: str, at: datetime) -> bool | None:
    """Whether a session of the calendar is on; None where its sessions are not stored."""
    if calendar == "24/7":
        return True
    stored, running = con.execute(
        f"SELECT count(*), count(*) FILTER (open_ts <= TIMESTAMP '{at}' AND close_ts > TIMESTAMP '{at}') "
        f"FROM sessions WHERE calendar = '{calendar}'"
    ).fetchall()[0]
    return bool(running) if stored else None


def close_to(word: str, known: Iterable[str]) -> str:
    """`; did you mean "x"?` where a known word is like it, else nothing."""
    found = difflib.get_close_matches(word.lower(), [name.lower() for name in known], n=3, cutoff=0.6)
    shown = [name for name in dict.fromkeys(known) if name.lower() in found]
    return f"; did you mean {' or '.join(shown)}?" if shown else ""
