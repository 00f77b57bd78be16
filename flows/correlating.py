"""Correlation matrices of the newest returns, and the newest closes of every source."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime

import duckdb
import polars as pl

from flows.context import Context
from flows.pair_universe import most_traded
from pipelines.analytics.correlation import correlations
from pipelines.analytics.panels import wide
from pipelines.calendars import reach
from pipelines.market import CONTINUOUS, Interval
from warehouse.calendars import source_calendars
from warehouse.closes import closes
from warehouse.stage import literal, literals

log = logging.getLogger(__name__)

MOST_CORRELATED = 200
CORRELATED = ("1m", "5m", "1h")


def newest_closes(
    con: duckdb.DuckDBPyConnection, interval: str, lookback: int, newest: Mapping[str, datetime]
) -> pl.DataFrame:
    """The last `lookback` closes of each series of the sources that `newest` names with their newest bar."""
    width, calendars = Interval.parse(interval), source_calendars(con)
    since = {
        name: ts - reach(calendars.get(name, CONTINUOUS), width, lookback) for name, ts in newest.items()
    }
    frame = closes(con, interval, since)
    return frame.group_by("source", "symbol", maintain_order=True).tail(lookback)


def new_correlations(
    context: Context,
    con: duckdb.DuckDBPyConnection,
    newest: Mapping[str, datetime],
    read: Mapping[str, pl.DataFrame],
) -> pl.DataFrame:
    """Of the newest returns, within each source; over all of them where the universe is `all`.

    read: closes by interval that are at hand already
    """
    lookback = context.settings.pairs.lookback
    configured = {"1m", *(str(interval) for interval in context.plan.intervals)}
    known = told(con, "calc.correlations", "split_part(symbol_a, ':', 1)")
    parts = []
    for interval in (name for name in CORRELATED if name in configured):
        frame = read[interval] if interval in read else newest_closes(con, interval, lookback, newest)
        of = moved(frame, interval, known)
        together = context.settings.pairs.universe == "all"
        for group in [frame if of.height else of] if together else of.partition_by("source"):
            if group.height:
                parts.append(
                    correlations(_with_holes(_few(group), Interval.parse(interval)), interval, lookback)
                )
    return pl.concat(parts) if parts else pl.DataFrame(schema={"interval": pl.String})


def replace_correlations(con: duckdb.DuckDBPyConnection, rows: pl.DataFrame, staged: str) -> None:
    """Everything of an interval and its sources at once, so that a symbol that is no longer watched goes."""
    for (interval,), of in rows.group_by("interval"):
        sources = of["symbol_a"].str.split(":").list.first().unique()
        con.execute(
            f"DELETE FROM calc.correlations WHERE interval = {literal(interval)} "
            f"AND split_part(symbol_a, ':', 1) IN {literals(sources)}"
        )
    if rows.height:
        con.execute(f"INSERT INTO calc.correlations BY NAME SELECT * FROM {staged}")


def told(con: duckdb.DuckDBPyConnection, table: str, source: str) -> dict[tuple[str, str], datetime]:
    """(interval, source) -> newest bar that the stored rows know."""
    rows = con.execute(f"SELECT interval, {source}, max(as_of) FROM {table} GROUP BY ALL").fetchall()
    return {(interval, name): as_of for interval, name, as_of in rows}


def moved(frame: pl.DataFrame, interval: str, known: Mapping[tuple[str, str], datetime]) -> pl.DataFrame:
    """The rows of the sources that have a newer bar than is known."""
    newest = frame.group_by("source").agg(pl.col("ts").max())
    names = [
        name for name, ts in newest.iter_rows() if (last := known.get((interval, name))) is None or ts > last
    ]
    return frame.filter(pl.col("source").is_in(names))


def _few(frame: pl.DataFrame) -> pl.DataFrame:
    names = [f"{source}:{symbol}" for source, symbol in frame.select("source", "symbol").unique().iter_rows()]
    if len(names) <= MOST_CORRELATED:
        return frame
    log.warning("correlations: of %d series the %d most traded", len(names), MOST_CORRELATED)
    chosen = most_traded(frame, names)[:MOST_CORRELATED]
    return frame.filter(pl.concat_str("source", "symbol", separator=":").is_in(chosen))


def _with_holes(frame: pl.DataFrame, interval: Interval) -> pl.DataFrame:
    """Wide closes with an empty row before each bar that has no neighbour: no return leaps over a night."""
    table = wide(frame)
    first = table.filter(pl.col("ts").diff() > interval.delta).select(pl.col("ts") - interval.delta)
    return pl.concat([table, first], how="diagonal").sort("ts")
