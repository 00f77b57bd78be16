"""Yahoo Finance: one-minute bars of its chart endpoint, without keys, cookies or crumbs.

It is unofficial and easily annoyed: two requests at once, never in step, one per symbol and minute, a
pause of all symbols at the first 429. The other of its two hosts is tried when one does not answer.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from urllib.parse import quote, urlsplit

import httpx
import orjson
import polars as pl

from pipelines.market import MINUTE, epoch_ms, utc
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
from pipelines.sources.reading import Rejects
from pipelines.sources.refusals import error_of, is_transient, pause_s
from pipelines.sources.venue import Call, Venue
from pipelines.sources.yahoo_chart import charts_to_bars, yahoo_refusal

HOSTS = ("https://query2.finance.yahoo.com", "https://query1.finance.yahoo.com")
BROWSER = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/131.0.0.0 Safari/537.36"
)
OVERLAP = 2 * MINUTE
"""Asked for before `since`: the first row of every reply comes without its volume."""
LONGEST = timedelta(days=7) - OVERLAP
LAST_SESSION = timedelta(days=5)
"""Reaches the session before any open, over long weekends too."""
KEPT = timedelta(days=30) - timedelta(hours=1)
"""Yahoo has minutes of the last 30 days; a margin for the way there."""


class Yahoo:
    """One-minute bars for equities, indices, currencies and coins by Yahoo's symbols, such as `AAPL`."""

    name = "yahoo"
    calendar = "XNYS"
    quiet: Quiet = "nulled"
    weight_limit = 2000

    def __init__(
        self,
        options: SourceOptions | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        clock: Clock = utc_now,
    ) -> None:
        options = options or SourceOptions()
        hosts = (options.base_url.rstrip("/"),) if options.base_url else HOSTS
        real = all((urlsplit(host).hostname or "").endswith("yahoo.com") for host in hosts)
        venue = Venue(
            self.name,
            hosts,
            connections=2 if real else 10,
            weight_limit=self.weight_limit,
            jitter_s=0.05 if real else 0.0,
            headers={"User-Agent": BROWSER, "Accept": "application/json"},
        )
        self.client = VenueClient(venue, options, transport, clock)

    def server_time(self) -> datetime:
        """By the `Date` header of a small request: Yahoo has no endpoint for the time."""
        reply = self.client.get(_daily_call("SPY"))
        if is_transient(reply.status) or pause_s(reply):
            raise error_of(_refusals(reply).failures[0])
        if reply.server_time is None:
            raise SourceError(f"{self.name}: the answer to {reply.path} has no readable Date header")
        return reply.server_time

    def plan(
        self, symbol: str, since: datetime, until: datetime, now: datetime | None = None
    ) -> list[BarRequest]:
        """Requests of at most a week each, none of what is older than 30 days before `now`."""
        start, end = utc(since), utc(until)
        if now is not None:
            start = max(start, utc(now) - KEPT)
        requests = []
        while start < end:
            requests.append(BarRequest(symbol, start, min(start + LONGEST, end)))
            start += LONGEST
        return requests

    def fetch(self, requests: Sequence[BarRequest]) -> FetchResult:
        """Replies oldest request first: whoever is behind most is asked before the time is used up.

        Where a session's first minute came without its volume, a reply from the session before follows.
        """
        started = time.monotonic()
        parts = [
            part for request in requests for part in self.plan(request.symbol, request.since, request.until)
        ]
        parts.sort(key=lambda part: part.since)
        replies, failures = self.client.get_all([chart_call(part) for part in parts])
        left_s = self.client.options.total_s - (time.monotonic() - started)
        if (openings := opening_calls(replies)) and left_s > 0:
            replies += [reply for reply in self.client.get_all(openings, left_s).replies if reply.ok]
        return FetchResult(replies, failures)

    def parse(self, replies: Sequence[Reply], market_now: datetime) -> Parsed:
        return charts_to_bars(replies, market_now)

    def validate(self, symbols: Sequence[str]) -> dict[str, str]:
        """Asks for a day of each symbol; Yahoo has no list of them."""
        wanted = list(dict.fromkeys(symbol.strip().upper() for symbol in symbols))
        replies, failures = self.client.get_all([_daily_call(symbol) for symbol in wanted])
        failures += [failure for reply in replies for failure in _refusals(reply).failures]
        problems = {failure.symbol: failure.detail for failure in failures if not failure.retryable}
        if asked_in_vain := [failure for failure in failures if failure.retryable]:
            raise error_of(asked_in_vain[0])
        return problems


def chart_call(request: BarRequest) -> Call:
    """The chart of a window and a little before it, with the minutes before the open.

    With them the session's first minute is not the reply's first row, whose volume cannot be trusted.
    """
    params = {
        "interval": "1m",
        "period1": str(epoch_ms(request.since - OVERLAP) // 1000),
        "period2": str(epoch_ms(request.until) // 1000),
        "includePrePost": "true",
    }
    return Call(request.symbol, _path(request.symbol), params, since=request.since)


def opening_calls(replies: Sequence[Reply]) -> list[Call]:
    """For each first minute of a session without its volume, that minute again, from the session before on.

    Needed where nothing is traded before the bell; with the minutes before it Yahoo says the volume.
    """
    bars = charts_to_bars(replies, datetime.max.replace(tzinfo=UTC)).bars
    calls = []
    for symbol, ts in bars.filter(pl.col("volume").is_null()).select("symbol", "ts").rows():
        opening = BarRequest(symbol, ts, ts + MINUTE)
        deep = chart_call(BarRequest(symbol, opening.since - LAST_SESSION, opening.until))
        calls.append(replace(deep, since=opening.since))
    return calls


def _daily_call(symbol: str) -> Call:
    return Call(symbol, _path(symbol), {"interval": "1d", "range": "1d"})


def _path(symbol: str) -> str:
    return f"/v8/finance/chart/{quote(symbol, safe='')}"


def _refusals(reply: Reply) -> Rejects:
    """Why Yahoo does not serve what was asked for; nothing if it does."""
    rejects = Rejects()
    try:
        error = orjson.loads(reply.body)["chart"]["error"]
    except (ValueError, KeyError, TypeError):
        error = None
    if error or not reply.ok:
        yahoo_refusal(reply, error, rejects)
    return rejects
