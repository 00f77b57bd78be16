"""From loaded bars to windows, indicators and anomalies: exactly what the new facts touch, nothing else.

Everything is computed before the transaction that writes it, so that alerts and their outbox rows can go into
the same one. The ledger says which batches still wait; a run that was killed leaves them to the next.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import duckdb
import polars as pl

from pipelines import kept_tails
from pipelines.analytics import detectors, indicators
from pipelines.analytics.baseline import judge
from pipelines.analytics.params import IndicatorParams
from pipelines.baselines import with_baseline
from pipelines.calendars import CLOSING_SCHEMA, bars_per_year, closing_windows
from pipelines.kept_tails import Kept
from pipelines.market import CONTINUOUS, Interval
from pipelines.tails import keep, read_tail
from warehouse import build, tails
from warehouse.build import KEY
from warehouse.connect import snapshot
from warehouse.stage import literal, literals, stage

FOREVER = datetime(9999, 1, 1)
"""The clock of a source that nobody polls: whatever was imported from it is closed."""
MINUTE = Interval(60)
UP_TO_AN_HOUR = ("1m", "5m", "15m", "30m", "1h")
JUDGED = {
    "price_spike": UP_TO_AN_HOUR,
    "volume": UP_TO_AN_HOUR,
    "volatility": ("15m", "1h"),
    "rsi_extreme": ("1h",),
}
"""Kind -> intervals it is judged on: an RSI of minutes leaves 70/30 many times a day and says nothing."""
NEEDS_PAST = {*JUDGED["volatility"], *JUDGED["rsi_extreme"]}
HISTORY_KINDS = frozenset({"import", "backfill", "heal", "inbox"})


@dataclass(frozen=True)
class Plan:
    """What is derived for every series; `session_minutes` is the usual session's length by calendar."""

    intervals: tuple[Interval, ...]
    params: IndicatorParams = field(default_factory=IndicatorParams)
    thresholds: detectors.Thresholds = field(default_factory=detectors.Thresholds)
    sessions: int = 20
    min_sessions: int = 5
    session_minutes: Mapping[str, float] = field(default_factory=lambda: {"XNYS": 390.0})


@dataclass(frozen=True)
class Derived:
    """What one run would write. `indicators` holds the judged bars as well: each row's OHLCV beside its values."""

    batches: tuple[str, ...]
    clocks: dict[str, datetime]
    windows: pl.DataFrame
    rows: pl.DataFrame
    anomalies: pl.DataFrame
    baselines: pl.DataFrame
    kept: Mapping[str, Kept] = field(default_factory=dict)
    """Interval -> tails for the next run, of those whose bars have grown."""
    found: Found | None = None


@dataclass(frozen=True)
class Found:
    """The state of the lake that a run began with: batches derived and their hash, and the clocks."""

    derived: tuple[int, int]
    progress: Mapping[str, datetime]


def derive(
    con: duckdb.DuckDBPyConnection, clocks: Mapping[str, datetime], plan: Plan, kept: Path | None = None
) -> Derived:
    """Windows, indicators, baselines and anomalies of all pending batches; call it holding the writer's lock.

    clocks: polled source -> market time (naive UTC) up to which its minutes are over. kept: folder in which
    `remember` keeps the tails from run to run; they are used only where they are of exactly this state of the lake.
    """
    with snapshot(con):
        return _derive(con, clocks, plan, kept)


def remember(
    con: duckdb.DuckDBPyConnection, derived: Derived, plan: Plan, run_id: str, now: datetime, kept: Path
) -> None:
    """Keeps the tails for the next run; after the transaction that wrote them, still holding the writer's lock."""
    if derived.found is None:
        return
    count, mark = derived.found.derived
    mark ^= build.hash_of(con, derived.batches, run_id, now)
    progress = _later(derived.found.progress, derived.clocks)
    name = kept_tails.name_of((count + len(derived.batches), mark), progress, plan.params.digest)
    before = kept_tails.name_of(derived.found.derived, derived.found.progress, plan.params.digest)
    if name:
        kept_tails.save(kept, before, name, derived.kept, [str(i) for i in (MINUTE, *plan.intervals)])


def _later(one: Mapping[str, datetime], other: Mapping[str, datetime]) -> dict[str, datetime]:
    return {
        source: max(at for at in (one.get(source), other.get(source)) if at)
        for source in one.keys() | other.keys()
    }


def _derive(
    con: duckdb.DuckDBPyConnection, clocks: Mapping[str, datetime], plan: Plan, kept: Path | None
) -> Derived:
    batches = build.pending_batches(con)
    calendars = build.stage_calendars(con)
    build.touch(con, batches)
    before = build.progress(con)
    # A minute that comes late finds the clock where a backfill has left it.
    reached = {source: max(until, before.get(source, until)) for source, until in clocks.items()}
    known = dict.fromkeys(calendars, FOREVER) | before | reached
    build.stage_clocks(con, known, _closing(con, clocks, before, calendars, plan.intervals))
    with_history = bool(HISTORY_KINDS & set(batches["kind"]))
    session_minutes = _session_minutes(con, calendars, plan)
    widths = build.plan_windows(con, [interval.seconds for interval in plan.intervals])
    found = Found((batches["derived"][0], batches["mark"][0]), before) if batches.height else None
    name = kept_tails.name_of(found.derived, before, plan.params.digest) if kept and found else None
    windows, rows, anomalies, baselines, grown = [], [], [], [], {}
    for interval in (MINUTE, *(interval for interval in plan.intervals if interval.seconds in widths)):
        if interval == MINUTE:
            fronts = build.fronts_1m(con)
        else:
            windows.append(build.closed_windows(con, str(interval), interval.seconds))
            stage(con, "new_windows", windows[-1])
            fronts = windows[-1].group_by("source", "symbol").agg(first_new=pl.col("ts").min(), rows=pl.len())
        if fronts.is_empty():
            continue
        tails.stage_fronts(con, fronts)
        old = kept_tails.load(kept, str(interval), name) if kept and name else None
        tail = read_tail(con, interval, fronts, plan.params, calendars, old)
        new = tails.new_rows(con, str(interval), tail.bars, fronts)
        new, fresh = with_baseline(con, interval, new, with_history, plan.sessions, plan.min_sessions)
        year = bars_per_year(calendars, interval, session_minutes)
        computed = indicators.advance(*tail, plan.params, year)
        if kept and name:
            grown[str(interval)] = keep(tail, computed, old, plan.params)
        judged = _judged(con, interval, tail.bars, new, computed)
        rows.append(judged)
        anomalies.append(_detect(judged, interval, plan))
        baselines.append(fresh)
    return Derived(
        batches=tuple(batches["batch_id"]),
        clocks=dict(clocks),
        windows=_concat(windows),
        rows=_concat(rows),
        anomalies=_concat(anomalies),
        baselines=_concat(baselines),
        kept=grown,
        found=found,
    )


def _session_minutes(
    con: duckdb.DuckDBPyConnection, calendars: Mapping[str, str], plan: Plan
) -> dict[str, float]:
    """Calendar -> length of its usual session; the stored sessions are asked for those the plan does not know."""
    unknown = set(calendars.values()) - {CONTINUOUS, *plan.session_minutes}
    return {**plan.session_minutes, **(build.usual_minutes(con, sorted(unknown)) if unknown else {})}


def write(con: duckdb.DuckDBPyConnection, derived: Derived, plan: Plan, run_id: str, now: datetime) -> None:
    """Writes what `derive` computed; inside a transaction, after `stage_rows`."""
    build.replace_rows(con, "calc.windows", "derived_windows", derived.windows)
    build.replace_rows(con, "calc.indicators", "derived_indicators", derived.rows)
    _replace_anomalies(con, derived)
    if derived.baselines.height:
        con.execute(
            "DELETE FROM calc.volume_baseline USING (SELECT DISTINCT source, interval FROM derived_baselines) AS s "
            "WHERE calc.volume_baseline.source = s.source AND calc.volume_baseline.interval = s.interval"
        )
        con.execute("INSERT INTO calc.volume_baseline BY NAME SELECT * FROM derived_baselines")
    # One INSERT a table: each writes a file.
    done = [literals((batch_id, run_id, now)) for batch_id in derived.batches]
    reached = [literals((source, until, run_id, now)) for source, until in derived.clocks.items()]
    for table, rows in (("core.derived", done), ("core.progress", reached)):
        if rows:
            con.execute(f"INSERT INTO {table} VALUES {', '.join(rows)}")


def stage_rows(
    con: duckdb.DuckDBPyConnection, derived: Derived, plan: Plan, run_id: str, now: datetime
) -> None:
    """Temporary tables for `write`: they must be made before the transaction begins."""
    run = pl.lit(run_id).alias("run_id")
    columns = [*KEY, *indicators.columns(plan.params), *indicators.hidden_columns(plan.params)]
    for name, rows in (
        ("derived_windows", derived.windows),
        ("derived_indicators", derived.rows.select(name for name in columns if name in derived.rows.columns)),
        ("derived_anomalies", derived.anomalies.with_columns(known_at=pl.lit(now))),
        ("derived_baselines", derived.baselines),
    ):
        if rows.height:
            stage(con, name, rows.with_columns(run))


def _replace_anomalies(con: duckdb.DuckDBPyConnection, derived: Derived) -> None:
    """A judged bar's anomalies are judged anew; those that stay keep the moment they became known."""
    if derived.rows.is_empty():
        return
    low, high = derived.rows["ts"].min(), derived.rows["ts"].max()
    con.execute(
        "DELETE FROM calc.anomalies AS t USING derived_indicators AS s WHERE t.source = s.source AND t.symbol = s.symbol "
        "AND t.interval = s.interval AND t.ts = s.ts "
        f"AND t.ts BETWEEN {literal(low)} AND {literal(high)}"
    )
    if derived.anomalies.height:
        con.execute("INSERT INTO calc.anomalies BY NAME SELECT * FROM derived_anomalies")


def _closing(
    con: duckdb.DuckDBPyConnection,
    clocks: Mapping[str, datetime],
    before: Mapping[str, datetime],
    calendars: Mapping[str, str],
    intervals: Sequence[Interval],
) -> pl.DataFrame:
    frames = [pl.DataFrame(schema=CLOSING_SCHEMA)]
    for source, until in clocks.items():
        if source in before and source in calendars:
            calendar = calendars[source]
            sessions = pl.DataFrame()
            if calendar != CONTINUOUS:
                sessions = build.sessions_between(con, calendar, before[source] - timedelta(days=1), until)
            frames.append(closing_windows(source, calendar, before[source], until, intervals, sessions))
    return pl.concat(frames)


def _judged(
    con: duckdb.DuckDBPyConnection,
    interval: Interval,
    tail: pl.DataFrame,
    new: pl.DataFrame,
    computed: pl.DataFrame,
) -> pl.DataFrame:
    """The new bars with their indicators, and what the stored rows before them say (rsi_prev, volatility_median)."""
    keys = ["source", "symbol", "ts"]
    returns = tail.filter("is_new").select(*keys, "ret_log", "is_new")
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


def _detect(judged: pl.DataFrame, interval: Interval, plan: Plan) -> pl.DataFrame:
    """The anomalies an interval is judged for: price and volume up to an hour, RSI and volatility on hours."""
    kinds = [kind for kind, intervals in JUDGED.items() if str(interval) in intervals]
    return _concat(
        [pl.DataFrame(schema=detectors.SCHEMA)]
        + [detectors.DETECTORS[kind](judged, plan.thresholds) for kind in kinds]
    )


def _concat(frames: Sequence[pl.DataFrame]) -> pl.DataFrame:
    filled = [frame for frame in frames if frame.height]
    return pl.concat(filled) if filled else (frames[0] if frames else pl.DataFrame())
