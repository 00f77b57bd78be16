"""The ledger of gaps for holes in the ids of trades: events written, rows that wait for healing read."""

from __future__ import annotations

import duckdb
import polars as pl

from warehouse.connect import Location, transaction
from warehouse.stage import frame, literal, stage

TRADE_GAP_SCHEMA = pl.Schema(
    {
        "source": pl.String(), "symbol": pl.String(), "from_ts": pl.Datetime("us"), "to_ts": pl.Datetime("us"),
        "minutes": pl.Int64(), "state": pl.String(), "origin": pl.String(), "reason": pl.String(),
        "seen_at": pl.Datetime("us"), "run_id": pl.String(), "kind": pl.String(),
        "first_id": pl.Int64(), "last_id": pl.Int64(), "trades": pl.Int64(),
    }
)  # fmt: skip
"""Columns of `calc.gap_events`."""


def write_gap_events(con: duckdb.DuckDBPyConnection, location: Location, events: pl.DataFrame) -> None:
    """Adds the events (TRADE_GAP_SCHEMA) in a transaction of their own; nothing to add writes nothing."""
    if events.is_empty():
        return
    stage(con, "new_trade_gaps", events)
    with transaction(con, location):
        con.execute("INSERT INTO calc.gap_events BY NAME SELECT * FROM new_trade_gaps")


def open_trade_gaps(con: duckdb.DuckDBPyConnection, source: str) -> pl.DataFrame:
    """symbol, from_ts, to_ts, first_id, last_id, trades of the source's holes that are not settled."""
    return frame(
        con,
        "SELECT symbol, from_ts, to_ts, first_id, last_id, trades FROM gaps "
        f"WHERE source = {literal(source)} AND kind = 'trades' AND state IN ('open', 'healing') ORDER BY ALL",
    )
