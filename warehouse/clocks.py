"""The market's clocks: each source's own time, which decides what is late, stale or past its retention."""

from __future__ import annotations

from datetime import datetime

import duckdb

from warehouse.stage import literals


def market_clocks(con: duckdb.DuckDBPyConnection) -> dict[str, datetime]:
    """Source -> its own time (naive UTC) when it last answered; a source that nobody polls has none."""
    return {source: clock for source, (clock, _) in answers(con).items()}


def answers(con: duckdb.DuckDBPyConnection) -> dict[str, tuple[datetime, datetime]]:
    """Source -> its own time and ours (naive UTC) when it last answered."""
    found = con.execute("""
        SELECT source, arg_max(clock, seen_at), max(seen_at) FROM (
            SELECT source, until_ts AS clock, seen_at FROM core.progress
            UNION ALL
            SELECT source, market_now, seen_at FROM core.source_states WHERE market_now IS NOT NULL
        ) WHERE clock < TIMESTAMP '9000-01-01' GROUP BY source""").fetchall()
    return {source: (clock, seen) for source, clock, seen in found}


def newest_loaded(con: duckdb.DuckDBPyConnection) -> dict[str, datetime]:
    """Source -> open time of the newest bar (or trade) that was loaded, from the ledger: no bar is read for it.

    Only a source whose batches the ledger has forgotten is looked up among its bars.
    """
    newest: dict[str, datetime] = dict(
        con.execute(
            "SELECT source, max(to_ts) FROM core.ledger WHERE rows_loaded > 0 GROUP BY source"
        ).fetchall()
    )
    known = {source for (source,) in con.execute("SELECT DISTINCT source FROM core.series").fetchall()}
    forgotten = [source for source in known if newest.get(source) is None]
    if forgotten:
        newest |= dict(
            con.execute(
                f"SELECT source, max(ts) FROM core.bars WHERE source IN {literals(forgotten)} GROUP BY source"
            ).fetchall()
        )
    return {source: ts for source, ts in newest.items() if ts is not None}
