"""Recorded markets as the warehouse must hold them, row by row."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import polars as pl

OHLCV = ["ts", "open", "high", "low", "close", "volume"]
BELL, CLOSE = (13, 30), (20, 0)
"""UTC; New York is four hours behind in October."""


def recorded(path: Path, time: str) -> pl.DataFrame:
    """The file's rows with `ts` as the warehouse writes it, sorted."""
    stamp = pl.col(time).dt.convert_time_zone("UTC").dt.replace_time_zone(None).dt.cast_time_unit("us")
    return pl.read_parquet(path).with_columns(ts=stamp).sort("ts")


def coin_bars(data: Path, coin: str, since: datetime, until: datetime) -> pl.DataFrame:
    """Binance.US in March 2023: OHLCV, turnover, trades with since <= ts < until (naive UTC)."""
    bars = recorded(data / f"bars_1m/iaqf2023_binance_{coin.lower()}_1m.parquet", "timestamp")
    return (
        bars.filter(pl.col("ts").is_between(since, until, closed="left"))
        .rename({"quote_volume": "turnover"})
        .select(
            "ts",
            pl.col(*OHLCV[1:], "turnover").cast(pl.Float64),
            pl.col("trades").cast(pl.Int64),
        )
    )


def share_bars(data: Path, share: str, until: datetime) -> pl.DataFrame:
    """US shares in October 2013 from bell to bell: OHLCV with ts < until (naive UTC)."""
    bars = recorded(data / "bars_1m/lean_us_equity_20131004_1011_1m.parquet", "ts")
    minute = pl.col("ts").dt.hour().cast(pl.Int32) * 60 + pl.col("ts").dt.minute()
    regular = minute.is_between(60 * BELL[0] + BELL[1], 60 * CLOSE[0] + CLOSE[1], closed="left")
    return bars.filter((pl.col("symbol") == share) & regular & (pl.col("ts") < until)).select(
        "ts",
        # The recording's own arithmetic left 167.57000000000002 where 167.57 was traded.
        pl.col(OHLCV[1:5]).cast(pl.Float64).round(4),
        pl.col("volume").cast(pl.Float64),
    )
