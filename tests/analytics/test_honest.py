"""Universes in which the truth is known: walks that have no pairs, walks with some planted, and input that is broken."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from scipy.signal import lfilter

from pipelines.analytics.examine import ScanParams, examine
from pipelines.analytics.fits import fit
from pipelines.analytics.panels import Pair, all_pairs
from pipelines.analytics.scan import scan
from tests.analytics import tapes
from tests.analytics.tapes import NOON, Floats

BARS, SERIES, PLANTED = 600, 20, 5
LEVELS = ScanParams(log=False)


def found(walks: Floats, params: ScanParams = LEVELS) -> set[Pair]:
    """The pairs called cointegrated among the columns `a`, `b`, ..."""
    closes = tapes.wide(**{chr(ord("a") + i): walks[:, i] for i in range(walks.shape[1])})
    scanned = examine(closes, all_pairs(closes.columns[1:]), params)
    rows = fit(closes, scanned, np.flatnonzero(scanned.found), NOON)
    return {
        (f"binance:{y}", f"binance:{x}")
        for y, x in rows.filter("is_cointegrated").select("symbol_y", "symbol_x").iter_rows()
    }


@pytest.mark.capability("M5", "PAIR-08")
def test_sixty_universes_of_walks_have_at_most_one_pair_between_them() -> None:
    """11,400 pairs; one order without correction would find some 600 of them."""
    false = 0
    for seed in range(60):
        false += len(found(np.random.default_rng(seed).normal(size=(BARS, SERIES)).cumsum(axis=0)))
    assert false <= 1


@pytest.mark.capability("M5", "PAIR-08")
def test_planted_pairs_are_found_and_few_others() -> None:
    """Five pairs with a half-life of 6.6 bars among twenty walks."""
    planted = {(f"binance:{chr(97 + 2 * i)}", f"binance:{chr(98 + 2 * i)}") for i in range(PLANTED)}
    right, wrong = [], []
    for seed in range(25):
        rng = np.random.default_rng(seed)
        walks = rng.normal(size=(BARS, SERIES)).cumsum(axis=0)
        for i in range(PLANTED):
            leash = lfilter([1.0], [1.0, -0.9], rng.normal(size=BARS + 200))[200:]
            walks[:, 2 * i] = walks[:, 2 * i + 1] + leash
        pairs = found(walks)
        right.append(len(pairs & planted))
        wrong.append(len(pairs - planted) / max(len(pairs), 1))
    assert np.mean(right) >= 4.8
    assert np.mean(wrong) <= 0.05


@pytest.mark.capability("M5")
def test_bounce_between_bid_and_ask_makes_no_pairs() -> None:
    """Thin markets: noise half as large as a bar's move."""
    false = 0
    for seed in range(30):
        rng = np.random.default_rng(seed)
        bounce = 0.5 * rng.normal(size=(BARS, SERIES))
        false += len(found(rng.normal(size=(BARS, SERIES)).cumsum(axis=0) + bounce))
    assert false <= 1


@pytest.mark.capability("M5")
def test_two_series_that_keep_their_levels_are_no_pair() -> None:
    """Stablecoins: the test rejects, but there is no common way for anything to hold them on."""
    rng = np.random.default_rng(3)
    coins = 1.0 + 1e-4 * lfilter([1.0], [1.0, -0.7], rng.normal(size=(BARS, 2)), axis=0)
    (row,) = scan(
        tapes.wide(A=coins[:, 0], B=coins[:, 1]), [("binance:A", "binance:B")], ScanParams(), NOON
    ).to_dicts()
    assert row["p_max"] < 1e-6
    assert max(row["adf_p_y"], row["adf_p_x"]) < 0.001
    assert row["is_cointegrated"] is False
    assert row["half_life_bars"] is None
    assert "each series returns to a level of its own" in row["reason"]


@pytest.mark.capability("M5")
def test_the_stricter_correction_asks_for_more() -> None:
    y, x, other = tapes.seed42()
    closes = tapes.wide(Y=y, X=x, Z=other)
    pairs = all_pairs(closes.columns[1:])
    usual, strict = (
        scan(closes, pairs, ScanParams(log=False, dependent=dependent), NOON)["q_bh"]
        for dependent in (False, True)
    )
    assert (strict / usual).to_list() == pytest.approx([1 + 1 / 2 + 1 / 3] * 3)


def broken(kind: str) -> tuple[pl.DataFrame, ScanParams]:
    """A sound pair of 500 bars in which one thing is wrong."""
    y, x, _ = tapes.seed42()
    closes = tapes.wide(Y=y + 100, X=x + 100)
    row, leg = pl.int_range(pl.len()), pl.col("binance:Y")
    changes = {
        "nan": pl.when(row != 77).then(leg).otherwise(float("nan")),
        "inf": pl.when(row != 77).then(leg).otherwise(float("inf")),
        "constant": pl.lit(100.0),
        "zero": pl.when(row != 77).then(leg).otherwise(0.0),
        "negative": leg - 150,
        "delisted": pl.when(row < 60).then(leg),
        "never listed": pl.lit(None, pl.Float64),
        "frozen but for a bar": pl.when(row == 499).then(101.0).otherwise(100.0),
    }
    if kind == "two rows":
        return closes.head(2), ScanParams()
    if kind == "misaligned":
        return (
            closes.select("ts", "binance:Y")
            .join(
                closes.select(pl.col("ts") + timedelta(seconds=30), "binance:X"),
                on="ts",
                how="full",
                coalesce=True,
            )
            .sort("ts"),
            ScanParams(),
        )
    return closes.with_columns(changes[kind].alias("binance:Y")), ScanParams()


@pytest.mark.capability("M5", "PAIR-08")
@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("inf", "missing or, for logarithms, not positive"),
        ("constant", "has not moved"),
        ("zero", "not positive"),
        ("negative", "not positive"),
        ("delisted", "only 60 of 500 bars in common"),
        ("never listed", "no bars in common"),
        ("two rows", "2/100 bars in common"),
        ("misaligned", "no bars in common"),
        ("frozen but for a bar", "moved in too few bars"),
    ],
)
def test_broken_input_gives_a_reason_and_never_a_number(kind: str, reason: str) -> None:
    closes, params = broken(kind)
    (row,) = scan(closes, [("binance:Y", "binance:X")], params, NOON).to_dicts()
    assert row["state"] == "untested"
    assert reason in row["reason"]
    told = {
        "pair",
        "interval",
        "fitted_at",
        "source_y",
        "symbol_y",
        "source_x",
        "symbol_x",
        "n",
        "state",
        "reason",
    }
    assert {name for name, value in row.items() if value is not None} == told


@pytest.mark.capability("M5", "PAIR-08")
def test_a_third_of_the_minutes_may_be_missing_and_prices_may_be_huge() -> None:
    rng = np.random.default_rng(9)
    y, x, _ = tapes.seed42()
    holes = pl.Series(rng.random(500) < 0.3)
    sparse = tapes.wide(Y=y + 100, X=x + 100).with_columns(
        pl.when(~holes).then("binance:Y").alias("binance:Y"), pl.col("binance:X")
    )
    pair = [("binance:Y", "binance:X")]
    (row,) = scan(sparse, pair, LEVELS, NOON).to_dicts()
    assert row["n"] == 500 - holes.sum()
    (dense,) = scan(sparse.drop_nulls(), pair, LEVELS, NOON).to_dicts()
    assert (row["eg_stat"], row["beta_theil_sen"]) == (dense["eg_stat"], dense["beta_theil_sen"])
    (nan,) = scan(broken("nan")[0], pair, LEVELS, NOON).to_dicts()
    assert (nan["n"], nan["state"]) == (499, "cointegrated")
    huge = tapes.wide(Y=(y + 100) * 1e12, X=(x + 100) * 1e12)
    (large,), (usual,) = (
        scan(c, pair, LEVELS, NOON).to_dicts() for c in (huge, tapes.wide(Y=y + 100, X=x + 100))
    )
    for name in (
        "eg_stat",
        "beta_ols",
        "beta_theil_sen",
        "beta_kalman",
        "johansen_trace_0",
        "half_life_bars",
        "zscore",
    ):
        assert large[name] == pytest.approx(usual[name], rel=1e-7)
