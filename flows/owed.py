"""The configured history of series that nobody has asked for yet: added to a running platform, or its venue was away.

`flows.first` asks for it before the first minute; what that left out is loaded here, a part at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import duckdb

from flows import history
from flows.brought import Brought
from flows.chunks import plan_chunks
from flows.context import Context
from flows.history_turn import is_history_turn_taken
from pipelines.ingest import Feed
from pipelines.market import utc
from warehouse.clocks import answers
from warehouse.stage import literal

CHUNKS_AT_ONCE = 5
"""Of one source in one run of `heal`; the next run goes on."""
ANSWERS = timedelta(minutes=15)
"""A source that has not told its time for so long is not asked."""
IN_VAIN = timedelta(hours=1)
"""How long a series is left alone of which a part was not answered."""
SLACK = timedelta(minutes=5)
"""A clock is read to the minute, and two readings may lie a little apart."""


def load_owed(con: duckdb.DuckDBPyConnection, context: Context, run_id: str, now: datetime) -> list[Brought]:
    """Loads and derives a part of what `owed` tells, source after source; nothing while others load history.

    now: wall clock, naive UTC.
    """
    brought = []
    for source, (start, symbols) in owed(con, context, now).items():
        if not is_history_turn_taken(context):
            brought.append(
                history.backfill(con, context, run_id, start, None, source, symbols, most=CHUNKS_AT_ONCE)
            )
    return brought


def owed(
    con: duckdb.DuckDBPyConnection, context: Context, now: datetime
) -> dict[str, tuple[datetime, list[str]]]:
    """Source -> the time (aware UTC) that its history is configured to begin at, and the symbols never asked back to it.

    A series whose history was answered once as far back as that, or as its venue keeps it, is owed nothing.
    """
    clocks, found = answers(con), {}
    reaches = {source.name: source.history for source in context.settings.sources}
    for feed in context.feeds(for_history=True):
        name = feed.source.name
        if name not in clocks or not reaches[name]:
            continue
        clock, seen = clocks[name]
        if now - seen > ANSWERS:
            continue
        start, until = utc(clock) - reaches[name], utc(clock)
        oldest = _oldest_answered(con, name)
        in_vain = _in_vain(con, name, now - IN_VAIN)
        unasked = [
            symbol
            for symbol in feed.symbols
            if symbol not in in_vain
            and (pages := feed.source.plan(symbol, start, until, until))
            and (symbol not in oldest or pages[0].since < oldest[symbol] - SLACK)
        ]
        traded = _traded(con, feed, unasked, start, until)
        symbols = [symbol for symbol in unasked if symbol in traded]
        if symbols:
            found[name] = (start, symbols)
    return found


def _traded(
    con: duckdb.DuckDBPyConnection, feed: Feed, symbols: Sequence[str], start: datetime, until: datetime
) -> set[str]:
    """Those of the symbols of which there is anything to ask for: of a short reach over a weekend there is not."""
    found: set[str] = set()
    for calendar in {feed.calendar_of(symbol) for symbol in symbols}:
        alike = [symbol for symbol in symbols if feed.calendar_of(symbol) == calendar]
        chunks, _ = plan_chunks(con, feed, alike, start, until, until, calendar)
        found |= {symbol for chunk in chunks for symbol in chunk.symbols}
    return found


def _oldest_answered(con: duckdb.DuckDBPyConnection, source: str) -> dict[str, datetime]:
    rows = con.execute(
        f"SELECT symbol, min(from_ts) FROM core.asked WHERE source = {literal(source)} "
        "AND kind = 'backfill' AND answered GROUP BY symbol"
    ).fetchall()
    return {symbol: utc(since) for symbol, since in rows}


def _in_vain(con: duckdb.DuckDBPyConnection, source: str, since: datetime) -> set[str]:
    rows = con.execute(
        f"SELECT DISTINCT symbol FROM core.asked WHERE source = {literal(source)} "
        f"AND kind = 'backfill' AND NOT answered AND asked_at > {literal(since)}"
    ).fetchall()
    return {symbol for (symbol,) in rows}
