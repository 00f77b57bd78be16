"""Correlation of returns, alone, rolling and all pairs at once."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from scipy.stats import pearsonr

from pipelines.analytics.correlation import correlations, fisher_interval, log_returns, rolling_correlation
from tests.analytics import tapes


@pytest.mark.capability("PAIR-06")
def test_rolling_correlation_is_of_log_returns() -> None:
    y, x = tapes.walk(200, 1), tapes.walk(200, 2)
    oracle = pl.DataFrame({"y": np.diff(np.log(y)), "x": np.diff(np.log(x))}).select(
        pl.rolling_corr("y", "x", window_size=20)
    )
    rolled = rolling_correlation(y, x, 20)
    np.testing.assert_allclose(rolled[20:], oracle["y"].to_numpy()[19:], rtol=1e-9, atol=1e-12)
    assert np.isnan(rolled[:20]).all()
    assert rolling_correlation(y, x, 20, levels=True)[-1] == pytest.approx(
        np.corrcoef(y[-20:], x[-20:])[0, 1]
    )


def test_golden_correlation_of_close_and_volume() -> None:
    bars = tapes.f1()
    close, volume = bars["close"].to_numpy(), bars["volume"].to_numpy()
    assert rolling_correlation(close, volume, 60, levels=True)[-1] == pytest.approx(0.040421, abs=5e-7)


@pytest.mark.capability("PAIR-07")
def test_the_matrix_is_symmetric_with_one_on_the_diagonal() -> None:
    base = tapes.walk(300, 1)
    closes = tapes.wide(A=base, B=base * tapes.walk(300, 2) / 100, C=tapes.walk(300, 3))
    rows = correlations(closes, "1m", 300)
    assert rows.height == 9
    cells = {(a, b): corr for a, b, corr in rows.select("symbol_a", "symbol_b", "corr").iter_rows()}
    assert all(cells[a, b] == cells[b, a] for a, b in cells)
    assert [cells[a, b] for a, b in cells if a == b] == [1.0, 1.0, 1.0]
    returns = np.diff(np.log(closes.drop("ts").to_numpy()), axis=0)
    expected = np.corrcoef(returns.T)
    assert cells["binance:A", "binance:B"] == pytest.approx(expected[0, 1], rel=1e-10)
    row = rows.filter(pl.col("symbol_a") == "binance:A", pl.col("symbol_b") == "binance:B").row(0, named=True)
    interval = pearsonr(returns[:, 0], returns[:, 1]).confidence_interval()
    assert (row["lo"], row["hi"], row["n"]) == (
        pytest.approx(interval.low),
        pytest.approx(interval.high),
        299,
    )
    assert row["as_of"] == closes["ts"].max()


@pytest.mark.capability("PAIR-07")
def test_a_missing_minute_costs_its_returns_and_nothing_else() -> None:
    y, x = tapes.walk(100, 1), tapes.walk(100, 2)
    y[50] = np.nan
    closes = tapes.wide(A=y, B=x).with_columns(pl.col("binance:A").fill_nan(None))
    rows = correlations(closes, "1m", 100).filter(
        pl.col("symbol_a") == "binance:A", pl.col("symbol_b") == "binance:B"
    )
    kept = np.delete(np.column_stack([log_returns(y), log_returns(x)]), [0, 50, 51], axis=0)
    assert rows.row(0, named=True)["n"] == 97
    assert rows["corr"][0] == pytest.approx(np.corrcoef(kept.T)[0, 1], rel=1e-9)


def test_too_few_returns_and_a_still_price_have_no_correlation() -> None:
    assert (
        correlations(tapes.wide(A=tapes.walk(20, 1), B=tapes.walk(20, 2)), "1m", 600)["corr"].is_null().all()
    )
    still = correlations(tapes.wide(A=tapes.walk(90, 1), B=np.full(90, 5.0)), "1m", 600)
    assert still.filter(pl.col("symbol_b") == "binance:B")["corr"].is_null().all()


def test_fisher_interval_needs_four() -> None:
    assert np.isnan(fisher_interval(0.5, 3)).all()
    low, high = fisher_interval(1.0, 100)
    assert low <= high <= 1.0
