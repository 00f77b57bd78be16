"""`indicators_full`, `indicators_minute`, `baseline_minute`: 500 series beside TA-Lib and beside DuckDB's recomputation.

Times are processor time of one thread, which other work on the machine disturbs least.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping

import duckdb
import numpy as np
import polars as pl
import talib

from pipelines.analytics import history, newest, usual
from pipelines.analytics.onward import Bar, Onward
from pipelines.analytics.params import IndicatorParams, carried
from tests.bench.framework import SEED, Measured, Size, keep_memory, measured, same, seconds, threads, walls
from tests.bench.tape import Tape
from warehouse.stage import frame, stage

SYMBOLS = 500
WHOLE = 2_000
OF_TALIB = ("sma_20", "sma_50", "sma_200", "ema_12", "ema_26", "rsi_14", "macd", "macd_signal", "macd_hist",
            "bb_upper", "bb_mid", "bb_lower", "atr_14")  # fmt: skip
COMPOSED = ("dev_20_pct", "zscore_20", "volatility_20", "pv_corr_60")
"""What TA-Lib has no function for and a user of it makes from SMA, STDDEV and CORREL."""
COMPARED = (*OF_TALIB, *COMPOSED)


def run_indicators_full(size: Size) -> Measured:
    """Every bar of every series, from arrays to arrays on both sides."""
    bars, times = (5_000, 2) if size.quick else (20_000, 5)
    keep_memory()
    tape, params = Tape.of(SYMBOLS, bars), IndicatorParams()
    flat, edges = _flat(tape), [bars * i for i in range(SYMBOLS + 1)]
    returns = flat.ret_log.reshape(SYMBOLS, bars)
    fast = _has_numba()
    history.rows(
        flat.take(slice(0, 2 * bars)), edges[:3], params, fast=fast
    )  # what is compiled is loaded once
    theirs, answers = seconds(lambda: _talib(tape, returns), times)
    ours, rows = seconds(lambda: history.rows(flat, edges, params, fast=fast), times)
    agree = all(same(rows[name], np.concatenate([one[name] for one in answers]), 1e-9) for name in COMPARED)
    count = len(rows)
    del answers, rows
    plain, _ = seconds(lambda: history.rows(flat, edges, params, fast=False), 2)
    alone, _ = seconds(lambda: history.prices(flat, edges, params, fast=fast), 2)
    theirs_alone, _ = seconds(lambda: _talib(tape), 2)
    written, _ = seconds(lambda: [np.full(len(flat.close), 1.0) for _ in range(count)], 2)
    return measured(
        "indicators_full", f"{SYMBOLS} series x {bars:,} bars, {len(COMPARED)} columns", 1000 * min(ours.cpu), "ms",
        peer="TA-Lib (C)", theirs=1000 * min(theirs.cpu), agreement=agree,
        note=f"Ours {'compiled' if fast else 'numpy'}, {count} columns with the state to go on from; numpy alone "
        f"{1000 * min(plain.cpu):.0f} ms. Without the {len(COMPOSED)} columns that TA-Lib users compose: "
        f"{1000 * min(alone.cpu):.0f} against {1000 * min(theirs_alone.cpu):.0f} ms.",
        bound=1000 * min(written.cpu), bound_by=f"writing {count} columns once", wall=walls(ours, theirs),
    )  # fmt: skip


def run_indicators_minute(size: Size) -> Measured:
    """A new bar of every series, minute after minute, beside TA-Lib on the whole history."""
    bars, steps = 20_000, 60
    keep_memory()
    tape, params = Tape.of(SYMBOLS, bars), IndicatorParams()
    flat = _flat(tape)
    returns = flat.ret_log.reshape(SYMBOLS, bars)
    begin = bars - 2 * steps
    first, last_but_one = _states(flat, bars, params, begin - 1, bars - 2)
    near = [_before(values, begin, params.lookback) for values in (tape.close, tape.volume, returns)]
    columns = (tape.close, tape.volume, returns, tape.high, tape.low)
    news = [Bar(*(values[:, at].copy() for values in columns)) for at in range(begin, bars)]
    begun, onward = seconds(lambda: Onward(*near, first, params), 1)
    ours, rows = seconds(lambda: [onward.take(news.pop(0)) for _ in range(steps)], 2)
    row = rows[-1]
    theirs, answers = seconds(lambda: _newest_of_talib(tape, returns), 2 if size.quick else 5)
    agree = all(same(row[name], [one[name] for one in answers], 1e-9) for name in COMPARED)
    recent = newest.Recent(
        *(_before(values, bars, params.lookback + 1) for values in columns[:3]),
        tape.high[:, -1].copy(), tape.low[:, -1].copy(),
    )  # fmt: skip
    alone, _ = seconds(lambda: newest.newest_row(recent, last_but_one, params), 20)
    taken, _ = seconds(lambda: [values + 0.0 for values in row.values()], 20)
    each = 1000 * min(ours.cpu) / steps
    return measured(
        "indicators_minute",
        f"The newest bar of {SYMBOLS} series with {bars:,} bars each, averaged over {steps} that come one after the other",
        each, "ms",
        peer="TA-Lib on the whole history", theirs=1000 * min(theirs.cpu), agreement=agree,
        note=f"All {len(row)} columns, arrays to arrays, of {steps} bars one after the other, as after an outage: averages and "
        f"parts of windows are carried on, begun in {1000 * min(begun.cpu):.1f} ms. A single bar, from the row before and the "
        f"last {params.lookback} bars: {1000 * min(alone.cpu):.1f} ms.",
        bound=1000 * min(taken.cpu), bound_by=f"writing {len(row)} columns of one bar",
        wall=(1000 * min(ours) / steps, 1000 * min(theirs)),
    )  # fmt: skip


def run_baseline_minute(size: Size) -> Measured:
    """What is usual for this minute of the session and how far the new bars lie from it, beside all minutes anew."""
    minutes, sessions = 390, 20
    rng = np.random.default_rng(SEED)
    volumes = np.round(np.exp(rng.normal(5, 0.5, (SYMBOLS, minutes, sessions))), 3)
    new = np.round(np.exp(rng.normal(5, 0.8, SYMBOLS)), 3)
    at = 200
    sample = volumes[:, at].copy()
    ours, (ratio, z) = seconds(lambda: usual.judge(new, usual.usual(sample)), 40)
    con = duckdb.connect(config={"threads": threads()})
    stage(con, "bars", _sample(volumes))
    theirs, found = seconds(lambda: frame(con, _BASELINE), 1 if size.quick else 5)
    mine = found.filter(pl.col("bucket") == at).sort("series")
    expected = (
        new / mine["median"].to_numpy(),
        0.6745 * (np.log(new) - mine["log_median"]) / mine["log_mad"],
    )
    agree = same(ratio, expected[0], 1e-12) and same(z, expected[1].to_numpy(), 1e-9)
    con.close()
    return measured(
        "baseline_minute", f"One minute of {SYMBOLS} series: baseline of {sessions} sessions, ratio and robust z",
        1000 * min(ours.cpu), "ms", peer=f"DuckDB, all {minutes} minutes anew", theirs=1000 * min(theirs.cpu),
        agreement=agree,
        note=f"Ours needs the {SYMBOLS} x {sessions} volumes of that minute alone, arrays to arrays.",
        bound=_sorting(sample), bound_by="sorting these volumes twice", wall=walls(ours, theirs),
    )  # fmt: skip


_BASELINE = """
    SELECT series, bucket, median(volume) AS median, mad(volume) AS mad, median(ln(volume)) AS log_median,
           mad(ln(volume)) AS log_mad, count(*) AS sessions
    FROM bars GROUP BY series, bucket
"""


def _sample(volumes: np.ndarray) -> pl.DataFrame:
    series, minutes, sessions = volumes.shape
    return pl.DataFrame(
        {
            "series": np.repeat(np.arange(series), minutes * sessions),
            "bucket": np.tile(np.repeat(np.arange(minutes), sessions), series),
            "volume": volumes.ravel(),
        }
    )


def _sorting(sample: np.ndarray) -> float:
    spent, _ = seconds(lambda: (np.sort(sample, axis=1), np.sort(sample, axis=1)), 40)
    return 1000 * float(np.median(spent))


def _flat(tape: Tape) -> history.Bars:
    returns = np.full_like(tape.close, np.nan)
    returns[:, 1:] = np.log(tape.close[:, 1:] / tape.close[:, :-1])
    columns = (tape.high, tape.low, tape.close, tape.volume, returns)
    return history.Bars(*(np.ascontiguousarray(values).ravel() for values in columns))


def _has_numba() -> bool:
    return importlib.util.find_spec("numba") is not None


def _states(flat: history.Bars, bars: int, params: IndicatorParams, *at: int) -> list[dict[str, np.ndarray]]:
    """What is carried on from some of each series' last bars; of what was before WHOLE bars an average has nothing left."""
    mine = (np.arange(SYMBOLS) * bars)[:, None] + np.arange(bars - WHOLE, bars)
    rows = history.rows(
        flat.take(mine.ravel()), [WHOLE * i for i in range(SYMBOLS + 1)], params, fast=_has_numba()
    )
    chosen = [index - (bars - WHOLE) for index in at]
    return [
        {name: rows[name].reshape(SYMBOLS, WHOLE)[:, one].copy() for name in carried(params)}
        for one in chosen
    ]


def _before(values: np.ndarray, end: int, bars: int) -> np.ndarray:
    """(bars, series) of the last bars before `end`."""
    return np.ascontiguousarray(values[:, end - bars : end].T)


def _talib(tape: Tape, returns: np.ndarray | None = None) -> list[Mapping[str, np.ndarray]]:
    """OF_TALIB of each series; with the log returns COMPOSED as well."""
    return [_talib_of(tape, row, returns) for row in range(len(tape.close))]


def _newest_of_talib(tape: Tape, returns: np.ndarray) -> list[dict[str, float]]:
    """The last values alone: who keeps all would pay for fresh memory too."""
    return [
        {name: float(values[-1]) for name, values in _talib_of(tape, row, returns).items()}
        for row in range(len(tape.close))
    ]


def _talib_of(tape: Tape, row: int, returns: np.ndarray | None) -> dict[str, np.ndarray]:
    close, high, low = tape.close[row], tape.high[row], tape.low[row]
    upper, middle, lower = talib.BBANDS(close, 20, 2.0, 2.0)
    macd, signal, hist = talib.MACD(close, 12, 26, 9)
    one = {f"sma_{period}": talib.SMA(close, period) for period in (20, 50, 200)}
    one |= {f"ema_{period}": talib.EMA(close, period) for period in (12, 26)}
    one |= {"rsi_14": talib.RSI(close, 14), "macd": macd, "macd_signal": signal, "macd_hist": hist}
    one |= {"bb_upper": upper, "bb_mid": middle, "bb_lower": lower}
    one |= {"atr_14": talib.ATR(high, low, close, 14)}
    if returns is not None:
        one |= _composed(close, tape.volume[row], returns[row][1:], one["sma_20"])
    return one


def _composed(
    close: np.ndarray, volume: np.ndarray, returns: np.ndarray, mean: np.ndarray
) -> dict[str, np.ndarray]:
    """COMPOSED as a user of TA-Lib has them: windows end before the judged bar, deviations are of samples."""
    of_sample = np.sqrt(20 / 19)
    change = volume[1:] - volume[:-1]
    before, spread = _behind(mean[:-1]), _behind(talib.STDDEV(close, 20, of_sample)[:-1])
    return {
        "dev_20_pct": (close - before) / before * 100,
        "zscore_20": (close - before) / spread,
        "volatility_20": _behind(talib.STDDEV(returns, 20, of_sample)),
        "pv_corr_60": _behind(talib.CORREL(returns, change, 60)),
    }


def _behind(values: np.ndarray) -> np.ndarray:
    return np.concatenate([[np.nan], values])
