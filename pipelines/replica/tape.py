"""The simulated market: bars and trades of any symbol and minute, drawn on demand from a seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from threading import RLock

import numpy as np

from pipelines.replica import prints, shocks
from pipelines.replica.columns import (
    NO_BARS,
    NO_TRADES,
    Bars,
    Floats,
    Ints,
    Trades,
    bar_of,
    join,
    join_trades,
)
from pipelines.replica.instruments import LISTED, Instrument, instrument
from pipelines.replica.shocks import Shock
from pipelines.replica.walk import (
    DAY_S,
    FIRST_DAY,
    LAST_DAY,
    Walk,
    generator,
    volatility_profile,
    volume_profile,
)

_VOLUME_SIGMA = 0.35
_DAY_SIGMA = 0.12
_LEAST_LOTS_A_FILL = 8
OPENING_DAY = FIRST_DAY + 1
_KRAKEN = {"BTC": "XBT", "DOGE": "XDG"}


@dataclass(frozen=True)
class Day:
    """One symbol's trading day in whole ticks and lots; `blocks` is minutes x 6 (see prints)."""

    inst: Instrument
    ts: Ints
    ticks: Ints
    blocks: Ints
    buys: np.ndarray
    prints: Ints
    fills: Ints
    first_print: Ints
    first_fill: Ints

    def minute(self, row: int) -> prints.Minute:
        o, h, low, c = self.ticks[row].tolist()
        return prints.Minute(
            int(self.ts[row]),
            (o, h, low, c),
            tuple(self.blocks[row].tolist()),
            (bool(self.buys[row, 0]), bool(self.buys[row, 1])),
            int(self.prints[row]),
            int(self.fills[row]),
            int(self.first_print[row]),
            int(self.first_fill[row]),
        )

    @cached_property
    def bars(self) -> Bars:
        inst, blocks = self.inst, self.blocks
        o, h, low, c = self.ticks.T
        middle = (h + low) // 2
        level = np.stack((o, h, low, c, middle, middle), axis=1)
        taken = np.ones_like(blocks)
        taken[:, prints.OPEN], taken[:, prints.CLOSE] = self.buys.T
        taken[:, prints.LOW] = taken[:, prints.SOLD] = 0
        price, lot = float(inst.price_scale), float(inst.lot_scale)
        return Bars(
            self.ts,
            *(column / price for column in (o, h, low, c)),
            volume=blocks.sum(axis=1) / lot,
            turnover=(blocks * level).sum(axis=1) / (price * lot),
            trades=self.fills,
            taker_volume=(blocks * taken).sum(axis=1) / lot,
            taker_turnover=(blocks * taken * level).sum(axis=1) / (price * lot),
        )


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
        per_day = _prints_a_day(inst, 1440)
        day = max(trade_id, 0) // per_day + FIRST_DAY
        one = self.day(inst, day)
        if one is None:
            return day * DAY_S
        ends = one.first_print + one.prints
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
        if one is None or not one.prints[row]:
            return NO_TRADES
        minute = one.minute(row)
        rng = generator(self.seed, "prints", inst.symbol, minute.ts)
        return prints.draw(rng, minute, inst.price_scale, inst.lot_scale)

    def _draw(self, inst: Instrument, day: int) -> Day | None:
        minutes = self._walk.minutes(inst, day)
        if not len(minutes):
            return None
        bent = shocks.planted(self.seed, inst, minutes)
        bent += [one for one in self.injected if one.symbol == inst.symbol]
        rng = generator(self.seed, "day", inst.symbol, day)
        active = _active(rng, inst, minutes, bent)
        count, fills, ids = _counts(rng, inst, minutes, active, day)
        ticks = self._ticks(rng, inst, day, minutes, active, bent)
        ticks = _simplified(ticks, count)
        blocks, buys = _blocks(rng, inst, minutes, count, fills, bent)
        return Day(inst, minutes, ticks, blocks, buys, count, fills, *ids)

    def _ticks(
        self,
        rng: np.random.Generator,
        inst: Instrument,
        day: int,
        minutes: Ints,
        active: Floats,
        bent: list[Shock],
    ) -> Ints:
        """Open, high, low, close in ticks; minutes without trades repeat the close before them."""
        steps = len(minutes)
        path = self._walk.path(inst, day)
        vol = volatility_profile(inst.kind, steps) * inst.daily_vol / np.sqrt(steps)
        jitter, up, down = rng.standard_normal((3, steps))
        wild = np.ones(steps)
        for one in bent:
            path = shocks.bend_path(path, one, minutes, vol, self.seed)
            if one.kind == "volatility":
                wild[shocks.inside(one, minutes)] = one.size
        levels = np.maximum(np.rint(np.exp(path) * inst.price_scale), 2).astype(np.int64)
        last_active = np.maximum.accumulate(np.where(active, np.arange(1, steps + 1), 0))
        close = levels[last_active]
        before = np.concatenate((levels[:1], close[:-1]))
        tick_vol = before * vol * wild
        opened = np.where(
            active, np.maximum(before + np.rint(jitter * tick_vol * 0.08).astype(np.int64), 1), before
        )
        high = np.maximum(opened, close) + np.where(active, np.abs(up) * tick_vol * 0.6, 0).astype(np.int64)
        low = np.minimum(opened, close) - np.where(active, np.abs(down) * tick_vol * 0.6, 0).astype(np.int64)
        return np.stack((opened, high, np.maximum(low, 1), close), axis=1)


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


def _prints_a_day(inst: Instrument, minutes: int) -> int:
    return inst.prints * minutes


def _active(rng: np.random.Generator, inst: Instrument, minutes: Ints, bent: list[Shock]) -> Floats:
    """True where the minute trades; the day's last one always does, so that closes and ids meet at midnight."""
    active = rng.random(len(minutes)) >= inst.quiet
    for one in bent:
        if one.kind == "frozen":
            active[shocks.inside(one, minutes)] = False
    active[-1] = True
    return active


def _counts(
    rng: np.random.Generator, inst: Instrument, minutes: Ints, active: Floats, day: int
) -> tuple[Ints, Ints, tuple[Ints, Ints]]:
    """Prints and fills of each minute with their first ids.

    Both have the same sum every day, so ids are contiguous over all days without counting them; a silent
    minute leaves its share to the next one that trades, so a shock moves no id before it.
    """
    steps = len(minutes)
    per_day = _prints_a_day(inst, steps)
    weight = volume_profile(inst.kind, steps) * np.exp(_VOLUME_SIGMA * rng.standard_normal(steps))
    share = np.cumsum(weight) / weight.sum()
    share[-1] = 1.0
    prints_so_far = np.arange(1, steps + 1) + np.floor((per_day - steps) * share).astype(np.int64)
    fills_so_far = prints_so_far + np.floor(per_day * share).astype(np.int64)
    first_day = day - FIRST_DAY

    def counted(so_far: Ints, a_day: int) -> tuple[Ints, Ints]:
        reached = np.maximum.accumulate(np.where(active, so_far, 0))
        before = np.concatenate(([0], reached[:-1]))
        return reached - before, before + first_day * a_day

    count, first_print = counted(prints_so_far, per_day)
    fills, first_fill = counted(fills_so_far, 2 * per_day)
    return count, fills, (first_print, first_fill)


def _simplified(ticks: Ints, count: Ints) -> Ints:
    """Bars with fewer than four prints cannot touch four prices: one print is flat, two are a line."""
    o, h, low, c = ticks.T.copy()
    single = count == 1
    o[single] = c[single]
    h = np.where(count < 4, np.maximum(o, c), h)
    low = np.where(count < 3, np.minimum(o, c), low)
    return np.stack((o, h, low, c), axis=1)


def _blocks(
    rng: np.random.Generator, inst: Instrument, minutes: Ints, count: Ints, fills: Ints, bent: list[Shock]
) -> tuple[Ints, np.ndarray]:
    """Lots per block (minutes x 6) and whether open and close were bought."""
    steps = len(minutes)
    level = inst.minute_volume * np.exp(_DAY_SIGMA * rng.standard_normal())
    noise = np.exp(_VOLUME_SIGMA * rng.standard_normal(steps))
    volume = level * volume_profile(inst.kind, steps) * noise
    for one in bent:
        volume[shocks.inside(one, minutes)] *= shocks.volume_factor(one)
    lots = np.maximum(np.rint(volume * inst.lot_scale).astype(np.int64), _LEAST_LOTS_A_FILL * fills)
    lots[count == 0] = 0
    ends = np.maximum((lots[:, None] * rng.uniform(0.01, 0.05, (steps, 4))).astype(np.int64), 1)
    blocks = np.zeros((steps, 6), np.int64)
    blocks[:, prints.OPEN] = np.where(count >= 2, ends[:, 0], 0)
    blocks[:, prints.LOW] = np.where(count >= 3, ends[:, 1], 0)
    blocks[:, prints.HIGH] = np.where(count >= 4, ends[:, 2], 0)
    blocks[:, prints.CLOSE] = np.where(count >= 6, ends[:, 3], 0)
    rest = lots - blocks.sum(axis=1)
    bought = np.where(count >= 6, (rest * rng.uniform(0.35, 0.65, steps)).astype(np.int64), 0)
    blocks[:, prints.BOUGHT] = bought
    blocks[:, prints.SOLD] = np.where(count >= 6, rest - bought, 0)
    blocks[:, prints.CLOSE] += np.where(count < 6, rest, 0)
    # Surplus prints of a bar without a middle are split off the open: it needs a lot for each.
    return blocks, rng.random((steps, 2)) < 0.5


def _flat(before: Bars, minute_s: int) -> Bars:
    if not len(before):
        return NO_BARS
    last = before.take(slice(-1, None))
    zero = np.zeros(1)
    return Bars(np.array([minute_s]), *(last.close,) * 4, zero, zero, np.zeros(1, np.int64), zero, zero)
