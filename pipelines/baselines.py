"""Which volume baseline judges each new bar: the one in force, a fresh one at a session's start, an older bar's own."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import duckdb
import polars as pl

from pipelines.market import Interval
from warehouse import build
from warehouse.stage import literals

VALUES = ("median", "sessions", "log_median", "log_mad", "log_mean_ad")
_TABLE = ["source", "symbol", "session", "bucket", *VALUES, "log_sessions"]
_KEY = ["source", "symbol", "ts"]


def with_baseline(
    con: duckdb.DuckDBPyConnection,
    interval: Interval,
    new: pl.DataFrame,
    with_history: bool,
    sessions: int,
    min_sessions: int,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The new bars with VALUES of the sessions before theirs, and the baselines made for it.

    new: source, symbol, interval, ts, session, bucket and more. Bars of the session the table is in force for join
    it; older ones are judged by their own past. with_history: history has grown, so the table is made anew.
    """
    stored = build.stored_baseline(con, str(interval), sorted(set(new["bucket"])))
    fresh = _fresh(con, interval, new, stored, with_history, sessions)
    if fresh.height:
        stored = stored.filter(~pl.col("source").is_in(fresh["source"].unique().to_list()))
    table = pl.concat(
        [part.select(_TABLE) for part in (fresh, stored) if part.height] or [stored.select(_TABLE)]
    )
    parts = [new.join(table, on=["source", "symbol", "session", "bucket"], how="inner")]
    in_force = table.group_by("source").agg(in_force=pl.col("session").max())
    older = new.join(in_force, on="source").filter(pl.col("session") < pl.col("in_force"))
    if older.height:
        first, last = older["session"].min(), older["session"].max()
        assert isinstance(first, date)
        assert isinstance(last, date)
        _stage_candidates(con, interval, first, last, sessions)
        parts.append(build.baseline_history(con, older.select(*_KEY, "interval"), sessions))
    columns = (*_KEY, *VALUES, "log_sessions")
    known = pl.concat([part.select(columns) for part in parts]).filter(pl.col("sessions") >= min_sessions)
    enough = pl.col("log_sessions") >= min_sessions
    logs = [pl.when(enough).then(pl.col(name)).alias(name) for name in VALUES if name.startswith("log_")]
    return new.join(known.with_columns(logs).drop("log_sessions"), on=_KEY, how="left"), fresh


def _fresh(
    con: duckdb.DuckDBPyConnection,
    interval: Interval,
    new: pl.DataFrame,
    stored: pl.DataFrame,
    with_history: bool,
    sessions: int,
) -> pl.DataFrame:
    """Baselines of sources whose newest session has none yet, or whose history has just grown."""
    newest = dict(new.group_by("source").agg(pl.col("session").max()).iter_rows())
    in_force = dict(stored.group_by("source").agg(pl.col("session").max()).iter_rows())
    if any(source not in in_force or in_force[source] < day for source, day in newest.items()):
        in_force = build.baseline_sessions(con, str(interval))
    due = {
        source: session
        for source, session in newest.items()
        if with_history or source not in in_force or in_force[source] < session
    }
    frames = []
    for session in sorted(set(due.values())):
        sources = [source for source, day in due.items() if day == session]
        _stage_candidates(con, interval, session, session + timedelta(days=1), sessions)
        con.execute(f"DELETE FROM candidates WHERE source NOT IN {literals(sources)}")
        frames.append(build.baseline_rows(con, session, sessions))
    return pl.concat(frames) if frames else pl.DataFrame()


def _stage_candidates(
    con: duckdb.DuckDBPyConnection, interval: Interval, first: date, last: date, sessions: int
) -> None:
    reach_back = timedelta(days=round(sessions * 1.6) + 5)
    since = datetime.combine(first, datetime.min.time()) - reach_back
    build.baseline_candidates(con, str(interval), since, datetime.combine(last, datetime.max.time()))
