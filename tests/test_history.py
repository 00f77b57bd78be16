"""History from venues and files: chunk by chunk, resumable, the same again changes nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from flows import chunks, deriving, history
from flows import owed as owing
from flows.context import assemble
from flows.deriving import derive_abandoned
from flows.history_turn import history_turn
from flows.owed import load_owed, owed
from flows.trading_days import fill_sessions
from flows.user_files import import_file
from pipelines.market import naive
from pipelines.replica.server import Replica
from pipelines.settings_sections import Windows
from tests.lakes import Lake, new_lake
from tests.test_ingest import MINUTE, NOW, assert_complete, held, run_minute, sources_at
from warehouse.connect import transaction
from warehouse.errors import TapewatchError
from warehouse.stage import literals

SHARES = ("AAPL", "SPY")


@pytest.fixture(scope="module")
def replica() -> Iterator[Replica]:
    with Replica(now=NOW, speed=0, seed=7) as running:
        yield running


@pytest.fixture
def lake(replica: Replica, tmp_path: Path) -> Iterator[Lake]:
    made = new_lake(
        tmp_path, sources=sources_at(replica, ("BTCUSDT",), SHARES), windows=Windows(intervals=("5m",))
    )
    yield made
    made.con.close()
    replica.heal()


def configure(lake: Lake, **changes: Any) -> None:
    lake.context = assemble(replace(lake.context.settings, **changes))


@pytest.mark.capability("ING-16")
def test_a_killed_backfill_goes_on_where_it_stopped(
    lake: Lake, replica: Replica, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(chunks, "PAGES", 1)
    start = NOW.replace(second=0) - timedelta(days=2)

    def killed(done: int, total: int, what: str) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        history.backfill(lake.con, lake.context, "run-1", start, NOW, "binance", progress=killed)
    half = lake.one("SELECT count(*) FROM bars")
    assert half > 0
    again = history.backfill(lake.con, lake.context, "run-2", start, NOW, "binance")
    assert (again.chunks_known, again.rows_loaded) == (2, 2 * 1440 - half)
    assert again.by_source["binance"]["rows_loaded"] == again.rows_loaded
    assert again.by_source["binance"]["windows"] == again.windows > 0
    assert_complete(lake, replica, "binance", ("BTCUSDT",))
    whole = "SELECT count(*), min(minutes) FROM calc.windows WHERE is_complete"
    assert lake.rows(whole) == [(48 * 12, 5)]
    runs = lake.rows("SELECT run_id, flow, state, rows_loaded FROM runs ORDER BY run_id")
    assert runs == [("run-1", "backfill", "Failed", 0), ("run-2", "backfill", "Completed", again.rows_loaded)]


def test_what_was_answered_is_not_asked_again_by_a_backfill_that_begins_at_another_minute(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(chunks, "PAGES", 1)
    end, five = NOW.replace(second=0), timedelta(minutes=5)
    start = end - timedelta(minutes=2200)
    told = [
        history.backfill(lake.con, lake.context, f"run-{since}", since, until, "binance", with_derive=False)
        for since, until in ((start, end - five), (start + five, end), (start - five, end))
    ]
    assert [(one.chunks_known, one.chunks, one.rows_in) for one in told] == [
        (0, 3, 2195),
        (2, 3, 5),
        (2, 3, 5),
    ]
    assert lake.one("SELECT count(*) FROM bars WHERE source = 'binance'") == 2205


@pytest.mark.capability("ING-16")
def test_a_series_added_to_the_running_platform_gets_its_configured_history_once(
    lake: Lake, replica: Replica, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(chunks, "PAGES", 1)
    monkeypatch.setattr(owing, "CHUNKS_AT_ONCE", 1)
    day = timedelta(days=1)

    def configure(*coins: str) -> None:
        sources = tuple(replace(one, history=day) for one in sources_at(replica, coins, SHARES)[:1])
        lake.context = assemble(replace(lake.context.settings, sources=sources))

    def loaded(run_id: str) -> int:
        done = load_owed(lake.con, lake.context, run_id, naive(datetime.now(UTC)))
        return sum(one.rows_loaded for one in done)

    configure("BTCUSDT")
    history.backfill(lake.con, lake.context, "first", NOW - day, None, "binance")
    configure("BTCUSDT", "ETHUSDT")
    run_minute(lake, replica)
    assert owed(lake.con, lake.context, naive(datetime.now(UTC)))["binance"][1] == ["ETHUSDT"]
    with history_turn(lake.context):
        assert loaded("others") == 0
    assert loaded("a part") > 0 < loaded("the rest")
    counted = "SELECT symbol, count(*) FROM bars GROUP BY symbol ORDER BY symbol"
    assert lake.rows(counted) == [("BTCUSDT", day // MINUTE - 1), ("ETHUSDT", day // MINUTE)]
    assert loaded("again") == 0


@pytest.mark.parametrize(("reach", "symbols"), [(1, None), (3, list(SHARES))])
def test_shares_are_owed_nothing_of_days_on_which_their_market_is_shut(
    lake: Lake, replica: Replica, reach: int, symbols: list[str] | None
):
    sunday, now = datetime(2026, 11, 22, 12), naive(datetime.now(UTC))
    fill_sessions(lake.con, lake.context, "XNYS", NOW.date(), NOW.date())
    yahoo = sources_at(replica, (), SHARES)[-1]
    configure(lake, sources=(replace(yahoo, history=timedelta(days=reach)),))
    state = literals(("yahoo", "idle", None, sunday, now, "run-1"))
    lake.con.execute(f"INSERT INTO core.source_states VALUES {state}")
    owing_now = owed(lake.con, lake.context, now)
    assert owing_now.get("yahoo", (None, None))[1] == symbols


def test_history_of_one_series_leaves_no_hole_in_another(lake: Lake):
    days_ago = NOW.replace(second=0) - timedelta(days=3)
    for symbol, start in (("BTCUSDT", days_ago), ("ETHUSDT", days_ago - timedelta(days=20))):
        history.backfill(
            lake.con, lake.context, symbol, start, start + timedelta(minutes=30), "binance", [symbol]
        )
    assert lake.rows("SELECT symbol, expected, ok FROM coverage ORDER BY 1") == [
        ("BTCUSDT", 30, 30),
        ("ETHUSDT", 30, 30),
    ]
    assert lake.rows("SELECT * FROM gaps") == []


def test_shares_come_from_bell_to_bell_with_the_first_minutes_volume(lake: Lake, replica: Replica):
    start = datetime(2026, 11, 13, tzinfo=UTC)
    brought = history.backfill(lake.con, lake.context, "run-1", start, NOW, "yahoo")
    assert (brought.problems, brought.rows_quarantined) == ([], 0)
    assert_complete(lake, replica, "yahoo", SHARES)
    assert len(held(lake, "yahoo", "SPY")) == 5 * 390 + 30
    again = history.backfill(lake.con, lake.context, "run-2", start + timedelta(minutes=5), NOW, "yahoo")
    assert (again.chunks_known, again.rows_in) == (again.chunks, 0)
    bells = lake.rows(
        "SELECT DISTINCT minute(ts), volume > 0 FROM bars WHERE hour(ts) = 14 AND minute(ts) = 30"
    )
    assert bells == [(30, True)]


def test_a_chunk_that_failed_is_asked_for_again(lake: Lake, replica: Replica):
    start = NOW.replace(second=0) - timedelta(hours=3)
    replica.fault("status", venue="binance", path="/api/v3/klines", status=503)
    failed = history.backfill(lake.con, lake.context, "run-1", start, NOW, "binance")
    assert failed.rows_loaded == 0
    assert "503" in failed.problems[0]
    replica.heal()
    assert history.backfill(lake.con, lake.context, "run-2", start, NOW, "binance").rows_loaded == 180
    assert_complete(lake, replica, "binance", ("BTCUSDT",))


def test_history_behind_the_live_minute_joins_it_without_a_seam(lake: Lake, replica: Replica):
    configure(lake, sources=sources_at(replica, ("BTCUSDT",))[:1])
    run_minute(lake, replica)
    history.backfill(
        lake.con, lake.context, "run-2", NOW.replace(second=0) - timedelta(hours=6), NOW, "binance"
    )
    assert_complete(lake, replica, "binance", ("BTCUSDT",))
    assert lake.one("SELECT max(revision) FROM bars") == 1
    returns = lake.rows(
        "SELECT count(*), count(ret_log) FROM calc.windows WHERE source = 'binance' AND interval = '5m'"
    )
    assert returns == [(72, 71)]


def test_a_hole_too_old_for_the_healer_is_looked_for_in_the_archive(lake: Lake, replica: Replica):
    start = NOW.replace(hour=9, minute=0, second=0) - timedelta(days=40)
    gone, until = start + timedelta(minutes=30), start + timedelta(hours=3)
    hole = {"from": gone.isoformat(), "to": (gone + timedelta(minutes=18)).isoformat()}
    replica.fault("missing_minutes", venue="binance", **hole)
    broken = replica.fault("truncated", venue="binance_bulk", path="*.zip")

    def gaps() -> list[tuple[Any, ...]]:
        return lake.rows("SELECT from_ts, minutes, state, origin, reason FROM gaps")

    first = history.backfill(lake.con, lake.context, "run-1", start, until, "binance")
    assert (first.rows_loaded, len(first.problems)) == (162, 1)
    assert gaps() == [(naive(gone), 18, "open", None, "no bar came")]
    absent = replica.fault("status", venue="binance_bulk", status=404)
    replica.app.faults.remove(broken)
    second = history.backfill(lake.con, lake.context, "run-2", start, until, "binance")
    assert (second.rows_loaded, second.chunks_known, second.problems) == (0, second.chunks, [])
    words = "binance answered without them; binance_bulk answered without them"
    assert gaps() == [(naive(gone), 18, "lost", None, words)]
    replica.app.faults.remove(absent)
    lake.con.execute("DELETE FROM calc.gap_events")
    third = history.backfill(lake.con, lake.context, "run-3", start, until, "binance")
    assert (third.rows_loaded, gaps()) == (18, [])
    origins = "SELECT origin, count(*) FROM bars GROUP BY 1 ORDER BY 1"
    assert lake.rows(origins) == [("backfill", 162), ("heal", 18)]
    assert lake.one("SELECT count(*) FROM core.ledger ANTI JOIN core.derived USING (batch_id)") == 0


def test_what_cannot_be_asked_for_is_said(lake: Lake):
    with pytest.raises(TapewatchError, match="there are binance, yahoo"):
        history.backfill(lake.con, lake.context, "run-1", NOW - timedelta(days=1), NOW, "binanse")
    with pytest.raises(TapewatchError, match="nothing to backfill"):
        history.backfill(lake.con, lake.context, "run-1", NOW + timedelta(days=1), None, "binance")


@pytest.mark.capability("ING-13")
def test_bars_of_another_width_are_kept_as_given(lake: Lake, tmp_path: Path):
    stamps = [datetime(2024, 3, 1) + timedelta(minutes=15 * n) for n in range(4)]
    frame = pl.DataFrame({"ts": stamps, "open": 1.0, "high": 3.0, "low": 0.5, "close": 2.0, "volume": 7.0})
    frame.write_parquet(tmp_path / "quarters.parquet")
    brought = import_file(
        lake.con, lake.context, "run-1", tmp_path / "quarters.parquet", "mine", "ABC", "15m"
    )
    assert (brought.rows_good, brought.rows_loaded) == (4, 4)
    found = lake.rows("SELECT interval, ts, close, volume FROM ohlcv WHERE source = 'mine' ORDER BY ts")
    assert found == [("15m", ts, 2.0, 7.0) for ts in stamps]
    assert lake.one("SELECT count(*) FROM bars WHERE source = 'mine'") == 0
    assert lake.rows("SELECT flow, state, rows_in, rows_loaded FROM runs") == [("import", "Completed", 4, 4)]


def test_two_files_of_a_series_leave_the_days_between_them_alone(lake: Lake, tmp_path: Path):
    for day in ("01", "04", "04"):
        rows = [f"2024-03-{day}T12:0{minute}:00Z,1,3,1,2,9" for minute in (0, 1, 5)]
        (tmp_path / "bars.csv").write_text("\n".join(["ts,open,high,low,close,volume", *rows]))
        import_file(lake.con, lake.context, day, tmp_path / "bars.csv", "mine", "ABC", "1m")
    days = "SELECT day::VARCHAR, expected, ok, no_trade FROM coverage WHERE source = 'mine' ORDER BY 1"
    assert lake.rows(days) == [("2024-03-01", 6, 3, 3), ("2024-03-04", 6, 3, 3)]
    assert lake.one("SELECT count(*) FROM core.asked WHERE source = 'mine'") == 2
    assert lake.rows("SELECT * FROM gaps") == []


def test_trades_beside_bars_leave_the_venues_own_minutes_alone(lake: Lake, tmp_path: Path):
    (tmp_path / "bars.csv").write_text("ts,open,high,low,close,volume\n2024-03-01T12:00:00Z,1,3,1,2,9\n")
    (tmp_path / "trades.csv").write_text(
        "ts,trade_id,price,qty,side\n2024-03-01T12:00:01Z,1,1.5,1,buy\n2024-03-01T12:01:01Z,2,1.6,2,sell\n"
    )
    for name, interval in (("bars.csv", "1m"), ("trades.csv", None)):
        import_file(lake.con, lake.context, name, tmp_path / name, "mine", "ABC", interval)
    found = lake.rows(
        "SELECT minute(ts), close, volume, revision FROM bars WHERE source = 'mine' ORDER BY ts"
    )
    assert found == [(0, 2.0, 9.0, 1), (1, 1.6, 2.0, 1)]


def test_a_short_pause_that_the_venue_asks_for_is_waited_for(lake: Lake, replica: Replica):
    replica.fault("status", venue="binance", path="/api/v3/klines", status=429, retry_after=1, count=1)
    start = NOW.replace(second=0) - timedelta(hours=3)
    brought = history.backfill(lake.con, lake.context, "run-1", start, NOW, "binance", with_derive=False)
    assert (brought.problems, brought.rows_loaded) == ([], 180)


def test_history_leaves_a_part_of_the_budget_to_the_live_minute(lake: Lake):
    (live, *_), (patient, *_) = lake.context.feeds(), lake.context.feeds(for_history=True)
    assert patient.source.client.budget.ceiling < live.source.client.budget.ceiling
    assert patient.source.client.options.total_s > live.source.client.options.total_s


def test_the_live_minute_leaves_history_to_whoever_loads_it(lake: Lake, replica: Replica):
    start = NOW.replace(second=0) - timedelta(days=1)
    configure(lake, sources=sources_at(replica, ("BTCUSDT",))[:1])
    history.backfill(lake.con, lake.context, "run-1", start, NOW, "binance", with_derive=False)
    run_minute(lake, replica)
    assert (
        lake.one("SELECT count(*) FROM calc.windows WHERE source = 'binance' AND ts < '2026-11-20 13:00'")
        == 0
    )
    with history_turn(lake.context):
        derive_abandoned(lake.con, lake.context, "run-2")
    assert (
        lake.one("SELECT count(*) FROM calc.windows WHERE source = 'binance' AND ts < '2026-11-20 13:00'")
        == 0
    )
    derive_abandoned(lake.con, lake.context, "run-3")
    assert lake.one("SELECT count(*) FROM calc.windows WHERE source = 'binance'") == 24 * 12


def test_history_derived_part_by_part_is_what_it_is_at_once(
    lake: Lake, replica: Replica, monkeypatch: pytest.MonkeyPatch
):
    configure(lake, windows=Windows(intervals=("5m", "1h")))
    start, symbols = NOW.replace(second=0) - timedelta(hours=30), ["BTCUSDT", "ETHUSDT", "ZENUSDT"]
    values = "SELECT * EXCLUDE (run_id) FROM calc.{} ORDER BY ALL"
    tables = ("windows", "indicators", "volume_baseline")
    found = []
    for rows in (10_000, 1):
        monkeypatch.setattr(deriving, "ROWS_A_PART", rows)
        history.backfill(lake.con, lake.context, f"run-{rows}", start, NOW, "binance", symbols)
        found.append([lake.rows(values.format(table)) for table in tables])
        assert lake.one("SELECT count(*) FROM core.ledger ANTI JOIN core.derived USING (batch_id)") == 0
        with transaction(lake.con, lake.context.location):
            for table in (
                "calc.windows",
                "calc.indicators",
                "calc.volume_baseline",
                "calc.anomalies",
                "core.derived",
            ):
                lake.con.execute(f"DELETE FROM {table}")
    assert found[0] == found[1]
    assert all(found[0])


def test_the_minute_takes_a_batch_of_history_only_when_its_loader_is_long_gone(
    lake: Lake, replica: Replica, monkeypatch: pytest.MonkeyPatch
):
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    start = NOW.replace(second=0) - timedelta(hours=9)
    fill_sessions(lake.con, lake.context, "XNYS", NOW.date(), NOW.date())
    with monkeypatch.context() as patch:
        patch.setattr("pipelines.ingest.load_bars", killed)
        with pytest.raises(KeyboardInterrupt):
            history.backfill(lake.con, lake.context, "run-1", start, NOW, "binance")
    run_minute(lake, replica)
    assert lake.one("SELECT count(*) FROM bars WHERE source = 'binance'") < 100
    [left] = lake.context.landing.glob("binance/backfill/*/*.zst")
    os.utime(left, (0, 0))
    replica.clock.advance(60)
    run_minute(lake, replica)
    assert lake.one("SELECT count(*) FROM bars WHERE source = 'binance'") > 500
