"""A warehouse with millions of bars and everything derived from them, built in bulk for the benchmarks.

Rows lie in the order of time, as days of live minutes leave them.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import duckdb
import numpy as np
import polars as pl

from flows.context import Context, assemble, prepare
from pipelines.analytics import indicators
from pipelines.calendars import bars_per_year
from pipelines.market import CONTINUOUS, Interval
from pipelines.settings import Settings
from pipelines.settings_sources import Source
from tests.bench.framework import threads
from tests.bench.tape import SOURCE, START, Floats, Tape
from warehouse.connect import connect, transaction
from warehouse.stage import literals, stage

DAY = 1440
TWO_DAYS = timedelta(days=2)
BEFORE = 1_000
"""Bars before the first stored row of indicators that these are made of: an average has nothing left of older ones."""


def context_of(folder: Path, symbols: tuple[str, ...]) -> Context:
    """The usual configuration with one source, its folders below `folder`."""
    sources = (Source(SOURCE, symbols),)
    return assemble(Settings(data_dir=folder / "data", site_dir=folder / "site", sources=sources))


def built(
    folder: Path, tape: Tape, minutes: int, with_derived: bool = True, kept: timedelta = TWO_DAYS
) -> tuple[Context, duckdb.DuckDBPyConnection]:
    """A lake with the tape's first `minutes`, as a finished backfill leaves it; the connection may write.

    kept: how long before the end its indicators begin
    """
    context = context_of(folder, tuple(tape.names))
    con = connect(context.location)
    prepare(con, context)
    _series(con, context, tape)
    days = range(0, minutes, DAY)
    for first in days:
        _bars(con, context, tape, first, min(first + DAY, minutes))
    if with_derived:
        _derived(con, context, tape, minutes, kept)
    con.execute(f"SET threads = {threads()}")
    return context, con


def _series(con: duckdb.DuckDBPyConnection, context: Context, tape: Tape) -> None:
    stage(con, "seen", pl.DataFrame({"symbol": tape.names}))
    with transaction(con, context.location):
        con.execute(
            f"INSERT INTO core.series SELECT '{SOURCE}', symbol, '{CONTINUOUS}', 'backfill', "
            f"TIMESTAMP '{START}' FROM seen"
        )


def _bars(con: duckdb.DuckDBPyConnection, context: Context, tape: Tape, first: int, last: int) -> None:
    stage(con, "some_bars", tape.frame(first, last))
    batch, now = f"{SOURCE}-backfill-{first}", START + timedelta(minutes=last)
    width = len(tape.names) * (last - first)
    row = (batch, SOURCE, "backfill", START + timedelta(minutes=first), now - timedelta(minutes=1), width, width,
           0, 0, "", "", "bench", now)  # fmt: skip
    with transaction(con, context.location):
        con.execute(
            "INSERT INTO core.bars SELECT source, symbol, ts, open, high, low, close, volume, "
            f"turnover / nullif(volume, 0), turnover, trades, venue, 1, TIMESTAMP '{now}', 'bench', 'backfill', "
            f"'{batch}' FROM some_bars ORDER BY ts, source, symbol"
        )
        con.execute(f"INSERT INTO core.ledger VALUES {literals(row)}")
        con.execute(f"INSERT INTO core.derived VALUES {literals((batch, 'bench', now, None, None))}")


def _derived(
    con: duckdb.DuckDBPyConnection, context: Context, tape: Tape, minutes: int, kept: timedelta
) -> None:
    """Closed windows, the newest indicators, and the baselines in force today."""
    until = START + timedelta(minutes=minutes)
    for interval in (Interval(60), *context.plan.intervals):
        windows = tape.windows(interval.minutes, minutes)
        bars = _framed(tape, windows, interval)
        if interval.minutes > 1:
            _insert(con, context, "calc.windows", bars.sort("ts"))
        year = bars_per_year({SOURCE: CONTINUOUS}, interval, context.plan.session_minutes)
        near = bars.filter(pl.col("ts") >= until - kept - BEFORE * interval.delta)
        rows = indicators.full(near, context.plan.params, year).filter(pl.col("ts") >= until - kept)
        _insert(
            con,
            context,
            "calc.indicators",
            rows.sort("ts").with_columns(interval=pl.lit(str(interval)), run_id=pl.lit("bench")),
        )
        if minutes > DAY:
            _insert(
                con, context, "calc.volume_baseline", _baseline(tape, windows["volume"], interval, minutes)
            )
    with transaction(con, context.location):
        con.execute(f"INSERT INTO core.derived VALUES {literals((None, 'bench', until, SOURCE, until))}")


def _framed(tape: Tape, windows: dict[str, Floats], interval: Interval) -> pl.DataFrame:
    """The matrices as rows of calc.windows."""
    count, width = windows["close"].shape
    close, step = windows["close"], np.timedelta64(interval.seconds * 1_000_000, "us")
    returns = np.full_like(close, np.nan)
    returns[:, 1:] = np.log(close[:, 1:] / close[:, :-1])
    return pl.DataFrame(
        {
            "source": pl.repeat(SOURCE, count * width, eager=True),
            "symbol": pl.Series(tape.names).gather(np.repeat(np.arange(count), width)),
            "interval": pl.repeat(str(interval), count * width, eager=True),
            "ts": np.tile(np.datetime64(START, "us") + np.arange(width) * step, count),
            **{name: values.ravel() for name, values in windows.items()},
            "vwap": (windows["turnover"] / windows["volume"]).ravel(),
            "minutes": interval.minutes, "minutes_expected": interval.minutes, "is_complete": True,
            "ret_log": pl.Series(returns.ravel(), nan_to_null=True), "run_id": "bench",
        }
    )  # fmt: skip


def _baseline(tape: Tape, volume: Floats, interval: Interval, minutes: int) -> pl.DataFrame:
    """calc.volume_baseline of the last day that has begun, from the whole days before it."""
    days, a_day = minutes // DAY, DAY // interval.minutes
    days -= minutes % DAY == 0
    past = volume[:, : days * a_day].reshape(len(volume), days, a_day)
    log = np.log(past)
    count = len(volume) * a_day
    first, session = START + timedelta(days=0), START + timedelta(days=days)
    return pl.DataFrame(
        {
            "source": pl.repeat(SOURCE, count, eager=True),
            "symbol": pl.Series(tape.names).gather(np.repeat(np.arange(len(volume)), a_day)),
            "interval": pl.repeat(str(interval), count, eager=True),
            "bucket": np.tile(np.arange(a_day, dtype=np.int32) * interval.minutes, len(volume)),
            "median": np.median(past, axis=1).ravel(), "mad": _mad(past).ravel(),
            "mean": past.mean(axis=1).ravel(), "std": past.std(axis=1, ddof=1).ravel() if days > 1 else 0.0,
            "log_median": np.median(log, axis=1).ravel(), "log_mad": _mad(log).ravel(),
            "log_mean_ad": np.abs(log - np.median(log, axis=1, keepdims=True)).mean(axis=1).ravel(),
            "sessions": days, "log_sessions": days, "from_ts": first, "to_ts": session, "session": session.date(),
            "run_id": "bench",
        }
    ).sort("interval", "bucket", "source", "symbol")  # fmt: skip


def _mad(past: Floats) -> Floats:
    return np.median(np.abs(past - np.median(past, axis=1, keepdims=True)), axis=1)


def _insert(con: duckdb.DuckDBPyConnection, context: Context, table: str, rows: pl.DataFrame) -> None:
    stage(con, "some_rows", rows)
    with transaction(con, context.location):
        con.execute(f"INSERT INTO {table} BY NAME SELECT * FROM some_rows")
    con.execute("DROP TABLE some_rows")
