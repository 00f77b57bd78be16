"""Spreads of prices that have been corrected: they go in the transaction of the correction, the next fit makes them anew."""

from __future__ import annotations

from datetime import datetime

import duckdb

from warehouse.stage import literal, scalar


def drop_spreads(con: duckdb.DuckDBPyConnection, first: datetime, last: datetime) -> None:
    """Inside a transaction, before `changed_bars` (source, symbol, ts, close in [first, last]) take the place of theirs:
    deletes from `pair_series` what has seen a close that changes.

    That is each pair's row of the first such minute and all behind it: z and correlation look back over many bars, and a
    later beta over all. A bar before a pair's first row has no say in its rows.
    """
    span = f"t.ts BETWEEN {literal(first)} AND {literal(last)}"
    con.execute(
        "CREATE OR REPLACE TEMP TABLE moved_closes AS SELECT s.source, s.symbol, s.ts FROM core.bars AS t "
        f"JOIN changed_bars AS s USING (source, symbol, ts) WHERE {span} AND t.close IS DISTINCT FROM s.close"
    )
    if not scalar(con, "SELECT count(*) FROM moved_closes"):
        return
    # A row of that minute was written by a fit of it or of a later one.
    con.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE stale_spreads AS
        SELECT p.pair, p.interval, min(p.ts) AS since FROM calc.pair_series AS p
        JOIN (
            SELECT DISTINCT pair, interval, unnest([source_y, source_x]) AS source, unnest([symbol_y, symbol_x]) AS symbol
            FROM calc.pair_stats WHERE fitted_at > {literal(first)} - INTERVAL 1 DAY
        ) AS leg USING (pair, interval)
        JOIN moved_closes AS m ON m.source = leg.source AND m.symbol = leg.symbol
         AND m.ts >= p.ts AND m.ts < p.ts + p.interval::INTERVAL
        WHERE p.ts > {literal(first)} - INTERVAL 1 DAY
        GROUP BY ALL"""
    )
    if scalar(con, "SELECT count(*) FROM stale_spreads"):
        con.execute(
            "DELETE FROM calc.pair_series AS p USING stale_spreads AS s "
            "WHERE p.pair = s.pair AND p.interval = s.interval AND p.ts >= s.since "
            f"AND p.ts > {literal(first)} - INTERVAL 1 DAY"
        )
