"""Another venue stands in while the first is down, and makes way when it is back."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from flows.cross_venue import check_venues
from pipelines.replica.server import Replica
from pipelines.settings_sources import Source
from pipelines.sources.pairs import translate
from tests.lakes import Lake, lake_like, new_lake
from tests.test_ingest import COINS, NOW, assert_complete, run_minute
from warehouse.connect import transaction

OUTAGES: list[dict[str, Any]] = [
    {"kind": "status", "status": 503},
    {"kind": "status", "status": 451},
    {"kind": "status", "status": 418, "retry_after": 1},
    {"kind": "outage"},
    {"kind": "timeout", "path": "/api/v3/klines"},
]


@pytest.fixture
def replica() -> Iterator[Replica]:
    with Replica(now=NOW, speed=0, seed=7) as running:
        yield running


@pytest.fixture(scope="module")
def first_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one run has left."""
    folder = tmp_path_factory.mktemp("fed")
    with Replica(now=NOW, speed=0, seed=7) as replica:
        made = new_lake(folder, sources=(watched(replica),))
        run_minute(made, replica)
    made.con.close()
    return folder


@pytest.fixture
def lake(first_run: Path, replica: Replica, tmp_path: Path) -> Iterator[Lake]:
    """One run old."""
    made = lake_like(first_run, tmp_path, sources=(watched(replica),))
    yield made
    made.con.close()


def watched(replica: Replica, *fallback: str, **more: Any) -> Source:
    stand_ins = fallback or ("coinbase", "kraken")
    timeout = timedelta(seconds=0.5)
    return Source("binance", COINS, fallback=stand_ins, base_url=replica.url, timeout=timeout, **more)


def origins(lake: Lake) -> list[tuple[Any, ...]]:
    """Minute of the hour, venue, origin, revision of one coin's newest bars."""
    return lake.rows(
        "SELECT minute(ts), venue, origin, revision FROM bars WHERE symbol = 'BTCUSDT' AND ts >= '2026-11-20 14:58' ORDER BY ts"
    )


@pytest.mark.capability("ING-11")
@pytest.mark.parametrize("fault", OUTAGES, ids=["503", "451", "418", "outage", "hangs"])
def test_while_the_first_venue_is_down_the_second_fills_the_minutes_and_says_so(
    lake: Lake, replica: Replica, fault: dict[str, Any]
):
    replica.fault(venue="binance", **fault)
    replica.clock.advance(120)
    done = run_minute(lake, replica)["binance"]
    assert done.state == "fallback"
    assert done.reason.startswith("coinbase stands in for 2 of 2 symbols; binance ")
    assert origins(lake) == [
        (58, "binance", "rest", 1),
        (59, "binance", "rest", 1),
        (0, "coinbase", "fallback", 1),
        (1, "coinbase", "fallback", 1),
    ]
    [(state, reason)] = lake.rows("SELECT state, reason FROM source_states")
    assert (state, "stands in" in reason) == ("fallback", True)
    assert_complete(lake, replica, "binance", COINS)


@pytest.mark.capability("ING-11")
def test_when_it_is_back_its_own_minutes_take_the_place_of_the_others(lake: Lake, replica: Replica):
    replica.fault("outage", venue="binance")
    replica.clock.advance(60)
    run_minute(lake, replica)
    replica.heal()
    replica.clock.advance(60)
    assert run_minute(lake, replica)["binance"].state == "ok"
    assert origins(lake)[-2:] == [(0, "binance", "rest", 2), (1, "binance", "rest", 1)]
    first = (
        "SELECT venue, origin FROM bar_revisions WHERE symbol = 'BTCUSDT' AND revision = 1 AND minute(ts) = 0"
    )
    assert ("coinbase", "fallback") in lake.rows(first)


def test_who_is_alive_and_brings_nothing_new_is_stale(lake: Lake, replica: Replica):
    replica.fault(
        "missing_minutes",
        venue="binance",
        symbol="BTCUSDT",
        **{"from": "2026-11-20T15:00:00Z"},
        to="2027-01-01",
    )
    replica.clock.advance(180)
    assert run_minute(lake, replica)["binance"].state == "ok"
    replica.clock.advance(60)
    assert run_minute(lake, replica)["binance"].state == "fallback"
    assert [row[1] for row in origins(lake)] == ["binance"] * 2 + ["coinbase"] * 4
    whose = "SELECT DISTINCT venue FROM bars WHERE symbol = 'ETHUSDT'"
    assert lake.rows(whose) == [("binance",)]


def test_where_the_second_is_down_as_well_the_third_stands_in(lake: Lake, replica: Replica):
    replica.fault("outage", venue="binance")
    replica.fault("outage", venue="coinbase")
    replica.clock.advance(60)
    assert run_minute(lake, replica)["binance"].state == "fallback"
    assert origins(lake)[-1] == (0, "kraken", "fallback", 1)


def test_what_a_killed_run_left_of_a_stand_in_is_read_as_that_venue_wrote_it(
    lake: Lake, replica: Replica, monkeypatch: pytest.MonkeyPatch
):
    replica.fault("outage", venue="binance")
    replica.clock.advance(60)

    def killed(*args: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("pipelines.ingest.load_bars", killed)
        with pytest.raises(KeyboardInterrupt):
            run_minute(lake, replica)
    replica.heal()
    replica.fault("missing_minutes", venue="binance", **{"from": "2026-11-20T15:00:00Z"}, to="2027-01-01")
    run_minute(lake, replica)
    assert origins(lake)[-1] == (0, "coinbase", "fallback", 1)
    assert lake.rows("SELECT count(*) FROM quarantine") == [(0,)]


@pytest.mark.parametrize(
    ("symbol", "at", "to", "there"),
    [
        ("BTCUSDT", "binance", "coinbase", "BTC-USDT"),
        ("BTCUSDT", "binance", "kraken", "XBTUSDT"),
        ("DOGEEUR", "binance", "kraken", "XDGEUR"),
        ("XXBTZUSD", "kraken", "coinbase", "BTC-USD"),
        ("BTC-USD", "yahoo", "kraken", "XBTUSD"),
        ("ETHBTC", "binance", "kraken", "ETHXBT"),
        ("BTCUSDT", "binance", "yahoo", None),
        ("BTCUSDT", "binance_futures", "binance", None),
        ("AAPL", "yahoo", "massive", "AAPL"),
        ("AAPL", "yahoo", "coinbase", None),
        ("BTC-USD", "yahoo", "fmp", None),
    ],
)
def test_only_the_spelling_changes_never_the_currency(symbol: str, at: str, to: str, there: str | None):
    assert translate(symbol, at, to) == there
    if there:
        assert translate(there, to, at) in (symbol, "XBTUSD")


def test_a_currency_is_never_swapped(tmp_path: Path, replica: Replica):
    made = new_lake(tmp_path, sources=(watched(replica, "yahoo"),))
    replica.fault("outage", venue="binance")
    done = run_minute(made, replica)["binance"]
    assert (done.state, made.one("SELECT count(*) FROM bars")) == ("failed", 0)
    problems = made.context.feeds()[0].standbys[0].validate(["BTCUSDT"])
    assert "another currency is no substitute" in problems["BTCUSDT"]
    made.con.close()


def test_the_simulated_market_never_falls_back_on_the_real_one(lake: Lake, replica: Replica):
    [feed] = lake.context.feeds()
    assert {one.adapter.client.venue.hosts for one in feed.standbys} == {(replica.url,)}


@pytest.mark.capability("ING-11")
def test_quality_holds_the_stand_in_against_the_source_where_both_have_the_minute(
    lake: Lake, replica: Replica
):
    clocks = {"binance": NOW.replace(tzinfo=None)}
    assert list(check_venues(lake.context, lake.con, clocks)) == []
    replica.fault("outage", venue="binance")
    replica.clock.advance(60)
    run_minute(lake, replica)
    replica.heal()
    replica.clock.advance(60)
    run_minute(lake, replica)
    [check] = check_venues(lake.context, lake.con, clocks)
    assert (check.name, check.passed) == ("bars binance: agrees with coinbase", True)
    assert check.observed == "median 0.00 bps apart in 2 minutes"


def test_quality_holds_two_sources_of_the_same_coin_against_each_other(tmp_path: Path, replica: Replica):
    other = Source("kraken", ("XBTUSDT",), base_url=replica.url)
    made = new_lake(tmp_path, sources=(watched(replica), other))
    run_minute(made, replica)
    with transaction(made.con, made.context.location):
        made.con.execute("UPDATE core.bars SET close = close * 1.02 WHERE source = 'kraken'")
    [check] = check_venues(made.context, made.con, {"binance": NOW.replace(tzinfo=None)})
    assert (check.name, check.passed) == ("bars binance: agrees with kraken", False)
    assert check.observed.startswith("median 200.00 bps apart")
    made.con.close()
