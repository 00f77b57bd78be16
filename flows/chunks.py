"""History in chunks: a few pages of up to twenty symbols each, newest first, the next one fetched while one is loaded.

Symbols go together, because a batch writes a file a day: twenty symbols one after the other would leave twenty
files a day for everybody to read. What was asked for is noted symbol by symbol as a span of time, so that any other
backfill over the same days, begun at whatever minute, asks for the rest only.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from queue import Queue
from threading import Thread
from uuid import uuid4

import duckdb
import polars as pl

from pipelines import landing
from pipelines.ingest import Feed, Ingested, Stores, ingest_requests
from pipelines.market import CONTINUOUS, naive, utc
from pipelines.sources.base import BarRequest, FetchResult, Reply, Source
from pipelines.sources.refusals import RATE_LIMITED, pause_s
from warehouse.asked import SPAN_SCHEMA, asked_spans, joined, note_asked
from warehouse.calendars import sessions_between

PAGES = 5
"""Pages of one symbol in a chunk: three and a half days of Binance minutes; a kill costs no more than that."""
SYMBOLS_AT_ONCE = 20
AHEAD = 3
"""Chunks of a source that lie fetched in memory, some ten megabytes each."""
SESSIONS_A_REQUEST = 4
"""Never more than the seven days that Yahoo gives at once, weekend and holiday included."""
BEFORE_CLOSE = timedelta(minutes=5)
LONGEST_WAIT_S = 90.0
"""A venue that asks for a shorter pause is waited for; after a longer one the rest is for the next backfill."""
TRIES = 4


@dataclass(frozen=True)
class Chunk:
    """One batch to be: the requests of some symbols over the same days."""

    feed: Feed
    market_now: datetime
    requests: tuple[BarRequest, ...]

    @property
    def symbols(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(request.symbol for request in self.requests))

    @property
    def until(self) -> datetime:
        return max(request.until for request in self.requests)

    def __str__(self) -> str:
        since = min(request.since for request in self.requests)
        first, *others = self.symbols
        return (
            f"{self.feed.source.name} {first}{f' and {len(others)} more' if others else ''} {since:%Y-%m-%d}"
        )


def plan_chunks(
    con: duckdb.DuckDBPyConnection,
    feed: Feed,
    symbols: Sequence[str],
    start: datetime,
    until: datetime,
    market_now: datetime,
    calendar: str,
) -> tuple[list[Chunk], int]:
    """The chunks of what has not been answered of [start, until), oldest first; and how many symbol's chunks have been.

    calendar: the one that all these symbols follow.
    """
    spans = [(utc(start), until)]
    if calendar != CONTINUOUS:
        found = sessions_between(con, calendar, naive(start) - timedelta(days=7), naive(until))
        spans = list(session_spans(found, naive(start), until))
    spans_asked = asked_spans(con, feed.source.name).filter("answered", pl.col("kind") == "backfill")
    done = _by_symbol(joined(spans_asked))
    chunks: list[Chunk] = []
    known = 0
    for first in range(0, len(symbols), SYMBOLS_AT_ONCE):
        pages = {
            symbol: [request for since, to in spans for request in feed.source.plan(symbol, since, to, until)]
            for symbol in symbols[first : first + SYMBOLS_AT_ONCE]
        }
        for at in range(0, max(map(len, pages.values()), default=0), PAGES):
            parts = [requests[at : at + PAGES] for requests in pages.values()]
            rests = [_rest(part, done, is_cut=calendar == CONTINUOUS) for part in parts if part]
            known += sum(not rest for rest in rests)
            requests = tuple(request for rest in rests for request in rest)
            if requests:
                chunks.append(Chunk(feed, market_now, requests))
    return chunks, known


def _by_symbol(spans: pl.DataFrame) -> dict[str, list[tuple[datetime, datetime]]]:
    found: dict[str, list[tuple[datetime, datetime]]] = {}
    for symbol, since, until in spans.select("symbol", "from_ts", "to_ts").iter_rows():
        found.setdefault(symbol, []).append((utc(since), utc(until)))
    return found


def _rest(
    requests: Sequence[BarRequest], done: Mapping[str, list[tuple[datetime, datetime]]], is_cut: bool
) -> list[BarRequest]:
    """The requests that are not answered yet; is_cut: without what is answered of their beginning and end."""
    rest = []
    for request in requests:
        since, until = request.since, request.until
        for begin, end in done.get(request.symbol, ()):
            if begin <= since < end:
                since = end
            if begin < until <= end:
                until = begin
        if since < until:
            rest.append(replace(request, since=since, until=until) if is_cut else request)
    return rest


def session_spans(
    found: pl.DataFrame, start: datetime, until: datetime
) -> Iterator[tuple[datetime, datetime]]:
    """Stretches of up to four sessions, each from just before the close of the session before it, none before `start`.

    The first bar of a Yahoo reply has no volume, so a reply must never begin with a session's first minute.
    """
    rows = [(utc(opens), utc(closes)) for opens, closes in found.select("open_ts", "close_ts").iter_rows()]
    wanted = sum(closes <= utc(start) for _, closes in rows)
    for first in range(wanted, len(rows), SESSIONS_A_REQUEST):
        group = rows[first : first + SESSIONS_A_REQUEST]
        before = rows[first - 1][1] if first else group[0][0] - timedelta(days=1)
        yield max(before - BEFORE_CLOSE, utc(start)), min(group[-1][1], until)


class Fetched:
    """Chunks with what their venue answered, in their order; the next ones are fetched while one is used.

    It begins at once, not when it is first asked: a venue whose budget is used up waits beside the others. The thread
    is a daemon: whoever stops a backfill does not wait for the venue.
    """

    def __init__(self, chunks: Sequence[Chunk]) -> None:
        self._chunks = chunks
        self._ready: Queue[tuple[Chunk, FetchResult] | BaseException | None] = Queue(maxsize=AHEAD)
        Thread(target=self._work, name="history", daemon=True).start()

    def _work(self) -> None:
        try:
            for chunk in self._chunks:
                self._ready.put((chunk, fetch(chunk.feed.source, chunk.requests)))
            self._ready.put(None)
        except BaseException as error:  # noqa: BLE001 - raised again where somebody waits for it
            self._ready.put(error)

    def __iter__(self) -> Iterator[tuple[Chunk, FetchResult]]:
        while (item := self._ready.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item


def fetch(source: Source, requests: Sequence[BarRequest]) -> FetchResult:
    """The venue's answers; a pause that it asks for is waited for, as long as it is a short one."""
    wanted = list(requests)
    replies: list[Reply] = []
    for turn in range(TRIES):
        got = source.fetch(wanted)
        held = {reply.symbol: pause_s(reply) for reply in got.replies if reply.status in RATE_LIMITED}
        held |= {one.symbol: one.retry_after_s for one in got.failures if one.retryable and one.retry_after_s}
        wait = max(held.values(), default=0.0)
        if not held or wait > LONGEST_WAIT_S or turn == TRIES - 1:
            return FetchResult([*replies, *got.replies], got.failures)
        replies += [reply for reply in got.replies if reply.symbol not in held]
        others = [one for one in got.failures if one.symbol not in held]
        if others:
            return FetchResult([*replies, *got.replies], got.failures)
        wanted = [request for request in wanted if request.symbol in held]
        time.sleep(wait)
    raise AssertionError("unreachable")


def load(chunk: Chunk, got: FetchResult, stores: Stores) -> Ingested:
    """Lands and loads one chunk, and notes what each symbol was asked for, and whether all of it has come.

    A symbol of which a part failed is asked for again by the next backfill; what it brought meanwhile is known then.
    """
    name = chunk.feed.source.name
    since = min(request.since for request in chunk.requests)
    batch = landing.batch_id(name, "backfill", since, uuid4().hex[:12])
    result = ingest_requests(
        chunk.feed.source, stores, chunk.requests, batch, "backfill", chunk.market_now, chunk.until, got=got
    )
    failed = {failure.symbol for failure in result.failures}
    asked = [
        (name, one.symbol, naive(one.since), naive(one.until), "backfill", one.symbol not in failed)
        for one in chunk.requests
    ]
    spans = pl.DataFrame(asked, schema=SPAN_SCHEMA, orient="row")
    told = joined(spans).join(spans.select("symbol", "kind", "answered").unique(), on="symbol")
    note_asked(stores.con, stores.location, told, stores.run_id, naive(datetime.now(UTC)))
    return result
