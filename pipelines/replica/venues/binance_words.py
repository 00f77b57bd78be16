"""Binance's words: parameters and their errors, decimal strings, the kline array, the time unit."""

from __future__ import annotations

import re
from dataclasses import dataclass

import orjson

from pipelines.replica.columns import Row
from pipelines.replica.venues.listing import close_of

MAX_LIMIT = 1000
SYMBOL = "^[A-Z0-9-_.]{1,20}$"
NUMBER = "^[0-9]{1,20}$"


class RefusalError(Exception):
    """An error body of the venue: HTTP status, code, message."""

    def __init__(self, code: int, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code, self.message, self.status = code, message, status


@dataclass(frozen=True)
class Call:
    """A checked request: parameters by name, the venue's time, 1 or 1000 units a millisecond."""

    params: dict[str, str]
    now: float
    scale: int

    def stamp(self, at_s: float) -> int:
        return round(at_s * 1000) * self.scale

    def number(self, name: str) -> int | None:
        text = self.params.get(name)
        if text is None:
            return None
        if not re.fullmatch(NUMBER, text):
            raise RefusalError(
                -1100, f"Illegal characters found in parameter '{name}'; legal range is '{NUMBER}'."
            )
        return int(text)

    def time(self, name: str) -> float | None:
        """Epoch seconds of a parameter in ms or us."""
        value = self.number(name)
        return None if value is None else value / (1e6 if value >= 1e14 else 1e3)

    def limit(self, default: int = 500, most: int = MAX_LIMIT) -> int:
        value = self.number("limit")
        if value == 0:
            raise RefusalError(-1130, "Data sent for parameter 'limit' is not valid.")
        return min(value or default, most)


def decimal(value: float | None) -> str:
    """The venue's decimal string of eight places."""
    return f"{0.0 if value is None else value:.8f}"


def _text(value: float | None) -> str:
    return "null" if value is None else f'"{value:.8f}"' if value == value else '"NaN"'


def kline(row: Row, interval: str, scale: int) -> bytes:
    """`[open time, "open", "high", "low", "close", "volume", close time, "quote volume", count, ...]`."""
    start = row["ts"]
    closes = (
        close_of(start, interval) * 1000 * scale - 1 if interval != "1s" else (start + 1) * 1000 * scale - 1
    )
    count = "null" if row["trades"] is None else row["trades"]
    prices = ",".join(_text(row[name]) for name in ("open", "high", "low", "close", "volume"))
    tail = ",".join(_text(row[name]) for name in ("taker_volume", "taker_turnover"))
    return f'[{start * 1000 * scale},{prices},{closes},{_text(row["turnover"])},{count},{tail},"0"]'.encode()


def time_scale(headers: dict[bytes, bytes]) -> int:
    unit = headers.get(b"x-mbx-time-unit", b"MILLISECOND").upper()
    if unit not in (b"MICROSECOND", b"MILLISECOND"):
        raise RefusalError(-1194, "Invalid value for time unit; expected either MICROSECOND or MILLISECOND.")
    return 1000 if unit == b"MICROSECOND" else 1


def symbol_list(text: str) -> list[str]:
    try:
        names = orjson.loads(text)
    except ValueError:
        names = None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise RefusalError(
            -1100,
            "Illegal characters found in parameter 'symbols'; "
            "legal range is '^\\[(\"[A-Z0-9-_.]{1,20}\")...\\]$'.",
        )
    if len(set(names)) < len(names):
        raise RefusalError(-1151, "Symbol is present multiple times in the list.")
    return names
