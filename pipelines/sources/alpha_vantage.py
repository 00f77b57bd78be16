"""Alpha Vantage: one-minute bars of US shares, with a key; 25 requests a day on the free plan.

    {"Meta Data": {"1. Information": "...", "6. Time Zone": "US/Eastern"},
     "Time Series (1min)": {"2024-11-01 19:59:00": {"1. open": "222.9", "2. high": "223.0", "3. low": "222.8",
                            local time of the open, newest first
                            "4. close": "222.9", "5. volume": "4091"}}}

A spent quota, a wrong key and an unknown symbol all come as HTTP 200 with a `Note`, an `Information` or an
`Error Message`. Compact answers hold the newest 100 bars, full ones a whole month.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from pipelines.market import MINUTE, utc
from pipelines.sources.base import BarRequest, Reply
from pipelines.sources.candles import Candle
from pipelines.sources.keyed import NEW_YORK, KeyedVenue, local_ms
from pipelines.sources.venue import Call

COMPACT = 95 * MINUTE
"""Within reach of the newest 100 bars, with a margin for the way there."""


class AlphaVantage(KeyedVenue):
    """US shares by their tickers, such as `IBM`."""

    name = "alpha_vantage"
    host = "https://www.alphavantage.co"
    longest = timedelta(days=31)
    weight_limit = 5
    error_keys = ("Error Message", "Note", "Information")

    def clock_call(self) -> Call:
        return Call("*", "/query", {})

    def call(self, request: BarRequest) -> Call:
        params = {
            "function": "TIME_SERIES_INTRADAY",
            "symbol": request.symbol,
            "interval": "1min",
            "adjusted": "false",
            "extended_hours": "false",
        }
        if utc(self.clock()) - request.since < COMPACT:
            return Call(request.symbol, "/query", params | {"outputsize": "compact"})
        month = f"{request.since.astimezone(NEW_YORK):%Y-%m}"
        return Call(request.symbol, "/query", params | {"outputsize": "full", "month": month})

    def end_of_page(self, start: datetime) -> datetime:
        """The end of New York's month: one answer holds one month."""
        local = start.astimezone(NEW_YORK)
        following = (local.replace(day=1) + timedelta(days=32)).replace(day=1, hour=0, minute=0)
        return utc(following)

    def rows(self, reply: Reply, body: Any) -> Iterable[Any]:
        """(local time, zone, values) of each bar."""
        zone = ZoneInfo(body["Meta Data"]["6. Time Zone"])
        return [(at, zone, values) for at, values in body["Time Series (1min)"].items()]

    def candle(self, row: Any) -> Candle:
        at, zone, values = row
        names = ("1. open", "2. high", "3. low", "4. close", "5. volume")
        return Candle(local_ms(at, zone), *(values[name] for name in names))

    def key_params(self, key: str) -> dict[str, str]:
        return {"apikey": key} if key else {}
