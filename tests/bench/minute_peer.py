"""The peer of `minute`: json, a pandas frame a symbol, SQLite in WAL mode, everything recomputed from the tail.

What small tick platforms do: parse each payload into a DataFrame, INSERT OR REPLACE, read each symbol's tail back,
resample it to the wanted windows, roll the indicators over it, compare the volume with the same minute of
earlier days. To its favour SQLite holds only each symbol's recent bars and those of the same minutes before.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipelines.sources.base import Reply
from tests.bench.tape import START, Tape

TAIL = 250
DAY = 1440
SESSIONS = 5
RULES = {"5m": "5min", "15m": "15min", "1h": "1h"}
OHLCV = {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"}
NAMES = ("open", "high", "low", "close", "volume")
Row = tuple[Any, ...]


class Peer:
    """Its database and its minute."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.db = sqlite3.connect(path)
        self.db.executescript(
            """
            PRAGMA journal_mode = WAL;
            CREATE TABLE bars (symbol TEXT, ts TEXT, open REAL, high REAL, low REAL, close REAL, volume REAL,
                               PRIMARY KEY (symbol, ts)) WITHOUT ROWID;
            CREATE TABLE windows (symbol TEXT, interval TEXT, ts TEXT, open REAL, high REAL, low REAL, close REAL,
                                  volume REAL, PRIMARY KEY (symbol, interval, ts)) WITHOUT ROWID;
            CREATE TABLE indicators (symbol TEXT, ts TEXT, rsi_14 REAL, sma_20 REAL, volume_ratio REAL,
                                     PRIMARY KEY (symbol, ts)) WITHOUT ROWID;
            """
        )
        self.spent: dict[str, list[float]] = {}

    def fill(self, tape: Tape, minutes: int) -> None:
        """Each symbol's last bars before minute `minutes`, and the coming hour's minutes of earlier days."""
        kept = set(range(minutes - 2 * TAIL, minutes))
        for day in range(1, SESSIONS + 1):
            kept |= {m for m in range(minutes - day * DAY, minutes - day * DAY + 60) if m >= 0}
        chosen = np.array(sorted(kept))
        stamps = [str(START + timedelta(minutes=int(minute))) for minute in chosen]
        for row, symbol in enumerate(tape.names):
            columns = [getattr(tape, name)[row, chosen].tolist() for name in NAMES]
            self.db.executemany(
                "INSERT OR REPLACE INTO bars VALUES (?, ?, ?, ?, ?, ?, ?)",
                zip([symbol] * len(stamps), stamps, *columns, strict=True),
            )
        self.db.commit()

    def run(self, replies: Sequence[Reply], market_now: datetime) -> None:
        """One minute, committed."""
        with self._timed("parse"):
            frames = {reply.symbol: parse(reply.body) for reply in replies}
        with self._timed("store"):
            for symbol, frame in frames.items():
                self.db.executemany(
                    "INSERT OR REPLACE INTO bars VALUES (?, ?, ?, ?, ?, ?, ?)",
                    [(symbol, str(row[0]), *row[1:]) for row in frame.itertuples()],
                )
            self.db.commit()
        minute = market_now - timedelta(minutes=1)
        for symbol in frames:
            self._symbol(symbol, minute, market_now)
        with self._timed("store"):
            self.db.commit()

    def _symbol(self, symbol: str, minute: datetime, market_now: datetime) -> None:
        with self._timed("read"):
            tail = pd.read_sql_query(
                "SELECT * FROM (SELECT ts, open, high, low, close, volume FROM bars WHERE symbol = ? "
                "ORDER BY ts DESC LIMIT ?) ORDER BY ts",
                self.db, params=(symbol, TAIL), parse_dates=["ts"], index_col="ts",
            )  # fmt: skip
        with self._timed("windows"):
            for interval, rule in RULES.items():
                recent = tail.iloc[-2 * pd.Timedelta(rule) // pd.Timedelta("1min") :]
                resampled = recent.resample(rule).agg(OHLCV)
                ends = resampled.index + pd.Timedelta(rule)
                closed = resampled[(ends <= market_now) & (resampled.index >= recent.index[0])].tail(1)
                self.db.executemany(
                    "INSERT OR REPLACE INTO windows VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    [(symbol, interval, str(row[0]), *row[1:]) for row in closed.itertuples()],
                )
        with self._timed("indicators"):
            rsi, sma = rsi_14(tail["close"]), tail["close"].rolling(20).mean()
        with self._timed("baseline"):
            earlier = [str(minute - timedelta(days=day)) for day in range(1, SESSIONS + 1)]
            usual = pd.read_sql_query(
                f"SELECT volume FROM bars WHERE symbol = ? AND ts IN ({','.join('?' * SESSIONS)})",
                self.db, params=(symbol, *earlier),
            )["volume"].median()  # fmt: skip
        with self._timed("store"):
            self.db.execute(
                "INSERT OR REPLACE INTO indicators VALUES (?, ?, ?, ?, ?)",
                (
                    symbol,
                    str(minute),
                    float(rsi.iloc[-1]),
                    float(sma.iloc[-1]),
                    float(tail["volume"].iloc[-1] / usual),
                ),
            )

    def bars(self, since: datetime, until: datetime) -> list[Row]:
        return self._rows("SELECT symbol, ts, open, high, low, close, volume FROM bars", since, until)

    def windows(self, interval: str, since: datetime, until: datetime) -> list[Row]:
        columns = "symbol, ts, open, high, low, close, volume"
        return self._rows(f"SELECT {columns} FROM windows WHERE interval = '{interval}'", since, until)

    def indicators(self, since: datetime, until: datetime) -> list[Row]:
        return self._rows("SELECT symbol, ts, rsi_14, sma_20, volume_ratio FROM indicators", since, until)

    def _rows(self, sql: str, since: datetime, until: datetime) -> list[Row]:
        joined = f"{sql} {'AND' if 'WHERE' in sql else 'WHERE'} ts >= ? AND ts < ? ORDER BY symbol, ts"
        return self.db.execute(joined, (str(since), str(until))).fetchall()

    @contextmanager
    def _timed(self, step: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.spent.setdefault(step, []).append(time.perf_counter() - started)


def parse(body: bytes) -> pd.DataFrame:
    """One payload as a frame indexed by time."""
    columns = ["ts", *NAMES, "end", "turnover", "trades", "a", "b", "c"]
    frame = pd.DataFrame(json.loads(body), columns=columns)
    frame["ts"] = pd.to_datetime(frame["ts"], unit="ms")
    return frame.set_index("ts")[list(NAMES)].astype(float)


def rsi_14(close: pd.Series) -> pd.Series:
    """Wilder's RSI by pandas' exponential mean."""
    change = close.diff()
    gain = change.clip(lower=0).ewm(alpha=1 / 14, adjust=False).mean()
    loss = (-change.clip(upper=0)).ewm(alpha=1 / 14, adjust=False).mean()
    return 100 - 100 / (1 + gain / loss)
