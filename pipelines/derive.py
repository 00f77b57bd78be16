"""From loaded bars to windows, indicators and anomalies, read from the lake: exactly what the new facts touch.

Everything is computed before the transaction that writes it, so that alerts and their outbox rows can go into
the same one. The ledger says which batches still wait; a run that was killed leaves them to the next. The usual
minute needs none of this reading: `pipelines.recent` has the newest bars at hand.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import duckdb
import polars as pl

from pipelines.analytics import detectors, indicators
from pipelines.analytics.baseline import judge
from pipelines.analytics.params import RETURNS
from pipelines.baselines import with_baseline
from pipelines.calendars import (
    CLOSING_SCHEMA,
    bars_per_year,
    by_source,
    closing_windows,
    longest_hole,
    those_of,
)
from pipelines.closed import closed_windows
from pipelines.derived import NEEDS_PAST, Derived, Plan, detect, together
from pipelines.market import CONTINUOUS, Interval
from pipelines.tails import read_tail
from warehouse import build, tails
from warehouse.build import KEY
from warehouse.calendars import sessions_between, stage_calendars, usual_minutes
from warehouse.connect import snapshot
from warehouse.facts import FOREVER, stage_facts
from warehouse.stage import insert, literals, stage

CLOSING_REACH = timedelta(days=7)
"""How far before a window that the clock closes bars may be asked for: a day, and over a weekend and a holiday."""
MINUTE = Interval(60)
HISTORY_KINDS = frozenset({"import", "backfill", "heal", "inbox"})


@dataclass(frozen=True)
class Part:
    """Which part of what waits is derived: without history, which its loader derives; only these batches, of them
    only these series.
    """

    with_history: bool = True
    batches: frozenset[str] | None = None
    series: frozenset[tuple[str, str]] | None = None


WHOLE, LIVE = Part(), Part(with_history=False)


def derive(
    con: duckdb.DuckDBPyConnection, clocks: Mapping[str, datetime], plan: Plan, part: Part = WHOLE
) -> Derived:
    """Windows, indicators, baselines and anomalies of all pending batches; call it holding the writer's lock.

    clocks: polled source -> market time (naive UTC) up to which its minutes are over.
    """
    with snapshot(con):
        return _derive(con, clocks, plan, part)


def _derive(
    con: duckdb.DuckDBPyConnection, clocks: Mapping[str, datetime], plan: Plan, part: Part
) -> Derived:
    batches = build.pending_batches(con, () if part.with_history else HISTORY_KINDS)
    if part.batches is not None:
        batches = batches.filter(pl.col("batch_id").is_in(list(part.batches)))
    calendars = by_source(stage_calendars(con))
    before = build.progress(con)
    closing = _closing(con, clocks, before, calendars, plan.intervals)
    oldest = closing["ts"].min()
    others_since = oldest - CLOSING_REACH if isinstance(oldest, datetime) else None
    facts = stage_facts(con, part.series, others_since)
    build.touch(con, batches, part.series, facts)
    # A source that nobody polls: whatever was imported from it is closed. A minute that comes late finds the clock where a backfill has left it.
    reached = {source: max(until, before.get(source, until)) for source, until in clocks.items()}
    known = dict.fromkeys(calendars, FOREVER) | before | reached
    build.stage_clocks(con, known, closing)
    with_history = bool(HISTORY_KINDS & set(batches["kind"]))
    session_minutes = _session_minutes(con, calendars, plan)
    widths = build.plan_windows(con, [interval.seconds for interval in plan.intervals])
    closed = closed_windows(
        con, [interval for interval in plan.intervals if interval.seconds in widths], facts
    )
    windows, rows, anomalies, baselines = [], [], [], []
    for interval in (MINUTE, *closed):
        if interval == MINUTE:
            fronts = build.fronts_1m(con)
        else:
            windows.append(closed[interval])
            stage(con, "new_windows", windows[-1])
            fronts = windows[-1].group_by("source", "symbol").agg(first_new=pl.col("ts").min(), rows=pl.len())
        if fronts.is_empty():
            continue
        tails.stage_fronts(con, fronts)
        tail = read_tail(con, interval, fronts, plan.params, calendars, facts)
        new = tails.new_rows(con, str(interval), tail.bars, fronts, facts)
        new, fresh = with_baseline(
            con, interval, new, with_history, plan.sessions, plan.min_sessions, part.series, facts
        )
        year = bars_per_year(calendars, interval, session_minutes)
        computed = indicators.advance(*tail, plan.params, year)
        judged = _judged(con, interval, _with_joined(tail.bars, interval, calendars), new, computed)
        rows.append(judged)
        anomalies.append(detect(judged, interval, plan))
        baselines.append(fresh)
    return Derived(
        batches=tuple(batches["batch_id"]),
        clocks=dict(clocks),
        windows=together(windows),
        rows=together(rows),
        anomalies=together(anomalies),
        baselines=together(baselines),
        by_series=part.series is not None,
    )


def _session_minutes(
    con: duckdb.DuckDBPyConnection, calendars: Mapping[str, str], plan: Plan
) -> dict[str, float]:
    """Calendar -> length of its usual session; the stored sessions are asked for those the plan does not know."""
    unknown = set(calendars.values()) - {CONTINUOUS, *plan.session_minutes}
    return {**plan.session_minutes, **(usual_minutes(con, sorted(unknown)) if unknown else {})}


def write(con: duckdb.DuckDBPyConnection, derived: Derived, plan: Plan, run_id: str, now: datetime) -> None:
    """Writes what was derived; inside a transaction."""
    run = pl.lit(run_id).alias("run_id")
    columns = [*KEY, *indicators.columns(plan.params), *indicators.hidden_columns(plan.params)]
    rows = derived.rows.select(name for name in columns if name in derived.rows.columns)
    for table, frame in (("calc.windows", derived.windows), ("calc.indicators", rows)):
        if frame.height:
            if not derived.all_new:
                build.delete_keys(con, table, frame)
            insert(con, table, frame.with_columns(run))
    _write_anomalies(con, derived, run_id, now)
    if derived.baselines.height:
        stage(con, "derived_baselines", derived.baselines.with_columns(run))
        key = ("source", "interval", "symbol") if derived.by_series else ("source", "interval")
        same = " AND ".join(f"calc.volume_baseline.{name} = s.{name}" for name in key)
        con.execute(
            f"DELETE FROM calc.volume_baseline USING (SELECT DISTINCT {', '.join(key)} FROM derived_baselines) AS s "
            f"WHERE {same}"
        )
        con.execute("INSERT INTO calc.volume_baseline BY NAME SELECT * FROM derived_baselines")
    done = [literals((batch_id, run_id, now, None, None)) for batch_id in derived.batches]
    reached = [literals((None, run_id, now, source, until)) for source, until in derived.clocks.items()]
    if done or reached:
        con.execute(f"INSERT INTO core.derived VALUES {', '.join([*done, *reached])}")


def _write_anomalies(con: duckdb.DuckDBPyConnection, derived: Derived, run_id: str, now: datetime) -> None:
    """A judged bar's anomalies are judged anew: those that stay keep the moment they became known, the others go to
    the withdrawn.
    """
    fresh = derived.anomalies
    if fresh.height:
        fresh = fresh.with_columns(run_id=pl.lit(run_id), known_at=pl.lit(now, pl.Datetime("us")))
    if derived.rows.height and not derived.all_new:
        before = build.rows_under(con, "calc.anomalies", derived.rows)
        if before.height:
            build.delete_keys(con, "calc.anomalies", before)
            gone = before.join(fresh, on="id", how="anti") if fresh.height else before
            if gone.height:
                moment = pl.lit(now, pl.Datetime("us"))
                gone = gone.with_columns(withdrawn_at=moment, withdrawn_by=pl.lit(run_id))
                insert(con, "calc.anomalies_withdrawn", gone)
            if fresh.height:
                known = before.select("id", was="known_at").unique("id")
                fresh = fresh.join(known, on="id", how="left", maintain_order="left")
                fresh = fresh.with_columns(known_at=pl.coalesce("was", "known_at")).drop("was")
    if fresh.height:
        insert(con, "calc.anomalies", fresh)


def _closing(
    con: duckdb.DuckDBPyConnection,
    clocks: Mapping[str, datetime],
    before: Mapping[str, datetime],
    calendars: Mapping[str, str],
    intervals: Sequence[Interval],
) -> pl.DataFrame:
    frames = [pl.DataFrame(schema=CLOSING_SCHEMA)]
    for source, until in clocks.items():
        for calendar in those_of(source, calendars) if source in before else ():
            sessions = pl.DataFrame()
            if calendar != CONTINUOUS:
                sessions = sessions_between(con, calendar, before[source] - timedelta(days=1), until)
            frames.append(closing_windows(source, calendar, before[source], until, intervals, sessions))
    return pl.concat(frames)


def _with_joined(tail: pl.DataFrame, interval: Interval, calendars: Mapping[str, str]) -> pl.DataFrame:
    """The tail with is_joined: whether no hole lies among the bar and those that its price is held against."""
    limits = {
        name: longest_hole(calendar, interval, RETURNS) / timedelta(seconds=1)
        for name, calendar in calendars.items()
    }
    steps = pl.col("ts").diff().dt.total_seconds().cast(pl.Float64)
    longest = steps.rolling_max(RETURNS, min_samples=RETURNS).over("source", "symbol")
    return tail.with_columns(is_joined=(longest <= indicators.of_series(limits)).fill_null(False))


def _judged(
    con: duckdb.DuckDBPyConnection,
    interval: Interval,
    tail: pl.DataFrame,
    new: pl.DataFrame,
    computed: pl.DataFrame,
) -> pl.DataFrame:
    """The new bars with their indicators, and what the stored rows before them say (rsi_prev, volatility_median)."""
    keys = ["source", "symbol", "ts"]
    returns = tail.filter("is_new").select(*keys, "ret_log", "is_joined", "is_new")
    new = new.join(returns, on=keys).join(computed.drop("volume_ratio", "volume_robust_z"), on=keys)
    new = judge(new)
    old = tail.filter(~pl.col("is_new")).select(keys)
    if old.is_empty() or str(interval) not in NEEDS_PAST:
        return detectors.judged_bars(new.sort(keys))
    tails.stage_fronts(con, new.group_by("source", "symbol").agg(first_new=pl.col("ts").min()))
    first, last = old["ts"].min(), old["ts"].max()
    stored = tails.stored_values(con, str(interval), first, last, ("rsi_14", "volatility_20"))
    before = old.join(stored, on=keys, how="inner").with_columns(is_new=pl.lit(False))
    return detectors.judged_bars(pl.concat([new, before], how="diagonal").sort(keys))
