"""Indicators of the newest bars of many series at once: one row of a matrix a series, one column a bar."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipelines.analytics import windows
from pipelines.analytics.history import Bars, alpha, deviation_pct, rsi, true_range
from pipelines.analytics.params import PV_WINDOW, RETURNS, SPAN, IndicatorParams
from pipelines.analytics.windows import Floats

Integers = npt.NDArray[np.int64]


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


def newest_rows(bars: Bars, block: Block, params: IndicatorParams) -> dict[str, Floats]:
    """Indicators of the block's new bars: series after series, each oldest first, by column name."""
    steps = int(block.new.max())
    close, volume, ret_log, high, low = (
        _matrix(values, block, params.lookback)
        for values in (bars.close, bars.volume, bars.ret_log, bars.high, bars.low)
    )
    change = volume - windows.lag(volume)
    state, columns = block.state, []
    for end in range(params.lookback + 1, params.lookback + 1 + steps):
        row = _windowed(close[:, :end], ret_log[:, :end], change[:, :end], params)
        row |= _continued(
            close[:, end - 2], close[:, end - 1], high[:, end - 1], low[:, end - 1], state, params
        )
        columns.append(row)
        state = row
    present = np.arange(steps) < block.new[:, None]
    return {name: np.stack([c[name] for c in columns], axis=1)[present] for name in columns[0]}


def _matrix(values: Floats, block: Block, lookback: int) -> Floats:
    """(series, lookback + most new bars): the first new bar stands in column `lookback`; NaN: no bar."""
    kept = np.minimum(block.old, lookback)
    counts = kept + block.new
    series = np.repeat(np.arange(len(counts)), counts)
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    out = np.full((len(counts), lookback + int(block.new.max())), np.nan)
    out[series, within + (lookback - kept)[series]] = values[
        within + (block.start + block.old - kept)[series]
    ]
    return out


def _windowed(close: Floats, ret_log: Floats, change: Floats, params: IndicatorParams) -> dict[str, Floats]:
    """Columns of the windows that end in the matrices' last column."""
    last, before = close[:, -1], close[:, -1 - RETURNS : -1]
    out = {f"sma_{p}": windows.average(close[:, -p:]) for p in params.smas}
    for suffix, (width, sigmas) in params.bollingers.items():
        middle = windows.mean(close[:, -width:])
        band = sigmas * windows.population_std(close[:, -width:])
        out |= {
            f"bb_mid{suffix}": middle,
            f"bb_upper{suffix}": middle + band,
            f"bb_lower{suffix}": middle - band,
        }
    usual = windows.mean(before)
    out["dev_20_pct"] = deviation_pct(last, usual)
    out["zscore_20"] = windows.sigmas(last, usual, windows.sample_std(before))
    (returns,) = windows.newest(RETURNS, ret_log[:, -SPAN:])
    out["volatility_20"] = windows.sample_std(returns)
    out["pv_corr_60"] = windows.pearson(*windows.newest(PV_WINDOW, ret_log[:, -SPAN:], change[:, -SPAN:]))
    return out


def _continued(
    previous: Floats,
    close: Floats,
    high: Floats,
    low: Floats,
    state: Mapping[str, Floats],
    params: IndicatorParams,
) -> dict[str, Floats]:
    """Columns of the exponential averages one bar on from `state`."""
    out = {"bars_seen": state["bars_seen"] + 1}
    for p in params.emas:
        out[f"ema_{p}"] = _on(state[f"ema_{p}"], close, p)
    for p in params.rsis:
        gain = _on(state[f"rsi_{p}_gain"], np.maximum(close - previous, 0.0), p, wilder=True)
        loss = _on(state[f"rsi_{p}_loss"], np.maximum(previous - close, 0.0), p, wilder=True)
        out |= {f"rsi_{p}_gain": gain, f"rsi_{p}_loss": loss, f"rsi_{p}": rsi(gain, loss)}
    for p in params.atrs:
        out[f"atr_{p}"] = _on(state[f"atr_{p}"], true_range(high, low, previous), p, wilder=True)
    for suffix, (fast, slow, signal) in params.macds.items():
        quick = state[f"macd{suffix}_fast"]
        behind = _on(quick - state[f"macd{suffix}"], close, slow)
        quick = _on(quick, close, fast)
        line = quick - behind
        smoothed = _on(state[f"macd_signal{suffix}"], line, signal)
        out |= {f"macd{suffix}": line, f"macd_signal{suffix}": smoothed}
        out |= {f"macd_hist{suffix}": line - smoothed, f"macd{suffix}_fast": quick}
    return out


def _on(average: Floats, value: Floats, period: int, wilder: bool = False) -> Floats:
    return average + alpha(period, wilder) * (value - average)
