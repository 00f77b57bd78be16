"""`tapewatch pair`: two series against each other."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated

import numpy as np
import polars as pl
from cyclopts import Parameter

from flows.cli.call import Injected
from flows.cli.lake import Connection, Row, context_of
from flows.cli.series import named, stored_series
from flows.cli.tables import print_json, table
from flows.context import reading
from pipelines.analytics.adf import Lags, search
from pipelines.analytics.cointegration import MIN_BARS
from pipelines.analytics.examine import ScanParams, examine
from pipelines.analytics.fits import fit
from pipelines.analytics.panels import wide
from pipelines.market import Interval, Series
from warehouse.errors import TapewatchError, UsageError
from warehouse.stage import frame, literal, literals

SPARE = 20
"""How many times `lookback` is read of each leg at most: the legs may have few bars in common."""
MEANINGS = {
    "n": "bars both have",
    "beta_ols": "hedge ratio, least squares",
    "alpha_ols": "intercept",
    "beta_theil_sen": "hedge ratio, median of slopes",
    "beta_lo": "its 95 % interval, from",
    "beta_hi": "to",
    "beta_kalman": "hedge ratio now, Kalman filter",
    "r2": "share of variance explained",
    "eg_stat": "Engle-Granger, y on x",
    "eg_p": "p, MacKinnon",
    "eg_stat_swapped": "Engle-Granger, x on y",
    "eg_p_swapped": "p, MacKinnon",
    "p_max": "the larger p decides",
    "q_bh": "after Benjamini-Hochberg; one pair: p itself",
    "lags": "lagged differences, y on x",
    "lags_swapped": "lagged differences, x on y",
    "adf_p_y": "p of y's own unit root",
    "adf_p_x": "p of x's own unit root",
    "johansen_trace_0": "Johansen trace, no relation",
    "johansen_trace_1": "Johansen trace, one relation",
    "half_life_bars": "half of a deviation is gone, bars",
    "half_life_lo": "its 95 % interval, from",
    "half_life_hi": "to",
    "holdout_p": "p on the last third, by the line before",
    "break_flag": "the halves contradict the whole",
    "corr": "correlation of log returns",
    "zscore": "spread now, in its own deviations",
}


def pair(
    a: str,
    b: str,
    /,
    *,
    interval: str = "1m",
    lookback: int = 600,
    window: int = 20,
    lags: str = "",
    level: Annotated[bool, Parameter(negative=())] = False,
    call: Injected,
) -> None:
    """Every pair statistic of A (y) against B (x); --json uses the column names of pair_stats.

    Example: tapewatch pair binance:ETHUSDT binance:BTCUSDT --lookback 600 --json

    Parameters
    ----------
    a
        source:SYMBOL, or SYMBOL where that is unambiguous: y.
    b
        The same for x.
    interval
        Width of the bars.
    lookback
        Bars to look back.
    window
        Bars of the rolling z-score and correlation.
    lags
        aic, bic, with a largest number if you like (aic:4), or a number; else as in [pairs] lags.
    level
        Prices as they are; else their logarithms.
    """
    context = context_of(call)
    given = context.settings.pairs
    params = replace(
        params_of(interval, lookback, window, lags or str(given.lags), level, given.fdr),
        refit=max(int(given.refit / Interval.parse(interval).delta), 1),
    )
    with reading(context) as con:
        known = stored_series(con)
        y, x = named(a, known), named(b, known)
        if y == x:
            raise UsageError(f"{y} against itself says nothing; name two series")
        closes = _closes(con, (y, x), params)
        scanned = _in_the_scan(con, y, x, interval)
    row = fitted(closes, y, x, params)
    if call.json:
        print_json(row)
    else:
        _tell(row, params)
        print(scanned)


def params_of(interval: str, lookback: int, window: int, lags: str, level: bool, fdr: float) -> ScanParams:
    """The scan's parameters; UsageError names the option that is not possible."""
    try:
        width = str(Interval.parse(interval))
    except ValueError as error:
        raise UsageError(f"--interval: {error}") from None
    if not 2 <= window <= lookback:
        raise UsageError(
            f"--window {window}: it must be at least 2 and at most --lookback, which is {lookback}"
        )
    chosen: Lags = int(lags) if lags.isdigit() else lags.lower()
    try:
        search(chosen, max(lookback, MIN_BARS), constant=False)
    except ValueError as error:
        raise UsageError(f"--lags {lags}: {error}") from None
    return ScanParams(width, lookback, window, chosen, fdr, log=not level)


def fitted(closes: pl.DataFrame, y: Series, x: Series, params: ScanParams) -> Row:
    """The pair's row of `pair_stats`; `fitted_at` is its newest bar."""
    legs = (str(y), str(x))
    missing = [leg for leg in legs if leg not in closes.columns]
    if missing:
        raise TapewatchError(
            f'{" and ".join(missing)}: no complete {params.interval} bars; `tapewatch sql "SELECT DISTINCT interval FROM '
            f"ohlcv WHERE symbol = '{missing[0].split(':', 1)[1]}'\"` says which there are"
        )
    scanned = examine(closes, [legs], params)
    shared = scanned.panels[0].ts
    row: Row = fit(closes, scanned, np.arange(1), shared[-1] if len(shared) else datetime.now(UTC)).row(
        0, named=True
    )
    return row | {"pair": f"{y.slug}~{x.slug}"}


def _closes(con: Connection, legs: tuple[Series, Series], params: ScanParams) -> pl.DataFrame:
    newest = [
        frame(
            con,
            "SELECT source, symbol, ts, close FROM ohlcv WHERE is_complete AND close IS NOT NULL "
            f"AND interval = {literal(params.interval)} AND source = {literal(leg.source)} "
            f"AND symbol = {literal(leg.symbol)} ORDER BY ts DESC LIMIT {params.lookback * SPARE}",
        )
        for leg in legs
    ]
    closes = pl.concat([part for part in newest if part.height] or [newest[0]])
    return wide(closes) if closes.height else pl.DataFrame(schema={"ts": pl.Datetime("us")})


def _in_the_scan(con: Connection, y: Series, x: Series, interval: str) -> str:
    """What the newest scan says of the pair: there it is one of many, here it was tested alone."""
    names = literals([f"{y.slug}~{x.slug}", f"{x.slug}~{y.slug}"])
    found = con.execute(
        f"SELECT pair, fitted_at, reason FROM pair_stats WHERE pair IN {names} AND interval = {literal(interval)} "
        "ORDER BY fitted_at DESC LIMIT 1"
    ).fetchall()
    if not found:
        return f"no scan has tested it on {interval} bars: it was tested alone here"
    pair, at, reason = found[0]
    return f"among all pairs, in the scan of {at:%Y-%m-%d %H:%M} UTC: {reason} (`tapewatch explain {pair}`)"


def _tell(row: Row, params: ScanParams) -> None:
    kind = "log prices" if params.log else "prices"
    print(
        f"y {row['source_y']}:{row['symbol_y']} against x {row['source_x']}:{row['symbol_x']}, {params.interval}, "
        f"{kind}, the newest {params.lookback} bars, up to {row['fitted_at']:%Y-%m-%d %H:%M} UTC"
    )
    shown = [{"statistic": name, "value": row[name], "meaning": text} for name, text in MEANINGS.items()]
    table(shown, ("statistic", "value", "meaning"))
    print(f"untested: {row['reason']}" if row["state"] == "untested" else row["reason"])
