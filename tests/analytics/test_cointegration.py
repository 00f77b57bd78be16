"""Engle-Granger, half-lives, breaks and Johansen against statsmodels, arch, worked figures, and chance."""

from __future__ import annotations

import numpy as np
import pytest
from arch.unitroot.cointegration import engle_granger as arch_engle_granger
from statsmodels.tsa.stattools import adfuller, coint
from statsmodels.tsa.vector_ar.vecm import coint_johansen

from pipelines.analytics.adf import unit_root
from pipelines.analytics.cointegration import (
    benjamini_hochberg,
    engle_granger,
    half_life,
    untestable,
)
from pipelines.analytics.johansen import TRACE_95, johansen, pair_traces
from pipelines.analytics.pairwise import both_orders
from pipelines.analytics.regression import ols
from pipelines.analytics.stability import break_flags, holdout
from tests.analytics import tapes


def planted(rng: np.random.Generator, n: int, phi: float = 0.9) -> tuple[tapes.Floats, tapes.Floats]:
    """y = x plus an AR(1) leash."""
    x, e = rng.normal(size=n).cumsum(), rng.normal(size=n)
    for t in range(1, n):
        e[t] += phi * e[t - 1]
    return x + e, x


@pytest.mark.capability("PAIR-08")
def test_two_walks_that_only_look_cointegrated() -> None:
    rng = np.random.default_rng(23)
    y, x = rng.standard_normal(500).cumsum(), rng.standard_normal(500).cumsum()
    result = engle_granger(y, x, lags=1)
    assert (result.stat, result.p) == (pytest.approx(-3.0356, abs=5e-5), pytest.approx(0.102, abs=5e-4))
    assert result.critical_5pct == pytest.approx(-3.348, abs=5e-4)
    naive = adfuller(ols(y, x).residuals(y, x), maxlag=1, autolag=None, result_object=False)
    assert naive[1] == pytest.approx(0.032, abs=5e-4)


@pytest.mark.capability("PAIR-08")
def test_a_cointegrated_pair_in_both_orders() -> None:
    y, x, independent = tapes.seed42()
    one, swapped = engle_granger(y, x, 1), engle_granger(x, y, 1)
    assert (one.stat, swapped.stat) == (
        pytest.approx(-5.372737, abs=5e-7),
        pytest.approx(-4.891204, abs=5e-7),
    )
    assert (one.p, swapped.p) == (pytest.approx(3.2e-5, abs=5e-7), pytest.approx(2.6e-4, abs=5e-7))
    assert engle_granger(y, independent, 1).p == pytest.approx(0.037447, abs=5e-7)
    assert both_orders(np.column_stack([y, independent]), lags=1).p_max[0] > 0.05


@pytest.mark.capability("PAIR-08")
@pytest.mark.parametrize("lags", ["aic", "bic", 0, 1, 5])
@pytest.mark.parametrize("n", [100, 391, 720])
def test_equal_to_statsmodels_on_centred_series(lags: str | int, n: int) -> None:
    rng = np.random.default_rng(n)
    for y, x in (planted(rng, n), (rng.normal(size=n).cumsum(), rng.normal(size=n).cumsum())):
        fixed = {"maxlag": lags, "autolag": None} if isinstance(lags, int) else {"autolag": lags}
        oracle = coint(y - y.mean(), x - x.mean(), **fixed)
        ours = engle_granger(1000 + y, 50 + x, lags)
        assert (ours.stat, ours.p) == (
            pytest.approx(oracle[0], rel=1e-8),
            pytest.approx(oracle[1], rel=1e-7, abs=1e-12),
        )
        single = adfuller(y, **fixed, regression="c", result_object=False)
        alone = unit_root(y, lags, constant=True)
        assert (alone.stat, alone.lags, alone.n) == (pytest.approx(single[0], rel=1e-8), single[2], single[3])


def test_equal_to_arch() -> None:
    y, x, _ = tapes.seed42()
    oracle = arch_engle_granger(y, x, trend="c", lags=1)
    ours = engle_granger(y, x, 1)
    assert ours.stat == pytest.approx(oracle.stat, rel=1e-9)
    assert ours.critical_5pct == pytest.approx(oracle.critical_values[5], abs=0.005)


def test_what_cannot_be_tested_says_why() -> None:
    y, x, _ = tapes.seed42()
    holed = np.where(np.arange(500) == 77, np.nan, y)
    assert untestable(y, x) is None
    assert untestable(y[:99], x[:99]) == "99/100 bars in common"
    assert "missing" in (untestable(holed, x) or "")
    assert "not moved" in (untestable(y, np.ones(500)) or "")
    assert "the same" in (untestable(2 * y + 1, y) or "")
    assert "the same" in (untestable(y, -y) or "")


@pytest.mark.capability("PAIR-08")
def test_half_life_of_the_planted_spread() -> None:
    y, x, _ = tapes.seed42()
    life = half_life(ols(y, x).residuals(y, x))
    assert life is not None
    assert (life.bars, life.phi) == (pytest.approx(6.641522, abs=5e-7), pytest.approx(0.900896, abs=5e-7))
    assert life.lo < -np.log(2) / np.log(0.9) < life.hi


@pytest.mark.capability("M5")
def test_the_interval_of_the_half_life_covers_the_truth() -> None:
    truth = -np.log(2) / np.log(0.9)
    lives = [half_life(np.subtract(*planted(np.random.default_rng(s), 1500))) for s in range(60)]
    assert sum(life is not None and life.lo < truth < life.hi for life in lives) > 50


def test_a_spread_that_does_not_return_has_no_half_life() -> None:
    assert half_life(np.arange(100.0) ** 2) is None
    assert half_life(np.tile([1.0, -1.0], 50)) is None


@pytest.mark.capability("M5")
def test_benjamini_hochberg_as_in_the_textbook() -> None:
    p = np.array([0.001, 0.008, 0.039, 0.041, 0.042, 0.06, 0.074, 0.205, 0.212, 0.216])
    expected = [0.01, 0.04, 0.084, 0.084, 0.084, 0.1, 0.1057, 0.216, 0.216, 0.216]
    np.testing.assert_allclose(benjamini_hochberg(p), expected, atol=5e-5)
    np.testing.assert_allclose(benjamini_hochberg(np.append(p[::-1], np.nan))[:10], expected[::-1], atol=5e-5)
    assert np.isnan(benjamini_hochberg(np.array([np.nan, 0.3]))[0])
    strict = np.minimum(1, 2.928968 * np.array(expected))
    np.testing.assert_allclose(benjamini_hochberg(p, dependent=True), strict, atol=2e-4)


@pytest.mark.capability("PAIR-11", "M5")
def test_a_moved_hedge_ratio_is_flagged() -> None:
    rng = np.random.default_rng(11)
    y, x = planted(rng, 1200, phi=0.5)
    broken = np.where(np.arange(1200) < 600, y, y + 1.5 * (x - x[600]) + 10)
    legs = np.array([0, 1]), np.array([2, 2])
    panel = np.column_stack([y, broken, x])
    whole = both_orders(panel, legs, 1).p_max
    assert whole[0] < 0.05 < whole[1]
    assert break_flags(panel, *legs, 1, whole).tolist() == [0.0, 1.0]
    assert np.isnan(break_flags(panel[:150], *legs, 1, whole)).all()
    assert np.isnan(break_flags(panel[:220], *legs, 14, whole)).all()


@pytest.mark.capability("M5")
def test_bars_after_those_of_the_line_confirm_it_or_not() -> None:
    y, x = planted(np.random.default_rng(5), 900, phi=0.8)
    bars, p = holdout(y, x, "aic:4") or (0, 1.0)
    assert (bars, p < 0.01) == (300, True)
    loose = np.where(np.arange(900) < 600, y, y[599] + np.random.default_rng(6).normal(size=900).cumsum())
    _, p = holdout(loose, x, "aic:4") or (0, 0.0)
    assert p > 0.1
    assert holdout(y[:299], x[:299], 1) is None


@pytest.mark.capability("M5")
def test_johansen_equals_statsmodels() -> None:
    y, x, _ = tapes.seed42()
    result = johansen(np.column_stack([y, x]))
    assert result.trace == pytest.approx([35.493846, 6.903361], abs=5e-7)
    rng = np.random.default_rng(3)
    panel = np.column_stack([y, x, rng.normal(size=(500, 2)).cumsum(axis=0)])
    legs = np.triu_indices(4, 1)
    for i, (none, one) in enumerate(zip(*pair_traces(panel, *legs), strict=True)):
        oracle = johansen(panel[:, [legs[0][i], legs[1][i]]]).trace
        assert (none, one) == (pytest.approx(oracle[0], rel=1e-9), pytest.approx(oracle[1], abs=1e-9))
    for k, lags in ((2, 1), (3, 2), (4, 3)):
        levels = rng.normal(size=(400, k)).cumsum(axis=0)
        levels[:, 0] = levels[:, 1] + rng.normal(size=400)
        ours, oracle = johansen(levels, lags), coint_johansen(levels, 0, lags)
        np.testing.assert_allclose(ours.trace, oracle.lr1, rtol=1e-8)
        np.testing.assert_allclose(ours.max_eigen, oracle.lr2, rtol=1e-8)
        np.testing.assert_allclose(np.abs(ours.vectors), np.abs(oracle.evec), rtol=1e-6)
    assert TRACE_95[2] == pytest.approx(coint_johansen(levels[:, :2], 0, 1).cvt[:, 1])
