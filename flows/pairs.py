"""Every few minutes: hedge ratios, cointegration and spreads of the pairs, correlations, statistics per symbol."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
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
from flows.correlating import moved, new_correlations, newest_closes, told
from flows.pair_anomalies import pair_anomalies
from flows.pair_rows import Found, due, named, new_points, stage_rows, write_rows
from flows.pair_universe import kept, scan_params, slug, universe
from flows.run_names import run_name
from flows.runs import market_now, recorded
from flows.scheduled import scheduled_start
from pipelines.analytics.examine import examine
from pipelines.analytics.fits import SCHEMA, fit
from pipelines.analytics.panels import pair_name, wide
from pipelines.analytics.stats import symbol_stats
from pipelines.market import naive, utc
from warehouse.clocks import market_clocks, newest_loaded
from warehouse.connect import transaction, writer
from warehouse.stage import literal

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


def run_pairs(
    context: Context,
    con: duckdb.DuckDBPyConnection,
    run_id: str,
    now: datetime | None = None,
    scheduled: datetime | None = None,
) -> PairsRun:
    """Fits the pairs whose market has moved since their last fit, and judges the pair rules on them.

    now: the market's clock (aware UTC), for rules that expire and for cooldowns; the sources' own where left out.
    """
    clock = now or market_now(con, datetime.now(UTC))
    with recorded(con, context, run_id, "pairs", scheduled) as tally:
        found = analyse(context, con)
        done = store(context, con, found, run_id, clock)
        tally.rows_in, tally.rows_loaded = done.pairs, found.series.height
        tally.detail = (
            f"{done.pairs} pairs, {done.cointegrated} cointegrated, {done.correlations} correlations"
        )
    return done


def analyse(context: Context, con: duckdb.DuckDBPyConnection) -> Found:
    """Reads the newest closes of every source, tests all pairs together, and computes what depends on new ones."""
    settings = context.settings.pairs
    params = scan_params(context)
    newest = newest_loaded(con)
    frame = newest_closes(con, params.interval, params.lookback, newest)
    table = wide(frame) if frame.height else pl.DataFrame(schema={"ts": pl.Datetime("us")})
    scan = examine(table, universe(settings.universe, frame), params)
    which, times = due(con, scan, kept(settings.universe, frame, scan), _as_of(frame))
    stats = fit(table, scan, which, datetime.now(UTC)) if which.size else pl.DataFrame(schema=SCHEMA)
    names = {pair_name(scan.pairs[i]): slug(scan.pairs[i]) for i in which}
    stats = named(stats, names).with_columns(
        fitted_at=pl.col("pair").replace_strict(times, default=None, return_dtype=pl.Datetime("us"))
    )
    series, whole = new_points(con, scan, which, settings.refit)
    fresh = moved(frame, params.interval, told(con, "calc.symbol_stats", "source"))
    lookbacks = sorted({SHORT_LOOKBACK, params.lookback})
    return Found(
        stats=stats,
        series=series,
        whole=whole,
        correlations=new_correlations(context, con, newest, {params.interval: frame}),
        symbols=pl.concat([symbol_stats(fresh, params.interval, lookback) for lookback in lookbacks]),
        anomalies=pair_anomalies(con, scan, which, stats, context.plan.thresholds),
    )


def store(
    context: Context, con: duckdb.DuckDBPyConnection, found: Found, run_id: str, clock: datetime
) -> PairsRun:
    """Writes the rows, the alert events that follow from them and their messages, in one transaction."""
    stage_rows(con, found, run_id)
    now = datetime.now(UTC)
    with writer(context.location):
        live = _live(found.stats, market_clocks(con))
        spoken = alerting.judge(con, context, None, None, clock, now, run_id, pairs=live)
        with transaction(con, context.location):
            write_rows(con, found, run_id, naive(now))
            alerting.write(con, spoken, now, run_id)
    counts = dict(found.stats["state"].value_counts().iter_rows())
    return PairsRun(
        found.stats.height, counts.get("cointegrated", 0), counts.get("untested", 0),
        found.correlations.height, len(spoken.events), len(spoken.messages),
        utc(newest) if isinstance(newest := found.stats["fitted_at"].max(), datetime) else None,
    )  # fmt: skip


def _as_of(frame: pl.DataFrame) -> dict[str, datetime]:
    newest = frame.group_by("source", "symbol").agg(pl.col("ts").max())
    return {f"{source}:{symbol}": ts for source, symbol, ts in newest.iter_rows()}


def _live(stats: pl.DataFrame, clocks: Mapping[str, datetime]) -> pl.DataFrame:
    """The rows of polled sources that are recent by their clock; history makes no alerts."""
    horizons = {name: clock - CATCH_UP for name, clock in clocks.items()}
    recent = [
        pl.col("fitted_at")
        >= pl.col(leg).replace_strict(horizons, default=None, return_dtype=pl.Datetime("us"))
        for leg in ("source_y", "source_x")
    ]
    return stats.filter(*recent)


def most_stretched(con: duckdb.DuckDBPyConnection, run_id: str) -> list[dict[str, Any]]:
    """The cointegrated pairs of a run's own fits, the most stretched first: what the run's artifact shows."""
    rows = con.execute(
        "SELECT pair, interval, round(zscore, 2), round(q_bh, 4), round(half_life_bars, 1) FROM calc.pair_stats "
        f"WHERE run_id = {literal(run_id)} AND is_cointegrated ORDER BY abs(zscore) DESC LIMIT 20"
    ).fetchall()
    names = ("pair", "interval", "z", "q", "half-life (bars)")
    return [dict(zip(names, row, strict=True)) for row in rows]


@task(name="fit pairs")
def fit_pairs(now: datetime | None) -> dict[str, Any]:
    """Reads closes, fits, correlates, judges the pair rules and writes all of it."""
    context = assemble()
    with writing(context) as con:
        run_id = str(flow_run.id or uuid4())
        done = run_pairs(context, con, run_id, now, scheduled_start())
        found = most_stretched(con, run_id)
    create_table_artifact(
        key="pairs",
        table=found,
        description=f"{done.pairs} pairs fitted, {done.cointegrated} cointegrated, as of {done.as_of or 'no new bar'}",
    )
    return {"pairs": done.pairs, "cointegrated": done.cointegrated, "alerts": done.alerts}


@flow(name="pairs", timeout_seconds=240, log_prints=False, flow_run_name=run_name)
def pairs(now: datetime | None = None) -> dict[str, Any]:
    """Every pair of the universe fitted on its newest bars, correlations, statistics per symbol.

    Args:
        now: The market's clock (UTC) the rules are judged by. Leave empty: the sources' own.
    """
    numbers: dict[str, Any] = fit_pairs(utc(now) if now else None)
    get_run_logger().info("pairs: %s", numbers)
    return numbers
