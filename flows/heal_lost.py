"""Lost gaps asked for again: an archive is often published, or a venue mended, after a gap has been given up."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import duckdb
import polars as pl

from flows.minute_gaps import known_gaps
from warehouse.stage import frame, literal

EVERY, FOR = timedelta(days=1), timedelta(days=7)
"""How often a lost gap is asked for, and how long after it was detected."""
AT_ONCE = 20
"""Gaps of one source in one run, the newest first; the next run goes on."""
_KEY = ["source", "symbol", "from_ts"]


def due(con: duckdb.DuckDBPyConnection, source: str, now: datetime) -> pl.DataFrame:
    """Lost gaps of a source that it is time to ask for: source, symbol, from_ts, to_ts, minutes.

    now: wall clock, naive UTC, as events are stamped: the newest one says when a gap was last asked for.
    """
    return frame(
        con,
        f"""
        SELECT source, symbol, from_ts, arg_max(to_ts, seen_at) AS to_ts, arg_max(minutes, seen_at)::BIGINT AS minutes
        FROM calc.gap_events WHERE source = {literal(source)} AND coalesce(kind, 'minutes') = 'minutes'
        GROUP BY source, symbol, from_ts
        HAVING arg_max(state, seen_at) = 'lost' AND max(seen_at) <= {literal(now - EVERY)}
           AND min(seen_at) > {literal(now - FOR)}
        ORDER BY from_ts DESC LIMIT {AT_ONCE}""",
    )


def still(con: duckdb.DuckDBPyConnection, lost: pl.DataFrame) -> tuple[pl.DataFrame, list[date]]:
    """Those of the gaps that lack a minute yet, and the days on which the others begin."""
    lacking = known_gaps(con).filter(pl.col("arrived") < pl.col("minutes"))
    left = lost.join(lacking, on=_KEY, how="semi")
    return left, lost.join(left, on=_KEY, how="anti")["from_ts"].dt.date().to_list()
