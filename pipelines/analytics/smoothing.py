"""Exponential averages (EMA, MACD, Wilder's) of many series at once: one column a series, one step a bar.

`Chains` is what the periods ask for; `Chains.on` takes all of them one bar on, for the minute as for whole histories
(`smoothed`), so both give the same bits. An average begins with the mean of its first values and is
s + alpha (x - s) from there, as in TA-Lib: a flat line stays exactly flat.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from typing import NamedTuple

import numpy as np

from pipelines.analytics.params import IndicatorParams
from pipelines.analytics.windows import Floats

NO_MOVE = 1e-300
"""Average gain and loss together below it: the price never moved, or so long ago that nothing is left of
it.
"""
_BLOCK = 64
"""Bars that are laid out bar by bar at a time; 64 of 500 series and 7 averages are 2 MB."""


@dataclass(frozen=True)
class Chain:
    """One average: of which input, how fast, and where in a series its first `period` values begin."""

    name: str
    of: str
    period: int
    start: int
    wilder: bool = False

    @property
    def alpha(self) -> float:
        return 1 / self.period if self.wilder else 2 / (self.period + 1)

    @property
    def seeded(self) -> int:
        """The bar at which it has its first value."""
        return self.start + self.period - 1


class Weights(NamedTuple):
    """The alphas as columns, to be multiplied with (averages, series)."""

    direct: Floats
    signals: Floats


@dataclass(frozen=True)
class Chains:
    """All averages of the configured periods; `macd` lines are averages of two others' difference."""

    params: IndicatorParams

    @staticmethod
    @cache
    def of(params: IndicatorParams) -> Chains:
        """Made once: the minute needs them for every bar."""
        return Chains(params)

    @cached_property
    def direct(self) -> tuple[Chain, ...]:
        """Averages of what a bar holds, those of one input side by side."""
        p = self.params
        of_close = [Chain(f"ema_{n}", "close", n, 0) for n in p.emas]
        for suffix, (fast, slow, _) in p.macds.items():
            of_close.append(Chain(f"macd{suffix}_fast", "close", fast, slow - fast))
            if slow not in p.emas:
                of_close.append(Chain(f"macd{suffix}_slow", "close", slow, 0))
        gains = [Chain(f"rsi_{n}_gain", "gain", n, 1, wilder=True) for n in p.rsis]
        losses = [Chain(f"rsi_{n}_loss", "loss", n, 1, wilder=True) for n in p.rsis]
        ranges = [Chain(f"atr_{n}", "range", n, 1, wilder=True) for n in p.atrs]
        return (*of_close, *gains, *losses, *ranges)

    @cached_property
    def signals(self) -> tuple[Chain, ...]:
        """Averages of the macd lines; both averages of a line begin at the slow one's first bar."""
        return tuple(
            Chain(f"macd_signal{suffix}", f"macd{suffix}", signal, slow - 1)
            for suffix, (_, slow, signal) in self.params.macds.items()
        )

    @cached_property
    def legs(self) -> tuple[tuple[int, int], ...]:
        """Of each macd line the rows of its fast and slow average in `direct`."""
        at = {chain.name: row for row, chain in enumerate(self.direct)}
        return tuple(
            (at[f"macd{suffix}_fast"], at.get(f"ema_{slow}", at.get(f"macd{suffix}_slow", -1)))
            for suffix, (_, slow, _) in self.params.macds.items()
        )

    @cached_property
    def weights(self) -> Weights:
        return Weights(*(np.array([[c.alpha] for c in group]) for group in (self.direct, self.signals)))

    @cached_property
    def inputs(self) -> dict[str, slice]:
        """Input -> the rows of `direct` that average it."""
        of = [chain.of for chain in self.direct]
        return {name: slice(of.index(name), len(of) - of[::-1].index(name)) for name in dict.fromkeys(of)}

    @cached_property
    def warm_up(self) -> int:
        """Bars after which all of them have a value."""
        return max(chain.seeded for chain in (*self.direct, *self.signals)) + 1

    def begin(self, state: Mapping[str, Floats] | None, series: int) -> tuple[Floats, Floats]:
        """(averages, series) of `direct` and of `signals`: those of a stored row, or NaN."""
        if state is None:
            return np.full((len(self.direct), series), np.nan), np.full((len(self.signals), series), np.nan)
        given = {chain.name: state[chain.name] for chain in self.direct if not chain.name.endswith("_slow")}
        for suffix in self.params.macds:
            # A stored row has the fast average and the line; of the usual periods the slow one is an EMA as well.
            given[f"macd{suffix}_slow"] = state[f"macd{suffix}_fast"] - state[f"macd{suffix}"]
        return np.stack([given[c.name] for c in self.direct]), np.stack([state[c.name] for c in self.signals])


class Averages(NamedTuple):
    """All averages of many series at one bar, (averages, series) each."""

    chains: Chains
    direct: Floats
    signals: Floats

    @classmethod
    def of(cls, chains: Chains, state: Mapping[str, Floats]) -> Averages:
        """Those of a stored row."""
        return cls(chains, *chains.begin(state, len(state["bars_seen"])))

    def after(self, fed: Floats) -> Averages:
        """One bar on; fed: what `inputs` says of it."""
        weights = self.chains.weights
        direct = self.direct + weights.direct * (fed - self.direct)
        lines = np.stack([direct[fast] - direct[slow] for fast, slow in self.chains.legs])
        return Averages(self.chains, direct, self.signals + weights.signals * (lines - self.signals))

    def columns(self) -> dict[str, Floats]:
        """The indicators they are."""
        return columns(self.chains, self.direct, self.signals)


def inputs(
    chains: Chains, close: Floats, high: Floats, low: Floats, previous: Floats, out: Floats | None = None
) -> Floats:
    """What `direct` averages: (bars, averages, series) from (bars, series); `previous` is the close before each bar."""
    out = np.empty((len(close), len(chains.direct), close.shape[1])) if out is None else out
    rows = chains.inputs
    out[:, rows["close"]] = close[:, None]
    change = close - previous
    out[:, rows["gain"]] = np.maximum(change, 0.0)[:, None]
    out[:, rows["loss"]] = np.maximum(-change, 0.0)[:, None]
    out[:, rows["range"]] = (np.maximum(high, previous) - np.minimum(low, previous))[:, None]
    return out


def columns(chains: Chains, direct: Floats, signals: Floats) -> dict[str, Floats]:
    """The indicators of averages (…, averages, series): column -> (…, series)."""
    out = {
        chain.name: direct[..., row, :]
        for row, chain in enumerate(chains.direct)
        if not chain.name.endswith("_slow")
    }
    for n in chains.params.rsis:
        out[f"rsi_{n}"] = rsi(out[f"rsi_{n}_gain"], out[f"rsi_{n}_loss"])
    for row, suffix in enumerate(chains.params.macds):
        fast, slow = chains.legs[row]
        line, smooth = direct[..., fast, :] - direct[..., slow, :], signals[..., row, :]
        # The line shows only where it has a signal.
        line[np.isnan(smooth)] = np.nan
        out |= {f"macd{suffix}": line, f"macd_signal{suffix}": smooth, f"macd_hist{suffix}": line - smooth}
    return out


def rsi(gain: Floats, loss: Floats) -> Floats:
    """100 * gain / (gain + loss) of Wilder's averages; NaN where the price has not moved."""
    moved = gain + loss
    moved[moved < NO_MOVE] = np.nan
    np.divide(gain, moved, out=moved)
    moved *= 100.0
    return moved


def smoothed(
    close: Floats,
    high: Floats,
    low: Floats,
    params: IndicatorParams,
    out: Mapping[str, Floats],
    state: Mapping[str, Floats] | None = None,
    first: int = 0,
) -> None:
    """Fills `out` (column -> (series, bars), as `columns` names them) from bars `first` on.

    close, high, low: (series, bars), oldest first, NaN behind a series' last bar. state: the stored rows of bar
    `first` - 1 (column -> (series,)); None: the bars are the series' whole history and `first` is 0.
    """
    chains = Chains.of(params)
    weights = chains.weights
    series, bars = close.shape
    average, signal = chains.begin(state, series)
    seeds = chains.warm_up if state is None else 0
    start = first
    while start < bars:
        stop = min(start + (max(seeds, 1) if start == 0 and seeds else _BLOCK), bars)
        now = np.ascontiguousarray(close[:, start:stop].T)
        before = np.full_like(now, np.nan)
        before[1:] = now[:-1]
        if start:
            before[0] = close[:, start - 1]
        fed = inputs(chains, now, high[:, start:stop].T, low[:, start:stop].T, before)
        is_first = state is None and start == 0
        direct = _run(fed, average, weights.direct, chains.direct if is_first else ())
        lines = np.stack([direct[:, fast] - direct[:, slow] for fast, slow in chains.legs], axis=1)
        signals = _run(lines, signal, weights.signals, chains.signals if is_first else ())
        for name, values in columns(chains, direct, signals).items():
            out[name][:, start:stop] = values.T
        average, signal, start = direct[-1], signals[-1], stop


def _run(fed: Floats, before: Floats, weights: Floats, begin: tuple[Chain, ...]) -> Floats:
    """Averages bar by bar, (bars, averages, series) like `fed`; those in `begin` are seeded on their way."""
    out, step = np.empty_like(fed), np.empty_like(before)
    seeds: dict[int, list[tuple[int, Floats]]] = {}
    for row, chain in enumerate(begin):
        if chain.seeded < len(fed):
            # Added one bar after the other: numpy's own sum would depend on how many series there are.
            mean: Floats = np.cumsum(fed[chain.start : chain.seeded + 1, row], axis=0)[-1] / chain.period
            seeds.setdefault(chain.seeded, []).append((row, mean))
    for bar in range(len(fed)):
        after = out[bar]
        np.subtract(fed[bar], before, out=step)
        np.multiply(step, weights, out=step)
        np.add(before, step, out=after)
        for row, seed in seeds.get(bar, ()):
            after[row] = seed
        before = after
    return out
