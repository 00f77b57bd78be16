"""Who stands in when a source is down, barred or stale: the next venue of its list, minute by minute.

The rows keep the series' name; `venue` and origin `fallback` say where they came from. The source itself is
asked every minute as before, and the minutes it brings again when it is back take the place of the others'.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from pipelines import landing
from pipelines.ingest import (
    FIRST_REACH,
    Feed,
    Ingested,
    SessionsAt,
    Stores,
    fetch,
    has_trading,
    market_until,
    newest_of,
)
from pipelines.market import MINUTE, naive, utc
from pipelines.sources.base import SourceError
from pipelines.sources.standby import Standby
from warehouse.load import watermarks

log = logging.getLogger(__name__)

KIND = "fallback"
DOWN = frozenset(
    {"timeout", "connection", "server_error", "rate_limited", "blocked", "circuit_open", "time_budget",
     "unauthorized", "not_json", "wrong_shape"}
)  # fmt: skip
"""Failures that another venue can make good; a symbol the source does not know is no business of another."""
STALE_AFTER = 3 * MINUTE
REACH = timedelta(days=1)
"""How far back a stand-in fills; healing and backfill know the rest."""


def stand_in(
    feed: Feed, stores: Stores, scheduled: datetime, sessions_at: SessionsAt, result: Ingested
) -> Ingested:
    """`result` of the source's own minute, completed by its standbys where that is called for.

    State `fallback` where one of them brought minutes; the reason names it and what the source said.
    """
    wanting = _wanting(feed, stores, result)
    for standby in feed.standbys:
        if not wanting:
            break
        result, wanting = _ask(standby, feed, stores, scheduled, sessions_at, result, wanting)
    return result


def _wanting(feed: Feed, stores: Stores, result: Ingested) -> tuple[str, ...]:
    """The symbols whose newest minutes did not come and could come from elsewhere."""
    if not feed.standbys or result.state == "idle":
        return ()
    if result.market_now is None or result.until is None:
        return feed.symbols
    failed = {failure.symbol for failure in result.failures if failure.reason in DOWN}
    # The newest bar is open a minute longer than its time says.
    due = naive(result.until) - STALE_AFTER - MINUTE
    brought = _brought(result)
    if not failed and all(symbol in brought and brought[symbol] >= due for symbol in feed.symbols):
        return ()  # spares the lake a question
    marks = _marks(feed, stores, result.until, result)
    stale = {symbol for symbol, newest in marks.items() if newest < due}
    return tuple(symbol for symbol in feed.symbols if symbol in failed | stale)


def _marks(feed: Feed, stores: Stores, until: datetime, result: Ingested) -> Mapping[str, datetime]:
    """Symbol -> its newest bar, in the lake or on its way there."""
    marks, brought = watermarks(stores.con, feed.source.name, naive(until - REACH)), _brought(result)
    return marks | {symbol: max(ts, marks.get(symbol, ts)) for symbol, ts in brought.items()}


def _brought(result: Ingested) -> dict[str, datetime]:
    found: dict[str, datetime] = {}
    for delivery in result.deliveries:
        for symbol, ts in newest_of(delivery).items():
            found[symbol] = max(ts, found.get(symbol, ts))
    return found


def _ask(
    standby: Standby,
    feed: Feed,
    stores: Stores,
    scheduled: datetime,
    sessions_at: SessionsAt,
    result: Ingested,
    wanting: Sequence[str],
) -> tuple[Ingested, tuple[str, ...]]:
    """What the source and this standby gave together, and the symbols that still want their minutes."""
    name = feed.source.name
    try:
        market_now = standby.server_time()
    except SourceError as error:
        log.warning("%s: %s cannot stand in: %s", name, standby.venue, error)
        return result, tuple(wanting)
    until = result.until or market_until(scheduled, market_now, datetime.now(UTC))
    sessions = {c: sessions_at(c, until) for c in {feed.calendar, *feed.exceptions.values()}}
    marks = _marks(feed, stores, until, result)
    requests = []
    for symbol in wanting:
        since = utc(marks[symbol]) + MINUTE if symbol in marks else until - FIRST_REACH
        trading = sessions[feed.calendar_of(symbol)]
        if trading.is_empty() or has_trading(trading, naive(since), naive(until)):
            requests += standby.plan(symbol, since, until, until)
    if not requests:
        return result, tuple(wanting)
    batch = landing.batch_id(name, KIND, until, standby.venue)
    got = fetch(standby, stores, requests, batch, KIND, market_now, until)
    failed = {failure.symbol for failure in got.failures}
    if not any(delivery.bars.height for delivery in got.deliveries):
        return replace(result, deliveries=(*result.deliveries, *got.deliveries)), tuple(wanting)
    reason = f"{standby.venue} stands in for {len(set(wanting) - failed)} of {len(feed.symbols)} symbols"
    before = result.reason or f"nothing new for {STALE_AFTER / MINUTE:.0f} minutes"
    both = replace(
        result,
        state=KIND,
        reason=f"{reason}; {before}",
        market_now=result.market_now or market_now,
        until=until,
        deliveries=(*result.deliveries, *got.deliveries),
        latencies_ms=result.latencies_ms or got.latencies_ms,
    )
    return both, tuple(symbol for symbol in wanting if symbol in failed)
