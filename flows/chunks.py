"""History in chunks: a few pages of up to twenty symbols each, newest first, the next one fetched while one is loaded.

Symbols go together, because a batch writes a file a day: twenty symbols one after the other would leave twenty
files a day for everybody to read. What is done is noted symbol by symbol, so that any other backfill over the
same days asks for the rest only.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
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
from warehouse.build import sessions_between
from warehouse.load import Batch, loaded_batches, record_batches

PAGES = 5
"""Pages of one symbol in a chunk: three and a half days of Binance minutes; a kill costs no more than that."""
SYMBOLS_AT_ONCE = 20
SESSIONS_A_REQUEST = 4
"""Never more than the seven days that Yahoo gives at once, weekend and holiday included."""
BEFORE_CLOSE = timedelta(minutes=5)
LONGEST_WAIT_S = 90.0
"""A venue that asks for a shorter pause is waited for; after a longer one the rest is for the next backfill."""
TRIES = 4


@dataclass(frozen=True)
class Chunk:
    """One batch to be: the requests of some symbols over the same days; `ids` is what each is known by."""

    feed: Feed
    market_now: datetime
    requests: tuple[BarRequest, ...]
    ids: dict[str, str]

    @property
    def until(self) -> datetime:
        return max(request.until for request in self.requests)

    def __str__(self) -> str:
        since = min(request.since for request in self.requests)
        first, *others = self.ids
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
    """The chunks of [start, until) that are not in the ledger, oldest first; and how many symbol's chunks are.

    calendar: the one that all these symbols follow.
    """
    spans = [(utc(start), until)]
    if calendar != CONTINUOUS:
        found = sessions_between(con, calendar, naive(start) - timedelta(days=7), naive(until))
        spans = list(session_spans(found, naive(start), until))
    done = loaded_batches(con, feed.source.name)
    chunks: list[Chunk] = []
    known = 0
    for first in range(0, len(symbols), SYMBOLS_AT_ONCE):
        pages = {
            symbol: [request for since, to in spans for request in feed.source.plan(symbol, since, to, until)]
            for symbol in symbols[first : first + SYMBOLS_AT_ONCE]
        }
        for at in range(0, max(map(len, pages.values()), default=0), PAGES):
            parts = {symbol: requests[at : at + PAGES] for symbol, requests in pages.items()}
            ids = {symbol: _chunk_id(feed, part) for symbol, part in parts.items() if part}
            wanted = {symbol: chunk_id for symbol, chunk_id in ids.items() if chunk_id not in done}
            known += len(ids) - len(wanted)
            requests = tuple(request for symbol in wanted for request in parts[symbol])
            if requests:
                chunks.append(Chunk(feed, market_now, requests, wanted))
    return chunks, known


def _chunk_id(feed: Feed, requests: Sequence[BarRequest]) -> str:
    since, until = requests[0].since, requests[-1].until
    return landing.batch_id(feed.source.name, "backfill", since, f"{requests[0].symbol}-{until:%Y%m%dT%H%M}")


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


def fetched(chunks: Iterable[Chunk]) -> Iterator[tuple[Chunk, FetchResult]]:
    """Each chunk with what its venue answered; the one after it is fetched meanwhile.

    The thread is a daemon: whoever stops a backfill does not wait for the venue.
    """
    ready: Queue[tuple[Chunk, FetchResult] | BaseException | None] = Queue(maxsize=1)

    def work() -> None:
        try:
            for chunk in chunks:
                ready.put((chunk, fetch(chunk.feed.source, chunk.requests)))
            ready.put(None)
        except BaseException as error:  # noqa: BLE001 - raised again where somebody waits for it
            ready.put(error)

    Thread(target=work, name="history", daemon=True).start()
    while (item := ready.get()) is not None:
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
    """Lands and loads one chunk; each symbol of which every part has come is noted as done.

    A symbol of which a part failed is asked for again by the next backfill; what it brought meanwhile is known then.
    """
    name = chunk.feed.source.name
    since = min(request.since for request in chunk.requests)
    batch = landing.batch_id(name, "backfill", since, uuid4().hex[:12])
    result = ingest_requests(
        chunk.feed.source, stores, chunk.requests, batch, "backfill", chunk.market_now, chunk.until, got=got
    )
    failed = {failure.symbol for failure in result.failures}
    known_at = naive(datetime.now(UTC))
    done = [
        Batch(chunk_id, name, "backfill", stores.run_id, known_at)
        for symbol, chunk_id in chunk.ids.items()
        if symbol not in failed
    ]
    record_batches(stores.con, stores.location, done)
    return result
