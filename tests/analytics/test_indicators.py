"""Indicators of whole histories: worked figures, TA-Lib, and what a flat or a short tape gives."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import polars as pl
import pytest
import talib

from pipelines.analytics.correlation import rolling_correlation
from pipelines.analytics.indicators import IndicatorParams, columns, full, hidden_columns
from tests.analytics import tapes

USUAL = IndicatorParams()
CONTINUOUS_YEAR = 525_600.0


@pytest.fixture(scope="module")
def f1() -> pl.DataFrame:
    return full(tapes.f1(), USUAL, CONTINUOUS_YEAR)


def values(frame: pl.DataFrame, column: str) -> np.ndarray:
    return frame[column].fill_null(np.nan).to_numpy()


GOLDEN = [
    ("sma_20", 249, 129.95),
    ("sma_50", 249, 128.49),
    ("sma_200", 249, 120.93),
    ("ema_12", 249, 129.653259),
    ("ema_26", 249, 129.371647),
    ("ema_12", 11, 106.55),
    ("ema_12", 12, 106.65),
    ("rsi_14", 14, 54.615385),
    ("rsi_14", 249, 47.943088),
    ("macd", 33, 0.917722),
    ("macd_signal", 33, 0.686964),
    ("macd_hist", 33, 0.230758),
    ("macd", 249, 0.281612),
    ("macd_signal", 249, 0.708536),
    ("macd_hist", 249, -0.426924),
    ("bb_upper", 249, 137.660383),
    ("bb_mid", 249, 129.95),
    ("bb_lower", 249, 122.239617),
    ("zscore_20", 249, -1.049269),
    ("volatility_20", 249, 0.051079),
    ("volatility_ann", 249, 37.031412),
    ("pv_corr_60", 249, 0.04014),
]


@pytest.mark.capability("IND-01", "IND-02", "IND-03", "IND-04", "IND-05", "IND-06", "IND-07", "IND-09")
@pytest.mark.parametrize(("column", "bar", "figure"), GOLDEN)
def test_worked_figures(f1: pl.DataFrame, column: str, bar: int, figure: float) -> None:
    assert f1[column][bar] == pytest.approx(figure, abs=5.1e-7)


@pytest.mark.capability("IND-09")
def test_price_and_volume_themselves_correlate_by_another_figure_than_their_changes() -> None:
    price, volume = (tapes.f1()[name].to_numpy() for name in ("close", "volume"))
    levels = rolling_correlation(price, volume, 60, levels=True)
    assert levels[-1] == pytest.approx(0.040421, abs=5e-7)


@pytest.mark.parametrize(
    ("column", "first"),
    [
        ("sma_200", 199),
        ("ema_26", 25),
        ("rsi_14", 14),
        ("macd", 33),
        ("macd_hist", 33),
        ("bb_lower", 19),
        ("atr_14", 14),
        ("zscore_20", 20),
        ("dev_20_pct", 20),
        ("volatility_20", 20),
        ("pv_corr_60", 60),
    ],
)
def test_null_until_there_are_enough_bars(f1: pl.DataFrame, column: str, first: int) -> None:
    assert f1[column].is_null().to_list() == [True] * first + [False] * (250 - first)


def test_an_exchange_with_sessions_has_a_shorter_year() -> None:
    rows = full(tapes.f1(), USUAL, {"binance": 252 * 390.0})
    assert rows["volatility_ann"][-1] == pytest.approx(16.013091, abs=5e-7)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.capability("IND-03")
def test_equal_to_talib_on_random_tapes(seed: int) -> None:
    bars = tapes.bars(tapes.walk(600, seed, start=10.0 ** (seed * 3 - 5)))
    rows = full(bars, USUAL, CONTINUOUS_YEAR)
    close, high, low = (bars[name].to_numpy() for name in ("close", "high", "low"))
    upper, middle, lower = talib.BBANDS(close, 20)
    line, signal, histogram = talib.MACD(close)
    oracle = {f"sma_{p}": talib.SMA(close, p) for p in (20, 50, 200)}
    oracle |= {f"ema_{p}": talib.EMA(close, p) for p in (12, 26)}
    oracle |= {"rsi_14": talib.RSI(close), "atr_14": talib.ATR(high, low, close)}
    oracle |= {"macd": line, "macd_signal": signal, "macd_hist": histogram}
    oracle |= {"bb_upper": upper, "bb_mid": middle, "bb_lower": lower}
    for column, expected in oracle.items():
        scale = close.max() if column != "rsi_14" else 100.0
        np.testing.assert_allclose(
            values(rows, column), expected, rtol=1e-9, atol=1e-9 * scale, err_msg=column
        )


@pytest.mark.capability("IND-11")
def test_other_periods_add_columns_beside_the_usual_ones() -> None:
    params = IndicatorParams(sma=(10,), ema=(9,), rsi=7, macd=(5, 35, 5), bollinger=(10, 1.5), atr=7)
    bars = tapes.bars(tapes.walk(300, 9))
    rows = full(bars, params, CONTINUOUS_YEAR)
    close = bars["close"].to_numpy()
    assert list(columns(USUAL)) == [c for c in columns(params) if c in columns(USUAL)]
    oracle = {"sma_10": talib.SMA(close, 10), "ema_9": talib.EMA(close, 9), "rsi_7": talib.RSI(close, 7)}
    oracle |= {"macd_signal_5_35_5": talib.MACD(close, 5, 35, 5)[1], "rsi_14": talib.RSI(close)}
    oracle |= {"bb_upper_10_1_5": talib.BBANDS(close, 10, 1.5)[0]}
    oracle |= {"atr_7": talib.ATR(bars["high"].to_numpy(), bars["low"].to_numpy(), close, 7)}
    for column, expected in oracle.items():
        np.testing.assert_allclose(values(rows, column), expected, rtol=1e-9, err_msg=column)
    assert params.digest != USUAL.digest
    assert rows.columns == ["source", "symbol", "ts", *columns(params), *hidden_columns(params)]


@pytest.mark.capability("IND-03")
def test_a_flat_price_is_neither_overbought_nor_oversold() -> None:
    last = full(tapes.bars(np.full(250, 0.1), width=0.0), USUAL, CONTINUOUS_YEAR).row(-1, named=True)
    assert last["rsi_14"] is None
    assert (last["zscore_20"], last["pv_corr_60"]) == (None, None)
    assert last["dev_20_pct"] == last["volatility_20"] == last["atr_14"] == 0.0
    assert last["bb_upper"] == last["bb_lower"] == 0.1


@pytest.mark.capability("IND-03")
def test_rsi_keeps_its_value_while_a_price_pauses() -> None:
    close = np.append(tapes.walk(50, 1), np.full(600, 101.3))
    rows = full(tapes.bars(close), USUAL, CONTINUOUS_YEAR)
    np.testing.assert_allclose(values(rows, "rsi_14"), talib.RSI(close), rtol=1e-9)


@pytest.mark.capability("IND-03")
def test_rsi_of_an_ever_rising_price_is_100() -> None:
    assert full(tapes.bars(np.linspace(100, 130, 60)), USUAL, CONTINUOUS_YEAR)["rsi_14"][-1] == pytest.approx(
        100
    )


def test_volatility_leaves_the_night_out() -> None:
    close = np.append(tapes.walk(120, 3), 2 * tapes.walk(120, 4))
    bars = tapes.bars(close).with_columns(
        ret_log=pl.when(pl.int_range(pl.len()) != 120).then(pl.col("ret_log"))
    )
    rows = full(bars, USUAL, CONTINUOUS_YEAR)
    returns = np.delete(np.diff(np.log(close[:131])), 119)
    assert rows["volatility_20"][130] == pytest.approx(returns[-20:].std(ddof=1), rel=1e-12)
    assert rows["volatility_20"][120] == rows["volatility_20"][119]


def test_a_bar_is_not_part_of_the_window_that_judges_it() -> None:
    close = np.append(np.full(20, 100.0), 105.0)
    assert full(tapes.bars(close), USUAL, CONTINUOUS_YEAR)["dev_20_pct"][-1] == 5.0


def test_no_bars_give_no_rows_but_all_columns() -> None:
    rows = full(tapes.f1().clear(), USUAL, CONTINUOUS_YEAR)
    assert rows.is_empty()
    assert set(columns(USUAL)) <= set(rows.columns)


def test_a_senseless_period_is_named() -> None:
    with pytest.raises(ValueError, match="fast period must be below the slow"):
        IndicatorParams(macd=(26, 12, 9))
    with pytest.raises(ValueError, match="at least 1 bar"):
        IndicatorParams(sma=(0,))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf"), None])
def test_what_is_no_price_gives_no_number(bad: float | None) -> None:
    bars = tapes.bars(tapes.walk(120, 2))
    at = pl.int_range(pl.len()) == 60
    spoilt = bars.with_columns(
        [
            pl.when(at).then(pl.lit(bad, pl.Float64)).otherwise(pl.col(c)).alias(c)
            for c in ("high", "low", "close", "ret_log")
        ]
    )
    rows, whole = full(spoilt, USUAL, CONTINUOUS_YEAR), full(bars, USUAL, CONTINUOUS_YEAR)
    for column in columns(USUAL):
        assert rows[column][:60].equals(whole[column][:60]), column
        assert (
            rows[column].is_nan().fill_null(False).sum()
            == rows[column].is_infinite().fill_null(False).sum()
            == 0
        )
    assert rows["sma_20"][60:80].is_null().all()
    assert rows["sma_20"][80:].equals(whole["sma_20"][80:])
    assert rows.select("ema_12", "rsi_14", "atr_14", "macd")[60:].null_count().row(0) == (60,) * 4


def test_a_tiny_move_of_a_huge_price_is_not_lost() -> None:
    close = 1e9 + np.random.default_rng(31).normal(0, 1e-3, 300)
    rows = full(tapes.bars(close), USUAL, CONTINUOUS_YEAR)
    exact = [[Fraction(c) for c in close[i - 20 : i]] for i in range(20, 300)]
    means = [sum(window) / 20 for window in exact]
    for i, (window, mean) in enumerate(zip(exact, means, strict=True), start=20):
        deviation = math.sqrt(sum((c - mean) ** 2 for c in window) / 19)
        assert rows["zscore_20"][i] == pytest.approx(
            float(Fraction(close[i]) - mean) / deviation, rel=1e-3, abs=1e-3
        )


def test_a_wild_price_is_forgotten_with_its_window() -> None:
    close = tapes.walk(600, 4)
    wild = np.where(np.arange(600) == 300, 1e12, close)
    rows, usual = (full(tapes.bars(c), USUAL, CONTINUOUS_YEAR) for c in (wild, close))
    for column in ("sma_200", "bb_upper", "zscore_20"):
        assert rows[column][520:].equals(usual[column][520:]), column


def test_two_bars_are_too_few_for_anything() -> None:
    rows = full(tapes.bars(tapes.walk(2, 1)), USUAL, CONTINUOUS_YEAR)
    assert all(rows[column].is_null().all() for column in columns(USUAL))
