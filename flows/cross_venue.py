"""The same minute at two venues, held against each other: whoever stands in must not be somewhere else."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

import duckdb
import polars as pl

from flows.context import Context
from pipelines.quality.tables import Check, venues_agree
from pipelines.sources.pairs import translate
from warehouse.stage import frame, literal, literals

SPAN = timedelta(days=1)


def check_venues(
    context: Context, con: duckdb.DuckDBPyConnection, clocks: dict[str, datetime]
) -> Iterator[Check]:
    """One check for each source and venue that have minutes in common within the last day; none where they have none.

    clocks: source -> its own time, naive UTC. Minutes in common are those that a standby brought before the source
    did, and those of the same instrument at another configured source.
    """
    for source in context.settings.sources:
        if source.name not in clocks:
            continue
        since = clocks[source.name] - SPAN
        both = pl.concat(
            [_replaced(con, source.name, since), *_side_by_side(context, con, source.name, since)]
        )
        for (venue,), rows in both.group_by("venue", maintain_order=True):
            yield venues_agree(source.name, str(venue), rows["apart_bps"])


def _replaced(con: duckdb.DuckDBPyConnection, source: str, since: datetime) -> pl.DataFrame:
    """venue, apart_bps of minutes that another venue brought first."""
    return frame(
        con,
        f"""
        SELECT r.venue, abs(r.close / b.close - 1) * 1e4 AS apart_bps
        FROM core.bar_revisions AS r JOIN core.bars AS b USING (source, symbol, ts)
        WHERE source = {literal(source)} AND ts >= {literal(since)} AND r.venue <> source AND b.venue = source
        ORDER BY r.venue""",
    )


def _side_by_side(
    context: Context, con: duckdb.DuckDBPyConnection, source: str, since: datetime
) -> Iterator[pl.DataFrame]:
    """venue, apart_bps of the same instruments at each other configured source that comes later in the file."""
    names = [one.name for one in context.settings.sources]
    mine = next(one for one in context.settings.sources if one.name == source)
    for other in context.settings.sources[names.index(source) + 1 :]:
        theirs = {symbol: translate(symbol, source, other.name) for symbol in mine.symbols}
        pairs = [(here, there) for here, there in theirs.items() if there in other.symbols]
        if pairs:
            yield frame(
                con,
                f"""
                SELECT o.source AS venue, abs(o.close / b.close - 1) * 1e4 AS apart_bps
                FROM core.bars AS b JOIN (VALUES {", ".join(map(literals, pairs))}) AS p(here, there) ON b.symbol = p.here
                JOIN core.bars AS o ON o.ts = b.ts AND o.symbol = p.there AND o.source = {literal(other.name)}
                WHERE b.source = {literal(source)} AND b.ts >= {literal(since)} AND o.ts >= {literal(since)}
                  AND b.venue = b.source AND o.venue = o.source""",
            )
