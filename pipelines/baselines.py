"""Which volume baseline judges each new bar: the one in force, a fresh one at a session's start, an older bar's own."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import date, datetime, timedelta

import duckdb
import polars as pl

from pipelines.market import Interval
from warehouse.baselines import (
    baseline_candidates,
    baseline_history,
    baseline_rows,
    baseline_sessions,
    stored_baseline,
)
from warehouse.facts import IN_LAKE, Facts

VALUES = ("median", "sessions", "log_median", "log_mad", "log_mean_ad", "bars")
_TABLE = ["source", "symbol", "session", "bucket", *VALUES, "log_sessions"]
_KEY = ["source", "symbol", "ts"]


def with_baseline(
    con: duckdb.DuckDBPyConnection,
    interval: Interval,
    new: pl.DataFrame,
    with_history: bool,
    sessions: int,
    min_sessions: int,
    series: Collection[tuple[str, str]] | None = None,
    facts: Facts = IN_LAKE,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The new bars with VALUES of the sessions before theirs, and the baselines made for it.

    new: source, symbol, interval, ts, session, bucket, is_complete, lent and more. Bars of the session the table is in force
    for join it; older ones are judged by their own past; partial windows, and those with lent minutes, by none. with_history: history has grown,
    so the table is made anew. series: the only ones that are at work, where it is not whole sources. facts: of
    `stage_facts`.
    """
    stored = stored_baseline(con, str(interval), sorted(set(new["bucket"])))
    in_force = _in_force(con, interval, new, stored)
    fresh = _fresh(con, interval, in_force, with_history, sessions, min_sessions, series, facts)
    if fresh.height:
        stored = stored.filter(~pl.col("source").is_in(fresh["source"].unique().to_list()))
    in_use = pl.concat(
        [part.select(_TABLE) for part in (fresh, stored) if part.height] or [stored.select(_TABLE)]
    )
    whole = new.filter("is_complete", ~pl.col("lent"))
    parts = [whole.join(in_use, on=["source", "symbol", "session", "bucket"], how="inner")]
    older = whole.join(in_force, on="source").filter(pl.col("session") < pl.col("in_force"))
    if older.height:
        first, last = older["session"].min(), older["session"].max()
        assert isinstance(first, date)
        assert isinstance(last, date)
        _stage_candidates(
            con, interval, first, last, sessions, older["source"].unique().to_list(), series, facts
        )
        parts.append(baseline_history(con, older.select(*_KEY, "interval"), sessions, min_sessions))
    columns = (*_KEY, *VALUES, "log_sessions")
    known = pl.concat([part.select(columns) for part in parts])
    return new.join(_enough(known, min_sessions), on=_KEY, how="left"), fresh


def _enough(known: pl.DataFrame, min_sessions: int) -> pl.DataFrame:
    """The rows with enough sessions; what is of logarithms is null where too few sessions had any volume."""
    enough = pl.col("log_sessions") >= min_sessions
    logs = [pl.when(enough).then(pl.col(name)).alias(name) for name in VALUES if name.startswith("log_")]
    return known.filter(pl.col("sessions") >= min_sessions).with_columns(logs).drop("log_sessions")


def _in_force(
    con: duckdb.DuckDBPyConnection, interval: Interval, new: pl.DataFrame, stored: pl.DataFrame
) -> pl.DataFrame:
    """Each source of the new bars: oldest and newest session of these, known (of its stored table), in_force (of the
    table that it is to have)."""
    span = new.group_by("source").agg(oldest=pl.col("session").min(), newest=pl.col("session").max())
    known = stored.group_by("source").agg(known=pl.col("session").max())
    if span.join(known, on="source").filter(pl.col("known") >= pl.col("newest")).height < span.height:
        sessions = baseline_sessions(con, str(interval))
        known = pl.DataFrame(
            {"source": list(sessions), "known": list(sessions.values())},
            schema={"source": pl.String, "known": pl.Date},
        )
    return span.join(known, on="source", how="left").with_columns(
        in_force=pl.max_horizontal("newest", "known")
    )


def _fresh(
    con: duckdb.DuckDBPyConnection,
    interval: Interval,
    in_force: pl.DataFrame,
    with_history: bool,
    sessions: int,
    min_sessions: int,
    series: Collection[tuple[str, str]] | None,
    facts: Facts,
) -> pl.DataFrame:
    """Baselines of sources whose newest session has none yet, or whose history has grown or was corrected."""
    changed = pl.lit(with_history) | (pl.col("oldest") < pl.col("in_force"))
    missing = pl.col("known").is_null() | (pl.col("known") < pl.col("in_force"))
    due = in_force.filter(changed | missing)
    frames = []
    for session in sorted(due["in_force"].unique().to_list()):
        sources = due.filter(pl.col("in_force") == session)["source"].to_list()
        _stage_candidates(
            con, interval, session, session + timedelta(days=1), sessions, sources, series, facts
        )
        frames.append(baseline_rows(con, session, sessions, min_sessions))
    return pl.concat(frames) if frames else pl.DataFrame()


def _stage_candidates(
    con: duckdb.DuckDBPyConnection,
    interval: Interval,
    first: date,
    last: date,
    sessions: int,
    sources: Sequence[str],
    series: Collection[tuple[str, str]] | None,
    facts: Facts,
) -> None:
    reach_back = timedelta(days=round(sessions * 1.6) + 5)
    since = datetime.combine(first, datetime.min.time()) - reach_back
    until = datetime.combine(last, datetime.max.time())
    baseline_candidates(con, str(interval), since, until, sources, series, facts)
