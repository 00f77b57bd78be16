"""Reading replies row by row where one is bad: rejects word for word, and what counts as a number."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

import numpy as np
import polars as pl

from pipelines.market import BAR_SCHEMA, MINUTE, from_epoch_ms, naive
from pipelines.sources.base import REJECT_SCHEMA, Failure, Reply

LATEST_MS = 253_402_300_799_999
"""The last millisecond of the year 9999."""

_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_GAP = re.compile(r"[\s,]*")


class Unclean(Exception):  # noqa: N818
    """Some row is not what the venue documents: the fast path gives way to row by row."""


class Rejects:
    """Collects what could not be read."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, str, datetime | None, str, str, str]] = []
        self.failures: list[Failure] = []

    def row(self, reply: Reply, ts: datetime | None, reason: str, detail: str, payload: str) -> None:
        """One bad row of a reply whose others are kept."""
        said = f"{reply.source} {reply.symbol}: {detail}"
        self.rows.append((reply.source, reply.symbol, ts, reason, said, payload))

    def reply(self, reply: Reply, reason: str, detail: str) -> None:
        """A reply of which nothing can be read: its whole body is the payload, and its request failed."""
        said = f"{reply.source} {reply.symbol}: {detail}"
        self.rows.append((reply.source, reply.symbol, None, reason, said, reply.text))
        self.failures.append(Failure(reply.symbol, reason, said))

    def frame(self) -> pl.DataFrame:
        return pl.DataFrame(self.rows, schema=REJECT_SCHEMA, orient="row")


def elements_as_received(text: str) -> Iterator[str]:
    """The elements of a JSON array, each exactly as it was written."""
    decoder = json.JSONDecoder()
    position = _skip(text, text.index("[") + 1)
    while text[position] != "]":
        _, end = decoder.raw_decode(text, position)
        yield text[position:end]
        position = _skip(text, end)


def is_number(value: Any) -> bool:
    """A finite JSON number, or decimal text for one: venues send prices as either."""
    if isinstance(value, str):
        return bool(_NUMBER.fullmatch(value)) and abs(float(value)) != float("inf")
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_count(value: Any) -> bool:
    """A whole number that fits 64 bits, sent as a JSON number."""
    return isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63


def is_epoch_ms(value: Any) -> bool:
    """A whole number of milliseconds in the years 1970 to 9999."""
    return is_count(value) and 0 <= value <= LATEST_MS


def time_of(value: Any) -> datetime | None:
    """Epoch milliseconds as a naive UTC time; None where they are none."""
    return naive(from_epoch_ms(value)) if is_epoch_ms(value) else None


def repeat(names: Sequence[str], lengths: Sequence[int]) -> pl.Series:
    """Each name as often as its reply has rows."""
    return pl.Series(names, dtype=pl.String).gather(np.repeat(np.arange(len(names)), lengths))


def finish_bars(bars: pl.DataFrame, market_now: datetime) -> pl.DataFrame:
    """BAR_SCHEMA in order: the last of each symbol and ts, sorted, `is_closed` by the market's clock."""
    return (
        bars.with_columns(is_closed=pl.col("ts") + MINUTE <= naive(market_now))
        .unique(["symbol", "ts"], keep="last", maintain_order=True)
        .sort("symbol", "ts")
        .select(pl.col(name).cast(kind) for name, kind in BAR_SCHEMA.items())
    )


def _skip(text: str, position: int) -> int:
    match = _GAP.match(text, position)
    return match.end() if match else position
