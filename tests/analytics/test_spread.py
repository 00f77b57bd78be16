"""Spreads judged only by what was known before, and hedge ratios that may wander."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from statsmodels.regression.recursive_ls import RecursiveLS

from pipelines.analytics.kalman import kalman
from pipelines.analytics.regression import ols
from pipelines.analytics.spread import MIN_FIT, pair_series, rolling_zscore, spread_path, walk_forward_beta
from tests.analytics import tapes


@pytest.mark.capability("PAIR-05")
@pytest.mark.parametrize("window", [20, 100])
def test_spread_and_z_equal_numpys(window: int) -> None:
    y, x, _ = tapes.seed42()
    spread, zscore, beta = spread_path(y, x, window)
    for t in (window + MIN_FIT, 350, 499):
        slope, intercept = np.polyfit(x[:t], y[:t], 1)
        past = y[t - window : t] - intercept - slope * x[t - window : t]
        now = y[t] - intercept - slope * x[t]
        assert beta[t] == pytest.approx(slope, rel=1e-9)
        assert spread[t] == pytest.approx(now, rel=1e-7, abs=1e-9)
        assert zscore[t] == pytest.approx((now - past.mean()) / past.std(ddof=1), rel=1e-7)


@pytest.mark.capability("PAIR-05")
@pytest.mark.parametrize("refit", [1, 30])
def test_what_comes_later_changes_nothing_before(refit: int) -> None:
    y, x, _ = tapes.seed42()
    whole = spread_path(y, x, 20, refit=refit)
    for end in (137, 400):
        for part, full in zip(spread_path(y[:end], x[:end], 20, refit=refit), whole, strict=True):
            np.testing.assert_array_equal(part, full[:end])


def test_the_hedge_is_renewed_every_so_many_bars() -> None:
    y, x, _ = tapes.seed42()
    every, seldom = walk_forward_beta(y, x)[0], walk_forward_beta(y, x, refit=50)[0]
    assert np.isnan(every[:MIN_FIT]).all()
    assert len(set(seldom[MIN_FIT:])) == 8
    np.testing.assert_array_equal(seldom[MIN_FIT::50], every[MIN_FIT::50])


def test_a_z_of_a_spread_excludes_itself() -> None:
    spread = np.append(np.tile([1.0, -1.0], 10), 3.0)
    assert rolling_zscore(spread, 20)[-1] == pytest.approx(3 / np.std(spread[:-1], ddof=1))
    assert np.isnan(rolling_zscore(np.ones(30), 20)).all()


@pytest.mark.capability("IND-06")
def test_a_z_that_includes_the_judged_bar_is_smaller() -> None:
    close = tapes.f1()["close"].to_numpy()
    assert rolling_zscore(close, 20)[-1] == pytest.approx(-1.049269, abs=5e-7)
    assert rolling_zscore(close, 20, include_current=True)[-1] == pytest.approx(-1.023931, abs=5e-7)


def points(closes: pl.DataFrame) -> pl.DataFrame:
    y, x = (closes[leg].to_numpy()[:, None] for leg in "yx")
    return pair_series(["binance:Y~binance:X"], "1m", closes["ts"], y, x, window=20)


def test_pair_series_has_a_row_a_bar_and_null_for_what_is_not_known_yet() -> None:
    closes = tapes.wide(Y=tapes.walk(160, 1), X=tapes.walk(160, 2)).rename(
        {"binance:Y": "y", "binance:X": "x"}
    )
    rows = points(closes)
    assert rows.columns == ["pair", "interval", "ts", "spread", "zscore", "corr_roll", "beta"]
    assert rows["beta"].null_count() == MIN_FIT
    assert rows["corr_roll"].null_count() == 20
    assert rows["zscore"][-1] is not None
    short = points(closes.head(10))
    assert short["zscore"].null_count() == short["corr_roll"].null_count() == 10


@pytest.mark.capability("PAIR-11")
def test_a_kalman_line_that_may_not_move_is_least_squares() -> None:
    y, x, _ = tapes.seed42()
    y, x = 1000 + y, 50 + x
    path, line = kalman(y, x, state_noise=0.0), ols(y, x)
    assert (path.beta[-1], path.alpha[-1]) == (
        pytest.approx(line.beta, rel=1e-10),
        pytest.approx(line.alpha, rel=1e-10),
    )
    recursive = RecursiveLS(y, np.column_stack([np.ones(500), x])).fit().recursive_coefficients.filtered[1]
    np.testing.assert_allclose(path.beta[50:], recursive[50:], rtol=1e-4)
    assert path.beta[-1] == pytest.approx(recursive[-1], rel=1e-6)


@pytest.mark.capability("PAIR-11")
def test_many_lines_are_filtered_as_each_alone() -> None:
    rng = np.random.default_rng(4)
    y, x = rng.normal(size=(2, 80, 3)).cumsum(axis=1)
    x[:25, 1], x[:, 2] = 3.0, 7.0
    many = kalman(y, x)
    for pair in range(3):
        alone = kalman(y[:, pair], x[:, pair])
        for path, one in (
            (many.beta, alone.beta),
            (many.alpha, alone.alpha),
            (many.innovation, alone.innovation),
        ):
            np.testing.assert_allclose(path[:, pair], one, rtol=1e-12)
    assert np.isfinite(many.beta[26:, 1]).all()


@pytest.mark.capability("PAIR-11")
def test_a_kalman_line_follows_a_hedge_that_moves() -> None:
    rng = np.random.default_rng(2)
    x = 50 + 5 * np.sin(np.arange(2000) / 15)
    truth = np.where(np.arange(2000) < 1000, 1.0, 2.0)
    y = truth * x + rng.normal(0, 0.1, 2000)
    beta = kalman(y, x, state_noise=1e-2).beta
    assert beta[999] == pytest.approx(1.0, abs=0.1)
    assert beta[-1] == pytest.approx(2.0, abs=0.1)


@pytest.mark.capability("PAIR-11")
def test_the_innovation_knows_nothing_of_the_bar_it_judges() -> None:
    y, x, _ = tapes.seed42()
    path = kalman(y, x)
    shocked = y.copy()
    shocked[300] += 5
    after = kalman(shocked, x)
    assert after.innovation[300] == pytest.approx(path.innovation[300] + 5)
    np.testing.assert_array_equal(after.beta[:300], path.beta[:300])


def test_no_kalman_line_without_movement() -> None:
    assert np.isnan(kalman(np.arange(50.0), np.ones(50)).beta).all()
    assert np.isnan(kalman(np.arange(5.0), np.arange(5.0)).beta).all()
