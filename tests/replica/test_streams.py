"""The replica's websockets keep to the venues' published manners, and lose what the faults say they lose."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Iterator
from typing import Any

import orjson
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from pipelines.replica.server import Replica
from tests.replica.conftest import NOON, NOON_MS

Opener = Callable[[str], ClientConnection]


@pytest.fixture
def opened(replica: Replica) -> Iterator[Opener]:
    sockets: list[ClientConnection] = []

    def one(path: str) -> ClientConnection:
        sockets.append(
            connect(
                replica.ws_url + path,
                compression=None,
                ping_interval=None,
                max_size=2**23,
                max_queue=None,
                close_timeout=1,
            )
        )
        return sockets[-1]

    yield one
    for socket in sockets:
        socket.close()


def ask(socket: ClientConnection, method: str, *params: Any, number: int = 1) -> Any:
    socket.send(orjson.dumps({"method": method, "params": list(params), "id": number}).decode())
    return orjson.loads(socket.recv(5))


def minute(replica: Replica, socket: ClientConnection, symbol: str = "BTCUSDT") -> list[dict[str, Any]]:
    """The messages of one minute's trades, as many as there truly were."""
    began = replica.clock.now()
    replica.clock.advance(60)
    truth = replica.app.control.trades("binance", symbol, began + 0.001, began + 60.001)["rows"]
    return [orjson.loads(socket.recv(5)) for _ in truth]


@pytest.mark.capability("ING-02")
def test_streamed_trades_are_those_that_rest_serves_and_make_the_minutes_kline(replica, opened, client):
    replica.clock.set(NOON.replace(second=0))
    socket = opened("/ws/btcusdt@aggTrade/btcusdt@kline_1m")
    replica.clock.advance(61)
    said = []
    while not (said and said[-1]["e"] == "kline" and not said[-1]["k"]["x"]):
        said.append(orjson.loads(socket.recv(5)))
    trades = [one for one in said if one["e"] == "aggTrade" and one["T"] < NOON_MS - 30_000 + 60_000]
    closed = [one["k"] for one in said if one["e"] == "kline" and one["k"]["x"]]
    asked = {"symbol": "BTCUSDT", "fromId": trades[0]["a"], "limit": len(trades)}
    rest = client.get("/api/v3/aggTrades", params=asked).json()
    kline = client.get("/api/v3/klines", params={"symbol": "BTCUSDT", "interval": "1m", "limit": 2}).json()[0]
    assert [{k: one[k] for k in "apqflTmM"} for one in trades] == rest
    assert len(closed) == 1
    assert [closed[0][k] for k in "ohlcv"] == kline[1:6]
    assert sum(float(one["q"]) for one in trades) == pytest.approx(float(kline[5]))


def test_subscriptions_are_answered_and_wrapped_on_the_combined_route(replica, opened):
    socket = opened("/stream?streams=btcusdt@aggTrade")
    assert ask(socket, "SUBSCRIBE", "ethusdt@aggTrade") == {"result": None, "id": 1}
    assert ask(socket, "UNSUBSCRIBE", "btcusdt@aggTrade", number=2) == {"result": None, "id": 2}
    assert ask(socket, "LIST_SUBSCRIPTIONS", number=3) == {"result": ["ethusdt@aggTrade"], "id": 3}
    assert {one["stream"] for one in minute(replica, socket, "ETHUSDT")} == {"ethusdt@aggTrade"}


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("{", 3),
        ('{"id":1}', 2),
        ('{"method":"PUBLISH","id":1}', 2),
        ('{"method":"SET_PROPERTY","params":["combined",5],"id":1}', 1),
        ('{"method":"SET_PROPERTY","params":["colour",5],"id":1}', 0),
    ],
)
def test_a_wrong_message_gets_the_venues_error(opened, text, code):
    socket = opened("/ws")
    socket.send(text)
    assert orjson.loads(socket.recv(5))["code"] == code


def test_one_connection_follows_at_most_1024_streams(opened):
    names = [f"s{number}usdt@aggTrade" for number in range(1025)]
    assert ask(opened("/ws"), "SUBSCRIBE", *names)["code"] == 2


def test_more_than_five_messages_a_second_end_the_connection(opened):
    socket = opened("/ws")
    for _ in range(6):
        socket.send('{"method":"LIST_SUBSCRIPTIONS","id":1}')
    with pytest.raises(ConnectionClosed) as closed:
        list(iter(lambda: socket.recv(5), None))
    assert closed.value.rcvd.code == 1008


@pytest.mark.parametrize(
    ("path", "lives"),
    [
        ("/market/ws/btcusdt@aggTrade", True),
        ("/fstream/market/stream?streams=btcusdt@aggTrade", True),
        ("/fstream/ws/btcusdt@aggTrade", False),
        ("/public/ws/btcusdt@aggTrade", False),
        ("/market/ws/btcusdt@trade", False),
    ],
)
def test_futures_on_a_wrong_route_connect_and_say_nothing(replica, opened, path, lives):
    socket = opened(path)
    assert ask(socket, "LIST_SUBSCRIPTIONS")["result"]
    replica.clock.advance(60)
    if not lives:
        with pytest.raises(TimeoutError):
            socket.recv(0.3)
        return
    said = orjson.loads(socket.recv(5))
    said = said.get("data", said)
    assert said["nq"] == said["q"]
    assert "M" not in said


def test_a_shutdown_is_announced_and_then_closes(replica, opened):
    socket = opened("/stream?streams=btcusdt@aggTrade")
    replica.fault("shutdown_stream", seconds=0.1, count=1)
    assert orjson.loads(socket.recv(5))["stream"] == "!serverShutdown"
    with pytest.raises(ConnectionClosed) as closed:
        socket.recv(5)
    assert closed.value.rcvd.code == 1001


def test_an_old_connection_is_closed(replica, opened):
    replica.streams.limits.max_age_s = 0.1
    with pytest.raises(ConnectionClosed) as closed:
        opened("/ws").recv(5)
    assert closed.value.rcvd.code == 1001


def test_who_does_not_answer_a_ping_is_cut():
    with Replica(now=NOON, speed=0, ping_s=0.05, pong_s=0.1) as replica:
        with connect(f"{replica.ws_url}/ws", ping_interval=None) as socket:
            socket.protocol.send_frame = lambda frame: None
            with pytest.raises(ConnectionClosed) as closed:
                socket.recv(5)
    assert closed.value.rcvd.code == 1011


def test_a_message_fault_does_what_its_name_says(replica, opened):
    def ids(kind: str, more: int = 0, **spec: Any) -> list[int]:
        """Trade ids as they came, counted from the first true one; -1 for what cannot be read."""
        replica.heal()
        replica.fault(kind, **spec)
        began = replica.clock.now()
        replica.clock.advance(60)
        truth = replica.app.control.trades("binance", "BTCUSDT", began, began + 60)["rows"]
        return [number(socket.recv(5), truth[0][0]) for _ in range(len(truth) + more)]

    def number(text: str | bytes, first: int) -> int:
        try:
            return orjson.loads(text)["a"] - first if len(text) < 1_000_000 else -1
        except ValueError:
            return -1

    socket = opened("/ws/btcusdt@aggTrade")
    assert ids("drop_messages", -3, count=3)[0] == 3
    assert ids("duplicate_messages", 2, count=2)[:5] == [0, 0, 1, 1, 2]
    assert ids("corrupt_messages", count=1)[:2] == [-1, 1]
    assert ids("oversized_messages", count=1, bytes=2_000_000)[:2] == [-1, 1]
    assert ids("reorder_messages", count=2)[-2:] == [1, 0]
    served = next(one for one in replica.ask("served")["series"] if one["symbol"] == "BTCUSDT")
    assert len(served["streamed"]) == 3


def test_a_cut_line_has_no_farewell_and_an_outage_refuses_newcomers(replica, opened):
    socket = opened("/ws/btcusdt@aggTrade")
    replica.fault("cut_stream", count=1)
    with pytest.raises(ConnectionClosed) as closed:
        socket.recv(5)
    assert closed.value.rcvd is None
    replica.fault("outage")
    with pytest.raises(InvalidStatus) as refused:
        opened("/ws")
    assert refused.value.response.status_code == 503


def test_yahoos_streamer_prices_what_was_subscribed(replica, opened):
    socket = opened("/?version=2")
    socket.send('{"subscribe":["AAPL"]}')
    while not replica.streams.open[0].session.seen_ms:  # nothing is ever answered
        time.sleep(0.01)
    replica.clock.advance(60)
    said = orjson.loads(socket.recv(5))
    assert said["type"] == "pricing"
    assert base64.b64decode(said["message"])[2:6] == b"AAPL"
