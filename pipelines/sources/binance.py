"""Binance spot: one-minute klines and aggregated trades from the key-less market-data host."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from difflib import get_close_matches
from typing import Any

import httpx
import orjson

from pipelines.market import CONTINUOUS, MINUTE, epoch_ms, from_epoch_ms, utc
from pipelines.sources.agg_trades import ParsedTrades, agg_trades_to_frame
from pipelines.sources.base import (
    BarRequest,
    Clock,
    FetchResult,
    Parsed,
    Quiet,
    Reply,
    SourceError,
    SourceOptions,
    utc_now,
)
from pipelines.sources.client import VenueClient
from pipelines.sources.klines import binance_refusal, klines_to_bars
from pipelines.sources.reading import Rejects
from pipelines.sources.refusals import error_of
from pipelines.sources.venue import Call, Venue

HOST = "https://data-api.binance.vision"
KLINES, AGG_TRADES = "/api/v3/klines", "/api/v3/aggTrades"
KLINES_WEIGHT, AGG_TRADES_WEIGHT, INFO_WEIGHT = 2, 4, 20
PAGE = 1000
"""Most klines or trades of one reply."""


class Binance:
    """One-minute klines for spot symbols such as `BTCUSDT`; no keys needed."""

    name = "binance"
    calendar = CONTINUOUS
    quiet: Quiet = "shown"
    host = HOST
    prefix = "/api/v3"
    page = PAGE
    weight_limit = 6000
    info_weight = INFO_WEIGHT

    def __init__(
        self,
        options: SourceOptions | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        clock: Clock = utc_now,
    ) -> None:
        options = options or SourceOptions()
        host = (options.base_url or self.host).rstrip("/")
        venue = Venue(self.name, (host,), connections=10, weight_limit=self.weight_limit)
        self.client = VenueClient(venue, options, transport, clock)

    def server_time(self) -> datetime:
        """The exchange's clock as the reply was written, so never ahead of it."""
        body = self._get_json(Call("*", f"{self.prefix}/time", {}))
        return from_epoch_ms(int(body["serverTime"]))

    def plan(
        self, symbol: str, since: datetime, until: datetime, now: datetime | None = None
    ) -> list[BarRequest]:
        """Requests of at most a page of bars; Binance keeps every bar since the listing: `now` cuts nothing."""
        return pages(symbol, since, until, MINUTE * self.page)

    def fetch(self, requests: Sequence[BarRequest]) -> FetchResult:
        """Replies oldest request first: whoever is behind most is asked before the time is used up."""
        parts = [
            part for request in requests for part in self.plan(request.symbol, request.since, request.until)
        ]
        parts.sort(key=lambda part: part.since)
        return self.client.get_all([self.kline_call(part) for part in parts])

    def kline_call(self, request: BarRequest) -> Call:
        """One page of klines."""
        return Call(request.symbol, KLINES, kline_params(request, PAGE), KLINES_WEIGHT)

    def parse(self, replies: Sequence[Reply], market_now: datetime) -> Parsed:
        return klines_to_bars(replies, market_now)

    def fetch_trades(self, requests: Sequence[BarRequest]) -> FetchResult:
        """Aggregated trades of each request's time: the first page by time, the following by trade id.

        Symbols go side by side, pages of one symbol one after the other. The last page may run past `until`.
        """
        ends = {request.symbol: request.until for request in requests}
        calls = [self.first_trades_call(request) for request in requests]
        replies, failures = [], []
        while calls:
            got = self.client.get_all(calls)
            replies += got.replies
            failures += got.failures
            following = [self.next_trades_call(reply, ends[reply.symbol]) for reply in got.replies]
            calls = [call for call in following if call]
        return FetchResult(replies, failures)

    def first_trades_call(self, request: BarRequest) -> Call:
        """The first page of aggregated trades from `since` on."""
        params = {
            "symbol": request.symbol,
            "startTime": str(epoch_ms(request.since)),
            "endTime": str(epoch_ms(request.until) - 1),
            "limit": str(PAGE),
        }
        return Call(request.symbol, AGG_TRADES, params, AGG_TRADES_WEIGHT)

    def next_trades_call(self, reply: Reply, until: datetime) -> Call | None:
        """The page after `reply`, by id: many trades share a millisecond, so time would skip or repeat some."""
        params = following_trades(reply, until)
        return Call(reply.symbol, AGG_TRADES, params, AGG_TRADES_WEIGHT) if params else None

    def parse_trades(self, replies: Sequence[Reply]) -> ParsedTrades:
        return agg_trades_to_frame(replies)

    def validate(self, symbols: Sequence[str]) -> dict[str, str]:
        """Asks for exactly these symbols; only if one is unknown, for all, to say which and what is near."""
        wanted = list(dict.fromkeys(symbol.strip().upper() for symbol in symbols))
        problems = {symbol: _ILLEGAL for symbol in wanted if not re.fullmatch(r"[A-Z0-9_.-]{1,20}", symbol)}
        listed = self._listed([symbol for symbol in wanted if symbol not in problems])
        for symbol in wanted:
            if symbol not in problems and (problem := _listing_problem(symbol, listed)):
                problems[symbol] = problem
        return problems

    def _listed(self, symbols: list[str]) -> dict[str, str]:
        """Status by symbol, of these or of all."""
        if not symbols:
            return {}
        path, asked = f"{self.prefix}/exchangeInfo", {"symbols": orjson.dumps(symbols).decode()}
        reply = self.client.get(Call("*", path, asked, self.info_weight))
        body = self._get_json(Call("*", path, {}, self.info_weight)) if reply.status == 400 else _json(reply)
        return {entry["symbol"]: entry["status"] for entry in body["symbols"]}

    def _get_json(self, call: Call) -> dict[str, Any]:
        return _json(self.client.get(call))


def kline_params(request: BarRequest, limit: int) -> dict[str, str]:
    """One page of klines; Binance counts both ends in."""
    return {
        "symbol": request.symbol,
        "interval": "1m",
        "startTime": str(epoch_ms(request.since)),
        "endTime": str(epoch_ms(request.until) - 1),
        "limit": str(limit),
    }


def following_trades(reply: Reply, until: datetime) -> dict[str, str] | None:
    """What asks for the trades after a full page that ends before `until`; None where there are none."""
    try:
        rows = orjson.loads(reply.body) if reply.ok else []
        if len(rows) < int(reply.params["limit"]) or rows[-1]["T"] >= epoch_ms(until):
            return None
        return {"symbol": reply.symbol, "fromId": str(rows[-1]["a"] + 1), "limit": str(PAGE)}
    except (ValueError, KeyError, TypeError):
        return None


def pages(symbol: str, since: datetime, until: datetime, longest: timedelta) -> list[BarRequest]:
    """[since, until) in pieces of at most `longest`, oldest first."""
    start, end = utc(since), utc(until)
    requests = []
    while start < end:
        requests.append(BarRequest(symbol, start, min(start + longest, end)))
        start += longest
    return requests


_ILLEGAL = "not a Binance symbol: only letters and digits, such as BTCUSDT"


def _listing_problem(symbol: str, listed: Mapping[str, str]) -> str | None:
    if symbol not in listed:
        near = get_close_matches(symbol, listed, n=3, cutoff=0.7)
        return "Binance has no such symbol" + (f"; did you mean {' or '.join(near)}?" if near else "")
    return None if listed[symbol] == "TRADING" else f"not trading at Binance now: {listed[symbol]}"


def _json(reply: Reply) -> dict[str, Any]:
    """A single answer's object; raises SourceError for any other answer."""
    if not reply.ok:
        rejects = Rejects()
        binance_refusal(reply, rejects)
        raise error_of(rejects.failures[0])
    try:
        body = orjson.loads(reply.body)
    except orjson.JSONDecodeError as error:
        raise SourceError(f"{reply.source} {reply.path}: not JSON ({error}): {reply.text[:200]}") from error
    if not isinstance(body, dict):
        raise SourceError(f"{reply.source} {reply.path}: expected an object: {reply.text[:200]}")
    return body
