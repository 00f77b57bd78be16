"""Bars and trades to load; imports little, because loaders that are killed import it again and again."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl

from pipelines.market import BAR_SCHEMA, TRADE_SCHEMA
from pipelines.quality.quarantine import QUARANTINE_SCHEMA

NOON = datetime(2026, 3, 10, 12)
MINUTE = timedelta(minutes=1)
NOTHING = pl.DataFrame(schema=QUARANTINE_SCHEMA)
CALENDARS = {"binance": "24/7", "yahoo": "XNYS"}


def bars(
    symbol: str = "BTCUSDT",
    start: datetime = NOON,
    count: int = 3,
    close: float | np.ndarray = 100.0,
    source: str = "binance",
    **changes: Any,
) -> pl.DataFrame:
    """Closed one-minute bars from `start` on, one a minute, that go nowhere unless `close` says so."""
    price = np.full(count, close, dtype=float) if np.isscalar(close) else np.asarray(close, dtype=float)
    columns = {
        "source": source, "symbol": symbol, "ts": [start + MINUTE * i for i in range(count)],
        "open": price, "high": price * 1.001, "low": price * 0.999, "close": price, "volume": 10.0,
        "turnover": price * 10.0, "trades": 5, "venue": source, "is_closed": True,
    }  # fmt: skip
    return pl.DataFrame(columns | changes).select(
        pl.col(name).cast(kind) for name, kind in BAR_SCHEMA.items()
    )


def trades(
    symbol: str = "BTCUSDT", start: datetime = NOON, count: int = 3, first_id: int = 1
) -> pl.DataFrame:
    """Trades a second apart."""
    columns = {
        "source": "binance", "symbol": symbol, "trade_id": range(first_id, first_id + count),
        "ts": [start + timedelta(seconds=i) for i in range(count)],
        "price": 100.0, "qty": 1.0, "side": "buy", "fills": 1,
    }  # fmt: skip
    return pl.DataFrame(columns).select(pl.col(name).cast(kind) for name, kind in TRADE_SCHEMA.items())
