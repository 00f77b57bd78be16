"""Foresight is caught, whatever its form; an honest warehouse differs by nothing."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from pipelines.analytics import certificate, indicators
from pipelines.analytics.certificate import of_indicators, of_path, of_volumes, verdicts
from pipelines.analytics.params import IndicatorParams
from pipelines.analytics.spread import spread_path
from tests.analytics import tapes
from tests.analytics.test_indicators_incremental import random_tape

pytestmark = pytest.mark.capability("M4")
PARAMS, YEAR = IndicatorParams(), 525_600.0


@pytest.fixture(scope="module")
def history() -> pl.DataFrame:
    return pl.concat([random_tape(3, "AAA", 700), random_tape(4, "BBB", 900)])


def sampled(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.sample(25, seed=1).with_columns(interval=pl.lit("1m"))


def leaking(findings: pl.DataFrame) -> set[str]:
    return set(verdicts(findings).filter(pl.col("leaks") > 0)["metric"])


def test_an_honest_warehouse_differs_by_nothing(history: pl.DataFrame) -> None:
    stored = sampled(indicators.full(history, PARAMS, YEAR))
    told = verdicts(of_indicators(history, stored, PARAMS, YEAR))
    assert told["worst"].max() == 0.0
    assert told.height == 18
    assert (told["checked"] == 25).all()


def test_the_next_bars_close_is_caught(history: pl.DataFrame) -> None:
    early = history.with_columns(pl.col("close").shift(-1).over("symbol").fill_null(pl.col("close")))
    stored = sampled(indicators.full(early, PARAMS, YEAR))
    assert {"sma_20", "ema_12", "rsi_14", "macd", "bb_upper", "zscore_20"} <= leaking(
        of_indicators(history, stored, PARAMS, YEAR)
    )


def test_a_single_column_that_is_a_bar_early_is_caught_alone(history: pl.DataFrame) -> None:
    rows = indicators.full(history, PARAMS, YEAR)
    stored = sampled(rows.with_columns(pl.col("rsi_14").shift(-1).over("symbol")))
    assert leaking(of_indicators(history, stored, PARAMS, YEAR)) == {"rsi_14"}


def test_a_number_before_there_can_be_one_is_caught(history: pl.DataFrame) -> None:
    rows = indicators.full(history, PARAMS, YEAR).with_columns(
        pl.col("sma_200").backward_fill().over("symbol")
    )
    young = rows.group_by("symbol", maintain_order=True).head(50).with_columns(interval=pl.lit("1m"))
    assert leaking(of_indicators(history, young, PARAMS, YEAR)) == {"sma_200"}


@pytest.mark.parametrize("with_itself", [False, True])
def test_a_baseline_that_holds_the_judged_bar_is_caught(with_itself: bool) -> None:
    rng = np.random.default_rng(6)
    before, own = rng.lognormal(3, 1, (12, 20)), rng.lognormal(4, 1, 12)
    used = np.concatenate([before[:, 1:], own[:, None]], axis=1) if with_itself else before
    judged = certificate.usual.judge(own, certificate.usual.usual(used))
    stored = pl.DataFrame(
        {"source": "s", "symbol": "A", "interval": "1m", "ts": tapes.NOON, "volume": own,
         "volume_ratio": judged[0], "volume_robust_z": judged[1]}
    )  # fmt: skip
    caught = leaking(of_volumes(stored, before.tolist(), 5))
    assert caught == ({"volume_ratio", "volume_robust_z"} if with_itself else set())


@pytest.mark.parametrize("in_sample", [False, True])
def test_a_line_fitted_on_bars_to_come_is_caught(in_sample: bool) -> None:
    def path(y: np.ndarray, x: np.ndarray) -> dict[str, np.ndarray]:
        if not in_sample:
            spread, zscore, beta = spread_path(y, x, 20)
            return {"spread": spread, "pair zscore": zscore, "beta": beta}
        beta = np.polyfit(x, y, 1)[0]
        left = y - beta * x
        return {"pair zscore": (left - left.mean()) / left.std()}

    y, x, _ = tapes.seed42()
    ts = [tapes.NOON] * len(y)
    found = of_path(path, y, x, ts, [150, 300, 499], "A~B", "1m")
    assert leaking(found) == ({"pair zscore"} if in_sample else set())
