"""Every pair of a universe, tested together: one row of `pair_stats` a pair, with a verdict in plain
words.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import combinations
from typing import Any

import numpy as np
import polars as pl

from pipelines.analytics import cointegration, correlation, kalman, regression, spread
from pipelines.analytics.adf import Lags, unit_root
from pipelines.analytics.johansen import johansen
from pipelines.analytics.windows import Floats
from pipelines.market import Interval, naive

Pair = tuple[str, str]
"""y and x as `source:SYMBOL`: y is explained by x."""

SCHEMA: dict[str, pl.DataType] = {
    "pair": pl.String(),
    "interval": pl.String(),
    "fitted_at": pl.Datetime("us"),
    **dict.fromkeys(("source_y", "symbol_y", "source_x", "symbol_x"), pl.String()),
    "n": pl.Int64(),
    **dict.fromkeys(
        ("beta_ols", "alpha_ols", "beta_theil_sen", "beta_lo", "beta_hi", "beta_kalman"), pl.Float64()
    ),
    **dict.fromkeys(
        ("r2", "eg_stat", "eg_p", "eg_stat_swapped", "eg_p_swapped", "p_max", "q_bh"), pl.Float64()
    ),
    "is_cointegrated": pl.Boolean(),
    **dict.fromkeys(("johansen_trace_0", "johansen_trace_1"), pl.Float64()),
    **dict.fromkeys(("half_life_bars", "half_life_lo", "half_life_hi"), pl.Float64()),
    "break_flag": pl.Boolean(),
    **dict.fromkeys(("corr", "zscore"), pl.Float64()),
    **dict.fromkeys(("state", "reason"), pl.String()),
}
"""What could not be computed is null; `state` is cointegrated, not_cointegrated or untested, and `reason`
says why.
"""

Row = dict[str, Any]


@dataclass(frozen=True)
class ScanParams:
    """How pairs are fitted: bars looked back on, spread window, lags, share of false finds allowed."""

    interval: str = "1m"
    lookback: int = 600
    window: int = 20
    lags: Lags = "aic"
    fdr: float = 0.05
    log: bool = True
    refit: int = 1
    min_bars: int = cointegration.MIN_BARS
    min_overlap: float = 0.5
    """Bars in common, as a share of those of the leg with more, below which a pair is not tested."""


def pair_name(pair: Pair) -> str:
    return f"{pair[0]}~{pair[1]}"


def all_pairs(series: Iterable[str]) -> list[Pair]:
    """Each two series once, in alphabetical order."""
    return list(combinations(sorted(series), 2))


def same_source_pairs(series: Iterable[str]) -> list[Pair]:
    """Each two series of one venue once: the usual universe."""
    return [pair for pair in all_pairs(series) if _source(pair[0]) == _source(pair[1])]


def wide(closes: pl.DataFrame) -> pl.DataFrame:
    """Closes of one interval (source, symbol, ts, close) as one row a bar: ts, and a column
    `source:SYMBOL` each.
    """
    name = pl.concat_str("source", "symbol", separator=":")
    return closes.select("ts", "close", name=name).pivot("name", index="ts", values="close").sort("ts")


def align(closes: pl.DataFrame, pair: Pair, lookback: int) -> pl.DataFrame:
    """ts, y, x: the newest `lookback` bars that both legs have, oldest first; nothing is filled in."""
    y, x = (pl.col(leg).cast(pl.Float64).fill_nan(None) for leg in pair)
    return closes.select("ts", y=y, x=x).drop_nulls().sort("ts").tail(lookback)


def scan(
    closes: pl.DataFrame, pairs: Sequence[Pair], params: ScanParams, fitted_at: datetime
) -> pl.DataFrame:
    """One row of SCHEMA a pair, in the order given; q_bh is over all tested pairs of this call.

    closes: final bars of one interval as `wide` gives them, null where a series has none
    A pair is cointegrated if its q_bh is at most `params.fdr` and both orders pass the finite-sample 5 %
    critical value.
    """
    fits = [_fit(closes, pair, params) for pair in pairs]
    p_max = np.array([fit["p_max"] for fit in fits], dtype=np.float64)
    q = cointegration.benjamini_hochberg(p_max)
    tested = int((~np.isnan(p_max)).sum())
    alone = {name: _wanders(closes, name, params) for name in {leg for pair in pairs for leg in pair}}
    at = naive(fitted_at)
    rows = [
        fit
        | _verdict(fit, float(q[i]), tested, params, [leg for leg in pair if alone[leg] is False])
        | {"fitted_at": at}
        for i, (fit, pair) in enumerate(zip(fits, pairs, strict=True))
    ]
    return pl.DataFrame([{name: row.get(name) for name in SCHEMA} for row in rows], schema=SCHEMA)


def scan_series(closes: pl.DataFrame, pairs: Sequence[Pair], params: ScanParams) -> pl.DataFrame:
    """The rows of `pair_series` for the same bars; a pair that cannot be aligned has none."""
    paths = []
    for pair in pairs:
        aligned = align(closes, pair, params.lookback)
        if _obstacle(closes, pair, aligned, params) is None:
            paths.append(
                spread.pair_series(
                    pair_name(pair), params.interval, aligned, params.window, params.log, params.refit
                )
            )
    return pl.concat(paths) if paths else pl.DataFrame(schema=spread.SCHEMA)


def _fit(closes: pl.DataFrame, pair: Pair, params: ScanParams) -> Row:
    """Everything about one pair that does not depend on the others."""
    aligned = align(closes, pair, params.lookback)
    (source_y, symbol_y), (source_x, symbol_x) = (leg.split(":", 1) for leg in pair)
    row: Row = {"pair": pair_name(pair), "interval": params.interval, "n": aligned.height, "p_max": None}
    row |= {"source_y": source_y, "symbol_y": symbol_y, "source_x": source_x, "symbol_x": symbol_x}
    if obstacle := _obstacle(closes, pair, aligned, params):
        return row | {"reason": obstacle}
    prices = [aligned[leg].to_numpy() for leg in ("y", "x")]
    y, x = (_scaled(p, params.log) for p in prices)
    _, zscore, _ = spread.spread_path(y, x, params.window, refit=params.refit)
    # A return over a night or a hole is not one of this interval's.
    step = Interval.parse(params.interval).seconds
    neighbours = np.append(False, np.diff(aligned["ts"].dt.epoch("s").to_numpy()) == step)
    returns = correlation.log_returns(np.column_stack(prices))[neighbours]
    row |= {"corr": _known(correlation.correlation_matrix(returns)[0][0, 1]), "zscore": _known(zscore[-1])}
    return row | _hedge(y, x) | _leash(y, x, params)


def _obstacle(closes: pl.DataFrame, pair: Pair, aligned: pl.DataFrame, params: ScanParams) -> str | None:
    """Why the pair is not tested, or None."""
    if aligned.is_empty():
        return "no bars in common"
    since = closes.filter(pl.col("ts") >= aligned["ts"][0])
    most = max(since[leg].cast(pl.Float64).fill_nan(None).drop_nulls().len() for leg in pair)
    y, x = (_scaled(aligned[leg].to_numpy(), params.log) for leg in ("y", "x"))
    if aligned.height < params.min_overlap * most:
        return f"only {aligned.height} of {most} bars in common"
    return cointegration.untestable(y, x, params.min_bars)


def _hedge(y: Floats, x: Floats) -> Row:
    line, robust = regression.ols(y, x), regression.theil_sen(y, x)
    return {
        "beta_ols": line.beta,
        "alpha_ols": line.alpha,
        "r2": line.r2,
        "beta_theil_sen": _known(robust.beta),
        "beta_lo": _known(robust.beta_lo),
        "beta_hi": _known(robust.beta_hi),
        "beta_kalman": _known(kalman.kalman(y, x).beta[-1]),
    }


def _leash(y: Floats, x: Floats, params: ScanParams) -> Row:
    """Engle-Granger in both orders, Johansen, breaks; and a half-life, which `_verdict` may drop."""
    one, other = (
        cointegration.engle_granger(y, x, params.lags),
        cointegration.engle_granger(x, y, params.lags),
    )
    p_max = max(one.p, other.p)
    trace = johansen(np.column_stack([y, x])).trace
    life = cointegration.half_life(regression.ols(y, x).residuals(y, x))
    return {
        "eg_stat": one.stat,
        "eg_p": one.p,
        "eg_stat_swapped": other.stat,
        "eg_p_swapped": other.p,
        "p_max": p_max,
        "passes_critical": max(one.stat, other.stat) < one.critical_5pct,
        "johansen_trace_0": _known(trace[0]),
        "johansen_trace_1": _known(trace[1]),
        "half_life_bars": life and life.bars,
        "half_life_lo": life and life.lo,
        "half_life_hi": life and life.hi,
        "break_flag": cointegration.has_break(y, x, params.lags, p_max),
    }


def _verdict(fit: Row, q: float, tested: int, params: ScanParams, stationary: Sequence[str]) -> Row:
    """State, reason and what depends on them."""
    if fit["p_max"] is None:
        return {"state": "untested", "reason": fit["reason"], "is_cointegrated": None, "q_bh": None}
    holds = q <= params.fdr and bool(fit["passes_critical"])
    pairs = f"{tested} pair{'s' if tested > 1 else ''}"
    of = f"larger p of the two orders {fit['p_max']:.3g}, q {q:.3g} over {pairs}"
    if not holds:
        words = f"not cointegrated: {of}, not significant at {params.fdr:g}"
        nothing = dict.fromkeys(("half_life_bars", "half_life_lo", "half_life_hi"))
        row: Row = {"state": "not_cointegrated", "is_cointegrated": False, "q_bh": q, **nothing}
    else:
        words = f"cointegrated: {of}"
        if fit["half_life_bars"] is not None:
            words += f"; half of a deviation is gone in {fit['half_life_bars']:.3g} bars"
        row = {"state": "cointegrated", "is_cointegrated": True, "q_bh": q}
    if fit["break_flag"]:
        words += "; the two halves contradict the whole, the relation may have broken"
    for name in stationary:
        words += f"; {name} looks stationary by itself"
    return row | {"reason": words}


def _wanders(closes: pl.DataFrame, name: str, params: ScanParams) -> bool | None:
    """Whether a series has a unit root at 5 %, as cointegration supposes; None if that cannot be tested."""
    prices = (
        closes.sort("ts")[name].cast(pl.Float64).fill_nan(None).drop_nulls().tail(params.lookback).to_numpy()
    )
    values = _scaled(prices, params.log)
    if len(values) < params.min_bars or not np.isfinite(values).all() or values.max() == values.min():
        return None
    return unit_root(values, params.lags, constant=True).p > 0.05


def _scaled(prices: Floats, log: bool) -> Floats:
    """Log prices, NaN where a price is not positive, or the prices themselves."""
    if not log:
        return prices
    return np.log(np.where(prices > 0, prices, np.nan))


def _known(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _source(series: str) -> str:
    return series.split(":", 1)[0]
