"""A digest and an alert to send: facts as the outbox holds them."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

import polars as pl
import pytest

from pipelines.alerts.grouping import messages, notices
from pipelines.alerts.judge import judge
from pipelines.alerts.rules import BUILT_IN
from pipelines.alerts.states import step
from pipelines.market import Series, naive
from reports.digest_facts import digest_facts
from tests.alerts.conftest import NOON, bars, minute


def fired(symbol: str = "BTCUSDT"):
    """A price alert: 6.2 % over the mean of the 20 bars before."""
    frame = bars(6.2, column="dev_20_pct", symbol=symbol).with_columns(close=pl.lit(64_250.0))
    return step([], judge(BUILT_IN, minute(1), series=frame), BUILT_IN, minute(1), "run-7")


def an_anomaly(at: float, symbol: str, kind: str, severity: str, value: float, usual: float, **more: Any):
    source = "yahoo" if symbol in ("NVDA", "TSLA") else "binance"
    row = {
        "id": f"{symbol}{at}", "source": source, "symbol": symbol, "interval": "15m", "ts": naive(minute(at)),
        "kind": kind, "value": value, "baseline": usual, "ratio": value / usual, "zscore": None,
        "severity": severity, "reason": "",
    }  # fmt: skip
    return row | more


@pytest.fixture
def facts() -> dict[str, Any]:
    rows = [
        an_anomaly(-29, "BTCUSDT", "volume", "critical", 412.0, 64.1),
        an_anomaly(-14, "BTCUSDT", "volume", "high", 290.0, 64.1),
        an_anomaly(-17, "NVDA", "price_spike", "critical", 196.4, 184.2, interval="5m", zscore=12.1),
        an_anomaly(-22, "TSLA", "rsi_extreme", "medium", 81.2, 70.0, interval="1h"),
        an_anomaly(-170, "XRPUSDT", "volume", "medium", 9_100_000.0, 2_400_000.0),
    ]
    pair = {
        "pair": "p", "interval": "1m", "fitted_at": naive(minute(-1)),
        "source_y": "binance", "symbol_y": "ETHUSDT", "source_x": "binance", "symbol_x": "BTCUSDT",
        "zscore": 3.42,         "half_life_bars": 22.4, "q_bh": 0.004,
        "corr": 0.83, "is_cointegrated": True,
    }  # fmt: skip
    flat = pair | {"zscore": 0.4, "symbol_y": "SOLUSDT"}
    check = {
        "check_name": "bars_unique",
        "table_name": "bars",
        "observed": "0",
        "threshold": "0",
        "passed": True,
    }
    quality = [check, check | {"check_name": "close_jump", "observed": "2 rows", "passed": False}]
    run = {
        "flow": "minute", "state": "Completed", "started_at": naive(minute(-5)),
        "finished_at": naive(minute(-5) + timedelta(seconds=3.2)), "rows_loaded": 1500,
    }  # fmt: skip
    gap = {
        "source": "yahoo",
        "symbol": "AAPL",
        "from_ts": naive(minute(-50)),
        "minutes": 4,
        "state": "healed",
    }
    wave = [64_000 + 300 * math.sin(n / 4) + 12 * n for n in range(40)]
    alert = fired()[0]
    over = fired("XRPUSDT")[0]
    rules = [rule for rule in BUILT_IN if rule.name == "price"]
    calm = bars(1.0, column="dev_20_pct", symbol="XRPUSDT", start=34).with_columns(close=pl.lit(0.61))
    ended = step(
        [over],
        judge(rules, minute(35), series=calm, open_alerts=[(over.rule, over.labels)]),
        rules,
        minute(35),
    )
    return digest_facts(
        NOON - timedelta(hours=3),
        NOON + timedelta(minutes=40),
        anomalies=pl.DataFrame(rows, schema_overrides={"zscore": pl.Float64}),
        alerts=[alert, *ended],
        pairs=pl.DataFrame([pair, flat]),
        quality=pl.DataFrame(quality),
        gaps=pl.DataFrame([gap]),
        sources=pl.DataFrame([{"source": "binance", "lag_s": 38.0, "state": "ok"}]),
        runs=pl.DataFrame([run, run | {"state": "Failed", "flow": "heal"}]),
        closes={Series("binance", "BTCUSDT"): wave},
        simulated=True,
    )


@pytest.fixture
def alert_row() -> dict[str, Any]:
    """One outbox row for `hook`: two critical alerts."""
    events = [*fired(), *fired("ETHUSDT")]
    return messages(notices(events, {}, minute(1)), ["hook"])[0]
