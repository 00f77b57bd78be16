"""The walk of one source: fetch -> land -> parse -> gate; `pipelines.minute` loads what it delivers.

What a venue sent is on disk before anyone reads it, and in the warehouse or in quarantine before the batch's
id is in the ledger. A batch that a killed run left in the landing zone is delivered by the next run.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import polars as pl

from pipelines import landing
from pipelines.market import MINUTE, floor_minute, naive, utc
from pipelines.quality import gate
from pipelines.quality.contract import BARS
from pipelines.quality.quarantine import QUARANTINE_SCHEMA, to_quarantine
from pipelines.sources.as_received import with_words
from pipelines.sources.base import (
    NO_MINUTES,
    BarRequest,
    Failure,
    FetchResult,
    Parsed,
    Reply,
    Source,
    SourceError,
)
from pipelines.sources.standby import Standby
from warehouse.connect import Location
from warehouse.load import Batch, Delivery, Loaded, load_bars, loaded_batches, watermarks

log = logging.getLogger(__name__)

OVERLAP = 5 * MINUTE
"""Minutes asked for again, so that a provider's corrections and Yahoo's late rows arrive."""
FIRST_REACH = timedelta(hours=1)
"""How far back a series without a bar starts; `backfill` brings the rest."""
WATERMARK_REACH = timedelta(days=30)
SAME_CLOCK = timedelta(minutes=1)
AFTER_CLOSE = timedelta(minutes=30)
LIVE_KINDS = frozenset({"rest", "stream", "fallback"})
ABANDONED_AFTER_S = 600.0
"""A batch of history that has lain in the landing zone so long has lost its loader."""


SessionsAt = Callable[[str, datetime], pl.DataFrame]


@dataclass(frozen=True)
class Feed:
    """One configured source: its adapter, symbols and trading calendar."""

    source: Source
    symbols: tuple[str, ...]
    calendar: str
    standbys: tuple[Standby, ...] = ()
    """Who stands in when the source fails, in this order."""
    archive: Source | None = None
    """Where whole past days lie, if anywhere."""
    exceptions: Mapping[str, str] = field(default_factory=dict)
    """Symbol -> calendar, of the symbols that follow another one than the source's."""

    def calendar_of(self, symbol: str) -> str:
        return self.exceptions.get(symbol, self.calendar)

    def reader(self, replies: Sequence[Reply]) -> Source:
        """Who can read these landed replies: the source itself, one of its standbys or its archive."""
        if self.archive and any(".zip" in reply.path for reply in replies):
            return self.archive
        venues = {reply.source for reply in replies}
        return next((one for one in self.standbys if one.venue in venues), self.source)


@dataclass(frozen=True)
class Stores:
    """Where a batch goes: the lake, the landing zone, and the run it belongs to."""

    con: duckdb.DuckDBPyConnection
    location: Location
    landing: Path
    run_id: str
    calendars: Mapping[str, str]
    """Source -> calendar; `source:SYMBOL` -> calendar of a symbol that follows another one."""


@dataclass(frozen=True)
class Ingested:
    """What one source gave in one run; `until` is the market time up to which was asked."""

    source: str
    state: str
    reason: str | None
    market_now: datetime | None
    until: datetime | None
    deliveries: tuple[Delivery, ...] = ()
    """What passed the gate, oldest first: an earlier run's leftovers, then what was asked for."""
    loads: tuple[Loaded, ...] = ()
    """What each delivery changed, once it is loaded."""
    failures: tuple[Failure, ...] = ()
    latencies_ms: dict[str, list[float]] = field(default_factory=dict)
    silent: pl.DataFrame = field(default_factory=lambda: NO_MINUTES)
    """Minutes (symbol, ts) that the venue listed without a value."""

    @property
    def rows_in(self) -> int:
        return sum(delivery.batch.rows_in for delivery in self.deliveries)

    @property
    def rows_loaded(self) -> int:
        return sum(load.rows_new + load.rows_revised for load in self.loads)

    @property
    def rows_quarantined(self) -> int:
        return sum(load.rows_quarantined for load in self.loads)


def ingest_minute(
    feed: Feed,
    stores: Stores,
    scheduled: datetime,
    sessions_at: SessionsAt,
    at_hand: Mapping[str, datetime] | None = None,
) -> Ingested:
    """Everything since each series' watermark up to the scheduled minute, by the source's own clock.

    scheduled: the run's minute, aware UTC. sessions_at: gives the sessions (open_ts, close_ts) of a
    calendar around a market time; empty for a 24/7 venue. at_hand: symbol -> its newest bar, where that is known
    without asking the lake. A source that cannot be asked gives state `failed`, one that answered for a part of its
    symbols `partial`; nothing is raised for a venue.
    """
    name = feed.source.name
    try:
        market_now = feed.source.server_time()
    except SourceError as error:
        return Ingested(name, "failed", str(error), None, None)
    until = market_until(scheduled, market_now, datetime.now(UTC))
    sessions = {c: sessions_at(c, until) for c in {feed.calendar, *feed.exceptions.values()}}
    left = leftovers(feed, stores, market_now)
    oldest = naive(until - WATERMARK_REACH)
    marks = {symbol: ts for symbol, ts in (at_hand or {}).items() if ts >= oldest}
    if any(symbol not in marks for symbol in feed.symbols):
        marks = _marks(stores.con, name, feed.symbols, until)
    for delivery in left:
        marks |= newest_of(delivery)
    requests = [
        r for s in feed.symbols for r in _plan(feed, s, marks.get(s), until, sessions[feed.calendar_of(s)])
    ]
    if not requests:
        return Ingested(name, "idle", "no trading minute to ask for", market_now, until, tuple(left))
    batch = landing.batch_id(name, "rest", until)
    result = fetch(feed.source, stores, requests, batch, "rest", market_now, until)
    return replace(result, deliveries=(*left, *result.deliveries))


def ingest_requests(
    source: Source,
    stores: Stores,
    requests: Sequence[BarRequest],
    batch_id: str,
    kind: str,
    market_now: datetime,
    until: datetime,
    got: FetchResult | None = None,
) -> Ingested:
    """Fetches, lands and loads one batch of requests; the same batch id again loads nothing twice.

    got: what was fetched already.
    """
    result = fetch(source, stores, requests, batch_id, kind, market_now, until, got)
    loads = [load(stores, delivery) for delivery in result.deliveries]
    return replace(result, loads=tuple(loads))


def load(stores: Stores, delivery: Delivery) -> Loaded:
    """One delivery in a transaction of its own."""
    calendars = dict(stores.calendars)
    return load_bars(
        stores.con, stores.location, delivery.batch, delivery.bars, delivery.quarantined, calendars
    )


def fetch(
    source: Source,
    stores: Stores,
    requests: Sequence[BarRequest],
    batch_id: str,
    kind: str,
    market_now: datetime,
    until: datetime,
    got: FetchResult | None = None,
) -> Ingested:
    """Fetches, lands, parses and gates one batch of requests."""
    started = time.perf_counter()
    replies, failures = got or source.fetch(requests)
    fetched = time.perf_counter()
    if not replies:
        reason = failures[0].detail if failures else "no reply"
        return Ingested(source.name, "failed", reason, market_now, until, failures=tuple(failures))
    landed = landing.write(stores.landing, batch_id, replies)
    on_disk = time.perf_counter()
    delivery, parsed = read_replies(source, stores, landed, kind, replies, market_now)
    failures = [*failures, *parsed.failures]
    state = "ok" if not failures else "partial" if len(failures) < len(requests) else "failed"
    latencies: dict[str, list[float]] = {
        "fetch": [reply.latency_ms for reply in replies] or [(fetched - started) * 1000],
        "receive_to_landed": _waits(replies, on_disk),
    }
    first_problem = failures[0].detail if failures else None
    return Ingested(
        source.name,
        state,
        first_problem,
        market_now,
        until,
        (delivery,),
        failures=tuple(failures),
        latencies_ms=latencies,
        silent=parsed.silent,
    )


def leftovers(feed: Feed, stores: Stores, market_now: datetime) -> list[Delivery]:
    """What an earlier run landed and did not live to load, judged by the venue's clock when it answered.

    History has its own loader, which is about to load what it has just landed: only what it left behind is taken.
    """
    known = loaded_batches(stores.con, feed.source.name)
    found = []
    for landed in landing.pending(stores.landing, known, feed.source.name):
        kind = landed.batch_id.split("-", 2)[1]
        if _is_in_good_hands(kind, landed.path):
            continue
        try:
            replies = landing.read(landed.path)
        except landing.LandingError as error:
            _set_aside(landed.path, error)
            continue
        received = min((reply.server_time or market_now for reply in replies), default=market_now)
        clock = min(received, market_now)
        found.append(read_replies(feed.reader(replies), stores, landed, kind, replies, clock)[0])
    return found


def _is_in_good_hands(kind: str, path: Path) -> bool:
    return kind not in LIVE_KINDS and time.time() - path.stat().st_mtime < ABANDONED_AFTER_S


def newest_of(delivery: Delivery) -> dict[str, datetime]:
    """Symbol -> open time (naive UTC) of its newest bar in a delivery."""
    newest = delivery.bars.group_by("symbol").agg(pl.col("ts").max())
    return dict(newest.iter_rows())


def _set_aside(path: Path, error: landing.LandingError) -> None:
    """A batch that cannot be read stays beside the others for inspection and stops nobody; its window is a gap."""
    log.error("%s", error)
    path.rename(path.with_suffix(".corrupt"))


def read_replies(
    source: Source,
    stores: Stores,
    landed: landing.Landed,
    kind: str,
    replies: Sequence[Reply],
    market_now: datetime,
) -> tuple[Delivery, Parsed]:
    """Parses and gates a landed batch; what is ready to be loaded, and what was read."""
    parsed = source.parse(replies, market_now)
    known_at = naive(datetime.now(UTC))
    accepted, quarantined = judge(
        parsed, replies, source.name, market_now, stores.run_id, landed.batch_id, known_at
    )
    batch = Batch(
        batch_id=landed.batch_id,
        source=source.name,
        kind=kind,
        run_id=stores.run_id,
        known_at=known_at,
        rows_in=parsed.bars.height + parsed.rejects.height,
        sha256=landed.sha256,
        path=str(landed.path.relative_to(stores.landing)),
    )
    return Delivery(batch, accepted, quarantined), parsed


def judge(
    parsed: Parsed,
    replies: Sequence[Reply],
    source: str,
    market_now: datetime,
    run_id: str,
    batch_id: str,
    seen_at: datetime,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Accepted closed bars, and everything that cannot be one in the shape of `quarantine`, in the replies' words.

    A minute that is still open or has no volume yet is neither: it comes again. A bar from the future is not an
    open bar, so it goes to quarantine.
    """
    now = naive(market_now)
    is_open = ~pl.col("is_closed") & (pl.col("ts") <= now)
    # Yahoo's first bar of a reply has no volume worth the name; the overlap of the next request brings it whole.
    comes_again = (is_open | (pl.col("volume").is_null() & pl.col("close").is_not_null())).fill_null(False)
    gated = gate.split(parsed.bars.filter(~comes_again), BARS, market_now)
    rows = [
        to_quarantine(frame, source, run_id, batch_id, seen_at)
        for frame in (with_words(gated.quarantined, replies), parsed.rejects)
        if frame.height
    ]
    empty = pl.DataFrame(schema=QUARANTINE_SCHEMA)
    return gated.accepted, pl.concat([empty, *rows])


def market_until(scheduled: datetime, market_now: datetime, local_now: datetime) -> datetime:
    """The end of the newest minute that this run may judge, aware UTC.

    The scheduled minute where the source's clock is ours; the source's own minute where it runs elsewhere
    in time (a replica playing 2023). Never later than the source's clock.
    """
    if abs(utc(market_now) - utc(local_now)) < SAME_CLOCK:
        return min(floor_minute(utc(scheduled)), floor_minute(utc(market_now)))
    return floor_minute(utc(market_now))


def _marks(
    con: duckdb.DuckDBPyConnection, source: str, symbols: Sequence[str], until: datetime
) -> dict[str, datetime]:
    """Watermarks of the symbols; most are found in the last day's partitions, only the others cost more."""
    marks = watermarks(con, source, naive(until - timedelta(days=1)))
    if any(symbol not in marks for symbol in symbols):
        marks = watermarks(con, source, naive(until - WATERMARK_REACH)) | marks
    return marks


def _plan(
    feed: Feed, symbol: str, mark: datetime | None, until: datetime, sessions: pl.DataFrame
) -> list[BarRequest]:
    since = until - FIRST_REACH if mark is None else utc(mark) + MINUTE
    if not sessions.is_empty() and not has_trading(sessions, naive(since), naive(until)):
        return []
    return feed.source.plan(symbol, min(since, until) - OVERLAP, until, until)


def has_trading(sessions: pl.DataFrame, since: datetime, until: datetime) -> bool:
    """Whether a session has minutes in [since, until), or closed so recently that late rows may come."""
    reached = max(since, until - WATERMARK_REACH)
    recent = sessions.filter(
        (pl.col("open_ts") < until)
        & ((pl.col("close_ts") > reached) | (pl.col("close_ts") > until - AFTER_CLOSE))
    )
    return recent.height > 0


def _waits(replies: Sequence[Reply], on_disk: float) -> list[float]:
    """Milliseconds from receiving each reply to having the batch on disk."""
    now = datetime.now(UTC) - timedelta(seconds=time.perf_counter() - on_disk)
    return [max((now - reply.received_at).total_seconds() * 1000, 0.0) for reply in replies]
