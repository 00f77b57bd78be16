"""The sections of `tapewatch.toml` as frozen dataclasses: every key with its type, default and meaning."""

# ruff: noqa: RUF009 - key() and table() return dataclass fields

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar, cast

from pipelines import settings_values as read
from pipelines.secrets import Secret
from pipelines.settings_values import SettingError

T = TypeVar("T")
Universe = str | tuple[tuple[str, str], ...]
Problems = Iterator[tuple[str | tuple[str | int, ...], str]]
"""(key, or the way to it), and what is wrong there."""


def key(default: T, reader: read.Read[T], *, name: str = "", required: bool = False) -> T:
    """A key of the file: its default, its reader, and its name where Python reserves the word."""
    made: T = field(default=default, metadata={"read": reader, "name": name, "required": required})
    return made


def table(default: Any, kind: type[Any], *, name: str = "", many: bool = False) -> Any:
    """A sub-table, or a list of tables where `many`."""
    return field(default=default, metadata={"table": kind, "name": name, "many": many})


@dataclass(frozen=True)
class Warehouse:
    """Where the lake lives; empty means below `data_dir`. The catalog may hold a password."""

    catalog: Secret = key(Secret(), read.maybe_secret)
    storage: str = key("", read.text)


@dataclass(frozen=True)
class Prefect:
    """An existing server's API, or the host and port of our own."""

    api_url: str = key("", read.address)
    host: str = key("127.0.0.1", read.text)
    port: int = key(4200, read.whole(1, 65535))


@dataclass(frozen=True)
class Site:
    """The little file server that shows the site."""

    host: str = key("127.0.0.1", read.text)
    port: int = key(8787, read.whole(1, 65535))


@dataclass(frozen=True)
class Collector:
    """How streamed frames are written: a batch waits so long for company, so many kB of it at most.

    `queue_mb` may wait for a slow disk before frames are dropped, and counted; `codec` is that of sealed segments.
    """

    linger_ms: float = key(10.0, read.number(0.1, 1000))
    batch_kb: int = key(256, read.whole(1, 1024))
    queue_mb: int = key(64, read.whole(1, 4096))
    codec: str = key("zstd", read.choice("zstd", "none"))


@dataclass(frozen=True)
class Windows:
    """The bar widths kept beside one minute (and one second where trades exist)."""

    intervals: tuple[str, ...] = key(("5m", "15m", "30m", "1h", "4h", "1d"), read.listed(read.interval))


_periods = read.listed(read.whole(2, 5000))


@dataclass(frozen=True)
class Rsi:
    period: tuple[int, ...] = key((14,), _periods)
    overbought: float = key(70.0, read.number(50, 100))
    oversold: float = key(30.0, read.number(0, 50))


@dataclass(frozen=True)
class Macd:
    fast: int = key(12, read.whole(2, 5000))
    slow: int = key(26, read.whole(2, 5000))
    signal: int = key(9, read.whole(1, 5000))

    def check(self) -> Problems:
        if self.fast >= self.slow:
            yield "fast", f"fast = {self.fast} must be smaller than slow = {self.slow}"


@dataclass(frozen=True)
class Bollinger:
    period: int = key(20, read.whole(2, 5000))
    width: float = key(2.0, read.number(0.1, 10))


@dataclass(frozen=True)
class Atr:
    period: tuple[int, ...] = key((14,), _periods)


@dataclass(frozen=True)
class Indicators:
    """Periods in bars; one that is not the default adds a column named alike (`rsi_7`)."""

    sma: tuple[int, ...] = key((20, 50, 200), _periods)
    ema: tuple[int, ...] = key((12, 26), _periods)
    rsi: Rsi = table(Rsi(), Rsi)
    macd: Macd = table(Macd(), Macd)
    bollinger: Bollinger = table(Bollinger(), Bollinger)
    atr: Atr = table(Atr(), Atr)


@dataclass(frozen=True)
class Baseline:
    """How many earlier sessions a volume baseline looks back on, and how few still say something."""

    sessions: int = key(20, read.whole(1, 500))
    min_sessions: int = key(5, read.whole(1, 500))

    def check(self) -> Problems:
        if self.min_sessions > self.sessions:
            yield "min_sessions", f"{self.min_sessions} is more than sessions = {self.sessions}"


@dataclass(frozen=True)
class Anomalies:
    """How many price and volume anomalies a day, over all series together, are worth a look; 0: fixed limits."""

    budget_per_day: float = key(0.0, read.number(0, 100_000))


def universe(value: Any) -> Universe:
    """`same-source`, `all`, or a list of pairs: `["binance:BTCUSDT", "binance:ETHUSDT"]` or `"A~B"` each."""
    if isinstance(value, str) and "~" not in value and not value.lstrip().startswith("["):
        return read.choice("same-source", "all")(value)
    return tuple(_pair(item) for item in read.items(value))


def _pair(value: Any) -> tuple[str, str]:
    legs = value.split("~") if isinstance(value, str) else value
    if not isinstance(legs, list) or len(legs) != 2 or not all(isinstance(leg, str) and leg for leg in legs):
        raise SettingError(
            f"{value!r} is not a pair",
            '"same-source", "all", or pairs such as ["binance:BTCUSDT", "binance:ETHUSDT"]',
        )
    y, x = (_series(leg) for leg in legs)
    if y == x:
        raise SettingError(f"{y} is paired with itself", "two different series")
    return y, x


def _series(value: str) -> str:
    source, colon, symbol = value.rpartition(":")
    return f"{source.strip().lower()}{colon}{read.symbol(symbol)}"


def lags(value: Any) -> str | int:
    """Lagged differences of the unit-root regressions: a number, `aic` or `bic`, these with a largest one: `aic:2`."""
    text = str(value).strip().lower()
    if text.isdigit() and int(text) <= 100:
        return int(text)
    if re.fullmatch(r"(aic|bic)(:\d{1,2})?", text):
        return text
    raise SettingError(
        f"{value!r} is no choice of lags", 'aic, bic, one of them with a largest such as "aic:2", or 0 to 100'
    )


@dataclass(frozen=True)
class Pairs:
    """Which pairs are judged, on which bars, how often the models are fitted anew."""

    universe: Universe = key(cast(Universe, "same-source"), universe)
    interval: str = key("1m", read.interval)
    lookback: int = key(600, read.whole(100, 100_000))
    window: int = key(20, read.whole(5, 10_000))
    fdr: float = key(0.05, read.number(0.0001, 0.5))
    correction: str = key("bh", read.choice("bh", "by"))
    lags: str | int = key(cast(str | int, "aic:2"), lags)
    refit: timedelta = key(timedelta(minutes=15), read.duration)

    def check(self) -> Problems:
        if self.window > self.lookback:
            yield "window", f"{self.window} is more than lookback = {self.lookback}"


_days = read.whole(1, 36_500)


@dataclass(frozen=True)
class Retention:
    """Days kept; imported history is kept whatever its age."""

    trades_days: int = key(7, _days)
    bars_days: int = key(365, _days)
    landing_days: int = key(7, _days)
    quarantine_days: int = key(90, _days)
    quality_days: int = key(90, _days)
    runs_days: int = key(90, _days)
    snapshots_days: int = key(7, _days)


@dataclass(frozen=True)
class Digest:
    """How often the digest is sent; without channels it goes to all that take digests."""

    every: timedelta = key(timedelta(hours=1), read.duration)
    channels: tuple[str, ...] = key((), read.listed(read.name))
