"""Hedge ratios against scipy and worked figures."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import theilslopes

from pipelines.analytics.regression import ols
from pipelines.analytics.theil_sen import EXACT, theil_sen
from tests.analytics import tapes


def f1_pair() -> tuple[tapes.Floats, tapes.Floats]:
    """log y = 0.5 + 0.8 log x + 0.01 sin(i) on the golden bars."""
    log_x = np.log(tapes.f1()["close"].to_numpy())
    return 0.5 + 0.8 * log_x + 0.01 * np.sin(np.arange(250)), log_x


@pytest.mark.capability("PAIR-01")
def test_hedge_ratio_of_levels() -> None:
    y, x, _ = tapes.seed42()
    assert ols(y, x).beta == pytest.approx(1.377076, abs=5e-7)


@pytest.mark.capability("PAIR-02")
def test_hedge_ratio_of_logs() -> None:
    line = ols(*f1_pair())
    assert (line.beta, line.alpha) == (pytest.approx(0.797259, abs=5e-7), pytest.approx(0.513126, abs=5e-7))
    assert line.r2 == pytest.approx(np.corrcoef(*f1_pair())[0, 1] ** 2)


@pytest.mark.capability("PAIR-03")
def test_theil_sen_of_logs() -> None:
    robust = theil_sen(*f1_pair())
    figures = (robust.beta, robust.beta_lo, robust.beta_hi)
    assert figures == pytest.approx((0.799207, 0.788602, 0.809194), abs=5e-7)


@pytest.mark.capability("PAIR-03")
@pytest.mark.parametrize("n", [2, 3, 10, 101, 600])
@pytest.mark.parametrize("tick", [0.0, 0.25, 40.0])
@pytest.mark.parametrize("fast", [False, True])
def test_theil_sen_is_scipys_to_the_bit(n: int, tick: float, fast: bool) -> None:
    rng = np.random.default_rng(n)
    x = rng.normal(size=n).cumsum()
    y = 2 * x + rng.standard_t(2, n)
    if tick:
        x, y = np.round(x / tick) * tick, np.round(y / tick) * tick
    if len(set(x)) == 1:
        assert math.isnan(theil_sen(y, x, fast=fast).beta)
        return
    robust, scipys = theil_sen(y, x, fast=fast), theilslopes(y, x)
    assert (robust.beta, robust.alpha, robust.beta_lo, robust.beta_hi) == tuple(scipys)


@pytest.mark.capability("PAIR-03")
@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 160), st.sampled_from([0.0, 0.01, 1.0]), st.floats(0.5, 0.999))
def test_the_compiled_selection_finds_the_same_ranks(
    seed: int, n: int, tick: float, confidence: float
) -> None:
    rng = np.random.default_rng(seed)
    x = np.append(rng.normal(size=n - 1).cumsum(), 9.0)
    y = rng.normal() * x + rng.standard_cauchy(n)
    if tick:
        x, y = np.round(x / tick) * tick, np.round(y / tick) * tick
    robust, scipys = theil_sen(y, x, confidence, fast=True), theilslopes(y, x, confidence)
    assert (robust.beta, robust.alpha, robust.beta_lo, robust.beta_hi) == tuple(scipys)


def test_above_a_number_of_bars_the_compiled_way_is_taken_by_itself() -> None:
    rng = np.random.default_rng(8)
    x = rng.normal(size=2 * EXACT).cumsum()
    y = 0.7 * x + rng.normal(size=2 * EXACT)
    assert theil_sen(y, x).beta == theilslopes(y, x).slope


@pytest.mark.capability("PAIR-03")
def test_a_long_series_is_sampled_the_same_way_each_time() -> None:
    rng = np.random.default_rng(8)
    x = rng.normal(size=2 * EXACT).cumsum()
    y = 0.7 * x + rng.normal(size=2 * EXACT)
    robust, scipys = theil_sen(y, x, fast=False), theilslopes(y, x)
    assert robust == theil_sen(y, x, fast=False)
    assert robust.beta == pytest.approx(scipys.slope, abs=2e-3)
    assert robust.beta_hi - robust.beta_lo == pytest.approx(scipys.high_slope - scipys.low_slope, rel=0.2)


@pytest.mark.capability("PAIR-04")
def test_outliers_bend_least_squares_and_not_theil_sen() -> None:
    rng = np.random.default_rng(4)
    x = np.linspace(0, 100, 200)
    y = 2 * x + 5 + rng.normal(size=200)
    y[-20:] -= 84.6
    assert ols(y, x).beta == pytest.approx(1.548, abs=1e-3)
    assert theil_sen(y, x).beta == pytest.approx(1.989, abs=3e-3)


def test_a_price_that_stands_still_has_no_hedge() -> None:
    still = np.full(50, 7.0)
    assert math.isnan(ols(np.arange(50.0), still).beta)
    assert math.isnan(theil_sen(np.arange(50.0), still).beta)
