"""Finage: one-minute aggregates of US shares, with a key.

    {"symbol": "AAPL", "totalResults": 2,
     "results": [{"o": 170.1, "h": 170.5, "l": 170.0, "c": 170.2, "v": 1200, "t": 1714570200000}]}
                                                                     time ms of the open
A minute without a trade is absent. A refusal is `{"error": "..."}`.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any
from urllib.parse import quote

from pipelines.market import MINUTE
from pipelines.sources.base import BarRequest, Reply
from pipelines.sources.candles import Candle
from pipelines.sources.keyed import KeyedVenue
from pipelines.sources.venue import Call

MOST = 50_000


class Finage(KeyedVenue):
    """US shares by their tickers, such as `AAPL`."""

    name = "finage"
    host = "https://api.finage.co.uk"
    longest = timedelta(days=7)
    weight_limit = 100
    error_keys = ("error", "message")

    def clock_call(self) -> Call:
        return Call("*", "/agg/stock", {})

    def call(self, request: BarRequest) -> Call:
        """By UTC days, both included."""
        span = f"{request.since:%Y-%m-%d}/{request.until - MINUTE:%Y-%m-%d}"
        path = f"/agg/stock/{quote(request.symbol, safe='')}/1/minute/{span}"
        return Call(request.symbol, path, {"limit": str(MOST), "sort": "asc"})

    def rows(self, reply: Reply, body: Any) -> Iterable[Any]:
        return body["results"] if body["totalResults"] else []

    def candle(self, row: Any) -> Candle:
        return Candle(row["t"], row["o"], row["h"], row["l"], row["c"], row["v"])

    def key_params(self, key: str) -> dict[str, str]:
        return {"apikey": key} if key else {}
