"""Gaps are found, asked for by every way, and either healed or admitted."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from flows import history
from flows.covering import run_covering
from flows.healing import run_heal
from flows.trading_days import fill_sessions
from pipelines.market import naive
from pipelines.replica.server import Replica
from pipelines.settings_sections import Windows
from pipelines.settings_sources import Source
from pipelines.trade_minutes import OWN
from tests.lakes import Lake, bars_of, new_lake
from tests.test_ingest import NOW, assert_complete, run_minute

FROM, TO = datetime(2026, 11, 20, 14, 20), datetime(2026, 11, 20, 14, 38)
HOLE = {"from": "2026-11-20T14:20:00Z", "to": "2026-11-20T14:38:00Z"}
COIN = ("BTCUSDT",)


@pytest.fixture
def replica() -> Iterator[Replica]:
    with Replica(now=NOW, speed=0, seed=7) as running:
        yield running


@pytest.fixture
def make(replica: Replica, tmp_path: Path) -> Iterator[Any]:
    made: list[Lake] = []

    def lake(
        name: str = "binance",
        symbols: tuple[str, ...] = COIN,
        windows: tuple[str, ...] = ("5m",),
        **more: Any,
    ) -> Lake:
        source = Source(name, symbols, base_url=replica.url, timeout=timedelta(seconds=1), **more)
        made.append(new_lake(tmp_path, sources=(source,), windows=Windows(intervals=windows)))
        return made[0]

    yield lake
    for one in made:
        one.con.close()


def gaps(lake: Lake) -> list[tuple[Any, ...]]:
    return lake.rows("SELECT from_ts, to_ts, minutes, state, origin FROM gaps ORDER BY from_ts")


def heal(lake: Lake, **more: Any) -> Any:
    return run_heal(lake.context, lake.con, "run-heal", **more)


def assert_every_minute_has_one_state(lake: Lake) -> None:
    states = "ok + no_trade + missing + healed + lost + late"
    assert lake.one(f"SELECT count(*) FROM coverage WHERE expected <> {states}") == 0
    assert lake.one("SELECT count(*) FROM coverage") > 0


@pytest.mark.capability("M6")
@pytest.mark.capability("ING-05")
def test_a_feed_dead_for_eighteen_minutes_is_one_gap_that_its_own_venue_heals(make: Any, replica: Replica):
    lake = make()
    replica.fault("missing_minutes", venue="binance*", **HOLE)
    run_minute(lake, replica)
    before = heal(lake)
    assert (before.missing, before.came, before.still_open) == (18, {}, 18)
    assert gaps(lake) == [(FROM, TO, 18, "open", None)]
    replica.heal()
    after = heal(lake)
    assert (after.missing, after.came, after.still_open) == (18, {"binance": 18}, 0)
    assert gaps(lake) == [(FROM, TO, 18, "healed", "heal")]
    assert lake.rows("SELECT detected_at < healed_at FROM gaps") == [(True,)]
    assert lake.rows("SELECT expected, ok, healed, missing FROM coverage") == [(65, 47, 18, 0)]
    assert_complete(lake, replica, "binance", COIN)
    assert lake.one("SELECT count(*) FROM calc.windows WHERE interval = '5m' AND NOT is_complete") == 0
    assert heal(lake).missing == 0


@pytest.mark.capability("ING-11")
def test_what_the_venue_has_not_comes_from_the_fallback_until_it_has(make: Any, replica: Replica):
    lake = make(fallback=("coinbase",))
    replica.fault("missing_minutes", venue="binance*", **HOLE)
    run_minute(lake, replica)
    assert heal(lake).came == {"coinbase": 18}
    assert "18 came from coinbase, 0 without" in lake.one("SELECT detail FROM runs WHERE flow = 'heal'")
    assert gaps(lake) == [(FROM, TO, 18, "healed", "fallback")]
    whose = "SELECT venue, origin, revision, count(*) FROM bars GROUP BY ALL ORDER BY ALL"
    assert lake.rows(whose) == [("binance", "rest", 1, 47), ("coinbase", "fallback", 1, 18)]
    replica.heal()
    assert heal(lake).came == {"binance": 18}
    assert lake.rows(whose) == [("binance", "heal", 2, 18), ("binance", "rest", 1, 47)]
    assert_every_minute_has_one_state(lake)
    assert heal(lake).came == {}


def test_a_minute_made_of_trades_gives_way_to_the_kline_that_the_venue_has_corrected_meanwhile(
    make: Any, replica: Replica
):
    lake = make()
    one = {"from": "2026-11-20T14:20:00Z", "to": "2026-11-20T14:21:00Z"}
    replica.fault("missing_minutes", venue="binance*", **one)
    run_minute(lake, replica)
    made = bars_of({"ts": [FROM], "close": [70_000.0], "volume": [16.0]}, "binance", "BTCUSDT")
    lake.load(made, "stream", f"binance-stream-20261120T1421-1{OWN}")
    replica.heal()
    replica.fault("revise", venue="binance", symbol="BTCUSDT", ts=FROM.isoformat() + "Z", set={"volume": 8.0})
    assert heal(lake).came == {"binance": 1}
    kept = "SELECT volume, origin, revision FROM bars WHERE ts = TIMESTAMP '2026-11-20 14:20'"
    assert lake.rows(kept) == [(8.0, "heal", 2)]
    assert heal(lake).came == {}


def test_what_nobody_serves_any_more_comes_from_the_archive_of_that_day(make: Any, replica: Replica):
    lake = make()
    replica.fault("missing_minutes", venue="binance", **HOLE)
    run_minute(lake, replica)
    assert heal(lake).still_open == 18
    replica.clock.set(datetime(2026, 11, 21, 0, 30, 30, tzinfo=UTC))
    run_minute(lake, replica)
    assert heal(lake).came == {"binance_bulk": 18}
    assert gaps(lake) == [(FROM, TO, 18, "healed", "heal")]
    assert_complete(lake, replica, "binance", COIN)


def test_an_archive_whose_checksum_is_wrong_heals_nothing_and_is_asked_for_again(make: Any, replica: Replica):
    lake = make()
    replica.fault("missing_minutes", venue="binance", **HOLE)
    run_minute(lake, replica)
    replica.clock.set(datetime(2026, 11, 21, 0, 30, 30, tzinfo=UTC))
    run_minute(lake, replica)
    broken = replica.fault("truncated", venue="binance_bulk", path="*.zip")
    assert (heal(lake).came, gaps(lake)[0][3]) == ({}, "open")
    replica.app.faults.remove(broken)
    assert heal(lake).came == {"binance_bulk": 18}


def test_a_minute_that_no_way_brings_is_lost_with_what_each_of_them_said(make: Any, replica: Replica):
    lake = make(fallback=("coinbase", "kraken"))
    replica.fault("missing_minutes", **HOLE)
    run_minute(lake, replica)
    assert (heal(lake).lost, gaps(lake)[0][3]) == (0, "open")
    assert lake.one("SELECT count(*) FROM core.ledger ANTI JOIN core.derived USING (batch_id)") == 0
    replica.clock.advance(3600)
    run_minute(lake, replica)
    done = heal(lake)
    assert (done.lost, done.still_open) == (18, 0)
    assert gaps(lake) == [(FROM, TO, 18, "lost", None)]
    assert lake.one("SELECT reason FROM gaps") == (
        "18 of 18 minutes: binance answered without them; coinbase answered without them; "
        "kraken answered without them; binance_bulk has no such minutes"
    )
    assert lake.rows("SELECT missing, lost FROM coverage") == [(0, 18)]
    assert_every_minute_has_one_state(lake)
    found = bars_of(
        {"ts": [FROM + timedelta(minutes=n) for n in range(18)], "close": [1.0] * 18}, "binance", "BTCUSDT"
    )
    lake.load(found, "import")
    run_covering(lake.context, lake.con, "run-c", naive(datetime.now(UTC)))
    assert gaps(lake) == [(FROM, TO, 18, "healed", "import")]


def test_a_lost_hole_is_asked_for_once_a_day_for_a_week_and_healed_by_what_is_published_late(
    make: Any, replica: Replica
):
    lake = make()
    everywhere = replica.fault("missing_minutes", **HOLE)
    run_minute(lake, replica)
    replica.clock.advance(3600)
    run_minute(lake, replica)
    assert heal(lake).lost == 18
    now = datetime.now(UTC)

    def asked_in(**later: float) -> list[str]:
        before = lake.one("SELECT count(*) FROM core.ledger WHERE kind = 'heal'")
        heal(lake, now=now + timedelta(**later))
        after = lake.one("SELECT count(*) FROM core.ledger WHERE kind = 'heal'")
        return [row[0] for row in lake.rows("SELECT reason FROM gaps")] if after > before else []

    assert asked_in(hours=23) == []
    assert asked_in(hours=25) == [
        "asked again: binance answered without them; binance_bulk has no such minutes"
    ]
    assert asked_in(hours=26) == []
    # Three days on the archive of that day is there; the hole's day is out of the healer's usual sight.
    replica.fault("missing_minutes", venue="binance", **HOLE)
    replica.app.faults.remove(everywhere)
    replica.clock.advance(3 * 86400)
    run_minute(lake, replica)
    assert heal(lake, now=now + timedelta(hours=50)).came == {"binance_bulk": 18}
    assert gaps(lake) == [(FROM, TO, 18, "healed", "heal")]
    day = "SELECT expected, healed, lost, missing FROM coverage WHERE day = '2026-11-20'"
    assert [row[1:] for row in lake.rows(day)] == [(18, 0, 0)]


def test_a_venue_that_is_down_leaves_its_gaps_open(make: Any, replica: Replica):
    lake = make()
    replica.fault("missing_minutes", venue="binance*", **HOLE)
    run_minute(lake, replica)
    replica.clock.advance(7200)
    run_minute(lake, replica)
    replica.heal()
    replica.fault("outage", venue="binance*")
    done = heal(lake)
    assert (done.lost, done.still_open) == (0, 18)
    assert "503" in done.problems[0]


@pytest.mark.capability("ING-12")
def test_a_quiet_minute_of_a_venue_that_leaves_them_out_is_no_gap(make: Any, replica: Replica):
    lake = make("coinbase", ("ZEN-USDT",))
    run_minute(lake, replica)
    run_covering(lake.context, lake.con, "run-c", naive(datetime.now(UTC)))
    there = lake.one("SELECT count(*) FROM bars")
    assert there < 60
    assert gaps(lake) == []
    done = heal(lake)
    assert (done.no_trade, done.lost) == (lake.one("SELECT no_trade FROM coverage"), 0)
    assert gaps(lake) == []
    assert_every_minute_has_one_state(lake)
    assert heal(lake).missing == 0


@pytest.mark.capability("ING-12")
@pytest.mark.parametrize(("kind", "state"), [("null_rows", "no_trade"), ("missing_minutes", "lost")])
def test_a_minute_that_yahoo_lists_as_nulls_had_no_trade_and_one_that_it_withholds_is_lost(
    make: Any, replica: Replica, kind: str, state: str
):
    lake = make("yahoo", ("SPY",))
    fill_sessions(lake.con, lake.context, "XNYS", date(2026, 11, 20), date(2026, 11, 20))
    hole = {"from": "2026-11-20T14:34:00Z", "to": "2026-11-20T14:36:00Z"}
    replica.fault("missing_minutes", venue="yahoo", **hole)
    run_minute(lake, replica)
    replica.clock.advance(3600)
    run_minute(lake, replica)
    replica.heal()
    replica.fault(kind, venue="yahoo", **(hole if kind == "missing_minutes" else {"rows": 5}))
    done = heal(lake)
    assert (done.no_trade, done.lost) == ((2, 0) if state == "no_trade" else (0, 2))
    assert lake.rows(f"SELECT {state}, missing FROM coverage") == [(2, 0)]
    at = datetime(2026, 11, 20, 14, 34)
    row = (at, at + timedelta(minutes=2), 2, "lost", None)
    assert gaps(lake) == ([] if state == "no_trade" else [row])
    assert_every_minute_has_one_state(lake)


@pytest.mark.capability("M7")
def test_one_late_bar_revises_one_row_of_each_window_and_nothing_else(make: Any, replica: Replica):
    lake = make(windows=("5m", "1h"))
    one = {"from": "2026-11-20T14:21:00Z", "to": "2026-11-20T14:22:00Z"}
    replica.fault("missing_minutes", venue="binance*", **one)
    run_minute(lake, replica)
    values = "symbol, interval, ts, open, high, low, close, volume, minutes, ret_log"
    before = set(lake.rows(f"SELECT {values} FROM calc.windows"))
    replica.heal()
    assert heal(lake).came == {"binance": 1}
    after = set(lake.rows(f"SELECT {values} FROM calc.windows"))
    changed = sorted((row[1], row[2]) for row in after - before)
    assert changed == [("1h", datetime(2026, 11, 20, 14)), ("5m", datetime(2026, 11, 20, 14, 20))]
    assert len(before) == len(after)


@pytest.mark.capability("ING-15")
def test_a_half_day_expects_210_minutes_and_a_weekend_none(make: Any, replica: Replica):
    lake = make("yahoo", ("SPY",))
    replica.clock.set(datetime(2026, 11, 28, 15, 0, 30, tzinfo=UTC))
    history.backfill(lake.con, lake.context, "run-1", datetime(2026, 11, 25, tzinfo=UTC), None, "yahoo")
    days = lake.rows("SELECT day, expected, ok + no_trade FROM coverage ORDER BY day")
    assert days == [(date(2026, 11, 25), 390, 390), (date(2026, 11, 27), 210, 210)]
    assert gaps(lake) == []
