"""One source's minutes from the replica into the lake, whatever goes wrong on the way."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from flows import history, walk
from flows.context import assemble
from flows.trading_days import fill_sessions
from pipelines import ingest
from pipelines.ingest import Ingested
from pipelines.market import naive
from pipelines.replica.server import Replica
from pipelines.settings_alerts import Rule
from pipelines.settings_sections import Windows
from pipelines.settings_sources import Source
from tests.lakes import Lake, new_lake
from warehouse.connect import transaction
from warehouse.stage import literals

NOW = datetime(2026, 11, 20, 15, 0, 30, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
COINS = ("BTCUSDT", "ETHUSDT")
SHARES = ("AAPL", "MSFT")
VALUES = ("ts", "open", "high", "low", "close", "volume")


@pytest.fixture
def replica() -> Iterator[Replica]:
    with Replica(now=NOW, speed=0, seed=7) as running:
        yield running


@pytest.fixture
def lake(replica: Replica, tmp_path: Path) -> Iterator[Lake]:
    made = new_lake(tmp_path, sources=sources_at(replica), windows=Windows(intervals=("5m",)))
    fill_sessions(made.con, made.context, "XNYS", NOW.date(), NOW.date())
    yield made
    made.con.close()


@pytest.fixture
def coins(replica: Replica, tmp_path: Path) -> Iterator[Lake]:
    """A lake of the one source, for what concerns each by itself."""
    made = new_lake(tmp_path, sources=sources_at(replica)[:1], windows=Windows(intervals=("5m",)))
    yield made
    made.con.close()


def sources_at(replica: Replica, coins: tuple[str, ...] = COINS, shares: tuple[str, ...] = SHARES):
    timeout = timedelta(seconds=1)
    return (
        Source("binance", coins, base_url=replica.url, timeout=timeout),
        Source("yahoo", shares, calendar="XNYS", base_url=replica.url, timeout=timeout),
    )


def run_minute(lake: Lake, replica: Replica) -> dict[str, ingest.Ingested]:
    """The walk without site and mail, at the replica's time; source -> what it gave."""
    number = lake.one("SELECT count(*) FROM core.source_states")
    past = lake.past(*lake.context.calendars)
    run = walk.Run(lake.context, lake.con, f"run-{number}", now_of(replica), past)
    for feed in lake.context.feeds():
        walk.ingest(run, feed)
    walk.derive_and_alert(run)
    return {one.source: one for one in run.ingested}


def now_of(replica: Replica) -> datetime:
    return datetime.fromtimestamp(replica.clock.now(), UTC)


def truth(replica: Replica, venue: str, symbol: str, since: datetime) -> list[tuple[Any, ...]]:
    said = replica.ask(
        "truth", venue=venue, symbol=symbol, **{"from": since.isoformat(), "to": now_of(replica).isoformat()}
    )
    at = [said["columns"].index(name) for name in VALUES]
    return [tuple(row[i] for i in at) for row in said["rows"]]


def held(lake: Lake, venue: str, symbol: str) -> list[tuple[Any, ...]]:
    return lake.rows(
        f"SELECT epoch(ts)::BIGINT, open, high, low, close, volume FROM bars WHERE source = '{venue}' "
        f"AND symbol = '{symbol}' ORDER BY ts"
    )


def assert_complete(lake: Lake, replica: Replica, venue: str, symbols: tuple[str, ...]) -> None:
    """Every minute since the series' first one, as the venue has it now."""
    for symbol in symbols:
        bars = held(lake, venue, symbol)
        first = datetime.fromtimestamp(bars[0][0], UTC)
        assert bars == truth(replica, venue, symbol, first)


@pytest.mark.capability("ING-01")
def test_missed_minutes_are_caught_up_from_the_watermark(lake: Lake, replica: Replica):
    run_minute(lake, replica)
    replica.clock.advance(240)
    done = run_minute(lake, replica)
    assert {name: one.state for name, one in done.items()} == {"binance": "ok", "yahoo": "ok"}
    assert done["binance"].rows_loaded == 2 * 4
    for venue, symbols in (("binance", COINS), ("yahoo", SHARES)):
        assert_complete(lake, replica, venue, symbols)
    last = lake.one("SELECT max(ts) FROM bars WHERE source = 'binance'")
    assert last == datetime(2026, 11, 20, 15, 3)


@pytest.mark.capability("STO-10")
def test_the_same_minute_again_changes_nothing(lake: Lake, replica: Replica):
    run_minute(lake, replica)
    tables = ("core.bars", "calc.windows", "calc.indicators", "core.ledger", "core.quarantine")
    before = [lake.one(f"SELECT count(*) FROM {table}") for table in tables]
    again = run_minute(lake, replica)
    assert [one.rows_loaded for one in again.values()] == [0, 0]
    assert [lake.one(f"SELECT count(*) FROM {table}") for table in tables] == before


def test_a_correction_becomes_a_revision_and_the_old_row_stays(coins: Lake, replica: Replica):
    run_minute(coins, replica)
    ts = NOW.replace(second=0) - 2 * MINUTE
    replica.fault("revise", venue="binance", symbol="BTCUSDT", ts=ts.isoformat(), factor={"volume": 3})
    replica.clock.advance(60)
    done = run_minute(coins, replica)
    assert done["binance"].rows_loaded == 2 + 1
    at = "source = 'binance' AND symbol = 'BTCUSDT' AND ts = '2026-11-20 14:58'"
    versions = coins.rows(
        f"SELECT revision, volume, replaced_at IS NULL FROM bar_revisions WHERE {at} ORDER BY 1"
    )
    assert [(number, newest) for number, _, newest in versions] == [(1, False), (2, True)]
    assert versions[1][1] == pytest.approx(3 * versions[0][1])
    assert coins.rows(f"SELECT revision FROM bars WHERE {at}") == [(2,)]
    assert_complete(coins, replica, "binance", COINS)


def test_what_a_killed_run_left_behind_is_loaded_once_by_the_next(
    coins: Lake, replica: Replica, monkeypatch: pytest.MonkeyPatch
):
    def killed(*args: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ingest, "load_bars", killed)
        with pytest.raises(KeyboardInterrupt):
            run_minute(coins, replica)
    assert coins.one("SELECT count(*) FROM bars") == 0
    replica.clock.advance(3600 * 2)
    done = run_minute(coins, replica)
    assert len(done["binance"].loads) == 2
    assert_complete(coins, replica, "binance", COINS)
    assert coins.one("SELECT min(ts) FROM bars WHERE source = 'binance'") < datetime(2026, 11, 20, 14)
    assert [len(one.loads) for one in run_minute(coins, replica).values()] == [1]
    assert coins.rows("SELECT batch_id FROM core.ledger GROUP BY ALL HAVING count(*) > 1") == []


def test_a_run_killed_in_its_one_transaction_leaves_its_payload_and_nothing_else(
    lake: Lake, replica: Replica, monkeypatch: pytest.MonkeyPatch
):
    def killed(*args: object) -> None:
        raise KeyboardInterrupt

    run_minute(lake, replica)
    replica.clock.advance(60)
    run_minute(lake, replica)
    count = "SELECT count(*), max(ts) FROM bars"
    before = lake.rows(count)
    replica.clock.advance(60)
    with monkeypatch.context() as patch:
        patch.setattr(walk.alerting, "write", killed)
        with pytest.raises(KeyboardInterrupt):
            run_minute(lake, replica)
    assert lake.rows(count) == before
    replica.clock.advance(60)
    assert len(run_minute(lake, replica)["binance"].loads) == 2
    assert_complete(lake, replica, "binance", COINS)
    assert lake.rows("SELECT batch_id FROM core.ledger GROUP BY ALL HAVING count(*) > 1") == []


@pytest.mark.parametrize(
    ("kind", "more", "said"),
    [
        ("status", {"status": 503}, "503"),
        ("status", {"status": 429, "retry_after": 30}, "429"),
        ("status", {"status": 451}, "451"),
        ("timeout", {}, "no answer"),
        ("html", {}, "html"),
    ],
)
def test_a_source_that_fails_stops_no_other_and_says_why(
    lake: Lake, replica: Replica, kind: str, more: dict[str, Any], said: str
):
    replica.fault(kind, venue="binance", path="/api/v3/klines", **more)
    done = run_minute(lake, replica)
    assert {name: one.state for name, one in done.items()} == {"binance": "failed", "yahoo": "ok"}
    assert_complete(lake, replica, "yahoo", SHARES)
    [(state, reason)] = lake.rows("SELECT state, reason FROM source_states WHERE source = 'binance'")
    assert state == "failed"
    assert said in reason.lower()
    assert held(lake, "binance", "BTCUSDT") == []


def test_after_an_outage_the_next_run_has_everything(coins: Lake, replica: Replica):
    run_minute(coins, replica)
    replica.fault("html", venue="binance", path="/api/v3/klines", status=200)
    replica.clock.advance(60)
    assert run_minute(coins, replica)["binance"].state == "failed"
    replica.heal()
    replica.clock.advance(60)
    assert run_minute(coins, replica)["binance"].state == "ok"
    assert_complete(coins, replica, "binance", COINS)
    told = coins.rows("SELECT DISTINCT payload FROM quarantine WHERE source = 'binance'")
    assert [text.startswith("<") for (text,) in told] == [True]


@pytest.mark.capability("ING-01")
def test_symbols_are_asked_for_together_at_a_slow_venue(tmp_path: Path):
    shares = ("AAPL", "MSFT", "GOOGL", "NVDA")
    with Replica(now=NOW, speed=0, latency_s=0.2) as replica:
        made = new_lake(
            tmp_path, sources=sources_at(replica, (), shares)[1:], windows=Windows(intervals=("5m",))
        )
        fill_sessions(made.con, made.context, "XNYS", NOW.date(), NOW.date())
        run_minute(made, replica)
        for symbol in shares:
            assert len(held(made, "yahoo", symbol)) == 30
        fives = "SELECT symbol, count(*) FROM ohlcv WHERE interval = '5m' AND is_complete GROUP BY symbol ORDER BY symbol"
        assert made.rows(fives) == [(symbol, 6) for symbol in sorted(shares)]
        assert replica.ask("requests")["yahoo"]["max_in_flight"] > 1
    made.con.close()


@pytest.mark.capability("ING-16")
def test_a_backfill_asks_for_several_pages_at_once_and_loads_what_one_by_one_would(
    lake: Lake, replica: Replica
):
    coins = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT")
    start = NOW.replace(second=0) - timedelta(days=7)
    patient = replace(sources_at(replica)[0], timeout=timedelta(seconds=30))
    lake.context = assemble(replace(lake.context.settings, sources=(patient,)))
    steps: list[tuple[int, int, str]] = []
    replica.app.control.latency_s = 0.02
    brought = history.backfill(
        lake.con, lake.context, "run-1", start, NOW, "binance", [coin.lower() for coin in coins],
        with_derive=False, progress=lambda *step: steps.append(step),
    )  # fmt: skip
    assert (brought.rows_loaded, brought.problems) == (4 * 7 * 1440, [])
    assert replica.ask("requests")["binance"]["max_in_flight"] > 1
    assert steps[-1][0] == steps[-1][1]
    for coin in coins:
        assert held(lake, "binance", coin) == truth(replica, "binance", coin, start)
    asked = replica.ask("requests")["binance"]["requests"]
    again = history.backfill(lake.con, lake.context, "run-2", start, NOW, "binance", coins, with_derive=False)
    assert (again.rows_loaded, again.chunks_known) == (0, again.chunks)
    assert replica.ask("requests")["binance"]["requests"] - asked <= 1


@pytest.mark.capability("ING-08")
def test_a_symbol_added_to_the_configuration_has_rows_after_the_next_run(coins: Lake, replica: Replica):
    run_minute(coins, replica)
    more = replace(coins.context.settings, sources=sources_at(replica, (*COINS, "SOLUSDT"))[:1])
    coins.context = assemble(more)
    replica.clock.advance(60)
    run_minute(coins, replica)
    assert_complete(coins, replica, "binance", (*COINS, "SOLUSDT"))


def test_a_shut_exchange_is_idle_and_not_stale(lake: Lake, replica: Replica):
    replica.clock.set(datetime(2026, 11, 21, 12, 0, 30, tzinfo=UTC))
    run = walk.Run(lake.context, lake.con, "run-1", now_of(replica))
    for feed in lake.context.feeds():
        walk.ingest(run, feed)
    assert {one.source: one.state for one in run.ingested} == {"binance": "ok", "yahoo": "idle"}
    stale = {row["source"]: row["stale_s"] for row in walk.feed_health(run).to_dicts()}
    assert stale == {"binance": 30.0, "yahoo": None}


def test_open_gaps_count_for_watched_symbols_and_none_is_zero_so_that_their_alert_ends(
    lake: Lake, replica: Replica
):
    run = walk.Run(lake.context, lake.con, "run-1", now_of(replica))
    run.ingested = [Ingested("binance", "ok", None, now_of(replica), now_of(replica))]

    def minutes_after(symbol: str, minutes: int, state: str) -> float:
        at = naive(now_of(replica))
        row = ("binance", symbol, at, at, minutes, state, "rest", None, naive(datetime.now(UTC)), "run-1")
        with transaction(lake.con, lake.context.location):
            lake.con.execute(f"INSERT INTO calc.gap_events VALUES {literals((*row, *[None] * 4))}")
        return float(walk.feed_health(run)["gap_minutes"].item())

    assert minutes_after("GONEUSDT", 7, "open") == 0
    assert minutes_after(COINS[0], 3, "open") == 3
    assert minutes_after(COINS[0], 3, "healed") == 0


@pytest.mark.capability("ALR-02")
def test_what_a_new_series_first_fetch_brings_of_the_time_before_makes_no_alert(
    replica: Replica, tmp_path: Path
):
    rules = (Rule("always", "close > 0", interval=("1m",)),)
    lake = new_lake(
        tmp_path, sources=sources_at(replica, ("BTCUSDT",))[:1], windows=Windows(intervals=()), rules=rules
    )
    run_minute(lake, replica)
    newest = lake.one("SELECT max(ts) FROM bars")
    told = "SELECT symbol, state, event_ts FROM ops.alert_events WHERE rule = 'always' ORDER BY event_ts"
    fired = [("BTCUSDT", "firing", newest + MINUTE)]
    assert lake.rows(told) == fired
    lake.context = assemble(replace(lake.context.settings, sources=sources_at(replica)[:1]))
    replica.clock.advance(60)
    run_minute(lake, replica)
    assert lake.rows(told) == [*fired, ("ETHUSDT", "firing", newest + 2 * MINUTE)]
    lake.con.close()
