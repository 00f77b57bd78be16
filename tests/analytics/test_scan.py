"""A universe's pairs as rows, with verdicts in words and silence where there is nothing to say."""

from __future__ import annotations

import math
from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from pipelines.analytics.cointegration import engle_granger
from pipelines.analytics.examine import ScanParams, examine
from pipelines.analytics.fits import SCHEMA
from pipelines.analytics.panels import Pair, all_pairs, same_source_pairs, wide
from pipelines.analytics.scan import scan, scan_series
from tests.analytics import tapes
from tests.analytics.tapes import NOON

LEVELS = ScanParams(log=False, lags=1)
STATISTICS = [name for name in SCHEMA if name.startswith(("beta", "alpha", "eg_", "p_", "q_", "half", "joh"))]


@pytest.fixture(scope="module")
def universe() -> pl.DataFrame:
    y, x, independent = tapes.seed42()
    return tapes.wide(Y=y + 100, X=x + 100, Z=independent + 200)


def only(closes: pl.DataFrame, params: ScanParams = LEVELS) -> dict[str, object]:
    (row,) = scan(closes, [("binance:Y", "binance:X")], params, NOON).to_dicts()
    return row


def series(
    closes: pl.DataFrame, pairs: list[Pair], params: ScanParams = LEVELS, **after: object
) -> pl.DataFrame:
    return scan_series(examine(closes, pairs, params), np.arange(len(pairs)), **after)  # type: ignore[arg-type]


@pytest.mark.capability("PAIR-08")
def test_a_cointegrated_pair_is_found_with_everything_about_it(universe: pl.DataFrame) -> None:
    row = only(universe)
    assert (row["pair"], row["source_y"], row["symbol_x"], row["n"]) == (
        "binance:Y~binance:X",
        "binance",
        "X",
        500,
    )
    assert row["is_cointegrated"] is True
    assert row["state"] == "cointegrated"
    figures = {
        "beta_ols": 1.377076,
        "eg_stat": -5.372737,
        "eg_stat_swapped": -4.891204,
        "half_life_bars": 6.641522,
    }
    figures |= {"johansen_trace_0": 35.493846, "johansen_trace_1": 6.903361}
    assert {name: row[name] for name in figures} == pytest.approx(figures, abs=5e-7)
    assert row["q_bh"] == row["p_max"] == max(row["eg_p"], row["eg_p_swapped"])  # type: ignore[type-var]
    assert "half of a deviation is gone in 6.64 bars" in str(row["reason"])
    assert None not in row.values()


@pytest.mark.capability("PAIR-08")
def test_every_tested_pair_makes_a_find_dearer(universe: pl.DataFrame) -> None:
    rows = scan(universe, all_pairs(c for c in universe.columns if c != "ts"), LEVELS, NOON)
    assert rows["is_cointegrated"].to_list() == [True, False, False]
    assert rows["q_bh"][0] == pytest.approx(3 * rows["p_max"][0])
    assert rows.filter(~pl.col("is_cointegrated"))["half_life_bars"].is_null().all()
    assert rows["tested"].to_list() == [3, 3, 3]
    assert "in the worse order, 3 pairs tested" in rows["reason"][1]
    assert rows.schema == SCHEMA


def test_logs_unless_levels_are_asked_for(universe: pl.DataFrame) -> None:
    row = only(universe, ScanParams(lags=1))
    logs = (np.log(universe[f"binance:{leg}"].to_numpy()) for leg in "YX")
    assert row["eg_stat"] == pytest.approx(engle_granger(*logs, 1).stat)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (pl.col("ts").is_not_null() & (pl.int_range(pl.len()) >= 99), "99/100 bars in common"),
        (pl.lit(True), "no bars in common"),
        (pl.int_range(pl.len()) % 5 > 1, "only 200 of 500 bars in common"),
    ],
)
def test_too_few_bars_in_common_give_null_and_a_reason(
    universe: pl.DataFrame, spoil: pl.Expr, reason: str
) -> None:
    params = LEVELS if "only" in reason else ScanParams(log=False, min_overlap=0.0)
    row = only(universe.with_columns(pl.when(~spoil).then("binance:Y").alias("binance:Y")), params)
    assert (row["state"], row["reason"]) == ("untested", reason)
    assert row["is_cointegrated"] is None
    assert all(row[name] is None for name in STATISTICS)


@pytest.mark.parametrize(
    ("x", "reason"),
    [(pl.lit(7.0), "not moved"), (2 * pl.col("binance:Y"), "the same"), (-pl.col("binance:Y"), "positive")],
)
def test_series_that_cannot_be_compared_give_null_and_a_reason(
    universe: pl.DataFrame, x: pl.Expr, reason: str
) -> None:
    row = only(universe.with_columns(x.alias("binance:X")), ScanParams())
    assert reason in str(row["reason"])
    assert row["eg_p"] is None


def test_a_missing_minute_is_left_out_not_filled(universe: pl.DataFrame) -> None:
    holed = universe.with_columns(
        pl.when(pl.int_range(pl.len()) != 77).then("binance:Y").otherwise(math.nan).alias("binance:Y")
    )
    without = universe.filter(pl.int_range(pl.len()) != 77)
    alone = {"adf_p_x": None}  # X by itself has the minute
    assert only(holed) | alone == only(without) | alone
    assert only(holed)["n"] == 499


def test_untested_pairs_do_not_count_as_tested(universe: pl.DataFrame) -> None:
    pairs = [("binance:Y", "binance:X"), ("binance:Y", "binance:Y2")]
    rows = scan(universe.with_columns(pl.lit(1.0).alias("binance:Y2")), pairs, LEVELS, NOON)
    assert rows["q_bh"].to_list() == [rows["p_max"][0], None]


def test_the_newest_bars_count(universe: pl.DataFrame) -> None:
    params = ScanParams(log=False, lags=1, lookback=200)
    assert only(universe, params) == only(universe.tail(200), params)
    assert only(universe, params)["n"] == 200


@pytest.mark.capability("PAIR-05")
def test_the_pairs_z_is_the_last_of_its_series(universe: pl.DataFrame) -> None:
    rows = series(universe, [("binance:Y", "binance:X"), ("binance:Y", "binance:Y")])
    assert rows["pair"].unique().to_list() == ["binance:Y~binance:X"]
    assert rows["zscore"][-1] == pytest.approx(only(universe)["zscore"], rel=1e-12)
    assert rows.height == 500


@pytest.mark.capability("PAIR-05")
def test_points_after_a_known_bar_are_those_of_the_whole(universe: pl.DataFrame) -> None:
    pair, params = (
        [("binance:Y", "binance:X"), ("binance:Z", "binance:X")],
        ScanParams(log=False, lags=1, window=100),
    )
    known = {
        "binance:Y~binance:X": NOON + timedelta(minutes=494),
        "binance:Z~binance:X": NOON + timedelta(minutes=499),
    }
    new, whole = series(universe, pair, params, after=known), series(universe, pair, params)
    assert new.height == 5
    assert_frame_equal(new, whole.filter(pl.col("pair") == "binance:Y~binance:X").tail(5), rel_tol=1e-12)


def test_closes_become_one_row_a_bar() -> None:
    bars = pl.concat([tapes.bars(tapes.walk(3, 1)), tapes.bars(tapes.walk(2, 2), symbol="ETHUSDT")])
    frame = wide(bars.select("source", "symbol", "ts", "close"))
    assert frame.columns == ["ts", "binance:BTCUSDT", "binance:ETHUSDT"]
    assert frame["binance:ETHUSDT"].null_count() == 1


def test_the_usual_universe_is_each_venues_own_pairs() -> None:
    series = ["yahoo:SPY", "binance:ETHUSDT", "binance:BTCUSDT", "yahoo:AAPL"]
    assert same_source_pairs(series) == [("binance:BTCUSDT", "binance:ETHUSDT"), ("yahoo:AAPL", "yahoo:SPY")]
    assert len(all_pairs(series)) == 6


def test_no_pairs_no_rows(universe: pl.DataFrame) -> None:
    assert scan(universe, [], LEVELS, NOON).schema == SCHEMA
    assert series(universe, []).is_empty()
