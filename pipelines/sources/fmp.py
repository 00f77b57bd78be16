"""Financial Modeling Prep: one-minute bars of shares, with a key; a few days an answer.

    [{"date": "2025-02-04 15:59:00", "open": 232.8, "low": 232.7, "high": 232.9, "close": 232.8, "volume": 4091}]
      New York's time of the open, newest first

A refusal is `{"Error Message": "..."}`.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from pipelines.market import MINUTE
from pipelines.sources.base import BarRequest, Reply
from pipelines.sources.candles import Candle
from pipelines.sources.keyed import NEW_YORK, KeyedVenue, local_ms
from pipelines.sources.venue import Call


class Fmp(KeyedVenue):
    """Shares by their tickers, such as `AAPL`."""

    name = "fmp"
    host = "https://financialmodelingprep.com"
    longest = timedelta(days=3)
    weight_limit = 300
    error_keys = ("Error Message", "error", "message")

    def clock_call(self) -> Call:
        return Call("*", "/stable/historical-chart/1min", {})

    def call(self, request: BarRequest) -> Call:
        """By New York's days, both included."""
        first, last = request.since.astimezone(NEW_YORK), (request.until - MINUTE).astimezone(NEW_YORK)
        params = {"symbol": request.symbol, "from": f"{first:%Y-%m-%d}", "to": f"{last:%Y-%m-%d}"}
        return Call(request.symbol, "/stable/historical-chart/1min", params)

    def rows(self, reply: Reply, body: Any) -> Iterable[Any]:
        if not isinstance(body, list):
            raise TypeError(f"expected an array of bars, not {type(body).__name__}")
        return body

    def candle(self, row: Any) -> Candle:
        values = (row[name] for name in ("open", "high", "low", "close", "volume"))
        return Candle(local_ms(row["date"]), *values)

    def key_params(self, key: str) -> dict[str, str]:
        return {"apikey": key} if key else {}
