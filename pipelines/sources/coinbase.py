"""Coinbase Exchange: one-minute candles of its spot products, without keys.

    [[1714570200, 60000.1, 60010.0, 60005.0, 60008.3, 1.25], ...]
      time s      LOW      HIGH     OPEN     CLOSE    base volume     newest first, at most 300

A minute without a trade is absent. The Advanced Trade host sends the same as
`{"candles": [{"start": "1714570200", "low": ..., "volume": ...}]}`; both are read.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any
from urllib.parse import quote

import orjson

from pipelines.market import MINUTE, from_epoch_ms
from pipelines.sources.base import BarRequest, Reply, SourceError
from pipelines.sources.candles import Candle, CandleVenue
from pipelines.sources.venue import Call

PAGE = 300


class Coinbase(CandleVenue):
    """Spot products by Coinbase's names, such as `BTC-USDT`."""

    name = "coinbase"
    host = "https://api.exchange.coinbase.com"
    longest = PAGE * MINUTE
    weight_limit = 600

    def server_time(self) -> datetime:
        reply = self.clock_client.get(self.clock_call())
        try:
            return from_epoch_ms(round(float(orjson.loads(reply.body)["epoch"]) * 1000))
        except (ValueError, KeyError, TypeError) as error:
            raise SourceError(f"coinbase /time: HTTP {reply.status} {reply.text[:200]}") from error

    def clock_call(self) -> Call:
        return Call("*", "/time", {})

    def call(self, request: BarRequest) -> Call:
        """Coinbase counts both ends in."""
        params = {
            "granularity": "60",
            "start": request.since.isoformat(),
            "end": (request.until - MINUTE).isoformat(),
        }
        return Call(request.symbol, f"/products/{quote(request.symbol, safe='')}/candles", params)

    def rows(self, reply: Reply, body: Any) -> Iterable[Any]:
        listed = body["candles"] if isinstance(body, dict) else body
        if not isinstance(listed, list):
            raise TypeError(f"expected an array of candles, not {type(listed).__name__}")
        return listed

    def candle(self, row: Any) -> Candle:
        names = ("start", "low", "high", "open", "close", "volume")
        at, low, high, opened, close, volume = (row[n] for n in names) if isinstance(row, dict) else row
        return Candle(int(at) * 1000, opened, high, low, close, volume)

    def words(self, body: Any) -> tuple[str, bool]:
        return body["message"], body["message"] == "NotFound"
