"""Missing minutes asked for again, of their source and of every other way, until they come or are admitted.

A gap is asked of the source itself, then of its standbys, then of its archives. A minute that every way has answered
without is `lost`, with what each of them said; before that it stays open and is asked for again, and afterwards once
a day for a week. Minutes that a standby filled, or that were made of trades, are asked of the source itself. Missing trades are asked of the source by id.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import duckdb
import polars as pl

from flows import heal_lost
from flows.brought import Brought
from flows.collection import streams_folder
from flows.context import Context
from flows.covering import Covered, cover
from flows.deriving import derive_abandoned, derive_pending
from flows.heal_run import Answers, Healed, Healing, came_in_words, minutes_in
from flows.heal_trades import TradesHealed, heal_trades
from flows.heal_verdict import as_events, settle
from flows.runs import recorded
from pipelines import landing
from pipelines.fallback import DOWN
from pipelines.ingest import OVERLAP, Feed, ingest_requests
from pipelines.market import naive, utc
from pipelines.sources.base import BarRequest, Source, SourceError
from pipelines.trade_minutes import OWN
from warehouse.clocks import market_clocks
from warehouse.stage import frame, literal

GIVE_UP_AFTER = timedelta(hours=1)
"""How old a gap must be before it may be called lost: a venue's late rows come sooner."""
MOST_REQUESTS = 200
"""Of one source in one run, the newest first; the next run goes on."""
BACK_AFTER = timedelta(days=1)
"""How long the source itself is asked for minutes that a standby brought."""
MADE_FOR = timedelta(hours=2)
"""How long a source is asked for minutes made of its trades: an equal kline leaves no trace that it was asked."""
PATIENCE = timedelta(minutes=2)


def run_heal(
    context: Context,
    con: duckdb.DuckDBPyConnection,
    run_id: str,
    now: datetime | None = None,
    give_up_after: timedelta = GIVE_UP_AFTER,
    scheduled: datetime | None = None,
) -> Healed:
    """Gaps found, asked for and settled; what came is derived.

    now: the wall clock (aware UTC). A source that does not answer leaves its gaps open; nothing is raised for it.
    """
    run = Healing(context, con, run_id, utc(now or datetime.now(UTC)))
    done = run.done
    with recorded(con, context, run_id, "heal", scheduled) as tally:
        derive_abandoned(con, context, run_id)
        covered = run.look()
        done.missing = minutes_in(covered.missing)
        for feed in context.feeds():
            answers = Answers()
            covered = _heal_source(run, feed, covered, answers)
            covered = settle(run, feed, covered, answers, give_up_after)
            _heal_trades(run, feed, give_up_after)
        if run.has_asked:
            # A batch that brought nothing is noted as derived too: the minute would have to ask the lake about it.
            derive_pending(con, context, run_id, {}, Brought())
        if done.came:
            run.look(run.days)
        done.still_open = minutes_in(covered.missing)
        tally.rows_in, tally.rows_loaded = done.missing, sum(done.came.values())
        tally.detail = (
            f"{done.missing} minutes missing, {came_in_words(done.came)}, {done.no_trade} without a trade, "
            f"{done.lost} lost, {done.still_open} still open; trades: {done.trades.missing} missing, "
            f"{done.trades.came} came, {done.trades.lost} lost"
        )
    return done


def _heal_source(run: Healing, feed: Feed, covered: Covered, answers: Answers) -> Covered:
    """Asks the source, then each other way for what is still missing; returns what is missing now."""
    name = feed.source.name
    holes = covered.missing.filter(pl.col("source") == name)
    borrowed, lost = _not_its_own(run.con, name), heal_lost.due(run.con, name, run.now())
    if holes.is_empty() and borrowed.is_empty() and lost.is_empty():
        return covered
    clock = _clock(run, feed)
    for kind, way in _ways(feed):
        wanted = pl.concat([holes, lost])
        wanted = pl.concat([wanted, borrowed]) if way is feed.source else _settled(wanted, clock)
        loaded = _ask(run, feed, kind, way, wanted, clock, answers)
        if loaded:
            venue = getattr(way, "venue", name)
            run.done.came[venue] = run.done.came.get(venue, 0) + loaded
            covered = cover(run.context, run.con)
            holes = covered.missing.filter(pl.col("source") == name)
            lost, back = heal_lost.still(run.con, lost)
            run.days = max([run.days, *((clock.date() - day).days + 1 for day in back)])
        if holes.is_empty() and lost.is_empty():
            break
    asked = lost.filter(pl.col("symbol").is_in(list(answers.said.keys() - answers.unanswered)))
    if asked.height:
        words = [f"asked again: {'; '.join(answers.said[symbol])}" for symbol in asked["symbol"]]
        run.store(covered, as_events(asked, "lost", words))
    return covered


def _ways(feed: Feed) -> Iterator[tuple[str, Source]]:
    """The source itself, its standbys in their order, its archive; with the origin of what they bring."""
    yield "heal", feed.source
    for standby in feed.standbys:
        yield "fallback", standby
    if feed.archive:
        yield "heal", feed.archive


def _ask(
    run: Healing, feed: Feed, kind: str, way: Source, wanted: pl.DataFrame, clock: datetime, answers: Answers
) -> int:
    """Fetches and loads these runs of minutes by one way; returns how many bars were new or other than before."""
    venue = getattr(way, "venue", feed.source.name)
    requests: list[BarRequest] = []
    for symbol, since, until in (
        wanted.sort("to_ts", descending=True).select("symbol", "from_ts", "to_ts").rows()
    ):
        parts = way.plan(symbol, utc(since), utc(until), utc(clock))
        if not parts:
            answers.say(symbol, f"{venue} has no such minutes")
        requests += parts
    answers.unanswered |= {request.symbol for request in requests[MOST_REQUESTS:]}
    requests = requests[:MOST_REQUESTS]
    if not requests:
        return 0
    batch = landing.batch_id(feed.source.name, kind, utc(clock), f"{venue}-{uuid4().hex[:8]}")
    stores = run.context.stores(run.con, run.run_id)
    result = ingest_requests(way, stores, requests, batch, kind, utc(clock), utc(clock))
    run.has_asked = True
    failed = {failure.symbol: failure for failure in result.failures}
    for symbol in {request.symbol for request in requests}:
        failure = failed.get(symbol)
        if failure is None:
            answers.say(symbol, f"{venue} answered without them")
        else:
            answers.say(symbol, failure.detail[:160])
        if failure is not None and (failure.retryable or failure.reason in DOWN):
            answers.unanswered.add(symbol)
        elif failure is None and way is feed.source and feed.source.quiet == "absent":
            answers.quiet.add(symbol)
    if way is feed.source:
        answers.silent.append(result.silent)
    return result.rows_loaded


def _not_its_own(con: duckdb.DuckDBPyConnection, source: str) -> pl.DataFrame:
    """Runs of minutes that the source itself has not given: source, symbol, from_ts, to_ts, minutes.

    A standby brought them within the last day, or they were made of trades within the last hours: the source may have
    corrected its kline meanwhile.
    """
    clock = market_clocks(con).get(source) or datetime(1970, 1, 1)
    lent = f"origin = 'fallback' AND ts >= {literal(clock - BACK_AFTER)}"
    made = f"origin = 'stream' AND ends_with(batch_id, {literal(OWN)}) AND ts >= {literal(clock - MADE_FOR)}"
    return frame(
        con,
        f"""
        SELECT source, symbol, min(ts) AS from_ts, max(ts) + INTERVAL 1 MINUTE AS to_ts, count(*) AS minutes
        FROM (
            SELECT source, symbol, ts, ts - INTERVAL 1 MINUTE * row_number() OVER (PARTITION BY symbol ORDER BY ts) AS run
            FROM core.bars
            WHERE source = {literal(source)} AND ts >= {literal(clock - BACK_AFTER)} AND ({lent} OR {made})
        ) GROUP BY source, symbol, run""",
    )


def _settled(holes: pl.DataFrame, clock: datetime) -> pl.DataFrame:
    """Runs that the minute's own overlap does not reach: a standby never competes with the source."""
    return holes.filter(pl.col("to_ts") <= clock - OVERLAP - PATIENCE)


def _clock(run: Healing, feed: Feed) -> datetime:
    """The source's own time, naive UTC; when it does not answer, what it said last."""
    try:
        return naive(feed.source.server_time())
    except SourceError as error:
        run.done.problems.append(str(error))
        return market_clocks(run.con).get(feed.source.name) or run.now()


def _heal_trades(run: Healing, feed: Feed, give_up_after: timedelta) -> None:
    clock = market_clocks(run.con).get(feed.source.name)
    if clock is None:
        return
    stores = run.context.stores(run.con, run.run_id)
    streams = streams_folder(run.context.settings.data_dir)
    found = heal_trades(stores, feed, streams, clock, give_up_after)
    run.has_asked |= found.missing > 0
    run.done.trades = TradesHealed(*(a + b for a, b in zip(run.done.trades, found, strict=True)))
