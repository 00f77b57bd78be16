"""Checks of whole tables, coverage and gaps on a real lake."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import polars as pl
import pytest

from flows.covering import run_covering, store
from flows.covering_history import Asked, cover_loaded
from flows.quality import check_whole, run_quality
from tests.warehouse.conftest import MINUTE, NOON, Lake, aware, bars, trades
from warehouse.asked import SPAN_SCHEMA, note_asked
from warehouse.connect import transaction, writer
from warehouse.stage import literals

START = datetime(2026, 3, 10, 8)


def polled(lake: Lake, clock: datetime, source: str = "binance") -> None:
    with transaction(lake.con, lake.location):
        lake.con.execute(f"INSERT INTO core.derived VALUES {literals((None, 'r', clock, source, clock))}")


def run(lake: Lake, now: datetime = NOON, run_id: str = "run-q"):
    return run_quality(lake.context, lake.con, run_id, aware(now))


def cover(lake: Lake, now: datetime = NOON, run_id: str = "run-c") -> int:
    """Coverage and gaps alone; returns how many gap events there were."""
    return run_covering(lake.context, lake.con, run_id, now).events.height


def whole(lake: Lake, now: datetime) -> dict[str, tuple[bool, str]]:
    """The checks of whole tables: name -> passed, observed."""
    rows = check_whole(lake.context, lake.con, aware(now), timedelta(hours=1), "hourly", pl.DataFrame())
    return {row["check_name"]: (row["passed"], row["observed"]) for row in rows.iter_rows(named=True)}


def feed(lake: Lake, *spans: tuple[datetime, datetime], symbol: str = "BTCUSDT", kind: str = "rest") -> None:
    """Bars of [from, to) each, known as they closed."""
    for first, end in spans:
        rows = bars(symbol, first, (end - first) // MINUTE)
        lake.load(rows, f"binance-{kind}-{symbol}-{first:%d%H%M}", kind, known_at=first + MINUTE)


def asked(lake: Lake, *spans: tuple[datetime, datetime], kind: str = "import") -> None:
    """What a file or a backfill of BTCUSDT would have noted."""
    rows = [("binance", "BTCUSDT", *span, kind, True) for span in spans]
    note_asked(lake.con, lake.location, pl.DataFrame(rows, schema=SPAN_SCHEMA, orient="row"), "run-a", NOON)


def gaps(lake: Lake) -> list[tuple]:
    return lake.rows("SELECT symbol, from_ts, to_ts, minutes, state FROM gaps ORDER BY from_ts")


def at(hour: int, minute: int) -> datetime:
    return START.replace(hour=hour, minute=minute)


def test_a_clean_hour_passes_every_check(lake):
    feed(lake, (START, NOON))
    lake.load_trades(trades(start=NOON - MINUTE), "binance-stream-1")
    polled(lake, NOON)
    done = run(lake)
    failed = lake.rows("SELECT check_name, observed FROM quality WHERE NOT passed AND severity = 'critical'")
    assert (failed, done.critical, done.gaps) == ([], 0, 0)
    assert done.checks == lake.one("SELECT count(*) FROM quality WHERE run_id = 'run-q'") > 40
    names = {name for (name,) in lake.rows("SELECT check_name FROM quality")}
    assert {
        "bars: key unique",
        "bars binance: covered",
        "bars binance: fresh",
        "trades: price range",
    } <= names
    assert lake.rows("SELECT flow, state FROM runs") == [("quality", "Completed")]


@pytest.mark.capability("M6")
def test_a_feed_dead_for_eighteen_minutes_is_one_gap_that_heals(lake):
    feed(lake, (START, at(10, 0)), (at(10, 18), NOON))
    polled(lake, NOON)
    cover(lake)
    assert gaps(lake) == [("BTCUSDT", at(10, 0), at(10, 18), 18, "open")]
    assert lake.rows("SELECT day, expected, ok, missing FROM coverage") == [(date(2026, 3, 10), 240, 222, 18)]
    feed(lake, (at(10, 0), at(10, 5)), kind="heal")
    cover(lake, NOON + MINUTE)
    assert gaps(lake)[0][-1] == "healing"
    feed(lake, (at(10, 5), at(10, 18)), kind="heal")
    events = cover(lake, NOON + 2 * MINUTE)
    assert gaps(lake) == [("BTCUSDT", at(10, 0), at(10, 18), 18, "healed")]
    assert (events, cover(lake, NOON + 3 * MINUTE)) == (1, 0)
    assert lake.rows("SELECT ok, healed, missing FROM coverage") == [(222, 18, 0)]


@pytest.mark.capability("M6")
def test_a_gap_that_grows_stays_one_row(lake):
    feed(lake, (START, at(10, 0)))
    for hour, minute in ((10, 30), (10, 45)):
        polled(lake, at(hour, minute))
        cover(lake, at(hour, minute))
    assert gaps(lake) == [("BTCUSDT", at(10, 0), at(10, 43), 43, "open")]


@pytest.mark.capability("ING-12")
def test_imported_history_has_no_gaps_only_minutes_without_a_trade(lake):
    feed(lake, (START, at(9, 0)), (at(10, 0), NOON), kind="import")
    asked(lake, (START, NOON))
    polled(lake, NOON)
    assert cover(lake) == 0
    assert lake.rows("SELECT ok, no_trade, missing FROM coverage") == [(180, 60, 0)]


@pytest.mark.parametrize("kind", ["backfill", "import"])
def test_what_nobody_asked_for_between_history_and_the_live_feed_is_no_hole(lake, kind):
    days_ago = START - timedelta(days=5)
    feed(lake, (days_ago, days_ago + timedelta(hours=2)), kind=kind)
    asked(lake, (days_ago, days_ago + timedelta(hours=2)), kind=kind)
    feed(lake, (at(9, 0), at(9, 30)), (at(9, 40), NOON))
    polled(lake, NOON)
    cover(lake)
    assert gaps(lake) == [("BTCUSDT", at(9, 40) - 10 * MINUTE, at(9, 40), 10, "open")]
    assert lake.rows("SELECT day, expected, ok, missing FROM coverage") == [(date(2026, 3, 10), 180, 170, 10)]


def test_an_old_hole_in_a_span_that_was_asked_for_makes_no_hole_of_the_time_behind_it(lake):
    days_ago = START - timedelta(days=5)
    hole = (days_ago + timedelta(minutes=30), days_ago + timedelta(minutes=40))
    feed(lake, (days_ago, hole[0]), (hole[1], days_ago + timedelta(hours=2)), kind="backfill")
    asked(lake, (days_ago, days_ago + timedelta(hours=2)), kind="backfill")
    feed(lake, (at(9, 0), NOON))
    polled(lake, NOON)
    with writer(lake.location):
        told = cover_loaded(lake.context, lake.con, "binance", hole[0].date(), hole[1].date(), Asked(NOON))
        store(lake.context, lake.con, told, "run-b", NOON)
    opened = [("BTCUSDT", *hole, 10, "open")]
    assert (gaps(lake), cover(lake), gaps(lake)) == (opened, 0, opened)
    days = "SELECT day, expected, missing FROM coverage ORDER BY day"
    assert lake.rows(days) == [(hole[0].date(), 120, 10), (date(2026, 3, 10), 180, 0)]


def test_a_watched_series_whose_live_feed_never_came_lacks_what_history_ends_before(lake):
    feed(lake, (START, at(9, 0)), kind="backfill")
    asked(lake, (START, at(9, 0)), kind="backfill")
    polled(lake, NOON)
    cover(lake)
    assert gaps(lake) == [("BTCUSDT", at(9, 0), NOON - 2 * MINUTE, 178, "open")]


def test_a_series_that_is_not_watched_is_not_covered(lake):
    feed(lake, (START, at(9, 0)), symbol="DOGEUSDT")
    polled(lake, NOON)
    cover(lake)
    assert lake.rows("SELECT * FROM coverage") == gaps(lake) == []


def test_states_sum_to_what_was_expected_for_every_series_and_day(lake):
    feed(lake, (START - timedelta(days=1), START), (at(8, 30), NOON))
    feed(lake, (at(9, 0), at(11, 0)), symbol="ETHUSDT")
    polled(lake, NOON)
    cover(lake)
    assert lake.rows(
        "SELECT count(*) FROM coverage WHERE ok + no_trade + missing + healed + lost + late <> expected"
    ) == [(0,)]
    assert lake.rows("SELECT symbol, day, expected, missing FROM coverage ORDER BY 1, 2") == [
        ("BTCUSDT", date(2026, 3, 9), 960, 0),
        ("BTCUSDT", date(2026, 3, 10), 720, 30),
        ("ETHUSDT", date(2026, 3, 10), 178, 58),
    ]


def test_a_doubled_row_and_a_stale_feed_fail_critically(lake):
    feed(lake, (START, at(11, 0)))
    with transaction(lake.con, lake.location):
        lake.con.execute(f"INSERT INTO core.bars SELECT * FROM core.bars WHERE ts = TIMESTAMP '{at(10, 59)}'")
    polled(lake, at(11, 30))
    told = whole(lake, at(11, 30))
    assert told["bars binance: fresh"] == (False, "1800 s behind")
    assert told["bars: key unique"] == (False, "1 rows")


def test_nothing_is_due_on_a_closed_exchange(lake):
    sunday = datetime(2026, 3, 15, 12)
    with transaction(lake.con, lake.location):
        friday = datetime(2026, 3, 13)
        row = ("XNYS", friday.date(), friday.replace(hour=13, minute=30), friday.replace(hour=20), 390, False)
        lake.con.execute(f"INSERT INTO calc.sessions VALUES {literals(row)}")
    lake.load(
        bars("SPY", friday.replace(hour=13, minute=30), 390, source="yahoo"), known_at=friday.replace(hour=20)
    )
    polled(lake, sunday, "yahoo")
    cover(lake, sunday)
    assert whole(lake, sunday)["bars yahoo: fresh"] == (True, "no minute due yet")
    assert gaps(lake) == []


def test_what_fails_is_told_with_an_example(lake):
    feed(lake, (START, NOON))
    with transaction(lake.con, lake.location):
        lake.con.execute(f"UPDATE core.bars SET high = low - 1 WHERE ts = TIMESTAMP '{at(11, 30)}'")
    polled(lake, NOON)
    run(lake)
    told = pl.DataFrame(
        lake.con.sql("SELECT failing_rows, observed FROM quality WHERE check_name = 'bars: high >= low'")
    )
    assert told["failing_rows"].to_list() == [1]
    assert "such as high" in told["observed"].item()
