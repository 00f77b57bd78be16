"""Which minutes of a series are expected, and what has become of each: the states that coverage counts.

What nobody asked for is not expected, and so no hole: a series' minutes count from its first live bar on, and before
that in the spans that a backfill or a file asked for (`core.asked`).
"""

from __future__ import annotations

from datetime import date, datetime, timedelta

import duckdb
import polars as pl

from flows.context import Context
from flows.minute_gaps import SPAN, known_gaps
from pipelines import coverage
from pipelines.ingest import FIRST_REACH, LIVE_KINDS
from pipelines.market import MINUTE
from pipelines.sessions import sessions
from pipelines.sources import factory
from pipelines.sources.base import NO_MINUTES, Quiet
from warehouse.asked import asked_spans, joined
from warehouse.stage import frame, literal, literals

FOREVER = datetime(9999, 1, 1)
SEAM = FIRST_REACH
"""Spans no further apart than a new series' first live minute reaches back are one: what lies between is a hole."""


def minute_states(
    context: Context,
    con: duckdb.DuckDBPyConnection,
    source: str,
    series: pl.DataFrame,
    clock: datetime,
    first: date,
    last: date,
    refused: pl.DataFrame,
    is_ours: bool,
    silent: pl.DataFrame = NO_MINUTES,
) -> pl.DataFrame | None:
    """The states of these series of one source on the days [first, last]; None where there are none.

    refused: `refused_minutes` of the source. is_ours: whether its clock is the machine's.
    silent: symbol, ts of minutes that the source has just listed without a value.
    """
    if series.is_empty():
        return None
    since = datetime.combine(first, datetime.min.time())
    end = datetime.combine(last + timedelta(days=2), datetime.min.time())
    bars = frame(
        con,
        f"""
        SELECT b.source, b.symbol, b.ts, b.volume, b.trades, b.origin, b.revision, b.known_at, s.first_seen
        FROM bars AS b JOIN core.series AS s USING (source, symbol)
        WHERE b.source = {literal(source)} AND b.symbol IN {literals(series["symbol"])}
          AND b.ts >= {literal(since)} AND b.ts < {literal(end)}""",
    )
    overrides = context.settings.sessions
    days = [
        sessions(name, first, last + timedelta(days=1), overrides) for name in series["calendar"].unique()
    ]
    grid = coverage.grid(pl.concat(days)).filter(pl.col("day") <= last)
    return coverage.states(
        grid,
        series.select("source", "symbol", "calendar", "since", "until"),
        bars,
        clock,
        absences=pl.concat(
            [
                _absences(con, source),
                _minutes_as_spans(source, silent, "no_trade"),
                _minutes_as_spans(source, refused, "refused"),
            ]
        ),
        late_after=coverage.LATE_AFTER if is_ours else None,
    )


def expected_spans(
    con: duckdb.DuckDBPyConnection,
    source: str,
    first: date,
    last: date,
    watched: tuple[str, ...] | None = None,
) -> pl.DataFrame:
    """source, symbol, calendar, since, until: the spans in which minutes of the series are expected around [first, last].

    Of a watched series, without an end, from its first live bar in sight on; from behind its newest bar, where the
    live feed has not brought any yet. Where nobody says who is watched, from the first live bar to the newest bar.
    Beside it the spans that were asked for, and the gaps on record; none of them before the series' first bar: a
    market may be younger than what was asked for.
    """
    since = datetime.combine(first - timedelta(days=7), datetime.min.time())
    end = datetime.combine(last + timedelta(days=1), datetime.min.time())
    known = frame(
        con,
        f"""
        SELECT s.source, s.symbol, s.calendar, min(b.ts) AS first_ts, max(b.ts) AS last_ts,
               min(b.ts) FILTER (b.origin IN {literals(LIVE_KINDS)}) AS live_ts
        FROM core.series AS s LEFT JOIN core.bars AS b
          ON b.source = s.source AND b.symbol = s.symbol AND b.ts >= {literal(since)} AND b.ts < {literal(end)}
        WHERE s.source = {literal(source)} GROUP BY ALL""",
    )
    behind = pl.col("last_ts") + MINUTE
    live = {"from_ts": pl.col("live_ts"), "to_ts": behind}
    if watched is not None:
        known = known.filter(pl.col("symbol").is_in(watched))
        live = {"from_ts": pl.coalesce("live_ts", behind), "to_ts": pl.lit(FOREVER)}
    followed = known.select("source", "symbol", **live).drop_nulls()
    on_record = known_gaps(con).filter(pl.col("source") == source)
    spans = [followed, *(rows.select(*SPAN) for rows in (asked_spans(con, source), on_record))]
    return (
        joined(pl.concat(spans).filter(pl.col("from_ts") < end, pl.col("to_ts") > since), SEAM)
        .join(known, on=["source", "symbol"], maintain_order="left")
        .select("source", "symbol", "calendar", since=pl.max_horizontal("from_ts", "first_ts"), until="to_ts")
        .filter(pl.col("since") < pl.col("until"))
    )


def _minutes_as_spans(source: str, minutes: pl.DataFrame, state: str) -> pl.DataFrame:
    """Each minute (symbol, ts) as a span in this state."""
    return minutes.select(
        pl.lit(source).alias("source"),
        "symbol",
        from_ts="ts",
        to_ts=pl.col("ts") + MINUTE,
        state=pl.lit(state),
    )


def _absences(con: duckdb.DuckDBPyConnection, source: str) -> pl.DataFrame:
    """Spans of imported history and quiet minutes, where an absent minute had no trade, and gaps that were given up."""
    imported = asked_spans(con, source).filter(pl.col("kind") == "import")
    settled = frame(
        con,
        f"""
        SELECT source, symbol, from_ts, arg_max(to_ts, seen_at) AS to_ts, arg_max(state, seen_at) AS state
        FROM calc.gap_events WHERE source = {literal(source)} AND coalesce(kind, 'minutes') = 'minutes' GROUP BY ALL
        HAVING arg_max(state, seen_at) IN ('lost', 'no_trade')""",
    )
    return pl.concat([imported.select(*SPAN).with_columns(state=pl.lit("no_trade")), settled])


def quiet_of(source: str) -> Quiet:
    """How the source's answers tell a minute without a trade; an imported file's are whatever they are: shown."""
    quiet: Quiet = getattr(factory(source), "quiet", "shown")
    return quiet
