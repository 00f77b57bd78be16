"""What goes, what stays, and that bars are in the archive before they go."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import duckdb
import polars as pl
import pytest

from pipelines.settings_sections import Retention
from tests.warehouse.conftest import MINUTE, NOON, Lake, bars, trades
from warehouse.clocks import market_clocks
from warehouse.connect import transaction
from warehouse.errors import TapewatchError
from warehouse.retention import append, purge
from warehouse.stage import literals

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
DAYS = Retention()


def clean(lake: Lake, clock: datetime = NOON, now: datetime = NOON, days: Retention = DAYS) -> dict[str, int]:
    archive = lake.context.settings.data_dir / "archive"
    return purge(lake.con, lake.location, archive, {"binance": clock}, now, days)


def insert(lake: Lake, table: str, *rows: tuple) -> None:
    columns = [name for name, *_ in lake.rows(f"DESCRIBE {table}")]
    with transaction(lake.con, lake.location):
        for row in rows:
            lake.con.execute(
                f"INSERT INTO {table} VALUES {literals((*row, *[None] * (len(columns) - len(row))))}"
            )


@pytest.mark.capability("STO-03")
def test_a_trade_of_seven_days_and_an_hour_is_gone_one_an_hour_younger_stays(lake):
    lake.load_trades(trades(start=NOON - 7 * DAY - HOUR, count=1, first_id=1), "binance-stream-1")
    lake.load_trades(trades(start=NOON - 7 * DAY + HOUR, count=1, first_id=2), "binance-stream-2")
    assert clean(lake)["core.trades"] == 1
    assert lake.rows("SELECT trade_id FROM trades") == [(2,)]


@pytest.mark.capability("STO-04")
def test_bars_of_last_year_are_archived_by_month_and_then_deleted(lake):
    lake.load(bars(start=NOON - 366 * DAY, count=2, close=7.0))
    lake.load(bars(start=NOON - 364 * DAY, count=2))
    assert clean(lake)["core.bars"] == 2
    assert lake.one("SELECT min(ts) FROM bars") == NOON - 364 * DAY
    archived = pl.read_parquet(lake.context.settings.data_dir / "archive/bars/2025-03.parquet")
    assert archived.select("source", "symbol", "ts", "close").rows() == [
        ("binance", "BTCUSDT", NOON - 366 * DAY + i * MINUTE, 7.0) for i in range(2)
    ]


@pytest.mark.capability("STO-04")
def test_what_could_not_be_archived_is_not_deleted(lake):
    lake.load(bars(start=NOON - 366 * DAY, count=2))
    (lake.context.settings.data_dir / "archive").write_text("no folder")
    with pytest.raises((OSError, duckdb.Error, TapewatchError)):
        clean(lake)
    assert lake.one("SELECT count(*) FROM bars") == 2


def test_a_month_goes_day_by_day_and_its_archive_grows(lake):
    for day in range(4):
        lake.load(bars(start=NOON - 365 * DAY + day * DAY, count=1, close=100.0 + day))
    for day in range(3):
        clean(lake, clock=NOON + (day + 1) * DAY)
    archived = pl.read_parquet(lake.context.settings.data_dir / "archive/bars/2025-03.parquet")
    assert archived["close"].to_list() == [100.0, 101.0, 102.0]
    assert lake.one("SELECT count(*) FROM bars") == 1


@pytest.mark.capability("STO-04")
def test_a_run_killed_between_archive_and_delete_doubles_nothing(lake):
    lake.load(bars(start=NOON - 366 * DAY, count=3))
    path = lake.context.settings.data_dir / "archive/bars/2025-03.parquet"
    append(lake.con, path, "bars", "true")
    clean(lake)
    assert pl.read_parquet(path).height == 3
    assert lake.one("SELECT count(*) FROM bars") == 0


def test_a_correction_takes_its_history_into_the_archive(lake):
    old = NOON - 366 * DAY
    lake.load(bars(start=old, count=1, close=100.0))
    lake.load(bars(start=old, count=1, close=101.0), known_at=NOON + MINUTE)
    gone = clean(lake)
    assert (gone["core.bars"], gone["core.bar_revisions"]) == (1, 1)
    archive = lake.context.settings.data_dir / "archive"
    assert pl.read_parquet(archive / "bars/2025-03.parquet")["revision"].to_list() == [2]
    assert pl.read_parquet(archive / "bar_revisions/2025-03.parquet")["close"].to_list() == [100.0]


@pytest.mark.capability("STO-03")
def test_imported_history_is_kept_whatever_its_age(lake):
    lake.load(bars(start=datetime(2013, 5, 1), count=3), kind="import")
    lake.load_trades(trades(start=datetime(2013, 5, 1)), "binance-import-1", kind="import")
    assert clean(lake) == {}
    assert (lake.one("SELECT count(*) FROM bars"), lake.one("SELECT count(*) FROM trades")) == (3, 3)


def test_a_source_without_a_clock_keeps_its_facts(lake):
    lake.load(bars(start=datetime(2013, 5, 1), count=3, source="elsewhere"))
    clean(lake)
    assert lake.one("SELECT count(*) FROM bars") == 3


def test_the_sources_own_clock_decides_what_is_old(lake):
    """A replica that plays March 2023 has nothing that is old, whatever year we write."""
    playing = datetime(2023, 3, 11, 12)
    lake.load_trades(trades(start=playing - DAY), "binance-stream-1")
    lake.load(bars(start=playing - DAY))
    insert(lake, "core.source_states", ("binance", "ok", None, playing, NOON, "run-1"))
    assert market_clocks(lake.con) == {"binance": playing}
    assert clean(lake, clock=market_clocks(lake.con)["binance"]) == {}


def test_minutes_take_their_indicators_along_and_longer_windows_stay(lake):
    old = NOON - 366 * DAY
    lake.load(bars(start=old, count=2))
    with transaction(lake.con, lake.location):
        for interval in ("1m", "5m"):
            lake.con.execute(
                "INSERT INTO calc.indicators (source, symbol, interval, ts) "
                f"VALUES {literals(('binance', 'BTCUSDT', interval, old))}"
            )
    clean(lake)
    assert lake.rows("SELECT interval FROM indicators") == [("5m",)]


def test_what_the_platform_did_ages_by_the_wall_clock(lake):
    old, young = NOON - 91 * DAY, NOON - 89 * DAY
    insert(lake, "ops.runs", *[(f"r{at:%d}", "minute", at, at, at, "Completed") for at in (old, young)])
    insert(lake, "ops.latency", *[(f"r{at:%d}", "load", 1.0, 1.0, 1.0, 1, at) for at in (old, young)])
    insert(
        lake, "ops.quality", *[("s", "c", "bars", "info", True, "", "", 0, "r", at) for at in (old, young)]
    )
    quarantined = [
        (f"q{at:%d}", "binance", "X", at, "bad", "", "", None, None, "r", "b", at) for at in (old, young)
    ]
    insert(lake, "core.quarantine", *quarantined)
    assert clean(lake) == {"ops.runs": 1, "ops.latency": 1, "ops.quality": 1, "core.quarantine": 1}


def test_an_open_alert_and_an_unsent_message_stay_however_old_they_are(lake):
    old = NOON - 500 * DAY
    event = ("price", "v1", "f", "binance", "BTCUSDT", None, "1m")
    insert(
        lake,
        "ops.alert_events",
        *[
            (i, *event, state, "high", 1.0, 1.0, "{}", old, old)
            for i, state in [("a", "firing"), ("b", "resolved")]
        ],
    )
    insert(
        lake,
        "ops.outbox",
        *[(i, "mail", "g", state, 1, None, None, "{}", old) for i, state in [("a", "queued"), ("b", "sent")]],
    )
    assert clean(lake) == {"ops.alert_events": 1, "ops.outbox": 1}
    assert lake.rows("SELECT id FROM alerts") == lake.rows("SELECT id FROM deliveries") == [("a",)]


def test_the_newest_word_of_each_source_stays(lake):
    for day in (200, 150):
        insert(lake, "core.derived", (None, "r", NOON - day * DAY, "binance", NOON - day * DAY))
        insert(lake, "core.source_states", ("binance", "ok", None, None, NOON - day * DAY, "r"))
    assert clean(lake) == {"core.derived": 1, "core.source_states": 1}
    assert lake.one("SELECT max(until_ts) FROM core.progress") == NOON - 150 * DAY


def test_old_batches_go_once_they_are_derived(lake):
    for number, kind in enumerate(("rest", "rest", "import")):
        lake.load(bars(start=NOON + number * MINUTE, count=1), f"binance-{kind}-{number}", kind)
    insert(lake, "core.derived", ("binance-rest-0", "r", NOON), ("binance-import-2", "r", NOON))
    assert clean(lake, now=NOON + 100 * DAY) == {"core.ledger": 1}
    assert lake.rows("SELECT batch_id FROM ledger ORDER BY 1") == [("binance-import-2",), ("binance-rest-1",)]
    assert lake.rows("SELECT batch_id FROM core.derived") == [("binance-import-2",)]


def test_of_a_pairs_fits_the_newest_stays(lake):
    fit = ("p", "1m")
    legs = ("binance", "A", "binance", "B")
    insert(lake, "calc.pair_stats", *[(*fit, NOON - day * DAY, *legs) for day in (300, 200, 150)])
    assert clean(lake) == {"calc.pair_stats": 2}


def test_cleaning_twice_finds_nothing(lake):
    lake.load(bars(start=NOON - 400 * DAY))
    clean(lake)
    assert clean(lake) == {}


def test_days_are_settings(lake):
    lake.load_trades(trades(start=NOON - 2 * DAY, count=1), "binance-stream-1")
    assert clean(lake, days=replace(DAYS, trades_days=1)) == {"core.trades": 1}
