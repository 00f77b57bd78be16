"""A series in a handful of numbers."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from statsmodels.tsa.stattools import adfuller

from pipelines.analytics.stats import SCHEMA, symbol_stats
from tests.analytics import tapes


def row(bars: pl.DataFrame, lookback: int = 600) -> dict[str, object]:
    return symbol_stats(bars, "1m", lookback).row(0, named=True)


@pytest.mark.capability("IND-10")
def test_numbers_equal_numpys_on_the_last_60_bars() -> None:
    bars = tapes.f1()
    close, volume = bars["close"].to_numpy()[-60:], bars["volume"].to_numpy()[-60:]
    found = row(bars.sample(fraction=1, shuffle=True, seed=1), 60)
    expected = {"mean": close.mean(), "std": close.std(ddof=1), "min": close.min(), "max": close.max()}
    expected |= {"volume": volume.sum(), "return": close[-1] / close[0] - 1, "n": 60, "lookback": 60}
    assert {name: found[name] for name in expected} == pytest.approx(expected)
    assert found["as_of"] == bars["ts"].max()
    assert (found["adf_p"], found["is_mean_reverting"], found["reason"]) == (None, None, "60/100 bars")


@pytest.mark.capability("IND-08", "ANO-07")
def test_a_price_that_returns_is_told_from_one_that_wanders() -> None:
    rng = np.random.default_rng(5)
    logs = rng.normal(0, 0.01, 500)
    for t in range(1, 500):
        logs[t] += 0.5 * logs[t - 1]
    returning = row(tapes.bars(100 * np.exp(logs)))
    assert returning["adf_p"] < 0.01  # type: ignore[operator]
    assert returning["is_mean_reverting"] is True
    stat, p, *_ = adfuller(logs, regression="c", result_object=False)
    assert (returning["adf_stat"], returning["adf_p"]) == (
        pytest.approx(stat, rel=1e-8),
        pytest.approx(p, rel=1e-6),
    )
    wandering = [row(tapes.bars(tapes.walk(500, seed)))["is_mean_reverting"] for seed in range(20)]
    assert wandering.count(True) <= 3


def test_a_still_or_negative_price_has_no_verdict() -> None:
    assert row(tapes.bars(np.full(200, 3.0)))["reason"] == "the price has not moved"
    below_zero = tapes.bars(np.linspace(3.0, 4.0, 200)).with_columns(close=pl.lit(-37.0))
    assert row(below_zero)["reason"] == "a close is not positive"


def test_one_row_a_series_and_none_for_none() -> None:
    both = pl.concat([tapes.bars(tapes.walk(120, 1)), tapes.bars(tapes.walk(9, 2), symbol="ETHUSDT")])
    assert symbol_stats(both, "1m", 60)["n"].to_list() == [60, 9]
    assert symbol_stats(both.clear(), "1m", 60).schema == SCHEMA
