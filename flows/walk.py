"""The minute's walk as plain functions: recall -> ingest each source -> load, derive and alert -> publish -> record.

`flows.minute` shows the same steps as tasks in the Prefect UI; `tapewatch run minute` and the tests call them here.
"""

from __future__ import annotations

import logging
import resource
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Literal

import duckdb
import numpy as np
import polars as pl

from flows import alerting, anomalies, touched
from flows.collection import wish_of
from flows.context import Context, sessions_around
from flows.runs import LANDED, stage_of
from pipelines import minute
from pipelines.analytics.feed import of_feeds
from pipelines.fallback import stand_in
from pipelines.ingest import Feed, Ingested, ingest_minute, newest_of
from pipelines.market import CONTINUOUS, floor_minute, naive, utc
from pipelines.recent.past import Past
from reports.render import keep_compiled
from reports.site import Published, publish
from warehouse.connect import transaction, writer
from warehouse.errors import TapewatchError
from warehouse.load import watermarks
from warehouse.stage import literals

log = logging.getLogger(__name__)

GRACE = timedelta(seconds=1)
"""How long after the minute's end the venues are asked: their newest bar is final then."""


class Run:
    """One run of the minute: its connection, its clock and what its steps have found so far.

    A plain class, so that Prefect hands it on between tasks without looking inside.
    """

    def __init__(
        self,
        context: Context,
        con: duckdb.DuckDBPyConnection,
        run_id: str,
        scheduled: datetime,
        past: Past | None = None,
    ) -> None:
        self.context = context
        self.con = con
        self.past = past
        self.run_id = run_id
        self.scheduled = floor_minute(utc(scheduled))
        self.started_at = datetime.now(UTC)
        self.ingested: list[Ingested] = []
        self.lag_s: float | None = None
        self.watch: alerting.Watch | None = None
        self.took_ms: dict[str, list[float]] = {}

    def newest_bars(self, source: str) -> dict[str, datetime]:
        """Symbol -> its newest minute in the past at hand; empty where there is none."""
        return self.past.newest_bars(source) if self.past else {}

    @property
    def market_now(self) -> datetime:
        """The furthest of the sources' own clocks; ours where none answered."""
        clocks = [one.market_now for one in self.ingested if one.market_now]
        return max(clocks, default=datetime.now(UTC))


def recall(context: Context, con: duckdb.DuckDBPyConnection) -> Past | None:
    """Ahead of a minute: what the run before it left at hand, else the same read from the lake."""
    wanted = minute.wanted_of(context.plan, [source.name for source in context.settings.sources])
    return minute.past_at_hand(con, context.recent, wanted)


def wait_for_close(scheduled: datetime) -> None:
    """Sleeps until the scheduled minute is over by GRACE: Prefect may start a run a third of a second early."""
    wait = (utc(scheduled) + GRACE - datetime.now(UTC)).total_seconds()
    if 0 < wait < 60:
        time.sleep(wait)


def ingest(run: Run, feed: Feed) -> Ingested:
    """Everything new of one source on disk, parsed and judged by the gate; a source that fails stops no other.

    While the collection is stopped nothing is asked for.
    """
    wanted = wish_of(run.context.settings.data_dir)
    if not wanted.collect:
        run.ingested.append(Ingested(feed.source.name, "stopped", wanted.words, None, None))
        return run.ingested[-1]
    stores = run.context.stores(run.con, run.run_id)
    try:
        sessions_at = partial(sessions_around, run.con)
        result = ingest_minute(feed, stores, run.scheduled, sessions_at, run.newest_bars(feed.source.name))
        result = stand_in(feed, stores, run.scheduled, sessions_at, result)
    except TapewatchError as error:
        result = Ingested(feed.source.name, "failed", str(error), None, None)
    run.ingested.append(result)
    for stage, values in result.latencies_ms.items():
        run.took_ms.setdefault(stage, []).extend(values)
        if stage == LANDED:
            run.took_ms[stage_of(stage, result.source)] = list(values)
    level = logging.INFO if result.state in ("ok", "idle") else logging.WARNING
    log.log(
        level,
        "%s: %s, %d rows in%s", result.source, result.state, result.rows_in,
        f": {result.reason}" if result.reason else "",
    )  # fmt: skip
    return result


@dataclass(frozen=True)
class Derivation:
    """What the derive step wrote."""

    windows: int
    rows: int
    anomalies: int
    alerts: int
    messages: int
    severities: dict[str, int] = field(default_factory=dict)


def derive_and_alert(run: Run) -> Derivation:
    """Bars, windows, indicators, anomalies, alert states and their outbox rows, in one transaction."""
    started = time.perf_counter()
    context, con = run.context, run.con
    clocks = {one.source: naive(one.until) for one in run.ingested if one.until is not None}
    now = datetime.now(UTC)
    plan, stores = context.plan, context.stores(con, run.run_id)
    deliveries = [delivery for one in run.ingested for delivery in one.deliveries]
    with writer(context.location):
        work = minute.work_out(stores, deliveries, clocks, plan, run.past)
        found = work.derived
        health = feed_health(run)
        of_feed = anomalies.fresh(con, of_feeds(health, plan.thresholds))
        spoken = alerting.judge(con, context, found, health, run.market_now, now, run.run_id)
        with transaction(con, context.location):
            loads = list(minute.write(con, work, plan, run.run_id, naive(now)))
            anomalies.write(con, of_feed, run.run_id, naive(now))
            _write_states(con, run, now)
            alerting.write(con, spoken, now, run.run_id)
        run.watch = spoken.watch
        run.past = minute.remember(con, context.recent, work, run.past)
    for at, one in enumerate(run.ingested):
        own = [loads.pop(0) for _ in one.deliveries]
        run.ingested[at] = replace(one, loads=(*one.loads, *own))
    run.lag_s = (datetime.now(UTC) - run.scheduled).total_seconds()
    run.took_ms["derive"] = [(time.perf_counter() - started) * 1000]
    by_severity = found.anomalies.group_by("severity").len().rows() if found.anomalies.width else []
    return Derivation(
        found.windows.height, found.rows.height, found.anomalies.height + of_feed.height,
        len(spoken.events), len(spoken.messages), dict(by_severity),
    )  # fmt: skip


def publish_site(run: Run, scope: Literal["minute", "full"] = "minute") -> Published:
    """The pages and files of the site that this minute changed."""
    started = time.perf_counter()
    keep_compiled(run.context.settings.data_dir / "templates")
    watch = run.watch or alerting.watch_of(run.con, run.context)
    options = alerting.site_options(run.context, run.market_now, run.run_id, datetime.now(UTC), watch)
    with touched.obeyed(run.context) as series:
        done = publish(run.con, run.context.settings.site_dir, replace(options, touched=series), scope)
    run.took_ms["publish"] = [(time.perf_counter() - started) * 1000]
    _note_build(run)
    return done


def _note_build(run: Run) -> None:
    """Leaves the run's id where the supervisor counts the renders that reached the site."""
    path = run.context.settings.data_dir / "run" / "builds.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    kept = path.read_text().splitlines()[-200:] if path.exists() else []
    draft = path.with_suffix(".tmp")
    draft.write_text("\n".join([*kept, run.run_id]) + "\n")
    draft.replace(path)


def record(run: Run, state: str, flow: str = "minute", detail: str | None = None) -> None:
    """The run's row and its latencies."""
    finished = datetime.now(UTC)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    loaded = sum(one.rows_loaded for one in run.ingested)
    row = (
        run.run_id, flow, naive(run.scheduled), naive(run.started_at), naive(finished), state,
        sum(one.rows_in for one in run.ingested), loaded, sum(one.rows_quarantined for one in run.ingested),
        run.lag_s, usage.ru_utime + usage.ru_stime, detail or _fault(run),
    )  # fmt: skip
    with transaction(run.con, run.context.location):
        run.con.execute(f"INSERT INTO ops.runs VALUES {literals(row)}")
        stages = [
            literals((run.run_id, stage, *latency(values), naive(finished)))
            for stage, values in run.took_ms.items()
        ]
        if stages:
            run.con.execute(f"INSERT INTO ops.latency VALUES {', '.join(stages)}")


def _fault(run: Run) -> str | None:
    fault = run.context.settings.fault
    return (
        f"the configuration has a mistake; what it said before stays in force: {fault}"[:500]
        if fault
        else None
    )


def latency(values: Sequence[float]) -> tuple[float, float, float, int]:
    """Median, 99th percentile and maximum of milliseconds, and how many there are."""
    if not values:
        return 0.0, 0.0, 0.0, 0
    array = np.asarray(values)
    return (
        round(float(np.median(array)), 3),
        round(float(np.quantile(array, 0.99)), 3),
        round(float(array.max()), 3),
        len(values),
    )


def feed_health(run: Run) -> pl.DataFrame:
    """One row a source for the feed rules: source, symbol (null), ts, latency_p99_ms, stale_s, gap_minutes.

    stale_s is null while the market is shut: nothing is due then. gap_minutes are those of the watched symbols.
    """
    rows: list[dict[str, Any]] = []
    watched = {(one.name, symbol) for one in run.context.settings.sources for symbol in one.symbols}
    gaps: dict[str, float] = {}
    for source, symbol, minutes in run.con.execute(
        "SELECT source, symbol, minutes FROM gaps WHERE state = 'open' AND kind = 'minutes'"
    ).fetchall():
        if (source, symbol) in watched:
            gaps[source] = gaps.get(source, 0.0) + minutes
    for one in run.ingested:
        if one.state == "stopped":
            continue
        waits = one.latencies_ms.get(LANDED)
        market = one.market_now or run.scheduled
        rows.append(
            {
                "source": one.source,
                "symbol": None,
                "ts": naive(market),
                "latency_p99_ms": latency(waits)[1] if waits else None,
                "stale_s": _stale_s(run, one, market),
                "gap_minutes": gaps.get(one.source, 0.0),
            }
        )
    numbers = ("latency_p99_ms", "stale_s", "gap_minutes")
    schema: dict[str, pl.DataType] = {
        "source": pl.String(), "symbol": pl.String(), "ts": pl.Datetime("us"), **dict.fromkeys(numbers, pl.Float64()),
    }  # fmt: skip
    return pl.DataFrame(rows, schema=schema)


def _stale_s(run: Run, one: Ingested, market: datetime) -> float | None:
    calendar = run.context.calendars.get(one.source, CONTINUOUS)
    due = naive(market)
    if calendar != CONTINUOUS:
        try:
            sessions = sessions_around(run.con, calendar, market)
        except TapewatchError:
            return None
        current = sessions.filter((pl.col("open_ts") <= due) & (pl.col("close_ts") > due))
        if current.is_empty():
            return None
        opened = current["open_ts"].item(0)
    else:
        opened = None
    day_ago = due - timedelta(days=1)
    known = run.newest_bars(one.source) or watermarks(run.con, one.source, day_ago)
    marks = [ts for ts in known.values() if ts >= day_ago]
    for delivery in one.deliveries:
        marks += newest_of(delivery).values()
    newest = max(marks, default=None)
    since = max((at for at in (newest and newest + timedelta(minutes=1), opened) if at), default=None)
    return None if since is None else max((due - since).total_seconds(), 0.0)


def _write_states(con: duckdb.DuckDBPyConnection, run: Run, now: datetime) -> None:
    rows = [
        (one.source, one.state, one.reason, one.market_now and naive(one.market_now), naive(now), run.run_id)
        for one in run.ingested
    ]
    if rows:
        con.execute(f"INSERT INTO core.source_states VALUES {', '.join(map(literals, rows))}")
