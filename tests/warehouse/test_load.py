"""Facts are loaded once, corrections are kept, and everything else follows from them."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from flows.brought import Brought
from flows.deriving import derive_pending
from tests.warehouse.conftest import MINUTE, NOON, Lake, bars, trades
from warehouse.connect import transaction
from warehouse.export import public_views

CONTRACT_VIEWS = {
    "bars", "trades", "ohlcv", "indicators", "symbol_stats", "predictions", "volume_baseline", "anomalies",
    "pair_stats", "pair_series", "correlations", "quality", "quarantine", "sessions", "coverage", "gaps", "alerts",
    "deliveries", "runs", "latency",
}  # fmt: skip
DERIVED = ("calc.windows", "calc.indicators", "calc.anomalies", "calc.volume_baseline")


def content(lake: Lake, table: str) -> list[tuple]:
    """The table's rows without what tells when and by whom they were made."""
    columns = [name for name, *_ in lake.rows(f"DESCRIBE {table}") if name not in ("run_id", "known_at")]
    listed = ", ".join(f'"{name}"' for name in columns)
    return lake.rows(f"SELECT {listed} FROM {table} ORDER BY ALL")


@pytest.mark.capability("STO-10")
def test_loading_the_same_batch_again_changes_nothing(lake):
    assert lake.load(bars(), "binance-rest-1").rows_new == 3
    again = lake.load(bars(), "binance-rest-1")
    assert (again.already, again.rows_new) == (True, 0)
    assert lake.one("SELECT count(*) FROM ledger") == 1


@pytest.mark.capability("STO-10")
def test_the_same_values_in_another_batch_change_nothing(lake):
    lake.load(bars(), "binance-rest-1")
    again = lake.load(bars(count=5), "binance-rest-2")
    assert (again.rows_new, again.rows_revised) == (2, 0)
    assert lake.rows("SELECT count(*), max(revision) FROM bars") == [(5, 1)]


def test_a_correction_is_revision_two_and_the_old_row_stays(lake):
    lake.load(bars(close=100.0), "binance-rest-1")
    later = NOON + timedelta(hours=1)
    done = lake.load(bars(count=1, close=101.0), "binance-rest-2", known_at=later)
    assert (done.rows_new, done.rows_revised) == (0, 1)
    assert lake.rows(f"SELECT close, revision FROM bars WHERE ts = TIMESTAMP '{NOON}'") == [(101.0, 2)]
    assert lake.rows(
        f"SELECT close, revision, replaced_at FROM bar_revisions WHERE ts = TIMESTAMP '{NOON}' ORDER BY revision"
    ) == [(100.0, 1, later), (101.0, 2, None)]


def test_a_key_twice_in_one_batch_is_one_row(lake):
    lake.load(pl.concat([bars(count=1), bars(count=1)]), "binance-rest-1")
    lake.load_trades(pl.concat([trades(), trades()]), "binance-stream-1")
    assert (lake.one("SELECT count(*) FROM bars"), lake.one("SELECT count(*) FROM trades")) == (1, 3)


@pytest.mark.capability("STO-10")
def test_a_trade_that_comes_again_is_left_alone(lake):
    lake.load_trades(trades(), "binance-stream-1")
    assert lake.load_trades(trades(count=5), "binance-stream-2").rows_new == 2
    assert lake.rows("SELECT count(*), count(DISTINCT trade_id) FROM trades") == [(5, 5)]


@pytest.mark.capability("STO-01", "STO-02", "STO-07")
def test_every_promised_view_answers(lake):
    lake.load(bars(), "binance-rest-1")
    lake.load_trades(trades(), "binance-stream-1")
    views = set(public_views(lake.con))
    others = {
        "latest_price",
        "indicators_latest",
        "aggregated_latest",
        "ticks",
        "ohlc",
        "analytics",
        "tick_data",
        "aggregated_data",
        "technical_indicators",
    }
    assert views >= CONTRACT_VIEWS | others
    for view in sorted(views):
        assert lake.rows(f"SELECT count(*) FROM {view}")[0][0] >= 0
    assert lake.rows("SELECT symbol, ts, price FROM latest_price") == [("BTCUSDT", NOON + 2 * MINUTE, 100.0)]
    assert lake.rows("SELECT count(*) FROM ticks") == [(3,)]


@pytest.mark.capability("STO-08")
def test_each_measurement_of_a_metrics_store_has_its_view(lake):
    """tick, aggregated, indicators, anomalies, latency; the lag of a consumer is that of a run (and in `metrics.prom`)."""
    columns = {
        "tick_data": {"timestamp", "symbol", "price", "quantity"},
        "aggregated_data": {"window_start", "symbol", "window_name", "open", "close", "volume", "vwap"},
        "indicators": {"ts", "symbol", "interval", "sma_20", "rsi_14", "macd", "bb_upper"},
        "anomalies": {"ts", "symbol", "kind", "value", "severity"},
        "latency": {"run_id", "stage", "p50_ms", "p99_ms", "max_ms", "n"},
        "runs": {"run_id", "scheduled_for", "lag_s", "rows_in", "rows_loaded"},
    }
    for view, names in columns.items():
        assert names <= {name for name, *_ in lake.rows(f"DESCRIBE {view}")}, view


@pytest.mark.capability("STO-09", "STO-10")
def test_what_is_derived_can_be_dropped_and_comes_back_the_same(lake):
    rng = np.random.default_rng(3)
    price = 100.0 * np.exp(np.cumsum(rng.normal(0, 2e-3, 700)))
    price[500] *= 1.08
    lake.load(bars(start=NOON.replace(hour=0), count=700, close=price), "binance-import-1", "import")
    derive_pending(lake.con, lake.context, "run-1", {}, Brought())
    before = {table: content(lake, table) for table in DERIVED}
    assert len(before["calc.windows"]) > 100
    assert before["calc.anomalies"]
    with transaction(lake.con, lake.location):
        for table in (*DERIVED, "core.derived"):
            lake.con.execute(f"DELETE FROM {table}")
    derive_pending(lake.con, lake.context, "run-2", {}, Brought())
    assert {table: content(lake, table) for table in DERIVED} == before
    derive_pending(lake.con, lake.context, "run-3", {}, Brought())
    assert {table: content(lake, table) for table in DERIVED} == before
