"""The replica's memory: what is true now, after revisions, and what was ever served."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np

from pipelines.replica.columns import COLUMNS, Bars, Trades, join
from pipelines.replica.instruments import Instrument
from pipelines.replica.shocks import Shock
from pipelines.replica.walk import DAY_S

MINUTE_S = 60
LISTS_LIKE = dict.fromkeys(("massive", "alpha_vantage", "fmp", "finage"), "yahoo") | {
    "binance_bulk": "binance"
}
"""Venues that list the same names as another one."""


class Market(Protocol):
    """A tape: simulated or recorded. Times are epoch seconds, ranges half-open."""

    name: str

    def symbols(self, venue: str) -> list[str]: ...

    def find(self, venue: str, symbol: str) -> Instrument | None: ...

    def span(self, inst: Instrument) -> tuple[float, float]: ...

    def bars(self, inst: Instrument, start_s: float, end_s: float) -> Bars: ...

    def extended(self, inst: Instrument, start_s: float, end_s: float) -> Bars: ...

    def running(self, inst: Instrument, minute_s: int, at_s: float) -> Bars: ...

    def trades(self, inst: Instrument, start_s: float, end_s: float) -> Trades: ...

    def minute_of_trade(self, inst: Instrument, trade_id: int) -> int: ...

    def labels(self, insts: list[Instrument], start_s: float, end_s: float) -> list[Shock]: ...

    def inject(self, one: Shock) -> None: ...


@dataclass(frozen=True)
class Revision:
    """From `known_s` on the bar at `ts` has these values."""

    ts: int
    known_s: float
    values: dict[str, float]


@dataclass
class Delivery:
    """What one series was served: distinct minutes by UTC day, and how often."""

    days: dict[int, np.ndarray] = field(default_factory=dict)
    delivered: int = 0
    trades: int = 0
    streamed: set[int] = field(default_factory=set)
    """Ids of the aggregated trades that went out whole by websocket."""

    def mark(self, ts: np.ndarray) -> None:
        self.delivered += len(ts)
        first, last = int(ts[0]) // DAY_S, int(ts[-1]) // DAY_S
        for day in range(first, last + 1):
            seen = self.days.setdefault(day, np.zeros(1440, bool))
            seen[(ts[(ts >= day * DAY_S) & (ts < (day + 1) * DAY_S)] - day * DAY_S) // MINUTE_S] = True

    def mark_trade(self, trade_id: int) -> None:
        self.streamed.add(trade_id)

    def streamed_ranges(self) -> list[list[int]]:
        """[from, to) of every unbroken run of streamed trade ids."""
        ids = sorted(self.streamed)
        starts = [at for at in ids if at - 1 not in self.streamed]
        ends = [at + 1 for at in ids if at + 1 not in self.streamed]
        return [list(run) for run in zip(starts, ends, strict=True)]

    def ranges(self) -> list[list[int]]:
        """[from, to) in epoch seconds of every unbroken run of served minutes."""
        minutes = [day * DAY_S + MINUTE_S * np.flatnonzero(seen) for day, seen in sorted(self.days.items())]
        if not minutes:
            return []
        ts = np.concatenate(minutes)
        breaks = np.flatnonzero(np.diff(ts) != MINUTE_S)
        starts, ends = np.r_[0, breaks + 1], np.r_[breaks, len(ts) - 1]
        return [[int(ts[a]), int(ts[b]) + MINUTE_S] for a, b in zip(starts, ends, strict=True)]


class Book:
    """The market as the venues quote it: the tape, corrected, with its memory."""

    def __init__(self, market: Market) -> None:
        self.market = market
        self.version = 0
        self._revisions: dict[str, dict[int, list[Revision]]] = defaultdict(dict)
        self._lost: dict[str, list[tuple[float, float]]] = defaultdict(list)
        self.deliveries: dict[tuple[str, str], Delivery] = defaultdict(Delivery)

    def find(self, venue: str, symbol: str) -> Instrument | None:
        return self.market.find(LISTS_LIKE.get(venue, venue), symbol)

    def symbols(self, venue: str) -> list[str]:
        """The venue's own names of what it lists."""
        return self.market.symbols(LISTS_LIKE.get(venue, venue))

    def closed(self, inst: Instrument, start_s: float, end_s: float, now: float) -> Bars:
        """Closed one-minute bars as known now."""
        bars = self.market.bars(inst, start_s, min(end_s, now // MINUTE_S * MINUTE_S))
        return self._corrected(inst, bars)

    def with_running(self, inst: Instrument, start_s: float, end_s: float, now: float) -> Bars:
        """Closed bars and, as the last one, the bar still open."""
        closed = self.closed(inst, start_s, end_s, now)
        minute = int(now // MINUTE_S) * MINUTE_S
        if not start_s <= minute < end_s:
            return closed
        return join([closed, self.market.running(inst, minute, now)])

    def last_price(self, inst: Instrument, now: float) -> float | None:
        """The price of the newest trade; None before the first."""
        minute = int(now // MINUTE_S) * MINUTE_S
        running = self.market.running(inst, minute, now)
        if len(running):
            return float(running.close[-1])
        for back in (3600, DAY_S, 6 * DAY_S):
            closed = self.closed(inst, now - back, now, now)
            if len(closed):
                return float(closed.close[-1])
        return None

    def trades(self, inst: Instrument, start_s: float, end_s: float, now: float) -> Trades:
        """Trades of whole minutes in the range that have happened by now, without those that no venue gives."""
        found = self.happened(inst, start_s, end_s, now)
        lost = self.is_lost(inst, found)
        return found.take(~lost) if lost.any() else found

    def happened(self, inst: Instrument, start_s: float, end_s: float, now: float) -> Trades:
        """As `trades`, with all that have happened."""
        found = self.market.trades(inst, start_s, min(end_s, now))
        return found.take(found.time_ms <= now * 1000)

    def lose_trades(self, inst: Instrument, start_s: float, end_s: float) -> None:
        """From now on no venue gives the trades of start_s <= time < end_s, by whatever way; bars hold them."""
        self._lost[inst.symbol].append((start_s * 1000, end_s * 1000))

    def is_lost(self, inst: Instrument, trades: Trades) -> np.ndarray:
        """Which of the trades nobody gives."""
        spans = self._lost.get(inst.symbol, [])
        within = [(trades.time_ms >= start) & (trades.time_ms < end) for start, end in spans]
        return np.any(within, axis=0) if within else np.zeros(len(trades), bool)

    def revise(self, inst: Instrument, revision: Revision) -> None:
        """From now on the bar reads so; what was served before stays with whom it was served to."""
        self._revisions[inst.symbol].setdefault(revision.ts, []).append(revision)
        self.version += 1

    def inject(self, shock: Shock) -> None:
        self.market.inject(shock)
        self.version += 1

    def revisions(self, inst: Instrument) -> dict[int, int]:
        """Minute -> how many times it was revised."""
        return {ts: len(found) for ts, found in self._revisions.get(inst.symbol, {}).items()}

    def _corrected(self, inst: Instrument, bars: Bars) -> Bars:
        revised = self._revisions.get(inst.symbol)
        if not revised or not len(bars):
            return bars
        touched = [ts for ts in revised if bars.ts[0] <= ts <= bars.ts[-1]]
        if not touched:
            return bars
        columns = {name: getattr(bars, name).copy() for name in COLUMNS}
        for ts in touched:
            for row in np.flatnonzero(bars.ts == ts):
                for revision in revised[ts]:
                    for name, value in revision.values.items():
                        columns[name][row] = value
        return replace(bars, **columns)

    def served(self, venue: str, symbol: str, bars: Bars, now: float) -> None:
        """Remember the closed bars of a delivered reply."""
        closed = bars.ts[bars.ts + MINUTE_S <= now]
        if len(closed):
            self.deliveries[venue, symbol].mark(closed)

    def served_report(self) -> list[dict[str, Any]]:
        return [
            {
                "venue": venue,
                "symbol": symbol,
                "minutes": sum(int(seen.sum()) for seen in one.days.values()),
                "delivered": one.delivered,
                "trades": one.trades,
                "ranges": one.ranges(),
                "streamed": one.streamed_ranges(),
            }
            for (venue, symbol), one in sorted(self.deliveries.items())
        ]


def revised_values(bars: Bars, factors: dict[str, float], values: dict[str, float]) -> dict[str, float]:
    """A bar's columns times `factors`, then set to `values`, with high and low made to hold the rest."""
    row = next(bars.rows())
    row |= {name: row[name] * factor for name, factor in factors.items()}
    row |= values
    if "high" not in values:
        row["high"] = max(row["open"], row["high"], row["close"])
    if "low" not in values:
        row["low"] = min(row["open"], row["low"], row["close"])
    if "volume" in factors and "turnover" not in factors:
        row["turnover"] *= factors["volume"]
    return {name: value for name, value in row.items() if name != "ts"}
