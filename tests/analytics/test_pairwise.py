"""All pairs at once against statsmodels pair by pair, against themselves compiled, and moved on by a bar."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.tsa.adfvalues import mackinnoncrit, mackinnonp
from statsmodels.tsa.stattools import coint

from pipelines.analytics.adf import search
from pipelines.analytics.grams import Grams
from pipelines.analytics.mackinnon import critical_5pct, p_value
from pipelines.analytics.pairwise import PairTests, both_orders, both_orders_of
from tests.analytics.tapes import Floats, f1, seed42

LAGS = st.sampled_from(["aic", "bic", "aic:4", 0, 1, 5])


def market(seed: int, bars: int, leash: float = 1.0) -> Floats:
    """Four log prices: two walks, the first again on a leash of that length, and again with memory in its returns."""
    rng = np.random.default_rng(seed)
    walk, other = rng.normal(size=(2, bars)).cumsum(axis=1)
    loose, lively = np.zeros(bars), np.zeros(bars)
    for t in range(1, bars):
        loose[t] = 0.8 * loose[t - 1] + rng.normal()
        lively[t] = 0.4 * lively[t - 1] - 0.3 * lively[t - 2] + rng.normal()
    return 50.0 + np.column_stack([walk, other, 1.5 * walk + leash * loose, walk + 0.5 * lively.cumsum()])


def statsmodels(panel: Floats, tests: PairTests, lags: str | int) -> tuple[Floats, Floats]:
    """t and p of every pair in both orders, of the centred series."""
    centred = panel - panel.mean(axis=0)
    how = {"maxlag": lags, "autolag": None} if isinstance(lags, int) else {"autolag": lags[:3]}
    how |= {"maxlag": 4} if lags == "aic:4" else {}
    answers = [
        [coint(centred[:, a], centred[:, b], **how)[:2] for a, b in ((y, x), (x, y))]
        for y, x in zip(tests.y, tests.x, strict=True)
    ]
    return np.array(answers)[..., 0], np.array(answers)[..., 1]


@pytest.mark.capability("PAIR-08", "M5")
@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.integers(100, 500), LAGS, st.sampled_from([1.0, 1e-1, 2e-2]), st.booleans())
def test_every_pair_is_statsmodels_answer(
    seed: int, bars: int, lags: str | int, leash: float, fast: bool
) -> None:
    panel = market(seed, bars, leash)
    tests = both_orders(panel, lags=lags, fast=fast)
    t, p = statsmodels(panel, tests, lags)
    answered = tests.refusal == 0  # the shortest leash makes one series of two
    assert answered.sum() >= 5
    np.testing.assert_allclose(tests.stat[answered], t[answered], rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(tests.p[answered], p[answered], rtol=0, atol=1e-8)


@pytest.mark.capability("M5")
@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10**6), st.integers(100, 400), LAGS, st.integers(2, 14))
def test_compiled_and_not_give_the_same(seed: int, bars: int, lags: str | int, series: int) -> None:
    panel = np.random.default_rng(seed).normal(size=(bars, series)).cumsum(axis=0)
    plain, fast = both_orders(panel, lags=lags, fast=False), both_orders(panel, lags=lags, fast=True)
    np.testing.assert_array_equal(plain.lags, fast.lags)
    for name in ("stat", "p", "beta"):
        np.testing.assert_allclose(getattr(plain, name), getattr(fast, name), rtol=1e-12, atol=1e-12)


@pytest.mark.capability("M5")
@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.lists(st.integers(1, 40), min_size=1, max_size=12), LAGS)
def test_a_window_moved_on_is_the_window_made_anew(seed: int, steps: list[int], lags: str | int) -> None:
    bars = 150
    tape = 1000.0 + np.random.default_rng(seed).normal(size=(bars + sum(steps), 5)).cumsum(axis=0)
    moved, at = Grams(tape[:bars], search(lags, bars, constant=False)[1]), 0
    for step in steps:
        moved.slide(tape[at + bars : at + bars + step])
        at += step
    kept = both_orders_of(moved, np.triu_indices(5, 1), lags)
    anew = both_orders(tape[at : at + bars], lags=lags)
    np.testing.assert_array_equal(kept.lags, anew.lags)
    for name in ("stat", "p", "beta"):
        np.testing.assert_allclose(getattr(kept, name), getattr(anew, name), rtol=1e-10, atol=1e-10)


def test_more_new_bars_than_the_window_holds_make_a_new_window() -> None:
    tape = np.random.default_rng(1).normal(size=(500, 3)).cumsum(axis=0)
    moved = Grams(tape[:120], 5)
    moved.slide(tape[120:420])
    np.testing.assert_allclose(moved.sums().summed, Grams(tape[300:420], 5).sums().summed)


@pytest.mark.capability("M5")
def test_what_cannot_be_tested_has_a_reason_and_no_number() -> None:
    rng = np.random.default_rng(3)
    walks = rng.normal(size=(200, 9)).cumsum(axis=0)
    walks[77, 1], walks[10, 2] = np.nan, np.inf
    walks[:, 3] = 7.0
    walks[:, 4] = 2 * walks[:, 0] + 1
    walks[:, 5] = -walks[:, 0]
    walks[:, 6] = np.arange(200) >= 195
    walks[:, 7] = walks[np.arange(200) // 25 * 25, 7]
    others = np.arange(1, 9)
    tests = both_orders(walks, (np.zeros_like(others), others))
    reasons = [tests.why(i) for i in range(8)]
    assert [reason and reason.split(" (")[0] for reason in reasons] == [
        "a price is missing or, for logarithms, not positive",
        "a price is missing or, for logarithms, not positive",
        "one of the prices has not moved",
        "the two series are the same",
        "the two series are the same",
        "the prices moved in too few bars for this test",
        "the prices moved in too few bars for this test",
        None,
    ]
    refused = tests.refusal != 0
    for values in (tests.stat, tests.p, tests.beta):
        assert np.isnan(values[refused]).all()
        assert np.isfinite(values[~refused]).all()
    assert both_orders(walks[:99]).why(7) == "99/100 bars in common"
    assert both_orders(walks[:0]).why(7) == "0/100 bars in common"


def test_the_size_of_a_price_does_not_matter() -> None:
    panel = market(5, 300)
    shifted = panel * 1e12 + 1e12
    np.testing.assert_allclose(both_orders(panel).stat, both_orders(shifted).stat, rtol=1e-9)


def test_lags_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="at most 17"):
        both_orders(market(1, 390), lags=18)
    with pytest.raises(ValueError, match="write aic, bic, or a number"):
        both_orders(market(1, 390), lags="hqic")


@pytest.mark.parametrize("n_series", [1, 2])
def test_p_and_critical_values_are_mackinnons(n_series: int) -> None:
    t = np.array([-20.0, -18.84, -5.0, -3.0, -2.62, -1.61, -1.0, 0.5, 0.93, 2.0, 2.75, np.nan])
    oracle = [mackinnonp(value, regression="c", N=n_series) for value in t[:-1]]
    np.testing.assert_allclose(p_value(t, n_series)[:-1], oracle, rtol=1e-12)
    assert np.isnan(p_value(t, n_series)[-1])
    for n in (100, 599):
        assert critical_5pct(n, n_series) == pytest.approx(mackinnoncrit(n_series, "c", n)[1], rel=1e-12)


@pytest.mark.capability("PAIR-08", "M5")
@pytest.mark.parametrize("fast", [False, True])
def test_golden_statistics(fast: bool) -> None:
    y, x, independent = seed42()
    tests = both_orders(np.column_stack([y, x, independent]), lags=1, fast=fast)
    assert tests.stat[0] == pytest.approx([-5.372737, -4.891204], abs=5e-7)
    assert tests.p[0] == pytest.approx([3.2e-5, 2.6e-4], abs=5e-7)
    assert tests.p[1, 0] == pytest.approx(0.037447, abs=5e-7)
    log_x = np.log(f1()["close"].to_numpy())
    pair = np.column_stack([0.5 + 0.8 * log_x + 0.01 * np.sin(np.arange(250)), log_x])
    assert both_orders(pair, lags=1, fast=fast).stat[0, 0] == pytest.approx(-327.016551, rel=5e-9)
    rng = np.random.default_rng(23)
    walks = np.column_stack([rng.standard_normal(500).cumsum(), rng.standard_normal(500).cumsum()])
    tests = both_orders(walks, lags=1, fast=fast)
    assert (tests.stat[0, 0], tests.p[0, 0]) == (
        pytest.approx(-3.0356, abs=5e-5),
        pytest.approx(0.102, abs=5e-4),
    )
