"""Reading replies row by row where one is bad: rejects word for word, and what counts as a number."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from math import isfinite
from typing import Any

import numpy as np
import orjson
import polars as pl
from numpy.typing import NDArray

from pipelines.market import BAR_SCHEMA, MINUTE, from_epoch_ms, naive
from pipelines.sources.base import REJECT_SCHEMA, Failure, Reply

Ints = NDArray[np.int64]

LATEST_MS = 253_402_300_799_999
"""The last millisecond of the year 9999."""

_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_GAP = re.compile(r"[\s,]*")


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


def read_json(body: bytes) -> Any:
    """The message; NaN and Infinity, which are no JSON, as text, so that only their row is lost.

    Raises ValueError for all else that is no JSON.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        if b"NaN" in body or b"Infinity" in body:
            return json.loads(body, parse_constant=str)
        raise


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
        return bool(_NUMBER.fullmatch(value.strip())) and isfinite(float(value))
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_plain(body: bytes) -> bool:
    """Whether `float` takes no more of this body's text for numbers than `is_number`: no `1_000`, no `１`."""
    return body.isascii() and b"_" not in body and b"\\" not in body


def is_count(value: Any) -> bool:
    """A whole number that fits 64 bits, sent as a JSON number."""
    return isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63


def is_epoch_ms(value: Any) -> bool:
    """A whole number of milliseconds in the years 1970 to 9999."""
    return is_count(value) and 0 <= value <= LATEST_MS


def time_of(value: Any) -> datetime | None:
    """Epoch milliseconds as a naive UTC time; None where they are none."""
    return naive(from_epoch_ms(value)) if is_epoch_ms(value) else None


def arrange_bars(
    replies: Sequence[Reply],
    owner: Ints,
    ts_ms: Ints,
    values: Mapping[str, pl.Series],
    market_now: datetime,
) -> pl.DataFrame:
    """BAR_SCHEMA sorted by symbol and ts; of a bar that came twice the last one is kept.

    owner: for each row the index of its reply. ts_ms: epoch milliseconds, below 2**48. values: the other
    columns by name, absent ones are null. `is_closed` is ts + 1 minute <= `market_now`.
    """
    names = sorted({reply.symbol for reply in replies})
    rank = {name: at for at, name in enumerate(names)}
    series = np.array([rank[reply.symbol] for reply in replies], np.int64)[owner]
    # One integer per row, mostly in order already: sorting it takes a tenth of sorting names and times.
    key = (series << 48) + ts_ms
    order = np.argsort(key, kind="stable")
    order = order[np.append(np.diff(key[order]) != 0, True)] if len(order) else order
    source = pl.Series([reply.source for reply in replies], dtype=pl.String).gather(owner[order])
    ts = pl.Series(ts_ms[order]).cast(pl.Datetime("ms")).cast(pl.Datetime("us"))
    columns = {
        "source": source,
        "symbol": pl.Series(names, dtype=pl.String).gather(series[order]),
        "ts": ts,
        **{name: column.gather(order) for name, column in values.items()},
        "venue": source,
        "is_closed": ts <= naive(market_now) - MINUTE,
    }
    missing = [pl.lit(None, kind).alias(name) for name, kind in BAR_SCHEMA.items() if name not in columns]
    return pl.DataFrame(columns).with_columns(missing).select(*BAR_SCHEMA)


def _skip(text: str, position: int) -> int:
    match = _GAP.match(text, position)
    return match.end() if match else position
