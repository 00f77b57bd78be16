"""What fires, what just does not, and what it says."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.analytics import detectors, feed
from pipelines.analytics.detectors import SCHEMA, SEVERITY, Thresholds
from pipelines.analytics.indicators import IndicatorParams, full
from tests.analytics import tapes
from tests.analytics.tapes import NOON

LIMITS = Thresholds()
QUIET = {
    "source": "binance",
    "symbol": "BTCUSDT",
    "interval": "1m",
    "ts": NOON,
    "is_complete": True,
    "close": 100.0,
    "dev_20_pct": 0.0,
    "zscore_20": 0.0,
    "volume": 100.0,
    "volume_ratio": 1.0,
    "volume_robust_z": None,
    "median": 100.0,
    "sessions": 20,
    "rsi_14": 50.0,
    "rsi_prev": 50.0,
    "volatility_20": 0.001,
    "volatility_median": 0.001,
}
TYPES = {"volume_robust_z": pl.Float64, "rsi_prev": pl.Float64, "zscore_20": pl.Float64, "sessions": pl.Int64}


def bar(**facts: object) -> pl.DataFrame:
    return pl.DataFrame([QUIET | facts], schema_overrides=TYPES)


def kinds(**facts: object) -> list[str]:
    return detectors.detect(bar(**facts), LIMITS)["kind"].to_list()


def after_20_closes(usual: float, close: float) -> pl.DataFrame:
    """The newest bar of a tape that stood at `usual` for 20 bars."""
    bars = tapes.bars(np.append(np.full(20, usual), close))
    rows = bars.join(full(bars, IndicatorParams(), 1.0), on=["source", "symbol", "ts"]).tail(1)
    return rows.with_columns(interval=pl.lit("1m"), is_complete=pl.lit(True))


@pytest.mark.capability("ANO-02")
def test_more_than_five_percent_from_the_mean_fires() -> None:
    (row,) = detectors.price_anomalies(after_20_closes(100.0, 105.01), LIMITS).to_dicts()
    assert (row["kind"], row["severity"], row["value"]) == ("price_spike", "critical", 105.01)
    assert (row["baseline"], row["ratio"]) == (pytest.approx(100.0), pytest.approx(1.0501))
    assert detectors.price_anomalies(after_20_closes(100.0, 105.0), LIMITS).is_empty()


@pytest.mark.capability("ANO-02")
@given(st.integers(1, 10**7).map(lambda ticks: ticks * 20 / 100))
def test_exactly_five_percent_never_fires_whatever_the_rounding(usual: float) -> None:
    for close in (round(usual * 1.05, 2), round(usual * 0.95, 2)):
        assert detectors.price_anomalies(after_20_closes(usual, close), LIMITS).is_empty()


def test_a_price_anomaly_says_so_in_a_sentence() -> None:
    (row,) = detectors.price_anomalies(after_20_closes(0.951, 0.874), LIMITS).to_dicts()
    said = "close 0.874 is 8.1 % below the mean of the 20 bars before (0.951); the limit is 5 %"
    assert row["reason"] == said


@pytest.mark.capability("M10")
def test_a_bars_own_limit_stands_in_for_the_fixed_one() -> None:
    calm = bar(dev_20_pct=3.0, close=103.0, volume_ratio=2.5, volume=250.0, volume_robust_z=1.0)
    assert detectors.detect(calm, LIMITS).is_empty()
    own = calm.with_columns(price_limit=pl.lit(2.0), volume_limit=pl.lit(2.4))
    found = detectors.detect(own, LIMITS)
    assert found["kind"].to_list() == ["price_spike", "volume"]
    assert "this half hour's own limit is 2 %, by the alert budget" in found["reason"][0]
    stretched = calm.with_columns(
        dev_20_pct=pl.lit(9.0), price_limit=pl.lit(10.0), volume_limit=pl.lit(None, pl.Float64)
    )
    assert detectors.detect(stretched, LIMITS).is_empty()


@pytest.mark.capability("ANO-03")
def test_more_than_three_times_the_usual_volume_fires() -> None:
    assert kinds(volume=301.0, volume_ratio=3.01) == ["volume"]
    assert kinds(volume=300.0, volume_ratio=3.0) == []


@pytest.mark.capability("ANO-03")
def test_a_thin_baseline_judges_nothing() -> None:
    assert kinds(volume=900.0, volume_ratio=9.0, sessions=4) == []
    assert kinds(volume=900.0, volume_ratio=9.0, sessions=None) == []
    assert kinds(volume=900.0, volume_ratio=None) == []


def test_a_noisy_series_needs_an_unusual_ratio() -> None:
    assert kinds(volume=900.0, volume_ratio=9.0, volume_robust_z=2.9) == []
    assert kinds(volume=900.0, volume_ratio=9.0, volume_robust_z=3.0) == []
    assert kinds(volume=900.0, volume_ratio=9.0, volume_robust_z=3.01) == ["volume"]


@pytest.mark.capability("ANO-05")
def test_rsi_fires_when_it_enters_the_zone_and_not_while_it_stays() -> None:
    assert kinds(rsi_14=70.1, rsi_prev=69.9) == ["rsi_extreme"]
    assert kinds(rsi_14=29.9, rsi_prev=80.0) == ["rsi_extreme"]
    assert kinds(rsi_14=100.0, rsi_prev=None) == ["rsi_extreme"]
    assert kinds(rsi_14=80.0, rsi_prev=75.0) == []
    assert kinds(rsi_14=70.0, rsi_prev=50.0) == []
    assert kinds(rsi_14=None, rsi_prev=50.0) == []


@pytest.mark.capability("ANO-05")
def test_an_ever_rising_price_becomes_overbought_once() -> None:
    bars = tapes.bars(np.linspace(100, 101, 40)).with_columns(
        is_new=True, interval=pl.lit("1h"), is_complete=True
    )
    rows = bars.join(full(bars, IndicatorParams(), 1.0), on=["source", "symbol", "ts"])
    found = detectors.rsi_anomalies(detectors.judged_bars(rows), LIMITS)
    assert found["ts"].to_list() == [NOON + timedelta(minutes=14)]
    assert found["reason"].to_list() == ["RSI 100.0 has become overbought, above 70"]


def test_volatility_is_judged_by_its_own_median() -> None:
    assert kinds(volatility_20=0.0031) == ["volatility"]
    assert kinds(volatility_20=0.003) == []
    assert kinds(volatility_20=0.0031, volatility_median=None) == []
    assert kinds(volatility_20=0.0031, volatility_median=0.0) == []


def test_judged_bars_know_what_came_before_them_only() -> None:
    n = 30
    history = pl.DataFrame(
        {
            "source": ["binance"] * n,
            "symbol": ["BTCUSDT"] * n,
            "ts": [NOON + timedelta(minutes=i) for i in range(n)],
            "rsi_14": [50.0 + i for i in range(n)],
            "volatility_20": [0.001] * (n - 1) + [9.0],
            "is_new": [False] * (n - 1) + [True],
        }
    )
    both = pl.concat([history, history.with_columns(symbol=pl.lit("ETHUSDT"), rsi_14=pl.lit(1.0))])
    rows = detectors.judged_bars(both)
    assert rows["rsi_prev"].to_list() == [78.0, 1.0]
    assert rows["volatility_median"].to_list() == [0.001, 0.001]
    assert detectors.judged_bars(both.filter(pl.col("ts") >= NOON + timedelta(minutes=20)))[
        "volatility_median"
    ].to_list() == [None, None]


def test_a_partial_window_is_never_judged() -> None:
    assert kinds(is_complete=False, dev_20_pct=50.0, volume_ratio=9.0, rsi_14=99.0, volatility_20=1.0) == []


@pytest.mark.capability("ANO-06")
def test_the_worst_is_critical_and_volume_alone_at_most_medium() -> None:
    found = detectors.detect(bar(dev_20_pct=50.0, volume_ratio=9.0, rsi_14=99.0, volatility_20=1.0), LIMITS)
    assert dict(found.select("kind", "severity").iter_rows()) == {
        "price_spike": "critical",
        "rsi_extreme": "medium",
        "volatility": "medium",
        "volume": "medium",
    }
    assert {kind: row[2] for kind, row in SEVERITY.items() if row[2] != "medium"} == {
        "price_spike": "critical",
        "stale": "critical",
        "gap": "high",
        "spread": "high",
    }


def test_the_same_bar_always_has_the_same_id() -> None:
    first, again = (detectors.detect(bar(dev_20_pct=9.0, close=c), LIMITS)["id"][0] for c in (109.0, 109.5))
    other = detectors.detect(bar(dev_20_pct=9.0, symbol="ETHUSDT"), LIMITS)["id"][0]
    assert first == again != other


@pytest.mark.capability("ANO-04")
def test_latency_above_100_ms_fires() -> None:
    at = ("binance", "BTCUSDT", "1m", NOON)
    (row,) = feed.latency(*at, 101.0, LIMITS).to_dicts()
    assert (row["kind"], row["value"], row["baseline"], row["severity"]) == (
        "latency",
        101.0,
        100.0,
        "medium",
    )
    assert feed.latency(*at, 100.0, LIMITS).is_empty()
    assert feed.latency(*at, float("nan"), LIMITS).schema == SCHEMA


def test_silence_and_holes_are_named() -> None:
    at = ("binance", "BTCUSDT", "1m", NOON)
    assert feed.stale(*at, 181.0, LIMITS)["severity"].to_list() == ["critical"]
    assert feed.stale(*at, 60.0, LIMITS).is_empty()
    assert feed.gap(*at, 3, LIMITS)["reason"].to_list() == ["3 minutes missing from 2026-03-02 12:00 UTC"]
    assert feed.gap(*at, 0, LIMITS).is_empty()


@pytest.mark.capability("ANO-07")
def test_a_stretched_spread_is_high_on_either_side() -> None:
    at = ("binance", "BTCUSDT~ETHUSDT", "1m", NOON)
    (row,) = feed.spread(*at, -2.5, LIMITS).to_dicts()
    assert (row["severity"], row["zscore"], row["value"]) == ("high", -2.5, -2.5)
    assert "2.50 standard deviations below its mean" in row["reason"]
    assert feed.spread(*at, 2.01, LIMITS).height == 1
    assert feed.spread(*at, 2.0, LIMITS).is_empty()
    assert feed.spread(*at, None, LIMITS).is_empty()


@pytest.mark.parametrize(
    ("value", "text"),
    [(67251.3, "67251"), (0.874, "0.874"), (0.000012345, "0.00001234"), (0.0, "0"), (1e6, "1000000")],
)
def test_numbers_are_written_without_an_exponent(value: float, text: str) -> None:
    assert detectors.number(value) == text
