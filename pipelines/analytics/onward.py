"""Indicators of many series bar after bar: what `newest` reads again each time is carried on here.

For whoever has several bars to go, as after an outage, or stays with the market; a single bar is cheaper by
`newest.newest_row`. Both give the same bits. After a late bar begin anew.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from pipelines.analytics import moments, newest, smoothing
from pipelines.analytics.endings import deviation, pearson
from pipelines.analytics.history import Bars
from pipelines.analytics.levels import Levels
from pipelines.analytics.moments import Sample
from pipelines.analytics.newest import Recent, newest_row
from pipelines.analytics.params import PV_WINDOW, RETURNS, SPAN, IndicatorParams
from pipelines.analytics.smoothing import Averages, Chains
from pipelines.analytics.windows import Floats, Integers

WORTH = 4
"""New bars from which carrying the windows on beats reading them again for each."""


class Bar(NamedTuple):
    """One bar of many series, (series,) each; NaN: no bar or no value."""

    close: Floats
    volume: Floats
    ret_log: Floats
    high: Floats
    low: Floats


@dataclass(frozen=True)
class Block:
    """Series whose state is carried on: where their bars lie in the tail, and their stored rows."""

    start: Integers
    """First row of the series in the tail."""
    old: Integers
    """Bars before the new ones."""
    new: Integers
    """New bars, at least one."""
    state: Mapping[str, Floats]
    """Column -> its value in each series' stored row."""


class Onward:
    """Many series at one bar; every series must have its warm-up behind it."""

    def __init__(
        self, close: Floats, volume: Floats, ret_log: Floats, state: Mapping[str, Floats], params: IndicatorParams
    ) -> None:  # fmt: skip
        """close, volume, ret_log: (bars, series), the newest last, at least `params.lookback` of them.

        state: `carried(params)` of the newest row, (series,) each.
        """
        change = volume[1:] - volume[:-1]
        widths = {RETURNS, *(width for width, _ in params.bollingers.values())}
        with np.errstate(invalid="ignore", over="ignore"):
            self.sums = Levels(moments.total, params.smas, close[-max(params.smas) :])
            self.spreads = Levels(moments.spread, widths, close[-max(widths) :])
            self.both = Levels(
                moments.together, (RETURNS, PV_WINDOW), ret_log[-PV_WINDOW:], change[-PV_WINDOW:]
            )
            self.before: Sample = self.spreads.newest(RETURNS)
        self.averages, self.params = Averages.of(Chains.of(params), state), params
        self.close, self.volume, self.seen = close[-1], volume[-1], state["bars_seen"]
        self.past = deque(zip(ret_log[1:], change, strict=True), maxlen=SPAN)

    def take(self, bar: Bar) -> dict[str, Floats]:
        """One bar on: what `newest.newest_row` gives for it."""
        with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
            return self._prices(bar) | self._returns(bar)

    def _prices(self, bar: Bar) -> dict[str, Floats]:
        self.sums.take(bar.close)
        self.spreads.take(bar.close)
        sums = {width: self.sums.newest(width) for width in self.params.smas}
        spreads = {width: self.spreads.newest(width) for width in self.spreads.parts}
        found = newest.of_windows(bar.close, sums, spreads, self.before, self.params)
        rows = (bar.close[None], bar.high[None], bar.low[None], self.close[None])
        self.averages = self.averages.after(smoothing.inputs(self.averages.chains, *rows)[0])
        self.before, self.close, self.seen = spreads[RETURNS], bar.close, self.seen + 1.0
        return found | self.averages.columns() | {"bars_seen": self.seen}

    def _returns(self, bar: Bar) -> dict[str, Floats]:
        change = bar.volume - self.volume
        self.volume = bar.volume
        self.past.append((bar.ret_log, change))
        self.both.take(bar.ret_log, change)
        of_60 = self.both.newest(PV_WINDOW)
        found = {
            "volatility_20": deviation(self.both.newest(RETURNS)[2], RETURNS - 1),
            "pv_corr_60": pearson(of_60),
        }
        holes = np.isnan(of_60[0] + of_60[1])
        if holes.any():
            rows = (np.stack([values[n][holes] for values in self.past]) for n in (0, 1))
            for name, values in newest.over_holes(*rows).items():
                found[name][holes] = values
        return found


def newest_rows(bars: Bars, block: Block, params: IndicatorParams) -> dict[str, Floats]:
    """Indicators of the block's new bars: series after series, each oldest first, by column name."""
    steps = int(block.new.max())
    close, volume, ret_log, high, low = (
        _matrix(values, block, params.lookback)
        for values in (bars.close, bars.volume, bars.ret_log, bars.high, bars.low)
    )
    first = params.lookback
    state, found = block.state, []
    if steps >= WORTH:
        onward = Onward(close[:first], volume[:first], ret_log[:first], state, params)
        found = [
            onward.take(Bar(close[at], volume[at], ret_log[at], high[at], low[at]))
            for at in range(first, first + steps)
        ]
    else:
        for end in range(first + 1, first + 1 + steps):
            recent = Recent(close[:end], volume[:end], ret_log[:end], high[end - 1], low[end - 1])
            state = newest_row(recent, state, params)
            found.append(state)
    if steps == 1:
        return found[0]
    present = np.arange(steps) < block.new[:, None]
    return {name: np.stack([row[name] for row in found], axis=1)[present] for name in found[0]}


def _matrix(values: Floats, block: Block, lookback: int) -> Floats:
    """(lookback + most new bars, series): the first new bar stands in row `lookback`; NaN: no bar."""
    kept = np.minimum(block.old, lookback)
    counts = kept + block.new
    first = block.start + block.old - kept
    if (kept == lookback).all() and (counts == counts[0]).all():
        return np.ascontiguousarray(values[first[:, None] + np.arange(counts[0])].T)
    series = np.repeat(np.arange(len(counts)), counts)
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    out = np.full((lookback + int(block.new.max()), len(counts)), np.nan)
    out[within + (lookback - kept)[series], series] = values[within + first[series]]
    return out
