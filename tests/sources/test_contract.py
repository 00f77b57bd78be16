"""What every adapter promises, held by each: on its documented payload and against the loopback exchange."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from importlib.metadata import EntryPoint
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import httpx
import orjson
import polars as pl
import pytest

from pipelines import landing, sources
from pipelines.market import BAR_SCHEMA, MINUTE, naive
from pipelines.replica.server import Replica
from pipelines.sources import BUILT_IN
from pipelines.sources.base import BarRequest, Reply, Source, SourceOptions
from pipelines.sources.kraken import Kraken
from tests.sources.plug_in import CornerShop
from tests.sources.venues import Network, chart

NOW = datetime(2026, 11, 20, 15, 0, 30, tzinfo=UTC)
BELL = datetime(2026, 11, 20, 14, 30, tzinfo=UTC)
T = 1_792_000_000 // 60 * 60
"""The second of the documented payloads' first minute: 2026-10-14 14:26 UTC, in New York 10:26."""
FIRST = datetime.fromtimestamp(T, UTC).replace(tzinfo=None)
LATE = datetime(2026, 11, 1, tzinfo=UTC)
NUMBERS = ("open", "high", "low", "close", "volume")


@pytest.fixture(scope="module")
def shared_replica() -> Iterator[Replica]:
    with Replica(now=NOW, speed=0, seed=7) as replica:
        yield replica


@pytest.fixture
def replica(shared_replica: Replica) -> Iterator[Replica]:
    yield shared_replica
    shared_replica.heal()


class SourceContract:
    """Subclasses give the facts: the adapter, two symbols, and a payload of two bars as the venue documents it."""

    adapter: ClassVar[Callable[..., Source]]
    symbols: ClassVar[tuple[str, str]] = ("AAPL", "MSFT")
    payload: ClassVar[Any]
    """Two minutes from T on: 10, 12, 9, 11 with a volume of 5, then 11, 12, 10, 10.5 with 4."""
    unknown: ClassVar[str] = "refused"
    """What becomes of a symbol nobody lists: `refused`, or `silent` where the venue just has no bars."""
    key: ClassVar[str] = ""

    def make(self, replica: Replica, **more: Any) -> Source:
        options = {"base_url": replica.url, "key": self.key, "weight_limit": 1000} | more
        return self.adapter(SourceOptions(**options), clock=lambda: NOW)

    def reply(self, body: Any, **more: Any) -> Reply:
        source = self.adapter(SourceOptions(key=self.key))
        given = {"status": 200} | more
        sent = body if isinstance(body, bytes) else orjson.dumps(body)
        return Reply(
            source.name,
            self.symbols[0],
            "/",
            {},
            given["status"],
            sent,
            NOW,
            1.0,
            NOW,
            since=LATE - timedelta(30),
        )

    def read(self, source: Source, requests: list[BarRequest]) -> tuple[pl.DataFrame, list[Any]]:
        replies, failures = source.fetch(requests)
        parsed = source.parse(replies, source.server_time())
        return parsed.bars, [*failures, *parsed.failures]

    @pytest.mark.capability("ING-04")
    def test_the_documented_payload_gives_the_same_bars_everywhere(self):
        parsed = self.adapter(SourceOptions(key=self.key)).parse([self.reply(self.payload)], LATE)
        assert (parsed.failures, parsed.rejects.height) == ([], 0)
        assert dict(parsed.bars.schema) == BAR_SCHEMA
        assert parsed.bars.select("ts", *NUMBERS, "is_closed").rows() == [
            (FIRST, 10.0, 12.0, 9.0, 11.0, 5.0, True),
            (FIRST + MINUTE, 11.0, 12.0, 10.0, 10.5, 4.0, True),
        ]

    def test_a_bar_is_open_until_its_minute_is_over(self):
        now = datetime.fromtimestamp(T + 119, UTC)
        bars = self.adapter(SourceOptions()).parse([self.reply(self.payload)], now).bars
        assert bars["is_closed"].to_list() == [True, False]

    def test_a_bad_value_costs_its_row_and_is_kept_word_for_word(self):
        spoilt = orjson.dumps(self.payload).replace(
            b"10.5", b'"ten"' if b'"10.5"' not in orjson.dumps(self.payload) else b"ten"
        )
        parsed = self.adapter(SourceOptions()).parse([self.reply(spoilt)], LATE)
        assert parsed.bars["ts"].to_list() == [FIRST]
        assert parsed.rejects["reason"].to_list() == ["not_a_number"]
        assert "ten" in parsed.rejects["payload"][0]

    @pytest.mark.parametrize(
        ("body", "reason"), [(b"<html>", "not_json"), (b'{"surprise": 1}', "wrong_shape")]
    )
    def test_an_answer_that_is_none_is_a_reject_and_a_failure(self, body: bytes, reason: str):
        parsed = self.adapter(SourceOptions()).parse([self.reply(body)], LATE)
        assert parsed.bars.height == 0
        assert [failure.reason for failure in parsed.failures] == [reason]
        assert parsed.rejects["payload"].to_list() == [body.decode()]

    def test_a_plan_covers_its_window_without_a_hole_or_an_overlap(self):
        source = self.adapter(SourceOptions())
        start = LATE - timedelta(days=40)
        parts = source.plan(self.symbols[0].lower(), start, LATE)
        assert (parts[0].since, parts[-1].until) == (start, LATE)
        assert all(one.until == following.since for one, following in pairwise(parts))
        assert source.plan(self.symbols[0], LATE, LATE) == []

    def test_what_the_exchange_serves_is_what_is_read(self, replica: Replica):
        source = self.make(replica)
        assert source.server_time() == NOW.replace(microsecond=0)
        bars, failures = self.read(source, [BarRequest(symbol.lower(), BELL, NOW) for symbol in self.symbols])
        assert failures == []
        for symbol in self.symbols:
            assert self.held(bars, symbol) == self.truth(replica, source, symbol)
        assert set(bars["source"]) == set(bars["venue"]) == {source.name}

    def test_a_window_brings_nothing_from_outside(self, replica: Replica):
        source = self.make(replica)
        bars, _ = self.read(source, [BarRequest(self.symbols[0], BELL + 5 * MINUTE, BELL + 10 * MINUTE)])
        assert naive(BELL + 5 * MINUTE) <= bars["ts"].min() <= bars["ts"].max() < naive(BELL + 10 * MINUTE)

    def test_replies_read_back_from_the_landing_zone_give_the_same(self, replica: Replica, tmp_path: Path):
        source = self.make(replica)
        replies = source.fetch([BarRequest(self.symbols[0], BELL, NOW)]).replies
        landed = landing.write(tmp_path, landing.batch_id(source.name, "rest", NOW), replies)
        read = landing.read(landed.path)
        assert not any("simulated" in str((reply.params, reply.path)) for reply in read)
        assert source.parse(read, NOW).bars.equals(source.parse(replies, NOW).bars)

    def test_a_symbol_that_nobody_lists_stops_no_other(self, replica: Replica):
        bars, failures = self.read(
            self.make(replica), [BarRequest(symbol, BELL, NOW) for symbol in ("NOPEX", self.symbols[1])]
        )
        assert bars["symbol"].unique().to_list() == [self.symbols[1]]
        assert [failure.symbol for failure in failures] == (["NOPEX"] if self.unknown == "refused" else [])

    @pytest.mark.parametrize(
        ("status", "reason"),
        [(429, "rate_limited"), (451, "blocked"), (503, "server_error"), (401, "unauthorized")],
    )
    def test_a_refusal_is_told_apart(self, replica: Replica, status: int, reason: str):
        source = self.make(replica, attempts=1)
        replica.fault("status", venue=source.name, symbol=self.symbols[0], status=status)
        replies, failures = source.fetch([BarRequest(self.symbols[0], BELL, NOW)])
        failures += source.parse(replies, NOW).failures
        assert [failure.reason for failure in failures] == [reason]

    def held(self, bars: pl.DataFrame, symbol: str) -> list[Any]:
        closed = bars.filter(pl.col("is_closed"), pl.col("symbol") == symbol)
        return closed.select(pl.col("ts").dt.epoch("s"), *NUMBERS).rows()

    def truth(self, replica: Replica, source: Source, symbol: str) -> list[Any]:
        rows = truth(replica, source.name, symbol)
        return [row for row in rows if row[-1] > 0] if source.quiet != "shown" else rows


def truth(replica: Replica, venue: str, symbol: str) -> list[tuple[Any, ...]]:
    span = {"from": BELL.isoformat(), "to": NOW.isoformat()}
    said = replica.ask("truth", venue=venue, symbol=symbol, **span)
    at = [said["columns"].index(name) for name in ("ts", *NUMBERS)]
    return [tuple(row[n] for n in at) for row in said["rows"]]


class Coins(SourceContract):
    symbols = ("BTCUSDT", "ETHUSDT")


def kline(n: int, *values: str) -> list[Any]:
    at = (T + 60 * n) * 1000
    return [at, *values[:4], values[4], at + 59_999, "50.0", 3, "1", "1", "0"]


class TestBinance(Coins):
    adapter = BUILT_IN["binance"]
    payload: ClassVar = [kline(0, "10", "12", "9", "11", "5"), kline(1, "11", "12", "10", "10.5", "4")]


class TestBinanceFutures(TestBinance):
    adapter = BUILT_IN["binance_futures"]

    def test_short_requests_cost_the_least_and_pages_are_the_cheapest_by_the_bar(self):
        network = Network(lambda request, _: httpx.Response(200, json=[]))
        source = self.adapter(SourceOptions(), network.transport)
        source.fetch(
            [BarRequest("BTCUSDT", BELL, BELL + 6 * MINUTE), BarRequest("ETHUSDT", BELL, BELL + 600 * MINUTE)]
        )
        assert sorted(int(asked.url.params["limit"]) for asked in network.requests) == [99, 499, 499]
        assert {asked.url.path for asked in network.requests} == {"/fapi/v1/klines"}

    def test_trades_come_whole_though_a_start_and_an_end_may_not_be_an_hour_apart(self, replica: Replica):
        source = self.make(replica)
        replies, failures = source.fetch_trades([BarRequest("BTCUSDT", NOW - 90 * MINUTE, NOW)])
        parsed = source.parse_trades(replies)
        assert (failures, parsed.failures, parsed.rejects.height) == ([], [], 0)
        assert parsed.trades["trade_id"].diff().drop_nulls().unique().to_list() == [1]
        assert parsed.trades["ts"].min() < naive(NOW - 89 * MINUTE)


class TestYahoo(SourceContract):
    adapter = BUILT_IN["yahoo"]
    payload: ClassVar = chart([(-60, 1.0, 1)], sessions=((T - 3600, T + 3600),))

    @pytest.fixture(autouse=True)
    def _fill(self) -> None:
        [result] = self.payload["chart"]["result"]
        result["timestamp"] = [T - 60, T, T + 60]
        values = {"open": [1, 10, 11], "high": [1, 12, 12], "low": [1, 9, 10], "close": [1, 11, 10.5]}
        result["indicators"]["quote"] = [values | {"volume": [0, 5, 4]}]


class TestCoinbase(SourceContract):
    adapter = BUILT_IN["coinbase"]
    symbols = ("BTC-USDT", "ETH-USDT")
    payload: ClassVar = [[T + 60, 10, 12, 11, 10.5, 4], [T, 9, 12, 10, 11, 5]]

    def test_the_other_hosts_shape_is_read_as_well(self, shared_data: Path):
        body = (shared_data / "payloads/coinbase/nautilus_http_candles.json").read_bytes()
        source = self.adapter(SourceOptions())
        bars = source.parse([Reply("coinbase", "BTC-USD", "/", {}, 200, body, NOW, 1.0)], LATE).bars
        assert bars.select(*NUMBERS).row(1) == (66312.4, 66331.99, 66055.14, 66181.6, 355.82896243)


class TestKraken(SourceContract):
    adapter = BUILT_IN["kraken"]
    symbols = ("XBTUSDT", "ETHUSDT")
    payload: ClassVar = {
        "error": [],
        "result": {
            "XBTUSDT": [
                [T, "10", "12", "9", "11", "10.2", "5", 3],
                [T + 60, "11", "12", "10", "10.5", "11", "4", 2],
            ],
            "last": T,
        },
    }

    def test_the_recorded_answer_holds_quiet_minutes_and_the_running_one(self, shared_data: Path):
        body = (shared_data / "payloads/kraken/nautilus_http_ohlc.json").read_bytes()
        rows = orjson.loads(body)["result"]["XBTUSDT"]
        now = datetime.fromtimestamp(rows[-1][0] + 30, UTC)
        parsed = Kraken(SourceOptions()).parse(
            [Reply("kraken", "XBTUSDT", "/", {}, 200, body, now, 1.0)], now
        )
        assert (parsed.bars.height, parsed.rejects.height) == (len(rows), 0)
        assert parsed.bars["is_closed"].to_list() == [True] * (len(rows) - 1) + [False]
        assert parsed.bars.row(0, named=True)["volume"] == 0

    def test_twelve_hours_are_all_there_is(self):
        [only] = Kraken().plan("XBTUSDT", NOW - timedelta(days=3), NOW, now=NOW)
        assert NOW - only.since < timedelta(hours=12)
        assert Kraken().plan("XBTUSDT", NOW - timedelta(days=3), NOW - timedelta(days=2), now=NOW) == []

    @pytest.mark.parametrize(
        ("said", "reason"),
        [
            ("EGeneral:Too many requests", "rate_limited"),
            ("EService:Busy", "server_error"),
            ("EGeneral:Odd", "refused"),
        ],
    )
    def test_an_error_with_status_200_is_one(self, said: str, reason: str):
        network = Network(lambda request, _: httpx.Response(200, json={"error": [said]}))
        source = Kraken(SourceOptions(attempts=1), network.transport)
        replies, failures = source.fetch([BarRequest("XBTUSDT", BELL, NOW)])
        failures += source.parse(replies, NOW).failures
        assert [failure.reason for failure in failures] == [reason]


class KeyedContract(SourceContract):
    """Beside the contract: what happens without a key, with a wrong one and with a spent quota."""

    key = "simulated"
    unknown = "silent"

    @pytest.mark.capability("OPS-10")
    @pytest.mark.parametrize(
        ("key", "reason"),
        [("", "unauthorized"), ("wrong-one", "unauthorized"), ("exhausted", "rate_limited")],
    )
    def test_a_key_that_is_missing_wrong_or_spent_is_said_and_not_asked_with_again(
        self, replica: Replica, key: str, reason: str
    ):
        before = replica.ask("requests")[self.make(replica).name]["requests"]
        source = self.make(replica, key=key, connections=1)
        replies, failures = source.fetch([BarRequest(symbol, BELL, NOW) for symbol in self.symbols])
        failures += source.parse(replies, NOW).failures
        assert sorted((failure.symbol, failure.reason) for failure in failures) == [
            (symbol, reason) for symbol in sorted(self.symbols)
        ]
        assert not any(
            "wrong-one" in failure.detail or "as exhausted" in failure.detail for failure in failures
        )
        assert replica.ask("requests")[source.name]["requests"] - before == (1 if key else 0)


class TestMassive(KeyedContract):
    adapter = BUILT_IN["massive"]
    payload: ClassVar = {
        "ticker": "AAPL",
        "resultsCount": 2,
        "status": "OK",
        "results": [
            {"t": T * 1000, "o": 10, "h": 12, "l": 9, "c": 11, "v": 5, "vw": 10.4, "n": 3},
            {
                "t": (T + 60) * 1000,
                "o": 11,
                "h": 12,
                "l": 10,
                "c": 10.5,
                "v": 4,
                "vw": 11,
                "n": 2,
                "otc": True,
            },
        ],
    }

    def test_next_url_is_followed_on_our_own_host(self, replica: Replica, monkeypatch: pytest.MonkeyPatch):
        [venue] = [one for one in replica.app.venues if one.name == "massive"]
        monkeypatch.setattr(venue, "most", 7)
        source = self.make(replica)
        bars, failures = self.read(source, [BarRequest("AAPL", BELL, NOW)])
        assert failures == []
        assert self.held(bars, "AAPL") == self.truth(replica, source, "AAPL")


class TestAlphaVantage(KeyedContract):
    adapter = BUILT_IN["alpha_vantage"]
    unknown = "refused"
    payload: ClassVar = {
        "Meta Data": {"1. Information": "Intraday (1min)", "6. Time Zone": "US/Eastern"},
        "Time Series (1min)": {
            "2026-10-14 13:47:00": dict.fromkeys(("1. open", "2. high", "3. low", "4. close"), "1")
            | {"5. volume": "1"},
        },
    }

    def test_months_of_new_york_are_asked_for_one_by_one(self):
        source = self.adapter(SourceOptions(key="k"), clock=lambda: NOW)
        parts = source.plan("IBM", datetime(2026, 9, 20, tzinfo=UTC), datetime(2026, 11, 2, tzinfo=UTC))
        assert [part.since for part in parts[1:]] == [datetime(2026, n, 1, 4, tzinfo=UTC) for n in (10, 11)]
        assert [source.call(part).params["month"] for part in parts] == ["2026-09", "2026-10", "2026-11"]


class TestFmp(KeyedContract):
    adapter = BUILT_IN["fmp"]


class TestFinage(KeyedContract):
    adapter = BUILT_IN["finage"]
    unknown = "refused"
    payload: ClassVar = {
        "symbol": "AAPL",
        "totalResults": 2,
        "results": [
            {"o": 10, "h": 12, "l": 9, "c": 11, "v": 5, "t": T * 1000},
            {"o": 11, "h": 12, "l": 10, "c": 10.5, "v": 4, "t": (T + 60) * 1000},
        ],
    }


def local(n: int) -> str:
    return datetime.fromtimestamp(T + 60 * n - 4 * 3600, UTC).strftime("%Y-%m-%d %H:%M:%S")


def numbered(*values: str) -> dict[str, str]:
    names = ("1. open", "2. high", "3. low", "4. close", "5. volume")
    return dict(zip(names, values, strict=True))


TestAlphaVantage.payload["Time Series (1min)"] = {
    local(1): numbered("11", "12", "10", "10.5", "4"),
    local(0): numbered("10", "12", "9", "11", "5"),
}
TestFmp.payload = [
    {"date": local(1), "open": 11, "low": 10, "high": 12, "close": 10.5, "volume": 4},
    {"date": local(0), "open": 10, "low": 9, "high": 12, "close": 11, "volume": 5},
]


@pytest.mark.capability("ING-14")
class TestThirdParty(SourceContract):
    """The example plug-in keeps the same contract, with a venue of its own."""

    adapter = CornerShop
    symbols = ("BTCUSDT", "ETHUSDT")
    payload: ClassVar = {"bars": [[T, 10, 12, 9, 11, 5], [T + 60, 11, 12, 10, 10.5, 4]]}

    def make(self, replica: Replica, **more: Any) -> Source:
        def shop(request: httpx.Request) -> httpx.Response:
            dated = {"Date": "Fri, 20 Nov 2026 15:00:30 GMT"}
            symbol = request.url.path.removeprefix("/bars/")
            for fault in replica.app.faults.strike("corner_shop", symbol, request.url.path, NOW.timestamp()):
                return httpx.Response(fault.params["status"], text="no")
            if symbol not in self.symbols:
                return httpx.Response(404, json={}, headers=dated)
            bars = [row for row in truth(replica, "binance", symbol) if row[-1] > 0]
            return httpx.Response(200, json={"bars": bars}, headers=dated)

        return CornerShop(SourceOptions(**more), httpx.MockTransport(shop), lambda: NOW)

    def truth(self, replica: Replica, source: Source, symbol: str) -> list[Any]:
        return [row for row in truth(replica, "binance", symbol) if row[-1] > 0]

    def test_it_is_found_by_its_entry_point(self, monkeypatch: pytest.MonkeyPatch):
        point = EntryPoint("corner_shop", "tests.sources.plug_in:CornerShop", sources.GROUP)
        monkeypatch.setattr(sources, "entry_points", lambda group: [point])
        assert sources.registry()["corner_shop"] is CornerShop
