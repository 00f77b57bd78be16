"""An exchange's trading sessions into the warehouse: coverage, windows and baselines follow them."""

from __future__ import annotations

from datetime import date, timedelta

import duckdb
import polars as pl

from flows.context import Context
from pipelines.sessions import sessions
from warehouse.connect import transaction
from warehouse.stage import stage

BASELINE_REACH = timedelta(days=60)
A_YEAR_AHEAD = timedelta(days=366)


def fill_sessions(
    con: duckdb.DuckDBPyConnection, context: Context, calendar: str, first: date, last: date
) -> int:
    """The calendar's sessions from long before to long after these days, with the user's own closures; how many are new."""
    start, end = first - BASELINE_REACH, last + A_YEAR_AHEAD
    overrides = [closure for closure in context.settings.sessions if closure.calendar == calendar]
    return _store(con, context, sessions(calendar, start, end, overrides))


def _store(con: duckdb.DuckDBPyConnection, context: Context, sessions: pl.DataFrame) -> int:
    """Puts a calendar's sessions in place of the stored ones of the same days; returns how many are new."""
    stage(con, "new_sessions", sessions)
    fresh = con.execute(
        "SELECT count(*) FROM new_sessions ANTI JOIN calc.sessions "
        "USING (calendar, session, open_ts, close_ts, is_early_close)"
    ).fetchall()[0][0]
    if fresh:
        with transaction(con, context.location):
            con.execute(
                "DELETE FROM calc.sessions AS t USING new_sessions AS s "
                "WHERE t.calendar = s.calendar AND t.session = s.session"
            )
            con.execute("INSERT INTO calc.sessions BY NAME SELECT * FROM new_sessions")
    return int(fresh)
