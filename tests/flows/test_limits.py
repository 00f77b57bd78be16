"""The alert budget's way from stored history to the minute's judgement."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest

from flows.context import plan_of
from flows.limits import known_limits, limits_path, renew_limits
from pipelines.derived import detect
from pipelines.market import Interval
from pipelines.settings_sections import Anomalies
from tests.analytics.test_detectors import QUIET, TYPES
from warehouse.connect import transaction
from warehouse.stage import stage

pytestmark = pytest.mark.capability("M10")
START, DAYS = datetime(2026, 3, 1), 30


def test_limits_of_the_night_judge_the_next_minute(lake) -> None:
    settings = replace(lake.context.settings, anomalies=Anomalies(budget_per_day=4.0))
    rng = np.random.default_rng(7)
    rows = pl.DataFrame(
        {
            "source": "binance",
            "symbol": "BTCUSDT",
            "interval": "5m",
            "ts": [START + timedelta(days=d, minutes=5 * i) for d in range(DAYS) for i in range(288)],
            "dev_20_pct": 0.2 * rng.standard_t(4, DAYS * 288),
            "volume_ratio": np.exp(0.3 * rng.normal(size=DAYS * 288)),
        }
    )
    stage(lake.con, "rows", rows)
    with transaction(lake.con, lake.location):
        lake.con.execute("INSERT INTO calc.indicators BY NAME SELECT * FROM rows")
        lake.con.execute(
            "INSERT INTO core.series VALUES ('binance', 'BTCUSDT', '24/7', 'rest', '2026-03-01')"
        )
    assert known_limits(settings).is_empty()
    assert renew_limits(lake.con, settings, START + timedelta(days=DAYS)) == 2 * 48
    plan = plan_of(settings)
    limit = plan.limits.filter(kind="price_spike", slot=24)["limit"].item()
    assert 0.3 < limit < 4.0

    def judged(deviation: float) -> list[str]:
        bar = QUIET | {"interval": "5m", "dev_20_pct": deviation, "close": 100 + deviation, "bucket": 720}
        return detect(pl.DataFrame([bar], schema_overrides=TYPES), Interval.parse("5m"), plan)[
            "kind"
        ].to_list()

    assert judged(1.01 * limit) == ["price_spike"]
    assert judged(0.99 * limit) == []

    assert plan_of(replace(settings, anomalies=Anomalies())).limits.is_empty()
    assert known_limits(replace(settings, anomalies=Anomalies(budget_per_day=5.0))).is_empty()
    limits_path(settings).write_bytes(b"torn")
    assert known_limits(settings).is_empty()
