"""Closed windows, made of the bars in the lake: what a batch has touched and what the clock has closed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import duckdb
import polars as pl

from pipelines.analytics.resample import JOINED, Minutes, resample
from pipelines.market import Interval
from warehouse import build
from warehouse.facts import IN_LAKE, Facts

DAY = timedelta(days=1)
_KEY = ("source", "symbol", "ts")
_VALUES = (
    "open", "high", "low", "close", "volume", "vwap", "turnover", "trades", "minutes", "minutes_expected", "is_complete",
    "ret_log", "std_dprice", "std_logret", "lent",
)  # fmt: skip


def closed_windows(
    con: duckdb.DuckDBPyConnection, intervals: Sequence[Interval], facts: Facts = IN_LAKE
) -> dict[Interval, pl.DataFrame]:
    """The windows of these intervals in the temporary table `planned`; columns of calc.windows but run_id.

    A window whose forerunner changed is among them, since its return starts there. The bars are read once for all
    intervals. Every interval must have a planned window.
    """
    due = {interval: build.due_windows(con, str(interval), interval.seconds, facts) for interval in intervals}
    if not due:
        return {}
    spans = {interval: _span(windows, interval) for interval, windows in due.items()}
    bars = build.minutes_of_planned(
        con, min(since for since, _ in spans.values()), max(until for _, until in spans.values()), facts
    )
    found = {}
    for interval, windows in due.items():
        since, until = spans[interval]
        near = bars.filter((pl.col("ts") >= since) & (pl.col("ts") < until))
        made = _framed(near, interval)
        found[interval] = made.join(windows, on=_KEY, how="semi", maintain_order="left")
    return found


def _span(windows: pl.DataFrame, interval: Interval) -> tuple[Any, Any]:
    """Of which bars the windows and their returns are made: [since, until)."""
    before = interval.delta if interval.delta < DAY else interval.delta + timedelta(microseconds=JOINED)
    first, last = windows.select(pl.col("ts").min() - before, pl.col("end_ts").max()).row(0)
    return first, last


def _framed(bars: pl.DataFrame, interval: Interval) -> pl.DataFrame:
    """Every window of the bars, as a frame."""
    minutes = Minutes.of(bars)
    windows = resample(minutes, interval.seconds)
    names = bars[minutes.edges[windows.series]].select("source", "symbol", interval=pl.lit(str(interval)))
    columns = {name: getattr(windows, name) for name in ("ts", *_VALUES)}
    counts = pl.col("minutes", "minutes_expected").cast(pl.Int32)
    return names.hstack(pl.DataFrame(columns, nan_to_null=True)).with_columns(
        counts, pl.col("trades").cast(pl.Int64), pl.col("ts").cast(pl.Datetime("us"))
    )
