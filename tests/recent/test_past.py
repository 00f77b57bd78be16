"""What a run leaves for the next: it stands for one state of the lake, and a kill or a tear costs nothing but time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from pipelines.minute import wanted_of
from pipelines.recent import past as memory
from pipelines.recent.matrices import TS
from pipelines.settings_sections import Windows
from tests.lakes import Lake, bars_of, lake_like, new_lake
from warehouse.asked import SPAN_SCHEMA, note_asked
from warehouse.compact import compact
from warehouse.connect import transaction
from warehouse.stage import literal, literals

START = datetime(2026, 3, 9, 12)
MINUTE = timedelta(minutes=1)


@pytest.fixture(scope="module")
def two_hours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("two-hours")
    made = new_lake(folder, windows=Windows(intervals=("5m",)))
    made.load(pl.concat([minutes(0, 120), minutes(0, 120, "XYZ")]), "backfill")
    made.derive({"binance": START + 120 * MINUTE})
    made.con.close()
    return folder


@pytest.fixture
def lake(two_hours: Path, tmp_path: Path) -> Iterator[Lake]:
    """Two coins with two hours of minutes, derived."""
    made = lake_like(two_hours, tmp_path, windows=Windows(intervals=("5m",)))
    made.batches = 1
    yield made
    made.con.close()


def minutes(first: int, last: int, symbol: str = "ABC") -> pl.DataFrame:
    rows = range(first, last)
    return bars_of(
        {"ts": [START + n * MINUTE for n in rows], "close": [100.0 + n % 7 for n in rows]}, "binance", symbol
    )


def go_on(lake: Lake, minute: int, past: memory.Past | None = None) -> bool:
    """One minute; whether it was made from what is at hand."""
    came = pl.concat([minutes(minute - 3, minute + 1), minutes(minute - 3, minute + 1, "XYZ")])
    clock = {"binance": START + (minute + 1) * MINUTE}
    return lake.minute([came], clock, past or lake.past("binance")).later is not None


def recalled(lake: Lake) -> memory.Past | None:
    return memory.recall(lake.context.recent, wanted_of(lake.context.plan, ["binance"]).digest)


def newest(past: memory.Past | None) -> list[float]:
    assert past is not None
    return past.groups[0].bars["1m"].column(TS, 1 << 30)[-1].tolist()


def test_what_is_kept_grows_by_what_each_minute_brought(lake: Lake):
    for minute in (120, 121, 122):
        assert go_on(lake, minute)
        assert (
            newest(recalled(lake)) == [(START + minute * MINUTE - datetime(1970, 1, 1)).total_seconds()] * 2
        )
    assert lake.rows("SELECT DISTINCT revision, origin, vwap FROM bars WHERE ts >= '2026-03-09 14:00'") == [
        (1, "rest", None)
    ]


def test_a_run_that_is_killed_before_the_head_is_written_leaves_the_former_past(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
):
    assert go_on(lake, 120)
    before = recalled(lake)
    assert before is not None
    one = before.groups[0]

    def killed(*_: object) -> str:
        raise KeyboardInterrupt

    grown = {name: replace(part, new=part.tail(1) + 60.0) for name, part in one.bars.items()}
    later = replace(before, groups=(replace(one, bars=grown),))
    with monkeypatch.context() as patch:
        patch.setattr(memory.json, "dumps", killed)
        with pytest.raises(KeyboardInterrupt):
            memory.remember(lake.context.recent, later)
    assert newest(recalled(lake)) == newest(before)
    assert go_on(lake, 121)


@pytest.mark.parametrize("harm", ["torn", "another boot", "no folder"])
def test_what_cannot_be_trusted_is_read_from_the_lake_again(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, harm: str
):
    assert go_on(lake, 120)
    folder = lake.context.recent
    if harm == "torn":
        for path in folder.glob("*.f64"):
            path.write_bytes(path.read_bytes()[:-8])
    elif harm == "another boot":
        (tmp_path / "boot").write_text("another")
        monkeypatch.setattr(memory, "BOOT", tmp_path / "boot")
    else:
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
    assert recalled(lake) is None
    assert go_on(lake, 121)


@pytest.mark.parametrize(("until", "is_whole"), [(125, True), (124, False)])
def test_what_a_file_leaves_out_is_no_trade_only_where_the_file_tells_of_it(
    lake: Lake, until: int, is_whole: bool
):
    """A file has the minutes 120 to `until` but one; the window closes while they are at hand."""
    lake.load(minutes(120, until).filter(pl.col("ts") != START + 122 * MINUTE), "import")
    span = ("binance", "ABC", START + 120 * MINUTE, START + until * MINUTE, "import", True)
    told = pl.DataFrame([span], SPAN_SCHEMA, orient="row")
    note_asked(lake.con, lake.context.location, told, "run-1", START)
    lake.derive()
    at_hand = [
        lake.minute(
            [minutes(n - 1, n + 1, "XYZ")], {"binance": START + (n + 1) * MINUTE}, lake.past("binance")
        ).later
        for n in (120, 121, 122, 123, 124)
    ]
    assert [later is not None for later in at_hand] == [True, True, True, True, False]
    found = (
        "SELECT is_complete FROM ohlcv WHERE symbol = 'ABC' AND interval = '5m' AND ts >= '2026-03-09 14:00'"
    )
    assert lake.rows(found) == [(is_whole,)]


def test_others_who_write_bars_send_the_minute_to_the_lake_and_upkeep_does_not(lake: Lake):
    assert go_on(lake, 120)
    past = lake.past("binance")
    compact(lake.con, lake.context.location)
    with transaction(lake.con, lake.context.location):
        lake.con.execute("INSERT INTO core.releases VALUES ('x', NULL, NULL)")
    assert go_on(lake, 121, past)
    past = lake.past("binance")
    lake.load(minutes(100, 101).with_columns(close=pl.lit(99.5)), "heal")
    lake.derive()
    assert not go_on(lake, 122, past)
    assert go_on(lake, 123)


def test_a_price_that_the_minute_corrects_takes_its_spreads_along(lake: Lake):
    pair, newest = "binance-ABC~binance-XYZ", START + 120 * MINUTE
    assert go_on(lake, 120)
    fit = {"pair": pair, "interval": "1m", "fitted_at": newest, "source_y": "binance", "symbol_y": "ABC"}
    fit |= {"source_x": "binance", "symbol_x": "XYZ"}
    with transaction(lake.con, lake.context.location):
        lake.con.execute(f"INSERT INTO calc.pair_stats BY NAME SELECT {named(fit)}")
        for n in range(115, 121):
            point = {"pair": pair, "interval": "1m", "ts": START + n * MINUTE, "zscore": float(n)}
            lake.con.execute(f"INSERT INTO calc.pair_series BY NAME SELECT {named(point)}")
    known = "SELECT max(ts), count(*) FROM pair_series"
    assert go_on(lake, 121)
    assert lake.rows(known) == [(newest, 6)]
    fixed = minutes(119, 123).with_columns(
        close=pl.when(pl.col("ts") == START + 120 * MINUTE).then(107.0).otherwise("close")
    )
    work = lake.minute([fixed], {"binance": START + 123 * MINUTE}, lake.past("binance"))
    assert [change.changed.height for change in work.changes] == [1]
    assert lake.rows(known) == [(START + 119 * MINUTE, 5)]


def named(row: dict[str, object]) -> str:
    return ", ".join(f"{literal(value)} AS {name}" for name, value in row.items())


def test_a_source_that_has_brought_nothing_yet_keeps_no_other_from_going_on(lake: Lake):
    with transaction(lake.con, lake.context.location):
        lake.con.execute(f"INSERT INTO core.derived VALUES {literals((None, 'r', START, 'yahoo', START))}")
    came = minutes(117, 121)
    clocks = {"binance": START + 121 * MINUTE, "yahoo": START + 121 * MINUTE}
    assert lake.minute([came], clocks, lake.past("binance", "yahoo")).later is not None
    first = minutes(121, 122).with_columns(source=pl.lit("yahoo"))
    assert lake.minute([first], clocks, lake.past("binance", "yahoo")).later is None
    assert lake.rows("SELECT count(*) FROM core.bars WHERE source = 'yahoo'") == [(1,)]


def test_batches_of_trades_are_noted_by_the_minute_that_reads_nothing(lake: Lake):
    past = lake.past("binance")
    row = ("binance-stream-1", "binance", "stream", None, None, 5, 5, 0, 0, "", "", "r", START)
    with transaction(lake.con, lake.context.location):
        lake.con.execute(f"INSERT INTO core.ledger VALUES {literals(row)}")
    assert go_on(lake, 120, past)
    waiting = "SELECT batch_id FROM core.ledger ANTI JOIN core.derived USING (batch_id)"
    assert lake.rows(waiting) == []


def test_a_batch_that_is_there_already_is_not_loaded_again(lake: Lake):
    past = lake.past("binance")
    assert go_on(lake, 120, past)
    lake.batches -= 1
    assert not go_on(lake, 120, past)
    assert lake.rows("SELECT batch_id FROM core.ledger GROUP BY ALL HAVING count(*) > 1") == []
    assert lake.rows("SELECT count(*) FROM core.bars") == [(242,)]
