"""The adapters against the loopback exchanges: what is read is what the tape holds, whatever goes wrong."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pipelines.market import MINUTE, epoch_ms
from pipelines.replica.server import Replica
from pipelines.sources.base import BarRequest, Parsed, SourceBlocked, SourceOptions
from pipelines.sources.binance import Binance
from pipelines.sources.yahoo import Yahoo

NOW = datetime(2026, 11, 20, 15, 0, 30, tzinfo=UTC)
BELL = datetime(2026, 11, 20, 14, 30, tzinfo=UTC)
COINS = ["BTCUSDT", "ETHUSDT"]
SHARES = ["AAPL", "MSFT", "GOOGL", "NVDA"]


@pytest.fixture(scope="module")
def shared_replica() -> Iterator[Replica]:
    with Replica(now=NOW, speed=0, seed=7) as replica:
        yield replica


@pytest.fixture
def replica(shared_replica: Replica) -> Iterator[Replica]:
    yield shared_replica
    shared_replica.heal()


def options(replica: Replica, **more: Any) -> SourceOptions:
    return SourceOptions(base_url=replica.url, **more)


def requests(symbols: list[str], since: datetime = BELL, until: datetime = NOW) -> list[BarRequest]:
    return [BarRequest(symbol, since, until) for symbol in symbols]


def read(source: Any, asked: list[BarRequest]) -> Parsed:
    replies, failures = source.fetch(asked)
    parsed = source.parse(replies, source.server_time())
    return Parsed(parsed.bars, parsed.rejects, [*failures, *parsed.failures])


def truth(
    replica: Replica, venue: str, symbol: str, since: datetime, until: datetime
) -> list[tuple[Any, ...]]:
    said = replica.ask(
        "truth", venue=venue, symbol=symbol, **{"from": since.isoformat(), "to": until.isoformat()}
    )
    keep = [said["columns"].index(name) for name in ("ts", "open", "high", "low", "close", "volume")]
    return [tuple(row[at] for at in keep) for row in said["rows"]]


def held(bars: pl.DataFrame, symbol: str) -> list[tuple[Any, ...]]:
    closed = bars.filter(pl.col("is_closed"), pl.col("symbol") == symbol)
    return closed.select(pl.col("ts").dt.epoch("s"), "open", "high", "low", "close", "volume").rows()


@pytest.mark.capability("ING-01")
@pytest.mark.capability("ING-08")
def test_what_binance_serves_is_what_is_read(replica: Replica):
    source = Binance(options(replica))
    assert source.server_time() == NOW
    parsed = read(source, requests([symbol.lower() for symbol in COINS]))
    assert parsed.failures == []
    for symbol in COINS:
        assert held(parsed.bars, symbol) == truth(replica, "binance", symbol, BELL, NOW)
    assert parsed.bars.filter(~pl.col("is_closed"))["ts"].unique().to_list() == [
        datetime(2026, 11, 20, 15, 0)
    ]


@pytest.mark.capability("ING-01")
def test_what_yahoo_serves_is_what_is_read_from_the_bell_on(replica: Replica):
    source = Yahoo(options(replica))
    assert source.server_time() == NOW
    parsed = read(source, requests(SHARES))
    assert parsed.failures == []
    for symbol in SHARES:
        bars = held(parsed.bars, symbol)
        assert bars == truth(replica, "yahoo", symbol, BELL, NOW)
        assert len(bars) == 30


def test_yahoos_minutes_one_by_one_are_the_same_as_at_once(replica: Replica):
    source = Yahoo(options(replica))
    windows = [BELL + n * MINUTE for n in range(5)]
    each = [request for at in windows for request in requests(["AAPL"], at, at + MINUTE)]
    assert read(source, each).bars.equals(read(source, requests(["AAPL"], BELL, BELL + 5 * MINUTE)).bars)


@pytest.mark.capability("ING-12")
def test_a_minute_the_venue_does_not_have_is_not_made_up(replica: Replica):
    gone = BELL + 10 * MINUTE
    span = {"from": str(epoch_ms(gone) / 1000), "to": str(epoch_ms(gone + 3 * MINUTE) / 1000)}
    replica.fault("missing_minutes", venue="binance", **span)
    bars = read(Binance(options(replica)), requests(["BTCUSDT"])).bars
    left = bars.filter(
        pl.col("ts").is_between(gone.replace(tzinfo=None), (gone + 2 * MINUTE).replace(tzinfo=None))
    )
    assert (bars.height, left.height) == (28, 0)


@pytest.mark.capability("ING-01")
def test_few_requests_at_once_are_enough_and_polite():
    with Replica(now=NOW, speed=0, latency_s=0.05) as replica:
        assert read(Yahoo(options(replica, connections=2)), requests(SHARES)).bars["symbol"].n_unique() == 4
        assert replica.ask("requests")["yahoo"]["max_in_flight"] == 2


@pytest.mark.parametrize("kind", ["malformed", "truncated", "html"])
@pytest.mark.parametrize(("source", "symbols"), [(Binance, COINS), (Yahoo, SHARES[:2])])
def test_one_spoilt_reply_loses_no_other_symbol(replica: Replica, kind: str, source: Any, symbols: list[str]):
    replica.fault(kind, symbol=symbols[0])
    parsed = read(source(options(replica, attempts=1)), requests(symbols))
    assert parsed.bars["symbol"].unique().to_list() == [symbols[1]]
    assert {failure.symbol for failure in parsed.failures} == {symbols[0]}


@pytest.mark.parametrize("kind", ["cut", "outage"])
def test_a_trouble_of_one_moment_is_asked_again(replica: Replica, kind: str):
    replica.fault(kind, venue="binance", path="/api/v3/klines", count=1)
    parsed = read(Binance(options(replica)), requests(COINS))
    assert (parsed.failures, parsed.bars["symbol"].n_unique()) == ([], 2)


def test_a_venue_that_hangs_costs_its_time_limit_and_no_more(replica: Replica):
    replica.fault("timeout", venue="binance", path="/api/v3/klines")
    failures = Binance(options(replica, timeout_s=0.2, total_s=0.5)).fetch(requests(COINS)).failures
    assert [(failure.symbol, failure.reason) for failure in failures] == [(name, "timeout") for name in COINS]


def test_a_nan_costs_its_row(replica: Replica):
    replica.fault("nan_price", symbol="AAPL", venue="yahoo", count=1)
    parsed = read(Yahoo(options(replica)), requests(["AAPL"]))
    assert (parsed.bars.height, parsed.rejects["reason"].to_list()) == (29, ["not_a_number"])


def test_null_rows_are_no_data_yet(replica: Replica):
    replica.fault("null_rows", symbol="AAPL", venue="yahoo", rows=2)
    parsed = read(Yahoo(options(replica)), requests(["AAPL"]))
    assert (parsed.bars.height, parsed.rejects.height, parsed.failures) == (28, 0, [])


def test_a_pause_the_venue_asks_for_holds_for_the_next_process(replica: Replica, tmp_path: Path):
    state = tmp_path / "binance.json"
    replica.fault("status", venue="binance", path="/api/v3/klines", status=429, retry_after=30)
    source = Binance(options(replica, state_path=state, connections=1))
    replies, failures = source.fetch(requests(COINS))
    assert [reply.status for reply in replies] == [429]
    assert [(failure.reason, failure.retry_after_s) for failure in failures] == [("rate_limited", 30.0)]
    replica.heal()
    asked = replica.ask("requests")["binance"]["requests"]
    failures = Binance(options(replica, state_path=state)).fetch(requests(COINS)).failures
    assert {failure.reason for failure in failures} == {"circuit_open"}
    assert replica.ask("requests")["binance"]["requests"] == asked
    later = Binance(
        options(replica, state_path=state), clock=lambda: datetime.now(UTC) + timedelta(seconds=31)
    )
    assert len(later.fetch(requests(COINS)).replies) == 2


def test_a_place_that_is_not_served_is_said_and_not_asked_again(replica: Replica):
    replica.fault("status", venue="binance", status=451)
    source = Binance(options(replica))
    [failure] = read_failures(source, requests(["BTCUSDT"]))
    assert (failure.reason, failure.retryable) == ("blocked", False)
    assert "base_url" in failure.detail
    with pytest.raises(SourceBlocked, match="451"):
        Binance(options(replica)).server_time()


def read_failures(source: Any, asked: list[BarRequest]) -> list[Any]:
    replies, failures = source.fetch(asked)
    return [*failures, *source.parse(replies, NOW).failures]


def test_the_weight_limit_is_kept_before_the_venue_has_to_say_so():
    with Replica(now=NOW, speed=0, weight_limit=20) as replica:
        source = Binance(options(replica, weight_limit=20, total_s=1))
        replies, failures = source.fetch(requests([f"SIM{n:04d}USDT" for n in range(1, 13)]))
        assert {reply.status for reply in replies} == {200}
        assert {failure.reason for failure in failures} <= {"rate_budget"}
        assert len(replies) + len(failures) == 12


@pytest.mark.capability("ING-08")
def test_unknown_symbols_are_named(replica: Replica):
    assert Binance(options(replica)).validate(["btcusdt", "ETHUSDT"]) == {}
    problems = Binance(options(replica)).validate(["btcusdt", "BTCUSDX"])
    assert list(problems) == ["BTCUSDX"]
    assert list(Yahoo(options(replica)).validate(["aapl", "AAPLX"])) == ["AAPLX"]


def test_trades_come_whole_and_in_order(replica: Replica):
    source = Binance(options(replica))
    replies, failures = source.fetch_trades(requests(["BTCUSDT"], NOW - 10 * MINUTE, NOW))
    parsed = source.parse_trades(replies)
    assert (failures, parsed.failures, parsed.rejects.height) == ([], [], 0)
    ids = parsed.trades["trade_id"]
    assert len(ids) > 100
    assert ids.to_list() == list(range(ids[0], ids[0] + len(ids)))
