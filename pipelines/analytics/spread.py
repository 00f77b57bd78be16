"""What is left of y after its hedge in x, bar by bar, judged only by what was known before the bar."""

from __future__ import annotations

import numpy as np
import polars as pl

from pipelines.analytics import windows
from pipelines.analytics.correlation import rolling_correlation
from pipelines.analytics.windows import Floats

MIN_FIT = 100
"""Bars before the first hedge ratio."""


SCHEMA: dict[str, pl.DataType] = {
    "pair": pl.String(),
    "interval": pl.String(),
    "ts": pl.Datetime("us"),
    **dict.fromkeys(("spread", "zscore", "corr_roll", "beta"), pl.Float64()),
}


def walk_forward_beta(y: Floats, x: Floats, min_fit: int = MIN_FIT, refit: int = 1) -> tuple[Floats, Floats]:
    """Least-squares beta and alpha at each bar from the bars before it alone, renewed every `refit` bars.

    NaN for the first `min_fit` bars and while x has not moved.
    """
    # Any constant shift gives the same line; the first bar's is known at every later bar.
    dy, dx = y - y[0], x - x[0]
    n = np.arange(1.0, len(y) + 1)
    sy, sx = np.cumsum(dy), np.cumsum(dx)
    sxx, sxy = np.cumsum(dx * dx) - sx * sx / n, np.cumsum(dx * dy) - sx * sy / n
    beta = sxy / np.where(sxx > 0, sxx, np.nan)
    alpha = y[0] + (sy - beta * sx) / n - beta * x[0]
    at = np.arange(len(y))
    fitted = min_fit + (at - min_fit) // refit * refit - 1
    known = at >= min_fit
    fitted = np.maximum(fitted, 0)
    return np.where(known, beta[fitted], np.nan), np.where(known, alpha[fitted], np.nan)


def spread_path(
    y: Floats, x: Floats, window: int, min_fit: int = MIN_FIT, refit: int = 1
) -> tuple[Floats, Floats, Floats]:
    """Spread, its z-score and the beta of both, one value a bar.

    spread_t = y_t - alpha_t - beta_t x_t with the line fitted before t. zscore_t is its distance from the
    mean of the `window` spreads before t (same line), in their standard deviations (ddof 1): neither the
    line nor the window contains the bar that is judged. NaN where there are not enough bars before, or the
    spread has not moved.
    """
    beta, alpha = walk_forward_beta(y, x, min_fit, refit)
    spread = y - alpha - beta * x
    zscore = np.full(len(y), np.nan)
    if len(y) > window:
        past_y = np.lib.stride_tricks.sliding_window_view(y, window)[:-1]
        past_x = np.lib.stride_tricks.sliding_window_view(x, window)[:-1]
        past = past_y - alpha[window:, None] - beta[window:, None] * past_x
        zscore[window:] = windows.sigmas(spread[window:], past.mean(axis=1), windows.sample_std(past))
    return spread, zscore, beta


def rolling_zscore(spread: Floats, window: int, include_current: bool = False) -> Floats:
    """Each value against the `window` values before it (ddof 1); NaN until there are enough.

    With `include_current` the window ends with the judged value, as older systems have it; it then cannot
    exceed (window - 1) / sqrt(window), 4.25 at 20.
    """
    before = spread if include_current else windows.lag(spread)
    middle, deviation = (windows.rolling(f, window, before) for f in (windows.mean, windows.sample_std))
    return windows.sigmas(spread, middle, deviation)


def pair_series(
    pair: str, interval: str, aligned: pl.DataFrame, window: int, log: bool = True, refit: int = 1
) -> pl.DataFrame:
    """pair, interval, ts, spread, zscore, corr_roll, beta: one row a bar; null where not enough came before.

    aligned: ts, y, x: closes both legs have, oldest first. corr_roll is of the last `window` log returns.
    """
    close_y, close_x = aligned["y"].to_numpy(), aligned["x"].to_numpy()
    y, x = (np.log(close_y), np.log(close_x)) if log else (close_y, close_x)
    spread, zscore, beta = spread_path(y, x, window, refit=refit)
    return aligned.select(
        pl.lit(pair).alias("pair"),
        pl.lit(interval).alias("interval"),
        pl.col("ts"),
        spread=pl.Series(spread).fill_nan(None),
        zscore=pl.Series(zscore).fill_nan(None),
        corr_roll=pl.Series(rolling_correlation(close_y, close_x, window)).fill_nan(None),
        beta=pl.Series(beta).fill_nan(None),
    )
