"""`tapewatch pair`: two series against each other."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from flows.cli.call import Injected
from flows.cli.unbuilt import not_built


def pair(
    a: str,
    b: str,
    /,
    *,
    interval: str = "1m",
    lookback: int = 600,
    window: int = 20,
    lags: str = "aic",
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
        aic, bic, or a number.
    level
        Prices as they are; else their logarithms.
    """
    del call, a, b, interval, lookback, window, lags, level
    not_built("pair")
