"""The `[[source]]` and `[[session]]` tables of `tapewatch.toml`: venues, their symbols and calendars."""

# ruff: noqa: RUF009 - key() returns a dataclass field

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from importlib.metadata import entry_points
from typing import Any

from pipelines import settings_values as read
from pipelines.secrets import Secret
from pipelines.settings_sections import Problems, key
from pipelines.settings_values import SettingError

CONTINUOUS = "24/7"
ADAPTERS: Mapping[str, str] = {
    "binance": CONTINUOUS,
    "binance_futures": CONTINUOUS,
    "coinbase": CONTINUOUS,
    "kraken": CONTINUOUS,
    "yahoo": "XNYS",
    "massive": "XNYS",
    "alpha_vantage": "XNYS",
    "fmp": "XNYS",
    "finage": "XNYS",
}
"""Each built-in adapter with the calendar its symbols follow unless told otherwise."""

NEEDS_KEY = frozenset({"massive", "alpha_vantage", "fmp", "finage"})
STREAMS = frozenset({"binance", "binance_futures"})
"""Whose trades are streamed unless told otherwise."""
CAN_STREAM = STREAMS | {"yahoo", "coinbase", "kraken", "massive", "fmp", "finage"}


def adapter(value: Any) -> str:
    """The name of a built-in adapter or of one installed under the entry point `tapewatch.sources`."""
    word = read.text(value).lower()
    if word not in ADAPTERS:
        known = (*ADAPTERS, *(found.name for found in entry_points(group="tapewatch.sources")))
        if word not in known:
            raise SettingError(f'no adapter is called "{word}"', ", ".join(known), word=word, known=known)
    return word


def calendar(value: Any) -> str:
    """An exchange calendar by its code (`XNYS`) or `24/7`; pipelines.sessions knows whether it exists."""
    word = read.text(value).upper()
    if word != CONTINUOUS and not re.fullmatch(r"[A-Z0-9_]{2,16}", word):
        raise SettingError(f'"{value}" is not a calendar', '"24/7" or an exchange code such as "XNYS"')
    return word


def calendars(value: Any) -> tuple[tuple[str, str], ...]:
    """A table symbol -> calendar, for the symbols that differ from their source."""
    given = read.inline(value) if isinstance(value, read.EnvText) else value
    if not isinstance(given, dict):
        raise SettingError(f"{read.show(value)} is not a table", '{"BTC-USD" = "24/7"}')
    return tuple((read.symbol(symbol), calendar(name)) for symbol, name in given.items())


@dataclass(frozen=True)
class Source:
    """One venue to watch: its adapter, its symbols and who stands in when it fails."""

    name: str = key("", adapter, required=True)
    symbols: tuple[str, ...] = key((), read.listed(read.symbol))
    calendar: str = key("", calendar)
    calendars: tuple[tuple[str, str], ...] = key((), calendars)
    fallback: tuple[str, ...] = key((), read.listed(adapter))
    stream: bool | None = key(None, read.flag)
    base_url: str = key("", read.address)
    stream_url: str = key("", read.address)
    bulk_url: str = key("", read.address)
    """Where daily archives lie, of the sources that publish some."""
    api_key: Secret = key(Secret(), read.secret)
    rate_limit: int = key(0, read.whole(0))
    """Requests (Binance: request weight) a minute that one's plan allows; 0 is the venue's published limit."""
    budget: float = key(0.5, read.number(0.01, 1))
    timeout: timedelta = key(timedelta(seconds=10), read.duration)
    history: timedelta = key(timedelta(days=7), read.duration)

    def __post_init__(self) -> None:
        object.__setattr__(self, "calendar", self.calendar or ADAPTERS.get(self.name, CONTINUOUS))
        if self.stream is None:
            object.__setattr__(self, "stream", self.name in STREAMS)

    def calendar_of(self, symbol: str) -> str:
        """The calendar `symbol` follows: its own where one is given, else the source's."""
        return dict(self.calendars).get(symbol.upper(), self.calendar)

    def check(self) -> Problems:
        if not self.symbols:
            yield "symbols", 'no symbols; write for example symbols = ["BTCUSDT"]'
        if self.name in self.fallback:
            yield "fallback", f"{self.name} cannot stand in for itself"
        if self.stream and self.name in ADAPTERS and self.name not in CAN_STREAM:
            yield "stream", f"{self.name} has no stream here; there are {', '.join(sorted(CAN_STREAM))}"
        if self.stream and self.name == "finage" and not self.stream_url and not self.base_url:
            yield "stream_url", "finage streams at the address of your own account; write stream_url"
        if self.name in NEEDS_KEY and not self.api_key:
            yield "api_key", f'{self.name} needs a key; write api_key = "env:{self.name.upper()}_API_KEY"'
        for symbol, _ in self.calendars:
            if symbol not in self.symbols:
                yield "calendars", f"{symbol} is not one of this source's symbols"


@dataclass(frozen=True)
class Closure:
    """A session that differs from the exchange's calendar: no trading at all, or other hours (UTC)."""

    calendar: str = key("", calendar, required=True)
    date: date = key(date.min, read.day, required=True)
    closed: bool = key(False, read.flag)
    open: str = key("", read.text)
    close: str = key("", read.text)

    def check(self) -> Problems:
        if self.closed == bool(self.open or self.close):
            yield "closed", 'write closed = true, or open and close as UTC hours such as close = "18:00"'
        for name, value in (("open", self.open), ("close", self.close)):
            if value and not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", value):
                yield name, f'"{value}" is not an hour; write it as "18:00", UTC'
