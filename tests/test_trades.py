"""From frames in segments to rows in `trades`: each once, none missing that the venue still has."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson
import pytest
from websockets.asyncio.server import ServerConnection, serve

from flows.heal_trades import TradesHealed, heal_trades
from flows.quality import check_trades
from pipelines import segments
from pipelines.ingest import Feed
from pipelines.market import from_epoch_ms, naive
from pipelines.replica.server import Replica
from pipelines.sources import kraken_trades
from pipelines.sources.base import Source, SourceOptions
from pipelines.sources.binance import Binance
from pipelines.sources.binance_futures import BinanceFutures
from pipelines.sources.binance_stream import BinanceFuturesStream, BinanceStream
from pipelines.sources.coinbase import Coinbase
from pipelines.sources.coinbase_stream import CoinbaseStream
from pipelines.sources.feed_socket import Batching
from pipelines.sources.follow import Line
from pipelines.sources.kraken import Kraken
from pipelines.sources.kraken_stream import KrakenStream
from pipelines.sources.streams import Stream
from pipelines.sources.yahoo import Yahoo
from pipelines.sources.yahoo_stream import YahooStream
from pipelines.spool import Spool
from pipelines.trade_minutes import minutes_of_trades
from pipelines.trades import TradesLoaded, load_trades
from tests.lakes import Lake, new_lake
from tests.replica.conftest import NOON
from warehouse.trades import id_jumps, minutes_compared

BEGAN = naive(NOON.replace(second=0))


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[Lake]:
    made = new_lake(tmp_path)
    yield made
    made.con.close()


@pytest.fixture
def replica() -> Iterator[Replica]:
    with Replica(now=NOON.replace(second=0), speed=0) as running:
        yield running


class Desk:
    """The stream's side of a test: frames into segments, segments into the lake."""

    def __init__(self, lake: Lake, folder: Path, url: str | None = None) -> None:
        self.lake, self.folder = lake, folder
        self.stream: Stream = BinanceStream()
        self.source: Source = Binance(
            SourceOptions(base_url=url or "http://127.0.0.1:9", timeout_s=2, total_s=2)
        )
        self.count = 0

    def land(self, frames: Sequence[bytes], source: str = "binance") -> None:
        self.count += 1
        began = BEGAN.replace(tzinfo=UTC).timestamp() + self.count
        spool = Spool(self.folder, source, clock=lambda: began)
        spool.put(int(began * 1e6), frames)
        spool.close()

    def load(self, market_now: datetime | None = None) -> TradesLoaded:
        stores = self.lake.context.stores(self.lake.con, "run-1")
        return load_trades(stores, self.stream, self.source, self.folder, market_now)


def frames_of(replica: Replica, since_s: float, until_s: float, symbol: str = "BTCUSDT") -> list[bytes]:
    """What the stream would have sent in these seconds from BEGAN on."""
    began = BEGAN.replace(tzinfo=UTC).timestamp()
    inst = replica.book.find("binance", symbol)
    assert inst
    session = replica.streams.dialects[0].open(
        "/stream", f"streams={symbol.lower()}@aggTrade", began + since_s
    )
    assert session
    return [frame.text.encode() for frame in session.due(began + until_s)]


def frame(number: int, **changes: object) -> bytes:
    said = {"e": "aggTrade", "s": "BTCUSDT", "a": number, "p": "10.5", "q": "1", "f": number, "l": number,
            "T": int(BEGAN.replace(tzinfo=UTC).timestamp() * 1000) + number, "m": True}  # fmt: skip
    return orjson.dumps({"stream": "btcusdt@aggTrade", "data": said | changes})


async def until(condition) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


@pytest.mark.capability("ING-02")
def test_ten_frames_on_a_websocket_with_one_id_twice_are_nine_rows(lake, tmp_path):
    frames = [frame(number) for number in (1, 2, 3, 4, 4, 5, 6, 7, 8, 9)]

    async def send(socket: ServerConnection) -> None:
        for one in frames:
            await socket.send(one, text=True)
        await socket.wait_closed()

    async def collect() -> None:
        spool = Spool(tmp_path / "streams", "binance")
        async with serve(send, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            line = Line(
                BinanceStream(f"ws://127.0.0.1:{port}"),
                ("BTCUSDT",),
                spool.put,
                asyncio.Event(),
                Batching(0.001),
            )
            task = asyncio.create_task(line.run())
            await until(lambda: spool.counts.frames == 10)
            line.stop.set()
            await task
        spool.close()

    asyncio.run(collect())
    done = Desk(lake, tmp_path / "streams").load()
    assert (done.frames, done.rows_new) == (10, 9)
    assert lake.rows("SELECT trade_id, side, origin FROM trades ORDER BY 1") == [
        (n, "sell", "stream") for n in range(1, 10)
    ]


@pytest.mark.capability("ING-03")
def test_a_tick_has_time_symbol_price_and_quantity(lake):
    assert {"timestamp", "symbol", "price", "quantity"} <= {row[0] for row in lake.rows("DESCRIBE tick_data")}
    assert {"ts", "symbol", "price", "qty", "trade_id"} <= {row[0] for row in lake.rows("DESCRIBE ticks")}


def test_a_segment_is_loaded_once_whatever_dies_in_between(lake, tmp_path):
    desk = Desk(lake, tmp_path / "streams")
    desk.land([frame(1), frame(2)])
    (one,) = segments.pending(desk.folder, "binance")
    content = one.path.read_bytes()
    assert desk.load().rows_new == 2
    one.path.write_bytes(content)  # killed after the commit, before it was put away
    assert desk.load().rows_new == 0
    assert segments.pending(desk.folder, "binance") == []
    assert lake.one("SELECT count(*) FROM trades") == 2
    assert lake.one("SELECT count(*) FROM core.ledger") == 1


def test_what_overlaps_in_two_segments_is_there_once(lake, tmp_path):
    desk = Desk(lake, tmp_path / "streams")
    desk.land([frame(1), frame(2), frame(3)])
    desk.land([frame(2), frame(3), frame(4)])
    desk.load()
    desk.land([frame(5), frame(4), frame(1)])
    assert desk.load().rows_new == 1
    assert lake.rows("SELECT trade_id FROM trades ORDER BY 1") == [(1,), (2,), (3,), (4,), (5,)]


def test_what_is_no_trade_is_in_quarantine_word_for_word(lake, tmp_path):
    desk = Desk(lake, tmp_path / "streams")
    bad = [frame(2, p="-1"), b"\x00binary\xff", frame(3, q="0")]
    desk.land([frame(1), *bad, frame(4)])
    done = desk.load()
    assert (done.rows_new, done.rows_quarantined) == (2, 3)
    payloads = {row[0] for row in lake.rows("SELECT payload FROM quarantine")}
    assert payloads == {one.decode("utf-8", "backslashreplace") for one in bad}


@pytest.mark.capability("ING-05")
def test_a_feed_that_was_dead_for_half_a_minute_misses_nothing_after_the_next_load(lake, tmp_path, replica):
    replica.clock.advance(181)
    desk = Desk(lake, tmp_path / "streams", replica.url)
    desk.land(frames_of(replica, 0, 70))
    desk.land(frames_of(replica, 100, 180))
    done = desk.load(NOON + timedelta(minutes=3))
    assert done.refilled > 0
    assert (done.missing, done.given_up, gaps(lake)) == (0, [], [])
    assert id_jumps(lake.con, "binance", BEGAN, BEGAN + timedelta(minutes=3)).is_empty()
    truth = replica.ask("trades", venue="binance", symbol="BTCUSDT", **{"from": BEGAN.isoformat(), "to": (BEGAN + timedelta(minutes=3)).isoformat()})["rows"]  # fmt: skip
    stored = lake.rows(
        "SELECT trade_id, price, qty, epoch_ms(ts), side = 'sell' FROM trades ORDER BY trade_id"
    )
    assert stored == [(row[0], row[1], row[2], row[5], row[6]) for row in truth]
    assert dict(lake.rows("SELECT origin, count(*) FROM trades GROUP BY 1"))["heal"] == done.refilled


def test_trades_make_the_venues_klines_and_say_where_not(lake, tmp_path, replica):
    replica.clock.advance(181)
    desk = Desk(lake, tmp_path / "streams")
    desk.land(frames_of(replica, 0, 150))
    desk.load(NOON + timedelta(minutes=3))
    request = desk.source.plan("BTCUSDT", BEGAN, BEGAN + timedelta(minutes=3))
    source = Binance(SourceOptions(base_url=replica.url))
    lake.load(source.parse(source.fetch(request).replies, NOON + timedelta(minutes=3)).bars)
    found = minutes_compared(lake.con, "binance", BEGAN, BEGAN + timedelta(minutes=3))
    assert found["state"].to_list() == ["equal", "equal", "incomplete"]
    lake.con.execute("UPDATE core.bars SET high = high + 1 WHERE ts = (SELECT min(ts) FROM core.bars)")
    (hole, at), *_ = lake.rows("SELECT trade_id, ts FROM trades ORDER BY trade_id DESC LIMIT 1 OFFSET 1")
    lake.con.execute(f"DELETE FROM core.trades WHERE trade_id = {hole - 1}")
    clocks = {"binance": BEGAN + timedelta(minutes=3)}
    follow, klines = check_trades(lake.context, lake.con, clocks, timedelta(hours=1))
    assert (follow.passed, follow.observed) == (False, f"1 missing in 1 holes (BTCUSDT {at:%H:%M:%S})")
    assert klines.observed == (
        "1 of 3 minutes equal, 1 with trades missing (BTCUSDT 16:02:00), 1 different (BTCUSDT 16:00:00)"
    )


def gaps(lake: Lake) -> list[tuple[Any, ...]]:
    return lake.rows(
        "SELECT symbol, from_ts, to_ts, first_id, last_id, trades, minutes, state, origin, reason FROM gaps "
        "WHERE kind = 'trades' ORDER BY from_ts"
    )


def test_trades_that_nobody_gives_stand_in_the_ledger_and_are_given_up(lake, tmp_path, replica):
    lost = {
        "from": (BEGAN + timedelta(seconds=60)).isoformat(),
        "to": (BEGAN + timedelta(seconds=90)).isoformat(),
    }
    replica.fault("lost_trades", venue="binance", symbol="BTCUSDT", **lost)
    replica.clock.advance(181)
    missing, before, after = [row[0] for row in truth_of(replica) if row[-1]], *around(replica)
    desk = Desk(lake, tmp_path / "streams", replica.url)
    desk.land(frames_of(replica, 0, 170))
    turns = [desk.load(NOON + timedelta(minutes=3)) for _ in range(4)]
    assert [len(one.given_up) for one in turns] == [0, 0, 1, 0]
    row = ("BTCUSDT", before, after, missing[0], missing[-1], len(missing), 0)
    assert gaps(lake) == [(*row, "open", None, f"{len(missing)} trades: binance answered without them")]
    feed = Feed(desk.source, ("BTCUSDT",), "24/7")

    def heal(clock: datetime) -> TradesHealed:
        stores = lake.context.stores(lake.con, "run-heal")
        return heal_trades(stores, feed, desk.folder, clock, timedelta(hours=1))

    assert heal(after + timedelta(minutes=59)) == TradesHealed(len(missing), 0, 0)
    assert heal(after + timedelta(minutes=61)) == TradesHealed(len(missing), 0, len(missing))
    words = f"{len(missing)} of {len(missing)} trades: binance answered without them"
    assert gaps(lake) == [(*row, "lost", None, words)]
    assert heal(after + timedelta(minutes=62)) == TradesHealed()
    made = minutes_of_trades(lake.context.stores(lake.con, "r"), "binance", turns[-1].state, BEGAN, after)
    assert made is None or BEGAN + timedelta(minutes=1) not in made.bars["ts"].to_list()


def test_a_hole_that_a_dead_venue_left_open_is_healed_part_by_part(lake, tmp_path, replica):
    replica.clock.advance(181)
    desk = Desk(lake, tmp_path / "streams", replica.url)
    replica.fault("status", venue="binance", status=400, path="/api/v3/aggTrades")
    desk.land(frames_of(replica, 0, 60))
    desk.land(frames_of(replica, 100, 170))
    now = NOON + timedelta(minutes=3)
    desk.load(now)
    (row,) = gaps(lake)
    assert row[7:] == ("open", None, f"{row[5]} trades: binance BTCUSDT: HTTP 400")
    desk.land(frames_of(replica, 60, 80))
    desk.load(now)
    (part,) = gaps(lake)
    assert (part[3:5], part[7]) == (row[3:5], "healing")
    assert 0 < part[5] < row[5]
    replica.heal()
    desk.load(now)
    assert [one[5:9] for one in gaps(lake)] == [(0, 0, "healed", "heal")]
    assert lake.one("SELECT healed_at > detected_at FROM gaps")
    assert id_jumps(lake.con, "binance", BEGAN, BEGAN + timedelta(minutes=3)).is_empty()


def truth_of(replica: Replica) -> list[list[Any]]:
    since, until = BEGAN.isoformat(), (BEGAN + timedelta(minutes=3)).isoformat()
    return replica.ask("trades", venue="binance", symbol="BTCUSDT", **{"from": since, "to": until})["rows"]


def around(replica: Replica) -> tuple[datetime, datetime]:
    """The times of the trades before and after those that are lost."""
    rows = truth_of(replica)
    gone = [at for at, row in enumerate(rows) if row[-1]]
    return tuple(naive(from_epoch_ms(rows[at][5])) for at in (gone[0] - 1, gone[-1] + 1))


def test_a_lost_note_costs_no_second_fetch(lake, tmp_path, replica):
    replica.clock.advance(121)
    desk = Desk(lake, tmp_path / "streams", replica.url)
    note = desk.folder / "binance.ids.json"
    desk.land(frames_of(replica, 0, 40))
    desk.load(NOON)
    before = note.read_bytes()
    desk.land(frames_of(replica, 40, 80))
    desk.load(NOON)
    note.write_bytes(before)  # killed between its commit and its note
    desk.land(frames_of(replica, 80, 120))
    assert desk.load(NOON).refilled == 0
    note.unlink()
    desk.land(frames_of(replica, 119, 120))
    assert desk.load(NOON).missing == 0
    assert replica.ask("requests")["binance"]["requests"] == 0


def test_minutes_come_from_trades_only_where_all_of_them_are_known(lake, tmp_path, replica):
    replica.clock.advance(301)
    desk = Desk(lake, tmp_path / "streams")  # no REST: the hole stays
    desk.land(frames_of(replica, 30, 130))
    desk.land(frames_of(replica, 150, 290))
    done = desk.load(NOON + timedelta(minutes=5))
    stores = lake.context.stores(lake.con, "run-1")
    made = minutes_of_trades(stores, "binance", done.state, BEGAN, BEGAN + timedelta(minutes=5))
    assert made
    assert made.batch.kind == "stream"
    assert made.bars["ts"].to_list() == [BEGAN + timedelta(minutes=1), BEGAN + timedelta(minutes=3)]
    kline = replica.book.closed(replica.book.find("binance", "BTCUSDT"), NOON.timestamp() + 30, NOON.timestamp() + 90, 2e9)  # fmt: skip
    names = ("open", "high", "low", "close", "volume", "turnover", "trades")
    assert made.bars.select(names).row(0) == tuple(getattr(kline, name)[0] for name in names)
    assert lake.rows("SELECT count(*) FROM ohlcv WHERE interval = '1s'")[0][0] > 50


def test_yahoos_totals_run_on_from_segment_to_segment(lake, tmp_path, replica):
    folder = tmp_path / "streams"
    desk = Desk(lake, folder)
    session = replica.streams.dialects[2].open("/", "version=2", NOON.timestamp() - 30)
    session.hear('{"subscribe":["AAPL"]}')
    volume = []
    for minute in range(1, 5):
        now = NOON.timestamp() - 30 + 60 * minute
        replica.clock.set(now)
        desk.land([one.text.encode() for one in session.due(now)], "yahoo")
        volume.append(session._day_volume(replica.book.find("yahoo", "AAPL"), now))
        stores = lake.context.stores(lake.con, "run-1")
        load_trades(
            stores,
            YahooStream(),
            Yahoo(SourceOptions(base_url=replica.url)),
            folder,
            NOON + timedelta(minutes=9),
        )
    quantities = [row[0] for row in lake.rows("SELECT qty FROM trades WHERE source = 'yahoo' ORDER BY ts")]
    assert quantities == [later - earlier for earlier, later in pairwise(volume) if later > earlier]


@pytest.mark.capability("ING-05")
@pytest.mark.parametrize(
    ("source", "stream", "symbol"),
    [
        (BinanceFutures, BinanceFuturesStream, "BTCUSDT"),
        (Coinbase, CoinbaseStream, "BTC-USDT"),
        (Kraken, KrakenStream, "XBTUSDT"),
    ],
)
def test_every_venue_with_public_trades_fills_what_its_stream_missed(
    lake, tmp_path, replica, monkeypatch, source, stream, symbol
):
    monkeypatch.setattr(kraken_trades, "PAGE", 20)  # so that pages follow each other
    venue, dialect = stream.name, {one.name: one for one in replica.streams.dialects}[stream.name]
    desk = Desk(lake, tmp_path / "streams")
    desk.stream, desk.source = stream(), source(SourceOptions(base_url=replica.url, timeout_s=2, total_s=2))
    began = BEGAN.replace(tzinfo=UTC).timestamp()
    address = urlsplit(desk.stream.address([symbol]))
    session = dialect.open(address.path, address.query, began)
    for text in desk.stream.greetings([symbol]):
        session.hear(text)
    frames = []
    for at in (70, 100, 180):
        replica.clock.set(began + at)
        frames.append([one.text.encode() for one in session.due(began + at)])
    desk.land(frames[0], venue)
    desk.land(frames[2], venue)
    done = desk.load(NOON + timedelta(minutes=3))
    assert done.refilled > 20
    assert (done.missing, gaps(lake)) == (0, [])
    truth = replica.ask(
        "trades", venue=venue, symbol=symbol, **{"from": began + 0.001, "to": began + 180.001}
    )
    stored = lake.rows(
        "SELECT trade_id, price, qty, epoch_ms(ts), side = 'sell' FROM trades ORDER BY trade_id"
    )
    assert stored == [(row[0], row[1], row[2], row[5], row[6]) for row in truth["rows"]]
    assert dict(lake.rows("SELECT origin, count(*) FROM trades GROUP BY 1"))["heal"] == done.refilled
    desk.land(frames[1], venue)
    assert desk.load(NOON + timedelta(minutes=3)).rows_new == 0
