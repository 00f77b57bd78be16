"""The look-ahead certificate on a lake: clean as derived, and a planted leak is told by name."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest

from flows.certificate import run_certificate
from pipelines.settings_sections import Windows
from tests.lakes import Lake, bars_of, new_lake
from warehouse.connect import transaction

pytestmark = pytest.mark.capability("M4")
START = datetime(2026, 3, 2)
DAYS, PER_DAY = 7, 240


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lake]:
    """Seven mornings of two series, two hours of them lent by another venue, the last half hour by the minute's way."""
    made = new_lake(tmp_path_factory.mktemp("certificate"), windows=Windows(intervals=("15m",)))
    rng = np.random.default_rng(12)
    ts = [START + timedelta(days=d, minutes=m) for d in range(DAYS) for m in range(PER_DAY)]
    for name in ("BTCUSDT", "ETHUSDT"):
        close = np.round(100 * np.exp(np.cumsum(rng.normal(0, 0.001, len(ts)))), 4)
        market = {"ts": ts, "close": close, "volume": np.round(np.exp(rng.normal(5, 0.5, len(ts))), 3)}
        bars, known = bars_of(market, "binance", name), len(ts) - 30
        made.load(bars[480:600].with_columns(pl.col("volume") * 1000), "fallback")
        for part, kind in ((bars[:known], "backfill"), (bars[known:], "rest")):
            made.load(part.filter(~pl.col("ts").is_in(ts[480:600])), kind)
            made.derive({"binance": part["ts"][-1] + timedelta(minutes=1)})
    yield made
    made.con.close()


def told(lake: Lake, run_id: str) -> pl.DataFrame:
    return run_certificate(lake.context, lake.con, run_id, samples=30)


def test_what_was_derived_differs_by_nothing(lake: Lake) -> None:
    found = told(lake, "night-1")
    assert found["leaks"].sum() == 0
    assert found["worst"].max() == 0.0
    assert {"rsi_14", "sma_200", "volatility_ann", "volume_ratio", "volume_robust_z"} <= set(found["metric"])
    assert found.filter(metric="volume_ratio")["checked"].item() > 30
    checks = lake.rows("SELECT count(*), bool_and(passed) FROM quality WHERE suite = 'certificate'")
    assert checks == [(found.height, True)]
    assert lake.rows("SELECT flow, state FROM runs WHERE run_id = 'night-1'") == [
        ("certificate", "Completed")
    ]


def test_a_value_that_knew_the_next_bar_is_told_by_name(lake: Lake) -> None:
    with transaction(lake.con, lake.context.location):
        lake.con.execute("""
            UPDATE calc.indicators AS i SET ema_12 = n.early FROM (
                SELECT source, symbol, interval, ts,
                       lead(ema_12) OVER (PARTITION BY source, symbol, interval ORDER BY ts) AS early
                FROM calc.indicators
            ) AS n
            WHERE (i.source, i.symbol, i.interval, i.ts) = (n.source, n.symbol, n.interval, n.ts)""")
    assert set(told(lake, "night-2").filter(pl.col("leaks") > 0)["metric"]) == {"ema_12"}
    wrong = lake.rows("SELECT check_name, severity FROM quality WHERE run_id = 'night-2' AND NOT passed")
    assert wrong == [("look-ahead: ema_12", "critical")]
