"""Replies, messages and a scripted network for the tests of the sources."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import orjson

from pipelines.sources.base import Reply

OPEN = datetime(2024, 5, 1, 13, 30, tzinfo=UTC)
"""The minute the tests' first bar opens; New York's bell."""
OPEN_S = int(OPEN.timestamp())
OPEN_MS = OPEN_S * 1000
LATER = datetime(2024, 5, 2, tzinfo=UTC)


def minute(n: int) -> datetime:
    """The nth minute as frames hold it."""
    return OPEN.replace(tzinfo=None) + timedelta(minutes=n)


def kline(n: int = 0, close: str = "101.50000000", volume: str = "12.00000000") -> list[Any]:
    opened = OPEN_MS + n * 60_000
    prices = ["101.00000000", "102.00000000", "100.00000000", close]
    return [opened, *prices, volume, opened + 59_999, "1218.00000000", 7, "6.0", "609.0", "0"]


def reply(
    body: bytes | Any,
    symbol: str = "BTCUSDT",
    source: str = "binance",
    status: int = 200,
    path: str = "/api/v3/klines",
    params: Mapping[str, str] | None = None,
    retry_after_s: float | None = None,
) -> Reply:
    content = body if isinstance(body, bytes) else orjson.dumps(body)
    return Reply(
        source, symbol, path, params or {}, status, content, OPEN, 12.5, OPEN, retry_after_s=retry_after_s
    )


def chart(
    rows: list[tuple[int, Any, Any]],
    sessions: Any = ((OPEN_S, OPEN_S + 390 * 60),),
    **meta: Any,
) -> dict[str, Any]:
    """A Yahoo chart of (second after the open, price for all four, volume)."""
    price = [row[1] for row in rows]
    periods = [[{"start": start, "end": end}] for start, end in sessions] if sessions else None
    quote = {name: price.copy() for name in ("open", "high", "low", "close")}
    quote["volume"] = [row[2] for row in rows]
    result = {
        "meta": {"symbol": "AAPL", "dataGranularity": "1m", "tradingPeriods": periods, **meta},
        "timestamp": [OPEN_S + row[0] for row in rows],
        "indicators": {"quote": [quote]},
    }
    return {"chart": {"result": [result], "error": None}}


def yahoo_error(code: str, description: str) -> dict[str, Any]:
    return {"chart": {"result": None, "error": {"code": code, "description": description}}}


class Network:
    """Stands in for the venue: answers with `answer(request, how many came before)` and counts."""

    def __init__(self, answer: Callable[[httpx.Request, int], httpx.Response], delay_s: float = 0.0) -> None:
        self.answer = answer
        self.delay_s = delay_s
        self.requests: list[httpx.Request] = []
        self.under_way = 0
        self.most_at_once = 0

    @property
    def transport(self) -> httpx.MockTransport:
        return httpx.MockTransport(self._handle)

    async def _handle(self, request: httpx.Request) -> httpx.Response:
        before = len(self.requests)
        self.requests.append(request)
        self.under_way += 1
        self.most_at_once = max(self.most_at_once, self.under_way)
        try:
            await asyncio.sleep(self.delay_s)
            return self.answer(request, before)
        finally:
            self.under_way -= 1


class Clock:
    """A clock that moves when told."""

    def __init__(self, now: datetime = OPEN) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
