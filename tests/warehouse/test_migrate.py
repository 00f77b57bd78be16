"""A lake made by an older version is brought to this one with everything it knew; a new one knows its tables are empty."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from pipelines.analytics.params import IndicatorParams, columns
from tests.warehouse.conftest import Lake
from tests.warehouse.market import MINUTE, NOON, bars
from warehouse import migrate as migration
from warehouse.asked import asked_spans
from warehouse.build import pending_batches, progress
from warehouse.changes import CATALOG
from warehouse.connect import Location, connect, transaction
from warehouse.migrate import migrate
from warehouse.stage import literals

INDICATORS = columns(IndicatorParams())


def test_what_was_derived_how_far_and_what_was_asked_for_survive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    location, every = Location(tmp_path), migration._folder
    con = connect(location)
    with monkeypatch.context() as older:  # its views are made by the newer version
        older.setattr(migration, "_folder", lambda name: [path for path in every(name) if path.name < "0007"])
        migrate(con, location, INDICATORS)
    batches = ("binance-rest-1", "binance-rest-2")
    rows = [(name, "binance", "rest", NOON, NOON, 1, 1, 0, 0, "", "", "r", NOON) for name in batches]
    reached = [
        ("binance", NOON, "r", NOON),
        ("binance", NOON + MINUTE, "r", NOON + MINUTE),
        ("yahoo", NOON, "r", NOON),
    ]
    with transaction(con, location):
        con.execute(f"INSERT INTO core.ledger VALUES {', '.join(map(literals, rows))}")
        con.execute(f"INSERT INTO core.derived VALUES {literals((batches[0], 'r', NOON))}")
        con.execute(f"INSERT INTO core.progress VALUES {', '.join(map(literals, reached))}")
    chunk = "binance-backfill-20260201T0000-BTC-USDT-20260204T1120"
    file = (
        "binance",
        "ETHUSDT",
        NOON,
        *[1.0] * 7,
        1,
        "binance",
        1,
        NOON,
        "r",
        "import",
        "binance-import-1-0",
    )
    with transaction(con, location):
        for name in (chunk, "binance-backfill-20260201T0000-0a1b2c3d4e5f"):
            done = (name, "binance", "backfill", None, None, 0, 0, 0, 0, "", "", "r", NOON)
            con.execute(f"INSERT INTO core.ledger VALUES {literals(done)}")
            con.execute(f"INSERT INTO core.derived VALUES {literals((name, 'r', NOON))}")
        con.execute(f"INSERT INTO core.bars VALUES {literals(file)}")
    assert {"0009_one_book", "0010_asked"} <= set(migrate(con, location, INDICATORS))
    assert asked_spans(con, "binance").rows() == [
        ("binance", "BTC-USDT", datetime(2026, 2, 1), datetime(2026, 2, 4, 11, 20), "backfill", True),
        ("binance", "ETHUSDT", NOON, NOON + MINUTE, "import", True),
    ]
    assert migrate(con, location, INDICATORS) == []
    assert progress(con) == {"binance": NOON + MINUTE, "yahoo": NOON}
    assert pending_batches(con)["batch_id"].to_list() == [batches[1]]
    con.close()


def test_a_table_without_rows_asks_the_catalog_no_more_often_for_more_columns(lake: Lake):
    lake.con.execute("CALL enable_logging(level = 'debug', storage = 'memory')")
    asked = [0]
    for wanted in ("ts", "ts, open, high, low, close, volume"):
        lake.rows(f"SELECT {wanted} FROM core.bars")
        asked.append(lake.one("SELECT count(*) FROM duckdb_logs WHERE type = 'DuckLakeMetadata'"))
    assert 0 < asked[2] - asked[1] <= asked[1] - asked[0]


def test_the_statistics_of_a_table_without_rows_become_those_of_its_rows(lake: Lake):
    of_close = f"""
        SELECT record_count, min_value, max_value FROM {CATALOG}.ducklake_table_stats
        JOIN {CATALOG}.ducklake_table_column_stats USING (table_id)
        JOIN {CATALOG}.ducklake_column USING (table_id, column_id)
        JOIN {CATALOG}.ducklake_table USING (table_id)
        WHERE table_name = 'bars' AND column_name = 'close'
        """
    assert lake.rows(of_close) == [(0, None, None)]
    lake.load(bars(count=2, close=np.array([3.0, 2.0])))
    lake.load(bars(count=1, close=7.0, start=NOON - MINUTE))
    assert lake.rows(of_close) == [(3, "2.0", "7.0")]
    assert lake.rows("SELECT min(close), max(close), count(*) FROM bars") == [(2.0, 7.0, 3)]
    assert lake.rows("SELECT symbol FROM core.bars WHERE close > 5") == [("BTCUSDT",)]
