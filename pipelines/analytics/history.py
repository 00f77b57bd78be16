"""One series' indicators from its bars: windows over arrays, recursions from a seed or a carried state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
import polars as pl

from pipelines.analytics import windows
from pipelines.analytics.params import PV_WINDOW, RETURNS, SPAN, IndicatorParams
from pipelines.analytics.windows import Floats

NO_MOVE = 1e-300
"""Average gain and loss together below it: the price never moved, or so long ago that nothing is left of
it.
"""

State = Mapping[str, float]
"""The public and hidden columns of one stored row."""


@dataclass(frozen=True)
class Bars:
    """Bars as arrays of equal length, oldest first; `ret_log` is NaN where there is none."""

    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    ret_log: Floats

    @classmethod
    def of(cls, frame: pl.DataFrame) -> Bars:
        """The arrays of a frame's columns, null as NaN."""
        return cls(*(frame[f.name].cast(pl.Float64).fill_null(np.nan).to_numpy() for f in fields(cls)))

    def slice(self, start: int, stop: int) -> Bars:
        return Bars(*(getattr(self, f.name)[start:stop] for f in fields(self)))


def series_rows(
    bars: Bars, params: IndicatorParams, state: State | None = None, new: int = 0
) -> dict[str, Floats]:
    """Indicators of one series: one value a bar, by column name.

    Without a `state` the bars are the series' whole history. With one it is the row before the last `new`
    bars: the recursive columns continue from it, and only the values of those last bars are meant to be read.
    """
    first = 0 if state is None else len(bars.close) - new
    seen = 0.0 if state is None else state["bars_seen"] - first
    counted = seen + np.arange(1.0, len(bars.close) + 1)
    return _windowed(bars, params) | _recursive(bars, first, state, params) | {"bars_seen": counted}


def rsi(gain: Floats, loss: Floats) -> Floats:
    """100 * gain / (gain + loss) of Wilder's averages; NaN where the price has not moved."""
    moved = gain + loss
    return 100.0 * gain / np.where(moved < NO_MOVE, np.nan, moved)


def deviation_pct(close: Floats, average: Floats) -> Floats:
    """Percent of `close` above `average`; exactly 5 for 105 against 100."""
    return (close - average) * 100.0 / np.where(average != 0, average, np.nan)


def true_range(high: Floats, low: Floats, previous_close: Floats) -> Floats:
    """The bar's range, widened to the close before it."""
    return np.maximum(high, previous_close) - np.minimum(low, previous_close)


def _windowed(bars: Bars, params: IndicatorParams) -> dict[str, Floats]:
    """Columns of the last so many bars."""
    close, before = bars.close, windows.lag(bars.close)
    out = {f"sma_{p}": windows.rolling(windows.average, p, close) for p in params.smas}
    for suffix, (width, sigmas) in params.bollingers.items():
        middle = windows.rolling(windows.mean, width, close)
        band = sigmas * windows.rolling(windows.population_std, width, close)
        out |= {
            f"bb_mid{suffix}": middle,
            f"bb_upper{suffix}": middle + band,
            f"bb_lower{suffix}": middle - band,
        }
    usual = windows.rolling(windows.mean, RETURNS, before)
    out["dev_20_pct"] = deviation_pct(close, usual)
    out["zscore_20"] = windows.sigmas(close, usual, windows.rolling(windows.sample_std, RETURNS, before))
    out["volatility_20"] = _over_valid(windows.sample_std, RETURNS, bars.ret_log)
    change = bars.volume - windows.lag(bars.volume)
    out["pv_corr_60"] = _over_valid(windows.pearson, PV_WINDOW, bars.ret_log, change)
    return out


def _over_valid(statistic: windows.Statistic, width: int, *series: Floats) -> Floats:
    """`statistic` of the newest `width` bars with a value in every series, if they lie within SPAN bars."""
    present = ~np.isnan(sum(series))
    valid = np.flatnonzero(present)
    if len(valid) < width:
        return np.full(len(present), np.nan)
    compact = windows.rolling(statistic, width, *(s[valid] for s in series))
    newest = np.cumsum(present) - 1
    oldest = valid[np.maximum(newest - width + 1, 0)]
    return np.where(oldest > np.arange(len(present)) - SPAN, compact[np.maximum(newest, 0)], np.nan)


def _recursive(bars: Bars, first: int, state: State | None, params: IndicatorParams) -> dict[str, Floats]:
    """Columns of the exponential averages."""
    close, previous = bars.close, windows.lag(bars.close)
    gain, loss = np.maximum(close - previous, 0.0), np.maximum(previous - close, 0.0)
    ranges = true_range(bars.high, bars.low, previous)
    out = {f"ema_{p}": _smooth(close, _seed(state, f"ema_{p}"), first, p, 0) for p in params.emas}
    for p in params.rsis:
        for name, values in ((f"rsi_{p}_gain", gain), (f"rsi_{p}_loss", loss)):
            out[name] = _smooth(values, _seed(state, name), first, p, 1, wilder=True)
        out[f"rsi_{p}"] = rsi(out[f"rsi_{p}_gain"], out[f"rsi_{p}_loss"])
    for p in params.atrs:
        out[f"atr_{p}"] = _smooth(ranges, _seed(state, f"atr_{p}"), first, p, 1, wilder=True)
    for suffix, periods in params.macds.items():
        out |= _macd(close, first, state, suffix, periods)
    return out


def _macd(
    close: Floats, first: int, state: State | None, suffix: str, periods: tuple[int, int, int]
) -> dict[str, Floats]:
    """Both averages begin at the slow one's first bar, and the line shows only where it has a signal."""
    fast, slow, signal = periods
    quick_seed, line_seed = _seed(state, f"macd{suffix}_fast"), _seed(state, f"macd{suffix}")
    slow_seed = None if quick_seed is None or line_seed is None else quick_seed - line_seed
    quick = _smooth(close, quick_seed, first, fast, slow - fast)
    line = quick - _smooth(close, slow_seed, first, slow, 0)
    smoothed = _smooth(line, _seed(state, f"macd_signal{suffix}"), first, signal, slow - 1)
    return {
        f"macd{suffix}": np.where(np.isnan(smoothed), np.nan, line),
        f"macd_signal{suffix}": smoothed,
        f"macd_hist{suffix}": line - smoothed,
        f"macd{suffix}_fast": quick,
    }


def _seed(state: State | None, name: str) -> float | None:
    return None if state is None else state[name]


def _smooth(
    values: Floats, seed: float | None, first: int, period: int, start: int, wilder: bool = False
) -> Floats:
    """Exponential average s + alpha (x - s): from `seed` at row `first`, else from a mean at `start`.

    alpha is 2 / (period + 1), or 1 / period as Wilder has it.
    """
    out = np.full(len(values), np.nan)
    if seed is None:
        first = start + period
        if first > len(values):
            return out
        seed = out[first - 1] = values[start:first].mean()
    chain = pl.Series(np.concatenate(([seed], values[first:])))
    out[first:] = chain.ewm_mean(alpha=alpha(period, wilder), adjust=False).to_numpy()[1:]
    return out


def alpha(period: int, wilder: bool) -> float:
    return 1 / period if wilder else 2 / (period + 1)
