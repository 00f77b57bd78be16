"""Figures that others printed, from the data they printed them about."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from pipelines.analytics.cointegration import engle_granger
from pipelines.analytics.detectors import Thresholds, price_anomalies
from pipelines.analytics.indicators import IndicatorParams, full
from pipelines.analytics.johansen import johansen
from pipelines.analytics.regression import ols, ols_through_origin

pytestmark = pytest.mark.realdata


def column(frame: pl.DataFrame, name: str) -> np.ndarray:
    return frame[name].cast(pl.Float64).to_numpy()


@pytest.mark.capability("PAIR-08")
def test_coca_cola_and_pepsi_are_not_cointegrated(shared_data: Path) -> None:
    ko, pep = (
        pl.read_parquet(shared_data / f"daily/chan_{s}_1d.parquet").sort("Date") for s in ("ko", "pep")
    )
    both = ko.join(pep, on="Date", suffix="_pep").sort("Date")
    y, x = column(both, "Adj Close"), column(both, "Adj Close_pep")
    assert both.height == 7835
    assert ols_through_origin(y, x) == pytest.approx(1.0114, abs=5e-5)
    result = engle_granger(y, x, lags=1)
    assert result.stat == pytest.approx(-2.14258438, abs=1e-3)
    assert result.p == pytest.approx(0.454, abs=5e-4)


@pytest.fixture
def etfs(shared_data: Path) -> pl.DataFrame:
    return pl.read_parquet(shared_data / "daily/chan_ewc_ewa_ige_1d.parquet").sort("date")


@pytest.mark.capability("PAIR-08")
def test_canada_and_australia_are_cointegrated(etfs: pl.DataFrame) -> None:
    y, x = column(etfs, "ewc"), column(etfs, "ewa")
    line = ols(y, x)
    assert (line.beta, line.alpha) == (pytest.approx(0.96242939868521), pytest.approx(6.41133138666071))
    result = engle_granger(y, x, lags=1)
    assert (result.stat, result.p) == (pytest.approx(-3.64346635, abs=1e-3), pytest.approx(0.0216, abs=5e-5))


def test_johansen_of_two_and_three_etfs(etfs: pl.DataFrame) -> None:
    two = johansen(np.column_stack([column(etfs, s) for s in ("ewc", "ewa")]))
    assert two.trace == pytest.approx([19.983, 3.983], abs=5e-4)
    assert two.max_eigen == pytest.approx([16.000, 3.983], abs=5e-4)
    levels = np.column_stack([column(etfs, s) for s in ("ewc", "ewa", "ige")])
    three = johansen(levels)
    assert three.trace == pytest.approx([34.429, 17.532, 4.471], abs=5e-4)
    assert three.max_eigen == pytest.approx([16.897, 13.061, 4.471], abs=5e-4)
    assert three.eigenvalues == pytest.approx([0.0112, 0.0087, 0.0030], abs=5e-5)
    vector = three.vectors[:, 0] * np.sign(three.vectors[0, 0])
    assert vector == pytest.approx([1.0460, -0.7600, -0.2233], abs=5e-5)
    portfolio = levels @ three.vectors[:, 0]
    pull = ols(np.diff(portfolio), portfolio[:-1]).beta
    assert -np.log(2) / pull == pytest.approx(22.662578, abs=1e-6)


def test_danish_money_demand(shared_data: Path) -> None:
    denmark = pl.read_parquet(shared_data / "daily/urca_denmark_quarterly.parquet")
    levels = np.column_stack([column(denmark, s) for s in ("LRM", "LRY", "IBO", "IDE")])
    result = johansen(levels, lags=1, restricted_constant=True, seasons=4)
    assert result.max_eigen == pytest.approx([30.09, 10.36, 6.34, 2.35], abs=5e-3)
    assert result.trace == pytest.approx([49.14, 19.06, 8.69, 2.35], abs=6e-3)


def test_bitcoin_in_dollars_and_in_stablecoins(shared_data: Path) -> None:
    legs = (
        pl.read_parquet(shared_data / f"bars_1m/iaqf2023_kraken_{s}_1m.parquet")
        for s in ("btcusd", "btcusdc")
    )
    usd, usdc = (leg.select("timestamp", pl.col("close").log()) for leg in legs)
    both = usd.join(usdc, on="timestamp", suffix="_usdc").sort("timestamp")
    result = johansen(both.select("close", "close_usdc").to_numpy(), lags=2)
    assert both.height == 15710
    assert result.trace == pytest.approx([7.7051621697, 0.0299591318], abs=5e-10)


@pytest.mark.capability("ANO-02")
@pytest.mark.parametrize("interval", ["30m", "1h"])
def test_the_dollar_peg_breaks_and_the_detector_says_so(shared_data: Path, interval: str) -> None:
    """The low came in steps: no minute left the mean of its 20 before by 5 %, half hours and hours did."""
    raw = pl.read_parquet(shared_data / "bars_1m/iaqf2023_kraken_usdcusd_1m.parquet")
    minutes = raw.with_columns(
        ts=pl.col("timestamp").dt.replace_time_zone(None).cast(pl.Datetime("us"))
    ).sort("ts")
    worst = minutes.filter(pl.col("close") == pl.col("close").min()).row(0, named=True)
    assert (worst["ts"], worst["close"]) == (datetime(2023, 3, 11, 7, 15), 0.874)
    bars = minutes.group_by_dynamic("ts", every=interval).agg(
        pl.col("open").first(),
        pl.col("high").max(),
        pl.col("low").min(),
        pl.col("close").last(),
        pl.col("volume").sum(),
    )
    bars = bars.with_columns(
        source=pl.lit("kraken"), symbol=pl.lit("USDCUSD"), ret_log=pl.col("close").log().diff()
    )
    rows = bars.join(full(bars, IndicatorParams(), 525_600.0), on=["source", "symbol", "ts"])
    judged = rows.with_columns(interval=pl.lit(interval), is_complete=pl.lit(True))
    found = price_anomalies(judged, Thresholds())
    assert datetime(2023, 3, 11, 7) in found["ts"].to_list()
    assert set(found["severity"]) == {"critical"}
    assert found["ts"].min() > datetime(2023, 3, 10)
