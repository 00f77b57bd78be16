"""Reading streams whose messages are read one by one: each tells a few trades, or is something else."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from zlib import crc32

import orjson
import polars as pl

from pipelines.market import TRADE_SCHEMA, naive
from pipelines.sources.base import REJECT_SCHEMA
from pipelines.sources.reading import is_count, is_number
from pipelines.sources.streams import StreamTrades

LATEST_US = 4_102_444_800_000_000
"""The year 2100."""
QUOTES = ("USDT", "USDC", "USD", "EUR", "GBP", "CHF", "BTC", "XBT", "ETH")


class Told(NamedTuple):
    """One trade as a venue told it; `side` is the aggressor's, None where the venue does not say."""

    symbol: str
    trade_id: int
    ts: datetime
    price: float
    qty: float
    side: str | None


def read_frames(source: str, frames: Sequence[bytes], read: Callable[[Any], Sequence[Told]]) -> StreamTrades:
    """Trades of the frames by `read`, which gives those of one message and raises ValueError for a broken one."""
    rows: list[tuple[Any, ...]] = []
    rejects: list[tuple[Any, ...]] = []
    others = 0
    for number, frame in enumerate(frames):
        try:
            found = read(orjson.loads(frame))
        except (ValueError, KeyError, TypeError, IndexError) as error:
            reason = "not_json" if isinstance(error, orjson.JSONDecodeError) else "wrong_shape"
            text = frame.decode("utf-8", "backslashreplace")
            rejects.append((source, None, None, reason, f"{source}: {type(error).__name__} {error}", text))
            continue
        others += not found
        rows += [(source, *one[:3], one.price, one.qty, one.side, 1, number) for one in found]
    schema: Mapping[str, Any] = {**TRADE_SCHEMA, "frame": pl.get_index_type()}
    lost = pl.DataFrame(rejects, schema=REJECT_SCHEMA, orient="row")
    return StreamTrades(pl.DataFrame(rows, schema=schema, orient="row"), lost, others)


def number(value: Any) -> float:
    """A finite number, sent as one or as text; raises ValueError."""
    if not is_number(value):
        raise ValueError(f"{value!r} is not a number")
    return float(value)


def count(value: Any) -> int:
    """A whole number, sent as one or as text; raises ValueError."""
    if isinstance(value, str) and re.fullmatch(r"\d{1,18}", value):
        return int(value)
    if not is_count(value):
        raise ValueError(f"{value!r} is not a whole number")
    return int(value)


def moment(text: Any) -> datetime:
    """ISO 8601 as naive UTC; raises ValueError."""
    at = datetime.fromisoformat(str(text))
    return naive(at if at.tzinfo else at.replace(tzinfo=UTC))


def epoch_moment(value: Any) -> datetime:
    """Epoch milliseconds, micro- or nanoseconds, told by their size, as naive UTC; raises ValueError."""
    ticks = count(value)
    scale = next((scale for least, scale in ((10**17, 1000), (10**14, 1)) if ticks >= least), None)
    micros = ticks * 1000 if scale is None else ticks // scale
    if not 0 < micros < LATEST_US:
        raise ValueError(f"{value!r} is not an epoch time")
    return datetime(1970, 1, 1) + timedelta(microseconds=micros)


def nameless_id(ts: datetime, price: float, qty: float) -> int:
    """The id of a trade whose venue gives none: the same trade told twice has the same one.

    Its time in milliseconds and six digits of its price and size: two trades are taken for one where all three are equal.
    """
    millis = (ts - datetime(1970, 1, 1)) // timedelta(milliseconds=1)
    return millis * 1_000_000 + crc32(f"{price!r} {qty!r}".encode()) % 1_000_000


def side(value: Any, words: Mapping[str, str]) -> str:
    """`buy` or `sell` by the venue's word for it; raises ValueError."""
    if value not in words:
        raise ValueError(f"side is {value!r}")
    return words[value]


def legs(pair: str) -> tuple[str, str]:
    """`XBTUSDT` as base and quote; the quote is empty where it is none we know."""
    quote = next((one for one in QUOTES if pair.endswith(one) and pair != one), "")
    return pair.removesuffix(quote), quote
