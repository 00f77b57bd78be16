"""Every night: sampled values of the warehouse computed again from what was known at their bar, and held against it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import duckdb
import numpy as np
import polars as pl
from prefect import flow, get_run_logger, task
from prefect.artifacts import create_table_artifact
from prefect.runtime import flow_run

from flows.context import Context, assemble, writing
from flows.pair_universe import scan_params
from flows.quality import write
from flows.run_names import run_name
from flows.runs import market_now, recorded
from flows.scheduled import scheduled_start
from pipelines.analytics.certificate import FINDING, of_indicators, of_path, of_volumes, reach, verdicts
from pipelines.analytics.spread import spread_path
from pipelines.analytics.windows import Floats
from pipelines.calendars import bars_per_year, by_source
from pipelines.calendars import reach as time_of
from pipelines.market import CONTINUOUS, Interval, naive, utc
from pipelines.quality.tables import Check, quality_frame
from warehouse.buckets import SLOT, counted_from, with_closing
from warehouse.calendars import series_calendars
from warehouse.stage import frame, literal, literals, stage

SUITE = "certificate"
SAMPLES = 24
"""Stored rows of each interval that are computed again: about 20 values each."""
PAIRS = 6
LOOK_BACK = timedelta(days=7)
_KEY = ["source", "symbol", "interval", "ts"]
_SAMPLES = """
WITH placed AS (
    SELECT b.source, b.symbol, b.ts, b.volume,
           CASE WHEN b.ts < s.close_ts THEN s.open_ts ELSE date_trunc('day', b.ts) END AS anchor,
           {counted} AS counted
    FROM (
        SELECT bars.*, series.calendar FROM ({bars}) AS bars JOIN core.series AS series USING (source, symbol)
        WHERE bars.is_judged
    ) AS b
    ASOF LEFT JOIN {closing} AS s ON b.calendar = s.calendar AND b.ts >= s.open_ts
),
bucketed AS (SELECT *, anchor::DATE AS session, (epoch(ts - counted) // 60)::INTEGER AS bucket FROM placed),
before AS (
    SELECT j.source, j.symbol, j.ts, b.volume, b.session, b.bucket = j.bucket AS is_same
    FROM bucketed AS j JOIN certified USING (source, symbol, ts)
    JOIN bucketed AS b ON b.source = j.source AND b.symbol = j.symbol AND b.session < j.session
     AND b.bucket // {slot} = j.bucket // {slot}
),
of_minute AS (
    SELECT source, symbol, ts, list(volume) AS volumes
    FROM (FROM before WHERE is_same
          QUALIFY row_number() OVER (PARTITION BY source, symbol, ts ORDER BY session DESC) <= {sessions})
    GROUP BY ALL
),
of_slot AS (
    SELECT source, symbol, ts, list(volume) AS volumes
    FROM (FROM before QUALIFY dense_rank() OVER (PARTITION BY source, symbol, ts ORDER BY session DESC) <= {sessions})
    GROUP BY ALL HAVING count(DISTINCT session) >= {min_sessions}
)
SELECT m.source, m.symbol, m.ts,
       CASE WHEN len(m.volumes) < {min_sessions} THEN coalesce(s.volumes, m.volumes) ELSE m.volumes END AS volumes
FROM of_minute AS m LEFT JOIN of_slot AS s USING (source, symbol, ts)
"""


def run_certificate(
    context: Context,
    con: duckdb.DuckDBPyConnection,
    run_id: str,
    now: datetime | None = None,
    samples: int = SAMPLES,
    scheduled: datetime | None = None,
) -> pl.DataFrame:
    """One row a metric (see `certificate.verdicts`), written as checks of the suite `certificate` as well.

    now: the wall clock (aware UTC); another day draws other samples.
    """
    at = utc(now or datetime.now(UTC))
    with recorded(con, context, run_id, SUITE, scheduled) as tally:
        clock = naive(market_now(con, at))
        found = [pl.DataFrame(schema=FINDING)]
        for interval in _intervals(con):
            stored = sampled(con, interval, clock, samples)
            if stored.height:
                found += [
                    _indicators(context, con, interval, stored),
                    _volumes(context, con, interval, stored),
                ]
        found.append(_pairs(context, con, clock))
        told = verdicts(pl.concat(found))
        write(
            context,
            con,
            quality_frame([_check(row) for row in told.iter_rows(named=True)], at, SUITE),
            run_id,
        )
        leaks = int(told["leaks"].sum())
        tally.rows_in = int(told["checked"].sum())
        tally.detail = f"{told.height} metrics, {tally.rows_in} values computed again, {leaks} differ"
    return told


def sampled(con: duckdb.DuckDBPyConnection, interval: str, clock: datetime, count: int) -> pl.DataFrame:
    """Stored indicator rows of the last days by the market's clock, drawn by their hash and the day's."""
    since, salt = clock - LOOK_BACK, literal(f"{clock:%Y-%m-%d}")
    return frame(
        con,
        f"""
        SELECT i.*, b.volume, b.is_judged, coalesce(r.finished_at, b.known_at, i.ts) AS judged_at
        FROM (
            SELECT * FROM calc.indicators WHERE interval = {literal(interval)} AND ts >= {literal(since)}
            ORDER BY hash(source, symbol, ts, {salt}) LIMIT {int(count)}
        ) AS i
        JOIN ({_bars(interval, f"ts >= {literal(since)}")}) AS b USING (source, symbol, ts)
        LEFT JOIN (SELECT run_id, max(finished_at) AS finished_at FROM ops.runs GROUP BY run_id) AS r ON i.run_id = r.run_id
        ORDER BY i.source, i.symbol, i.ts""",
    )


def _intervals(con: duckdb.DuckDBPyConnection) -> list[str]:
    return [
        name for (name,) in con.execute("SELECT DISTINCT interval FROM calc.indicators ORDER BY 1").fetchall()
    ]


def _bars(interval: str, only: str) -> str:
    """What the indicators of an interval are made of; `only` is a condition on key columns."""
    if interval == "1m":
        return (
            "SELECT source, symbol, ts, high, low, close, volume, origin <> 'fallback' AS is_judged, known_at, "
            "CASE WHEN lag(ts) OVER one = ts - INTERVAL 1 MINUTE THEN ln(close / lag(close) OVER one) END AS ret_log "
            f"FROM core.bars WHERE {only} WINDOW one AS (PARTITION BY source, symbol ORDER BY ts)"
        )
    return (
        "SELECT source, symbol, ts, high, low, close, volume, is_complete AND lent IS NOT TRUE AS is_judged, NULL::TIMESTAMP AS known_at, ret_log "
        f"FROM calc.windows WHERE interval = {literal(interval)} AND {only}"
    )


def _indicators(
    context: Context, con: duckdb.DuckDBPyConnection, interval: str, stored: pl.DataFrame
) -> pl.DataFrame:
    """The sampled rows from the bars up to each."""
    of, width = by_source(series_calendars(con)), Interval.parse(interval)
    first, last = stored["ts"].min(), stored["ts"].max()
    assert isinstance(first, datetime)
    back = max(
        time_of(of.get(s, CONTINUOUS), width, reach(context.plan.params)) for s in stored["source"].unique()
    )
    series = [literals(row) for row in stored.select("source", "symbol").unique().iter_rows()]
    only = (
        f"ts >= {literal(max(first - back, datetime(1970, 1, 1)))} AND ts <= {literal(last)} "
        f"AND (source, symbol) IN ({', '.join(series)})"
    )
    history = frame(
        con,
        f"SELECT source, symbol, ts, high, low, close, volume, ret_log FROM ({_bars(interval, only)}) "
        "ORDER BY source, symbol, ts",
    )
    year = bars_per_year(of, width, context.plan.session_minutes)
    return _unchanged(con, stored, of_indicators(history, stored, context.plan.params, year))


def _volumes(
    context: Context, con: duckdb.DuckDBPyConnection, interval: str, stored: pl.DataFrame
) -> pl.DataFrame:
    """The volume's columns from the same minute of the sessions before; partial windows and lent minutes are judged by none."""
    whole = stored.filter("is_judged")
    if whole.is_empty():
        return pl.DataFrame(schema=FINDING)
    first, last = whole["ts"].min(), whole["ts"].max()
    assert isinstance(first, datetime)
    # As many days as hold so many sessions, weekends and a holiday week included.
    since = first - timedelta(days=round(context.plan.sessions * 1.6) + 6)
    series = ", ".join(literals(row) for row in whole.select("source", "symbol").unique().iter_rows())
    only = f"ts >= {literal(since)} AND ts <= {literal(last)} AND (source, symbol) IN ({series})"
    stage(con, "certified", whole.select("source", "symbol", "ts"))
    samples = frame(
        con,
        _SAMPLES.format(
            bars=_bars(interval, only),
            sessions=context.plan.sessions,
            min_sessions=context.plan.min_sessions,
            slot=SLOT,
            closing=with_closing("calc.sessions"),
            counted=counted_from("b.ts"),
        ),
    )
    known = whole.join(samples, on=["source", "symbol", "ts"], how="left", maintain_order="left")
    volumes = [sample.to_list() if sample is not None else [] for sample in known["volumes"]]
    return _unchanged(con, whole, of_volumes(whole, volumes, context.plan.min_sessions))


def _unchanged(con: duckdb.DuckDBPyConnection, stored: pl.DataFrame, found: pl.DataFrame) -> pl.DataFrame:
    """The findings without rows that differ because older bars came or were corrected after they were judged."""
    if found.is_empty():
        return found
    keyed = found.with_row_index("n")
    rows = stored.select(pl.format("{}:{}", "source", "symbol").alias("series"), *_KEY, "judged_at")
    differing = keyed.filter(pl.col("stored").ne_missing(pl.col("recomputed"))).join(
        rows, on=["series", "ts"]
    )
    late = [
        number
        for number, source, symbol, ts, judged_at in differing.select(
            "n", "source", "symbol", "ts", "judged_at"
        ).iter_rows()
        if _came_later(con, source, symbol, ts, judged_at)
    ]
    return keyed.filter(~pl.col("n").is_in(late)).drop("n")


def _came_later(
    con: duckdb.DuckDBPyConnection, source: str, symbol: str, ts: datetime, judged_at: datetime
) -> bool:
    return bool(
        con.execute(
            f"SELECT count(*) FROM core.bars WHERE source = {literal(source)} AND symbol = {literal(symbol)} "
            f"AND ts <= {literal(ts)} AND known_at > {literal(judged_at)}"
        ).fetchall()[0][0]
    )


def _pairs(context: Context, con: duckdb.DuckDBPyConnection, clock: datetime) -> pl.DataFrame:
    """The newest tested pairs' spread, z and beta: by all bars of the window, and by those up to each sampled one."""
    params = scan_params(context)
    legs = con.execute(
        "SELECT DISTINCT pair, source_y, symbol_y, source_x, symbol_x FROM calc.pair_stats "
        f"WHERE interval = {literal(params.interval)} AND eg_p IS NOT NULL ORDER BY hash(pair, {literal(str(clock.date()))}) "
        f"LIMIT {PAIRS}"
    ).fetchall()
    found = [pl.DataFrame(schema=FINDING)]
    for pair, source_y, symbol_y, source_x, symbol_x in legs:
        closes = _closes(con, params.interval, (source_y, symbol_y), (source_x, symbol_x), params.lookback)
        if closes.height > params.window + 1:
            y, x = (np.log(closes[leg].to_numpy()) for leg in ("y", "x"))
            at = np.linspace(closes.height // 4, closes.height - 2, 4).astype(int).tolist()

            def path(left: Floats, right: Floats) -> dict[str, Floats]:
                spread, zscore, beta = spread_path(left, right, params.window, refit=params.refit)
                return {"pair spread": spread, "pair zscore": zscore, "pair beta": beta}

            found.append(of_path(path, y, x, closes["ts"].to_list(), at, pair, params.interval))
    return pl.concat(found)


def _closes(
    con: duckdb.DuckDBPyConnection, interval: str, y: Iterable[str], x: Iterable[str], lookback: int
) -> pl.DataFrame:
    """ts, y, x of the newest bars that both legs have, oldest first."""
    legs = [
        f"(SELECT ts, close FROM ({_bars(interval, f'(source, symbol) = {literals(tuple(leg))}')}))"
        for leg in (y, x)
    ]
    return frame(
        con,
        f"SELECT ts, y.close AS y, x.close AS x FROM {legs[0]} AS y JOIN {legs[1]} AS x USING (ts) "
        f"WHERE y.close > 0 AND x.close > 0 ORDER BY ts DESC LIMIT {int(lookback)}",
    ).sort("ts")


def _check(row: dict[str, Any]) -> Check:
    is_clean = not row["leaks"]
    seen = f"largest difference {row['worst']:.3g} in {row['checked']} values"
    if not is_clean:
        seen += f", {row['leaks']} differ, first {row['example']}"
    return Check(
        f"look-ahead: {row['metric']}",
        "indicators",
        "critical",
        is_clean,
        seen,
        "1e-9, relative",
        int(row["leaks"]),
    )


@task(name="compute again")
def compute_again(now: datetime | None, samples: int) -> dict[str, Any]:
    """Sampled indicators, baselines and spreads from what was known at their bar."""
    context = assemble()
    with writing(context) as con:
        told = run_certificate(context, con, str(flow_run.id or uuid4()), now, samples, scheduled_start())
    create_table_artifact(
        key="certificate",
        table=told.to_dicts(),
        description=f"{int(told['checked'].sum())} values computed again, {int(told['leaks'].sum())} differ",
    )
    return {"metrics": told.height, "values": int(told["checked"].sum()), "leaks": int(told["leaks"].sum())}


@flow(name="certificate", timeout_seconds=900, log_prints=False, flow_run_name=run_name)
def certificate(now: datetime | None = None, samples: int = SAMPLES) -> dict[str, Any]:
    """The look-ahead certificate: does every stored value follow from what was known at its bar?

    Args:
        now: The wall clock (UTC) it runs for; another day draws other samples. Leave empty for now.
        samples: Stored rows of each interval that are computed again.
    """
    numbers: dict[str, Any] = compute_again(utc(now) if now else None, samples)
    get_run_logger().info("certificate: %s", numbers)
    return numbers
