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
from pipelines.analytics.moments import Join, Sample
from pipelines.analytics.params import PV_WINDOW, RETURNS, SPAN, IndicatorParams
from pipelines.analytics.smoothing import Chains
from pipelines.analytics.windows import Floats, newest


@dataclass(frozen=True)
class Recent:
    """The newest bars: (bars, series) matrices, at least `params.lookback` + 1 rows; NaN: no bar or no value."""

    close: Floats
    volume: Floats
    ret_log: Floats
    high: Floats
    """Of the newest bar alone: (series,)."""
    low: Floats


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
    # The bands' window and the one before the bar are equally wide: one pass for both.
    both = np.concatenate([close[-RETURNS:], close[-1 - RETURNS : -1]], axis=1)
    series = close.shape[1]
    means, squares = moments.folded(moments.spread, [RETURNS], both)[RETURNS]
    spreads = {RETURNS: (means[:series], squares[:series])}
    if others := {width for width, _ in params.bollingers.values()} - {RETURNS}:
        spreads |= moments.folded(moments.spread, others, close)
    averages = smoothing.Averages.of(Chains.of(params), state)
    fed = smoothing.inputs(averages.chains, close[-1:], recent.high[None], recent.low[None], close[-2:-1])[0]
    return (
        of_windows(close[-1], sums, spreads, (means[series:], squares[series:]), params)
        | averages.after(fed).columns()
        | {"bars_seen": state["bars_seen"] + 1.0}
    )


def of_windows(
    close: Floats, sums: Mapping[int, Sample], spreads: Mapping[int, Sample], before: Sample, params: IndicatorParams
) -> dict[str, Floats]:  # fmt: skip
    """The columns of trailing windows of closes, of their moments by width; before: those that end a bar earlier."""
    out = {f"sma_{p}": sums[p][0] / p for p in params.smas}
    out["dev_20_pct"] = deviation_pct(close, before[0])
    out["zscore_20"] = sigmas(close, before[0], before[1], RETURNS - 1)
    for suffix, (width, wide) in params.bollingers.items():
        mean, square = spreads[width]
        out[f"bb_mid{suffix}"] = mean
        out[f"bb_upper{suffix}"], out[f"bb_lower{suffix}"] = band(mean, square, width, wide)
    return out


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
    return over_holes(recent.ret_log[-SPAN:], recent.volume[-SPAN:] - recent.volume[-SPAN - 1 : -1])


def over_holes(ret_log: Floats, change: Floats) -> dict[str, Floats]:
    """`returns` of the last SPAN bars (bars, series), of which some have no return."""
    of_20 = _over_valid(moments.spread, RETURNS, ret_log)
    of_60 = _over_valid(moments.together, PV_WINDOW, ret_log, change)
    return {"volatility_20": deviation(of_20[1], RETURNS - 1), "pv_corr_60": pearson(of_60)}


def _over_valid(join: Join, width: int, *matrices: Floats) -> Sample:
    """Moments of the newest `width` rows of each column that are valid in every matrix."""
    return moments.folded(join, [width], *newest(width, *matrices))[width]
