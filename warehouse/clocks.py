"""The market's clocks: each source's own time, which decides what is late, stale or past its retention."""

from __future__ import annotations

from datetime import datetime

import duckdb


def market_clocks(con: duckdb.DuckDBPyConnection) -> dict[str, datetime]:
    """Source -> its own time (naive UTC) when it last answered; a source that nobody polls has none."""
    return dict(
        con.execute("""
            SELECT source, arg_max(clock, seen_at) FROM (
                SELECT source, until_ts AS clock, seen_at FROM core.progress
                UNION ALL
                SELECT source, market_now, seen_at FROM core.source_states WHERE market_now IS NOT NULL
            ) WHERE clock < TIMESTAMP '9000-01-01' GROUP BY source""").fetchall()
    )
