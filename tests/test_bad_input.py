"""What venues and files get wrong: a clear word, the good rows loaded, the bad ones kept as they came."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from flows import walk
from flows.user_files import import_file
from pipelines import landing
from pipelines.replica.server import Replica
from tests.lakes import Lake, lake_like, new_lake
from tests.test_ingest import COINS, NOW, assert_complete, held, now_of, run_minute, sources_at

HEADER = "ts,open,high,low,close,volume,trades"
DROP = "'; DROP TABLE bars; --"
SCRIPT = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lake]:
    made = new_lake(tmp_path_factory.mktemp("files"))
    yield made
    made.con.close()


@pytest.fixture
def replica() -> Iterator[Replica]:
    with Replica(now=NOW, speed=0, seed=7) as running:
        yield running


@pytest.fixture(scope="module")
def first_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one run has left of the replica's Binance."""
    folder = tmp_path_factory.mktemp("fed")
    with Replica(now=NOW, speed=0, seed=7) as replica:
        made = new_lake(folder, sources=sources_at(replica)[:1])
        run_minute(made, replica)
    made.con.close()
    return folder


@pytest.fixture
def fed(first_run: Path, replica: Replica, tmp_path: Path) -> Iterator[Lake]:
    """A lake fed by the replica's Binance, one run old."""
    made = lake_like(first_run, tmp_path, sources=sources_at(replica)[:1])
    replica.clock.advance(60)
    yield made
    made.con.close()


def imported(lake: Lake, folder: Path, lines: list[str], symbol: str = "ABC", end: str = "\n", **more: Any):
    """The import's summary, its source, and what it put into quarantine: line -> (reason, payload)."""
    source, run_id = f"s{uuid4().hex[:8]}", str(uuid4())
    path = folder / "bars.csv"
    path.write_text("\n".join(lines) + end)
    brought = import_file(lake.con, lake.context, run_id, path, source, symbol, **more)
    bad = lake.rows(f"SELECT line, reason, payload FROM quarantine WHERE run_id = '{run_id}' ORDER BY line")
    assert {name for (name,) in lake.rows(f"SELECT file FROM quarantine WHERE run_id = '{run_id}'")} <= {
        "bars.csv"
    }
    return brought, source, {line: (reason, payload) for line, reason, payload in bad}


def loaded_minutes(lake: Lake, source: str) -> list[int]:
    found = lake.rows(f"SELECT minute(ts) FROM bars WHERE source = '{source}' ORDER BY ts")
    return [minute for (minute,) in found]


def _assert_as_received(lake: Lake, payload: str) -> None:
    """The payload stands letter by letter in one of the venue's answers."""
    landed = [path for path in lake.context.landing.rglob("*") if path.is_file()]
    assert any(payload.encode() in reply.body for path in landed for reply in landing.read(path))


@pytest.mark.capability("ING-13")
def test_impossible_bars_of_a_file_are_put_aside_word_for_word(lake: Lake, tmp_path: Path):
    ahead = f"{datetime.now(UTC) + timedelta(hours=2):%Y-%m-%dT%H:%M:00Z}"
    bad = {
        3: "2024-03-01T12:01:00Z,-100,102,-101,101,5,1",
        4: "2024-03-01T12:02:00Z,100,nan,99,101,5,1",
        5: "2024-03-01T12:03:00Z,100,98,99,101,5,1",
        6: "2024-03-01T12:04:00Z,100,102,99,101,-5,1",
        7: f"{ahead},100,102,99,101,5,1",
        8: "2024-03-01T12:05:30Z,100,102,99,101,5,1",
    }
    good = ["2024-03-01T12:00:00Z,100,102,99,101,5,1", "2024-03-01T12:09:00Z,100,102,99,101,5,1"]
    brought, source, told = imported(
        lake, tmp_path, [HEADER, good[0], *bad.values(), good[1]], interval="1m", with_derive=False
    )
    assert {line: payload for line, (_, payload) in told.items()} == bad
    reasons = {line: reason for line, (reason, _) in told.items()}
    assert reasons == {
        3: "open is not a finite number above 0",
        4: "high is missing or not a number",
        5: "high is below low",
        6: "volume is not a finite number 0 or more",
        7: "ts is in the future",
        8: "ts is not at the start of its 1m",
    }
    assert loaded_minutes(lake, source) == [0, 9]
    assert (brought.rows_in, brought.rows_good, brought.rows_quarantined) == (8, 2, 6)
    again = import_file(lake.con, lake.context, "again", tmp_path / "bars.csv", source, "ABC", "1m")
    assert (again.rows_loaded, again.rows_quarantined, again.chunks_known) == (0, 0, again.chunks)


@pytest.mark.capability("ING-12")
def test_a_minute_whose_row_was_refused_is_lost_and_not_without_a_trade(lake: Lake, tmp_path: Path):
    rows = [f"2024-03-01T12:0{n}:00Z,100,102,99,101,5,1" for n in (0, 1, 2, 3, 6)]
    spoilt = [rows[0], rows[1].replace(",101,5,1", ""), rows[2].replace("102", "nan"), *rows[3:]]
    brought, source, told = imported(lake, tmp_path, [HEADER, *spoilt], interval="1m")
    assert {line: reason for line, (reason, _) in told.items()} == {
        3: "wrong number of fields", 4: "high is missing or not a number",
    }  # fmt: skip
    assert brought.rows_timeless == 0
    counted = f"SELECT expected, ok, no_trade, missing, healed, lost FROM coverage WHERE source = '{source}'"
    assert lake.rows(counted) == [(7, 3, 2, 0, 0, 2)]
    gaps = (
        f"SELECT minute(from_ts), minute(to_ts), minutes, state, reason FROM gaps WHERE source = '{source}'"
    )
    assert lake.rows(gaps) == [(1, 3, 2, "lost", "the gate refused its row: it is in quarantine")]
    (tmp_path / "bars.csv").write_text("\n".join([HEADER, *rows]))
    import_file(lake.con, lake.context, "mended", tmp_path / "bars.csv", source, "ABC", "1m")
    assert lake.rows(counted) == [(7, 5, 2, 0, 0, 0)]
    assert lake.rows(gaps) == [(1, 3, 2, "healed", "all minutes have come")]


def complete_windows(lake: Lake, source: str, interval: str) -> list[Any]:
    return lake.rows(
        f"SELECT hour(ts) * 60 + minute(ts), minutes, is_complete FROM ohlcv WHERE source = '{source}' "
        f"AND interval = '{interval}' ORDER BY ts"
    )


@pytest.mark.capability("ING-12")
def test_a_window_is_complete_where_the_file_tells_of_all_its_minutes(lake: Lake, tmp_path: Path):
    quiet = (3, 7, 8, 13)
    rows = [
        f"2024-03-01T12:{n:02}:00Z,{'x' if n == 11 else 100},102,99,101,5,1"
        for n in range(1, 22)
        if n not in quiet
    ]
    _, source, _ = imported(lake, tmp_path, [HEADER, *rows], interval="1m")
    # The file begins at 12:01, lost 12:11, ends at 12:22: 12:05 alone is known in full, though two minutes had no trade.
    assert complete_windows(lake, source, "5m") == [
        (720, 3, False), (725, 3, True), (730, 3, False), (735, 5, True), (740, 2, False),
    ]  # fmt: skip
    whole = [row.replace("x", "100") for row in rows]
    (tmp_path / "bars.csv").write_text("\n".join([HEADER, *whole]))
    import_file(lake.con, lake.context, "mended", tmp_path / "bars.csv", source, "ABC", "1m")
    assert complete_windows(lake, source, "5m")[2] == (730, 4, True)


def test_rows_out_of_order_and_doubled_are_one_series(lake: Lake, tmp_path: Path):
    rows = [f"2024-03-01T12:0{n}:00Z,100,102,99,10{n % 2},5,1" for n in range(5)]
    contradicts = "2024-03-01T12:01:00Z,100,102,99,100.5,5,1"
    shuffled = [HEADER, rows[3], rows[0], contradicts, rows[4], rows[2], rows[2], rows[1]]
    brought, source, told = imported(lake, tmp_path, shuffled, with_derive=False)
    assert loaded_minutes(lake, source) == [0, 1, 2, 3, 4]
    # A file is one statement: it has the word that it said first.
    assert [(line, payload) for line, (_, payload) in told.items()] == [(8, rows[1])]
    assert lake.rows(f"SELECT close FROM bars WHERE source = '{source}' AND minute(ts) = 1") == [(100.5,)]
    assert brought.rows_good == 5


def test_a_file_that_was_cut_loses_its_last_line_only(lake: Lake, tmp_path: Path):
    rows = [f"2024-03-01T12:0{n}:00Z,100,102,99,101,5,1" for n in range(3)]
    _, source, told = imported(
        lake, tmp_path, [HEADER, *rows, "2024-03-01T12:03:00Z,100,10"], end="", with_derive=False
    )
    assert loaded_minutes(lake, source) == [0, 1, 2]
    assert told == {5: ("truncated line", "2024-03-01T12:03:00Z,100,10")}


@pytest.mark.parametrize("stamp", ["28488240", "474804", "1709294400000000000000"])
def test_a_time_in_a_unit_that_nobody_uses_is_not_guessed(lake: Lake, tmp_path: Path, stamp: str):
    good = ["1709294400,100,102,99,101,5,1", "1709294460,100,102,99,101,5,1"]
    bad = f"{stamp},100,102,99,101,5,1"
    _, source, told = imported(lake, tmp_path, [HEADER, *good, bad], interval="1m", with_derive=False)
    assert loaded_minutes(lake, source) == [0, 1]
    assert [(line, payload) for line, (_, payload) in told.items()] == [(4, bad)]


def test_a_bar_that_is_not_over_is_no_bar_yet(lake: Lake, tmp_path: Path):
    minute = datetime.now(UTC).replace(second=0, microsecond=0)
    stamps = [minute - timedelta(minutes=n) for n in (3, 2, -1)]
    rows = [f"{ts:%Y-%m-%dT%H:%M:%SZ},100,102,99,101,5,1" for ts in stamps]
    _, source, told = imported(lake, tmp_path, [HEADER, *rows], interval="1m", with_derive=False)
    assert len(loaded_minutes(lake, source)) == 2
    assert set(told) == {4}


@pytest.mark.parametrize("symbol", [DROP, SCRIPT])
def test_a_symbol_is_a_name_whatever_it_says(lake: Lake, tmp_path: Path, symbol: str):
    before = lake.one("SELECT count(*) FROM bars")
    rows = [f"2024-03-01T12:0{n}:00Z,100,102,99,101,5,1" for n in range(5)]
    _, source, told = imported(lake, tmp_path, [HEADER, *rows], symbol=symbol)
    assert told == {}
    assert lake.rows(f"SELECT DISTINCT symbol FROM bars WHERE source = '{source}'") == [(symbol.upper(),)]
    assert lake.rows(f"SELECT symbol FROM ohlcv WHERE source = '{source}' AND interval = '5m'") == [
        (symbol.upper(),)
    ]
    assert lake.one("SELECT count(*) FROM bars") == before + 5


def test_such_a_symbol_is_text_on_every_page(lake: Lake, tmp_path: Path):
    rows = [f"2024-03-01T12:0{n}:00Z,100,102,99,101,5,1" for n in range(5)]
    for symbol in (DROP, SCRIPT):
        imported(lake, tmp_path, [HEADER, *rows], symbol=symbol)
    walk.publish_site(walk.Run(lake.context, lake.con, "run-1", NOW), scope="full")
    pages = list(lake.context.settings.site_dir.rglob("*.html"))
    assert len(pages) > 10
    assert [page for page in pages if SCRIPT.lower() in page.read_text().lower()] == []
    names = [path.name for path in (lake.context.settings.site_dir / "symbols").iterdir()]
    assert all(
        set(name) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-")
        for name in names
    )


@pytest.mark.parametrize("kind", ["malformed", "html", "truncated"])
def test_an_answer_that_is_no_json_is_kept_and_the_others_are_loaded(fed: Lake, replica: Replica, kind: str):
    more = {"status": 200} if kind == "html" else {}
    replica.fault(kind, venue="binance", symbol="BTCUSDT", **more)
    one = run_minute(fed, replica)["binance"]
    assert (one.state, one.rows_quarantined) == ("partial", 1)
    assert "BTCUSDT" in (one.reason or "")
    [(symbol, reason, payload)] = fed.rows("SELECT symbol, reason, payload FROM quarantine")
    assert (symbol, reason) == ("BTCUSDT", "not_json")
    assert payload[0] in "<[{"
    assert_complete(fed, replica, "binance", ("ETHUSDT",))
    replica.heal()
    replica.clock.advance(60)
    run_minute(fed, replica)
    assert_complete(fed, replica, "binance", COINS)


@pytest.mark.parametrize("kind", ["negative_price", "zero_price", "nan_price", "high_below_low"])
def test_an_impossible_bar_of_a_venue_waits_for_a_better_one(fed: Lake, replica: Replica, kind: str):
    replica.fault(kind, venue="binance", symbol="BTCUSDT", rows=1)
    replica.clock.advance(60)
    one = run_minute(fed, replica)["binance"]
    assert one.rows_quarantined >= 1
    bad = fed.rows("SELECT symbol, ts, payload FROM quarantine ORDER BY seen_at LIMIT 1")
    assert [row[:2] for row in bad] == [("BTCUSDT", datetime(2026, 11, 20, 15, 1))]
    _assert_as_received(fed, bad[0][2])
    assert fed.rows("SELECT DISTINCT symbol, ts FROM quarantine") == [row[:2] for row in bad]
    assert len(held(fed, "binance", "BTCUSDT")) == len(held(fed, "binance", "ETHUSDT")) - 1
    replica.heal()
    replica.clock.advance(60)
    run_minute(fed, replica)
    assert_complete(fed, replica, "binance", COINS)


@pytest.mark.parametrize("kind", ["duplicate_rows", "out_of_order"])
def test_doubled_and_shuffled_rows_of_a_venue_are_the_same_bars(fed: Lake, replica: Replica, kind: str):
    replica.fault(kind, venue="binance", **({"rows": 4} if kind == "duplicate_rows" else {}))
    run_minute(fed, replica)
    assert_complete(fed, replica, "binance", COINS)
    assert fed.one("SELECT count(*) FROM quarantine") == 0
    assert fed.one("SELECT max(revision) FROM bars") == 1


def test_a_bar_from_the_future_is_put_aside(fed: Lake, replica: Replica):
    replica.fault("future_bar", venue="binance", symbol="BTCUSDT", minutes=10)
    run_minute(fed, replica)
    [(symbol, ts, reason, payload)] = fed.rows("SELECT symbol, ts, reason, payload FROM quarantine")
    _assert_as_received(fed, payload)
    assert (symbol, ts) == ("BTCUSDT", datetime(2026, 11, 20, 15, 10))
    assert "future" in reason
    assert_complete(fed, replica, "binance", COINS)


@pytest.mark.parametrize("seconds", [-90, 90])
def test_a_venues_clock_that_is_off_decides_what_it_has_closed_and_nothing_is_lost(
    fed: Lake, replica: Replica, seconds: int
):
    replica.fault("clock_skew", venue="binance", seconds=seconds)
    replica.clock.advance(60)
    run_minute(fed, replica)
    newest = now_of(replica).replace(tzinfo=None) + timedelta(seconds=seconds)
    assert fed.one("SELECT max(ts) FROM bars") + timedelta(minutes=1) <= newest
    replica.heal()
    replica.clock.advance(180)
    assert run_minute(fed, replica)["binance"].state == "ok"
    assert_complete(fed, replica, "binance", COINS)
    assert fed.one("SELECT count(*) FROM quarantine") == 0


def test_a_symbol_that_the_venue_does_not_know_is_named(replica: Replica, tmp_path: Path):
    lake = new_lake(tmp_path, sources=sources_at(replica, ("BTCUSDT", "NOSUCHUSDT"))[:1])
    one = run_minute(lake, replica)["binance"]
    assert one.state == "partial"
    assert "NOSUCHUSDT" in (one.reason or "")
    assert_complete(lake, replica, "binance", ("BTCUSDT",))
    lake.con.close()


def test_a_full_disk_is_said_and_costs_no_minute(
    fed: Lake, replica: Replica, monkeypatch: pytest.MonkeyPatch
):
    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    before = fed.one("SELECT count(*) FROM bars")
    with monkeypatch.context() as patch:
        patch.setattr(landing, "_seal", full)
        one = run_minute(fed, replica)["binance"]
    assert one.state == "failed"
    assert re.search(r"disk full: .* needs [\d,]+ bytes and [\d,]+ are free.* Free space", one.reason or "")
    assert list(fed.context.landing.rglob("*.tmp")) == []
    assert fed.one("SELECT count(*) FROM bars") == before
    replica.clock.advance(60)
    run_minute(fed, replica)
    assert_complete(fed, replica, "binance", COINS)


@pytest.mark.capability("OPS-03")
def test_five_mistakes_of_a_configuration_are_told_at_once_with_their_lines(tmp_path: Path):
    path = tmp_path / "tapewatch.toml"
    path.write_text(
        '[windows]\nintervals = ["5m", "7 minutes"]\n\n[[source]]\nname = "binanse"\nsymbols = []\n'
        '\n[baseline]\nsesions = 20\nmin_sessions = -1\n\n[[rule]]\nname = "r"\nwhen = "zscore >> 2"\n'
    )
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli", "--config", str(path), "config", "check"],
        capture_output=True, text=True, env=os.environ | {"TAPEWATCH_DATA_DIR": str(tmp_path / "data")}, check=False,
    )  # fmt: skip
    said = done.stdout + done.stderr
    assert done.returncode == 2
    for line in (2, 5, 9, 10, 14):
        assert f"tapewatch.toml:{line}" in said, said
    assert "binance" in said
    assert "sessions" in said
    assert "Traceback" not in said


def test_the_minute_under_way_is_not_loaded(fed: Lake, replica: Replica):
    assert now_of(replica).minute == 1
    run_minute(fed, replica)
    assert fed.one("SELECT max(ts) FROM bars") == datetime(2026, 11, 20, 15, 0)
