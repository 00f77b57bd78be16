"""`resample_5m` and `query_mix`: windows beside pandas, the warehouse's SQL beside SQLite, on the same bars."""

from __future__ import annotations

import sqlite3
from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd

from pipelines.analytics.resample import Minutes, resample
from tests.bench import lake
from tests.bench.framework import Measured, Size, keep_memory, measured, same, seconds, sides, walls
from tests.bench.tape import START, Tape

DERIVED = ("vwap", "ret_log", "std_dprice", "std_logret")
OHLCV = {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"}


def run_resample_5m(size: Size) -> Measured:
    """All five-minute windows of ten million one-minute bars (`--full`), from a frame in memory on both sides."""
    symbols, minutes = (100, 4_000) if size.quick else (500, 20_000)
    keep_memory()
    tape = Tape.of(symbols, minutes)
    bars, theirs_bars = tape.frame(0, minutes), _pandas(tape, minutes)
    theirs, resampled = seconds(lambda: _resampled(theirs_bars), 2)
    ours, windows = seconds(lambda: resample(Minutes.of(bars), 300), 5)
    floored, _ = seconds(
        lambda: theirs_bars.groupby(["symbol", theirs_bars["ts"].dt.floor("5min")]).agg(OHLCV), 1
    )
    read, _ = seconds(lambda: [bars[name].to_numpy().sum() for name in (*OHLCV, "turnover", "trades")], 3)
    agree = all(same(getattr(windows, name), resampled[name].to_numpy()) for name in (*OHLCV, *DERIVED))
    agree = agree and bool((windows.is_complete & (windows.minutes == 5)).all())
    return measured(
        "resample_5m", f"{symbols * minutes / 1e6:.1f} million one-minute bars to 5m OHLCV, VWAP, returns, deviations", 1000 * min(ours.cpu), "ms",
        peer="pandas resample, symbol by symbol", theirs=1000 * min(theirs.cpu), agreement=agree,
        note="Processor time, bars in memory. Ours counts the trades and the missing minutes too. For OHLCV alone, by symbol "
        f"and floored time, pandas takes {1000 * min(floored.cpu):.0f} ms.",
        bound=1000 * min(read.cpu), bound_by="reading the seven columns once", wall=walls(ours, theirs),
    )  # fmt: skip


def run_query_mix(size: Size) -> Measured:
    """Five questions a desk asks, one after the other."""
    symbols, minutes = 500, 2_000 if size.quick else 8_000
    tape = Tape.of(symbols, minutes)
    _, con = lake.built(size.folder / "queries", tape, minutes, with_derived=False)
    db = _sqlite(size, tape, minutes)
    symbol, day = tape.names[7], str(START + timedelta(minutes=minutes) - timedelta(days=1))
    questions = [text.format(symbol=symbol, day=day) for text in QUESTIONS]
    ours, answers = seconds(
        lambda: [con.execute(sql).fetchall() for sql in questions], 3 if size.quick else 7
    )
    theirs, others = seconds(
        lambda: [db.execute(sql.replace("TIMESTAMP ", "")).fetchall() for sql in questions],
        1 if size.quick else 3,
    )
    agree = all(_alike(a, b) for a, b in zip(answers, others, strict=True))
    con.close()
    return measured(
        "query_mix", f"{len(QUESTIONS)} SQL questions on {symbols * minutes / 1e6:.0f} million bars", 1000 * min(ours), "ms",
        peer="SQLite, primary key (symbol, ts)", theirs=1000 * min(theirs), agreement=agree,
        note="A day of one symbol, newest bar of all, day's volume and range of all, loudest minutes, whole history of one.",
        cpu=sides(ours, theirs),
    )  # fmt: skip


QUESTIONS = (
    "SELECT close, volume FROM bars WHERE symbol = '{symbol}' AND ts >= TIMESTAMP '{day}' ORDER BY ts",
    "SELECT symbol, max(ts) = (SELECT max(ts) FROM bars), count(*) FROM bars WHERE ts >= TIMESTAMP '{day}' "
    "GROUP BY symbol ORDER BY symbol",
    "SELECT symbol, sum(volume), max(high) - min(low) FROM bars WHERE ts >= TIMESTAMP '{day}' GROUP BY symbol ORDER BY symbol",
    "SELECT symbol, volume FROM bars ORDER BY volume DESC, symbol LIMIT 20",
    "SELECT count(*), avg(close), min(low), max(high) FROM bars WHERE symbol = '{symbol}'",
)


def _resampled(bars: pd.DataFrame) -> pd.DataFrame:
    """The same columns as ours, one series after the other.

    `groupby.resample` over many series takes time that grows with their square (pandas 3.0): 14 s for a hundred.
    """
    parts = []
    for name, of in bars.set_index("ts").groupby("symbol"):
        windows = of.resample("5min").agg(OHLCV | {"turnover": "sum"})
        start = of.index.floor("5min").to_series()
        inside = (start == start.shift()).to_numpy()
        before = of["close"].shift()
        changes = {"std_dprice": of["close"] - before, "std_logret": np.log(of["close"] / before)}
        deviations = {
            column: change.where(inside).resample("5min").std() for column, change in changes.items()
        }
        vwap, returns = windows["turnover"] / windows["volume"], np.log(windows["close"]).diff()
        parts.append(windows.assign(symbol=name, vwap=vwap, ret_log=returns, **deviations))
    return pd.concat(parts).reset_index()


def _pandas(tape: Tape, minutes: int) -> pd.DataFrame:
    bars = tape.frame(0, minutes)
    return pd.DataFrame({name: bars[name].to_numpy() for name in ("symbol", "ts", *OHLCV, "turnover")})


def _sqlite(size: Size, tape: Tape, minutes: int) -> sqlite3.Connection:
    db = sqlite3.connect(size.folder / "queries.sqlite")
    db.execute(
        "CREATE TABLE bars (symbol TEXT, ts TEXT, open REAL, high REAL, low REAL, close REAL, volume REAL, "
        "PRIMARY KEY (symbol, ts)) WITHOUT ROWID"
    )
    stamps = [str(START + timedelta(minutes=minute)) for minute in range(minutes)]
    for row, symbol in enumerate(tape.names):
        columns = [getattr(tape, name)[row].tolist() for name in OHLCV]
        db.executemany(
            "INSERT INTO bars VALUES (?, ?, ?, ?, ?, ?, ?)",
            zip([symbol] * minutes, stamps, *columns, strict=True),
        )
    db.commit()
    return db


def _alike(ours: list[tuple[Any, ...]], theirs: list[tuple[Any, ...]]) -> bool:
    return len(ours) == len(theirs) and all(
        all(
            x == y if isinstance(x, str) else abs(float(x) - float(y)) <= 1e-9 * max(1.0, abs(float(y)))
            for x, y in zip(a, b, strict=True)
        )
        for a, b in zip(ours, theirs, strict=True)
    )
