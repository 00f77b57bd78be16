"""How closely returns move together: of log returns, because any two trending prices look correlated."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl

from pipelines.analytics import normal, windows
from pipelines.analytics.windows import Floats, Integers

MIN_RETURNS = 20


def log_returns(prices: Floats) -> Floats:
    """Along the first axis, NaN first; NaN where either price is missing or not positive."""
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log(np.where(prices > 0, prices, np.nan))
    return np.concatenate([np.full_like(logs[:1], np.nan), np.diff(logs, axis=0)])


def rolling_correlation(y: Floats, x: Floats, window: int, levels: bool = False) -> Floats:
    """Correlation of the last `window` log returns (or prices: `levels`) at each bar; NaN before.

    y, x: (bars,) or (bars, pairs)
    """
    if not levels:
        y, x = log_returns(y), log_returns(x)
    out = np.full(y.shape, np.nan)
    if len(y) >= window:
        views = (np.lib.stride_tricks.sliding_window_view(side, window, axis=0) for side in (y, x))
        out[window - 1 :] = windows.pearson(*views)
    return out


def fisher_interval(
    corr: Floats | float, n: Integers | int, confidence: float = 0.95
) -> tuple[Floats, Floats]:
    """Fisher's interval of correlations of `n` pairs each; NaN below 4 of them."""
    r, count = np.asarray(corr, dtype=np.float64), np.asarray(n, dtype=np.float64)
    centre = np.arctanh(np.clip(r, -1 + 1e-15, 1 - 1e-15))
    reach = normal.reach(confidence) / np.sqrt(np.where(count >= 4, count - 3, np.nan))
    return np.tanh(centre - reach), np.tanh(centre + reach)


def correlations(closes: pl.DataFrame, interval: str, lookback: int) -> pl.DataFrame:
    """Every pair of series, both ways and with itself: interval, lookback, symbol_a, symbol_b, corr, lo, hi,
    n, as_of.

    closes: ts, and one column a series (`source:SYMBOL`), null where it has no final bar; the newest
    `lookback` closes of each series count, as in `pair_stats`. Returns are between neighbouring rows and used where both series have them; corr
    is null, not 0, below MIN_RETURNS of them or for a price that has not moved.
    """
    closes = closes.sort("ts")
    names = [name for name in closes.columns if name != "ts"]
    prices = closes.select(names).cast(pl.Float64).to_numpy()
    since_then = np.cumsum(~np.isnan(prices[::-1]), axis=0)[::-1]
    corr, counts = correlation_matrix(log_returns(np.where(since_then <= lookback, prices, np.nan))[1:])
    low, high = fisher_interval(corr, counts)
    some = {"corr": corr, "lo": low, "hi": high}
    frame = pl.DataFrame(
        {
            "symbol_a": np.repeat(np.array(names, dtype=object), len(names)).tolist(),
            "symbol_b": names * len(names),
            **{name: pl.Series(values.ravel()).fill_nan(None) for name, values in some.items()},
            "n": counts.ravel(),
        },
        schema_overrides={"symbol_a": pl.String, "symbol_b": pl.String},
    )
    return frame.select(
        pl.lit(interval).alias("interval"),
        pl.lit(lookback, dtype=pl.Int64).alias("lookback"),
        pl.all(),
        pl.lit(closes["ts"].max(), dtype=pl.Datetime("us")).alias("as_of"),
    )


def correlation_matrix(returns: Floats) -> tuple[Floats, Integers]:
    """(bars, series) -> correlations over the bars both have, and how many those are; NaN below MIN_RETURNS.

    One matrix product where nothing is missing, else one a sum; symmetric, with 1 on the diagonal.
    """
    present = ~np.isnan(returns)
    if present.all():
        n = np.full((returns.shape[1],) * 2, len(returns), dtype=np.int64)
        centred = returns - returns.mean(axis=0) if len(returns) else returns
        scale = np.sqrt(np.einsum("ij,ij->j", centred, centred))
        unit = centred / np.where(scale > 0, scale, np.nan)
        corr = unit.T @ unit
    else:
        n, corr = _with_holes(returns, present)
    corr = np.where(n >= MIN_RETURNS, np.clip(corr, -1.0, 1.0), np.nan)
    np.fill_diagonal(corr, np.where(np.isnan(np.diag(corr)), np.nan, 1.0))
    return corr, n


def _with_holes(returns: Floats, present: npt.NDArray[np.bool_]) -> tuple[Integers, Floats]:
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
    return n.astype(np.int64), corr
