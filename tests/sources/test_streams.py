"""Streams read what venues really sent, and follow a venue through everything it does to a connection."""

from __future__ import annotations

import asyncio
import base64
import gzip
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pytest

from pipelines.replica.server import Replica
from pipelines.settings_sources import CAN_STREAM
from pipelines.sources.binance_stream import BinanceFuturesStream, BinanceStream
from pipelines.sources.coinbase_stream import CoinbaseStream
from pipelines.sources.feed_socket import Batching
from pipelines.sources.finage_stream import FinageStream
from pipelines.sources.fmp_stream import FmpStream
from pipelines.sources.follow import Line, Patience, lines
from pipelines.sources.kraken_stream import KrakenStream
from pipelines.sources.massive_stream import MassiveStream
from pipelines.sources.stream_registry import STREAMS, stream_of
from pipelines.sources.streams import websocket_url
from pipelines.sources.yahoo_stream import YahooStream, decode
from tests.replica.conftest import NOON


@pytest.fixture
def replica() -> Iterator[Replica]:
    with Replica(now=NOON, speed=0) as running:
        yield running


QUICK = Patience(first=0.02, longest=0.1, blocked=0.2, overlap=1.0, look=0.01)
TRADE = {"e": "aggTrade", "E": 5, "s": "BTCUSDT", "a": 7, "p": "10.5", "q": "2", "f": 3, "l": 5, "T": 1_700_000_000_123, "m": True, "M": True}  # fmt: skip


def frame(**changes: Any) -> bytes:
    return orjson.dumps({"stream": "btcusdt@aggTrade", "data": TRADE | changes})


def test_a_trade_is_read_with_aggressor_and_fills_and_unknown_keys_are_ignored():
    read = BinanceStream().parse([frame(), frame(a=8, m=False, st=1, extra={"x": [1]})])
    assert read.trades.rows() == [
        ("binance", "BTCUSDT", 7, datetime(2023, 11, 14, 22, 13, 20, 123000), 10.5, 2.0, "sell", 3, 0),
        ("binance", "BTCUSDT", 8, datetime(2023, 11, 14, 22, 13, 20, 123000), 10.5, 2.0, "buy", 3, 1),
    ]


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (b"\x00\xff\xfebinary", "not_json"),
        (b'{"stream":"btcusdt@aggTrade","data":{"e":"aggTr', "not_json"),
        (b"[1,2]", "wrong_shape"),
        (frame(p="NaN"), "not_a_number"),
        (frame(a="7"), "not_a_number"),
        (frame(a=7.5), "not_a_number"),
        (frame(T=-1), "bad_time"),
        (frame(T=10**17), "bad_time"),
        (frame(m=1), "wrong_shape"),
        (frame(s=None), "wrong_shape"),
        (frame() + b"\n" + frame(), "not_json"),
        (b'{"data":{"e":"aggTrade","s":"BTCUSDT"}}', "wrong_shape"),
    ],
)
def test_a_broken_frame_is_rejected_word_for_word_and_its_neighbours_are_kept(broken, reason):
    read = BinanceStream().parse([frame(), broken, frame(a=8)])
    assert read.trades["trade_id"].to_list() == [7, 8]
    assert read.rejects["reason"].to_list() == [reason]
    assert read.rejects["payload"].to_list() == [broken.decode("utf-8", "backslashreplace")]


def test_answers_and_other_events_are_no_trades_and_no_rejects():
    others = [
        b'{"result":null,"id":1}',
        b'{"e":"serverShutdown","E":1}',
        b'{"stream":"x","data":{"u":1,"s":"B"}}',
    ]
    read = BinanceStream().parse([*others, frame(), orjson.dumps(TRADE | {"a": 8})])
    assert (read.trades["trade_id"].to_list(), read.rejects.height, read.others) == ([7, 8], 0, 3)


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("file", "stream", "trades"),
    [
        ("BINANCE.ws.1.0", BinanceStream, 2),
        ("BINANCE_FUTURES.ws.1.0", BinanceFuturesStream, 91),
        ("COINBASE.ws.28.0.matches_ticker", CoinbaseStream, 107),
        ("KRAKEN.ws.48.0", KrakenStream, 10),
    ],
)
def test_recorded_frames_load_without_an_error(shared_data: Path, file, stream, trades):
    recorded = gzip.decompress((shared_data / "payloads" / "cryptofeed" / f"{file}.txt.gz").read_bytes())
    frames = [line.split(b": ", 1)[1] for line in recorded.splitlines()[1:] if line and b" <- " not in line]
    read = stream().parse(frames)
    assert (read.trades.height, read.rejects.height) == (trades, 0)
    assert read.trades["frame"].n_unique() + read.others == len(frames)
    assert read.trades.null_count().row(0) == (0,) * read.trades.width


MATCH = {"type": "match", "trade_id": 7, "side": "sell", "size": "2", "price": "10.5", "product_id": "BTC-USD",
         "sequence": 9, "time": "2023-11-14T22:13:20.123000Z"}  # fmt: skip
TRADED = {
    "symbol": "BTC/USD",
    "side": "buy",
    "price": 10.5,
    "qty": 2,
    "trade_id": 7,
    "timestamp": "2023-11-14T22:13:20.123Z",
}


@pytest.mark.parametrize(
    ("stream", "said", "symbol", "broken"),
    [
        (CoinbaseStream(), MATCH, "BTC-USD", {"side": "none"}),
        (CoinbaseStream(), MATCH, "BTC-USD", {"price": "1_0"}),
        (CoinbaseStream(), MATCH, "BTC-USD", {"time": "yesterday"}),
        (KrakenStream(), TRADED, "XBTUSD", {"trade_id": 1.5}),
        (KrakenStream(), TRADED, "XBTUSD", {"qty": None}),
    ],
)
def test_coinbases_makers_and_krakens_takers_are_one_side_here(stream, said, symbol, broken):
    def frame_of(**changes: Any) -> bytes:
        one = said | changes
        return orjson.dumps(one if "type" in one else {"channel": "trade", "type": "update", "data": [one]})

    read = stream.parse([b'{"type":"heartbeat","channel":"heartbeat"}', frame_of(), frame_of(**broken)])
    assert read.trades.rows() == [
        (stream.name, symbol, 7, datetime(2023, 11, 14, 22, 13, 20, 123000), 10.5, 2.0, "buy", 1, 1)
    ]
    assert (read.rejects["payload"].to_list(), read.others) == ([frame_of(**broken).decode()], 1)


@pytest.mark.parametrize(("make", "symbol"), [(CoinbaseStream, "BTC-USDT"), (KrakenStream, "XBTUSDT")])
def test_coinbase_and_kraken_are_followed_trade_by_trade(replica: Replica, make, symbol):
    async def act(line: Line, heard: Heard) -> None:
        await until(lambda: replica.streams.open and replica.streams.open[0].session.seen_ms)
        replica.clock.advance(120)
        await until(lambda: len(heard.frames) > 60)

    stream = make(replica.ws_url)
    _, heard = follow(replica, act, stream, (symbol,))
    trades = stream.parse(heard.frames).trades
    truth = replica.ask("trades", venue=stream.name, symbol=symbol, **{"from": NOON.timestamp()})["rows"]
    stored = trades.select("trade_id", "price", "qty", pl.col("side") == "sell").rows()
    assert stored == [(row[0], row[1], row[2], row[6]) for row in truth[: len(stored)]]
    assert set(trades["symbol"]) == {symbol}


MESSAGE = (
    "CgdCVEMtVVNEFQDJtEYYgPC/p9NhIgNVU0QqA0NDQzApOAFFAACgv0iqtN51VQCAu0ZdAOCrRmUAQJbDsAEOvQEAAMA/4AHGAYECAAAAAKweckGJ"
    "AgAAAMyCnFlC"
)


def test_yahoos_protobuf_is_read_field_by_field():
    fields = decode(base64.b64decode(MESSAGE))
    known = {
        1: "BTC-USD",
        2: 23140.5,
        3: 1677628800000,
        6: 41,
        7: 1,
        8: -1.25,
        9: 123456789,
        22: 7,
        23: 1.5,
        33: 4.4e11,
    }
    assert {number: fields[number] for number in known} == known


def test_what_traded_between_two_glances_is_the_growth_of_the_total():
    def glance(time_ms: int, total: int) -> bytes:
        text = b"\x0a\x04AAPL\x15\x00\x00\x80\x3f"
        for key, value in ((0x18, time_ms << 1), (0x48, total << 1)):
            text += bytes((key,)) + bytes(
                (value >> 7 * i & 127) | (128 if value >> 7 * (i + 1) else 0)
                for i in range((value.bit_length() + 6) // 7)
            )
        return orjson.dumps({"type": "pricing", "message": base64.b64encode(text).decode()})

    frames = [
        glance(1000, 100),
        glance(2000, 130),
        glance(3000, 130),
        glance(4000, 5),
        glance(5000, 9),
        b"\xff",
        b"{}",
    ]
    read = YahooStream().parse(frames, {"AAPL": 90.0})
    assert read.trades.select("trade_id", "qty").rows() == [(1000, 10.0), (2000, 30.0), (5000, 4.0)]
    assert (read.rejects.height, YahooStream().totals(frames)) == (1, {"AAPL": 9.0})
    assert YahooStream().parse(frames[:1]).trades.is_empty()


def test_whoever_may_stream_has_a_stream():
    assert set(STREAMS) == CAN_STREAM


def test_symbols_are_followed_once_and_by_as_many_connections_as_it_takes():
    assert lines(BinanceStream(), ["btcusdt", "BTCUSDT", "ETHUSDT"]) == [("BTCUSDT", "ETHUSDT")]
    assert [len(line) for line in lines(BinanceStream(), [f"S{n}USDT" for n in range(450)])] == [200, 200, 50]
    assert (
        BinanceStream("ws://h")
        .address(("BTCUSDT", "ETHUSDT"))
        .endswith("/stream?streams=btcusdt@aggTrade/ethusdt@aggTrade")
    )
    assert websocket_url("http://127.0.0.1:8900") == "ws://127.0.0.1:8900"


@dataclass
class Heard:
    """What a line has landed."""

    frames: list[bytes] = field(default_factory=list)

    def land(self, at_us: int, frames: Any) -> None:
        self.frames += frames

    @property
    def ids(self) -> list[int]:
        return BinanceStream().parse(self.frames).trades["trade_id"].to_list()


async def until(condition: Callable[[], Any], seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


def follow(
    replica: Replica,
    act: Callable[[Line, Heard], Awaitable[None]],
    stream: Any = None,
    symbols: tuple[str, ...] = ("BTCUSDT",),
) -> tuple[Line, Heard]:
    """Runs a line against the replica while `act` does things to it."""
    heard = Heard()

    async def run() -> Line:
        line = Line(
            stream or BinanceStream(replica.ws_url),
            symbols,
            heard.land,
            asyncio.Event(),
            Batching(0.001),
            QUICK,
            random.Random(1),
        )
        task = asyncio.create_task(line.run())
        await until(lambda: line.status.connections)
        await act(line, heard)
        line.stop.set()
        await task
        return line

    return asyncio.run(run()), heard


async def told(replica: Replica, heard: Heard, minutes: int = 1) -> None:
    """Market time passes until something new was heard."""
    before = len(heard.frames)
    replica.clock.advance(60 * minutes)
    await until(lambda: len(heard.frames) > before)
    await asyncio.sleep(0.1)


@pytest.mark.capability("ING-18")
@pytest.mark.parametrize(
    ("batching", "most"), [(Batching(60, 2000), 2000 // 150 + 1), (Batching(0.001, 1 << 20), 10_000)]
)
def test_frames_wait_for_company_as_long_and_as_many_as_configured(
    replica: Replica, batching: Batching, most: int
):
    batches: list[int] = []

    async def run() -> None:
        stop = asyncio.Event()
        line = Line(
            BinanceStream(replica.ws_url),
            ("BTCUSDT",),
            lambda at, frames: batches.append(len(frames)),
            stop,
            batching,
            QUICK,
        )
        task = asyncio.create_task(line.run())
        await until(lambda: line.status.connections)
        replica.clock.advance(300)
        await until(lambda: sum(batches) > 60)
        stop.set()
        await task

    asyncio.run(run())
    assert 1 < max(batches) <= most


@pytest.mark.capability("ING-05")
def test_each_failure_doubles_the_pause_and_no_two_lines_come_back_together():
    line = Line(BinanceStream(), ("BTCUSDT",), Heard().land, asyncio.Event(), Batching(), Patience())
    for failures, whole in ((1, 0.5), (2, 1.0), (3, 2.0), (6, 16.0), (7, 30.0), (40, 30.0)):
        line._failures = failures
        pauses = {line._backoff() for _ in range(20)}
        assert whole / 2 <= min(pauses) < max(pauses) <= whole


@pytest.mark.capability("ING-05")
def test_a_cut_connection_comes_back_by_itself(replica: Replica):
    async def act(line: Line, heard: Heard) -> None:
        await told(replica, heard)
        replica.fault("cut_stream", count=1)
        await until(lambda: line.status.connections == 2)
        await told(replica, heard)

    line, heard = follow(replica, act)
    assert "closed by the venue" in (line.status.reason or "")
    assert len(set(heard.ids)) == len(heard.ids) > 20


def test_an_announced_shutdown_and_old_age_are_handed_over_without_a_missing_trade(replica: Replica):
    stream = BinanceStream(replica.ws_url)
    replica.clock.set(speed=2000)

    async def act(line: Line, heard: Heard) -> None:
        await until(lambda: len(heard.frames) > 5)
        replica.fault("shutdown_stream", seconds=2, count=1)
        await until(lambda: line.status.handovers == 1)
        stream.max_age_s = 0.3
        await until(lambda: line.status.handovers == 3)
        stream.max_age_s = 1e9
        more = len(heard.frames) + 5
        await until(lambda: len(heard.frames) > more)

    line, heard = follow(replica, act, stream)
    ids = sorted(set(heard.ids))
    assert ids == list(range(ids[0], ids[-1] + 1))
    assert line.status.connections == 4


KEYED = {"massive": "", "fmp": "/fmp", "finage": "/finage"}
"""Source -> where the replica has its websocket, unless at the address its host has."""


@pytest.mark.capability("ING-04")
@pytest.mark.parametrize("name", KEYED)
def test_the_keyed_providers_stream_their_trades_and_give_none_without_a_good_key(
    replica: Replica, name: str
):
    replica.clock.set(NOON.replace(hour=15))
    began = replica.clock.now()

    async def act(line: Line, heard: Heard) -> None:
        await until(lambda: len(heard.frames) >= len(line.stream.greetings(("AAPL",))))
        replica.clock.advance(120)
        (one,) = replica.streams.open
        await until(lambda: one.session.now == replica.clock.now() and len(heard.frames) >= one.sent)

    def trades(key: str) -> pl.DataFrame:
        stream = stream_of(name, f"{replica.ws_url}{KEYED[name]}", "", key)
        assert stream
        _, heard = follow(replica, act, stream, ("AAPL",))
        read = stream.parse(heard.frames, {})
        assert read.rejects.is_empty()
        return read.trades

    found = trades("simulated")
    truth = replica.ask("trades", venue=name, symbol="AAPL", **{"from": began + 0.001, "to": began + 120.001})
    rows = [
        row[:5]
        for row in found.select("price", "qty", pl.col("ts").dt.epoch("ms"), "symbol", "source").rows()
    ]
    assert rows == [(row[1], row[2], row[5], "AAPL", name) for row in truth["rows"]]
    assert found["trade_id"].n_unique() == found.height > 5
    assert trades("wrong" if name != "finage" else "").is_empty() == (name != "finage")
    assert stream_of(name, replica.ws_url) is None or name == "finage"


@pytest.mark.parametrize(
    ("stream", "said", "broken"),
    [
        (MassiveStream(), [{"ev": "T", "sym": "MSFT", "i": "1", "p": 114.125, "s": 100, "t": 1536036818784, "q": 7, "x": 4}], {"q": "x"}),
        (FmpStream(), {"s": "msft", "t": 1536036818784000000, "type": "T", "lp": 114.125, "ls": 100, "ap": 1}, {"t": -1}),
        (FinageStream(), {"s": "MSFT", "p": "114.125", "t": 1536036818784, "v": "100", "dc": "0"}, {"v": None}),
    ],
)  # fmt: skip
def test_a_keyed_providers_trade_is_read_once_and_a_broken_one_is_kept_word_for_word(stream, said, broken):
    spoiled = [said[0] | broken] if isinstance(said, list) else said | broken
    status = {"status": 200, "message": "Authenticated"}
    other = [status] if isinstance(said, list) else status
    frames = [orjson.dumps(one) for one in (said, said, spoiled, other)]
    read = stream.parse(frames)
    columns = ("symbol", "ts", "price", "qty", "side", "fills")
    at = datetime(2018, 9, 4, 4, 53, 38, 784000)
    assert read.trades.select(columns).rows() == [("MSFT", at, 114.125, 100.0, None, 1)] * 2
    assert read.trades["trade_id"].n_unique() == 1
    assert (read.rejects["payload"].to_list(), read.others) == ([frames[2].decode()], 1)


def test_a_connection_that_only_looks_open_is_replaced(replica: Replica):
    stream = BinanceStream(replica.ws_url)
    stream.silence_s = 0.2

    async def act(line: Line, heard: Heard) -> None:
        replica.fault("silent_stream")
        await until(lambda: line.status.connections >= 2)
        replica.heal()
        replica.clock.set(
            speed=1000
        )  # trades go on coming, however often the line is replaced on a busy machine
        await until(lambda: heard.frames)

    line, heard = follow(replica, act, stream)
    assert (line.status.reason or "").startswith("silent for 0.")
    assert heard.frames


@pytest.mark.capability("ING-02")
def test_futures_come_on_their_new_route_and_the_old_one_is_noticed_by_its_silence(replica: Replica):
    async def act(line: Line, heard: Heard) -> None:
        await told(replica, heard)

    _, heard = follow(replica, act, BinanceFuturesStream(replica.ws_url))
    assert set(BinanceFuturesStream().parse(heard.frames).trades["source"]) == {"binance_futures"}

    legacy = BinanceFuturesStream(f"{replica.ws_url}/fstream")
    legacy.route, legacy.silence_s = "/stream", 0.1

    async def wait(line: Line, heard: Heard) -> None:
        replica.clock.advance(60)
        await until(lambda: line.status.connections == 2)

    line, heard = follow(replica, wait, legacy)
    assert (line.status.reason, heard.frames) == ("silent for 0.1 s", [])


def test_a_hundred_megabytes_in_one_frame_end_the_connection_and_not_the_collector(replica: Replica):
    async def act(line: Line, heard: Heard) -> None:
        replica.fault("oversized_messages", count=1, bytes=100_000_000)
        replica.clock.advance(60)
        await until(lambda: line.status.connections == 2, 30)
        await told(replica, heard)

    _, heard = follow(replica, act)
    assert heard.frames
    assert max(map(len, heard.frames)) < 1000


@pytest.mark.parametrize(("status", "wait"), [(429, 1.0), (451, 0.2), (503, 0.0)])
def test_a_refused_connection_is_tried_again_when_the_venue_lets_us(replica: Replica, status, wait):
    replica.fault("status", status=status, retry_after=1, count=1)
    began = time.monotonic()

    async def act(line: Line, heard: Heard) -> None:
        assert time.monotonic() - began >= wait
        await told(replica, heard)

    line, _ = follow(replica, act)
    assert line.status.connections == 1
    assert line.status.reason == f"the venue answered {status}"


def test_yahoo_is_greeted_again_and_again(replica: Replica):
    stream = YahooStream(replica.ws_url)
    stream.heartbeat_s = 0.05

    async def act(line: Line, heard: Heard) -> None:
        await until(lambda: replica.streams.open and len(replica.streams.open[0].heard) >= 3)
        await told(replica, heard)

    _, heard = follow(replica, act, stream, ("AAPL",))
    assert YahooStream().totals(heard.frames).keys() == {"AAPL"}


@pytest.mark.capability("ING-05")
def test_a_replica_that_is_gone_for_a_while_is_found_again():
    heard = Heard()

    async def run() -> int:
        with Replica(now=NOON, speed=0) as first:
            port = first.port
            line = Line(
                BinanceStream(first.ws_url), ("BTCUSDT",), heard.land, asyncio.Event(), Batching(0.001), QUICK
            )
            task = asyncio.create_task(line.run())
            await until(lambda: line.status.connections)
        await until(lambda: line.status.state == "waiting")
        with Replica(now=NOON, speed=0, port=port) as second:
            await until(lambda: line.status.connections == 2)
            await told(second, heard)
            line.stop.set()
            await task
        return line.status.connections

    assert asyncio.run(run()) == 2
    assert heard.frames
