"""The simulated market: one seed, one tape; trades that add up; pairs that are what they are said to be."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.tsa.stattools import coint

from pipelines.replica.columns import COLUMNS, Bars, bar_of
from pipelines.replica.instruments import COINTEGRATED, DECOYS, LISTED, instrument
from pipelines.replica.shocks import Shock
from pipelines.replica.tape import SimulatedMarket

DAY_S = 86_400
JULY = 20_641 * DAY_S  # Tuesday 2026-07-07
MARKET = SimulatedMarket(seed=7)


def same(left: Bars, right: Bars) -> bool:
    return all(np.array_equal(getattr(left, name), getattr(right, name)) for name in COLUMNS)


@pytest.mark.parametrize("symbol", ["BTCUSDT", "ETHUSDT", "ZENUSDT", "SIM0042USDT", "AAPL", "PEP"])
def test_any_minute_is_the_same_whatever_was_asked_before(symbol):
    inst = LISTED.get(symbol) or instrument(symbol)
    assert inst
    whole = SimulatedMarket(seed=7).bars(inst, JULY - DAY_S, JULY + 2 * DAY_S)
    fresh = SimulatedMarket(seed=7)
    backwards = [fresh.bars(inst, start, start + DAY_S) for start in (JULY + DAY_S, JULY, JULY - DAY_S)]
    for part in backwards:
        assert same(part, whole.between(float(part.ts[0]), float(part.ts[-1]) + 60))
    assert not same(whole, SimulatedMarket(seed=8).bars(inst, JULY - DAY_S, JULY + 2 * DAY_S))


@pytest.mark.parametrize("symbol", [*LISTED, "SIM0010USDT"])
def test_bars_are_consistent(symbol):
    inst = LISTED.get(symbol) or instrument(symbol)
    assert inst
    bars = MARKET.bars(inst, JULY, JULY + DAY_S)
    assert len(bars) == (1440 if inst.continuous else 390)
    assert (bars.low > 0).all()
    assert (bars.low <= np.minimum(bars.open, bars.close)).all()
    assert (bars.high >= np.maximum(bars.open, bars.close)).all()
    traded = bars.volume > 0
    assert ((bars.trades > 0) == traded).all()
    vwap = bars.turnover[traded] / bars.volume[traded]
    assert (vwap >= bars.low[traded] * (1 - 1e-12)).all()
    assert (vwap <= bars.high[traded] * (1 + 1e-12)).all()
    silent = np.flatnonzero(~traded[1:]) + 1
    assert (bars.open[silent] == bars.close[silent - 1]).all()
    assert (bars.high[silent] == bars.low[silent]).all()


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["BTCUSDT", "XRPUSDT", "ZENUSDT", "SIM0010USDT"]),
    st.integers(0, 3 * 1440 - 1),
)
def test_a_minutes_trades_add_up_to_its_bar(symbol, offset):
    inst = instrument(symbol)
    assert inst
    minute = JULY + 60 * offset
    (bar,) = MARKET.bars(inst, minute, minute + 60).rows()
    trades = MARKET.trades(inst, minute, minute + 60)
    if bar["volume"] == 0:
        assert len(trades) == 0
        return
    assert (trades.time_ms >= minute * 1000).all()
    assert (trades.time_ms < (minute + 60) * 1000).all()
    assert (np.diff(trades.time_ms) >= 0).all()
    (made,) = bar_of(trades, minute).rows()
    assert {name: made[name] for name in ("open", "high", "low", "close", "trades")} == {
        name: bar[name] for name in ("open", "high", "low", "close", "trades")
    }
    for name in ("volume", "turnover", "taker_volume", "taker_turnover"):
        assert made[name] == pytest.approx(bar[name], rel=1e-12, abs=1e-8)


@pytest.mark.parametrize("symbol", ["ETHUSDT", "ZENUSDT"])
def test_trade_ids_are_contiguous_over_midnight_and_found_again(symbol):
    inst = LISTED[symbol]
    trades = MARKET.trades(inst, JULY + DAY_S - 1800, JULY + DAY_S + 1800)
    assert (np.diff(trades.id) == 1).all()
    assert (trades.first[1:] == trades.last[:-1] + 1).all()
    for row in (0, len(trades) // 2, len(trades) - 1):
        assert MARKET.minute_of_trade(inst, int(trades.id[row])) == trades.time_ms[row] // 60_000 * 60


def p_values(y: str, x: str, bars: int) -> list[float]:
    found = []
    for day in (0, 1, 2, 7, 8, 9):
        end = JULY + (day + 1) * DAY_S
        legs = [np.log(MARKET.bars(LISTED[s], end - 5 * DAY_S, end).close[-bars:]) for s in (y, x)]
        found.append(max(coint(*legs)[1], coint(*legs[::-1])[1]))
    return found


@pytest.mark.parametrize(("pair", "bars"), [(COINTEGRATED[0], 600), (COINTEGRATED[1], 600)])
def test_the_planted_pairs_are_cointegrated_every_day(pair, bars):
    assert max(p_values(*pair, bars)) < 0.05


def test_the_decoy_moves_together_but_is_not_cointegrated():
    y, x = DECOYS[0]
    returns = [np.diff(np.log(MARKET.bars(LISTED[s], JULY, JULY + DAY_S).close)) for s in (y, x)]
    assert np.corrcoef(*returns)[0, 1] > 0.4
    assert np.median(p_values(y, x, 600)) > 0.1


def test_volume_scatters_as_designed_around_a_u_shape():
    days = [MARKET.bars(LISTED["MSFT"], JULY + d * DAY_S, JULY + (d + 1) * DAY_S) for d in range(60)]
    volumes = np.log(np.array([day.volume for day in days if len(day) == 390 and day.volume.all()]))
    usual = np.median(volumes, axis=0)
    assert np.std((volumes - usual)[:, ::10]) == pytest.approx(0.37, abs=0.06)
    assert usual[:10].mean() > usual[180:210].mean() < usual[-10:].mean()


def test_labels_lie_where_the_tape_is_abnormal():
    found = MARKET.labels(list(LISTED.values()), JULY, JULY + 7 * DAY_S)
    assert 10 <= len(found) <= 60
    for one in found:
        bars = MARKET.bars(LISTED[one.symbol], one.start_s - 1800, one.end_s)
        before, during = bars.between(0, one.start_s), bars.between(one.start_s, one.end_s)
        if one.kind == "frozen":
            assert during.volume.sum() == 0
        elif one.kind == "volume":
            assert during.volume.mean() > 3 * np.median(before.volume)
        elif one.kind == "jump":
            assert abs(np.log(during.close[0] / before.close[-1])) > 0.05


@pytest.mark.parametrize("kind", ["volume", "jump", "volatility", "frozen"])
def test_an_injected_shock_moves_nothing_before_it(kind):
    market, inst = SimulatedMarket(seed=7), LISTED["SOLUSDT"]
    start = JULY + 40_000 // 60 * 60
    before, trades = market.bars(inst, JULY, start), market.trades(inst, start - 600, start)
    market.inject(Shock("SOLUSDT", kind, start, start + 300, 6.0 if kind != "jump" else -0.07))
    assert same(market.bars(inst, JULY, start), before)
    assert np.array_equal(market.trades(inst, start - 600, start).id, trades.id)
    assert not same(market.bars(inst, start, start + 300), MARKET.bars(inst, start, start + 300))
    assert market.bars(inst, start, JULY + DAY_S).close[-1] == MARKET.bars(inst, JULY, JULY + DAY_S).close[-1]
