"""Windows of bars in memory against an aggregation written a second time, in plain Python."""

from __future__ import annotations

import math
from dataclasses import fields, replace
from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.analytics import resample as module
from pipelines.analytics.resample import Minutes, Windows, resample
from tests.test_windows import DAYS, MINUTE, spans_of, tape, windows_of

KEEP = st.sampled_from([0.02, 0.6, 0.995, 1.0])
SECONDS = st.sampled_from([300, 420, 900, 3600, 14_400, 86_400])


def minutes_of(
    calendar: str, seed: int, keep: float, spoilt: float = 0.0
) -> tuple[Minutes, list[pl.DataFrame]]:
    """Two series one behind the other as arrays, and as frames; a share of the bars has no turnover or no trades."""
    frames = []
    for number, symbol in enumerate(("AAA", "BBB")):
        rows = pl.DataFrame(tape(DAYS[calendar], seed + number, keep)).with_columns(
            pl.col("ts").cast(pl.Datetime("us"))
        )
        gone = np.random.default_rng(seed + number).random((2, rows.height)) < spoilt
        missing = {
            name: pl.when(~pl.Series(gone[n])).then(name) for n, name in enumerate(("turnover", "trades"))
        }
        spans = pl.DataFrame(spans_of(calendar, rows["ts"].to_list()), ["anchor", "closes"], orient="row")
        spans = spans.with_columns(pl.all().cast(pl.Datetime("us")))
        placed = rows.with_columns(**missing).join_asof(
            spans, left_on="ts", right_on="anchor", coalesce=False
        )
        frames.append(placed.with_columns(source=pl.lit("here"), symbol=pl.lit(symbol)))
    whole = pl.concat(frames)
    return Minutes.of(whole.drop("anchor", "closes") if calendar == "24/7" else whole), frames


def assert_as_by_pencil(windows: Windows, frames: list[pl.DataFrame], calendar: str, seconds: int) -> None:
    for series, frame in enumerate(frames):
        wanted = windows_of(frame.to_dicts(), seconds, spans_of(calendar, frame["ts"].to_list()))
        mine = windows.series == series
        starts = [datetime(1970, 1, 1) + timedelta(microseconds=ts) for ts in windows.ts[mine].tolist()]
        assert starts == sorted(wanted)
        for name in wanted[starts[0]]:
            expected = np.array([wanted[ts][name] for ts in starts], dtype=float)
            np.testing.assert_allclose(
                getattr(windows, name)[mine], expected, rtol=1e-9, atol=1e-12, err_msg=name
            )


@pytest.mark.capability("RES-01")
@pytest.mark.parametrize("calendar", ["24/7", "XNYS"])
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), keep=KEEP, seconds=SECONDS)
def test_every_window_in_memory_is_what_a_pencil_makes_of_the_same_bars(
    calendar: str, seed: int, keep: float, seconds: int
):
    bars, frames = minutes_of(calendar, seed, keep)
    assert_as_by_pencil(resample(bars, seconds), frames, calendar, seconds)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), keep=KEEP, seconds=SECONDS, chunk=st.integers(1_441, 4_000))
def test_where_the_pieces_are_cut_changes_nothing(seed: int, keep: float, seconds: int, chunk: int):
    bars, _ = minutes_of("24/7", seed, keep, spoilt=0.1)
    whole = resample(bars, seconds)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_CHUNK", chunk)
        cut = resample(bars, seconds)
    for field in fields(whole):
        np.testing.assert_array_equal(
            getattr(whole, field.name), getattr(cut, field.name), err_msg=field.name
        )


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), keep=KEEP, seconds=SECONDS)
def test_a_window_alone_is_the_same_to_the_bit_as_among_others(seed: int, keep: float, seconds: int):
    bars, _ = minutes_of("24/7", seed, keep)
    windows = resample(bars, seconds)
    chosen = int(np.random.default_rng(seed).integers(len(windows.ts)))
    first, last = (bars.edges[windows.series[chosen] + n] for n in (0, 1))
    ts = bars.ts[first:last]
    mine = first + np.flatnonzero((ts >= windows.ts[chosen]) & (ts < windows.end[chosen]))
    columns = ("ts", "open", "high", "low", "close", "volume", "turnover", "trades")
    alone = resample(
        Minutes(np.array([0, len(mine)]), *(getattr(bars, name)[mine] for name in columns)), seconds
    )
    for name in ("open", "high", "low", "close", "volume", "vwap", "std_dprice", "std_logret"):
        np.testing.assert_array_equal(
            getattr(alone, name), getattr(windows, name)[chosen : chosen + 1], err_msg=name
        )


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), keep=KEEP, spoilt=st.sampled_from([0.02, 0.5, 1.0]))
def test_what_a_venue_leaves_out_of_a_bar_is_left_out_of_its_window(seed: int, keep: float, spoilt: float):
    bars, frames = minutes_of("24/7", seed, keep, spoilt)
    found = resample(bars, 300)
    whole = pl.concat(frames).with_columns(window=pl.col("ts").dt.truncate("5m"))
    priced = pl.col("turnover").is_not_null()
    units = pl.col("volume").filter(priced).sum()
    wanted = whole.group_by("symbol", "window", maintain_order=True).agg(
        turnover=pl.when(priced.all()).then(pl.col("turnover").sum()),
        vwap=pl.when(units > 0).then(pl.col("turnover").sum() / units),
        trades=pl.when(pl.col("trades").is_not_null().any()).then(pl.col("trades").sum()),
    )
    for name in ("turnover", "vwap", "trades"):
        expected = wanted[name].cast(pl.Float64).fill_null(np.nan).to_numpy()
        np.testing.assert_allclose(getattr(found, name), expected, rtol=1e-12, err_msg=name)


def test_a_minute_that_an_imported_file_leaves_out_is_not_missing():
    bars, _ = minutes_of("24/7", 1, 0.6)
    assert 0 < resample(bars, 300).is_complete.mean() < 0.5
    since, until = np.zeros_like(bars.ts), np.full_like(bars.ts, bars.ts.max() + 300_000_000)
    told = replace(bars, told_since=since, told_until=until)
    assert resample(told, 300).is_complete.all()
    first = resample(told, 300).ts[0]
    for name, bound in (("told_since", first + 60_000_000), ("told_until", first + 240_000_000)):
        cut = getattr(told, name).copy()
        cut[0] = bound
        assert np.flatnonzero(~resample(replace(told, **{name: cut}), 300).is_complete).tolist() == [0]


def test_a_flat_price_has_no_deviation_and_no_bars_have_no_windows():
    ts = np.arange(0, 20 * 60_000_000, 60_000_000)
    flat = np.full(20, 1e9 + 0.1)
    bars = Minutes(np.array([0, 20]), ts, flat, flat, flat, flat, flat * 0, flat * 0, flat * 0)
    found = resample(bars, 300)
    assert (found.std_dprice == 0).all()
    assert (found.std_logret == 0).all()
    assert np.isnan(found.vwap).all()
    assert math.isnan(found.ret_log[0])
    assert (found.ret_log[1:] == 0).all()
    none = np.empty(0)
    empty = Minutes(np.array([0]), ts[:0], none, none, none, none, none, none, none)
    assert not len(resample(empty, 300).ts)


def test_two_series_with_bars_in_the_same_window_stay_apart():
    ts = np.array([0, 60_000_000, 0, 60_000_000])
    price, none = np.array([1.0, 2.0, 30.0, 40.0]), np.full(4, np.nan)
    found = resample(Minutes(np.array([0, 2, 2, 4]), ts, price, price, price, price, price, none, none), 300)
    assert found.series.tolist() == [0, 2]
    assert (found.open.tolist(), found.close.tolist(), found.volume.tolist()) == ([1, 30], [2, 40], [3, 70])
    assert np.isnan(found.trades).all()
    assert np.isnan(found.ret_log).all()


def test_a_return_joins_neighbouring_windows_and_days_over_a_weekend():
    friday, monday = datetime(2026, 3, 6, 20, 59), datetime(2026, 3, 9, 13, 30)
    frame = pl.DataFrame(
        {
            "source": "here",
            "symbol": "AAA",
            "ts": [friday, monday, monday + 5 * MINUTE],
            "close": [100.0, 110.0, 121.0],
        }
    ).with_columns(*(pl.lit(1.0).alias(n) for n in ("open", "high", "low", "volume", "turnover", "trades")))
    bars = Minutes.of(frame)
    assert resample(bars, 300).ret_log.tolist()[1:] == pytest.approx([math.nan, math.log(1.1)], nan_ok=True)
    assert resample(bars, 86_400).ret_log.tolist()[1:] == pytest.approx([math.log(1.21)])
