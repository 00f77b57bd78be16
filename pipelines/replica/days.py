"""One trading day of the simulated market, drawn whole: prices, volumes and trade counts of each minute."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pipelines.replica import prints, shocks
from pipelines.replica.columns import Bars, Ints
from pipelines.replica.instruments import Instrument
from pipelines.replica.shocks import Shock
from pipelines.replica.walk import FIRST_DAY, Walk, generator, volatility_profile, volume_profile

Flags = NDArray[np.bool_]

_VOLUME_SIGMA = 0.35
_DAY_SIGMA = 0.12
_LEAST_LOTS_A_FILL = 8


@dataclass(frozen=True)
class Day:
    """One symbol's trading day in whole ticks and lots; `blocks` is minutes x 6 (see prints)."""

    inst: Instrument
    ts: Ints
    ticks: Ints
    blocks: Ints
    buys: Flags
    counts: Ints
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
            int(self.counts[row]),
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
            o / price,
            h / price,
            low / price,
            c / price,
            volume=blocks.sum(axis=1) / lot,
            turnover=(blocks * level).sum(axis=1) / (price * lot),
            trades=self.fills,
            taker_volume=(blocks * taken).sum(axis=1) / lot,
            taker_turnover=(blocks * taken * level).sum(axis=1) / (price * lot),
        )


def draw(walk: Walk, inst: Instrument, day: int, injected: Sequence[Shock]) -> Day | None:
    """That UTC day of the symbol; None when its market is closed. Nothing before an injected shock moves."""
    minutes = walk.minutes(inst, day)
    if not len(minutes):
        return None
    bent = shocks.planted(walk.seed, inst, minutes) + [one for one in injected if one.symbol == inst.symbol]
    rng = generator(walk.seed, "day", inst.symbol, day)
    active = _active(rng, inst, minutes, bent)
    count, fills, ids = _counts(rng, inst, minutes, active, day)
    ticks = _simplified(_ticks(walk, rng, inst, day, minutes, active, bent), count)
    blocks, buys = _blocks(rng, inst, minutes, count, fills, bent)
    return Day(inst, minutes, ticks, blocks, buys, count, fills, *ids)


def prints_a_day(inst: Instrument, minutes: int) -> int:
    return inst.prints * minutes


def _ticks(
    walk: Walk,
    rng: np.random.Generator,
    inst: Instrument,
    day: int,
    minutes: Ints,
    active: Flags,
    bent: list[Shock],
) -> Ints:
    """Open, high, low, close in ticks; minutes without trades repeat the close before them."""
    steps = len(minutes)
    path = walk.path(inst, day)
    vol = volatility_profile(inst.kind, steps) * inst.daily_vol / np.sqrt(steps)
    jitter, up, down = rng.standard_normal((3, steps))
    wild = np.ones(steps)
    for one in bent:
        path = shocks.bend_path(path, one, minutes, vol, walk.seed)
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


def _active(rng: np.random.Generator, inst: Instrument, minutes: Ints, bent: list[Shock]) -> Flags:
    """True where the minute trades; the day's last one always does: closes and ids meet at midnight."""
    active = rng.random(len(minutes)) >= inst.quiet
    for one in bent:
        active[shocks.inside(one, minutes)] = one.kind != "frozen"
    active[-1] = True
    return active


def _counts(
    rng: np.random.Generator, inst: Instrument, minutes: Ints, active: Flags, day: int
) -> tuple[Ints, Ints, tuple[Ints, Ints]]:
    """Prints and fills of each minute with their first ids.

    Both have the same sum every day, so ids are contiguous over all days without counting them; a silent
    minute leaves its share to the next one that trades, so a shock moves no id before it.
    """
    steps = len(minutes)
    per_day = prints_a_day(inst, steps)
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
) -> tuple[Ints, Flags]:
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
