"""The words every room shares: UTC minutes, intervals, series keys and the shape of bars and trades.

Inside frames and the warehouse a time is a naive timestamp that means UTC; Python datetimes that
cross a function's edge are aware UTC.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import NamedTuple

import polars as pl

MINUTE = timedelta(minutes=1)
CONTINUOUS = "24/7"

BAR_SCHEMA: dict[str, pl.DataType] = {
    "source": pl.String(),
    "symbol": pl.String(),
    "ts": pl.Datetime("us"),
    "open": pl.Float64(),
    "high": pl.Float64(),
    "low": pl.Float64(),
    "close": pl.Float64(),
    "volume": pl.Float64(),
    "turnover": pl.Float64(),
    "trades": pl.Int64(),
    "venue": pl.String(),
    "is_closed": pl.Boolean(),
}
"""One bar a row; `turnover` is in quote currency and null where the venue has none."""

TRADE_SCHEMA: dict[str, pl.DataType] = {
    "source": pl.String(),
    "symbol": pl.String(),
    "trade_id": pl.Int64(),
    "ts": pl.Datetime("us"),
    "price": pl.Float64(),
    "qty": pl.Float64(),
    "side": pl.String(),
    "fills": pl.Int64(),
}
"""One aggregated trade a row; `side` is the aggressor's, `fills` how many fills it stands for."""


class Series(NamedTuple):
    """One instrument at one venue: what a bar belongs to."""

    source: str
    symbol: str

    def __str__(self) -> str:
        return f"{self.source}:{self.symbol}"

    @property
    def slug(self) -> str:
        """The series' name in file names and addresses: `binance-BTCUSDT`."""
        return slug(f"{self.source}-{self.symbol}")


@dataclass(frozen=True, order=True)
class Interval:
    """A bar width such as `5m`; `str()` gives the name, `.delta` the length."""

    seconds: int

    @classmethod
    def parse(cls, text: str) -> Interval:
        """`1s`, `5m`, `4h`, `1d`; raises ValueError that names the allowed forms."""
        match = re.fullmatch(r"(\d+)([smhd])", text.strip())
        if not match or int(match[1]) == 0:
            raise ValueError(f"not an interval: {text!r}; write a number and s, m, h or d, such as 5m or 4h")
        return cls(int(match[1]) * _UNIT_SECONDS[match[2]])

    @property
    def delta(self) -> timedelta:
        return timedelta(seconds=self.seconds)

    @property
    def minutes(self) -> int:
        """Whole minutes; 0 for intervals under a minute."""
        return self.seconds // 60

    def __str__(self) -> str:
        for unit in ("d", "h", "m"):
            if self.seconds % _UNIT_SECONDS[unit] == 0:
                return f"{self.seconds // _UNIT_SECONDS[unit]}{unit}"
        return f"{self.seconds}s"


_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def floor_minute(at: datetime) -> datetime:
    """The minute that `at` lies in."""
    return at.replace(second=0, microsecond=0)


def utc(at: datetime) -> datetime:
    """`at` as aware UTC; a naive time is taken as UTC already."""
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def naive(at: datetime) -> datetime:
    """`at` as the naive UTC timestamp that frames and the warehouse hold."""
    return utc(at).replace(tzinfo=None)


def from_epoch_ms(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def epoch_ms(at: datetime) -> int:
    return round(utc(at).timestamp() * 1000)


def slug(text: str) -> str:
    """`text` as a safe file name: characters outside [A-Za-z0-9._-] become `_` plus a short hash of the whole."""
    safe = re.sub(r"[^A-Za-z0-9._-]", "_", text)
    return safe if safe == text else f"{safe}-{blake2b(text.encode(), digest_size=4).hexdigest()}"
