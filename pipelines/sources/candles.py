"""What venues with one candle endpoint share: asking page by page, and reading rows one by one.

A venue says in its own small module where it lives, how one page is asked for and where a row keeps what.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import httpx
import numpy as np
import orjson
import polars as pl

from pipelines.market import BAR_SCHEMA, CONTINUOUS, MINUTE, epoch_ms, utc
from pipelines.sources.base import (
    BarRequest,
    Clock,
    Failure,
    FetchResult,
    Parsed,
    Quiet,
    Reply,
    SourceError,
    SourceOptions,
    utc_now,
)
from pipelines.sources.client import VenueClient
from pipelines.sources.reading import (
    Rejects,
    arrange_bars,
    is_count,
    is_epoch_ms,
    is_number,
    read_json,
    time_of,
)
from pipelines.sources.refusals import error_of, refusal
from pipelines.sources.venue import Call, Venue

NUMBERS = ("open", "high", "low", "close", "volume")
MOST_PAGES = 1000
"""Pages of one answer that are followed: a venue that never ends is not followed for ever."""


class Candle(NamedTuple):
    """One row, its values as the venue sent them; `ts_ms` epoch milliseconds, `turnover` in quote currency."""

    ts_ms: Any
    open: Any
    high: Any
    low: Any
    close: Any
    volume: Any
    turnover: float | None = None
    trades: Any = None


class CandleVenue(ABC):
    """A venue asked for one symbol's candles at a time; subclasses say how."""

    name: str
    calendar: str = CONTINUOUS
    host: str
    quiet: Quiet = "absent"
    longest: timedelta
    """What one request may span."""
    connections: int = 4
    weight_limit: int
    """Requests a minute."""
    needs_key: bool = False

    def __init__(
        self,
        options: SourceOptions | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        clock: Clock = utc_now,
    ) -> None:
        self.options = options or SourceOptions()
        venue = Venue(
            self.name,
            ((self.options.base_url or self.host).rstrip("/"),),
            self.connections,
            self.weight_limit,
            headers=self.key_headers(self.options.key),
            secret=self.key_params(self.options.key),
            meaning=self.meaning,
        )
        self.clock = clock
        self.client = VenueClient(venue, self.options, transport, clock)
        # The clock is asked for without the key, so that it costs nothing of the plan's quota.
        plain = replace(venue, headers={}, secret={})
        self.clock_client = VenueClient(plain, replace(self.options, state_path=None), transport, clock)

    def server_time(self) -> datetime:
        """By the `Date` header of a small answer, whatever it says."""
        reply = self.clock_client.get(self.clock_call())
        if reply.server_time is None:
            raise SourceError(f"{self.name}: the answer to {reply.path} has no readable Date header")
        return reply.server_time

    def plan(
        self, symbol: str, since: datetime, until: datetime, now: datetime | None = None
    ) -> list[BarRequest]:
        """Requests of at most `longest`, oldest first; `now` cuts off what the venue has no more."""
        start, end = utc(since), utc(until)
        if now is not None and (oldest := self.oldest(utc(now))):
            start = max(start, oldest)
        requests = []
        while start < end:
            stop = min(self.end_of_page(start), end)
            requests.append(BarRequest(symbol, start, stop))
            start = stop
        return requests

    def fetch(self, requests: Sequence[BarRequest]) -> FetchResult:
        """Replies oldest request first; further pages of an answer follow it."""
        if self.needs_key and not self.options.key:
            return FetchResult([], [self._without_key(request) for request in requests])
        parts = [
            part for request in requests for part in self.plan(request.symbol, request.since, request.until)
        ]
        parts.sort(key=lambda part: part.since)
        calls = [replace(self.call(part), since=part.since, until=part.until) for part in parts]
        replies: list[Reply] = []
        failures: list[Failure] = []
        for _ in range(MOST_PAGES):
            if not calls:
                break
            got = self.client.get_all(calls)
            replies += got.replies
            failures += got.failures
            calls = [call for reply in got.replies if reply.ok and (call := self.following(reply))]
        return FetchResult(replies, failures)

    def parse(self, replies: Sequence[Reply], market_now: datetime) -> Parsed:
        return candles_to_bars(replies, market_now, self.rows, self.candle, self.words)

    def validate(self, symbols: Sequence[str]) -> dict[str, str]:
        """Asks for the newest minutes of each symbol; SourceError where the venue cannot be asked."""
        until = utc(self.clock())
        wanted = list(dict.fromkeys(symbol.strip().upper() for symbol in symbols))
        replies, failures = self.fetch([BarRequest(symbol, until - 5 * MINUTE, until) for symbol in wanted])
        failures += self.parse(replies, until).failures
        for failure in failures:
            if failure.retryable or failure.reason in ("unauthorized", "blocked"):
                raise error_of(failure)
        return {failure.symbol: failure.detail for failure in failures}

    # What a venue says itself.

    @abstractmethod
    def clock_call(self) -> Call:
        """A request whose answer tells the time."""

    @abstractmethod
    def call(self, request: BarRequest) -> Call:
        """The first page of a request; `since` and `until` are filled in."""

    @abstractmethod
    def rows(self, reply: Reply, body: Any) -> Iterable[Any]:
        """The message's rows; KeyError or TypeError where it is not the documented one."""

    @abstractmethod
    def candle(self, row: Any) -> Candle:
        """One row; KeyError, IndexError, TypeError or ValueError where it is not the documented one."""

    def following(self, reply: Reply) -> Call | None:
        """The page after this one."""
        return None

    def words(self, body: Any) -> tuple[str, bool]:
        """What an error says, and whether it is about the symbol."""
        return "", False

    def meaning(self, reply: Reply) -> Reply:
        """A refusal sent as HTTP 200, with the status it means."""
        return reply

    def oldest(self, now: datetime) -> datetime | None:
        """The first minute the venue still has; None where it keeps all."""
        return None

    def end_of_page(self, start: datetime) -> datetime:
        return start + self.longest

    def key_headers(self, key: str) -> dict[str, str]:
        return {}

    def key_params(self, key: str) -> dict[str, str]:
        return {}

    def _without_key(self, request: BarRequest) -> Failure:
        variable = f"{self.name.upper()}_API_KEY"
        detail = (
            f"{self.name} {request.symbol}: needs a key and has none; set {variable} and write "
            f'api_key = "env:{variable}" in its [[source]]'
        )
        return Failure(request.symbol, "unauthorized", detail, retryable=False)


def candles_to_bars(
    replies: Sequence[Reply],
    market_now: datetime,
    rows: Callable[[Reply, Any], Iterable[Any]],
    candle: Callable[[Any], Candle],
    words: Callable[[Any], tuple[str, bool]],
) -> Parsed:
    """Bars of all replies; a row that cannot be read is a reject, the rows beside it are kept.

    A bar sent twice is kept as it came last. `is_closed` is ts + 1 minute <= `market_now`.
    """
    rejects = Rejects()
    owner: list[int] = []
    read: list[Candle] = []
    for at, reply in enumerate(replies):
        found = _candles(reply, rejects, rows, candle, words)
        owner += [at] * len(found)
        read += found
    columns: dict[str, list[Any]] = {
        name: [getattr(row, name) for row in read] for name in (*NUMBERS, "turnover", "trades")
    }
    for name in NUMBERS:
        columns[name] = [float(value) for value in columns[name]]
    values = {name: pl.Series(column, dtype=BAR_SCHEMA[name]) for name, column in columns.items()}
    ts_ms = np.array([row.ts_ms for row in read], np.int64)
    bars = arrange_bars(replies, np.array(owner, np.int64), ts_ms, values, market_now)
    return Parsed(bars, rejects.frame(), rejects.failures)


def _candles(
    reply: Reply,
    rejects: Rejects,
    rows: Callable[[Reply, Any], Iterable[Any]],
    candle: Callable[[Any], Candle],
    words: Callable[[Any], tuple[str, bool]],
) -> list[Candle]:
    try:
        body = read_json(reply.body)
    except ValueError as error:
        if reply.ok:
            rejects.reply(reply, "not_json", f"the answer is not JSON: {error}")
        else:
            rejects.failures.append(refusal(reply, reply.text))
        return []
    if not reply.ok:
        said, is_symbol = _said(body, words)
        rejects.failures.append(refusal(reply, said or reply.text, is_symbol))
        return []
    try:
        listed = list(rows(reply, body))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        rejects.reply(reply, "wrong_shape", f"not the documented message ({type(error).__name__}: {error})")
        return []
    low = epoch_ms(reply.since) if reply.since else -(2**62)
    high = epoch_ms(reply.until) if reply.until else 2**62
    found = [_checked(reply, row, candle, rejects) for row in listed]
    return [one for one in found if one is not None and low <= one.ts_ms < high]


def _said(body: Any, words: Callable[[Any], tuple[str, bool]]) -> tuple[str, bool]:
    try:
        return words(body)
    except (KeyError, TypeError, IndexError, AttributeError):
        return "", False


def _checked(reply: Reply, row: Any, candle: Callable[[Any], Candle], rejects: Rejects) -> Candle | None:
    received = orjson.dumps(row, default=str).decode()
    try:
        one = candle(row)
    except (KeyError, IndexError, TypeError, ValueError) as error:
        detail = f"a row that is not a candle ({type(error).__name__}: {error})"
        rejects.row(reply, None, "wrong_shape", detail, received)
        return None
    if not is_epoch_ms(one.ts_ms):
        rejects.row(reply, None, "bad_time", f"the time is {one.ts_ms!r}", received)
        return None
    bad = [name for name in NUMBERS if not is_number(getattr(one, name))]
    if bad:
        detail = f"{bad[0]} is {getattr(one, bad[0])!r}"
        rejects.row(reply, time_of(one.ts_ms), "not_a_number", detail, received)
        return None
    return one if one.trades is None or is_count(one.trades) else one._replace(trades=None)


def worth(price: Any, volume: Any) -> float | None:
    """Turnover out of a mean price and a volume; None where either is no number."""
    return float(price) * float(volume) if is_number(price) and is_number(volume) else None
