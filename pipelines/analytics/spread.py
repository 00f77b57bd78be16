"""What is left of y after its hedge in x, bar by bar, judged only by what was known before the bar."""

from __future__ import annotations

from collections.abc import Sequence

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

    y, x: (bars,) or (bars, pairs). NaN for the first `min_fit` bars and while x has not moved.
    """
    # Any constant shift gives the same line; the first bar's is known at every later bar.
    dy, dx = y - y[:1], x - x[:1]
    n = np.arange(1.0, len(y) + 1).reshape(-1, *[1] * (y.ndim - 1))
    sy, sx = np.cumsum(dy, axis=0), np.cumsum(dx, axis=0)
    sxx, sxy = np.cumsum(dx * dx, axis=0) - sx * sx / n, np.cumsum(dx * dy, axis=0) - sx * sy / n
    beta = sxy / np.where(sxx > 0, sxx, np.nan)
    alpha = y[:1] + (sy - beta * sx) / n - beta * x[:1]
    at = np.arange(len(y))
    fitted = np.maximum(min_fit + (at - min_fit) // refit * refit - 1, 0)
    beta, alpha = beta[fitted], alpha[fitted]
    beta[:min_fit] = alpha[:min_fit] = np.nan
    return beta, alpha


def spread_path(
    y: Floats, x: Floats, window: int, min_fit: int = MIN_FIT, refit: int = 1, since: int = 0
) -> tuple[Floats, Floats, Floats]:
    """Spread, its z-score and the beta of both, one value a bar from bar `since` on.

    y, x: (bars,) or (bars, pairs). spread_t = y_t - alpha_t - beta_t x_t with the line fitted before t. zscore_t is
    its distance from the mean of the `window` spreads before t (same line), in their standard deviations (ddof
    1): neither the line nor the window contains the bar that is judged. NaN where there are not enough bars
    before, or the spread has not moved.
    """
    beta, alpha = walk_forward_beta(y, x, min_fit, refit)
    spread = y - alpha - beta * x
    zscore = np.full(y.shape, np.nan)
    first = max(window, since)
    if len(y) > first:
        past_y, past_x = (
            np.lib.stride_tricks.sliding_window_view(prices[first - window : -1], window, axis=0)
            for prices in (y, x)
        )
        past = past_y - alpha[first:, ..., None] - beta[first:, ..., None] * past_x
        zscore[first:] = windows.sigmas(spread[first:], past.mean(axis=-1), windows.sample_std(past))
    return spread[since:], zscore[since:], beta[since:]


def rolling_zscore(spread: Floats, window: int, include_current: bool = False) -> Floats:
    """Each value against the `window` values before it (ddof 1); NaN until there are enough.

    With `include_current` the window ends with the judged value, as older systems have it; it then cannot
    exceed (window - 1) / sqrt(window), 4.25 at 20.
    """
    before = spread if include_current else windows.lag(spread)
    middle, deviation = (windows.rolling(f, window, before) for f in (windows.mean, windows.sample_std))
    return windows.sigmas(spread, middle, deviation)


def pair_series(
    names: Sequence[str], interval: str, ts: pl.Series, y: Floats, x: Floats, window: int,
    log: bool = True, refit: int = 1, since: int = 0,
) -> pl.DataFrame:  # fmt: skip
    """Rows of SCHEMA, one a pair and bar from bar `since` on; null where not enough came before.

    names: of the pairs; ts: the bars' open times, oldest first; y, x: (bars, pairs) closes both legs have.
    corr_roll is of the last `window` log returns.
    """
    left, right = (np.log(y), np.log(x)) if log else (y, x)
    spread, zscore, beta = spread_path(left, right, window, refit=refit, since=since)
    before = max(0, since - window)
    corr = rolling_correlation(y[before:], x[before:], window)[since - before :]
    kept, columns = ts[since:], {"spread": spread, "zscore": zscore, "corr_roll": corr, "beta": beta}
    return pl.DataFrame(
        {
            "pair": pl.Series(np.repeat(np.array(names, dtype=object), len(kept)).tolist(), dtype=pl.String),
            "interval": pl.Series([interval], dtype=pl.String).new_from_index(0, len(kept) * len(names)),
            "ts": pl.concat([kept] * len(names)),
            **{name: pl.Series(values.T.ravel()).fill_nan(None) for name, values in columns.items()},
        }
    )
