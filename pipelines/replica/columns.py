"""Bars and trades as numpy columns: what every market gives and every venue dialect writes out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Row = dict[str, Any]


@dataclass(frozen=True)
class Bars:
    """Bars oldest first; `ts` is the open time in epoch seconds, `turnover` in quote currency."""

    ts: Ints
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    turnover: Floats
    trades: Ints
    taker_volume: Floats
    taker_turnover: Floats

    def __len__(self) -> int:
        return len(self.ts)

    def take(self, rows: slice | NDArray[Any]) -> Bars:
        return Bars(*(getattr(self, name)[rows] for name in COLUMNS))

    def between(self, start_s: float, end_s: float) -> Bars:
        """Bars with start_s <= ts < end_s."""
        first, last = np.searchsorted(self.ts, (start_s, end_s))
        return self if first == 0 and last == len(self) else self.take(slice(int(first), int(last)))

    def rows(self) -> Iterator[Row]:
        """Each bar as a dict of plain Python numbers."""
        lists = [getattr(self, name).tolist() for name in COLUMNS]
        return (dict(zip(COLUMNS, row, strict=True)) for row in zip(*lists, strict=True))


COLUMNS = tuple(field.name for field in fields(Bars))
_INTEGER = {"ts", "trades"}
_EXTREME = {"high": np.maximum, "low": np.minimum}


def bars_from(rows: Sequence[Row]) -> Bars:
    """Columns out of dicts as `Bars.rows` gives them."""
    return Bars(*(_column(rows, name) for name in COLUMNS))


def _column(rows: Sequence[Row], name: str) -> Any:
    return np.array([row[name] for row in rows], dtype=np.int64 if name in _INTEGER else np.float64)


NO_BARS = bars_from([])


def join(parts: Sequence[Bars]) -> Bars:
    """One after the other, as given."""
    parts = [part for part in parts if len(part)]
    if len(parts) < 2:
        return parts[0] if parts else NO_BARS
    return Bars(*(np.concatenate([getattr(part, name) for part in parts]) for name in COLUMNS))


def widen(bars: Bars, buckets: Ints) -> Bars:
    """Bars merged to wider ones; `buckets` is each bar's wider open time, ascending."""
    if not len(bars):
        return bars
    starts = np.flatnonzero(np.r_[True, buckets[1:] != buckets[:-1]])
    ends = np.r_[starts[1:], len(bars)] - 1

    def merged(name: str) -> NDArray[Any]:
        column = getattr(bars, name)
        if name in ("open", "close"):
            return np.asarray(column[starts if name == "open" else ends])
        return np.asarray(_EXTREME.get(name, np.add).reduceat(column, starts))

    return Bars(buckets[starts], *(merged(name) for name in COLUMNS[1:]))


@dataclass(frozen=True)
class Trades:
    """Aggregated trades oldest first; fills first..last, times in epoch milliseconds."""

    id: Ints
    price: Floats
    qty: Floats
    first: Ints
    last: Ints
    time_ms: Ints
    buyer_is_maker: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.id)

    def take(self, rows: slice | NDArray[Any]) -> Trades:
        return Trades(*(getattr(self, field.name)[rows] for field in fields(self)))


NO_TRADES = Trades(
    *(np.zeros(0, dtype) for dtype in (np.int64, float, float, np.int64, np.int64, np.int64, bool))
)


def join_trades(parts: Sequence[Trades]) -> Trades:
    if not parts:
        return NO_TRADES
    return Trades(
        *(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Trades))
    )


def bar_of(trades: Trades, ts: int) -> Bars:
    """The one bar that these trades make; empty without trades."""
    if not len(trades):
        return NO_BARS
    price, qty = trades.price, trades.qty
    bought = ~trades.buyer_is_maker
    row = {
        "ts": ts,
        "open": price[0],
        "high": price.max(),
        "low": price.min(),
        "close": price[-1],
        "volume": round(float(qty.sum()), 8),
        "turnover": round(float(price @ qty), 8),
        "trades": int((trades.last - trades.first + 1).sum()),
        "taker_volume": round(float(qty[bought].sum()), 8),
        "taker_turnover": round(float(price[bought] @ qty[bought]), 8),
    }
    return bars_from([row])
