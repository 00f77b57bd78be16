"""A source as somebody else would write it: one venue, one class, one line in their pyproject.toml.

[project.entry-points."tapewatch.sources"]
corner_shop = "corner_shop:CornerShop"
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from pipelines.market import epoch_ms
from pipelines.sources.base import BarRequest, Reply
from pipelines.sources.candles import Candle, CandleVenue
from pipelines.sources.venue import Call


class CornerShop(CandleVenue):
    """Minutes of a shop that sends `{"bars": [[second, open, high, low, close, volume], ...]}`."""

    name = "corner_shop"
    host = "https://bars.example"
    longest = timedelta(days=1)
    weight_limit = 100

    def clock_call(self) -> Call:
        return Call("*", "/now", {})

    def call(self, request: BarRequest) -> Call:
        params = {"from": str(epoch_ms(request.since) // 1000), "to": str(epoch_ms(request.until) // 1000)}
        return Call(request.symbol, f"/bars/{request.symbol}", params)

    def rows(self, reply: Reply, body: Any) -> Iterable[Any]:
        return body["bars"]

    def candle(self, row: Any) -> Candle:
        second, *values = row
        return Candle(second * 1000, *values)
