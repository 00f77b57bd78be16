"""`indicators_full` and `indicators_minute`: all columns of `indicators` for 500 series, beside TA-Lib."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl
import talib

from pipelines.analytics import indicators
from pipelines.analytics.params import IndicatorParams, carried
from tests.bench.framework import Measured, Size, measured, same, seconds
from tests.bench.tape import Tape

SYMBOLS = 500
YEAR = 525_600.0
COMPARED = ("sma_20", "sma_50", "sma_200", "ema_12", "ema_26", "rsi_14", "macd", "macd_signal", "macd_hist",
            "bb_upper", "bb_mid", "bb_lower", "atr_14")  # fmt: skip
_KEY = ["source", "symbol", "ts"]


def run_indicators_full(size: Size) -> Measured:
    """Every bar of every series."""
    bars = 2_000 if size.quick else 20_000
    tape, params = Tape.of(SYMBOLS, bars), IndicatorParams()
    frame = _frame(tape, bars)
    ours, rows = seconds(lambda: indicators.full(frame, params, YEAR), 2 if size.quick else 3)
    theirs, answers = seconds(lambda: _talib(tape), 3 if size.quick else 5)
    agree = all(
        same(rows[name].to_numpy(), np.concatenate([one[name] for one in answers]), 1e-9) for name in COMPARED
    )
    return measured(
        "indicators_full", f"{SYMBOLS} series x {bars:,} bars", 1000 * min(ours), "ms",
        peer="TA-Lib (C)", theirs=1000 * min(theirs), agreement=agree,
        note=f"Ours gives {len(rows.columns) - 3} columns a bar as a table, TA-Lib the {len(COMPARED)} it has, as arrays.",
    )  # fmt: skip


def run_indicators_minute(size: Size) -> Measured:
    """The newest bar of every series, carried on from the stored row, beside TA-Lib on the whole history."""
    bars = 2_000 if size.quick else 20_000
    tape, params = Tape.of(SYMBOLS, bars), IndicatorParams()
    whole = indicators.full(_frame(tape, bars), params, YEAR)
    last, before = whole["ts"].max(), whole["ts"].unique().sort()[-2]
    state = whole.filter(pl.col("ts") == before).select(*_KEY[:2], *carried(params))
    tail = _frame(tape, bars).filter(pl.col("ts") > whole["ts"].unique().sort()[-params.lookback - 2])
    tail = tail.with_columns(is_new=pl.col("ts") == last)
    ours, rows = seconds(lambda: indicators.advance(tail, state, params, YEAR), 5 if size.quick else 20)
    theirs, answers = seconds(lambda: _talib(tape), 2 if size.quick else 5)
    agree = all(same(rows[name].to_numpy(), [one[name][-1] for one in answers], 1e-9) for name in COMPARED)
    return measured(
        "indicators_minute", f"The newest bar of {SYMBOLS} series with {bars:,} bars each", 1000 * min(ours), "ms",
        peer="TA-Lib on the whole history", theirs=1000 * min(theirs), agreement=agree,
        note=f"Ours from the stored row and the last {params.lookback} bars, all columns.",
    )  # fmt: skip


def _frame(tape: Tape, bars: int) -> pl.DataFrame:
    returns = np.full_like(tape.close, np.nan)
    returns[:, 1:] = np.log(tape.close[:, 1:] / tape.close[:, :-1])
    return tape.frame(0, bars).with_columns(ret_log=pl.Series(returns.ravel(), nan_to_null=True))


def _talib(tape: Tape) -> list[Mapping[str, np.ndarray]]:
    answers = []
    for close, high, low in zip(tape.close, tape.high, tape.low, strict=True):
        upper, middle, lower = talib.BBANDS(close, 20, 2.0, 2.0)
        macd, signal, hist = talib.MACD(close, 12, 26, 9)
        answers.append(
            {f"sma_{period}": talib.SMA(close, period) for period in (20, 50, 200)}
            | {f"ema_{period}": talib.EMA(close, period) for period in (12, 26)}
            | {"rsi_14": talib.RSI(close, 14), "macd": macd, "macd_signal": signal, "macd_hist": hist}
            | {
                "bb_upper": upper,
                "bb_mid": middle,
                "bb_lower": lower,
                "atr_14": talib.ATR(high, low, close, 14),
            }
        )
    return answers
