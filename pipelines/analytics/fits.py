"""The rows of `pair_stats`: hedge ratios, tests, reversion and the verdict of the pairs of a scan."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

import numpy as np
import polars as pl

from pipelines.analytics import spread
from pipelines.analytics.adf import unit_root
from pipelines.analytics.cointegration import half_life
from pipelines.analytics.correlation import correlation_matrix, log_returns
from pipelines.analytics.examine import Scan, ScanParams, scaled
from pipelines.analytics.fast import compiled_twin
from pipelines.analytics.johansen import pair_traces
from pipelines.analytics.kalman import kalman
from pipelines.analytics.mackinnon import critical_5pct
from pipelines.analytics.panels import Panel, pair_name
from pipelines.analytics.regression import Line
from pipelines.analytics.stability import break_flags, holdout
from pipelines.analytics.theil_sen import theil_sen
from pipelines.analytics.verdict import Evidence, words
from pipelines.analytics.windows import Floats, Integers
from pipelines.market import Interval, naive

CHUNK = 256
"""Pairs whose paths are in memory together."""
SLOPE = 5.0
"""What a slope costs, all in, as multiplications."""

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
    **dict.fromkeys(("lags", "lags_swapped", "tested"), pl.Int64()),
    **dict.fromkeys(("adf_p_y", "adf_p_x"), pl.Float64()),
    "is_cointegrated": pl.Boolean(),
    **dict.fromkeys(("johansen_trace_0", "johansen_trace_1"), pl.Float64()),
    **dict.fromkeys(("half_life_bars", "half_life_lo", "half_life_hi"), pl.Float64()),
    "break_flag": pl.Boolean(),
    "holdout_p": pl.Float64(),
    **dict.fromkeys(("corr", "zscore"), pl.Float64()),
    **dict.fromkeys(("state", "reason"), pl.String()),
}
"""What could not be computed is null; `state` is cointegrated, not_cointegrated or untested, and `reason` says why.

lags, lags_swapped: lagged differences in the two regressions; tested: pairs that q_bh is over
adf_p_y, adf_p_x: p of each leg's own unit root; holdout_p: see `stability.holdout`
"""

Columns = dict[str, Floats]
"""Numbers by column, one a pair; NaN is null."""


def fit(closes: pl.DataFrame, scan: Scan, which: Integers, fitted_at: datetime) -> pl.DataFrame:
    """One row of SCHEMA for each pair of `scan` that `which` names, in that order.

    closes: those the scan was made of. A pair is cointegrated if its q is at most `fdr`, both orders pass the
    finite-sample 5 % critical value, and not both of its legs are stationary by themselves.
    """
    numbers = _numbers(scan, which)
    pairs = [scan.pairs[i] for i in which]
    legs = {
        leg for i, pair in zip(which.tolist(), pairs, strict=True) if i not in scan.reasons for leg in pair
    }
    alone = {leg: own_unit_root(closes[leg], scan.params) for leg in legs}
    for name, leg in (("adf_p_y", 0), ("adf_p_x", 1)):
        numbers[name] = np.array([_number(alone.get(pair[leg])) for pair in pairs], dtype=np.float64)
    row = np.full(len(scan.pairs), -1, dtype=np.int64)
    row[which] = np.arange(len(which))
    states, reasons = ["untested"] * len(which), [scan.reasons.get(int(i)) for i in which]
    for panel, places in _chunks(scan, which):
        at = row[panel.pairs[places]]
        y, x = (scaled(panel.prices[:, side[places]], scan.params.log) for side in (panel.y, panel.x))
        for name, values in _paths(panel, places, y, x, scan.params, numbers["p_max"][at]).items():
            numbers.setdefault(name, np.full(len(which), np.nan))[at] = values
        numbers["alpha_ols"][at] = y.mean(axis=0) - numbers["beta_ols"][at] * x.mean(axis=0)
        critical = critical_5pct(len(y) - 1, 2)
        for column, i in enumerate(at):
            stats = numbers["eg_stat"][i], numbers["eg_stat_swapped"][i]
            evidence = Evidence(
                numbers["p_max"][i], numbers["q_bh"][i], scan.tested, scan.params.fdr, max(stats) < critical,
                pairs[i], [alone.get(leg) for leg in pairs[i]],
            )  # fmt: skip
            states[i] = "cointegrated" if evidence.holds else "not_cointegrated"
            reasons[i] = _found(numbers, i, y[:, column], x[:, column], evidence, scan.params)
    return _frame(numbers, pairs, states, reasons, scan, fitted_at)


def _numbers(scan: Scan, which: Integers) -> Columns:
    """What the scan knows already, and room for the rest."""
    known = {
        "n": scan.n, "beta_ols": scan.beta[:, 0], "eg_stat": scan.stat[:, 0], "eg_p": scan.p[:, 0],
        "eg_stat_swapped": scan.stat[:, 1], "eg_p_swapped": scan.p[:, 1], "p_max": scan.p_max, "q_bh": scan.q,
        "lags": scan.lags[:, 0], "lags_swapped": scan.lags[:, 1],
    }  # fmt: skip
    numbers = {name: values[which].astype(np.float64) for name, values in known.items()}
    for name in ("lags", "lags_swapped"):
        numbers[name][numbers[name] < 0] = np.nan
    # Of one line both slopes multiply to the share of variance it explains.
    numbers["r2"] = scan.beta[which, 0] * scan.beta[which, 1]
    numbers["tested"] = np.full(len(which), float(scan.tested))
    rest = ("alpha_ols", "half_life_bars", "half_life_lo", "half_life_hi", "holdout_p")
    return numbers | {name: np.full(len(which), np.nan) for name in rest}


def _chunks(scan: Scan, which: Integers) -> Iterator[tuple[Panel, Integers]]:
    """Panels with the places of their tested pairs that are asked for, at most CHUNK at a time."""
    wanted = np.zeros(len(scan.pairs), dtype=bool)
    wanted[which] = True
    wanted[list(scan.reasons)] = False
    for panel in scan.panels:
        places = np.flatnonzero(wanted[panel.pairs])
        for start in range(0, len(places), CHUNK):
            yield panel, places[start : start + CHUNK]


def _paths(
    panel: Panel, places: Integers, y: Floats, x: Floats, params: ScanParams, p_max: Floats
) -> Columns:
    """Everything that takes the bars of tested pairs; y, x: their (bars, pairs) scaled prices."""
    left, right = panel.y[places], panel.x[places]
    used, place = np.unique(np.concatenate([left, right]), return_inverse=True)
    columns = place[: len(places)], place[len(places) :]
    levels = scaled(panel.prices[:, used], params.log)
    robust = _robust(y, x)
    _, zscore, _ = spread.spread_path(y, x, params.window, refit=params.refit, since=len(y) - 1)
    # A return over a night or a hole is not one of this interval's.
    step = Interval.parse(params.interval).seconds
    neighbours = np.append(False, np.diff(panel.ts.dt.epoch("s").to_numpy()) == step)
    corr, _ = correlation_matrix(log_returns(panel.prices[:, used])[neighbours])
    traces = pair_traces(levels, *columns)
    return {
        "beta_theil_sen": robust[0],
        "beta_lo": robust[1],
        "beta_hi": robust[2],
        "beta_kalman": kalman(y, x).beta[-1],
        "johansen_trace_0": traces[0],
        "johansen_trace_1": traces[1],
        "corr": corr[columns],
        "zscore": zscore[-1],
        "break_flag": break_flags(levels, *columns, params.lags, p_max),
    }


def _robust(y: Floats, x: Floats) -> Floats:
    """Theil-Sen's beta and its interval, (3, pairs)."""
    bars, pairs = y.shape
    fast = None if compiled_twin("slopes_fast", SLOPE * pairs * bars**2, None) is None else True
    lines = [
        theil_sen(np.ascontiguousarray(y[:, i]), np.ascontiguousarray(x[:, i]), fast=fast)
        for i in range(pairs)
    ]
    return np.array([(line.beta, line.beta_lo, line.beta_hi) for line in lines]).T


def _found(numbers: Columns, i: int, y: Floats, x: Floats, evidence: Evidence, params: ScanParams) -> str:
    """The reason; fills in what is only said of a pair that holds."""
    broken = numbers["break_flag"][i]
    life = later = None
    if evidence.holds:
        line = Line(numbers["beta_ols"][i], numbers["alpha_ols"][i], numbers["r2"][i])
        life, later = half_life(line.residuals(y, x)), holdout(y, x, params.lags)
        if life:
            for name, value in (("bars", life.bars), ("lo", life.lo), ("hi", life.hi)):
                numbers[f"half_life_{name}"][i] = value
        if later:
            numbers["holdout_p"][i] = later[1]
    return words(evidence, life.bars if life else None, None if math.isnan(broken) else bool(broken), later)


def own_unit_root(closes: pl.Series, params: ScanParams) -> float | None:
    """p of a series' own unit root, as cointegration supposes there is one; None if that cannot be tested."""
    prices = closes.cast(pl.Float64).fill_nan(None).drop_nulls().tail(params.lookback).to_numpy()
    values = scaled(prices, params.log)
    if len(values) < params.min_bars or not np.isfinite(values).all():
        return None
    try:
        return unit_root(values, params.lags, constant=True).p
    except ValueError:
        return None


def _frame(
    numbers: Mapping[str, Floats], pairs: Sequence[tuple[str, str]], states: Sequence[str],
    reasons: Sequence[str | None], scan: Scan, fitted_at: datetime,
) -> pl.DataFrame:  # fmt: skip
    legs = [[leg.split(":", 1) for leg in pair] for pair in pairs]
    texts = {
        "pair": [pair_name(pair) for pair in pairs],
        "interval": [scan.params.interval] * len(pairs),
        **{
            f"{part}_{side}": [pair[leg][k] for pair in legs]
            for leg, side in enumerate("yx")
            for k, part in enumerate(("source", "symbol"))
        },
        "state": list(states),
        "reason": list(reasons),
    }
    known = {name: pl.Series(values).fill_nan(None) for name, values in numbers.items()}
    known["break_flag"] = known.get("break_flag", pl.Series([None] * len(pairs), dtype=pl.Float64)) == 1.0
    judged = pl.when(pl.col("state") != "untested").then(pl.col("state") == "cointegrated")
    tested = pl.when(pl.col("state") != "untested").then(pl.col("tested"))
    frame = pl.DataFrame(texts | known).with_columns(
        is_cointegrated=judged, tested=tested, fitted_at=pl.lit(naive(fitted_at), dtype=pl.Datetime("us"))
    )
    absent = [pl.lit(None).alias(name) for name in SCHEMA if name not in frame.columns]
    return frame.with_columns(absent).select(pl.col(name).cast(kind) for name, kind in SCHEMA.items())


def _number(value: float | None) -> float:
    return math.nan if value is None else value
