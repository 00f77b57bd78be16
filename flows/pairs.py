"""Every few minutes: hedge ratios, cointegration and spreads of the pairs, correlations, statistics per symbol."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import duckdb
import polars as pl
from prefect import flow, get_run_logger, task
from prefect.artifacts import create_table_artifact
from prefect.runtime import flow_run

from flows import alerting
from flows.alerting import CATCH_UP
from flows.context import Context, assemble, writing
from flows.runs import market_now, recorded
from pipelines.analytics.correlation import correlations
from pipelines.analytics.scan import (
    SCHEMA,
    Pair,
    ScanParams,
    all_pairs,
    pair_name,
    same_source_pairs,
    scan,
    scan_series,
    wide,
)
from pipelines.analytics.stats import symbol_stats
from pipelines.calendars import reach
from pipelines.market import CONTINUOUS, Interval, Series, utc
from warehouse import build
from warehouse.clocks import market_clocks, newest_loaded
from warehouse.closes import closes
from warehouse.connect import transaction, writer
from warehouse.errors import TapewatchError
from warehouse.stage import literal, literals, stage

log = logging.getLogger(__name__)

MOST_PAIRS = 2_000
"""Pairs of a universe that are fitted in one run; a list in the configuration is never cut."""
MOST_CORRELATED = 200
CORRELATED = ("1m", "5m", "1h")
SHORT_LOOKBACK = 60


@dataclass(frozen=True)
class PairsRun:
    """What a run found: `as_of` is the newest bar's market time; None where there was nothing new."""

    pairs: int = 0
    cointegrated: int = 0
    untested: int = 0
    correlations: int = 0
    alerts: int = 0
    messages: int = 0
    as_of: datetime | None = None


@dataclass(frozen=True)
class Found:
    """The rows of a run, ready to be written."""

    stats: pl.DataFrame
    series: pl.DataFrame
    correlations: pl.DataFrame
    symbols: pl.DataFrame


def run_pairs(
    context: Context, con: duckdb.DuckDBPyConnection, run_id: str, now: datetime | None = None
) -> PairsRun:
    """Fits the pairs whose market has moved since their last fit, and judges the pair rules on them.

    now: the market's clock (aware UTC), for rules that expire and for cooldowns; the sources' own where left out.
    """
    clock = now or market_now(con, datetime.now(UTC))
    with recorded(con, context, run_id, "pairs") as tally:
        found = analyse(context, con)
        done = store(context, con, found, run_id, clock)
        tally.rows_in, tally.rows_loaded = done.pairs, found.series.height
        tally.detail = (
            f"{done.pairs} pairs, {done.cointegrated} cointegrated, {done.correlations} correlations"
        )
    return done


def analyse(context: Context, con: duckdb.DuckDBPyConnection) -> Found:
    """Reads the newest closes of every source that has new ones, and computes everything that depends on them."""
    settings = context.settings.pairs
    params = scan_params(context)
    newest = newest_loaded(con)
    frame = _closes(con, params.interval, params.lookback, newest)
    pairs = _due(con, params.interval, frame, universe(settings.universe, frame))
    table = wide(frame) if frame.height else pl.DataFrame()
    moved = _moved(frame, params.interval, _told(con, "calc.symbol_stats", "source"))
    as_of = _as_of(frame)
    stats = scan(table, pairs, params, datetime.now(UTC)) if pairs else pl.DataFrame(schema=SCHEMA)
    series = scan_series(table, pairs, params) if pairs else pl.DataFrame()
    names = {pair_name(pair): slug(pair) for pair in pairs}
    times = {slug(pair): min(as_of[leg] for leg in pair if leg in as_of) for pair in pairs}
    stats = _named(stats, names).with_columns(
        fitted_at=pl.col("pair").replace_strict(times, default=None, return_dtype=pl.Datetime("us"))
    )
    return Found(
        stats=stats,
        series=_new_points(con, _named(series, names), settings.refit),
        correlations=_correlations(context, con, newest),
        symbols=pl.concat(
            [
                symbol_stats(moved, params.interval, lookback)
                for lookback in sorted({SHORT_LOOKBACK, params.lookback})
            ]
        ),
    )


def store(
    context: Context, con: duckdb.DuckDBPyConnection, found: Found, run_id: str, clock: datetime
) -> PairsRun:
    """Writes the rows, the alert events that follow from them and their messages, in one transaction."""
    run = pl.lit(run_id).alias("run_id")
    stage(con, "new_fits", found.stats.with_columns(run))
    stage(con, "new_points", found.series.with_columns(run))
    stage(con, "new_correlations", found.correlations.with_columns(run))
    stage(con, "new_symbol_stats", found.symbols.with_columns(run))
    now = datetime.now(UTC)
    with writer(context.location):
        live = _live(found.stats, market_clocks(con))
        spoken = alerting.judge(con, context, None, None, clock, now, run_id, pairs=live)
        with transaction(con, context.location):
            _insert(con, "calc.pair_stats", "new_fits", found.stats.height)
            _replace_points(con, found.series)
            _replace_correlations(con, found.correlations)
            _replace(
                con, "calc.symbol_stats", "new_symbol_stats", ("source", "symbol", "interval", "lookback")
            )
            alerting.write(con, spoken, now, run_id)
    counts = dict(found.stats["state"].value_counts().iter_rows())
    return PairsRun(
        found.stats.height, counts.get("cointegrated", 0), counts.get("untested", 0),
        found.correlations.height, len(spoken.events), len(spoken.messages),
        utc(newest) if isinstance(newest := found.stats["fitted_at"].max(), datetime) else None,
    )  # fmt: skip


def scan_params(context: Context) -> ScanParams:
    """The scan as the settings want it; `refit` is a time there, bars here."""
    settings = context.settings.pairs
    bars = max(int(settings.refit / Interval.parse(settings.interval).delta), 1)
    return ScanParams(settings.interval, settings.lookback, settings.window, fdr=settings.fdr, refit=bars)


def universe(wanted: str | Sequence[Pair], frame: pl.DataFrame) -> list[Pair]:
    """The pairs to fit: those of a list, or each two series (of one source), the most traded first.

    A leg of a list is `source:SYMBOL`, or SYMBOL where only one source has it; TapewatchError where that is
    ambiguous. A leg without bars stays out until it has some.
    """
    names = [f"{source}:{symbol}" for source, symbol in frame.select("source", "symbol").unique().iter_rows()]
    if not isinstance(wanted, str):
        resolved = [(_series(y, names), _series(x, names)) for y, x in wanted]
        return [(y, x) for y, x in resolved if y and x]
    pair = all_pairs if wanted == "all" else same_source_pairs
    pairs = pair(names)
    if len(pairs) <= MOST_PAIRS:
        return pairs
    chosen = names = _most_traded(frame, names)
    while len(pairs) > MOST_PAIRS:
        chosen = chosen[: len(chosen) - max(len(chosen) // 20, 1)]
        pairs = pair(chosen)
    log.warning(
        "pairs: %d series make more than %d pairs; fitted are those of the %d most traded. "
        "Name the ones you want in [pairs] universe",
        len(names), MOST_PAIRS, len(chosen),
    )  # fmt: skip
    return pairs


def slug(pair: Pair) -> str:
    """The pair's name in tables and addresses: `binance-ETHUSDT~binance-BTCUSDT`."""
    return "~".join(Series(*leg.split(":", 1)).slug for leg in pair)


def _closes(
    con: duckdb.DuckDBPyConnection, interval: str, lookback: int, newest: Mapping[str, datetime]
) -> pl.DataFrame:
    width, calendars = Interval.parse(interval), build.calendars(con)
    since = {
        name: ts - reach(calendars.get(name, CONTINUOUS), width, lookback) for name, ts in newest.items()
    }
    frame = closes(con, interval, since)
    return frame.group_by("source", "symbol", maintain_order=True).tail(lookback)


def _due(
    con: duckdb.DuckDBPyConnection, interval: str, frame: pl.DataFrame, pairs: Iterable[Pair]
) -> list[Pair]:
    """The pairs with a newer bar than their last fit: a closed market is not fitted again."""
    fitted = dict(
        con.execute(
            f"SELECT pair, max(fitted_at) FROM calc.pair_stats WHERE interval = '{interval}' GROUP BY pair"
        ).fetchall()
    )
    as_of = _as_of(frame)
    never = datetime(1970, 1, 1)
    return [pair for pair in pairs if min(as_of[leg] for leg in pair) > fitted.get(slug(pair), never)]


def _as_of(frame: pl.DataFrame) -> dict[str, datetime]:
    newest = frame.group_by("source", "symbol").agg(pl.col("ts").max())
    return {f"{source}:{symbol}": ts for source, symbol, ts in newest.iter_rows()}


def _named(rows: pl.DataFrame, names: Mapping[str, str]) -> pl.DataFrame:
    return rows.with_columns(pl.col("pair").replace_strict(names, default=None)) if rows.height else rows


def _new_points(con: duckdb.DuckDBPyConnection, points: pl.DataFrame, refit: timedelta) -> pl.DataFrame:
    """Points to write, `whole` where they take the place of all that is stored of their pair.

    Between two refits only the new bars are added: writing all anew each time would fill the disk with what
    snapshots keep of the old.
    """
    if points.is_empty():
        return points.with_columns(whole=pl.lit(True))
    rows = con.execute("SELECT pair, interval, max(ts) FROM calc.pair_series GROUP BY ALL").fetchall()
    kinds: dict[str, pl.DataType] = {
        "pair": pl.String(),
        "interval": pl.String(),
        "stored": pl.Datetime("us"),
    }
    stored = pl.DataFrame(rows, schema=kinds, orient="row")
    last = pl.col("ts").max().over("pair", "interval")
    return (
        points.join(stored, on=["pair", "interval"], how="left")
        .with_columns(whole=(last.dt.truncate(refit) != pl.col("stored").dt.truncate(refit)).fill_null(True))
        .filter(pl.col("whole") | (pl.col("ts") > pl.col("stored")))
        .drop("stored")
    )


def _replace_points(con: duckdb.DuckDBPyConnection, points: pl.DataFrame) -> None:
    if points.is_empty():
        return
    anew = points.filter("whole")["pair"].unique()
    interval = literals(points["interval"].unique())
    if anew.len():
        con.execute(f"DELETE FROM calc.pair_series WHERE interval IN {interval} AND pair IN {literals(anew)}")
    con.execute("INSERT INTO calc.pair_series BY NAME SELECT * EXCLUDE (whole) FROM new_points")


def _correlations(
    context: Context, con: duckdb.DuckDBPyConnection, newest: Mapping[str, datetime]
) -> pl.DataFrame:
    """Of the newest returns, within each source; over all of them where the universe is `all`."""
    lookback = context.settings.pairs.lookback
    configured = {"1m", *(str(interval) for interval in context.plan.intervals)}
    told = _told(con, "calc.correlations", "split_part(symbol_a, ':', 1)")
    parts = []
    for interval in (name for name in CORRELATED if name in configured):
        frame = _closes(con, interval, lookback, newest)
        moved = _moved(frame, interval, told)
        together = context.settings.pairs.universe == "all"
        for group in [frame if moved.height else moved] if together else moved.partition_by("source"):
            if group.height:
                parts.append(
                    correlations(_with_holes(_few(group), Interval.parse(interval)), interval, lookback)
                )
    return pl.concat(parts) if parts else pl.DataFrame(schema={"interval": pl.String})


def _replace_correlations(con: duckdb.DuckDBPyConnection, rows: pl.DataFrame) -> None:
    """Everything of an interval and its sources at once, so that a symbol that is no longer watched goes."""
    for (interval,), of in rows.group_by("interval"):
        sources = of["symbol_a"].str.split(":").list.first().unique()
        con.execute(
            f"DELETE FROM calc.correlations WHERE interval = {literal(interval)} "
            f"AND split_part(symbol_a, ':', 1) IN {literals(sources)}"
        )
    _insert(con, "calc.correlations", "new_correlations", rows.height)


def _told(con: duckdb.DuckDBPyConnection, table: str, source: str) -> dict[tuple[str, str], datetime]:
    """(interval, source) -> newest bar that the stored rows know."""
    rows = con.execute(f"SELECT interval, {source}, max(as_of) FROM {table} GROUP BY ALL").fetchall()
    return {(interval, name): as_of for interval, name, as_of in rows}


def _moved(frame: pl.DataFrame, interval: str, told: Mapping[tuple[str, str], datetime]) -> pl.DataFrame:
    """The rows of the sources that have a newer bar than is told."""
    newest = frame.group_by("source").agg(pl.col("ts").max())
    moved = [
        name for name, ts in newest.iter_rows() if (last := told.get((interval, name))) is None or ts > last
    ]
    return frame.filter(pl.col("source").is_in(moved))


def _few(frame: pl.DataFrame) -> pl.DataFrame:
    names = [f"{source}:{symbol}" for source, symbol in frame.select("source", "symbol").unique().iter_rows()]
    if len(names) <= MOST_CORRELATED:
        return frame
    log.warning("correlations: of %d series the %d most traded", len(names), MOST_CORRELATED)
    kept = _most_traded(frame, names)[:MOST_CORRELATED]
    return frame.filter(pl.concat_str("source", "symbol", separator=":").is_in(kept))


def _with_holes(frame: pl.DataFrame, interval: Interval) -> pl.DataFrame:
    """Wide closes with an empty row before each bar that has no neighbour: no return leaps over a night."""
    table = wide(frame)
    first = table.filter(pl.col("ts").diff() > interval.delta).select(pl.col("ts") - interval.delta)
    return pl.concat([table, first], how="diagonal").sort("ts")


def _most_traded(frame: pl.DataFrame, names: Sequence[str]) -> list[str]:
    traded = frame.group_by("source", "symbol").agg(
        (pl.col("close") * pl.col("volume")).sum().alias("traded")
    )
    by_name = {f"{source}:{symbol}": value or 0.0 for source, symbol, value in traded.iter_rows()}
    return sorted(names, key=lambda name: (-by_name[name], name))


def _series(wanted: str, names: Sequence[str]) -> str | None:
    if ":" in wanted:
        return wanted if wanted in names else None
    fitting = [name for name in names if name.split(":", 1)[1] == wanted]
    if len(fitting) > 1:
        raise TapewatchError(f"[pairs] {wanted} is ambiguous: write one of {', '.join(sorted(fitting))}")
    return fitting[0] if fitting else None


def _live(stats: pl.DataFrame, clocks: Mapping[str, datetime]) -> pl.DataFrame:
    """The rows of polled sources that are recent by their clock; history makes no alerts."""
    horizons = {name: clock - CATCH_UP for name, clock in clocks.items()}
    recent = [
        pl.col("fitted_at")
        >= pl.col(leg).replace_strict(horizons, default=None, return_dtype=pl.Datetime("us"))
        for leg in ("source_y", "source_x")
    ]
    return stats.filter(*recent)


def _insert(con: duckdb.DuckDBPyConnection, table: str, staged: str, rows: int) -> None:
    if rows:
        con.execute(f"INSERT INTO {table} BY NAME SELECT * FROM {staged}")


def _replace(con: duckdb.DuckDBPyConnection, table: str, staged: str, key: Sequence[str]) -> None:
    rows = con.execute(f"SELECT count(*) FROM {staged}").fetchall()[0][0]
    if rows:
        same = " AND ".join(f"t.{name} = s.{name}" for name in key)
        con.execute(f"DELETE FROM {table} AS t USING {staged} AS s WHERE {same}")
        _insert(con, table, staged, rows)


@task(name="fit pairs")
def fit(now: datetime | None) -> dict[str, Any]:
    """Reads closes, fits, correlates, judges the pair rules and writes all of it."""
    context = assemble()
    with writing(context) as con:
        done = run_pairs(context, con, str(flow_run.id or uuid4()), now)
        stretched = con.execute(
            "SELECT pair, interval, round(zscore, 2), round(q_bh, 4), round(half_life_bars, 1) FROM pair_stats "
            "WHERE is_cointegrated QUALIFY row_number() OVER (PARTITION BY pair, interval ORDER BY fitted_at DESC) = 1 "
            "ORDER BY abs(zscore) DESC LIMIT 20"
        ).fetchall()
    names = ("pair", "interval", "z", "q", "half-life (bars)")
    create_table_artifact(
        key="pairs",
        table=[dict(zip(names, row, strict=True)) for row in stretched],
        description=f"{done.pairs} pairs fitted, {done.cointegrated} cointegrated, as of {done.as_of or 'no new bar'}",
    )
    return {"pairs": done.pairs, "cointegrated": done.cointegrated, "alerts": done.alerts}


@flow(name="pairs", timeout_seconds=240, log_prints=False)
def pairs(now: datetime | None = None) -> dict[str, Any]:
    """Every pair of the universe fitted on its newest bars, correlations, statistics per symbol.

    Args:
        now: The market's clock (UTC) the rules are judged by. Leave empty: the sources' own.
    """
    numbers: dict[str, Any] = fit(utc(now) if now else None)
    get_run_logger().info("pairs: %s", numbers)
    return numbers
