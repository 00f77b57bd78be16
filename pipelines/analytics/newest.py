"""Indicators of the newest bar of many series at once, on arrays: what a minute costs.

A matrix has one row a bar, the newest last, and one column a series, so that every step is one addition of rows.
`newest_row` is the kernel: matrices and the stored state in, one value a series and column out, which is the state of
the next bar. It gives the same bits as `history.rows` does for whole histories.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pipelines.analytics import moments, smoothing
from pipelines.analytics.endings import band, deviation, deviation_pct, pearson, sigmas
from pipelines.analytics.history import Bars
from pipelines.analytics.moments import Join, Sample
from pipelines.analytics.params import PV_WINDOW, RETURNS, SPAN, IndicatorParams
from pipelines.analytics.smoothing import Chains
from pipelines.analytics.windows import Floats, Integers, newest


@dataclass(frozen=True)
class Recent:
    """The newest bars: (bars, series) matrices, at least `params.lookback` + 1 rows; NaN: no bar or no value."""

    close: Floats
    volume: Floats
    ret_log: Floats
    high: Floats
    """Of the newest bar alone: (series,)."""
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


def newest_row(recent: Recent, state: Mapping[str, Floats], params: IndicatorParams) -> dict[str, Floats]:
    """Every column but `volatility_ann` and the volume's, of the newest bar: (series,) each.

    state: `carried(params)` of the row before, (series,) each. Every series must have its warm-up behind it.
    """
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        return prices(recent, state, params) | returns(recent)


def prices(recent: Recent, state: Mapping[str, Floats], params: IndicatorParams) -> dict[str, Floats]:
    """The columns that follow from closes, highs and lows."""
    close = recent.close
    sums = moments.folded(moments.total, params.smas, close)
    out = {f"sma_{p}": sums[p][0] / p for p in params.smas}
    # The bands' window and the one before the bar are equally wide: one pass for both.
    both = np.concatenate([close[-RETURNS:], close[-1 - RETURNS : -1]], axis=1)
    series = close.shape[1]
    means, squares = moments.folded(moments.spread, [RETURNS], both)[RETURNS]
    out["dev_20_pct"] = deviation_pct(close[-1], means[series:])
    out["zscore_20"] = sigmas(close[-1], means[series:], squares[series:], RETURNS - 1)
    for suffix, (width, wide) in params.bollingers.items():
        if width == RETURNS:
            mean, square = means[:series], squares[:series]
        else:
            mean, square = moments.folded(moments.spread, [width], close)[width]
        out[f"bb_mid{suffix}"] = mean
        out[f"bb_upper{suffix}"], out[f"bb_lower{suffix}"] = band(mean, square, width, wide)
    return out | _averages(recent, state, params) | {"bars_seen": state["bars_seen"] + 1.0}


def returns(recent: Recent) -> dict[str, Floats]:
    """The columns of the newest 20 and 60 log returns, if these lie within SPAN bars."""
    change = recent.volume[-PV_WINDOW:] - recent.volume[-PV_WINDOW - 1 : -1]
    near = recent.ret_log[-PV_WINDOW:]
    if not np.isnan(near.sum() + change.sum()):
        # Of returns without holes the moments of 20 are on the way to those of 60.
        both = moments.folded(moments.together, [RETURNS, PV_WINDOW], near, change)
        return {
            "volatility_20": deviation(both[RETURNS][2], RETURNS - 1),
            "pv_corr_60": pearson(both[PV_WINDOW]),
        }
    change = recent.volume[-SPAN:] - recent.volume[-SPAN - 1 : -1]
    near = recent.ret_log[-SPAN:]
    of_20 = _over_valid(moments.spread, RETURNS, near)
    of_60 = _over_valid(moments.together, PV_WINDOW, near, change)
    return {"volatility_20": deviation(of_20[1], RETURNS - 1), "pv_corr_60": pearson(of_60)}


def newest_rows(bars: Bars, block: Block, params: IndicatorParams) -> dict[str, Floats]:
    """Indicators of the block's new bars: series after series, each oldest first, by column name."""
    steps = int(block.new.max())
    close, volume, ret_log, high, low = (
        _matrix(values, block, params.lookback)
        for values in (bars.close, bars.volume, bars.ret_log, bars.high, bars.low)
    )
    state, found = block.state, []
    for end in range(params.lookback + 1, params.lookback + 1 + steps):
        recent = Recent(close[:end], volume[:end], ret_log[:end], high[end - 1], low[end - 1])
        state = newest_row(recent, state, params)
        found.append(state)
    if steps == 1:
        return found[0]
    present = np.arange(steps) < block.new[:, None]
    return {name: np.stack([row[name] for row in found], axis=1)[present] for name in found[0]}


def _averages(recent: Recent, state: Mapping[str, Floats], params: IndicatorParams) -> dict[str, Floats]:
    """The exponential averages one bar on from `state`."""
    chains, close = Chains.of(params), recent.close
    weights = chains.weights
    average, signal = chains.begin(state, close.shape[1])
    fed = smoothing.inputs(chains, close[-1:], recent.high[None], recent.low[None], close[-2:-1])[0]
    average = average + weights.direct * (fed - average)
    lines = np.stack([average[fast] - average[slow] for fast, slow in chains.legs])
    signal = signal + weights.signals * (lines - signal)
    return smoothing.columns(chains, average, signal)


def _over_valid(join: Join, width: int, *matrices: Floats) -> Sample:
    """Moments of the newest `width` rows of each column that are valid in every matrix."""
    return moments.folded(join, [width], *newest(width, *matrices))[width]


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
