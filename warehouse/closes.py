"""Final closes and volumes of many series at once, for statistics that look at them together."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import duckdb
import polars as pl

from warehouse.stage import frame, literal

SCHEMA = {
    "source": pl.String(), "symbol": pl.String(), "ts": pl.Datetime("us"), "close": pl.Float64(), "volume": pl.Float64(),
}  # fmt: skip


def closes(con: duckdb.DuckDBPyConnection, interval: str, since: Mapping[str, datetime]) -> pl.DataFrame:
    """source, symbol, ts, close, volume of the complete bars of one interval, oldest first.

    since: source -> first bar's time (naive UTC); other sources are left out.
    """
    if not since:
        return pl.DataFrame(schema=SCHEMA)
    view, complete = (
        ("bars", "true") if interval == "1m" else ("ohlcv", f"interval = {literal(interval)} AND is_complete")
    )
    wanted = " OR ".join(f"(source = {literal(name)} AND ts >= {literal(ts)})" for name, ts in since.items())
    # The bound on `ts` alone is what lets DuckLake skip the days before.
    found = frame(
        con,
        f"SELECT source, symbol, ts, close, volume FROM {view} "
        f"WHERE {complete} AND ts >= {literal(min(since.values()))} AND ({wanted}) ORDER BY source, symbol, ts",
    )
    return found.cast(dict(SCHEMA))  # type: ignore[arg-type]
