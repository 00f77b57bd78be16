"""The hourly upkeep as a whole: each step does its part, and one that fails stops no other."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import duckdb
import pytest

from flows.maintain import is_stuck, run_maintenance
from tests.warehouse.conftest import MINUTE, NOON, aware, bars, trades
from warehouse.connect import transaction
from warehouse.errors import TapewatchError
from warehouse.stage import literals

DAY = timedelta(days=1)


def polled(lake) -> None:
    with transaction(lake.con, lake.location):
        lake.con.execute(f"INSERT INTO core.derived VALUES {literals((None, 'r', NOON, 'binance', NOON))}")


@pytest.mark.capability("STO-03", "STO-04")
def test_an_hour_of_upkeep(lake):
    for minute in range(4):
        lake.load(bars(start=NOON + minute * MINUTE, count=1))
    lake.load(bars(start=NOON - 400 * DAY))
    lake.load_trades(trades(start=NOON - 8 * DAY), "binance-stream-1")
    polled(lake)
    done = run_maintenance(lake.context, lake.con, "run-m", aware(NOON))
    assert done.rows_deleted == {"core.bars": 3, "core.trades": 3}
    assert done.files["files_after"] < done.files["files_before"]
    assert (lake.context.settings.data_dir / "archive/bars/2025-02.parquet").exists()
    plain = duckdb.connect(str(lake.context.settings.data_dir / "tapewatch.duckdb"), read_only=True)
    assert plain.execute("SELECT count(*) FROM bars").fetchall() == [(4,)]
    plain.close()
    assert lake.rows("SELECT flow, state, rows_in FROM runs") == [("maintenance", "Completed", 6)]


def test_old_landed_days_are_deleted(lake):
    for age in (0, 9):
        day = lake.context.landing / "binance/rest" / f"dt={(NOON - age * DAY).date()}"
        day.mkdir(parents=True)
        (day / f"binance-rest-{age}.zst").write_bytes(b"")
    done = run_maintenance(lake.context, lake.con, "run-m", aware(NOON))
    assert done.landed_deleted == 1
    assert [day.name for day in (lake.context.landing / "binance/rest").iterdir()] == [f"dt={NOON.date()}"]


def test_a_step_that_fails_stops_no_other(lake, monkeypatch):
    lake.load(bars())

    def broken(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("flows.maintain.compact", broken)
    with pytest.raises(TapewatchError, match="compaction: OSError: disk full; the other steps are done"):
        run_maintenance(lake.context, lake.con, "run-m", aware(NOON))
    assert (lake.context.settings.data_dir / "tapewatch.duckdb").exists()
    assert lake.rows("SELECT state FROM runs") == [("Failed",)]


@pytest.mark.parametrize(
    ("flow", "ran_s", "stuck"), [("minute", 60, False), ("minute", 200, True), ("backfill", 7200, False)]
)
def test_a_run_is_stuck_once_its_flows_limit_is_long_over(flow, ran_s, stuck):
    now = datetime(2026, 3, 10, 12, tzinfo=UTC)
    assert is_stuck(flow, now - timedelta(seconds=ran_s), now) is stuck
