"""The simulated market: bars and trades of any symbol and minute, drawn on demand from a seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from threading import RLock

import numpy as np

from pipelines.replica import prints, shocks
from pipelines.replica.columns import NO_BARS, NO_TRADES, Bars, Trades, bar_of, join, join_trades
from pipelines.replica.days import Day, draw, prints_a_day
from pipelines.replica.instruments import LISTED, Instrument, instrument
from pipelines.replica.shocks import Shock
from pipelines.replica.walk import DAY_S, FIRST_DAY, LAST_DAY, Walk, generator

OPENING_DAY = FIRST_DAY + 1
_KRAKEN = {"BTC": "XBT", "DOGE": "XDG"}


class SimulatedMarket:
    """A market that never was, the same for a seed whatever is asked first; safe to read from any thread."""

    name = "simulated"

    def __init__(self, seed: int = 0, cached_days: int = 768) -> None:
        self.seed = seed
        self.injected: list[Shock] = []
        self._walk = Walk(seed)
        self._lock = RLock()
        self._cached = lru_cache(maxsize=cached_days)(self._draw)
        self._minute = lru_cache(maxsize=8192)(self._draw_minute)

    def symbols(self, venue: str) -> list[str]:
        """The venue's own names of what it lists (besides SIMnnnnUSDT)."""
        crypto = [one for one in LISTED.values() if one.continuous]
        return {
            "yahoo": [one.symbol for one in LISTED.values() if not one.continuous]
            + [f"{one.base}-USD" for one in crypto],
            "coinbase": [f"{one.base}-USDT" for one in crypto],
            "kraken": [f"{_KRAKEN.get(one.base, one.base)}USDT" for one in crypto],
        }.get(venue, [one.symbol for one in crypto])

    def find(self, venue: str, symbol: str) -> Instrument | None:
        """The instrument behind a venue's own name; None if the venue does not list it."""
        if venue == "yahoo":
            found = instrument(symbol.replace("-USD", "USDT"))
            return found if found and found.continuous == symbol.endswith("-USD") else None
        if venue == "coinbase":
            base, _, quote = symbol.partition("-")
            symbol = f"{base}USDT" if quote in ("USD", "USDT") else ""
        elif venue == "kraken":
            symbol = _from_kraken(symbol)
        found = instrument(symbol)
        return found if found and found.continuous else None

    def span(self, inst: Instrument) -> tuple[float, float]:
        """First and last possible minute of the tape."""
        return float(OPENING_DAY * DAY_S), float((LAST_DAY - 2) * DAY_S)

    def extended(self, inst: Instrument, start_s: float, end_s: float) -> Bars:
        """Bars with pre- and post-market: the simulated market has none."""
        return self.bars(inst, start_s, end_s)

    def day(self, inst: Instrument, day: int) -> Day | None:
        """The trading day; None when the market is closed."""
        with self._lock:
            return self._cached(inst, day)

    def bars(self, inst: Instrument, start_s: float, end_s: float) -> Bars:
        """One-minute bars with start_s <= ts < end_s, whether the clock has reached them or not."""
        days = (self.day(inst, day) for day in _days(start_s, end_s))
        return join([one.bars.between(start_s, end_s) for one in days if one])

    def trades(self, inst: Instrument, start_s: float, end_s: float) -> Trades:
        """Aggregated trades of the minutes with start_s <= ts < end_s."""
        found = []
        for day in _days(start_s, end_s):
            one = self.day(inst, day)
            if one:
                first, last = np.searchsorted(one.ts, (start_s, end_s))
                found += [self._minute(inst, day, row) for row in range(int(first), int(last))]
        return join_trades([part for part in found if len(part)])

    def minute_of_trade(self, inst: Instrument, trade_id: int) -> int:
        """Epoch seconds of the minute that printed this aggregate id (24/7 instruments only)."""
        per_day = prints_a_day(inst, 1440)
        day = max(trade_id, 0) // per_day + FIRST_DAY
        one = self.day(inst, day)
        if one is None:
            return day * DAY_S
        ends = one.first_print + one.counts
        return int(one.ts[min(int(np.searchsorted(ends, trade_id, side="right")), len(one.ts) - 1)])

    def running(self, inst: Instrument, minute_s: int, at_s: float) -> Bars:
        """The bar of `minute_s` as it stands at `at_s`: from the trades so far, empty before the first."""
        trades = self.trades(inst, minute_s, minute_s + 60)
        so_far = bar_of(trades.take(trades.time_ms <= at_s * 1000), minute_s)
        if len(so_far) or not len(self.bars(inst, minute_s, minute_s + 60)):
            return so_far
        before = self.bars(inst, minute_s - DAY_S, minute_s)
        return _flat(before, minute_s) if inst.continuous else NO_BARS

    def labels(self, insts: Sequence[Instrument], start_s: float, end_s: float) -> list[Shock]:
        """Planted and injected shocks that overlap [start_s, end_s), by time."""
        planted = [
            one
            for inst in insts
            for day in _days(start_s - DAY_S, end_s)
            for one in shocks.planted(self.seed, inst, self._walk.minutes(inst, day))
        ]
        touched = [one for one in (*planted, *self.injected) if one.start_s < end_s and one.end_s > start_s]
        return sorted(touched, key=lambda one: (one.start_s, one.symbol))

    def inject(self, one: Shock) -> None:
        """Bend the tape from the shock's start on; what lies before it stays as it was served."""
        with self._lock:
            self.injected.append(replace(one, injected=True))
            self._cached.cache_clear()
            self._minute.cache_clear()

    def _draw_minute(self, inst: Instrument, day: int, row: int) -> Trades:
        one = self.day(inst, day)
        if one is None or not one.counts[row]:
            return NO_TRADES
        minute = one.minute(row)
        rng = generator(self.seed, "prints", inst.symbol, minute.ts)
        return prints.draw(rng, minute, inst.price_scale, inst.lot_scale)

    def _draw(self, inst: Instrument, day: int) -> Day | None:
        return draw(self._walk, inst, day, self.injected)


def _from_kraken(pair: str) -> str:
    """`XBTUSDT`, `XXBTZUSD`, `ETHUSD` -> our `BTCUSDT`, `ETHUSDT`; empty if it is no such pair."""
    plain = {"XXBTZUSD": "XBTUSD", "XETHZUSD": "ETHUSD", "XXRPZUSD": "XRPUSD"}.get(pair, pair).replace(
        "/", ""
    )
    base = plain.removesuffix("USDT") if plain.endswith("USDT") else plain.removesuffix("USD")
    if base == plain:
        return ""
    return f"{({ours: base for base, ours in _KRAKEN.items()}).get(base, base)}USDT"


def _days(start_s: float, end_s: float) -> range:
    first, last = max(int(start_s // DAY_S), OPENING_DAY), int(-(-end_s // DAY_S))
    return range(first, min(last, LAST_DAY - 1))


def _flat(before: Bars, minute_s: int) -> Bars:
    if not len(before):
        return NO_BARS
    last = before.take(slice(-1, None))
    zero = np.zeros(1)
    return Bars(np.array([minute_s]), *(last.close,) * 4, zero, zero, np.zeros(1, np.int64), zero, zero)
