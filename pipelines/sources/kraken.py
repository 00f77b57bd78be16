"""Kraken: one-minute candles of its spot pairs, without keys; the newest twelve hours and no more.

    {"error": [], "result": {"XXBTZUSD": [[1762777020, "106038.2", "106038.2", "106038.2", "106038.2",
                                           time s      open        high        low         close
      "106038.2", "0.00032101", 1], ...], "last": 1762776960}}
      vwap        volume        trades

Whatever is asked for, the answer holds the newest 720 minutes, quiet ones as flat rows of volume 0, the
running one last. Errors come as HTTP 200: `{"error": ["EGeneral:Too many requests"]}`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import orjson

from pipelines.market import MINUTE, epoch_ms, from_epoch_ms
from pipelines.sources.base import BarRequest, Quiet, Reply, SourceError
from pipelines.sources.candles import Candle, CandleVenue, worth
from pipelines.sources.venue import Call

KEPT = 719 * MINUTE
"""The newest 720 minutes without the one that is running."""
STATUS = {
    "EGeneral:Too many requests": 429,
    "EAPI:Rate limit exceeded": 429,
    "EService:Unavailable": 503,
    "EService:Busy": 503,
    "EService:Timeout": 503,
    "EGeneral:Temporary lockout": 429,
    "EQuery:Unknown asset pair": 404,
}
"""What the words that come with HTTP 200 mean; all others are a bad request."""


class Kraken(CandleVenue):
    """Spot pairs by Kraken's short names, such as `XBTUSDT`."""

    name = "kraken"
    host = "https://api.kraken.com"
    quiet: Quiet = "shown"
    longest = timedelta(minutes=720)
    connections = 2
    weight_limit = 60

    def server_time(self) -> datetime:
        reply = self.clock_client.get(self.clock_call())
        try:
            return from_epoch_ms(int(orjson.loads(reply.body)["result"]["unixtime"]) * 1000)
        except (ValueError, KeyError, TypeError) as error:
            raise SourceError(f"kraken Time: HTTP {reply.status} {reply.text[:200]}") from error

    def clock_call(self) -> Call:
        return Call("*", "/0/public/Time", {})

    def call(self, request: BarRequest) -> Call:
        """`since` is the time of the last row one has."""
        before = epoch_ms(request.since) // 1000 - 60
        return Call(
            request.symbol,
            "/0/public/OHLC",
            {"pair": request.symbol, "interval": "1", "since": str(max(before, 0))},
        )

    def rows(self, reply: Reply, body: Any) -> Iterable[Any]:
        """The one list in the result, under whichever of its names Kraken chose."""
        [listed] = [value for name, value in body["result"].items() if name != "last"]
        if not isinstance(listed, list):
            raise TypeError(f"expected an array of candles, not {type(listed).__name__}")
        return listed

    def candle(self, row: Any) -> Candle:
        at, opened, high, low, close, vwap, volume, trades = row
        return Candle(int(at) * 1000, opened, high, low, close, volume, worth(vwap, volume), trades)

    def words(self, body: Any) -> tuple[str, bool]:
        said = "; ".join(body["error"])
        return said, said == "EQuery:Unknown asset pair"

    def meaning(self, reply: Reply) -> Reply:
        if reply.status != 200 or b'"result"' in reply.body:
            return reply
        try:
            said = str(orjson.loads(reply.body)["error"][0])
        except (ValueError, KeyError, TypeError, IndexError):
            return reply
        return replace(reply, status=STATUS.get(said, 400))

    def oldest(self, now: datetime) -> datetime:
        return now.replace(second=0, microsecond=0) - KEPT
