"""Bars out of trades, for minutes whose klines did not come."""

from __future__ import annotations

from datetime import UTC, datetime

import polars as pl

from pipelines import landing
from pipelines.continuity import Continuity
from pipelines.ingest import Stores
from pipelines.market import MINUTE, naive
from pipelines.quality.quarantine import QUARANTINE_SCHEMA
from warehouse.load import Batch, Delivery
from warehouse.trades import trade_minutes

OWN = "-minutes"
"""How the id of a batch ends whose bars were made of trades."""


def minutes_of_trades(
    stores: Stores, source: str, state: Continuity, since: datetime, until: datetime
) -> Delivery | None:
    """Bars of [since, until) (naive UTC) out of trades, where the venue's own have not come; None if there are none.

    Only of minutes whose trades are all known; they are of origin `stream`, and a kline that comes later corrects
    them as it corrects any bar. What another venue lent for such a minute gives way to the venue's own trades.
    """
    bars = trade_minutes(stores.con, source, since, until, OWN)
    whole = [bars.filter(_is_whole(state, symbol)) for symbol in bars["symbol"].unique(maintain_order=True)]
    kept = pl.concat(whole) if whole else bars
    if kept.is_empty():
        return None
    known_at = naive(datetime.now(UTC))
    batch_id = landing.batch_id(source, "stream", until, f"{known_at:%S%f}{OWN}")
    batch = Batch(batch_id, source, "stream", stores.run_id, known_at, rows_in=kept.height)
    # A venue's own sums have eight decimals: with them a minute that comes by REST as well is no correction.
    exact = kept.with_columns(pl.col("volume", "turnover").round(8))
    return Delivery(batch, exact, pl.DataFrame(schema=QUARANTINE_SCHEMA))


def _is_whole(state: Continuity, symbol: str) -> pl.Expr:
    """Rows of the symbol whose minute lies in what is known, and in no hole."""
    span = state.whole_minutes(symbol)
    if span is None:
        return pl.lit(False)
    known = (pl.col("symbol") == symbol) & (pl.col("ts") >= span[0]) & (pl.col("ts") < span[1])
    for hole in state.holes:
        if hole.symbol == symbol:
            known &= (pl.col("ts") > hole.before) | (pl.col("ts") + MINUTE <= hole.after)
    return known
