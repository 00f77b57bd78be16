"""History into the warehouse, from a venue or a file, by the same landing, gate and ledger as the minute.

Used by the `backfill` and `import` flows and by the commands of the same names. Sessions come first, because a
bar's windows and baseline follow its exchange's calendar; what is derived comes last, once for all chunks.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import duckdb
import polars as pl

from flows import chunks, touched
from flows.archives import fill_from_archive
from flows.context import Context, span_of_sessions, store_sessions
from flows.covering import Asked, cover_loaded, store
from flows.history_turn import history_turn, is_history_turn_taken
from flows.runs import Tally, recorded
from pipelines import derive
from pipelines.ingest import Feed, Ingested
from pipelines.market import CONTINUOUS, MINUTE, Interval, Series, floor_minute, naive, utc
from pipelines.quality import gate
from pipelines.quality.contract import TRADES, bars
from pipelines.quality.quarantine import QUARANTINE_SCHEMA, to_quarantine
from pipelines.sessions import sessions
from pipelines.sources.base import NO_MINUTES, SourceError
from pipelines.sources.files import FileRows, read_parts
from warehouse import build
from warehouse.asked import SPAN_SCHEMA, asked_spans, note_asked
from warehouse.build import trade_minutes
from warehouse.connect import transaction, writer
from warehouse.errors import TapewatchError
from warehouse.load import Batch, Loaded, load_bars, load_interval_bars, load_trades

log = logging.getLogger(__name__)

ROWS_A_PART = 150_000
"""Bars of history that are derived at once: a few seconds of the lake's writer."""
MINUTES = "-minutes"
"""How the id of a batch ends whose bars were made of imported trades."""
Progress = Callable[[int, int, str], None]


@dataclass
class Brought:
    """What a backfill or import did. `rows_good` (of a file): accepted by the gate, whether new or known."""

    rows_in: int = 0
    rows_good: int = 0
    rows_loaded: int = 0
    rows_revised: int = 0
    rows_quarantined: int = 0
    chunks: int = 0
    chunks_known: int = 0
    windows: int = 0
    anomalies: int = 0
    problems: list[str] = field(default_factory=list)
    silent: list[tuple[str, pl.DataFrame]] = field(default_factory=list)
    """Source -> minutes (symbol, ts) that it listed without a value."""

    def add(self, rows_in: int, loaded: Loaded) -> None:
        self.rows_in += rows_in
        self.rows_loaded += loaded.rows_new
        self.rows_revised += loaded.rows_revised
        self.rows_quarantined += loaded.rows_quarantined
        self.chunks += 1
        self.chunks_known += loaded.already

    def take(self, result: Ingested, parts: int) -> None:
        """What a chunk of a backfill gave; it stands for so many symbols' chunks."""
        self.rows_in += result.rows_in
        self.rows_loaded += sum(load.rows_new for load in result.loads)
        self.rows_revised += sum(load.rows_revised for load in result.loads)
        self.rows_quarantined += result.rows_quarantined
        self.chunks += parts
        self.silent.append((result.source, result.silent))
        self.problems += sorted({failure.detail for failure in result.failures})

    def tell(self, tally: Tally) -> None:
        """Into the run's row in `runs`."""
        tally.rows_in, tally.rows_loaded = self.rows_in, self.rows_loaded + self.rows_revised
        tally.rows_quarantined = self.rows_quarantined
        told = f"{self.chunks_known} of {self.chunks} chunks known, {self.windows} windows, {self.anomalies} anomalies"
        tally.detail = "; ".join([told, *self.problems])[:500]


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
        problems = len(brought.problems)
        for chunk, got in fetched:
            if progress:
                progress(done, total, str(chunk))
            brought.take(chunks.load(chunk, got, stores), len(chunk.symbols))
            done += 1
        if with_derive:
            if progress:
                progress(done, total, f"{plan.feed.source.name} windows, indicators, anomalies")
            _follow_up(con, context, run_id, plan, brought, problems)
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
    _cover(con, context, run_id, name, start, until, told)


def import_file(
    con: duckdb.DuckDBPyConnection,
    context: Context,
    run_id: str,
    path: Path,
    source: str,
    symbol: str | None = None,
    interval: str | None = None,
    with_derive: bool = True,
    columns: Sequence[str] = (),
) -> Brought:
    """A user's file into `bars`, `trades` or (other intervals) `ohlcv`; bad rows to quarantine with their line.

    Any source and symbol; columns: their meanings, where neither header nor order tells them.
    Raises TapewatchError where the file as a whole cannot be used.
    """
    with history_turn(context), recorded(con, context, run_id, "import") as tally:
        brought = _import(con, context, run_id, path, source, symbol, interval, with_derive, columns)
        brought.tell(tally)
        tally.detail = f"{path.name}: {tally.detail}"
    return brought


def _import(
    con: duckdb.DuckDBPyConnection,
    context: Context,
    run_id: str,
    path: Path,
    source: str,
    symbol: str | None,
    interval: str | None,
    with_derive: bool,
    columns: Sequence[str],
) -> Brought:
    brought = Brought()
    name = source.strip().lower()
    parsed = Interval.parse(interval) if interval else None
    calendars = {name: context.calendars.get(name, CONTINUOUS)}
    now = datetime.now(UTC)
    digest = _file_digest(path, name, symbol, interval, *columns)
    traded: list[datetime] = []
    reached: list[datetime] = []
    held: list[pl.DataFrame] = []
    parts = read_parts(path, name, now, symbol=symbol, interval=parsed, columns=columns)
    for number, part in enumerate(parts):
        if calendars[name] != CONTINUOUS and part.frame.height:
            first, last = part.frame["ts"].min(), part.frame["ts"].max()
            assert isinstance(first, datetime)
            assert isinstance(last, datetime)
            fill_sessions(con, context, calendars[name], first.date(), last.date())
        batch = Batch(
            batch_id=f"{name}-import-{digest}-{number}",
            source=name,
            kind="import",
            run_id=run_id,
            known_at=naive(now),
            rows_in=part.frame.height + part.rejects.height,
            sha256=digest,
            path=str(path),
        )
        good, loaded = _load_part(con, context, batch, part, calendars, now)
        brought.rows_good += good.height
        brought.add(batch.rows_in, loaded)
        bounds = [ts for ts in (good["ts"].min(), good["ts"].max()) if isinstance(ts, datetime)]
        if part.kind == "trades":
            traded += bounds
        if bounds and (part.kind == "trades" or part.interval == Interval(60)):
            held.append(good.select("source", "symbol", from_ts="ts", to_ts="ts"))
            reached += [] if loaded.already else bounds
    if held:
        told = _told_by_file(held).join(asked_spans(con, name), on=list(SPAN_SCHEMA), how="anti")
        note_asked(con, context.location, told, run_id, naive(now))
    if traded:
        batch_id = f"{name}-import-{digest}{MINUTES}"
        _load_minutes(con, context, Batch(batch_id, name, "import", run_id, naive(now)), traded, calendars)
    if with_derive:
        derive_pending(con, context, run_id, {}, brought)
        if reached:
            _cover(con, context, run_id, name, min(reached), max(reached))
    return brought


def derive_pending(
    con: duckdb.DuckDBPyConnection,
    context: Context,
    run_id: str,
    clocks: dict[str, datetime],
    brought: Brought,
) -> None:
    """Windows, indicators and anomalies of everything that waits.

    In parts of some series each, so that neither memory nor the wait of a live minute for the lake grows with it;
    the batches count as derived with the last part: whoever is killed before leaves them to the next.
    """
    with history_turn(context):
        parts = _parts(con)
        for number, part in enumerate(parts, 1):
            now = naive(datetime.now(UTC))
            with writer(context.location):
                found = derive.derive(con, clocks, context.plan, part=part)
                if number < len(parts):
                    found = replace(found, batches=(), clocks={})
                with transaction(con, context.location):
                    derive.write(con, found, context.plan, run_id, now)
            if found.rows.height:
                named = found.rows.select("source", "symbol").unique()
                touched.note(context, (Series(*row) for row in named.iter_rows()))
            brought.windows += found.windows.height
            brought.anomalies += found.anomalies.height


def derive_abandoned(con: duckdb.DuckDBPyConnection, context: Context, run_id: str) -> None:
    """Derives history whose loader was killed before it could; nothing while somebody loads or derives history."""
    if not is_history_turn_taken(context):
        waiting = build.pending_batches(con)
        if derive.HISTORY_KINDS & set(waiting["kind"]):
            derive_pending(con, context, run_id, {}, Brought())


def _parts(con: duckdb.DuckDBPyConnection) -> list[derive.Part]:
    """The waiting series in groups of about ROWS_A_PART bars; at least one part."""
    waiting = build.pending_batches(con)
    groups: list[list[tuple[str, str]]] = []
    held = ROWS_A_PART
    for source, symbol, rows in build.waiting_rows(con, waiting).iter_rows():
        if held + rows > ROWS_A_PART:
            groups.append([])
            held = 0
        groups[-1].append((source, symbol))
        held += rows
    ids = frozenset(waiting["batch_id"])
    return (
        [derive.Part(batches=ids, series=frozenset(group)) for group in groups]
        if groups[1:]
        else [derive.WHOLE]
    )


def _cover(
    con: duckdb.DuckDBPyConnection,
    context: Context,
    run_id: str,
    source: str,
    first: datetime,
    last: datetime,
    asked: Asked | None = None,
) -> None:
    """Coverage of the days that were loaded; of what a venue left out, gaps."""
    with writer(context.location):
        covered = cover_loaded(context, con, source, first.date(), last.date(), asked)
        store(context, con, covered, run_id, naive(datetime.now(UTC)))


def fill_sessions(
    con: duckdb.DuckDBPyConnection, context: Context, calendar: str, first: date, last: date
) -> int:
    """The calendar's sessions around these days into the warehouse, with the user's own closures."""
    start, end = span_of_sessions(first, last)
    overrides = [closure for closure in context.settings.sessions if closure.calendar == calendar]
    return store_sessions(con, context, sessions(calendar, start, end, overrides))


def _load_part(
    con: duckdb.DuckDBPyConnection,
    context: Context,
    batch: Batch,
    part: FileRows,
    calendars: dict[str, str],
    now: datetime,
) -> tuple[pl.DataFrame, Loaded]:
    """The rows that the gate accepted, and what loading them changed."""
    contract = TRADES if part.interval is None else bars(part.interval)
    minute = part.interval == Interval(60)
    gated = gate.split(part.frame, contract, now)
    stamp = (batch.source, batch.run_id, batch.batch_id, now)
    bad = [to_quarantine(f.with_columns(file=pl.lit(Path(batch.path).name)), *stamp)
           for f in (gated.quarantined, part.rejects) if f.height]  # fmt: skip
    quarantined = pl.concat([pl.DataFrame(schema=QUARANTINE_SCHEMA), *bad])
    accepted = gated.accepted.drop("payload", "line", strict=False)
    frames = (accepted, quarantined, calendars)
    if part.kind == "trades":
        return accepted, load_trades(con, context.location, batch, *frames)
    if minute:
        return accepted, load_bars(con, context.location, batch, *frames)
    return accepted, load_interval_bars(con, context.location, batch, str(part.interval), *frames)


def _told_by_file(parts: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """From its first to its last minute a file tells of a series all there was (SPAN_SCHEMA)."""
    spans = pl.concat(parts).group_by("source", "symbol").agg(pl.col("from_ts").min(), pl.col("to_ts").max())
    return spans.with_columns(
        pl.col("from_ts").dt.truncate("1m"),
        pl.col("to_ts").dt.truncate("1m") + MINUTE,
        kind=pl.lit("import"),
        answered=pl.lit(True),
    )


def _load_minutes(
    con: duckdb.DuckDBPyConnection,
    context: Context,
    batch: Batch,
    traded: list[datetime],
    calendars: dict[str, str],
) -> None:
    """The minutes of a file's trades as bars, so that windows and indicators follow from them as from any others."""
    since, until = floor_minute(min(traded)), floor_minute(max(traded)) + timedelta(minutes=1)
    bars = trade_minutes(con, batch.source, since, until, MINUTES)
    load_bars(con, context.location, batch, bars, pl.DataFrame(schema=QUARANTINE_SCHEMA), calendars)


def _file_digest(path: Path, *parts: str | None) -> str:
    """What the batch is known by: the file's bytes and what it was said to be."""
    digest = hashlib.sha256(repr(parts).encode())
    try:
        with path.open("rb") as stream:
            for block in iter(lambda: stream.read(1 << 20), b""):
                digest.update(block)
    except OSError as error:
        raise TapewatchError(f"{path}: cannot be read: {error.strerror}") from error
    return digest.hexdigest()[:24]
