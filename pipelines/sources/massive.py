"""Massive (Polygon until October 2025): one-minute aggregates of US shares, with a key.

    {"ticker": "AAPL", "resultsCount": 2, "status": "OK", "next_url": "https://...?cursor=...",
     "results": [{"t": 1714570200000, "o": 170.1, "h": 170.5, "l": 170.0, "c": 170.2, "v": 1200,
                  window start ms
                  "vw": 170.21, "n": 35}]}
                  mean price    trades

A minute without a trade is absent. `next_url` leads to the next page and lacks the key.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

import orjson

from pipelines.market import epoch_ms
from pipelines.sources.base import BarRequest, Reply
from pipelines.sources.candles import Candle, worth
from pipelines.sources.keyed import KeyedVenue
from pipelines.sources.venue import Call

MOST = 50_000


class Massive(KeyedVenue):
    """US shares by their tickers, such as `AAPL`."""

    name = "massive"
    host = "https://api.massive.com"
    longest = timedelta(days=30)
    weight_limit = 5
    error_keys = ("error", "message")

    def clock_call(self) -> Call:
        return Call("*", "/v1/marketstatus/now", {})

    def call(self, request: BarRequest) -> Call:
        """Both ends count in; prices as they were traded, like the other sources' minutes of today."""
        span = f"{epoch_ms(request.since)}/{epoch_ms(request.until) - 1}"
        path = f"/v2/aggs/ticker/{quote(request.symbol, safe='')}/range/1/minute/{span}"
        return Call(request.symbol, path, {"adjusted": "false", "sort": "asc", "limit": str(MOST)})

    def following(self, reply: Reply) -> Call | None:
        """The page of `next_url`, asked of our own host: the key goes nowhere else."""
        try:
            url = urlsplit(orjson.loads(reply.body)["next_url"])
        except (ValueError, KeyError, TypeError):
            return None
        return Call(reply.symbol, url.path, dict(parse_qsl(url.query)), since=reply.since, until=reply.until)

    def rows(self, reply: Reply, body: Any) -> Iterable[Any]:
        """None at all where nothing was traded: the answer has no `results` then."""
        return body["results"] if body["resultsCount"] else []

    def candle(self, row: Any) -> Candle:
        volume, mean = row["v"], row.get("vw")
        return Candle(
            row["t"], row["o"], row["h"], row["l"], row["c"], volume, worth(mean, volume), row.get("n")
        )

    def key_headers(self, key: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {key}"} if key else {}
