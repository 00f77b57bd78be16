"""Every ten minutes: the inbox is taken in, open gaps are worked off or admitted, and history that is owed is loaded.

A gap is asked of the source itself, then of its standbys, then of its archives. A minute that every way has answered
without is `lost`, with what each of them said; before that it stays open and is asked for again, and afterwards once
a day for a week. Minutes that a standby filled, or that were made of trades, are asked of the source itself. Missing trades are asked of the source by id.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import duckdb
import polars as pl
from prefect import flow, get_run_logger, task
from prefect.artifacts import create_table_artifact
from prefect.runtime import flow_run

from flows import heal_lost
from flows.brought import Brought
from flows.collection import streams_folder
from flows.context import Context, assemble, writing
from flows.covering import DAYS, Covered, cover, run_covering, store
from flows.deriving import derive_abandoned, derive_pending
from flows.gaps import known_gaps
from flows.heal_trades import TradesHealed, heal_trades
from flows.inbox import take_in
from flows.owed import load_owed
from flows.run_names import run_name
from flows.runs import recorded
from flows.scheduled import scheduled_start
from pipelines import landing
from pipelines.coverage import silent_runs
from pipelines.fallback import DOWN
from pipelines.ingest import OVERLAP, Feed, ingest_requests
from pipelines.market import MINUTE, naive, utc
from pipelines.sources.base import NO_MINUTES, BarRequest, Source, SourceError
from pipelines.trade_minutes import OWN
from warehouse.clocks import market_clocks
from warehouse.connect import writer
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
FILLS_IN = timedelta(minutes=15)
"""How old a minute must be before its row of nulls is believed: Yahoo fills its newest ones in later."""


@dataclass
class Healed:
    """What one run did: minutes that were missing, that came and by which way, and that were given up."""

    missing: int = 0
    came: dict[str, int] = field(default_factory=dict)
    lost: int = 0
    no_trade: int = 0
    still_open: int = 0
    trades: TradesHealed = field(default_factory=TradesHealed)
    problems: list[str] = field(default_factory=list)


@dataclass
class Answers:
    """What the ways said about a source's missing minutes: symbol -> one sentence a way, and who did not answer."""

    said: dict[str, list[str]] = field(default_factory=dict)
    unanswered: set[str] = field(default_factory=set)
    quiet: set[str] = field(default_factory=set)
    """Symbols whose own venue answered in full and leaves out minutes without a trade."""
    silent: list[pl.DataFrame] = field(default_factory=list)
    """Minutes (symbol, ts) that the own venue listed without a value."""

    def say(self, symbol: str, words: str) -> None:
        told = self.said.setdefault(symbol, [])
        if words not in told:
            told.append(words)


class Healing:
    """One run under way: where it works, and what it has done so far."""

    def __init__(self, context: Context, con: duckdb.DuckDBPyConnection, run_id: str, now: datetime) -> None:
        self.context, self.con, self.run_id = context, con, run_id
        self.ahead = now - datetime.now(UTC)
        self.done = Healed()
        self.has_asked = False
        self.days = DAYS

    def now(self) -> datetime:
        """The wall clock of this run, naive UTC; each look at it is a little later."""
        return naive(datetime.now(UTC) + self.ahead)

    def look(self, days: int = DAYS) -> Covered:
        """Coverage and gaps as they are now, written; of so many days at least."""
        return run_covering(self.context, self.con, self.run_id, self.now(), days)


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
        done.missing = _minutes(covered.missing)
        for feed in context.feeds():
            answers = Answers()
            covered = _heal_source(run, feed, covered, answers)
            covered = _settle(run, feed, covered, answers, give_up_after)
            _heal_trades(run, feed, give_up_after)
        if run.has_asked:
            # A batch that brought nothing is noted as derived too: the minute would have to ask the lake about it.
            derive_pending(con, context, run_id, {}, Brought())
        if done.came:
            run.look(run.days)
        done.still_open = _minutes(covered.missing)
        tally.rows_in, tally.rows_loaded = done.missing, sum(done.came.values())
        tally.detail = (
            f"{done.missing} minutes missing, {_came(done.came)}, {done.no_trade} without a trade, "
            f"{done.lost} lost, {done.still_open} still open; trades: {done.trades.missing} missing, "
            f"{done.trades.came} came, {done.trades.lost} lost"
        )
    return done


def _heal_trades(run: Healing, feed: Feed, give_up_after: timedelta) -> None:
    clock = market_clocks(run.con).get(feed.source.name)
    if clock is None:
        return
    stores = run.context.stores(run.con, run.run_id)
    streams = streams_folder(run.context.settings.data_dir)
    found = heal_trades(stores, feed, streams, clock, give_up_after)
    run.has_asked |= found.missing > 0
    run.done.trades = TradesHealed(*(a + b for a, b in zip(run.done.trades, found, strict=True)))


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
        _store(run, covered, _as_events(asked, "lost", words))
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


def _settle(
    run: Healing, feed: Feed, covered: Covered, answers: Answers, give_up_after: timedelta
) -> Covered:
    """Minutes that the source has told to be without a trade; then those lost that every way has answered without."""
    name = feed.source.name
    clock = market_clocks(run.con).get(name)
    if clock is None:
        return covered
    holes = _asked_for(covered, name, answers)
    filled = holes.filter(pl.col("to_ts") <= clock - min(give_up_after, FILLS_IN))
    silent = pl.concat([NO_MINUTES, *answers.silent])
    quiet = pl.concat(
        [holes.filter(pl.col("symbol").is_in(list(answers.quiet))), silent_runs(filled, silent)]
    )
    if quiet.height:
        covered = _write(run, covered, _quiet_events(run.con, holes, quiet, answers))
        run.done.no_trade += _minutes(quiet)
    old = _asked_for(covered, name, answers).filter(
        ~pl.col("symbol").is_in(list(answers.unanswered)), pl.col("to_ts") <= clock - give_up_after
    )
    if old.height:
        covered = _write(run, covered, _lost_events(run.con, old, answers))
        run.done.lost += _minutes(old)
    return covered


def _asked_for(covered: Covered, source: str, answers: Answers) -> pl.DataFrame:
    return covered.missing.filter(pl.col("source") == source, pl.col("symbol").is_in(list(answers.said)))


def _write(run: Healing, covered: Covered, events: pl.DataFrame) -> Covered:
    """These events into the ledger, and what is missing then."""
    _store(run, covered, events)
    return run.look()


def _store(run: Healing, covered: Covered, events: pl.DataFrame) -> None:
    with writer(run.context.location):
        store(run.context, run.con, Covered(pl.DataFrame(), events, covered.missing), run.run_id, run.now())


def _lost_events(con: duckdb.DuckDBPyConnection, holes: pl.DataFrame, answers: Answers) -> pl.DataFrame:
    """The known gaps that hold these runs, else the runs themselves, as lost; the reason says of how many minutes."""
    inside = _inside_known(con, holes)
    held = inside.group_by("source", "symbol", from_ts="a", to_ts="b", minutes="whole").agg(
        left=pl.col("minutes").sum()
    )
    alone = holes.join(inside, on=["source", "symbol", "from_ts"], how="anti")
    rows = pl.concat([held, alone.with_columns(left="minutes").select(held.columns)])
    words = [
        f"{left} of {minutes} minutes: {'; '.join(answers.said[symbol])}"
        for symbol, left, minutes in rows.select("symbol", "left", "minutes").rows()
    ]
    return _as_events(rows, "lost", words)


def _quiet_events(
    con: duckdb.DuckDBPyConnection, holes: pl.DataFrame, quiet: pl.DataFrame, answers: Answers
) -> pl.DataFrame:
    """The quiet runs as minutes without a trade; a gap that misses nothing but them is healed with that."""
    words = ["; ".join(answers.said[symbol]) for symbol in quiet["symbol"]]
    gap = ["source", "symbol", "a", "b", "whole", "origin"]
    missed = _inside_known(con, holes).group_by(gap).agg(missed=pl.col("minutes").sum())
    told = _inside_known(con, quiet).filter(pl.col("from_ts") != pl.col("a")).group_by(gap)
    both = told.agg(told=pl.col("minutes").sum()).join(missed, on=gap, nulls_equal=True)
    rest = both.filter(pl.col("told") == pl.col("missed"))
    rest = rest.select("source", "symbol", "origin", from_ts="a", to_ts="b", minutes="whole")
    healed = _as_events(rest, "healed", ["the others had no trade"] * rest.height)
    return pl.concat([_as_events(quiet, "no_trade", words), healed])


def _inside_known(con: duckdb.DuckDBPyConnection, holes: pl.DataFrame) -> pl.DataFrame:
    """The runs that lie in a known gap, with its from_ts as a, to_ts as b, minutes as whole, and its origin."""
    known = known_gaps(con).select("source", "symbol", "origin", a="from_ts", b="to_ts", whole="minutes")
    return holes.join(known, on=["source", "symbol"]).filter(
        (pl.col("from_ts") >= pl.col("a")) & (pl.col("to_ts") <= pl.col("b"))
    )


def _as_events(rows: pl.DataFrame, state: str, reasons: list[str]) -> pl.DataFrame:
    origin = pl.col("origin") if "origin" in rows.columns else pl.lit(None, pl.String).alias("origin")
    return rows.select("source", "symbol", "from_ts", "to_ts", "minutes", origin).with_columns(
        state=pl.lit(state), reason=pl.Series(reasons, dtype=pl.String)
    )


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


def _came(came: Mapping[str, int]) -> str:
    """`12 came from binance, 3 from coinbase`; `none came`."""
    told = [f"{count}{' came' if n == 0 else ''} from {way}" for n, (way, count) in enumerate(came.items())]
    return ", ".join(told) or "none came"


def _minutes(runs: pl.DataFrame) -> int:
    return int(runs["minutes"].sum())


@task(name="heal gaps")
def heal_gaps(give_up_minutes: int) -> dict[str, Any]:
    """Everything missing asked for by every way, with a table of the gaps it was about."""
    context = assemble()
    run_id = str(flow_run.id or uuid4())
    with writing(context) as con:
        done = run_heal(
            context, con, run_id, give_up_after=give_up_minutes * MINUTE, scheduled=scheduled_start()
        )
        rows = con.execute(
            "SELECT source, symbol, kind, from_ts, minutes, trades, state, origin, reason FROM gaps "
            "WHERE state IN ('open', 'healing') OR detected_at >= current_timestamp::TIMESTAMP - INTERVAL 1 DAY "
            "ORDER BY from_ts DESC LIMIT 100"
        ).fetchall()
    for problem in done.problems:
        get_run_logger().warning(problem)
    names = ("source", "symbol", "kind", "from", "minutes", "trades", "state", "healed by", "reason")
    create_table_artifact(
        key="gaps",
        table=[dict(zip(names, map(str, row), strict=True)) for row in rows],
        description=f"{done.missing} minutes missing, {_came(done.came)}, {done.lost} lost, {done.still_open} open",
    )
    return vars(done)


@task(name="take in the inbox")
def inbox() -> dict[str, int]:
    """Files that lie in the inbox, imported once and moved to `done` or `failed`."""
    context = assemble()
    with writing(context) as con:
        taken = take_in(con, context)
    for name, problem in taken.failed.items():
        get_run_logger().warning("%s: %s", name, problem)
    return {name: brought.rows_loaded for name, brought in taken.done.items()}


@task(name="load owed history")
def owed_history() -> int:
    """The configured history of series that were added since the start, or whose venue was away at it; bars loaded."""
    context = assemble()
    with writing(context) as con:
        brought = load_owed(con, context, str(flow_run.id or uuid4()), naive(datetime.now(UTC)))
    for problem in sorted({problem for one in brought for problem in one.problems})[:5]:
        get_run_logger().warning(problem)
    return sum(one.rows_loaded for one in brought)


@flow(name="heal", timeout_seconds=300, log_prints=False, flow_run_name=run_name)
def heal(give_up_minutes: int = 60) -> dict[str, Any]:
    """The inbox taken in; missing minutes asked for again: of their source, its fallback venues, Binance's archives.

    Then a part of the configured history that nobody has asked for yet.

    Args:
        give_up_minutes: How old a gap must be before it may be called lost.
    """
    numbers: dict[str, Any] = {"inbox": inbox(), **heal_gaps(give_up_minutes)}
    numbers["history"] = owed_history()
    get_run_logger().info("heal: %s", numbers)
    return numbers
