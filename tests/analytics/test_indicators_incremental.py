"""The minute's way through the indicators gives what a full recomputation gives."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from pipelines.analytics.history import Bars, rows
from pipelines.analytics.indicators import IndicatorParams, advance, full
from pipelines.analytics.onward import Bar, Onward
from pipelines.analytics.params import carried
from tests.analytics import tapes

YEAR = 525_600.0
PARAMS = st.sampled_from(
    [
        IndicatorParams(),
        IndicatorParams(sma=(7, 230), ema=(5,), rsi=7, macd=(5, 35, 5), bollinger=(10, 2.5), atr=21),
    ]
)


def random_tape(seed: int, symbol: str, bars: int) -> pl.DataFrame:
    """A walk with stretches where the price stands still, minutes without volume and sessions' first bars."""
    rng = np.random.default_rng(seed)
    moves = rng.normal(0, 0.002, bars) * (rng.random(bars) > rng.choice([0.0, 0.5, 0.97]))
    close = 10 ** rng.uniform(-4, 5) * np.exp(np.cumsum(moves))
    close[: int(rng.integers(0, bars + 1))] = close[0]
    volume = rng.gamma(1.0, 50.0, bars) * (rng.random(bars) > 0.2)
    frame = tapes.bars(close, volume, symbol)
    first_of_session = rng.random(bars) < rng.choice([0.0, 0.02, 0.5, 0.95])
    return frame.with_columns(ret_log=pl.when(~pl.Series(first_of_session)).then(pl.col("ret_log")))


def cut(
    bars: pl.DataFrame, known: int, rows: pl.DataFrame, lookback: int
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The tail that the minute reads of one series after `known` bars, and its stored row."""
    tail = bars[max(0, known - lookback) :].with_columns(
        is_new=pl.Series(np.arange(bars.height) >= known)[max(0, known - lookback) :]
    )
    return tail, rows[known - 1 : known] if known else rows.clear()


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), params=PARAMS, data=st.data())
def test_advancing_equals_recomputing(seed: int, params: IndicatorParams, data: st.DataObject) -> None:
    tails, states, expected = [], [], []
    for i in range(data.draw(st.integers(1, 4), label="series")):
        known = data.draw(st.integers(0, 260), label="known")
        new = data.draw(st.sampled_from([1, 1, 2, 5, 40]), label="new")
        bars = random_tape(seed + i, f"S{i}", known + new)
        rows = full(bars, params, YEAR)
        tail, state = cut(bars, known, rows, params.lookback)
        tails.append(tail)
        states.append(state)
        expected.append(rows[known:])
    rows = advance(pl.concat(tails).sample(fraction=1, shuffle=True, seed=1), pl.concat(states), params, YEAR)
    # Not nearly: the minute joins the same halves of each window in the same order.
    assert_frame_equal(
        rows, pl.concat(expected), check_exact=params == IndicatorParams(), rel_tol=1e-12, abs_tol=1e-12
    )


def test_a_day_bar_by_bar_ends_where_the_recomputation_ends() -> None:
    params = IndicatorParams()
    bars = random_tape(5, "BTCUSDT", 250)
    rows = full(bars, params, YEAR)
    state = rows[:30]
    for known in range(30, 250):
        tail, _ = cut(bars[: known + 1], known, rows, params.lookback)
        state = advance(tail, state[-1:], params, YEAR)
    assert_frame_equal(state, rows[-1:], check_exact=True)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1), params=PARAMS, series=st.integers(1, 4), late=st.integers(0, 40), again=st.integers(0, 40)
)  # fmt: skip
def test_carrying_the_windows_on_equals_recomputing(
    seed: int, params: IndicatorParams, series: int, late: int, again: int
) -> None:
    """Bar after bar, with a start from the stored row and a late bar on the way."""
    bars, known = params.lookback + 40, params.lookback
    arrays = [Bars.of(random_tape(seed + n, f"S{n}", bars)) for n in range(series)]
    matrices = {f.name: np.stack([getattr(one, f.name) for one in arrays], axis=1) for f in fields(Bars)}

    def recomputed() -> dict[str, np.ndarray]:
        flat = Bars(*(matrices[f.name].T.ravel() for f in fields(Bars)))
        found = rows(flat, [bars * n for n in range(series + 1)], params, fast=False)
        return {name: values.reshape(series, bars).T for name, values in found.items()}

    def begun(at: int) -> Onward:
        near = (matrices[name][at - params.lookback : at] for name in ("close", "volume", "ret_log"))
        return Onward(*near, {name: whole[name][at - 1] for name in carried(params)}, params)

    whole, ours, wanted = recomputed(), [], []
    onward = begun(known)
    for at in range(known, bars):
        if at == known + late:
            matrices["close"][at - 5] *= 1.01
            matrices["volume"][at - 5] += 3.0
            whole = recomputed()
        if at in (known + late, known + again):
            onward = begun(at)
        found = onward.take(Bar(*(matrices[name][at] for name in Bar._fields)))
        ours.append(list(found.values()))
        wanted.append([whole[name][at] for name in found])
    tolerance = 0.0 if params == IndicatorParams() else 1e-12
    np.testing.assert_allclose(np.array(ours), np.array(wanted), rtol=tolerance, atol=tolerance)


def test_a_series_without_news_has_no_row() -> None:
    bars = tapes.f1().with_columns(is_new=False)
    state = full(bars, IndicatorParams(), YEAR)[-1:]
    assert advance(bars, state, IndicatorParams(), YEAR).is_empty()


def test_only_the_carried_columns_are_needed() -> None:
    params = IndicatorParams()
    rows = full(tapes.f1(), params, YEAR)
    tail, state = cut(tapes.f1(), 240, rows, params.lookback)
    state = state.select("source", "symbol", *carried(params))
    assert_frame_equal(advance(tail, state, params, YEAR), rows[240:], rel_tol=1e-9)


def test_changed_periods_ask_for_a_recomputation() -> None:
    rows = full(tapes.f1(), IndicatorParams(), YEAR)
    tail, state = cut(tapes.f1(), 240, rows, 200)
    with pytest.raises(ValueError, match=r"rsi_7_gain.*recompute with full"):
        advance(tail, state, IndicatorParams(rsi=7), YEAR)
    empty = state.with_columns(rsi_7_gain=pl.lit(None, pl.Float64), rsi_7_loss=pl.lit(None, pl.Float64))
    with pytest.raises(ValueError, match="periods have changed"):
        advance(tail, empty, IndicatorParams(rsi=7), YEAR)


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    params=PARAMS,
    lengths=st.lists(st.integers(1, 700), min_size=1, max_size=6),
)
def test_series_do_not_touch_each_other(seed: int, params: IndicatorParams, lengths: list[int]) -> None:
    tapes_ = [random_tape(seed + i, f"S{i}", length) for i, length in enumerate(lengths)]
    together = full(pl.concat(tapes_), params, YEAR)
    assert_frame_equal(together, pl.concat([full(tape, params, YEAR) for tape in tapes_]), check_exact=True)


@pytest.mark.parametrize(
    "params", [IndicatorParams(), IndicatorParams(sma=(7,), macd=(5, 35, 5), bollinger=(11, 2.5))]
)
def test_compiled_or_not_the_bits_are_the_same(params: IndicatorParams) -> None:
    lengths = (1, 30, 700, 16_000, 431)
    tape = pl.concat([random_tape(i, f"S{i}", length) for i, length in enumerate(lengths)])
    spoilt = tape.with_columns(close=pl.when(pl.int_range(pl.len()) == 900).then(np.nan).otherwise("close"))
    edges = [0, *np.cumsum(lengths).tolist()]
    slow, fast = (rows(Bars.of(spoilt), edges, params, fast=fast) for fast in (False, True))
    assert slow.keys() == fast.keys()
    for column, values in slow.items():
        np.testing.assert_array_equal(fast[column], values, err_msg=column)


def test_a_late_bar_makes_every_bar_from_it_on_new() -> None:
    params, bars = IndicatorParams(), random_tape(8, "BTCUSDT", 400)
    without = bars.filter(pl.int_range(pl.len()) != 300)
    stored = full(without, params, YEAR)
    tail, state = cut(bars, 300, stored, params.lookback)
    assert_frame_equal(advance(tail, state, params, YEAR), full(bars, params, YEAR)[300:], check_exact=True)
