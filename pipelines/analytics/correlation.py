"""How closely returns move together: of log returns, because any two trending prices look correlated."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
from scipy.special import ndtri

from pipelines.analytics import windows
from pipelines.analytics.windows import Floats

MIN_RETURNS = 20


def log_returns(prices: Floats) -> Floats:
    """Along the first axis, NaN first; NaN where either price is missing or not positive."""
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log(np.where(prices > 0, prices, np.nan))
    return np.concatenate([np.full_like(logs[:1], np.nan), np.diff(logs, axis=0)])


def rolling_correlation(y: Floats, x: Floats, window: int, levels: bool = False) -> Floats:
    """Correlation of the last `window` log returns (or prices: `levels`) at each bar; NaN before."""
    if levels:
        return windows.rolling(windows.pearson, window, y, x)
    return windows.rolling(windows.pearson, window, log_returns(y), log_returns(x))


def fisher_interval(corr: float, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Fisher's interval of a correlation of `n` pairs; NaN below 4 of them."""
    if n < 4 or math.isnan(corr):
        return math.nan, math.nan
    centre = math.atanh(max(-1 + 1e-15, min(1 - 1e-15, corr)))
    reach = -float(ndtri((1.0 - confidence) / 2.0)) / math.sqrt(n - 3)
    return math.tanh(centre - reach), math.tanh(centre + reach)


def correlations(closes: pl.DataFrame, interval: str, lookback: int) -> pl.DataFrame:
    """Every pair of series, both ways and with itself: interval, lookback, symbol_a, symbol_b, corr, lo, hi,
    n, as_of.

    closes: ts, and one column a series (`source:SYMBOL`), null where it has no final bar; the last
    `lookback` rows count. Returns are between neighbouring rows and used where both series have them; corr
    is null, not 0, below MIN_RETURNS of them or for a price that has not moved.
    """
    closes = closes.sort("ts").tail(lookback)
    names = [name for name in closes.columns if name != "ts"]
    corr, counts = correlation_matrix(log_returns(closes.select(names).cast(pl.Float64).to_numpy()))
    rows = []
    for i, a in enumerate(names):
        for j, b in enumerate(names):
            n, r = int(counts[i, j]), float(corr[i, j])
            rows.append((a, b, r, *fisher_interval(r, n), n))
    columns = {"symbol_a": pl.String, "symbol_b": pl.String} | dict.fromkeys(("corr", "lo", "hi"), pl.Float64)
    frame = pl.DataFrame(rows, schema=columns | {"n": pl.Int64}, orient="row")
    return frame.select(
        pl.lit(interval).alias("interval"),
        pl.lit(lookback, dtype=pl.Int64).alias("lookback"),
        pl.col("symbol_a", "symbol_b"),
        pl.col("corr", "lo", "hi").fill_nan(None),
        pl.col("n"),
        pl.lit(closes["ts"].max(), dtype=pl.Datetime("us")).alias("as_of"),
    )


def correlation_matrix(returns: Floats) -> tuple[Floats, Floats]:
    """(bars, series) -> correlations over the bars both have, and how many those are; NaN below MIN_RETURNS.

    One matrix product a sum, so that 500 series cost milliseconds; symmetric, with 1 on the diagonal.
    """
    present = ~np.isnan(returns)
    held = present.astype(np.float64)
    n = held.T @ held
    usual = np.nansum(returns, axis=0) / np.maximum(held.sum(axis=0), 1.0)
    centred = np.where(present, returns - usual, 0.0)
    total = centred.T @ held
    squares = (centred**2).T @ held
    with np.errstate(invalid="ignore", divide="ignore"):
        own = squares - total**2 / n
        shared = centred.T @ centred - total * total.T / n
        corr = shared / np.sqrt(np.where(own > 0, own, np.nan) * np.where(own > 0, own, np.nan).T)
    corr = np.where(n >= MIN_RETURNS, np.clip(corr, -1.0, 1.0), np.nan)
    np.fill_diagonal(corr, np.where(np.isnan(np.diag(corr)), np.nan, 1.0))
    return corr, n
