"""A deterministic market for the benchmarks: matrices of prices and volumes, and the klines that say so."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt
import orjson
import polars as pl

from pipelines.market import BAR_SCHEMA
from pipelines.sources.base import Reply
from tests.bench.framework import SEED

START = datetime(2026, 11, 1)
SOURCE = "binance"
NAMES = ("open", "high", "low", "close", "volume", "turnover", "trades")
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Tape:
    """Bars of `symbols` series from START on: (series, minutes) matrices in whole cents and satoshi."""

    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    turnover: Floats
    trades: npt.NDArray[np.int64]

    @classmethod
    def of(cls, symbols: int, minutes: int, seed: int = SEED) -> Tape:
        rng = np.random.default_rng(seed)
        steps = rng.normal(0, 0.0008, (symbols, minutes))
        close = np.round(100 * np.exp(np.cumsum(steps, axis=1)), 2)
        open_ = np.concatenate([close[:, :1], close[:, :-1]], axis=1)
        reach = np.round(np.abs(rng.normal(0, 0.05, (2, symbols, minutes))), 2)
        high, low = np.maximum(open_, close) + reach[0], np.minimum(open_, close) - reach[1]
        volume = np.round(np.exp(rng.normal(5, 0.5, (symbols, minutes))), 3)
        trades = rng.integers(1, 500, (symbols, minutes))
        return cls(
            open_, np.round(high, 2), np.round(low, 2), close, volume, np.round(close * volume, 4), trades
        )

    @property
    def names(self) -> list[str]:
        return [f"S{number:04}USDT" for number in range(len(self.close))]

    def frame(self, first: int, last: int) -> pl.DataFrame:
        """Bars of the minutes [first, last) in BAR_SCHEMA, sorted by symbol and ts."""
        count, width = len(self.close), last - first
        ts = np.datetime64(START, "us") + np.arange(first, last) * np.timedelta64(60_000_000, "us")
        columns = {name: getattr(self, name)[:, first:last].ravel() for name in NAMES}
        frame = pl.DataFrame(
            {
                "symbol": pl.Series(self.names).gather(np.repeat(np.arange(count), width)),
                "ts": np.tile(ts, count),
                **columns,
            }
        )
        given = frame.with_columns(source=pl.lit(SOURCE), venue=pl.lit(SOURCE), is_closed=pl.lit(True))
        return given.select(pl.col(name).cast(kind) for name, kind in BAR_SCHEMA.items())

    def windows(self, width: int, minutes: int) -> dict[str, Floats]:
        """The whole windows of `width` minutes in the first `minutes`, as (series, windows) matrices."""
        whole = minutes // width
        cut = {name: getattr(self, name)[:, : whole * width].reshape(-1, whole, width) for name in NAMES}
        return {
            "open": cut["open"][:, :, 0], "high": cut["high"].max(2), "low": cut["low"].min(2),
            "close": cut["close"][:, :, -1], "volume": cut["volume"].sum(2), "turnover": cut["turnover"].sum(2),
            "trades": cut["trades"].sum(2),
        }  # fmt: skip

    def replies(self, first: int, last: int) -> list[Reply]:
        """What Binance answers for the minutes [first, last): one reply a symbol, prices as text."""
        received = self.at(last)
        return [
            Reply(
                SOURCE,
                name,
                "/api/v3/klines",
                {"symbol": name},
                200,
                self._klines(row, first, last),
                received,
                1.0,
            )
            for row, name in enumerate(self.names)
        ]

    def at(self, minute: int) -> datetime:
        return (START + timedelta(minutes=minute)).replace(tzinfo=UTC)

    def _klines(self, row: int, first: int, last: int) -> bytes:
        opened = int(START.replace(tzinfo=UTC).timestamp()) * 1000
        texts = [
            [f"{value:.8f}" for value in getattr(self, name)[row, first:last]]
            for name in ("open", "high", "low", "close", "volume", "turnover")
        ]
        trades = self.trades[row, first:last].tolist()
        return orjson.dumps(
            [
                [
                    opened + 60_000 * minute, *(text[at] for text in texts[:5]), opened + 60_000 * minute + 59_999,
                    texts[5][at], trades[at], "0.00000000", "0.00000000", "0",
                ]
                for at, minute in enumerate(range(first, last))
            ]
        )  # fmt: skip
