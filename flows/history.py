"""History from a venue into the lake, by the same landing, gate and ledger as the minute.

Used by the `backfill` flow, the command of that name, a platform's first start and the healer. Sessions come first,
because a bar's windows and baseline follow its exchange's calendar; what is derived comes last, once for all chunks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import duckdb
import polars as pl

from flows import chunks
from flows.archives import fill_from_archive
from flows.brought import Brought
from flows.context import Context
from flows.covering_history import Asked, cover_history
from flows.deriving import derive_pending
from flows.history_turn import history_turn
from flows.runs import recorded
from flows.trading_days import fill_sessions
from pipelines.ingest import Feed
from pipelines.market import CONTINUOUS, floor_minute, naive, utc
from pipelines.sources.base import NO_MINUTES, SourceError
from warehouse.errors import TapewatchError

Progress = Callable[[int, int, str], None]


def backfill(
    con: duckdb.DuckDBPyConnection,
    context: Context,
    run_id: str,
    start: datetime,
    end: datetime | None = None,
    source: str | None = None,
    symbols: Sequence[str] = (),
    with_derive: bool = True,
    progress: Progress | None = None,
    most: int | None = None,
) -> Brought:
    """Bars of [start, end) (UTC, end at most the venue's last closed minute) of the configured series.

    source, symbols: narrow it down; a symbol need not be configured. One source after the other, newest chunks first; a chunk that was
    answered is not asked for again, so that a killed backfill goes on where it stopped. most: so many chunks of a source.
    The run leaves its row in `runs`. Raises TapewatchError for an unknown source or an empty span; a venue's failures
    are in `problems`.
    """
    with history_turn(context), recorded(con, context, run_id, "backfill") as tally:
        brought = _backfill(con, context, run_id, start, end, source, symbols, with_derive, progress, most)
        brought.tell(tally)
    return brought


def _backfill(
    con: duckdb.DuckDBPyConnection,
    context: Context,
    run_id: str,
    start: datetime,
    end: datetime | None,
    source: str | None,
    symbols: Sequence[str],
    with_derive: bool,
    progress: Progress | None,
    most: int | None,
) -> Brought:
    configured = context.feeds(for_history=True)
    feeds = [feed for feed in configured if source in (None, feed.source.name)]
    if not feeds:
        names = ", ".join(feed.source.name for feed in configured)
        raise TapewatchError(f"source {source!r} is not configured; there are {names}")
    brought = Brought()
    found = [_plan(con, context, feed, symbols, start, end, brought) for feed in feeds]
    plans = [replace(plan, work=plan.work[:most]) for plan in found if plan]
    stores = context.stores(con, run_id)
    done, total = 0, sum(len(plan.work) for plan in plans)
    for plan, fetched in [(plan, chunks.Fetched(plan.work)) for plan in plans]:
        problems, before = len(brought.problems), brought.counts()
        for chunk, got in fetched:
            if progress:
                progress(done, total, str(chunk))
            brought.take(chunks.load(chunk, got, stores), len(chunk.symbols))
            done += 1
        if with_derive:
            if progress:
                progress(done, total, f"{plan.feed.source.name} windows, indicators, anomalies")
            _follow_up(con, context, run_id, plan, brought, problems)
        brought.note(plan.feed.source.name, before)
    if progress:
        progress(total, total, "done")
    return brought


@dataclass(frozen=True)
class _Plan:
    """What one source is asked for: [start, until), UTC, in chunks, newest first."""

    feed: Feed
    start: datetime
    until: datetime
    market_now: datetime
    work: tuple[chunks.Chunk, ...]


def _plan(
    con: duckdb.DuckDBPyConnection,
    context: Context,
    feed: Feed,
    symbols: Sequence[str],
    start: datetime,
    end: datetime | None,
    brought: Brought,
) -> _Plan | None:
    """None where the source does not tell its time; that is a problem then."""
    try:
        market_now = feed.source.server_time()
    except SourceError as error:
        brought.problems.append(str(error))
        return None
    until = min(utc(end), floor_minute(market_now)) if end else floor_minute(market_now)
    if utc(start) >= until:
        raise TapewatchError(f"nothing to backfill: start {start} is not before {until}")
    chosen = [s.upper() for s in symbols] or list(feed.symbols)
    work: list[chunks.Chunk] = []
    for calendar in sorted({feed.calendar_of(symbol) for symbol in chosen}):
        if calendar != CONTINUOUS:
            fill_sessions(con, context, calendar, start.date(), until.date())
        alike = [symbol for symbol in chosen if feed.calendar_of(symbol) == calendar]
        wanted, known = chunks.plan_chunks(con, feed, alike, start, until, market_now, calendar)
        work += wanted
        brought.chunks += known
        brought.chunks_known += known
    work.sort(key=lambda chunk: chunk.until, reverse=True)
    return _Plan(feed, start, until, floor_minute(market_now), tuple(work))


def _follow_up(
    con: duckdb.DuckDBPyConnection,
    context: Context,
    run_id: str,
    plan: _Plan,
    brought: Brought,
    problems: int,
) -> None:
    """What is missing asked of the archive, then everything derived and counted; problems: how many there were before."""
    name, start, until = plan.feed.source.name, naive(plan.start), naive(plan.until)
    stores = context.stores(con, run_id)
    found = fill_from_archive(con, context, stores, plan.feed, (start, until), plan.market_now)
    for one in found:
        brought.take(one, 0)
    derive_pending(con, context, run_id, {name: naive(plan.market_now)}, brought)
    others = (f"{name}_bulk",) if found else ()
    silent = pl.concat([NO_MINUTES, *(minutes for source, minutes in brought.silent if source == name)])
    is_answered = len(brought.problems) == problems
    told = Asked(naive(plan.market_now), others, is_answered, silent.unique())
    cover_history(con, context, run_id, name, start, until, told)
